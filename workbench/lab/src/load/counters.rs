//! Counts and processor time between two moments of a run.

use std::time::{Duration, Instant};

use super::super::figures::Figures;
use super::super::process::{Process, own_cpu_seconds};

/// The counters at one moment.
pub struct Counters {
    when: Instant,
    received: Received,
    own_cpu: Option<f64>,
    server_cpu: Option<f64>,
}

/// Everything that the load generator has received so far.
#[derive(Clone, Copy, Default)]
pub(super) struct Received {
    pub bytes: u64,
    pub messages: u64,
    pub reads: u64,
    /// The time in which the generator had something to do.
    pub busy: Duration,
}

impl Counters {
    /// Reads the counters now.
    #[must_use]
    pub(super) fn read(received: Received, server: Option<Process>) -> Self {
        Self {
            when: Instant::now(),
            received,
            own_cpu: own_cpu_seconds(),
            server_cpu: server.and_then(|server| server.cpu_seconds().ok()),
        }
    }

    /// Adds the differences to earlier counters to the figures.
    #[expect(clippy::cast_precision_loss, reason = "counts of a few seconds, far below 2^52")]
    pub fn add_since(&self, before: &Self, figures: &mut Figures) {
        let (seconds, server_cpu) = self.since(before);
        let messages = (self.received.messages - before.received.messages) as f64;
        let bytes = (self.received.bytes - before.received.bytes) as f64;
        let reads = (self.received.reads - before.received.reads).max(1) as f64;
        figures.add("deliveries_per_s", messages / seconds);
        figures.add("megabytes_per_s", bytes / seconds / 1e6);
        figures.add("bytes_per_read", bytes / reads);
        if let Some(cpu) = server_cpu {
            figures.add("server_cpu_percent", cpu / seconds * 100.0);
            figures.add("server_cpu_us_per_delivery", cpu * 1e6 / messages.max(1.0));
        }
        if let Some(cpu) = self.own_cpu.zip(before.own_cpu).map(|(now, then)| now - then) {
            figures.add("generator_cpu_percent", cpu / seconds * 100.0);
        }
        let busy = self.received.busy.as_secs_f64() - before.received.busy.as_secs_f64();
        figures.add("generator_busy_percent", busy / seconds * 100.0);
    }

    /// Returns the seconds since earlier counters, and the server's processor time in them.
    #[must_use]
    pub fn since(&self, before: &Self) -> (f64, Option<f64>) {
        let cpu = self.server_cpu.zip(before.server_cpu).map(|(now, then)| now - then);
        ((self.when - before.when).as_secs_f64(), cpu)
    }
}
