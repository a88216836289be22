//! A client that sends and receives raw bytes, remembers both, and never waits without a deadline.

use std::any::Any;
use std::fmt::{self, Write as _};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::tape::{self, BYTES_KEPT, Step, Tape};
use crate::tls::{self, Session, Tls};
use crate::{Failure, PATIENCE, Said, fail, fail_late};

/// The receive buffer of a narrow client, in bytes.
const NARROW_BUFFER: usize = 4096;

/// The segment size of a narrow client, in bytes: the server's kernel sizes its send buffer by it.
#[cfg(target_os = "linux")]
const NARROW_SEGMENT: u32 = 536;

/// What a client heard next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A message, without its zero byte.
    Frame(Vec<u8>),
    /// The server closed its side in good order.
    Eof,
    /// The connection broke: a reset.
    Reset,
    /// Nothing, for the whole time.
    Silence,
}

impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Heard::Frame(frame) => write!(f, "the message {}", show(frame)),
            Heard::Eof => f.write_str("the end of the stream"),
            Heard::Reset => f.write_str("a reset"),
            Heard::Silence => f.write_str("nothing"),
        }
    }
}

/// A connection to a server under test.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    addr: SocketAddr,
    server: SocketAddr,
    /// `received[taken..]` has arrived and was not given out.
    received: Vec<u8>,
    taken: usize,
    tape: Tape,
    lane: usize,
    patience: Duration,
    memory: Option<Box<dyn Any + Send>>,
    tls: Option<Box<Inside>>,
}

/// What is between the socket of a client and its bytes.
#[derive(Debug)]
struct Inside {
    session: Session,
    /// How it has ended, if it has before the connection was seen to.
    over: Option<Heard>,
    /// Whether there was no handshake before that.
    is_unshaken: bool,
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

    /// Goes on inside TLS, after a handshake: what is sent and heard from now on is what TLS carries.
    ///
    /// That the server ends the connection instead is no failure yet: a server may be full.
    pub fn inside(mut self, tls: &Tls) -> Result<Self> {
        let session = Session::begin(tls)?;
        self.tls = Some(Box::new(Inside { session, over: None, is_unshaken: true }));
        let until = Instant::now() + self.patience;
        while self.tls.as_ref().is_some_and(|it| it.session.is_shaking()) {
            let left = until.saturating_duration_since(Instant::now());
            match self.read(left.max(Duration::from_millis(1)))? {
                Heard::Silence if left.is_zero() => return Err(self.unshaken(&Heard::Silence)),
                Heard::Eof | Heard::Reset => return Ok(self),
                _ => {}
            }
        }
        // The last of the handshake; if the server is gone already, that will be heard.
        let _ = self.flush_tls();
        if let Some(tls) = &mut self.tls {
            tls.is_unshaken = false;
            let version = tls.session.version();
            self.record(Step::Note, version.as_bytes());
        }
        Ok(self)
    }

    fn is_unshaken(&self) -> bool {
        self.tls.as_ref().is_some_and(|it| it.is_unshaken)
    }

