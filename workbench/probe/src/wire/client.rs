use std::any::Any;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
#[cfg(feature = "tls")]
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use socket2::Socket;

use super::connection::{Connection, ReadOutcome, is_timeout};
use super::received::{Received, prep_msg};
use super::record_handle::RecordHandle;
use crate::record::Record;
use crate::tls::TlsSettings;
use crate::{TIMEOUT, fail_timeout};

/// The receive buffer of a client with small buffers, in bytes.
const SMALL_RECV_BUFFER: usize = 4096;

/// The segment size of a client with small buffers, in bytes: the server's kernel derives the size of its
/// send buffer from it.
#[cfg(target_os = "linux")]
const SMALL_MSS: u32 = 536;

/// The receive buffer of a client with small buffers after [`Client::enlarge_recv_buffer`], in bytes.
const LARGE_RECV_BUFFER: usize = 1 << 20;

/// A client of a server under test: one connection.
///
/// The methods `expect_…` and `recv_…`, except [`recv`](Self::recv), require certain bytes. Each of them waits for
/// [`timeout`](Self::timeout), and returns a [`Failure`](crate::Failure) if the server sends something else.
#[derive(Debug)]
pub struct Client {
    connection: Connection,
    record: RecordHandle,
    /// `buffer[taken..]` has arrived and was not returned to the caller yet.
    buffer: Vec<u8>,
    taken: usize,
    timeout: Duration,
    state: Option<Box<dyn Any + Send>>,
}

impl Client {
    /// Connects with the system's default buffers.
    pub fn connect(server: SocketAddr) -> Result<Self> {
        Self::connect_with(server, |_| Ok(()))
    }

    /// Connects with small buffers. Few bytes fit between the server and the client: about 50 KB on Linux, and on other
    /// systems as many as the smallest receive buffer allows.
    ///
    /// Bytes that such a client does not read wait in the server's own queue, not in the kernel.
    pub fn connect_with_small_buffers(server: SocketAddr) -> Result<Self> {
        Self::connect_with(server, |socket| {
            #[cfg(target_os = "linux")]
            socket.set_tcp_mss(SMALL_MSS)?;
            socket.set_recv_buffer_size(SMALL_RECV_BUFFER)
        })
    }

    fn connect_with(
        server: SocketAddr,
        configure: impl FnOnce(&Socket) -> io::Result<()>,
    ) -> Result<Self> {
        let connection = Connection::open(server, configure)?;
        let record = RecordHandle::new(connection.local_addr()?, server);
        let buffer = Vec::new();
        Ok(Self { connection, record, buffer, taken: 0, timeout: TIMEOUT, state: None })
    }

    /// Records the later steps of this client in a record to which other clients also write.
    #[must_use]
    pub fn record_in(mut self, record: &Record) -> Self {
        self.record.move_to(record);
        self.record.note("connected");
        self
    }

