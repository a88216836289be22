//! Checks and measures any server, knowing it only as a command line and a port.
//!
//! | for | items |
//! |---|---|
//! | start, watch and end a server | [`server`] |
//! | keep a port for a server that has to be told one | [`port`] |
//! | talk to it in raw bytes | [`wire`], and who said what when: [`tape`]; inside TLS: [`tls`] |
//! | what any server has to do, one check each | [`check`]; the table is [`check::LADDER`] |
//! | what a server of this project promises besides | [`contract`]; [`contract::TABLE`] |
//! | servers to try the checker on | [`mutants`] |
//! | both as the tests of a stage | [`contract::run`] |
//! | what every server promises, as tests | [`contract::common::run`] |
//! | talk to a client, as its user and as its server | [`dialogue`] |
//! | measure it | [`lab`] |
//! | see what each of its threads does | [`watch`] |
//!
//! No check waits a fixed time for something to happen: it waits for what can be observed, with a
//! deadline that is far longer than a loaded machine needs.
#![warn(missing_docs)]

pub mod check;
pub mod contract;
pub mod dialogue;
mod failure;
pub mod lab;
mod markup;
pub mod mutants;
pub mod port;
pub mod procfs;
pub mod server;
mod skip;
pub mod sockdiag;
pub mod tape;
pub mod tls;
mod wait;
pub mod watch;
pub mod wire;

pub use failure::{Failure, Said, fail, fail_late};
pub use skip::skip;
pub use wait::{PATIENCE, wait_until};
