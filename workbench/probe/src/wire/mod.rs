//! Sends and receives raw bytes as a client of a server under test, records both, and never waits without a
//! deadline.

mod client;
mod connection;
mod expect;
mod heard;
mod record;

pub use self::client::Client;
pub use self::heard::{Heard, framed};
pub use crate::show::{is_obeyed, show, show_text};
