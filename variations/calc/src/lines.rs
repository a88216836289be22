//! Lines, out of bytes that the network has cut anywhere and a telnet client has mixed with its own.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Read};

use memchr::memchr;
use tincanchat::span;
use tincanchat::telnet::Telnet;

/// The longest line, in bytes before its end: 64 KiB.
///
/// It is the only limit of a number's size. A product takes as many digits as its factors have
/// together, so an answer is no longer than a line either.
pub const MAX_LINE_LEN: usize = 64 * 1024;

/// A line does not end where it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the line is longer than {MAX_LINE_LEN} bytes")]
pub struct LineTooLong;

/// What a client is told before its connection is closed, if it has sent a line that is too long.
///
/// ```
/// use calc::{LineTooLong, last_words};
///
/// let end = Err(LineTooLong.into());
/// assert_eq!(last_words(&end).unwrap(), "ERROR. A line has at most 65536 bytes\n");
/// assert_eq!(last_words(&Err(anyhow::anyhow!("reset"))), None);
/// ```
#[must_use]
pub fn last_words(end: &anyhow::Result<()>) -> Option<String> {
    let err = end.as_ref().err()?;
    err.is::<LineTooLong>().then(|| format!("ERROR. A line has at most {MAX_LINE_LEN} bytes\n"))
}

/// What has been received from one client and not been taken as a line yet, without telnet commands.
///
/// ```
/// use calc::Lines;
///
/// let mut lines = Lines::default();
/// lines.read_from(&mut &b"5,-9,10\r\nsum \nqu"[..])?;
/// assert_eq!(lines.take()?.as_deref(), Some("5,-9,10"));
/// assert_eq!(lines.take()?.as_deref(), Some("sum"));
/// assert_eq!(lines.take()?, None);
/// lines.read_from(&mut &b"it\n"[..])?;
/// assert_eq!(lines.take()?.as_deref(), Some("quit"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct Lines {
    bytes: Vec<u8>,
    /// Where the next line begins; what is before has been taken.
    start: usize,
    /// Up to here there is no end of that line, so that no byte is looked at twice.
    searched: usize,
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
        let mut chunk = [0; 16 * 1024];
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

    /// Takes the next line out, without its end and without white space before that, if all of it
    /// is there.
    ///
    /// # Errors
    ///
    /// [`LineTooLong`], as soon as that is certain.
    pub fn take(&mut self) -> Result<Option<String>, LineTooLong> {
        let found = memchr(b'\n', &self.bytes[self.searched..]);
        let end = found.map_or(self.bytes.len(), |at| self.searched + at);
        let line = &self.bytes[self.start..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > MAX_LINE_LEN {
            return Err(LineTooLong);
        }
        if found.is_none() {
            self.searched = end;
            if self.start == end {
                // A client that says nothing costs no memory here.
                (self.bytes, self.start, self.searched) = (Vec::new(), 0, 0);
            }
            return Ok(None);
        }
        let line = text(line);
        (self.start, self.searched) = (end + 1, end + 1);
        Ok(Some(line))
    }

    /// Takes what is left at the end of the stream: a last line that nobody has ended.
    ///
    /// ```
    /// let mut lines = calc::Lines::default();
    /// lines.read_from(&mut &b"1,2"[..])?;
    /// assert_eq!(lines.take()?, None);
    /// assert_eq!(lines.take_rest().as_deref(), Some("1,2"));
    /// assert_eq!(lines.take_rest(), None);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn take_rest(&mut self) -> Option<String> {
        let rest = std::mem::take(self);
        let line = &rest.bytes[rest.start..];
        (!line.is_empty()).then(|| text(line))
    }
}

/// Bytes that are not UTF-8 become U+FFFD, which is in no number and no command.
fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line).trim_end().to_owned()
}

/// Quotes a text as Python's `ascii()` does, in whose words `line-echo` has to answer.
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
        // Writing to a string does not fail.
        let _ = match (c, u32::from(c)) {
            ('\t', _) => write!(quoted, r"\t"),
            ('\n', _) => write!(quoted, r"\n"),
            ('\r', _) => write!(quoted, r"\r"),
            (c, _) if c == '\\' || c == quote => write!(quoted, r"\{c}"),
            (' '..='~', _) => write!(quoted, "{c}"),
            (_, code @ 0..=0xff) => write!(quoted, r"\x{code:02x}"),
            (_, code @ 0x100..=0xffff) => write!(quoted, r"\u{code:04x}"),
            (_, code) => write!(quoted, r"\U{code:08x}"),
        };
    }
    quoted.push(quote);
    quoted
}
