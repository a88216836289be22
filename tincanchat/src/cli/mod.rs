//! What a server or a client needs besides the protocol: its command line, its log, signals, and
//! the rules for what goes wrong. The same for every stage, so that a stage shows what is its own.

mod accept;
mod announce;
mod args;
mod client;
mod contain;
mod door;
mod log;
mod log_limit;
mod memory;
mod relay;
mod shutdown;
mod start;

pub use announce::{announce, announce_to};
/// The arguments that every client takes.
pub use args::ClientArgs;
pub use args::Failure;
/// The arguments that every server takes.
///
/// A server flattens them into its own, and may give `--port` another default.
///
/// ```
/// use clap::Parser;
/// use tincanchat::cli::ServerArgs;
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
pub use client::{in_words, say};
pub use contain::{caught, contain, first_cause, log_end, log_end_of};
pub use door::{Door, Seat};
pub use log::{Log, start_log};
pub use relay::{last_words, log_rest, relay_msgs};
pub use shutdown::Shutdown;
pub use start::{start_runtime, warn_not_started};