    /// A failure of the handshake.
    fn unshaken(&self, got: &Heard) -> anyhow::Error {
        let is_late = *got == Heard::Silence;
        // Where it has answered before, this is another mistake.
        let likely = self.tls.as_ref().is_none_or(|it| !it.session.was_met()).then_some(NO_TLS);
        let expected = Said::words(HANDSHAKE);
        Failure { did: self.transcript(), expected, got: Said::words(got), is_late, likely }.into()
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

    fn record(&self, step: Step, bytes: &[u8]) {
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

    /// Gives the next message; anything else is a failure.
    pub fn frame(&mut self) -> Result<Vec<u8>> {
        match self.hear(self.patience)? {
            Heard::Frame(frame) => Ok(frame),
            other => Err(self.failure(Said::words("a message"), other)),
        }
    }

    /// The next thing heard must be this message.
    pub fn expect(&mut self, text: &str) -> Result<()> {
        let heard = self.hear(self.patience)?;
        if heard == Heard::Frame(text.as_bytes().to_vec()) {
            return Ok(());
        }
        Err(self.failure(Said::bytes(framed(text), ""), heard))
    }

    /// The stream must end here, in good order and with nothing more in it.
    pub fn expect_eof(&mut self) -> Result<()> {
        let heard = self.hear(self.patience)?;
        if heard == Heard::Eof && self.unfinished().is_empty() {
            if let Some(tls) = self.tls.as_ref().filter(|it| !it.session.is_notified()) {
                tls.session.was_cut_off();
            }
            return Ok(());
        }
        Err(self.failure(Said::words("the end of the stream and nothing before it"), heard))
    }

    /// The connection must end here, in whatever way, with no message before.
    pub fn expect_closed(&mut self) -> Result<()> {
        match self.hear(self.patience)? {
            Heard::Eof | Heard::Reset => Ok(()),
            other => Err(self.failure(Said::words("the end of the connection"), other)),
        }
    }

    /// A failure of what this client heard, with the bytes that came without their zero byte.
    #[must_use]
    pub fn failure(&self, expected: Said, heard: Heard) -> anyhow::Error {
        let is_late = heard == Heard::Silence;
        if is_late {
            self.record(Step::Note, b"(nothing came)");
        }
        let left = self.unfinished();
        let got = match heard {
            Heard::Frame(frame) => Said::bytes([&frame[..], &[0]].concat(), ""),
            Heard::Silence if left.is_empty() => {
                Said::words(format!("nothing for {:.1} s", self.patience.as_secs_f64()))
            }
            ending if left.is_empty() => Said::words(ending),
            ending => Said::bytes(left.to_vec(), format!("no ␀, and then {ending}")),
        };
        self.failed(expected, got, is_late)
    }

    /// Gives the next bytes, so many; anything else is a failure.
    pub fn take(&mut self, len: usize) -> Result<Vec<u8>> {
        self.take_when(&format!("{len} bytes"), |bytes| (bytes.len() >= len).then_some(len))
    }

    /// Gives the next line, its LF included.
    pub fn line(&mut self) -> Result<Vec<u8>> {
        self.take_when("a line", |bytes| memchr::memchr(b'\n', bytes).map(|at| at + 1))
    }

    /// Gives the next bytes as soon as `len` says how many they are; `what` names them in a failure.
    pub fn take_when(
        &mut self,
        what: &str,
        len: impl Fn(&[u8]) -> Option<usize>,
    ) -> Result<Vec<u8>> {
        let until = Instant::now() + self.patience;
        loop {
            if let Some(len) = len(self.unfinished()) {
                return Ok(self.take_bytes(len));
            }
            let left = until.saturating_duration_since(Instant::now());
            match self.read(left.max(Duration::from_millis(1)))? {
                Heard::Silence if !left.is_zero() => {}
                Heard::Frame(_) => {}
                ending => return Err(self.raw_failure(Said::words(what), &ending)),
            }
        }
    }

    /// The next bytes must be these.
    pub fn expect_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.expect_one_of(&[bytes])
    }

    /// The next bytes must be one of these; a failure names the first that they were like longest.
    pub fn expect_one_of(&mut self, right: &[&[u8]]) -> Result<()> {
        let until = Instant::now() + self.patience;
        loop {
            let came = self.unfinished();
            if let Some(bytes) = right.iter().find(|bytes| came.starts_with(bytes)) {
                self.take_bytes(bytes.len());
                return Ok(());
            }
            let alike = |bytes: &[u8]| bytes.iter().zip(came).take_while(|(a, b)| a == b).count();
            let most = right.iter().map(|bytes| alike(bytes)).max().unwrap_or_default();
            let nearest = right.iter().find(|bytes| alike(bytes) == most).map_or(&[][..], |it| it);
            let expected = || Said::bytes(nearest.to_vec(), "");
            if most < came.len() {
                let got = came[..came.len().min(nearest.len() + 64)].to_vec();
                return Err(self.failed(expected(), Said::bytes(got, ""), false));
            }
            let left = until.saturating_duration_since(Instant::now());
            match self.read(left.max(Duration::from_millis(1)))? {
                Heard::Silence if !left.is_zero() => {}
                Heard::Frame(_) => {}
                ending => return Err(self.raw_failure(expected(), &ending)),
            }
        }
    }

    /// Reads to the end of the connection: all bytes, and how it ended.
    pub fn bytes_to_end(&mut self) -> Result<(Vec<u8>, Heard)> {
        let mut until = Instant::now() + self.patience;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.read(left.max(Duration::from_millis(1)))? {
                Heard::Silence if !left.is_zero() => {}
                Heard::Frame(_) => until = Instant::now() + self.patience,
                Heard::Silence => {
                    return Err(self.raw_failure(Said::words("an end"), &Heard::Silence));
                }
                ending => return Ok((self.take_bytes(self.unfinished().len()), ending)),
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

    fn take_bytes(&mut self, len: usize) -> Vec<u8> {
        let bytes = self.unfinished()[..len].to_vec();
        self.taken += len;
        bytes
    }

    /// A failure where the bytes have no ␀ to end them.
    fn raw_failure(&self, expected: Said, ending: &Heard) -> anyhow::Error {
        let got = match self.unfinished() {
            [] => Said::words(ending),
            left => Said::bytes(left.to_vec(), format!("and then {ending}")),
        };
        self.failed(expected, got, *ending == Heard::Silence)
    }

    fn failed(&self, expected: Said, got: Said, is_late: bool) -> anyhow::Error {
        Failure { did: self.transcript(), expected, got, is_late, likely: None }.into()
    }

    /// Reads to the end of the connection: all messages, and how it ended.
    pub fn rest(&mut self) -> Result<(Vec<Vec<u8>>, Heard)> {
        let mut frames = Vec::new();
        loop {
            match self.hear(self.patience)? {
                Heard::Frame(frame) => frames.push(frame),
                Heard::Silence => return fail_late(self.transcript(), "an end", "nothing more"),
                ending => return Ok((frames, ending)),
            }
        }
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

    fn unfinished(&self) -> &[u8] {
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

    fn write_out(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        if self.tls.is_none() {
            return self.stream.write_all(bytes);
        }
        while !bytes.is_empty() {
            bytes = &bytes[self.write_tls(bytes)?..];
        }
        Ok(())
    }

    /// Sends bytes inside TLS, as many as it takes at once.
    fn write_tls(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.flush_tls()?; // what an earlier try has left
        let Some(tls) = &mut self.tls else { return Ok(0) };
        let len = tls.session.put(bytes)?;
        self.flush_tls()?;
        Ok(len)
    }

    fn flush_tls(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        if tls.over.is_some() {
            return Err(ErrorKind::BrokenPipe.into());
        }
        tls.session.flush(&mut self.stream)
    }

    fn read(&mut self, within: Duration) -> Result<Heard> {
        self.received.drain(..self.taken);
        self.taken = 0;
        if let Some(ending) = self.tls.as_ref().and_then(|it| it.over.clone()) {
            return Ok(ending);
        }
        if self.tls.as_ref().is_some_and(|it| it.session.is_shaking()) {
            // What cannot be sent any more will be heard.
            let _ = self.flush_tls();
        }
        self.stream.set_read_timeout(Some(within))?;
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => Ok(self.ended(Heard::Eof)),
            Ok(n) if self.tls.is_some() => self.read_tls(&chunk[..n]),
            Ok(n) => {
                self.record(Step::Got, &chunk[..n]);
                self.received.extend_from_slice(&chunk[..n]);
                Ok(Heard::Frame(Vec::new()))
            }
            Err(err) if is_timeout(&err) => Ok(Heard::Silence),
            Err(err) if is_reset(&err) => Ok(self.ended(Heard::Reset)),
            Err(err) => Err(err).context("could not read from the server"),
        }
    }

    /// Gives what has come inside TLS.
    fn read_tls(&mut self, came: &[u8]) -> Result<Heard> {
        let Some(tls) = &mut self.tls else { return Ok(Heard::Silence) };
        let (before, was_notified) = (self.received.len(), tls.session.is_notified());
        let taken = tls.session.take_in(came, &mut self.received);
        let is_notified = tls.session.is_notified() && !was_notified;
        if self.received.len() > before {
            self.record(Step::Got, &self.received[before..]);
        }
        if is_notified {
            self.record(Step::Note, b"close_notify");
        }
        match taken {
            Ok(()) => Ok(Heard::Frame(Vec::new())),
            Err(rustls::Error::AlertReceived(alert)) if !self.is_unshaken() => {
                self.record(Step::Note, format!("the server's TLS alert: {alert:?}").as_bytes());
                Ok(self.ended(Heard::Reset))
            }
            Err(err) => {
                let _ = self.flush_tls(); // tells the server why
                Err(self.not_tls(came, &err))
            }
        }
    }

    /// A failure of TLS.
    fn not_tls(&self, came: &[u8], err: &rustls::Error) -> anyhow::Error {
        let (expected, got, likely) = match err {
            rustls::Error::InvalidMessage(_) => {
                let likely = if self.is_unshaken() { PLAIN } else { BROKEN };
                ("TLS", Said::bytes(came.to_vec(), "which is not TLS"), likely)
            }
            rustls::Error::AlertReceived(alert) => {
                (HANDSHAKE, Said::words(format!("the TLS alert {alert:?}")), NO_COMMON_GROUND)
            }
            rustls::Error::InvalidCertificate(_) => (
                "the certificate of a server to trust",
                Said::words(tls::explained(err)),
                UNTRUSTED,
            ),
            _ => ("TLS", Said::words(err), BROKEN),
        };
        let (did, expected) = (self.transcript(), Said::words(expected));
        Failure { did, expected, got, is_late: false, likely: Some(likely) }.into()
    }

    fn ended(&mut self, ending: Heard) -> Heard {
        let mut how = "";
        if let Some(tls) = &mut self.tls {
            tls.over = Some(ending.clone());
            // After close_notify nothing is missing, whatever ends the connection.
            if tls.session.is_notified() {
                tls.over = Some(Heard::Eof);
            } else if ending == Heard::Eof && !tls.is_unshaken {
                how = ", without close_notify";
            }
        }
        self.record(Step::Note, format!("{ending}{how}").as_bytes());
        self.tls.as_ref().and_then(|it| it.over.clone()).unwrap_or(ending)
    }
}

const HANDSHAKE: &str = "the server's part of a TLS handshake";
const NO_COMMON_GROUND: &str = "The server speaks TLS, but refuses this client: look at its versions (1.3 \
                                or 1.2 is needed), its certificate and its log.";
const NO_TLS: &str = "The server does not answer as one that speaks TLS does. If it speaks plaintext, \
                      check it without --tls.";
const PLAIN: &str = "The server speaks plaintext, not TLS: check it without --tls, or let it do a \
                     handshake on each connection that it accepts.";
const BROKEN: &str = "Something is sent past TLS, or two threads use one connection's TLS at the same \
                      time.";
const UNTRUSTED: &str = "The file of --ca is of another CA, or the certificate is of another server. \
                         Without --ca, any certificate is taken.";

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

fn is_timeout(err: &io::Error) -> bool {
    matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

fn is_reset(err: &io::Error) -> bool {
    matches!(
        err.kind(),
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe
    )
}

/// The bytes of a message on the wire.
#[must_use]
pub fn framed(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

/// Reports whether a terminal does something at this character instead of showing it: C0, DEL and C1, what
/// has Unicode's property `Bidi_Control`, and the separators of lines and paragraphs.
#[must_use]
pub fn is_obeyed(ch: char) -> bool {
    let is_bidi_control = matches!(ch,
        '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    ch.is_control() || is_bidi_control || matches!(ch, '\u{2028}'..='\u{2029}')
}

/// Shows bytes as text: the zero byte as `␀`, other characters that a terminal obeys escaped.
#[must_use]
pub fn show_text(bytes: &[u8]) -> String {
    let mut shown = String::new();
    for ch in String::from_utf8_lossy(bytes).chars() {
        match ch {
            '\0' => shown.push('␀'),
            ch if is_obeyed(ch) => shown.extend(ch.escape_default()),
            ch => shown.push(ch),
        }
    }
    shown
}

/// Shows bytes as text and, when there are few, in hexadecimal; the zero byte is `␀`.
#[must_use]
pub fn show(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(BYTES_KEPT)];
    let mut line = format!("\"{}\"", show_text(shown));
    if shown.len() < bytes.len() {
        let _ = write!(line, "… ({} bytes)", bytes.len());
    } else if bytes.len() <= 24 {
        let hex: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let _ = write!(line, " [{}]", hex.join(" "));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_as_text_and_in_hexadecimal() {
        assert_eq!(show(b"a\0\x1b"), "\"a␀\\u{1b}\" [61 00 1b]");
        assert_eq!(show_text("\u{202e}a\u{2028}".as_bytes()), r"\u{202e}a\u{2028}");
        assert!(show(&[b'x'; 1000]).ends_with("… (1000 bytes)"));
    }
}
