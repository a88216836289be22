//! What a server or a client needs besides the protocol: its command line, its log, signals, and the
//! rules for what goes wrong. The same for every stage, so that a stage shows what is its own.

mod accept;
mod args;
mod client;
mod contain;
mod door;
mod log;
mod log_limit;
mod relay;
mod shutdown;

pub use args::{ClientArgs, Failure, ServerArgs, announce};
pub use client::say;
pub use contain::{caught, contain, first_cause, log_end};
pub use door::{Door, Seat};
pub use log::{Log, start_log};
pub use relay::{last_words, log_rest, relay_msgs};
pub use shutdown::Shutdown;
