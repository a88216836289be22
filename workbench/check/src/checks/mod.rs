//! Defines the checks: each file has the functions for one subject, and their rows in the table.

pub(crate) mod broken_connections;
pub(crate) mod chat;
pub(crate) mod command_line;
pub(crate) mod concurrency;
pub(crate) mod delivery;
pub(crate) mod echo;
#[cfg(unix)]
pub(crate) mod exhaustion;
pub(crate) mod framing;
pub(crate) mod half_close;
#[cfg(target_os = "linux")]
pub(crate) mod interrupted;
pub(crate) mod limits;
pub(crate) mod log;
pub(crate) mod memory;
pub(crate) mod outputs;
pub(crate) mod protocol_errors;
pub(crate) mod queue_limits;
#[cfg(unix)]
pub(crate) mod shortage;
#[cfg(unix)]
pub(crate) mod sigterm;
pub(crate) mod slow_readers;
#[cfg(unix)]
pub(crate) mod stopping;
pub(crate) mod survival;
#[cfg(unix)]
pub(crate) mod trace;