    /// Sets how long the methods that receive wait, and how long a write may wait.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self.connection.set_write_timeout(timeout);
        self
    }

    /// Does a TLS handshake: from now on, the bytes that this client sends and receives are inside TLS.
    ///
    /// It is not an error here if the server ends the connection: a full server may do so.
    pub fn start_tls(mut self, tls: &TlsSettings) -> Result<Self> {
        self.connection.start_tls(tls, self.timeout, &mut self.buffer, &self.record)?;
        Ok(self)
    }

    /// Returns the TLS state and the socket below it, if the client uses TLS: for tests of TLS itself, which send
    /// and receive bytes without TLS, for example. The record does not contain such bytes.
    #[cfg(feature = "tls")]
    pub fn tls_parts(&mut self) -> Option<(&mut rustls::ClientConnection, &mut TcpStream)> {
        self.connection.tls_parts()
    }

    /// Reports whether the client has received `close_notify`, the end of the data in TLS.
    #[must_use]
    pub fn has_close_notify(&self) -> bool {
        self.connection.has_close_notify()
    }

    /// Returns the client's name in its record: A, B, …
    #[must_use]
    pub fn name(&self) -> String {
        self.record.client_name()
    }

    /// Returns how long the methods that receive wait.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Records an event, such as a signal to the server.
    pub fn note(&self, event: &str) {
        self.record.note(event);
    }

    /// Returns the client's own address, by which the server knows the client.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.record.addr
    }

    /// Returns the address that the client connected to.
    #[must_use]
    pub fn server(&self) -> SocketAddr {
        self.record.server
    }

    /// Returns the client's last steps as text, for a failure.
    #[must_use]
    pub fn transcript(&self) -> String {
        self.record.transcript()
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.record.sent(bytes);
        let sent = self.connection.write_all(bytes);
        sent.map_err(|err| self.connection.write_failure(&err, &self.record))
    }

    /// Sends bytes, and reports whether all were sent. A server that takes no more bytes is not an error.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.record.sent(bytes);
        let sent = self.connection.write_all(bytes);
        if let Err(err) = &sent {
            self.record.note(&format!("not sent: {err}"));
        }
        sent.is_ok()
    }

    /// Sends the same bytes `times` times, or until the connection ends, and reports whether the connection has ended.
    /// Messages that arrive in the meantime are dropped.
    pub fn send_until_closed(&mut self, bytes: &[u8], times: usize) -> Result<bool> {
        self.record.sent_repeatedly(bytes, times);
        for i in 0..times {
            match self.connection.write_all(bytes) {
                Ok(()) => {}
                Err(err) if is_timeout(&err) => {
                    let got =
                        format!("it takes no more after {} bytes, and waits", i * bytes.len());
                    return fail_timeout(self.transcript(), "it takes all, or closes", got);
                }
                Err(err) => {
                    self.record.note(&err.to_string());
                    return Ok(true);
                }
            }
        }
        // The kernel may have accepted the last bytes although the server has closed the connection.
        let deadline = Instant::now() + self.timeout;
        loop {
            match self.recv_until(deadline)? {
                // The server may have answered before it closes the connection.
                Received::Msg(_) => {}
                Received::Timeout => return Ok(false),
                Received::Eof | Received::Reset => return Ok(true),
            }
        }
    }

    /// Sends a message: its text and a zero byte.
    pub fn send_msg(&mut self, text: &str) -> Result<()> {
        self.send(&prep_msg(text))
    }

    /// Waits for the next message or for the end of the connection, at most `within`.
    pub fn recv(&mut self, within: Duration) -> Result<Received> {
        self.recv_until(Instant::now() + within)
    }

    fn recv_until(&mut self, deadline: Instant) -> Result<Received> {
        loop {
            if let Some(frame) = self.take_frame() {
                return Ok(Received::Msg(frame));
            }
            if let Some(received) = self.read_until(deadline)? {
                return Ok(received);
            }
        }
    }

    /// Stores a value for a later exchange with this client: a session's number, for example.
    pub fn set_state<T: Send + 'static>(&mut self, value: T) {
        self.state = Some(Box::new(value));
    }

    /// Returns the stored value if it is of this type, and stores it no longer.
    pub fn take_state<T: 'static>(&mut self) -> Option<T> {
        let kept = self.state.take()?.downcast();
        kept.map(|value| *value).map_err(|other| self.state = Some(other)).ok()
    }

    /// Closes the sending side; the client can still receive.
    pub fn half_close(&mut self) -> Result<()> {
        self.record.note("closed the sending side");
        self.connection.half_close()
    }

    /// Closes the sending side. With TLS, does not send `close_notify` first.
    pub fn close_without_notify(&mut self) -> Result<()> {
        let without = if self.connection.is_tls() { " without close_notify" } else { "" };
        self.record.note(&format!("closed the sending side{without}"));
        self.connection.shutdown_write().context("could not close the sending side")
    }

    /// Closes the connection with a reset, as the system may do for a program that was killed.
    pub fn reset(self) -> Result<()> {
        self.record.note("reset the connection");
        Ok(self.connection.reset()?)
    }

    /// Enlarges the receive buffer of a client with small buffers, so that it can read the server's queue
    /// quickly.
    pub fn enlarge_recv_buffer(&self) -> Result<()> {
        Ok(self.connection.set_recv_buffer_size(LARGE_RECV_BUFFER)?)
    }

    /// Returns the bytes that have arrived and were not taken yet.
    pub(super) fn pending(&self) -> &[u8] {
        &self.buffer[self.taken..]
    }

    /// Takes the next bytes, which must have arrived.
    pub(super) fn take_pending(&mut self, len: usize) -> Vec<u8> {
        let bytes = self.pending()[..len].to_vec();
        self.taken += len;
        bytes
    }

    fn take_frame(&mut self) -> Option<Vec<u8>> {
        let len = memchr::memchr(0, self.pending())?;
        let frame = self.take_pending(len);
        self.taken += 1;
        Some(frame)
    }

    /// Waits for more bytes. If no more will come, returns the reason: the connection has ended, or the
    /// deadline has passed.
    pub(super) fn read_until(&mut self, deadline: Instant) -> Result<Option<Received>> {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        Ok(match self.connection.read(deadline, &mut self.buffer, &self.record)? {
            // `read` looks for bytes even after the deadline. A server may send without a pause, and forever.
            ReadOutcome::Progress if Instant::now() > deadline + TIMEOUT => Some(Received::Timeout),
            ReadOutcome::Progress => None,
            ReadOutcome::Timeout => Some(Received::Timeout),
            ReadOutcome::Ended(end) => Some(end.into()),
        })
    }

    /// If the stream ended without `close_notify`, notes that for the report on the server.
    pub(super) fn note_missing_close_notify(&self) {
        self.connection.note_missing_close_notify();
    }
}

/// Reads the bytes that have arrived, or waits for bytes, so that other code can speak a protocol over this
/// client.
impl Read for Client {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let deadline = Instant::now() + self.timeout;
        while self.pending().is_empty() {
            match self.read_until(deadline).map_err(io::Error::other)? {
                None | Some(Received::Msg(_)) => {}
                Some(Received::Eof) => return Ok(0),
                Some(Received::Reset) => return Err(ErrorKind::ConnectionReset.into()),
                Some(Received::Timeout) => return Err(ErrorKind::TimedOut.into()),
            }
        }
        let len = into.len().min(self.pending().len());
        into[..len].copy_from_slice(&self.take_pending(len));
        Ok(len)
    }
}

impl Write for Client {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.connection.write(bytes)?;
        self.record.sent(&bytes[..len]);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn an_answer_is_not_the_end_of_the_connection() -> Result<()> {
        for closes in [false, true] {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let mut client = Client::connect(listener.local_addr()?)?;
            if !closes {
                client = client.with_timeout(Duration::from_millis(50));
            }
            let (mut sock, _) = listener.accept()?;
            sock.write_all(b"an answer\0")?;
            let open = (!closes).then_some(sock);
            assert_eq!(client.send_until_closed(b"x", 3)?, closes);
            drop(open);
        }
        Ok(())
    }
}
