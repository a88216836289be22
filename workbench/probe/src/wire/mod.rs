//! Sends and receives raw bytes as a client of a server under test, records both, and never waits without a
//! deadline.

mod client;
mod connection;
mod expect;
mod received;
mod record_handle;

pub use self::client::Client;
pub use self::received::{Received, prep_msg};
pub use crate::show::{is_terminal_control, show, show_text};
