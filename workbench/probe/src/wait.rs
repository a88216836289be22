use std::io::{self, ErrorKind, Read};
use std::time::{Duration, Instant};

use anyhow::Result;

/// How long to wait for an event that has to happen. A busy machine needs far less time, so the wait fails only if
/// the event never happens.
pub const TIMEOUT: Duration = Duration::from_secs(20);

/// How long to wait, at least and at most, before a condition is checked again.
const PAUSES: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(100)];

/// Waits until `condition` returns true, at most `within`, and reports whether it has returned true.
///
/// After each call of `condition`, this sleeps for as long as the call took, but at least 5 ms and at most 100 ms: a
/// condition that reads the figures of a thousand processes must not keep a processor busy.
///
/// # Errors
///
/// `condition` returned this error.
pub fn wait_until(within: Duration, mut condition: impl FnMut() -> Result<bool>) -> Result<bool> {
    let deadline = Instant::now() + within;
    loop {
        let begin = Instant::now();
        if condition()? {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        std::thread::sleep(begin.elapsed().clamp(PAUSES[0], PAUSES[1]));
    }
}

/// Reads once, and reads again if a signal interrupts the call. With a timeout set, Linux interrupts a read from a
/// socket also when this process is stopped and continued: see `signal(7)`.
///
/// # Errors
///
/// The read failed, for example because its time was up.
pub fn read_once(source: &mut impl Read, buf: &mut [u8]) -> io::Result<usize> {
    loop {
        match source.read(buf) {
            Err(err) if err.kind() == ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}
