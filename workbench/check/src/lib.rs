//! Runs checks against servers. One table lists all checks: some are for any server, in any language, and the
//! others are only for the servers of this project.
//!
//! | for | items |
//! |---|---|
//! | the table | [`TABLE`], [`Check`], [`Theme`], [`Needs`] |
//! | the kind of a server, and how clients talk to it | [`Profile`], [`Protocol`] |
//! | the server under test | [`ServerUnderTest`], [`Source`] |
//! | run the checks as `tincan check` does, and report | [`run_checks`], [`Report`], [`report_text`] |
//! | the checks as tests of our servers | [`test_stage`], [`test_servers`], [`OwnServer`] |
//! | servers that test the checks themselves | [`mutants`] |
//!
//! A new check is a function and a row in the file of its theme, under `checks`, or of its protocol, under
//! `protocols`. A check waits until it observes an event, with a deadline that is far longer than a busy machine
//! needs. It sleeps for a fixed time only if it tests what the server does in this time, or between attempts to
//! connect.
#![warn(missing_docs)]

mod bench;
mod check;
mod checks;
mod failure_text;
mod finding;
#[cfg(target_os = "linux")]
pub mod interrupted;
mod invocation;
mod judge;
mod list;
mod log_events;
pub mod mutants;
mod needs;
mod own_server;
mod own_tests;
mod profile;
mod protocol;
mod protocols;
mod report;
mod room;
mod run;
mod server_under_test;
mod style;
mod table;

pub use bench::Bench;
pub use check::{Check, OwnRequirement, Requirement, Theme};
pub use failure_text::{failure_text, plain};
pub use finding::Finding;
pub use invocation::{BOOK_IN_CLONE, BOOK_IN_RELEASE, Invocation};
pub use judge::{Judgement, Verdict};
pub use list::list;
pub use needs::Needs;
pub use own_server::{ConnectClients, OwnServer, Serves};
pub use own_tests::{test_servers, test_stage};
pub use profile::Profile;
pub use protocol::{FirstExchange, Protocol};
pub use report::report_text;
pub use run::{Event, LEAST_PATIENCE, Outcome, Report, TRIES, run_checks, with_dependencies};
pub use server_under_test::{AddressFormat, ServerUnderTest, Source};
pub use table::TABLE;
