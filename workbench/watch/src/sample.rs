//! Samples all threads of a server again and again, without affecting them.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::doing::{Doing, Peers, RunTime, in_kernel, in_syscall, run_time, stat};
use crate::lanes::{Cell, Lanes};
use crate::state::{self, State};
use probe::procfs::{self, Processes};

/// The time between two passes over all threads, unless a pass takes long.
pub const INTERVAL: Duration = Duration::from_millis(20);

/// The time between two searches for new processes, each of which reads about all processes of the machine.
const PROCESSES_INTERVAL: Duration = Duration::from_millis(100);

/// If there are more threads than this, a thread that has not run since the last pass counts as unchanged.
const MAX_THREADS_READ_FULLY: usize = 200;

/// The number of recent passes that determine the interval.
const RECENT: usize = 4;

/// How much the system shows about a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// The system call in which a thread waits.
    Syscalls,
    /// The kernel function in which a thread waits.
    KernelFunctions,
    /// Only whether a thread runs.
    Running,
}

/// Reports whether this system shows the states of threads.
#[must_use]
pub fn is_possible() -> bool {
    cfg!(target_os = "linux")
}

/// Samples the threads of a server again and again.
#[derive(Debug)]
pub struct Sampler {
    roots: Processes,
    begin: Instant,
    processes: Vec<u32>,
    processes_at: Option<Instant>,
    threads: HashMap<u32, Thread>,
    passes: u64,
    /// Whether the system did not show the system call of a thread.
    hides_syscalls: bool,
    /// Whether the system has shown the kernel function of a thread.
    shows_functions: bool,
    peers: Peers,
    cpu: Option<Duration>,
    /// How long the most recent passes took.
    took: [Duration; RECENT],
}

/// The last sample of a thread.
#[derive(Debug)]
struct Thread {
    lane: u64,
    pass: u64,
    started: u64,
    ran: Option<RunTime>,
    state: Option<State>,
}

impl Sampler {
    /// Returns a sampler that has not sampled yet.
    #[must_use]
    pub fn new(roots: Processes) -> Self {
        Self {
            roots,
            begin: Instant::now(),
            processes: Vec::new(),
            processes_at: None,
            threads: HashMap::new(),
            passes: 0,
            hides_syscalls: false,
            shows_functions: false,
            peers: Peers::default(),
            cpu: None,
            took: [Duration::ZERO; RECENT],
        }
    }

    /// Makes one pass: samples each thread once, and adds the samples to the lanes.
    pub fn sample(&mut self, lanes: &mut Lanes) {
        let begin = Instant::now();
        let at = begin - self.begin;
        self.passes += 1;
        if self.processes_at.is_none_or(|it| begin - it >= PROCESSES_INTERVAL) {
            self.processes = procfs::with_descendants(self.roots);
            self.processes_at = Some(begin);
        }
        for pid in self.processes.clone() {
            for tid in procfs::thread_ids(pid) {
                self.sample_thread(pid, tid, at, lanes);
            }
        }
        let pass = self.passes;
        self.threads.retain(|_, thread| {
            if thread.pass != pass {
                lanes.end(thread.lane);
            }
            thread.pass == pass
        });
        lanes.end_pass(at);
        self.took.rotate_left(1);
        self.took[RECENT - 1] = begin.elapsed();
    }

    fn sample_thread(&mut self, pid: u32, tid: u32, at: Duration, lanes: &mut Lanes) {
        let folder = format!("/proc/{pid}/task/{tid}");
        // The run time is read first, so that it is not newer than the state.
        let ran = run_time(&folder);
        let are_many = self.threads.len() > MAX_THREADS_READ_FULLY;
        if let Some(thread) = self.threads.get_mut(&tid)
            && (are_many && ran.is_some() && thread.ran == ran)
            && let Some(state) = thread.state
            && state != State::Running
        {
            thread.pass = self.passes;
            lanes.add(thread.lane, at, Cell { state, ran_briefly: false });
            return;
        }
        let Some(stat) = stat(&folder) else { return };
        // The thread has ended, but its parent has not waited for it yet.
        if matches!(stat.state, 'Z' | 'X') {
            return;
        }
        let Doing { state, detail, peer } = self.doing(pid, &folder, stat.state);
        let is_first = self.passes == 1;
        let before = self.threads.remove(&tid).filter(|thread| thread.started == stat.started);
        let so_far = match &before {
            Some(thread) => thread.ran,
            None if is_first => ran,
            None => Some(RunTime { time: 0, timeslices: 0 }),
        };
        if let (Some(so_far), Some(ran)) = (so_far, ran) {
            let more = Duration::from_nanos(ran.time.saturating_sub(so_far.time));
            *self.cpu.get_or_insert_default() += more;
        }
        let has_run =
            before.is_some() && so_far.map(|it| it.timeslices) != ran.map(|it| it.timeslices);
        let lane = before.map_or_else(|| lanes.add_lane(tid), |thread| thread.lane);
        if let Some(state) = state {
            lanes.add(lane, at, Cell { state, ran_briefly: has_run && state != State::Running });
        }
        lanes.describe(lane, &stat.name, detail);
        if let Some(peer) = peer {
            lanes.set_peer(lane, peer);
        }
        let thread = Thread { lane, pass: self.passes, started: stat.started, ran, state };
        self.threads.insert(tid, thread);
    }

    /// Returns the state of a thread, with details.
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

    /// Returns the processor time that the threads have used since the first pass, or `None` if the system does not
    /// show it.
    #[must_use]
    pub fn cpu(&self) -> Option<Duration> {
        self.cpu
    }

    /// Returns the processes whose threads are sampled.
    #[must_use]
    pub fn processes(&self) -> &[u32] {
        &self.processes
    }

    /// Returns the time from the beginning of one pass to the beginning of the next. It is so long that the passes
    /// take at most a quarter of one processor.
    #[must_use]
    pub fn interval(&self) -> Duration {
        // The shortest pass counts: the others may have waited for a processor.
        INTERVAL.max(self.took.into_iter().min().unwrap_or_default() * 4)
    }

    /// Returns the time since this sampler was made.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }
}
