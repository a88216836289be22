//! Finds the processes of a submission, measures them and ends them (Linux).
//!
//! All of them are descendants of the child process that runs the checks, because that process adopts the orphans of
//! its servers. If it has ended itself, they become children of this process, which adopts orphans, too.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use probe::procfs;
use rustix::process::{
    Pid, Signal, WaitOptions, getpgrp, kill_process, kill_process_group, waitpid,
};

/// The name of a variable in the environment of all processes of a submission.
pub const MARK: &str = "TINCAN_SUBMISSION";

/// How long the processes of a submission are looked for, while there are always new ones.
const LONGEST_HUNT: Duration = Duration::from_secs(10);

/// How often a [`Scanner`] looks again at the processes that belong to no submission.
const FORGET_FOREIGN: Duration = Duration::from_secs(1);

/// A process, as `/proc/PID/stat` describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    parent: u32,
    group: u32,
    threads: u64,
    /// When it was started: the system uses the number of a process again, sometimes within minutes.
    pub start: u64,
    /// Its resident memory in bytes. Memory that it shares with other processes counts in full.
    pub resident: u64,
    /// Whether it has ended, but was not waited for.
    is_zombie: bool,
}

impl Process {
    fn read(pid: u32) -> Option<Self> {
        Self::parse(pid, &procfs::read(format!("/proc/{pid}/stat"))?)
    }

    fn parse(pid: u32, stat: &str) -> Option<Self> {
        // The second field is the program's name in parentheses, which may contain blanks and parentheses.
        let (_, fields) = stat.rsplit_once(')')?;
        let fields: Vec<_> = fields.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        let short = |at| u32::try_from(number(at)?).ok();
        // Positions after the name; proc_pid_stat(5) counts from the number of the process, which is 1.
        let page = u64::try_from(rustix::param::page_size()).ok()?;
        Some(Self {
            pid,
            parent: short(1)?,
            group: short(2)?,
            threads: number(17)?.max(1),
            start: number(19)?,
            resident: number(21)? * page,
            is_zombie: matches!(fields.first(), Some(&("Z" | "X"))),
        })
    }
}

/// Returns all processes of the machine.
fn all_processes() -> Vec<Process> {
    pids().into_iter().filter_map(Process::read).collect()
}

fn pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Finds the descendants of this process again and again, and hardly looks at the other processes of the machine.
#[derive(Debug)]
pub struct Scanner {
    /// The processes that were no descendants of this process in two scans.
    foreign: HashSet<u32>,
    /// The processes that were no descendants in the last scan. If the parent of a process ends during a scan, the
    /// process only seems to be foreign.
    maybe_foreign: HashSet<u32>,
    forget_at: Instant,
}

impl Scanner {
    pub fn new() -> Self {
        let (foreign, maybe_foreign) = (HashSet::new(), HashSet::new());
        Self { foreign, maybe_foreign, forget_at: Instant::now() + FORGET_FOREIGN }
    }

    /// Returns the descendants of this process.
    pub fn scan(&mut self) -> Vec<Process> {
        if Instant::now() >= self.forget_at {
            // Numbers of processes are used again.
            *self = Self::new();
        }
        let pids = pids();
        let read: Vec<_> = pids
            .iter()
            .filter(|pid| !self.foreign.contains(pid))
            .copied()
            .filter_map(Process::read)
            .collect();
        let own = descendants(&read, std::process::id());
        let own_pids: HashSet<_> = own.iter().map(|it| it.pid).collect();
        for pid in read.iter().map(|it| it.pid).filter(|pid| !own_pids.contains(pid)) {
            if !self.maybe_foreign.insert(pid) {
                self.foreign.insert(pid);
            }
        }
        own
    }
}

/// Returns the descendants of a process among these processes, without the process itself.
pub fn descendants(processes: &[Process], root: u32) -> Vec<Process> {
    let mut children: HashMap<u32, Vec<Process>> = HashMap::new();
    for process in processes {
        children.entry(process.parent).or_default().push(*process);
    }
    let mut found = children.remove(&root).unwrap_or_default();
    let mut next = 0;
    while let Some(process) = found.get(next) {
        let more = children.remove(&process.pid).unwrap_or_default();
        found.extend(more);
        next += 1;
    }
    found
}

/// Returns the number of these processes and their threads.
pub fn threads(processes: &[Process]) -> u64 {
    processes.iter().map(|process| process.threads).sum()
}

/// Returns the resident memory of these processes in bytes. Memory that they share counts for each of them.
pub fn resident(processes: &[Process]) -> u64 {
    processes.iter().map(|process| process.resident).sum()
}

/// Reports whether these processes use more memory than `limit`, in bytes. Memory that several processes share counts
/// once. This takes much longer than [`resident`].
pub fn use_more_than(processes: &[Process], limit: u64) -> bool {
    let mut sum = 0;
    processes.iter().any(|process| {
        sum += proportional(process.pid).unwrap_or(process.resident);
        sum > limit
    })
}

