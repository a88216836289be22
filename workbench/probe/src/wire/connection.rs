use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::record_handle::RecordHandle;
use crate::tls::{TlsError, TlsSession, TlsSettings};
use crate::{Description, Failure, TIMEOUT};

/// The shortest read timeout: a socket rejects a timeout of zero.
const MIN_READ_TIMEOUT: Duration = Duration::from_millis(1);

/// A socket, and perhaps TLS between the socket and the client's bytes.
#[derive(Debug)]
pub(super) struct Connection {
    sock: TcpStream,
    tls: Option<Box<TlsLayer>>,
}

/// The TLS of a connection.
#[derive(Debug)]
struct TlsLayer {
    session: TlsSession,
    /// Whether the handshake was completed.
    is_established: bool,
    /// How the connection ended, if it has ended. After that, nothing is sent or read.
    end: Option<End>,
}

/// How a connection ended, as the client saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The server closed its sending side in good order.
    Eof,
    /// The connection was reset.
    Reset,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            End::Eof => "the end of the stream",
            End::Reset => "a reset",
        })
    }
}

/// The outcome of one read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadOutcome {
    /// Bytes arrived. With TLS, they may contain no data, but a part of a handshake, for example.
    Progress,
    /// Nothing arrived in time.
    Timeout,
    /// The connection has ended.
    Ended(End),
}

impl Connection {
    /// Connects to a server with a socket whose options `configure` sets.
    pub(super) fn open(
        server: SocketAddr,
        configure: impl FnOnce(&Socket) -> io::Result<()>,
    ) -> Result<Self> {
        let socket = Socket::new(Domain::for_address(server), Type::STREAM, Some(Protocol::TCP))?;
        configure(&socket)?;
        socket
            .connect_timeout(&server.into(), TIMEOUT)
            .map_err(|err| io_failure(format!("connected to {server}"), "a connection", &err))?;
        let sock = TcpStream::from(socket);
        // Each piece that a check sends has to leave as a piece of its own.
        sock.set_nodelay(true)?;
        sock.set_write_timeout(Some(TIMEOUT))?;
        Ok(Self { sock, tls: None })
    }

