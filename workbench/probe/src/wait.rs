use std::time::{Duration, Instant};

use anyhow::Result;

/// How long to wait for an event that has to happen. A busy machine needs far less time, so the wait fails only if
/// the event never happens.
pub const TIMEOUT: Duration = Duration::from_secs(20);

/// How often a condition is checked when nothing signals its change.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Waits until `condition` returns true, at most `within`, and reports whether it has returned true.
///
/// # Errors
///
/// `condition` returned this error.
pub fn wait_until(within: Duration, mut condition: impl FnMut() -> Result<bool>) -> Result<bool> {
    let deadline = Instant::now() + within;
    loop {
        if condition()? {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}
