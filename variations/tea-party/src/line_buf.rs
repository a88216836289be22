//! Turns bytes, which may be cut anywhere and may contain telnet commands, into lines.

use std::io::{self, ErrorKind, Read};

use memchr::memchr;
use serverkit::telnet::Telnet;

/// The longest line, in bytes before its end: as long as the longest line that can be typed in a terminal
/// of Linux (termios(3)).
pub const MAX_LINE_LEN: usize = 4096;

/// The most bytes that one read returns.
const READ_SIZE: usize = 4096;

/// The error for a line that is longer than [`MAX_LINE_LEN`]. The whole line is dropped, up to its end. The
/// error's text is the reply to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("A line has at most {MAX_LINE_LEN} bytes; yours was dropped.")]
pub struct LineTooLong;

/// The bytes of one client that have not been returned as lines yet. Telnet commands are removed.
///
/// ```
/// use tea_party::LineBuf;
///
/// let mut lines = LineBuf::default();
/// lines.read_from(&mut &b"login ann\r\nsay one\nsay t"[..])?;
/// assert_eq!(lines.take_line().unwrap().unwrap(), b"login ann");
/// assert_eq!(lines.take_line().unwrap().unwrap(), b"say one");
/// assert_eq!(lines.take_line(), None);
/// lines.read_from(&mut &b"w\xff\xfd\x01o\n"[..])?; // with a telnet command in it: DO ECHO
/// assert_eq!(lines.take_line().unwrap().unwrap(), b"say two");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct LineBuf {
    bytes: Vec<u8>,
    /// Where the next line begins. The bytes before it have been returned.
    start: usize,
    /// How far the next line has been searched for its end, so that no byte is searched twice.
    searched: usize,
    /// Whether the beginning of the next line has been dropped, because the line is too long.
    is_too_long: bool,
    telnet: Telnet,
}

impl LineBuf {
    /// Reads once, and returns the number of bytes. 0 means that the client has shut down its sending side.
    ///
    /// # Errors
    ///
    /// The errors of the read, except `Interrupted`. `WouldBlock` means that nothing has arrived.
    pub fn read_from(&mut self, sock: &mut impl Read) -> io::Result<usize> {
        let mut received = [0; READ_SIZE];
        let n = loop {
            match sock.read(&mut received) {
                // A signal came during the read.
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        self.bytes.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        let kept = self.telnet.receive(&received[..n], &mut self.bytes);
        // A backspace may have erased bytes that had already been searched.
        self.searched = self.searched.min(kept);
        Ok(n)
    }

    /// Takes the answer to the telnet commands so far. It is usually empty; if not, send it at once.
    pub fn take_telnet_answer(&mut self) -> Vec<u8> {
        self.telnet.take_answer()
    }

    /// Takes the next line if all of it has arrived, without its end.
    ///
    /// A line that is too long is dropped while it arrives. When its end has arrived, a [`LineTooLong`]
    /// takes its place. The lines after it can be taken as usual.
    pub fn take_line(&mut self) -> Option<Result<Vec<u8>, LineTooLong>> {
        let found = memchr(b'\n', &self.bytes[self.searched..]);
        let end = found.map_or(self.bytes.len(), |at| self.searched + at);
        let line = &self.bytes[self.start..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let is_too_long = self.is_too_long || line.len() > MAX_LINE_LEN;
        if found.is_some() {
            let line = if is_too_long { Err(LineTooLong) } else { Ok(line.to_vec()) };
            self.start = end + 1;
            self.searched = end + 1;
            self.is_too_long = false;
            return Some(line);
        }
        self.is_too_long = is_too_long;
        if is_too_long || self.start == end {
            // No bytes have to be kept, so a client that is idle takes no memory here.
            self.bytes = Vec::new();
            self.start = 0;
        }
        self.searched = self.bytes.len();
        None
    }

    /// Returns the number of bytes that have arrived of a line that has not ended yet.
    #[must_use]
    pub fn unfinished_len(&self) -> usize {
        self.bytes.len() - self.start
    }
}
