//! Messages that begin with their length and their type, for a server and a client.
//!
//! Both sides share [`message`], which turns bytes into messages and messages into bytes, without a socket.
//! `app-server` and `app-client` are loops around it.
#![warn(missing_docs)]

pub mod message;

pub use message::{Incoming, Message, MessageError};