/// Returns the memory of a process in bytes; of memory that it shares with others, only its part.
fn proportional(pid: u32) -> Option<u64> {
    let text = procfs::read(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// The processes of one submission.
#[derive(Clone, Debug)]
pub struct Family {
    /// The child process that runs the checks.
    pub checker: u32,
    /// The value of [`MARK`].
    pub mark: String,
    /// All processes that were ever found, each with its start.
    pub seen: HashMap<u32, u64>,
}

impl Family {
    /// Returns the processes of the submission, zombies included, without the one that runs the checks.
    fn members(&self, processes: &[Process]) -> Vec<Process> {
        let mut members = descendants(processes, self.checker);
        let own = std::process::id();
        let is_adopted = |it: &&Process| {
            it.parent == own
                && it.pid != self.checker
                && (self.seen.get(&it.pid) == Some(&it.start) || has_mark(it.pid, &self.mark))
                && !is_this_program(it.pid)
        };
        let adopted: Vec<_> = processes.iter().filter(is_adopted).copied().collect();
        for process in adopted {
            members.extend(descendants(processes, process.pid));
            members.push(process);
        }
        members
    }

    /// Ends all processes of the submission, and the one that runs the checks last. Reports whether all have ended.
    ///
    /// First they are stopped, until there are no new ones: a process that starts others all the time could do so
    /// while the others are killed one after the other, but a stopped process starts no others.
    pub fn end(mut self) -> bool {
        signal(self.checker, Signal::STOP);
        let deadline = Instant::now() + LONGEST_HUNT;
        let mut stopped = HashSet::new();
        while Instant::now() < deadline {
            let members = self.members(&all_processes());
            let new: Vec<_> = members.iter().filter(|it| stopped.insert(it.pid)).copied().collect();
            if new.is_empty() {
                break;
            }
            self.seen.extend(new.iter().map(|it| (it.pid, it.start)));
            self.signal_all(&new, Signal::STOP);
        }
        let has_ended = self.kill(deadline);
        signal(self.checker, Signal::KILL);
        // They are children of this process now.
        has_ended && self.kill(deadline)
    }

    /// Ends the processes that are left although the one that runs the checks has ended.
    pub fn end_rest(mut self) {
        let members = self.members(&all_processes());
        if !members.is_empty() {
            self.seen.extend(members.iter().map(|it| (it.pid, it.start)));
            let deadline = Instant::now() + LONGEST_HUNT;
            self.signal_all(&members, Signal::STOP);
            self.kill(deadline);
        }
    }

    /// Kills all processes of the submission, until all have ended. Reports whether they have.
    fn kill(&mut self, deadline: Instant) -> bool {
        loop {
            let members = self.members(&all_processes());
            wait_for_adopted(&members);
            let running: Vec<_> = members.into_iter().filter(|it| !it.is_zombie).collect();
            if running.is_empty() {
                return true;
            }
            self.seen.extend(running.iter().map(|it| (it.pid, it.start)));
            self.signal_all(&running, Signal::KILL);
            if Instant::now() > deadline {
                return false;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Sends a signal to these processes, and to their groups: a signal to a group also reaches the processes that
    /// were started since these were found.
    fn signal_all(&self, processes: &[Process], number: Signal) {
        let groups: HashSet<_> = processes.iter().map(|it| it.group).collect();
        for group in groups {
            // A process may have joined a group that is not the submission's.
            let is_its = self.seen.contains_key(&group) && group != self.checker;
            if is_its && let Some(group) = pid(group).filter(|group| *group != getpgrp()) {
                let _ = kill_process_group(group, number);
            }
        }
        for process in processes {
            signal(process.pid, number);
        }
    }
}

/// Ends all children of this process, when no submission is being checked any more, and waits for them. They are the
/// watchdogs of the checks, which end by themselves, and processes that could not be found before.
pub fn end_children() {
    const LONGEST: Duration = Duration::from_secs(1);
    let deadline = Instant::now() + LONGEST;
    while Instant::now() < deadline {
        let mut children = all_processes();
        children.retain(|it| it.parent == std::process::id());
        if children.is_empty() {
            return;
        }
        wait_for_adopted(&children);
        for child in children.iter().filter(|it| !it.is_zombie && !is_this_program(it.pid)) {
            signal(child.pid, Signal::KILL);
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Waits for the zombies that are children of this process, so that they disappear.
fn wait_for_adopted(members: &[Process]) {
    let own = std::process::id();
    for zombie in members.iter().filter(|it| it.is_zombie && it.parent == own) {
        let _ = pid(zombie.pid).map(|pid| waitpid(Some(pid), WaitOptions::NOHANG));
    }
}

fn signal(number: u32, signal: Signal) {
    // This fails if the process has ended.
    let _ = pid(number).map(|pid| kill_process(pid, signal));
}

fn pid(number: u32) -> Option<Pid> {
    i32::try_from(number).ok().and_then(Pid::from_raw)
}

fn has_mark(pid: u32, mark: &str) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let wanted = format!("{MARK}={mark}");
    environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
}

/// Reports whether a process runs this program: then it is the watchdog of a check, which ends by itself.
fn is_this_program(pid: u32) -> bool {
    static THIS: LazyLock<Option<PathBuf>> = LazyLock::new(|| std::env::current_exe().ok());
    fs::read_link(Path::new("/proc").join(pid.to_string()).join("exe")).ok() == *THIS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_kernel_is_read() {
        let stat =
            "12 (a) b) S 3 4 4 0 -1 4194304 150 0 0 0 1 2 0 0 20 0 5 0 1000 9000000 7 18446 1 1";
        let process = Process::parse(12, stat).unwrap();
        let page = u64::try_from(rustix::param::page_size()).unwrap();
        let expected = Process {
            pid: 12,
            parent: 3,
            group: 4,
            threads: 5,
            start: 1000,
            resident: 7 * page,
            is_zombie: false,
        };
        assert_eq!(process, expected);
    }

    #[test]
    fn descendants_are_found_in_any_order() {
        let process = |pid, parent| Process {
            pid,
            parent,
            group: 1,
            threads: 1,
            start: 0,
            resident: 0,
            is_zombie: false,
        };
        let all = [process(5, 4), process(4, 2), process(3, 1), process(2, 1), process(6, 9)];
        let mut found: Vec<_> = descendants(&all, 2).iter().map(|it| it.pid).collect();
        found.sort_unstable();
        assert_eq!(found, [4, 5]);
    }
}
