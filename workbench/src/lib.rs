//! Checks and measures any server, knowing it only as a command line and a port.
//!
//! | for | items |
//! |---|---|
//! | start, watch and end a server | [`server`] |
//! | talk to it in raw bytes | [`wire`] |
//! | the rules, one check each | [`check`]; the table is [`check::LADDER`] |
//! | the same rules as the tests of a stage | [`contract::run`] |
//! | measure it | [`lab`] |
//!
//! No check waits a fixed time for something to happen: it waits for what can be observed, with a
//! deadline that is far longer than a loaded machine needs.
#![warn(missing_docs)]

pub mod check;
pub mod contract;
mod failure;
pub mod lab;
pub mod procfs;
pub mod server;
pub mod sockdiag;
mod wait;
pub mod wire;

pub use failure::{Failure, fail};
pub use wait::{PATIENCE, wait_until};
