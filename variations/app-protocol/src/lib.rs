//! Messages that say how long they are and what is in them, for a server and a client.
//!
//! [`message`] is what both sides share: bytes in, a message out, without a socket. `app-server` and
//! `app-client` are loops around it.
#![warn(missing_docs)]

pub mod message;

pub use message::{Incoming, Message, MessageError};
