use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::anyhow;
use tracing::info;

use super::Seat;
use super::log_limit::{Reason, warn_limited};

/// Runs something for one client, and turns a panic in it into an error.
///
/// The panic itself is in the log, with its place: see [`start_log`](super::start_log).
///
/// # Errors
///
/// Those of `handler`, and its panic.
///
/// ```
/// use tincanchat::cli::caught;
///
/// assert_eq!(caught(|| Ok(42)).unwrap(), 42);
/// assert!(caught::<()>(|| panic!("of this client only")).is_err());
/// ```
pub fn caught<T>(handler: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    // What a panic leaves half-done is the handler's own; what is shared mends itself on drop.
    catch_unwind(AssertUnwindSafe(handler)).unwrap_or_else(|_| Err(anyhow!("its handler panicked")))
}

/// Runs the handler of one client, and keeps to that client whatever becomes of it: an error, and a
/// panic too, goes no further than the log. See [`log_end`]. Then the seat is free.
pub fn contain(seat: Seat, handler: impl FnOnce() -> anyhow::Result<()>) {
    log_end(&seat, caught(handler));
    drop(seat);
}

/// Logs how a client's handler ended, and that the client is gone: `Client ADDR disconnected`.
///
/// Many failures of the same kind within a second become ten lines and a count. Of one that was
/// turned away nothing more is said.
pub fn log_end(seat: &Seat, end: anyhow::Result<()>) {
    let addr = seat.addr();
    if let Err(err) = end {
        warn_limited(reason(&err), || format!("{addr}: {err:#}"));
    }
    if seat.is_inside() {
        info!("Client {addr} disconnected");
    }
}

fn reason(err: &anyhow::Error) -> Reason {
    err.chain()
        .find_map(|cause| cause.downcast_ref::<io::Error>())
        .map_or(Reason::Other, |err| Reason::Io(err.kind()))
}
