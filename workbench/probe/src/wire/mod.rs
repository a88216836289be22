//! Sends and receives raw bytes as a client of a server under test, records both, and never waits without a
//! deadline.

mod client;
mod connection;
mod expect;
mod heard;
mod record;

pub use self::client::Client;
pub use self::heard::{Received, prep_msg};
pub use crate::show::{is_terminal_control, show, show_text};
