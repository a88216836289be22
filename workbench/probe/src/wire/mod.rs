//! A client that sends and receives raw bytes, remembers both, and never waits without a deadline.

mod client;
mod connection;
mod expect;
mod heard;

pub use self::client::Client;
pub use self::heard::{Heard, framed};
pub use crate::show::{is_obeyed, show, show_text};
