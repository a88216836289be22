//! Bounds what a submission may use: its time, its memory, its processes and its output.
//!
//! On Linux, one thread looks at the processes of all submissions again and again. A submission that uses too much is
//! ended with all of its processes. On other systems, only the time and the output are bounded.

use std::collections::HashMap;
use std::io;
use std::process::{Child, Command};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use probe::server;

#[cfg(target_os = "linux")]
use super::processes::{self, Family, MARK, Process, Scanner};

/// How long the thread pauses after it has looked at the processes. A program can fill some 40 MiB of memory in this
/// time.
const PAUSE: Duration = Duration::from_millis(15);

/// How much memory the process that runs the checks may use, in bytes. It keeps what the servers print and send.
#[cfg(target_os = "linux")]
const CHECKER_MEMORY: u64 = 1 << 30;

/// What a submission may use.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Limits {
    /// How long all checks of a submission may take
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub time: u64,
    /// How much memory all processes of a submission may use together (Linux)
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

    /// Returns why a submission is stopped if it prints too much.
    pub fn printed_too_much(&self) -> String {
        format!("it printed more than {} MiB", self.output)
    }
}

/// Starts the processes that run the checks, and ends each if its submission uses too much.
#[derive(Clone, Debug)]
pub struct Supervisor(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: Limits,
    state: Mutex<State>,
    /// Notified when a submission has been ended.
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The submissions that are being checked, by the process that runs the checks.
    running: HashMap<u32, Running>,
    /// Whether this program is about to end, so that no submission may start.
    is_closing: bool,
}

/// A submission that is being checked.
#[derive(Debug)]
struct Running {
    deadline: Instant,
    /// Why the submission is being ended, or was ended.
    reason: Option<String>,
    /// Whether a thread is ending it now.
    is_being_ended: bool,
    #[cfg(target_os = "linux")]
    family: Family,
    #[cfg(target_os = "linux")]
    measured: Option<Measured>,
}

/// An exact measurement of the memory of a submission, which found that it uses less than the limit.
#[cfg(target_os = "linux")]
#[derive(Debug)]
struct Measured {
    /// The resident memory then, in bytes.
    resident: u64,
    /// When to measure again, even if the resident memory has not grown.
    next: Instant,
}

impl Supervisor {
    /// Starts to supervise.
    pub fn start(limits: Limits) -> Self {
        let (state, ended) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { limits, state, ended });
        let supervisor = Self(Arc::clone(&shared));
        #[cfg(target_os = "linux")]
        {
            // So that no process of a submission gets lost. If this fails, a process whose parent has ended may run on
            // after the process that runs the checks was killed.
            let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
        }
        thread::spawn(move || shared.supervise());
        supervisor
    }

    /// Starts the process that runs the checks of a submission.
    pub fn spawn(&self, command: &mut Command) -> Result<Child> {
        // Locked until the process is in the list, so that no process is missing there when this program ends.
        let mut state = self.0.state();
        if state.is_closing {
            bail!("tincan is about to end");
        }
        let running = self.0.prepare(command);
        let begin = || command.spawn().context("could not start tincan itself");
        let child = server::start_tracked(begin, Child::id)?;
        state.running.insert(child.id(), running.of(child.id()));
        Ok(child)
    }

    /// Ends a submission.
    pub fn stop(&self, checker: u32, reason: String) {
        self.0.stop(&mut self.0.state(), checker, reason);
    }

    /// Waits until the process that runs the checks has ended, and ends the processes that the submission has left
    /// behind. Returns the reason if the submission was stopped.
    pub fn finish(&self, child: &mut Child) -> io::Result<Option<String>> {
        let is_being_ended = |state: &mut State| {
            state.running.get(&child.id()).is_some_and(|running| running.is_being_ended)
        };
        let state = self.0.ended.wait_while(self.0.state(), is_being_ended);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        // From here on, no signal is sent to the process, so its number may be used again.
        let running = state.running.remove(&child.id());
        drop(state);
        child.wait()?;
        server::untrack(child.id());
        let Some(running) = running else { return Ok(None) };
        #[cfg(target_os = "linux")]
        running.family.end_rest();
        Ok(running.reason)
    }

    /// Ends the processes that are left after all submissions were checked.
    pub fn end_rest(&self) {
        self.0.state().is_closing = true;
        #[cfg(target_os = "linux")]
        processes::end_children();
    }

    /// Ends all submissions; from now on, no submission can start.
    pub fn close(&self) {
        let mut state = self.0.state();
        state.is_closing = true;
        let all: Vec<_> = state.running.keys().copied().collect();
        for checker in all {
            self.0.stop(&mut state, checker, "tincan was ended".to_owned());
        }
        let is_running =
            |state: &mut State| state.running.values().any(|running| running.is_being_ended);
        drop(self.0.ended.wait_while(state, is_running));
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn prepare(&self, command: &mut Command) -> NotStarted {
        // Ctrl-C in a terminal does not reach the process: this program ends it.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(command, 0);
        #[cfg(not(target_os = "linux"))]
        let _ = command;
        #[cfg(target_os = "linux")]
        let mark = format!("{}-{:016x}", std::process::id(), fastrand::u64(..));
        #[cfg(target_os = "linux")]
        command.env(MARK, &mark);
        NotStarted {
            deadline: Instant::now() + Duration::from_secs(self.limits.time),
            #[cfg(target_os = "linux")]
            mark,
        }
    }

    fn stop(self: &Arc<Self>, state: &mut State, checker: u32, reason: String) {
        let Some(running) = state.running.get_mut(&checker) else { return };
        if running.reason.is_some() {
            return;
        }
        running.reason = Some(reason);
        running.is_being_ended = true;
        #[cfg(target_os = "linux")]
        let family = running.family.clone();
        let shared = Arc::clone(self);
        // In a thread of its own, so that the other submissions are supervised in the meantime.
        thread::spawn(move || {
            #[cfg(target_os = "linux")]
            let have_all_ended = family.end();
            #[cfg(not(target_os = "linux"))]
            let have_all_ended = end_checker(checker);
            let mut state = shared.state();
            if let Some(running) = state.running.get_mut(&checker) {
                running.is_being_ended = false;
                if !have_all_ended {
                    running.reason.get_or_insert_default().push_str(NOT_ALL_ENDED);
                }
            }
            shared.ended.notify_all();
        });
    }

    /// Stops the submissions that have used up their time.
    fn check_time(self: &Arc<Self>) {
        let mut state = self.state();
        let now = Instant::now();
        let late: Vec<_> =
            state.running.iter().filter(|(_, it)| now > it.deadline).map(|(pid, _)| *pid).collect();
        for checker in late {
            self.stop(&mut state, checker, format!("it took longer than {} s", self.limits.time));
        }
    }
}

