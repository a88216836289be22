//! A calculator over TCP, for one client at a time and for all at once: what its programs share.
//!
//! | program | the one idea |
//! |---|---|
//! | `line-echo` | lines instead of messages; blocks, one client at a time |
//! | `generators` | functions that are left in the middle and gone on with later; no network |
//! | `calc-blocking` | a session that blocks, so it can be read from top to bottom |
//! | `calc-reactor` | the same session with `await` in it, on a [`reactor`] made by hand |
//!
//! Read [`reactor`] first, if only one file; the rest is lines ([`Lines`]) and numbers
//! ([`calculate`]), which have to be bounded for the same reason: a thread that all clients share.

mod lines;
mod numbers;
mod pace;
pub mod reactor;
mod sock;

pub use lines::{LineTooLong, Lines, MAX_LINE_LEN, last_words, quoted};
pub use numbers::{Mode, NotIntegers, calculate};
pub use pace::{Pace, SLICE, give_way};
pub use sock::Sock;

/// The port that these servers listen on unless told otherwise.
pub const PORT: &str = "8080";
