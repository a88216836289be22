use std::time::{Duration, Instant};

use anyhow::Result;

/// How long to wait for what must happen: far longer than a loaded machine needs, so that only a
/// server that never does it fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How often a condition is looked at that nothing announces.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Waits until `cond` holds; gives whether it did before the time was up.
///
/// # Errors
///
/// Whatever `cond` could not find out.
pub fn wait_until(within: Duration, mut cond: impl FnMut() -> Result<bool>) -> Result<bool> {
    let until = Instant::now() + within;
    loop {
        if cond()? {
            return Ok(true);
        }
        if Instant::now() >= until {
            return Ok(false);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
