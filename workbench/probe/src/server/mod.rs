//! Starts any server, reads its output, sends it signals, and ends it when its [`Server`] is dropped.

mod launch;
mod lines;
mod listening;
mod output_to;
mod running;

#[cfg(unix)]
pub use rustix::process::Signal;

pub use self::launch::{
    AS_USER, Exited, Launch, START_TIMEOUT, StartError, WITHOUT_PRIVILEGED_PORTS,
};
pub use self::lines::{OutputLines, limit_output};
pub use self::listening::listening_addrs;
pub use self::output_to::{OutputTo, pipe_without_reader};
pub use self::running::Server;
pub use crate::groups::{
    adopt_orphans, end_all, end_orphans, run_watchdog, set_watchdog, start_tracked, untrack,
};
