//! The server that is watched: its samples, its addresses and its processor time.

use std::time::{Duration, Instant};

use probe::{procfs, server};
use watch::{Lanes, Processes, Sampler};

/// The time between two searches for the addresses on which the server listens.
const ADDRS_INTERVAL: Duration = Duration::from_millis(250);

/// The length of the time for which the processor time is averaged.
const CPU_TIME: Duration = Duration::from_secs(1);

pub struct Watched {
    pub name: String,
    pub sampler: Sampler,
    pub lanes: Lanes,
    /// The addresses on which the server listens.
    pub addrs: Vec<String>,
    addrs_at: Option<Instant>,
    /// The total processor time at the times of the samples of the last second.
    cpu: Vec<(Duration, Duration)>,
}

impl Watched {
    pub fn new(whom: Processes, name: String) -> Self {
        let (addrs, addrs_at, cpu) = (Vec::new(), None, Vec::new());
        let (sampler, lanes) = (Sampler::new(whom), Lanes::default());
        Self { name, sampler, lanes, addrs, addrs_at, cpu }
    }

    /// Samples each thread once.
    pub fn sample(&mut self) {
        self.sampler.sample(&mut self.lanes);
        if let Some(cpu) = self.sampler.cpu() {
            let now = self.lanes.now();
            self.cpu.push((now, cpu));
            let old = self.cpu.partition_point(|(at, _)| *at + CPU_TIME < now);
            self.cpu.drain(..old);
        }
    }

    /// Finds the addresses on which the server listens, a few times a second. Reports whether there are new
    /// ones.
    pub fn find_addrs(&mut self) -> bool {
        if self.addrs_at.is_some_and(|at| at.elapsed() < ADDRS_INTERVAL) {
            return false;
        }
        self.addrs_at = Some(Instant::now());
        let found = server::listening_addrs(self.sampler.processes());
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        let are_new = !found.is_empty() && found != self.addrs;
        self.addrs = found;
        are_new
    }

    /// Returns the processor time in percent of the last second.
    pub fn cpu_percent(&self) -> Option<f64> {
        let ((begin, before), (now, after)) = (self.cpu.first()?, self.cpu.last()?);
        let passed = now.saturating_sub(*begin).as_secs_f64();
        let used = after.saturating_sub(*before).as_secs_f64();
        (passed > 0.1).then(|| 100.0 * used / passed)
    }

    /// Reports whether no process of the server is running any more.
    pub fn has_ended(&self) -> bool {
        self.sampler.processes().iter().all(|pid| !procfs::is_running(*pid))
    }
}
