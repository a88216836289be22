//! A client that sends and receives raw bytes, remembers both, and never waits without a deadline.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::{PATIENCE, fail};

/// The receive buffer of a narrow client, in bytes.
const NARROW_BUFFER: usize = 4096;

/// The segment size of a narrow client, in bytes: the server's kernel sizes its send buffer by it.
#[cfg(target_os = "linux")]
const NARROW_SEGMENT: u32 = 536;

/// The steps that a transcript keeps; of older ones it only tells how many there were.
const STEPS_KEPT: usize = 12;

/// The bytes shown of a step that moved more.
const BYTES_SHOWN: usize = 160;

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
    transcript: Transcript,
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
            .with_context(|| format!("could not connect to {server}"))?;
        let stream = TcpStream::from(socket);
        // What a check cuts into pieces must leave in these pieces.
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let addr = stream.local_addr()?;
        let transcript = Transcript::default();
        Ok(Self { stream, addr, server, received: Vec::new(), taken: 0, transcript })
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
        format!("client {} of {}\n{}", self.addr, self.server, self.transcript)
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.transcript.add(Step::Sent, bytes);
        match self.stream.write_all(bytes) {
            Ok(()) => Ok(()),
            Err(err) => fail(self.transcript(), "the server takes the bytes", err),
        }
    }

    /// Sends bytes as long as the server takes them; that it stops is no failure.
    pub fn send_regardless(&mut self, bytes: &[u8]) {
        self.transcript.add(Step::Sent, bytes);
        if let Err(err) = self.stream.write_all(bytes) {
            self.transcript.add(Step::Note, err.to_string().as_bytes());
        }
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
        match self.hear(PATIENCE)? {
            Heard::Frame(frame) => Ok(frame),
            other => fail(self.transcript(), "a message", other),
        }
    }

    /// The next thing heard must be this message.
    pub fn expect(&mut self, text: &str) -> Result<()> {
        let heard = self.hear(PATIENCE)?;
        if heard == Heard::Frame(text.as_bytes().to_vec()) {
            return Ok(());
        }
        fail(self.transcript(), format!("the message {}", show(text.as_bytes())), heard)
    }

    /// The stream must end here, in good order and with nothing more in it.
    pub fn expect_eof(&mut self) -> Result<()> {
        let heard = self.hear(PATIENCE)?;
        if heard == Heard::Eof && self.unfinished().is_empty() {
            return Ok(());
        }
        let got = format!("{heard}, after {} unfinished bytes", self.unfinished().len());
        fail(self.transcript(), "the end of the stream and nothing before it", got)
    }

    /// The connection must end here, in whatever way, with no message before.
    pub fn expect_closed(&mut self) -> Result<()> {
        match self.hear(PATIENCE)? {
            Heard::Eof | Heard::Reset => Ok(()),
            other => fail(self.transcript(), "the end of the connection", other),
        }
    }

    /// Reads to the end of the connection: all messages, and how it ended.
    pub fn rest(&mut self) -> Result<(Vec<Vec<u8>>, Heard)> {
        let mut frames = Vec::new();
        loop {
            match self.hear(PATIENCE)? {
                Heard::Frame(frame) => frames.push(frame),
                Heard::Silence => return fail(self.transcript(), "an end", "nothing more"),
                ending => return Ok((frames, ending)),
            }
        }
    }

    /// Closes the sending side: no more will be said, but still be heard.
    pub fn half_close(&mut self) -> Result<()> {
        self.transcript.add(Step::Note, b"closed the sending side");
        self.stream.shutdown(Shutdown::Write).context("could not close the sending side")
    }

    /// Leaves with a reset instead of an orderly end, as a program that was killed may.
    pub fn reset(self) -> Result<()> {
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

    fn read(&mut self, within: Duration) -> Result<Heard> {
        self.received.drain(..self.taken);
        self.taken = 0;
        self.stream.set_read_timeout(Some(within))?;
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => Ok(self.ended(Heard::Eof)),
            Ok(n) => {
                self.transcript.add(Step::Got, &chunk[..n]);
                self.received.extend_from_slice(&chunk[..n]);
                Ok(Heard::Frame(Vec::new()))
            }
            Err(err) if is_timeout(&err) => Ok(Heard::Silence),
            Err(err) if is_reset(&err) => Ok(self.ended(Heard::Reset)),
            Err(err) => Err(err).context("could not read from the server"),
        }
    }

    fn ended(&mut self, ending: Heard) -> Heard {
        self.transcript.add(Step::Note, ending.to_string().as_bytes());
        ending
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

/// Shows bytes as text and, when there are few, in hexadecimal; the zero byte is `␀`.
#[must_use]
pub fn show(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(BYTES_SHOWN)];
    let text = String::from_utf8_lossy(shown).replace('\0', "␀");
    let mut line = String::from("\"");
    for ch in text.chars() {
        if ch.is_control() {
            line.extend(ch.escape_default());
        } else {
            line.push(ch);
        }
    }
    line.push('"');
    if shown.len() < bytes.len() {
        let _ = write!(line, "… ({} bytes)", bytes.len());
    } else if bytes.len() <= 24 {
        let hex: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let _ = write!(line, " [{}]", hex.join(" "));
    }
    line
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Sent,
    Got,
    Note,
}

/// The last steps of one connection.
#[derive(Debug, Default)]
struct Transcript {
    steps: VecDeque<(Step, Vec<u8>, usize)>,
    forgotten: usize,
}

impl Transcript {
    fn add(&mut self, step: Step, bytes: &[u8]) {
        if self.steps.len() == STEPS_KEPT {
            self.steps.pop_front();
            self.forgotten += 1;
        }
        let kept = bytes[..bytes.len().min(BYTES_SHOWN)].to_vec();
        self.steps.push_back((step, kept, bytes.len()));
    }
}

impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.forgotten > 0 {
            writeln!(f, "  … {} steps before", self.forgotten)?;
        }
        for (step, kept, len) in &self.steps {
            let more = if *len > kept.len() { format!("… ({len} bytes)") } else { String::new() };
            match step {
                Step::Sent => writeln!(f, "  → {}{more}", show(kept))?,
                Step::Got => writeln!(f, "  ← {}{more}", show(kept))?,
                Step::Note => writeln!(f, "  · {}", String::from_utf8_lossy(kept))?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_as_text_and_in_hexadecimal() {
        assert_eq!(show(b"a\0\x1b"), "\"a␀\\u{1b}\" [61 00 1b]");
        assert!(show(&[b'x'; 1000]).ends_with("… (1000 bytes)"));
    }

    #[test]
    fn a_transcript_keeps_the_last_steps() {
        let mut transcript = Transcript::default();
        for i in 0..STEPS_KEPT + 3 {
            transcript.add(Step::Sent, i.to_string().as_bytes());
        }
        let shown = transcript.to_string();
        assert!(shown.starts_with("  … 3 steps before\n  → \"3\""));
        assert!(shown.ends_with("\"14\" [31 34]\n"));
    }
}
