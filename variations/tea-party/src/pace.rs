//! How fast one client may speak, so that it drowns out nobody.

use std::time::{Duration, Instant};

/// How many short lines a client may say at once: a pasted page.
pub const LINES_AT_ONCE: u32 = 100;

/// How many lines a second it may say after that. Who types has a hundredth of it.
pub const LINES_A_SECOND: u64 = 20;

/// Bytes are paid for as well, or long lines would be the way to flood: 64 KiB a second.
pub const BYTES_A_SECOND: u64 = 64 * 1024;

const LINE: Duration = Duration::from_millis(1000 / LINES_A_SECOND);
const BYTE: Duration = Duration::from_nanos(1_000_000_000 / BYTES_A_SECOND);

/// A leaky bucket that needs one time to be kept: when all that was said would be paid for, at a
/// price in time for each line and each byte. A client may be in debt for so much, and no more.
///
/// A client that is ahead of its pace is not read from. Its own kernel then makes its program wait,
/// and nobody else notices.
///
/// ```
/// use tea_party::{LINES_AT_ONCE, Pace};
///
/// let mut pace = Pace::default();
/// for _ in 0..LINES_AT_ONCE {
///     assert!(pace.may_speak());
///     pace.said_line();
/// }
/// assert!(!pace.may_speak());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    paid_at: Instant,
}

impl Default for Pace {
    fn default() -> Self {
        Pace { paid_at: Instant::now() }
    }
}

impl Pace {
    /// Whether the client may say more now.
    #[must_use]
    pub fn may_speak(&self) -> bool {
        // One line less: the one that is about to be said.
        self.paid_at <= Instant::now() + LINE * (LINES_AT_ONCE - 1)
    }

    /// It has said a line.
    pub fn said_line(&mut self) {
        self.owe(LINE);
    }

    /// So many bytes have come from it.
    pub fn said_bytes(&mut self, n: usize) {
        self.owe(BYTE.saturating_mul(u32::try_from(n).unwrap_or(u32::MAX)));
    }

    fn owe(&mut self, time: Duration) {
        self.paid_at = self.paid_at.max(Instant::now()) + time;
    }
}
