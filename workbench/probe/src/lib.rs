//! Starts, watches and ends servers in any language, and sends them raw bytes as their client.
//!
//! | task | items |
//! |---|---|
//! | start, signal and end a server; read its output | [`server`] |
//! | reserve a port for a server that has to be given one | [`port`] |
//! | send and receive raw bytes as a client | [`wire`]; with TLS: [`tls`]; a record of it: [`record`] |
//! | test a client program, as its user and as its server | [`client_process`] |
//! | get information about processes and sockets (Linux) | [`linux`] |
//! | describe a failure in three parts | [`Failure`], [`fail`], [`fail_timeout`] |
//! | wait for a condition, at most for a given time | [`wait_until`], [`TIMEOUT`] |
//! | skip a test, but not on the CI machine | [`report_skipped`] |
//! | build the program of another package | [`cargo()`] |
//! | put text into HTML and SVG | [`markup`] |
//! | list the servers of this project | [`servers`] |
//!
//! Nothing here sleeps for a fixed time: each function waits for something that can be observed, up to a
//! deadline that is far longer than a loaded machine needs.
#![warn(missing_docs)]

mod cargo;
pub mod client_process;
mod failure;
mod groups;
pub mod linux;
pub mod markup;
pub mod port;
pub mod record;
pub mod server;
pub mod servers;
mod show;
mod skip;
#[cfg_attr(not(feature = "tls"), path = "no_tls.rs")]
pub mod tls;
mod tls_error;
mod wait;
pub mod wire;

pub use cargo::cargo;
pub use failure::{Description, Failure, fail, fail_timeout};
pub use linux::{procfs, sockdiag};
pub use skip::report_skipped;
pub use wait::{TIMEOUT, read_once, wait_until};
