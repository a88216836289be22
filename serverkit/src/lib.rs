//! What every server and client here needs and no chapter is about.
//!
//! | task | items |
//! |---|---|
//! | arguments of a server or a client | [`ServerArgs`], [`ClientArgs`], [`Failure`] |
//! | the log on stderr, and the line on stdout | [`start_log`], [`announce`] |
//! | stop on SIGINT and SIGTERM | [`Stop`] |
//! | limit the number of clients, and handle the errors of `accept` | [`Admission`], [`Admitted`], [`Permit`] |
//! | keep one client's failure from affecting the others | [`run_client`], [`catch_panic`], [`end_reason`] |
//! | show what each thread or task does, and when | [`trace()`], [`Lane`] |
//! | async versions of these (feature `async`) | [`asynchronous`] |
//! | lines from `telnet` | [`telnet`] |
#![warn(missing_docs)]

mod accept_errors;
mod admission;
mod announce;
mod args;
mod client;
mod log;
mod log_limit;
mod memory;
mod run_client;
mod start;
mod stop;
mod trace;

#[cfg(feature = "async")]
pub mod asynchronous;
pub mod telnet;

pub use admission::{Admission, Admitted, Permit};
pub use announce::{announce, announce_to};
/// The arguments that every client takes.
pub use args::ClientArgs;
pub use args::Failure;
/// The arguments that every server takes.
///
/// A server flattens them into its own arguments, and may give `--port` another default.
///
/// ```
/// use clap::Parser;
/// use serverkit::ServerArgs;
///
/// #[derive(Parser)]
/// struct Args {
///     #[command(flatten)]
///     server: ServerArgs,
/// }
///
/// let args = Args::parse_from(["echo", "--port", "0", "-q"]);
/// assert_eq!(args.server.host, "127.0.0.1");
/// assert_eq!(args.server.port, 0);
/// ```
pub use args::ServerArgs;
pub use client::{print_or_exit, readable_error};
pub use log::{Log, start_log};
pub use run_client::{
    catch_panic, end_reason, log_disconnect, log_disconnect_as, log_unfinished, run_client,
};
pub use start::{start_runtime, warn_not_started};
pub use stop::Stop;
pub use trace::{Lane, trace};
