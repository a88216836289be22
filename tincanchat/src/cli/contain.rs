use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use tracing::info;

use super::Seat;
use super::log_limit::{Reason, warn_limited};

/// Runs the handler of one client, and keeps to that client whatever becomes of it: an error, and a
/// panic too, is logged with the client's address and goes no further. Then logs that the client is
/// gone, and frees its seat: see [`log_end`].
pub fn contain(seat: Seat, handler: impl FnOnce() -> anyhow::Result<()>) {
    // What a panic leaves half-done is the handler's own; what is shared mends itself on drop.
    log_end(seat, catch_unwind(AssertUnwindSafe(handler)));
}

/// Logs how a client's handler ended, and that the client is gone, `Client ADDR disconnected`; then
/// frees its seat.
///
/// For a handler that [`contain`] cannot run, such as a task. Many failures of the same kind within a
/// second become ten lines and a count. Of one that was turned away nothing more is said.
pub fn log_end(seat: Seat, end: thread::Result<anyhow::Result<()>>) {
    let addr = seat.addr();
    match end {
        Ok(Ok(())) => {}
        Ok(Err(err)) => warn_limited(reason(&err), || format!("{addr}: {err:#}")),
        Err(_) => warn_limited(Reason::Panic, || format!("{addr}: its handler panicked")),
    }
    if seat.is_inside() {
        info!("Client {addr} disconnected");
    }
    drop(seat);
}

fn reason(err: &anyhow::Error) -> Reason {
    err.chain()
        .find_map(|cause| cause.downcast_ref::<io::Error>())
        .map_or(Reason::Other, |err| Reason::Io(err.kind()))
}
