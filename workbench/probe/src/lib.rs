//! Starts, watches and ends any server, known only by its command line and its port, and talks to it in raw
//! bytes.
//!
//! | for | items |
//! |---|---|
//! | start, signal and end a server | [`server`] |
//! | keep a port for a server that must be told one | [`port`] |
//! | talk to it in raw bytes | [`wire`]; inside TLS: [`tls`]; the record of what each client did: [`tape`] |
//! | talk to a client, as its user and as its server | [`dialogue`] |
//! | what Linux tells about processes and sockets | [`procfs`], [`sockdiag`] |
//! | a failure in three parts | [`Failure`] |
//!
//! Nothing here waits for a fixed time: it waits until something can be observed, with a deadline that is far
//! longer than a loaded machine needs.
#![warn(missing_docs)]

pub mod dialogue;
mod failure;
mod groups;
pub mod linux;
pub mod markup;
pub mod port;
pub mod server;
mod show;
mod skip;
pub mod tape;
pub mod tls;
mod wait;
pub mod wire;

pub use failure::{Failure, Said, fail, fail_late};
pub use linux::{procfs, sockdiag};
pub use skip::skip;
pub use wait::{PATIENCE, wait_until};
