use std::any::Any;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::connection::{Inside, is_timeout};
use super::heard::{Heard, framed};
use crate::tape::{self, Step, Tape};
use crate::{PATIENCE, fail, fail_late};

/// The receive buffer of a narrow client, in bytes.
const NARROW_BUFFER: usize = 4096;

/// The segment size of a narrow client, in bytes: the server's kernel sizes its send buffer by it.
#[cfg(target_os = "linux")]
const NARROW_SEGMENT: u32 = 536;

/// A connection to a server under test.
#[derive(Debug)]
pub struct Client {
    pub(super) stream: TcpStream,
    pub(super) addr: SocketAddr,
    pub(super) server: SocketAddr,
    /// `received[taken..]` has arrived and was not given out.
    pub(super) received: Vec<u8>,
    pub(super) taken: usize,
    pub(super) tape: Tape,
    pub(super) lane: usize,
    pub(super) patience: Duration,
    pub(super) memory: Option<Box<dyn Any + Send>>,
    pub(super) tls: Option<Box<Inside>>,
}

impl Client {
    /// Connects as a program would that sets nothing.
    pub fn connect(server: SocketAddr) -> Result<Self> {
        Self::connect_by(server, |_| Ok(()))
    }

    /// Connects so that few bytes find room between server and client: on Linux about 50 KB,
    /// otherwise what the smallest receive buffer does.
    ///
    /// What such a client does not read waits in the server's own queue, not in the kernel.
    pub fn connect_narrow(server: SocketAddr) -> Result<Self> {
        Self::connect_by(server, |socket| {
            #[cfg(target_os = "linux")]
            socket.set_tcp_mss(NARROW_SEGMENT)?;
            socket.set_recv_buffer_size(NARROW_BUFFER)
        })
    }

    fn connect_by(
        server: SocketAddr,
        shape: impl FnOnce(&Socket) -> io::Result<()>,
    ) -> Result<Self> {
        let socket = Socket::new(Domain::for_address(server), Type::STREAM, Some(Protocol::TCP))?;
        shape(&socket)?;
        socket
            .connect_timeout(&server.into(), PATIENCE)
            .or_else(|err| fail(format!("connected to {server}"), "a connection", err))?;
        let stream = TcpStream::from(socket);
        // What a check cuts into pieces must leave in these pieces.
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let addr = stream.local_addr()?;
        let tape = Tape::default();
        let lane = tape.lane();
        let (received, patience) = (Vec::new(), PATIENCE);
        let (memory, tls) = (None, None);
        Ok(Self { stream, addr, server, received, taken: 0, tape, lane, patience, memory, tls })
    }

    /// Makes this client part of a story that others are in, too.
    #[must_use]
    pub fn on_tape(mut self, tape: &Tape) -> Self {
        self.tape = tape.clone();
        self.lane = tape.lane();
        self.record(Step::Note, b"connected");
        self
    }

    /// Says how long this client waits for what must come.
    #[must_use]
    pub fn patient(mut self, patience: Duration) -> Self {
        self.patience = patience;
        // A connection that has ended meanwhile shows that by itself.
        let _ = self.stream.set_write_timeout(Some(patience));
        self
    }

    /// What it is called in the story: A, B, …
    #[must_use]
    pub fn name(&self) -> String {
        tape::name(self.lane)
    }

    /// How long this client waits for what must come.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// Tells in the story what happens to the server of this client at this moment.
    pub fn note(&self, event: &str) {
        self.record(Step::Note, event.as_bytes());
    }

    pub(super) fn record(&self, step: Step, bytes: &[u8]) {
        self.tape.add(self.lane, step, bytes);
    }

    /// This client's own address: what a server calls it.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The address that was connected to.
    #[must_use]
    pub fn server(&self) -> SocketAddr {
        self.server
    }

    /// Everything sent and received so far, for a failure's text.
    #[must_use]
    pub fn transcript(&self) -> String {
        format!("client {} of {}\n{}", self.addr, self.server, self.tape.of_lane(self.lane))
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.record(Step::Sent, bytes);
        match self.write_out(bytes) {
            Ok(()) => Ok(()),
            Err(err) => match self.tls.as_deref().filter(|it| it.is_unshaken) {
                Some(Inside { over: Some(ending), .. }) => Err(self.unshaken(ending)),
                _ => fail(self.transcript(), "the server takes the bytes", err),
            },
        }
    }

    /// Sends bytes as long as the server takes them; that it stops is no failure. Gives whether it
    /// took them all.
    pub fn send_regardless(&mut self, bytes: &[u8]) -> bool {
        self.record(Step::Sent, bytes);
        let sent = self.write_out(bytes);
        if let Err(err) = &sent {
            self.record(Step::Note, format!("not sent: {err}").as_bytes());
        }
        sent.is_ok()
    }

