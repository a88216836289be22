use std::time::{Duration, Instant};

use anyhow::Result;

/// How long to wait for something that has to happen. A loaded machine needs far less, so only a server that
/// never does it fails.
pub const TIMEOUT: Duration = Duration::from_secs(20);

/// How often a condition is checked when nothing signals its change.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Waits until `condition` returns true, at most `within`, and reports whether it did.
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
