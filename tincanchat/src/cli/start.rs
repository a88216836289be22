use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{panic, process, thread};

use super::Log;
use super::log_limit::{Reason, warn_limited};
use crate::printable;

/// Logs that the thread or process that was to serve a client could not be started. Ten lines a second
/// at most, and a count of the others.
///
/// ```
/// use std::thread;
/// use tincanchat::cli::warn_not_started;
///
/// let addr = "127.0.0.1:50312".parse().unwrap();
/// if let Err(err) = thread::Builder::new().stack_size(usize::MAX / 4).spawn(|| "serves it") {
///     warn_not_started(addr, "a thread", &err); // 127.0.0.1:50312: cannot start a thread: ...
/// }
/// ```
pub fn warn_not_started(addr: SocketAddr, what: &str, err: &dyn fmt::Display) {
    warn_limited(Reason::NotStarted, || format!("{addr}: cannot start {what}: {err}"));
}

/// Starts a runtime; if it panics, ends the process with the panic's text on stderr and exit code 1.
///
/// async-std, smol and tokio start threads by themselves, and panic when they cannot. A server that lets
/// them start all their threads here fails before it says that it is ready, with a reason, and not when
/// its first client comes. Until `start` returns, a panic of any thread counts as one of the runtime.
///
/// The process ends at once, because the runtimes do not unwind well: tokio waits for ever for the
/// threads that it has started, and async-std panics once more.
///
/// ```
/// use async_std::task;
/// use tincanchat::cli::start_runtime;
///
/// start_runtime(|| task::block_on(task::spawn(async {}))); // a first task: all threads are started
/// ```
pub fn start_runtime<T>(start: impl FnOnce() -> T) -> T {
    static IS_ENDING: AtomicBool = AtomicBool::new(false);
    let in_the_log = panic::take_hook();
    panic::set_hook(Box::new(|panic| {
        // Several of the runtime's threads may panic at the same time; one says why.
        if IS_ENDING.swap(true, Ordering::SeqCst) {
            loop {
                thread::park();
            }
        }
        let why = panic.payload_as_str().unwrap_or("it panicked");
        Log::see_off();
        eprintln!("Error: cannot start the runtime: {}", printable(why));
        process::exit(1);
    }));
    let started = start();
    panic::set_hook(in_the_log);
    started
}
