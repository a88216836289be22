//! How fast one client may send lines, so that no client floods a room.

use std::time::{Duration, Instant};

/// How many short lines a client may send at once: enough to paste a page of text.
pub const BURST_LINES: u32 = 100;

/// How many lines per second a client may send after that. A person types about one line in five seconds.
pub const LINES_PER_SECOND: u64 = 20;

/// How many bytes per second a client may send: 64 KiB. Without this limit, long lines would get around
/// the limit on lines.
pub const BYTES_PER_SECOND: u64 = 64 * 1024;

const TIME_OF_A_LINE: Duration = Duration::from_millis(1000 / LINES_PER_SECOND);
const TIME_OF_A_BYTE: Duration = Duration::from_nanos(1_000_000_000 / BYTES_PER_SECOND);

/// The rate limit of one client: a leaky bucket, which stores only one point in time.
///
/// Each line and each byte adds a fixed duration to `used_up_to`, so this is the time at which the client
/// would have finished if it had sent everything at the permitted rate. It may be ahead of the present time
/// by the duration of [`BURST_LINES`] lines.
///
/// The server does not read from a client that is further ahead. The buffers of the kernels on both sides
/// then fill up, and the client's program has to wait. The other clients do not notice this.
///
/// ```
/// use tea_party::{BURST_LINES, RateLimit};
///
/// let mut rate_limit = RateLimit::default();
/// for _ in 0..BURST_LINES {
///     assert!(rate_limit.allows_line());
///     rate_limit.add_line();
/// }
/// assert!(!rate_limit.allows_line());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct RateLimit {
    used_up_to: Instant,
}

impl Default for RateLimit {
    fn default() -> Self {
        RateLimit { used_up_to: Instant::now() }
    }
}

impl RateLimit {
    /// Reports whether the server may handle one more line from the client now.
    #[must_use]
    pub fn allows_line(&self) -> bool {
        let burst = TIME_OF_A_LINE * BURST_LINES;
        self.used_up_to + TIME_OF_A_LINE <= Instant::now() + burst
    }

    /// Counts one line.
    pub fn add_line(&mut self) {
        self.add(TIME_OF_A_LINE);
    }

    /// Counts the bytes of one read.
    pub fn add_bytes(&mut self, n: usize) {
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        self.add(TIME_OF_A_BYTE.saturating_mul(n));
    }

    fn add(&mut self, time: Duration) {
        // Time in which the client has sent nothing cannot be saved for later.
        self.used_up_to = self.used_up_to.max(Instant::now()) + time;
    }
}
