//! Failures in the log: the first of a second are worth a line each, the ten-thousandth is not.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::mem;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::warn;

use crate::printable;

/// Why a connection was refused or failed, as far as the log tells reasons apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reason {
    NotStarted,
    Full,
    Accept(ErrorKind),
    Resources(ErrorKind),
    /// A client's handler failed: what it was doing, if the error says that, and why.
    Client(Option<&'static str>, Cause),
}

/// Why a client's handler failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Cause {
    Panic,
    SlowConsumer,
    /// A hash of the variant of the protocol's own error.
    Protocol(u64),
    Io(ErrorKind),
    Other,
}

impl Reason {
    /// Lines a second. What lasts, such as a lack of descriptors, is said once; what happens to one
    /// connection after the other, ten times.
    fn limit(self) -> u32 {
        if matches!(self, Reason::Resources(_)) { 1 } else { 10 }
    }
}

struct Window {
    start: Instant,
    lines: u32,
    left_out: u64,
    last: String,
}

static WINDOWS: LazyLock<Mutex<HashMap<Reason, Window>>> = LazyLock::new(Mutex::default);

/// Logs a warning, or counts it if there have been too many for the same reason within a second.
///
/// What the text quotes may come from the network, so it is made fit for a log.
pub(super) fn warn_limited(reason: Reason, text: impl FnOnce() -> String) {
    let mut windows = WINDOWS.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Instant::now();
    let empty = || Window { start: now, lines: 0, left_out: 0, last: String::new() };
    let window = windows.entry(reason).or_insert_with(empty);
    if now - window.start >= Duration::from_secs(1) {
        window.start = now;
        window.lines = 0;
    }
    window.lines += 1;
    if window.lines > reason.limit() {
        window.left_out += 1;
        return;
    }
    window.last = printable(&text()).into_owned();
    match mem::take(&mut window.left_out) {
        0 => warn!("{}", window.last),
        left_out => warn!("{} ({left_out} lines like this one left out)", window.last),
    }
}

/// Logs how many warnings have been left out and not been mentioned yet.
pub(super) fn log_left_out() {
    let mut windows = WINDOWS.lock().unwrap_or_else(PoisonError::into_inner);
    for window in windows.values_mut() {
        match mem::take(&mut window.left_out) {
            0 => {}
            left_out => warn!("{left_out} more lines like this one were left out: {}", window.last),
        }
    }
}
