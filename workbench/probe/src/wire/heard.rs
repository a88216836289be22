use std::fmt;

use crate::show::show;

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

/// The bytes of a message on the wire.
#[must_use]
pub fn framed(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}
