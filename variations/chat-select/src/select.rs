//! The limit of select(2).

use std::os::fd::{AsFd, AsRawFd as _, RawFd};

use nix::sys::select::FD_SETSIZE;
use thiserror::Error;

/// A descriptor that select cannot watch.
#[derive(Debug, Error)]
#[error("select(2) watches descriptors below {FD_SETSIZE}, and this is descriptor {fd}")]
pub struct NotWatchable {
    fd: RawFd,
}

/// Checks that select can watch this descriptor.
///
/// A set of descriptors has one bit for each descriptor below 1,024. For a higher descriptor, the C macro
/// `FD_SET` would change a bit of another variable, and `FdSet` would panic.
///
/// # Errors
///
/// [`NotWatchable`] if the number of the descriptor is 1,024 or higher.
pub fn check_watchable(sock: &impl AsFd) -> Result<(), NotWatchable> {
    let fd = sock.as_fd().as_raw_fd();
    match usize::try_from(fd) {
        Ok(number) if number < FD_SETSIZE => Ok(()),
        _ => Err(NotWatchable { fd }),
    }
}
