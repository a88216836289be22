//! When messages are due, and how late their copies are.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::super::figures::Latencies;

/// Times at which messages are due, one after the other; the senders take turns.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// The time at which the first message is due.
    pub start: Instant,
    /// The time from one message to the next.
    pub interval: Duration,
}

impl Schedule {
    /// Returns the time at which the message with this number is due.
    #[must_use]
    pub fn due(&self, nth: u64) -> Instant {
        let nanos = u64::try_from(self.interval.as_nanos()).unwrap_or(u64::MAX);
        self.start + Duration::from_nanos(nanos.saturating_mul(nth))
    }
}

/// Records how late copies are. A delay counts from the time at which the message was due, not from the
/// time at which it was sent: a sender that had to wait makes its message late.
#[derive(Debug)]
pub struct DelayRecorder {
    schedule: Schedule,
    from: Instant,
    delays: Latencies,
}

impl DelayRecorder {
    /// Creates a recorder. It records an undelivered copy only if its message was due at `from` or later.
    pub fn new(schedule: Schedule, from: Instant) -> Result<Self> {
        Ok(Self { schedule, from, delays: Latencies::new()? })
    }

    /// Returns the delays.
    #[must_use]
    pub fn into_delays(self) -> Latencies {
        self.delays
    }

    /// Records that a copy of message number `nth` has arrived at `now`.
    pub fn record(&mut self, nth: u64, now: Instant) {
        self.delays.record(now.saturating_duration_since(self.schedule.due(nth)));
    }

    /// Records a copy that has not come by `now`, with the delay that it has so far.
    pub fn record_undelivered(&mut self, nth: u64, now: Instant) {
        if self.schedule.due(nth) >= self.from {
            self.record(nth, now);
        }
    }
}