    /// Returns the client's own address.
    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.sock.local_addr()
    }

    /// Limits how long a write may wait for the server.
    pub(super) fn set_write_timeout(&self, timeout: Duration) {
        // This fails only if the connection has ended, which the next read or write reports.
        let _ = self.sock.set_write_timeout(Some(timeout));
    }

    /// Sets the size of the socket's receive buffer, in bytes.
    pub(super) fn set_recv_buffer_size(&self, size: usize) -> io::Result<()> {
        SockRef::from(&self.sock).set_recv_buffer_size(size)
    }

    /// Does a TLS handshake. Data that the server sends right after it is appended to `received`.
    ///
    /// It is not an error here if the server ends the connection: a full server may do so.
    pub(super) fn start_tls(
        &mut self,
        tls: &TlsSettings,
        timeout: Duration,
        received: &mut Vec<u8>,
        record: &RecordHandle,
    ) -> Result<()> {
        let session = TlsSession::new(tls)?;
        self.tls = Some(Box::new(TlsLayer { session, is_established: false, end: None }));
        let deadline = Instant::now() + timeout;
        while self.tls.as_ref().is_some_and(|tls| tls.session.is_handshaking()) {
            match self.read(deadline, received, record)? {
                ReadOutcome::Progress => {}
                ReadOutcome::Timeout => return Err(self.handshake_failure(None, record)),
                ReadOutcome::Ended(_) => return Ok(()),
            }
        }
        // Sends the last part of the handshake. If the server is gone already, the next read reports that.
        let _ = self.flush_tls();
        if let Some(tls) = &mut self.tls {
            tls.is_established = true;
            record.note(tls.session.version());
        }
        Ok(())
    }

    /// Reports whether TLS is between the socket and the client's bytes.
    pub(super) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Returns the TLS state and the socket below it, if the connection uses TLS.
    #[cfg(feature = "tls")]
    pub(super) fn tls_parts(&mut self) -> Option<(&mut rustls::ClientConnection, &mut TcpStream)> {
        let Self { sock, tls } = self;
        Some((tls.as_mut()?.session.rustls_mut(), sock))
    }

    /// Reports whether the client has received `close_notify`.
    pub(super) fn has_close_notify(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.session.has_close_notify())
    }

    /// Reports whether the TLS handshake was completed, if the connection uses TLS.
    fn is_established(&self) -> bool {
        self.tls.as_ref().is_none_or(|tls| tls.is_established)
    }

    /// Returns the failure of a handshake in which the connection ended, or in which nothing came.
    fn handshake_failure(&self, end: Option<End>, record: &RecordHandle) -> anyhow::Error {
        // If another client's handshake was completed, the server does speak TLS.
        let has_spoken_tls = self.tls.as_ref().is_some_and(|tls| tls.session.server_speaks_tls());
        Failure {
            did: record.transcript(),
            expected: Description::text(HANDSHAKE),
            got: end.map_or_else(|| Description::text("nothing"), Description::text),
            is_timeout: end.is_none(),
            likely_cause: (!has_spoken_tls).then_some(NO_TLS),
        }
        .into()
    }

    /// Returns the failure of a write that returned this error.
    pub(super) fn write_failure(&self, err: &io::Error, record: &RecordHandle) -> anyhow::Error {
        let unfinished = self.tls.as_ref().filter(|tls| !tls.is_established);
        match unfinished.and_then(|tls| tls.end) {
            Some(end) => self.handshake_failure(Some(end), record),
            None => io_failure(record.transcript(), "the server takes the bytes", err).into(),
        }
    }

    /// Sends all bytes.
    pub(super) fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        if self.tls.is_none() {
            return self.sock.write_all(bytes);
        }
        while !bytes.is_empty() {
            bytes = &bytes[self.write(bytes)?..];
        }
        Ok(())
    }

    /// Sends bytes, as many as the socket or TLS accepts at once, and returns their number.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.flush_tls()?; // an earlier call may have failed before it had sent everything
        let Some(tls) = &mut self.tls else { return self.sock.write(bytes) };
        let len = tls.session.encrypt(bytes)?;
        self.flush_tls()?;
        Ok(len)
    }

    fn flush_tls(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        if tls.end.is_some() {
            return Err(ErrorKind::BrokenPipe.into());
        }
        tls.session.flush(&mut self.sock)
    }

    /// Waits for bytes until the deadline, and appends them to `received`. Looks once for bytes that are
    /// there already, even when the deadline has passed.
    pub(super) fn read(
        &mut self,
        deadline: Instant,
        received: &mut Vec<u8>,
        record: &RecordHandle,
    ) -> Result<ReadOutcome> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.read_for(left.max(MIN_READ_TIMEOUT), received, record)? {
                // The system call may also return early.
                ReadOutcome::Timeout if !left.is_zero() => {}
                outcome => return Ok(outcome),
            }
        }
    }

    fn read_for(
        &mut self,
        timeout: Duration,
        received: &mut Vec<u8>,
        record: &RecordHandle,
    ) -> Result<ReadOutcome> {
        if let Some(end) = self.tls.as_ref().and_then(|tls| tls.end) {
            return Ok(ReadOutcome::Ended(end));
        }
        if self.tls.as_ref().is_some_and(|tls| tls.session.is_handshaking()) {
            // If this fails, the read reports why.
            let _ = self.flush_tls();
        }
        self.sock.set_read_timeout(Some(timeout))?;
        let mut chunk = [0; 16 * 1024];
        match self.sock.read(&mut chunk) {
            Ok(0) => Ok(self.record_end(End::Eof, record)),
            Ok(n) if self.tls.is_some() => self.read_tls(&chunk[..n], received, record),
            Ok(n) => {
                record.received(&chunk[..n]);
                received.extend_from_slice(&chunk[..n]);
                Ok(ReadOutcome::Progress)
            }
            // The caller reads again if its time is not up.
            Err(err) if is_timeout(&err) || err.kind() == ErrorKind::Interrupted => {
                Ok(ReadOutcome::Timeout)
            }
            Err(err) if is_reset(&err) => Ok(self.record_end(End::Reset, record)),
            Err(err) => Err(err).context("could not read from the server"),
        }
    }

    /// Decrypts bytes that came from the socket.
    fn read_tls(
        &mut self,
        encrypted: &[u8],
        received: &mut Vec<u8>,
        record: &RecordHandle,
    ) -> Result<ReadOutcome> {
        let Some(tls) = &mut self.tls else { return Ok(ReadOutcome::Progress) };
        let (len_before, was_closing) = (received.len(), tls.session.has_close_notify());
        let taken = tls.session.decrypt(encrypted, received);
        let is_closing = tls.session.has_close_notify();
        if received.len() > len_before {
            record.received(&received[len_before..]);
        }
        if is_closing && !was_closing {
            record.note("close_notify");
        }
        match taken {
            Ok(()) => Ok(ReadOutcome::Progress),
            Err(TlsError::Alert(alert)) if self.is_established() => {
                record.note(&format!("the server's TLS alert: {alert}"));
                Ok(self.record_end(End::Reset, record))
            }
            Err(err) => {
                let _ = self.flush_tls(); // sends the alert that tells the server the reason
                Err(self.tls_failure(encrypted, &err, record))
            }
        }
    }

    /// Returns the failure for a TLS error that these bytes caused.
    fn tls_failure(
        &self,
        encrypted: &[u8],
        err: &TlsError,
        record: &RecordHandle,
    ) -> anyhow::Error {
        let (expected, got, likely) = match err {
            TlsError::NotTls => {
                let likely = if self.is_established() { BROKEN_TLS } else { PLAINTEXT };
                ("TLS", Description::bytes(encrypted.to_vec(), "which is not TLS"), likely)
            }
            TlsError::Alert(_) => (HANDSHAKE, Description::text(err), CLIENT_REFUSED),
            TlsError::Certificate(_) => {
                ("a certificate that the client trusts", Description::text(err), UNTRUSTED)
            }
            TlsError::Other(_) => ("TLS", Description::text(err), BROKEN_TLS),
        };
        Failure {
            did: record.transcript(),
            expected: Description::text(expected),
            got,
            is_timeout: false,
            likely_cause: Some(likely),
        }
        .into()
    }

    /// Records how the connection ended, and returns the outcome of the read that has noticed it.
    fn record_end(&mut self, end: End, record: &RecordHandle) -> ReadOutcome {
        let Some(tls) = &mut self.tls else {
            record.note(&end.to_string());
            return ReadOutcome::Ended(end);
        };
        let has_notify = tls.session.has_close_notify();
        let is_cut_off = end == End::Eof && tls.is_established && !has_notify;
        record.note(&format!("{end}{}", if is_cut_off { ", without close_notify" } else { "" }));
        // After close_notify, no data is missing, even if the connection is then reset.
        let end = if has_notify { End::Eof } else { end };
        tls.end = Some(end);
        ReadOutcome::Ended(end)
    }

    /// If the stream ended without `close_notify`, notes that for the report on the server.
    pub(super) fn note_missing_close_notify(&self) {
        if let Some(tls) = self.tls.as_ref().filter(|tls| !tls.session.has_close_notify()) {
            tls.session.set_omits_close_notify();
        }
    }

    /// Closes the sending side. With TLS, sends `close_notify` first.
    pub(super) fn half_close(&mut self) -> Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.session.close_notify();
            self.flush_tls().context("could not send close_notify")?;
        }
        self.shutdown_write().context("could not close the sending side")
    }

    /// Closes the sending side of the socket without `close_notify`.
    pub(super) fn shutdown_write(&self) -> io::Result<()> {
        self.sock.shutdown(Shutdown::Write)
    }

    /// Closes the connection with a reset.
    pub(super) fn reset(mut self) -> io::Result<()> {
        self.tls = None; // so that dropping the connection sends no close_notify
        SockRef::from(&self.sock).set_linger(Some(Duration::ZERO))
    }
}

