//! Lines, out of bytes that the network has cut anywhere and a telnet client has mixed with its own.

use std::io::{self, ErrorKind, Read};

use memchr::memchr;
use tincanchat::span;

/// The longest line, in bytes before its end: as long as a Linux terminal lets anyone type it
/// (termios(3)).
pub const MAX_LINE_LEN: usize = 4096;

/// A line was too long. It has been dropped, the end that came later included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("A line has at most {MAX_LINE_LEN} bytes; yours was dropped.")]
pub struct LineTooLong;

/// The bytes that RFC 854 gives a meaning of their own. No UTF-8 text has any of them after an IAC,
/// because it has no IAC.
const IAC: u8 = 255;
const DONT: u8 = 254;
const DO: u8 = 253;
const WONT: u8 = 252;
const WILL: u8 = 251;
const SB: u8 = 250;
const SE: u8 = 240;

/// The one option to which a client waits for the answer: after Ctrl-C, a telnet client asks for this
/// mark, and shows nothing until it comes (RFC 860). To all other requests, silence means no.
const TIMING_MARK: u8 = 6;

/// What has been received from one client and not been taken as a line yet, without telnet commands.
///
/// ```
/// use tea_party::Lines;
///
/// let mut lines = Lines::default();
/// lines.read_from(&mut &b"login ann\r\nsay one\nsay t"[..])?;
/// assert_eq!(lines.take().unwrap().unwrap(), b"login ann");
/// assert_eq!(lines.take().unwrap().unwrap(), b"say one");
/// assert_eq!(lines.take(), None);
/// lines.read_from(&mut &b"w\xff\xfd\x01o\n"[..])?; // in the middle, a request to echo
/// assert_eq!(lines.take().unwrap().unwrap(), b"say two");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Lines {
    bytes: Vec<u8>,
    /// Where the next line begins; what is before has been taken.
    start: usize,
    /// Up to here there is no end of that line, so that no byte is looked at twice.
    searched: usize,
    /// Whether the beginning of that line has been dropped already.
    is_too_long: bool,
    telnet: Telnet,
    /// What a telnet client waits for.
    answer: Vec<u8>,
}

/// What the next byte is.
#[derive(Clone, Copy, Debug, Default)]
enum Telnet {
    #[default]
    Text,
    /// Text, after a CR. With a NUL behind it, that is the Enter key of a telnet client that sends
    /// characters, as CR LF is that of one that sends lines (RFC 1123, 3.3.1).
    Return,
    Command,
    /// The option that this command is about.
    Option(u8),
    /// Something for the option's own use, up to IAC SE.
    Sub,
    SubCommand,
}

impl Lines {
    /// Reads once, and says how many bytes came; 0 is the end of the stream.
    ///
    /// # Errors
    ///
    /// Those of the source.
    pub fn read_from(&mut self, source: &mut impl Read) -> io::Result<usize> {
        let _span = span("read");
        let mut chunk = [0; 4096];
        let n = loop {
            match source.read(&mut chunk) {
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        self.bytes.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        chunk[..n].iter().for_each(|byte| self.push(*byte));
        Ok(n)
    }

    fn push(&mut self, byte: u8) {
        if matches!((self.telnet, byte), (Telnet::Option(DO), TIMING_MARK)) {
            self.answer.extend([IAC, WONT, TIMING_MARK]);
        }
        self.telnet = match (self.telnet, byte) {
            (Telnet::Text | Telnet::Return, IAC) => Telnet::Command,
            (Telnet::Text | Telnet::Return, _) => {
                let is_enter = matches!((self.telnet, byte), (Telnet::Return, 0));
                self.bytes.push(if is_enter { b'\n' } else { byte });
                if byte == b'\r' { Telnet::Return } else { Telnet::Text }
            }
            (Telnet::Command, WILL | WONT | DO | DONT) => Telnet::Option(byte),
            (Telnet::Sub, IAC) => Telnet::SubCommand,
            (Telnet::Command, SB) | (Telnet::Sub, _) => Telnet::Sub,
            (Telnet::SubCommand, byte) if byte != SE => Telnet::Sub,
            // No other command is text; nor is a doubled IAC, which stands for the byte itself.
            (Telnet::Command | Telnet::Option(_) | Telnet::SubCommand, _) => Telnet::Text,
        };
    }

    /// Takes out what is to be sent to a telnet client at once; mostly it is nothing.
    pub fn take_answer(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.answer)
    }

    /// Takes the next line out, without its end, if all of it is there. One that is too long is
    /// dropped as it comes, and told of at its end.
    pub fn take(&mut self) -> Option<Result<Vec<u8>, LineTooLong>> {
        let found = memchr(b'\n', &self.bytes[self.searched..]);
        let end = found.map_or(self.bytes.len(), |at| self.searched + at);
        let line = &self.bytes[self.start..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let is_too_long = self.is_too_long || line.len() > MAX_LINE_LEN;
        if found.is_some() {
            let line = if is_too_long { Err(LineTooLong) } else { Ok(line.to_vec()) };
            (self.start, self.searched, self.is_too_long) = (end + 1, end + 1, false);
            return Some(line);
        }
        self.is_too_long = is_too_long;
        self.searched = end;
        if is_too_long || self.start == end {
            // Who says nothing costs no memory here.
            (self.bytes, self.start, self.searched) = (Vec::new(), 0, 0);
        }
        None
    }

    /// How many bytes there are of a line that has no end yet.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.bytes.len() - self.start
    }
}
