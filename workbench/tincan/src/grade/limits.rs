//! What a submission may use: time, memory, processes and output.

use std::time::{Duration, Instant};

use super::processes;

/// What a submission may use.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Limits {
    /// How long all checks of a submission may take
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub time: u64,
    /// How much memory all processes of a submission may use together, and the checks with them (Linux)
    ///
    /// Memory that they share counts once. With 1,100 clients, a Python server with a process for each takes more than
    /// 512 MiB.
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub memory: u64,
    /// How many processes and threads a submission may have at once (Linux)
    ///
    /// The checks connect up to 1,100 clients at once, and a server may have two or three threads for each.
    #[arg(long, value_name = "N", default_value_t = 4096)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub processes: u64,
    /// How much a submission may print in all checks together, and how long a file it may write
    ///
    /// A server that logs each message prints some 50 MiB.
    #[arg(long, value_name = "MIB", default_value_t = 256)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=4096))]
    pub output: u64,
}

const MIB: u64 = 1 << 20;

impl Limits {
    /// Returns the limit of the output in bytes.
    pub fn output_bytes(&self) -> u64 {
        self.output * MIB
    }
}

/// Compares what one submission uses with its limits, at intervals.
#[derive(Debug)]
pub struct Meter {
    limits: Limits,
    /// The process that runs the checks.
    checker: u32,
    deadline: Instant,
    next_look: Instant,
}

impl Meter {
    pub fn new(limits: Limits, checker: u32) -> Self {
        let now = Instant::now();
        Self { limits, checker, deadline: now + Duration::from_secs(limits.time), next_look: now }
    }

    /// Returns how long to wait until the next call of [`Self::excess`].
    pub fn pause(&self) -> Duration {
        /// The longest time until a signal to `tincan` is seen.
        const LONGEST: Duration = Duration::from_millis(100);
        self.next_look.saturating_duration_since(Instant::now()).min(LONGEST)
    }

    /// Returns which limit the submission exceeds, if it exceeds one. Returns `None` without a look at the submission
    /// if the last look was a moment ago.
    pub fn excess(&mut self) -> Option<String> {
        /// A program can fill some 150 MiB of memory in this time.
        const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
        /// On a busy machine, a look may be this late.
        const LONGEST_DELAY: Duration = Duration::from_secs(2);
        let begin = Instant::now();
        if begin < self.next_look {
            return None;
        }
        // If this program was suspended, the submission keeps its time.
        let late = begin - self.next_look;
        if late > LONGEST_DELAY {
            self.deadline += late;
        }
        let excess = self.exceeded_limit();
        // A look takes long if there are thousands of processes. So it takes at most a fifth of the time.
        self.next_look = Instant::now() + SHORTEST_PAUSE.max(4 * begin.elapsed());
        excess
    }

    fn exceeded_limit(&self) -> Option<String> {
        let Limits { time, memory, processes: max_processes, .. } = self.limits;
        if Instant::now() > self.deadline {
            return Some(format!("it took longer than {time} s"));
        }
        let family = processes::family(self.checker);
        let servers: Vec<_> = family.iter().copied().filter(|pid| *pid != self.checker).collect();
        if processes::threads(&servers) as u64 > max_processes {
            return Some(format!("it had more than {max_processes} processes and threads"));
        }
        if processes::use_more_memory_than(memory * MIB, &family) {
            return Some(format!("it used more than {memory} MiB of memory"));
        }
        None
    }
}
