use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use tracing::info;

use super::log_limit::{Reason, warn_limited};

/// Runs the handler of one client, and keeps to that client whatever becomes of it: an error, and a
/// panic too, is logged with the client's address and goes no further. Then logs that the client is
/// gone, as [`log_end`] does.
///
/// ```
/// use tincanchat::cli::contain;
///
/// let addr = ([127, 0, 0, 1], 50312).into();
/// contain(addr, || Ok(()));
/// contain(addr, || anyhow::bail!("logged as a warning"));
/// contain(addr, || panic!("logged as well"));
/// ```
pub fn contain(addr: SocketAddr, handler: impl FnOnce() -> anyhow::Result<()>) {
    // What a panic leaves half-done is the handler's own; what is shared mends itself on drop.
    log_end(addr, catch_unwind(AssertUnwindSafe(handler)));
}

/// Logs how a client's handler ended, and that the client is gone: `Client ADDR disconnected`.
///
/// For a handler that [`contain`] cannot run, such as a task. Many failures of the same kind within a
/// second become ten lines and a count.
pub fn log_end(addr: SocketAddr, end: thread::Result<anyhow::Result<()>>) {
    match end {
        Ok(Ok(())) => {}
        Ok(Err(err)) => warn_limited(reason(&err), || format!("{addr}: {err:#}")),
        Err(_) => warn_limited(Reason::Panic, || format!("{addr}: its handler panicked")),
    }
    info!("Client {addr} disconnected");
}

/// Logs that a connection was refused because the server has as many clients as it may.
pub fn log_refusal(addr: SocketAddr) {
    warn_limited(Reason::Full, || format!("{addr}: refused, the server is full"));
}

fn reason(err: &anyhow::Error) -> Reason {
    err.chain()
        .find_map(|cause| cause.downcast_ref::<io::Error>())
        .map_or(Reason::Other, |err| Reason::Io(err.kind()))
}
