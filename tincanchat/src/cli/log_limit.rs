//! Failures in the log: the first of a second are worth a line each, the ten-thousandth is not.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::warn;

/// Why a connection was refused or failed, as far as the log tells reasons apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reason {
    Full,
    Accept,
    Resources,
    Io(ErrorKind),
    Other,
}

impl Reason {
    /// Lines a second. What lasts, such as a lack of descriptors, is said once; what happens to one
    /// connection after the other, ten times.
    fn limit(self) -> u32 {
        if self == Reason::Resources { 1 } else { 10 }
    }
}

struct Window {
    start: Instant,
    lines: u32,
    left_out: u64,
}

static WINDOWS: LazyLock<Mutex<HashMap<Reason, Window>>> = LazyLock::new(Mutex::default);

/// Logs a warning, or counts it if there have been too many for the same reason within a second.
pub(super) fn warn_limited(reason: Reason, text: impl FnOnce() -> String) {
    let mut windows = WINDOWS.lock().unwrap_or_else(PoisonError::into_inner);
    let now = Instant::now();
    let window = windows.entry(reason).or_insert(Window { start: now, lines: 0, left_out: 0 });
    if now - window.start >= Duration::from_secs(1) {
        (window.start, window.lines) = (now, 0);
    }
    window.lines += 1;
    if window.lines > reason.limit() {
        window.left_out += 1;
        return;
    }
    match std::mem::take(&mut window.left_out) {
        0 => warn!("{}", text()),
        left_out => warn!("{} ({left_out} lines like this one left out)", text()),
    }
}

/// Logs how many warnings have been left out and not been mentioned yet.
pub(super) fn log_left_out() {
    let mut windows = WINDOWS.lock().unwrap_or_else(PoisonError::into_inner);
    for (reason, window) in windows.iter_mut() {
        match std::mem::take(&mut window.left_out) {
            0 => {}
            left_out => warn!("{left_out} lines left out about failed connections ({reason:?})"),
        }
    }
}