    /// Sends the same bytes so many times, or until the connection ends; gives whether it has ended.
    pub fn send_while_open(&mut self, bytes: &[u8], times: usize) -> Result<bool> {
        self.record(Step::Sent, &bytes.repeat(times));
        for i in 0..times {
            match self.write_out(bytes) {
                Ok(()) => {}
                Err(err) if is_timeout(&err) => {
                    let taken =
                        format!("it takes no more after {} bytes, and waits", i * bytes.len());
                    return fail_late(self.transcript(), "it takes all, or closes", taken);
                }
                Err(err) => {
                    self.record(Step::Note, err.to_string().as_bytes());
                    return Ok(true);
                }
            }
        }
        // What was sent may still be on its way to a server that has closed.
        Ok(self.hear(self.patience)? != Heard::Silence)
    }

    /// Sends a message: its text and a zero byte.
    pub fn say(&mut self, text: &str) -> Result<()> {
        self.send(&framed(text))
    }

    /// Gives what comes next, waiting for it at most so long.
    pub fn hear(&mut self, within: Duration) -> Result<Heard> {
        let until = Instant::now() + within;
        loop {
            if let Some(frame) = self.take_frame() {
                return Ok(Heard::Frame(frame));
            }
            let left = until.saturating_duration_since(Instant::now());
            match self.read(left.max(Duration::from_millis(1)))? {
                Heard::Silence if left.is_zero() => return Ok(Heard::Silence),
                ending @ (Heard::Eof | Heard::Reset) => return Ok(ending),
                _ => {}
            }
        }
    }

    /// Keeps what an exchange has to know in the next one with this client: a session, say.
    pub fn remember<T: Send + 'static>(&mut self, what: T) {
        self.memory = Some(Box::new(what));
    }

    /// Takes out what was kept of this kind.
    pub fn recall<T: 'static>(&mut self) -> Option<T> {
        let kept = self.memory.take()?.downcast();
        kept.map(|what| *what).map_err(|other| self.memory = Some(other)).ok()
    }

    pub(super) fn take_bytes(&mut self, len: usize) -> Vec<u8> {
        let bytes = self.unfinished()[..len].to_vec();
        self.taken += len;
        bytes
    }

    /// Closes the sending side: no more will be said, but still be heard.
    pub fn half_close(&mut self) -> Result<()> {
        self.record(Step::Note, b"closed the sending side");
        if let Some(tls) = &mut self.tls {
            tls.session.notify();
            self.flush_tls().context("could not say close_notify")?;
        }
        self.stream.shutdown(Shutdown::Write).context("could not close the sending side")
    }

    /// Leaves with a reset instead of an orderly end, as a program that was killed may.
    pub fn reset(mut self) -> Result<()> {
        self.record(Step::Note, b"reset the connection");
        self.tls = None; // without a word
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))?;
        Ok(())
    }

    /// Gives a narrow client room again, so that it can take quickly what waits for it.
    pub fn widen(&self) -> Result<()> {
        Ok(SockRef::from(&self.stream).set_recv_buffer_size(1 << 20)?)
    }

    pub(super) fn unfinished(&self) -> &[u8] {
        &self.received[self.taken..]
    }

    fn take_frame(&mut self) -> Option<Vec<u8>> {
        let len = memchr::memchr(0, self.unfinished())?;
        let frame = self.unfinished()[..len].to_vec();
        self.taken += len + 1;
        Some(frame)
    }

    /// Closes the sending side of the connection, and inside TLS does not say so.
    pub fn cut_off(&mut self) -> Result<()> {
        self.record(Step::Note, b"cut the sending side off");
        self.stream.shutdown(Shutdown::Write).context("could not cut the sending side off")
    }
}

/// Closes the connection, and inside TLS says so before.
impl Drop for Client {
    fn drop(&mut self) {
        if let Some(tls) = &mut self.tls
            && tls.over.is_none()
        {
            // A server that does not read makes nobody wait here.
            let _ = self.stream.set_nonblocking(true);
            tls.session.notify();
            let _ = tls.session.flush(&mut self.stream);
        }
    }
}

/// What has arrived, and what arrives within the client's patience: for a protocol that somebody else
/// speaks over it.
impl Read for Client {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.unfinished().is_empty() {
            match Client::read(self, self.patience).map_err(io::Error::other)? {
                Heard::Frame(_) => {}
                Heard::Eof => return Ok(0),
                Heard::Reset => return Err(ErrorKind::ConnectionReset.into()),
                Heard::Silence => return Err(ErrorKind::TimedOut.into()),
            }
        }
        let len = into.len().min(self.unfinished().len());
        into[..len].copy_from_slice(&self.take_bytes(len));
        Ok(len)
    }
}

impl Write for Client {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = match self.tls {
            None => self.stream.write(bytes)?,
            Some(_) => self.write_tls(bytes)?,
        };
        self.record(Step::Sent, &bytes[..len]);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
