//! Starts any server, reads what it prints, sends it signals, and ends it in any case.

mod launch;
mod lines;
mod listening;
mod outlet;
mod running;

#[cfg(unix)]
pub use rustix::process::Signal;

pub use self::launch::{BE_USER, DROP_LOW_PORTS, Ended, Launch, NotStarted};
pub use self::lines::Lines;
pub use self::listening::listening;
pub use self::outlet::Outlet;
pub use self::running::Server;
pub use crate::groups::{
    adopt_orphans, end_all, end_escaped, enter, set_watchdog, strike, watch_over,
};
