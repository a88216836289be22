//! The text of a message, and how it looks when it arrives.

use std::ops::Range;

use memchr::memchr;

/// Ends each text. A server sends this byte nowhere else.
pub const MARKER: u8 = b'#';

/// The length of the shortest text: it has room for the sender and the number.
pub const MIN_TEXT: usize = 15;

/// The position of the number in a text.
pub const DIGITS: Range<usize> = 4..13;

/// Writes the text of a message: its sender, its number, and padding up to the length in bytes.
#[must_use]
pub fn text_of(sender: usize, number: u64, len: usize) -> String {
    let head = format!("{sender:03} {number:09} ");
    format!("{head:x<width$}#", width = len - 1)
}

/// How a message looks when it arrives.
#[derive(Debug)]
pub struct MessageFormat {
    /// The bytes before the text, for each sender.
    pub heads: Vec<Vec<u8>>,
    /// The length of the text in bytes.
    pub text_len: usize,
    /// The bytes after the text.
    pub ending: &'static [u8],
    /// The bytes that a server may send to one client between two messages. They are skipped.
    pub keepalive: &'static [u8],
}

impl MessageFormat {
    /// Returns the sender and the number of a whole message, if it has this format.
    pub fn parse(&self, message: &[u8]) -> Option<(usize, u64)> {
        let message = message.strip_suffix(self.ending)?;
        let has_keepalive = !self.keepalive.is_empty() && message.starts_with(self.keepalive);
        let message = if has_keepalive { &message[self.keepalive.len()..] } else { message };
        let (head, text) = message.split_at_checked(message.len().checked_sub(self.text_len)?)?;
        let sender = usize::try_from(number(text.get(..3)?)?).ok()?;
        let number = number(text.get(DIGITS)?)?;
        (self.heads.get(sender)? == head).then_some((sender, number))
    }

    /// Splits the first whole message off.
    pub fn split_first<'a>(&self, bytes: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        bytes.split_at_checked(memchr(MARKER, bytes)? + 1 + self.ending.len())
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |sum, digit| {
        digit.is_ascii_digit().then(|| sum * 10 + u64::from(digit - b'0'))
    })
}
