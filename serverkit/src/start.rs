use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{panic, process, thread};

use tincanchat::printable;

use crate::Log;
use crate::log_limit::{Reason, warn_limited};

/// Logs that the thread or process for a client could not be started. Within a second, only the first ten
/// such warnings get a line each; the others are counted.
///
/// ```
/// use std::thread;
/// use serverkit::warn_not_started;
///
/// let addr = "127.0.0.1:50312".parse().unwrap();
/// if let Err(err) = thread::Builder::new().stack_size(usize::MAX / 4).spawn(|| "serves the client") {
///     warn_not_started(addr, "a thread", &err); // 127.0.0.1:50312: cannot start a thread: ...
/// }
/// ```
pub fn warn_not_started(addr: SocketAddr, what: &str, err: &dyn fmt::Display) {
    warn_limited(Reason::NotStarted, || format!("{addr}: cannot start {what}: {err}"));
}

/// Calls `start`, which starts a runtime. If a thread panics before `start` returns, ends the process with
/// the text of the panic on stderr and exit code 1.
///
/// async-std, smol and tokio start their threads themselves, and panic if a thread cannot be started. If
/// the server makes them start all threads here, it fails with a reason before it prints that it is ready,
/// and not later, with its first client.
///
/// The process ends at once, without unwinding: tokio would wait forever for the threads that it has
/// started, and async-std would panic once more.
///
/// ```
/// use async_std::task;
/// use serverkit::start_runtime;
///
/// start_runtime(|| task::block_on(task::spawn(async {}))); // a first task: all threads are started
/// ```
pub fn start_runtime<T>(start: impl FnOnce() -> T) -> T {
    static IS_ENDING: AtomicBool = AtomicBool::new(false);
    let log_panic = panic::take_hook();
    panic::set_hook(Box::new(|panic| {
        // Several threads of the runtime may panic at the same time. Only the first one says why.
        if IS_ENDING.swap(true, Ordering::SeqCst) {
            loop {
                thread::park();
            }
        }
        let why = panic.payload_as_str().unwrap_or("a panic without a message");
        Log::flush();
        eprintln!("Error: cannot start the runtime: {}", printable(why));
        process::exit(1);
    }));
    let started = start();
    panic::set_hook(log_panic);
    started
}
