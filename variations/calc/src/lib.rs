//! A calculator over TCP, for one client at a time and for all at once: the code that its programs share.
//!
//! | program | the one idea |
//! |---|---|
//! | `line-echo` | a message is a line; blocks, and serves one client at a time |
//! | `generators` | functions that stop in the middle and continue later; uses no network |
//! | `calc-blocking` | a session that blocks: its code is in the order in which things happen |
//! | `calc-reactor` | the same session with `.await`, on a [`reactor`] and an executor written by hand |
//!
//! If you read only one file, read `src/reactor.rs`. The other files are about lines ([`LineBuf`]) and
//! numbers ([`calculate`]). Lines and calculations have limits for the same reason: all clients share one
//! thread.

mod line_buf;
mod numbers;
pub mod reactor;
mod time_slice;

pub use line_buf::{LineBuf, LineTooLong, MAX_LINE_LEN, quoted};
pub use numbers::{Mode, NotIntegers, calculate};
pub use reactor::{TIME_SLICE, yield_now};
pub use time_slice::TimeSlice;

/// The default port of these servers.
pub const DEFAULT_PORT: &str = "8080";
