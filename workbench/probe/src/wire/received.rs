use std::fmt;

use super::connection::End;
use crate::show::show;

/// The next message that a client received, or the event that came instead of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A message, without its zero byte.
    Msg(Vec<u8>),
    /// The server closed its sending side in good order.
    Eof,
    /// The connection was reset.
    Reset,
    /// Nothing, until the time was up.
    Timeout,
}

impl fmt::Display for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Received::Msg(frame) => write!(f, "the message {}", show(frame)),
            Received::Eof => End::Eof.fmt(f),
            Received::Reset => End::Reset.fmt(f),
            Received::Timeout => f.write_str("nothing"),
        }
    }
}

impl From<End> for Received {
    fn from(end: End) -> Self {
        match end {
            End::Eof => Received::Eof,
            End::Reset => Received::Reset,
        }
    }
}

/// Returns the bytes of a message on the wire: its text and a zero byte.
#[must_use]
pub fn prep_msg(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}
