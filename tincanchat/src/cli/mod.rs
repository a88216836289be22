//! What a server or a client needs besides the protocol: its command line, its log, signals, and the
//! rules for what goes wrong. The same for every stage, so that a stage shows what is its own.

mod accept;
mod args;
mod client;
mod contain;
mod log;
mod log_limit;
mod seats;
mod shutdown;

pub use accept::AcceptErrors;
pub use args::{ClientArgs, Failure, ServerArgs, announce};
pub use client::say;
pub use contain::{contain, log_end, log_refusal};
pub use log::{Log, start_log};
pub use seats::{Seat, Seats};
pub use shutdown::Shutdown;
