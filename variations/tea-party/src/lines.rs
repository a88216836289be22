//! Lines, out of bytes that the network has cut anywhere and a telnet client has mixed with its own.

use std::io::{self, ErrorKind, Read};

use memchr::memchr;
use tincanchat::span;
use tincanchat::telnet::Telnet;

/// The longest line, in bytes before its end: as long as a Linux terminal lets anyone type it
/// (termios(3)).
pub const MAX_LINE_LEN: usize = 4096;

/// A line was too long. It has been dropped, the end that came later included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("A line has at most {MAX_LINE_LEN} bytes; yours was dropped.")]
pub struct LineTooLong;

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
        let kept = self.telnet.receive(&chunk[..n], &mut self.bytes);
        self.searched = self.searched.min(kept);
        Ok(n)
    }

    /// Takes out what is to be sent to a telnet client at once; mostly it is nothing.
    pub fn take_answer(&mut self) -> Vec<u8> {
        self.telnet.take_answer()
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
