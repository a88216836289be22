//! Turns bytes, which may be cut anywhere and may contain telnet commands, into lines.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Read};
use std::mem;

use memchr::memchr;
use serverkit::telnet::Telnet;

/// The longest line, in bytes before its end: 64 KiB.
///
/// This is the only limit on the size of a number. A product has no more digits than all its factors
/// together, so an answer is not longer than a line either.
pub const MAX_LINE_LEN: usize = 64 * 1024;

/// The most bytes that one read returns.
const READ_SIZE: usize = 16 * 1024;

/// The error for a line that is longer than [`MAX_LINE_LEN`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the line is longer than {MAX_LINE_LEN} bytes")]
pub struct LineTooLong;

impl LineTooLong {
    /// The line that is sent to the client before its connection is closed.
    pub const REPLY: &str = "ERROR. A line has at most 65536 bytes\n";
}

/// The bytes of one client that have not been returned as lines yet. Telnet commands are removed.
///
/// ```
/// use calc::LineBuf;
///
/// let mut lines = LineBuf::default();
/// lines.read_from(&mut &b"5,-9,10\r\nsum \nqu"[..])?;
/// assert_eq!(lines.take_line()?.as_deref(), Some("5,-9,10"));
/// assert_eq!(lines.take_line()?.as_deref(), Some("sum"));
/// assert_eq!(lines.take_line()?, None);
/// lines.read_from(&mut &b"it\n"[..])?;
/// assert_eq!(lines.take_line()?.as_deref(), Some("quit"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct LineBuf {
    bytes: Vec<u8>,
    /// Where the next line begins. The bytes before it have been returned.
    start: usize,
    /// How far the next line has been searched for its end, so that no byte is searched twice.
    searched: usize,
    telnet: Telnet,
}

impl LineBuf {
    /// Reads once, and returns the number of bytes. 0 means that the client has shut down its sending side.
    ///
    /// # Errors
    ///
    /// The errors of the read, except `Interrupted`.
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

    /// Takes the next line if all of it has arrived, without its end and any white space before the end.
    ///
    /// # Errors
    ///
    /// [`LineTooLong`], as soon as one byte too many has arrived.
    pub fn take_line(&mut self) -> Result<Option<String>, LineTooLong> {
        let found = memchr(b'\n', &self.bytes[self.searched..]);
        let end = found.map_or(self.bytes.len(), |at| self.searched + at);
        let line = &self.bytes[self.start..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > MAX_LINE_LEN {
            return Err(LineTooLong);
        }
        if found.is_some() {
            let line = text_of(line);
            self.start = end + 1;
            self.searched = end + 1;
            return Ok(Some(line));
        }
        if self.start == end {
            // Nothing is left, so a client that is idle takes no memory here.
            self.bytes = Vec::new();
            self.start = 0;
        }
        self.searched = self.bytes.len();
        Ok(None)
    }

    /// Takes the last line if the client has shut down its sending side without ending the line.
    ///
    /// ```
    /// let mut lines = calc::LineBuf::default();
    /// lines.read_from(&mut &b"1,2"[..])?;
    /// assert_eq!(lines.take_line()?, None);
    /// assert_eq!(lines.take_unfinished().as_deref(), Some("1,2"));
    /// assert_eq!(lines.take_unfinished(), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn take_unfinished(&mut self) -> Option<String> {
        let rest = mem::take(self);
        let line = &rest.bytes[rest.start..];
        if line.is_empty() { None } else { Some(text_of(line)) }
    }
}

/// Returns the text of a line. Bytes that are not UTF-8 become U+FFFD, which no number or command contains.
fn text_of(line: &[u8]) -> String {
    String::from_utf8_lossy(line).trim_end().to_owned()
}

/// Quotes a text as Python's `ascii()` does, because the original of `line-echo` answers in this form.
///
/// ```
/// use calc::quoted;
///
/// assert_eq!(quoted("line"), "'line'");
/// assert_eq!(quoted("it's"), "\"it's\"");
/// assert_eq!(quoted("\u{1b}[2J é ☃ 🐶"), r"'\x1b[2J \xe9 \u2603 \U0001f436'");
/// assert_eq!(quoted(r#"\ ' ""#), r#"'\\ \' "'"#);
/// ```
#[must_use]
pub fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut quoted = String::from(quote);
    for c in text.chars() {
        let code = u32::from(c);
        // Writing to a String does not fail.
        let _ = match c {
            '\t' => write!(quoted, r"\t"),
            '\n' => write!(quoted, r"\n"),
            '\r' => write!(quoted, r"\r"),
            c if c == '\\' || c == quote => write!(quoted, r"\{c}"),
            ' '..='~' => write!(quoted, "{c}"),
            '\0'..='\u{ff}' => write!(quoted, r"\x{code:02x}"),
            '\u{100}'..='\u{ffff}' => write!(quoted, r"\u{code:04x}"),
            _ => write!(quoted, r"\U{code:08x}"),
        };
    }
    quoted.push(quote);
    quoted
}