/// Closes the connection. With TLS, sends `close_notify` first.
impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(tls) = &mut self.tls
            && tls.end.is_none()
        {
            // Dropping must not wait for a server that does not read.
            let _ = self.sock.set_nonblocking(true);
            tls.session.close_notify();
            let _ = tls.session.flush(&mut self.sock);
        }
    }
}

/// Returns the failure of an operation on a socket that returned this error.
fn io_failure(did: String, expected: &str, err: &io::Error) -> Failure {
    let failure = Failure::new(did, expected, err);
    if is_timeout(err) { failure.timed_out() } else { failure }
}

/// Reports whether a read or a write returned because its time was up.
pub(super) fn is_timeout(err: &io::Error) -> bool {
    matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn is_reset(err: &io::Error) -> bool {
    matches!(
        err.kind(),
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe
    )
}

const HANDSHAKE: &str = "the server's part of a TLS handshake";
const CLIENT_REFUSED: &str = "The server speaks TLS, but refuses this client: check which TLS versions it \
                              accepts (1.3 or 1.2 is needed), its certificate, and its log.";
const NO_TLS: &str = "The server does not answer as one that speaks TLS does. If it speaks plaintext, \
                      check it without --tls.";
const PLAINTEXT: &str = "The server speaks plaintext, not TLS: check it without --tls, or let it do a \
                         handshake on each connection that it accepts.";
const BROKEN_TLS: &str = "Some bytes are sent without TLS, or two threads use the TLS of one connection at \
                          the same time.";
const UNTRUSTED: &str = "The file of --ca contains another CA, or the certificate belongs to another server. \
                         Without --ca, any certificate is accepted.";
