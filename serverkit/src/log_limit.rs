//! Limits the warnings in the log: within a second, only the first few with the same reason get a line
//! each.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::mem;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tincanchat::printable;
use tracing::warn;

/// What a warning is about. The warnings for each reason have a limit of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reason {
    /// A thread or process for a client could not be started.
    NotStarted,
    /// A client was refused because the server is full.
    Full,
    /// `accept` failed for one connection.
    Accept(ErrorKind),
    /// `accept` failed for lack of resources.
    Resources(ErrorKind),
    /// A client's handler failed: what it was doing, if the error has a context that says so, and why it
    /// failed.
    Client(Option<&'static str>, Cause),
}

/// Why a client's handler failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Cause {
    Panic,
    SlowConsumer,
    /// An error of the protocol, with a hash of its variant.
    Protocol(u64),
    Io(ErrorKind),
    Other,
}

impl Reason {
    /// Returns how many lines a second the log may have for this reason.
    fn lines_per_second(self) -> u32 {
        match self {
            Reason::Resources(_) => 1, // this concerns the whole server, and it lasts
            _ => 10,                   // each line is about a different client
        }
    }
}

/// The warnings with one reason in the current second.
struct Window {
    start: Instant,
    count: u32,
    /// How many warnings have been left out since the last line.
    left_out: u64,
    last_line: String,
}

static WINDOWS: LazyLock<Mutex<HashMap<Reason, Window>>> = LazyLock::new(Mutex::default);

/// Logs a warning, or only counts it if the log already has enough lines with the same reason in this
/// second.
///
/// The text may quote what a client has sent, so control characters are escaped.
pub(crate) fn warn_limited(reason: Reason, text: impl FnOnce() -> String) {
    let mut windows = WINDOWS.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Instant::now();
    let new_window = || Window { start: now, count: 0, left_out: 0, last_line: String::new() };
    let window = windows.entry(reason).or_insert_with(new_window);
    if now - window.start >= Duration::from_secs(1) {
        window.start = now;
        window.count = 0;
    }
    window.count += 1;
    if window.count > reason.lines_per_second() {
        window.left_out += 1;
        return;
    }
    window.last_line = printable(&text()).into_owned();
    match mem::take(&mut window.left_out) {
        0 => warn!("{}", window.last_line),
        left_out => warn!("{} ({left_out} similar lines left out)", window.last_line),
    }
}

/// Logs how many warnings have been left out but not mentioned yet.
pub(crate) fn log_left_out() {
    let mut windows = WINDOWS.lock().unwrap_or_else(PoisonError::into_inner);
    for window in windows.values_mut() {
        match mem::take(&mut window.left_out) {
            0 => {}
            left_out => warn!("{left_out} lines left out, similar to: {}", window.last_line),
        }
    }
}