/// The end of a reason if some processes still run.
const NOT_ALL_ENDED: &str = "; not all of its processes could be ended";

/// A submission whose process has not been started.
struct NotStarted {
    deadline: Instant,
    #[cfg(target_os = "linux")]
    mark: String,
}

impl NotStarted {
    fn of(self, checker: u32) -> Running {
        #[cfg(not(target_os = "linux"))]
        let _ = checker;
        Running {
            deadline: self.deadline,
            reason: None,
            is_being_ended: false,
            #[cfg(target_os = "linux")]
            family: Family { checker, mark: self.mark, seen: HashMap::new() },
            #[cfg(target_os = "linux")]
            measured: None,
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl Shared {
    fn supervise(self: Arc<Self>) {
        loop {
            thread::sleep(10 * PAUSE);
            self.check_time();
        }
    }
}

/// Kills the process that runs the checks; its watchdog then ends the servers.
#[cfg(all(unix, not(target_os = "linux")))]
fn end_checker(checker: u32) -> bool {
    use rustix::process::{Pid, Signal, kill_process_group};
    let group = i32::try_from(checker).ok().and_then(Pid::from_raw);
    group.is_some_and(|group| kill_process_group(group, Signal::KILL).is_ok())
}

/// Kills the process that runs the checks; its watchdog then ends the servers.
#[cfg(not(unix))]
fn end_checker(checker: u32) -> bool {
    let args = ["/F", "/T", "/PID", &checker.to_string()];
    Command::new("taskkill").args(args).output().is_ok_and(|output| output.status.success())
}

#[cfg(target_os = "linux")]
impl Shared {
    fn supervise(self: Arc<Self>) {
        // If this is allowed, it keeps thousands of busy processes from delaying this thread.
        let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), -20);
        let mut scanner = Scanner::new();
        loop {
            let begin = Instant::now();
            if !self.state().running.is_empty() {
                let all = scanner.scan();
                self.check_use(&all);
                self.check_time();
            }
            thread::sleep(begin.elapsed().max(PAUSE));
        }
    }

    /// Stops the submissions that use too much. `all` has the descendants of this process.
    fn check_use(self: &Arc<Self>, all: &[Process]) {
        let checkers: Vec<_> = self.state().running.keys().copied().collect();
        for checker in checkers {
            let processes = processes::descendants(all, checker);
            let memory_of_checker = all.iter().find(|it| it.pid == checker).map(|it| it.resident);
            // Not locked while the memory is measured, which may take long.
            let measured = {
                let mut state = self.state();
                let Some(running) = state.running.get_mut(&checker) else { continue };
                running.family.seen.extend(processes.iter().map(|it| (it.pid, it.start)));
                running.measured.take()
            };
            let (reason, measured) = self.reason(&processes, measured);
            let reason = reason.or_else(|| {
                (memory_of_checker? > CHECKER_MEMORY)
                    .then(|| format!("what it sent and printed took {} MiB", CHECKER_MEMORY / MIB))
            });
            let mut state = self.state();
            if let Some(running) = state.running.get_mut(&checker) {
                running.measured = measured;
            }
            if let Some(reason) = reason {
                self.stop(&mut state, checker, reason);
            }
        }
    }

    /// Returns the reason to stop a submission with these processes, if there is one, and the last exact measurement of
    /// its memory.
    fn reason(
        &self,
        processes: &[Process],
        measured: Option<Measured>,
    ) -> (Option<String>, Option<Measured>) {
        let Limits { memory, processes: most, .. } = self.limits;
        if processes::threads(processes) > most {
            return (Some(format!("it had more than {most} processes and threads")), measured);
        }
        let limit = memory * MIB;
        let resident = processes::resident(processes);
        let is_known = measured
            .as_ref()
            .is_some_and(|it| resident < it.resident + limit / 8 && Instant::now() < it.next);
        if resident <= limit || is_known {
            return (None, measured);
        }
        let begin = Instant::now();
        if processes::use_more_than(processes, limit) {
            let reason = format!("its processes used more than {memory} MiB of memory");
            return (Some(reason), measured);
        }
        // The exact measurement takes at most a fifth of the time.
        (None, Some(Measured { resident, next: Instant::now() + 4 * begin.elapsed() }))
    }
}
