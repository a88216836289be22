//! Samples all threads of a server again and again, without affecting them.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::doing::{Doing, Peers, Ran, in_kernel, in_syscall, ran, stat};
use crate::lanes::{Cell, Lanes};
use crate::state::{self, State};
use probe::procfs::{self, Processes};

/// The time between two samples, unless a sample takes long.
pub const INTERVAL: Duration = Duration::from_millis(20);

/// The time between two searches for new processes, each of which reads about all processes of the machine.
const PROCESSES_INTERVAL: Duration = Duration::from_millis(100);

/// If there are more threads than this, a thread that has not run since the last sample counts as unchanged.
const FEW: usize = 200;

/// The number of recent samples that determine the interval.
const RECENT: usize = 4;

/// How much the system tells about what a thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// The system call in which a thread waits.
    Syscalls,
    /// The kernel function in which a thread waits.
    KernelFunctions,
    /// Only whether a thread runs.
    Running,
}

/// Reports whether this system tells what threads do.
#[must_use]
pub fn is_possible() -> bool {
    cfg!(target_os = "linux")
}

/// Samples the threads of a server again and again.
#[derive(Debug)]
pub struct Sampler {
    whom: Processes,
    begin: Instant,
    processes: Vec<u32>,
    processes_at: Option<Instant>,
    threads: HashMap<u32, Thread>,
    rounds: u64,
    /// Whether the system did not show the system call of a thread.
    hides_syscalls: bool,
    /// Whether the system has shown the kernel function of a thread.
    shows_functions: bool,
    peers: Peers,
    cpu: Option<Duration>,
    /// How long the most recent samples took.
    took: [Duration; RECENT],
}

/// What the last sample told about a thread.
#[derive(Debug)]
struct Thread {
    lane: u64,
    round: u64,
    started: u64,
    ran: Option<Ran>,
    state: Option<State>,
}

impl Sampler {
    /// Returns a sampler, which has not sampled yet.
    #[must_use]
    pub fn new(whom: Processes) -> Self {
        Self {
            whom,
            begin: Instant::now(),
            processes: Vec::new(),
            processes_at: None,
            threads: HashMap::new(),
            rounds: 0,
            hides_syscalls: false,
            shows_functions: false,
            peers: Peers::default(),
            cpu: None,
            took: [Duration::ZERO; RECENT],
        }
    }

    /// Samples each thread once, and adds the samples to the lanes.
    pub fn sample(&mut self, lanes: &mut Lanes) {
        let begin = Instant::now();
        let at = begin - self.begin;
        self.rounds += 1;
        if self.processes_at.is_none_or(|it| begin - it >= PROCESSES_INTERVAL) {
            self.processes = procfs::with_descendants(self.whom);
            self.processes_at = Some(begin);
        }
        for pid in self.processes.clone() {
            for tid in procfs::thread_ids(pid) {
                self.sample_thread(pid, tid, at, lanes);
            }
        }
        let round = self.rounds;
        self.threads.retain(|_, thread| {
            if thread.round != round {
                lanes.end(thread.lane);
            }
            thread.round == round
        });
        lanes.end_round(at);
        self.took.rotate_left(1);
        self.took[RECENT - 1] = begin.elapsed();
    }

    fn sample_thread(&mut self, pid: u32, tid: u32, at: Duration, lanes: &mut Lanes) {
        let folder = format!("/proc/{pid}/task/{tid}");
        // Read first, so that what is read later is not older.
        let ran = ran(&folder);
        let are_many = self.threads.len() > FEW;
        if let Some(thread) = self.threads.get_mut(&tid)
            && (are_many && ran.is_some() && thread.ran == ran)
            && let Some(state) = thread.state
            && state != State::Running
        {
            thread.round = self.rounds;
            lanes.add(thread.lane, at, Cell { state, ran: false });
            return;
        }
        let Some(stat) = stat(&folder) else { return };
        let Doing { state, detail, peer } = self.doing(pid, &folder, stat.state);
        // A thread that has ended, but whose parent has not waited for it yet.
        if matches!(stat.state, 'Z' | 'X') {
            return;
        }
        let is_first = self.rounds == 1;
        let before = self.threads.remove(&tid).filter(|thread| thread.started == stat.started);
        let so_far = match &before {
            Some(thread) => thread.ran,
            None if is_first => ran,
            None => Some(Ran { time: 0, times: 0 }),
        };
        if let (Some(so_far), Some(ran)) = (so_far, ran) {
            let more = Duration::from_nanos(ran.time.saturating_sub(so_far.time));
            *self.cpu.get_or_insert_default() += more;
        }
        let has_run = before.is_some() && so_far.map(|it| it.times) != ran.map(|it| it.times);
        let lane = before.map_or_else(|| lanes.begin(tid), |thread| thread.lane);
        if let Some(state) = state {
            lanes.add(lane, at, Cell { state, ran: has_run && state != State::Running });
        }
        lanes.describe(lane, &stat.name, detail);
        if let Some(peer) = peer {
            lanes.connect(lane, peer);
        }
        let thread = Thread { lane, round: self.rounds, started: stat.started, ran, state };
        self.threads.insert(tid, thread);
    }

    /// Returns what a thread does.
    fn doing(&mut self, pid: u32, folder: &str, letter: char) -> Doing {
        match letter {
            'R' => return Doing::new(State::Running, ""),
            'T' | 't' => return Doing { detail: "stopped".to_owned(), ..Doing::default() },
            _ => {}
        }
        let doing = match fs::read_to_string(format!("{folder}/syscall")) {
            Ok(text) if state::knows_syscalls() => match in_syscall(pid, &text, &mut self.peers) {
                Some(found) => found,
                None => in_kernel(folder),
            },
            // The thread has just ended.
            Err(_) if !Path::new(folder).exists() => return Doing::default(),
            Ok(_) | Err(_) => {
                let doing = in_kernel(folder);
                self.hides_syscalls = true;
                // Where the system shows functions, it still shows none for a thread that has just begun to run.
                self.shows_functions |= doing.state != Some(State::Waiting);
                doing
            }
        };
        if letter == 'D' { Doing { state: Some(State::Disk), ..doing } } else { doing }
    }

    /// Returns how much the system has shown so far.
    #[must_use]
    pub fn visibility(&self) -> Visibility {
        match (self.hides_syscalls, self.shows_functions) {
            (false, _) => Visibility::Syscalls,
            (true, true) => Visibility::KernelFunctions,
            (true, false) => Visibility::Running,
        }
    }

    /// Returns the processor time that was used since the first sample, if the system tells.
    #[must_use]
    pub fn cpu(&self) -> Option<Duration> {
        self.cpu
    }

    /// Returns the processes whose threads are sampled.
    #[must_use]
    pub fn processes(&self) -> &[u32] {
        &self.processes
    }

    /// Returns the time from the beginning of one sample to the beginning of the next. It is long enough for
    /// sampling to take no more than a quarter of one processor.
    #[must_use]
    pub fn interval(&self) -> Duration {
        // The shortest counts: the others may have waited for a processor.
        INTERVAL.max(self.took.into_iter().min().unwrap_or_default() * 4)
    }

    /// Returns the time since this sampler was made.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }
}
