use std::fmt;

use super::connection::End;
use crate::show::show;

/// The next message that a client received, or the event that came instead of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A message, without its zero byte.
    Frame(Vec<u8>),
    /// The server closed its sending side in good order.
    Eof,
    /// The connection was reset.
    Reset,
    /// Nothing, until the time was up.
    Silence,
}

impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Heard::Frame(frame) => write!(f, "the message {}", show(frame)),
            Heard::Eof => End::Eof.fmt(f),
            Heard::Reset => End::Reset.fmt(f),
            Heard::Silence => f.write_str("nothing"),
        }
    }
}

impl From<End> for Heard {
    fn from(end: End) -> Self {
        match end {
            End::Eof => Heard::Eof,
            End::Reset => Heard::Reset,
        }
    }
}

/// Returns the bytes of a message on the wire: its text and a zero byte.
#[must_use]
pub fn framed(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}
