//! Measures and ends the processes of a submission.
//!
//! On Linux, all of them are descendants of the process that runs the checks, because that process adopts the processes
//! that its servers leave behind. On other systems, they cannot be found. On Unix, the watchdog of that process ends its
//! servers; on Windows, `taskkill` ends its descendants.

use std::collections::HashSet;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use probe::procfs::{self, Processes};

/// Returns the process that runs the checks and all its descendants (Linux).
pub fn family(checker: u32) -> Vec<u32> {
    procfs::with_descendants(Processes::Process(checker))
}

/// Returns the number of these processes and their threads.
pub fn threads(processes: &[u32]) -> usize {
    processes.iter().map(|pid| procfs::thread_ids(*pid).len()).sum()
}

/// Reports whether these processes use more memory than `limit`, in bytes. Memory that several processes share counts
/// once.
pub fn use_more_memory_than(limit: u64, processes: &[u32]) -> bool {
    let all_resident: u64 = processes.iter().filter_map(|pid| resident(*pid)).sum();
    // The resident memory counts shared memory for each process. It is never less than the proportional memory, which
    // takes much longer to find.
    all_resident > limit && {
        let part = |pid: &u32| proportional(*pid).or_else(|| resident(*pid));
        let proportional: u64 = processes.iter().filter_map(part).sum();
        proportional > limit
    }
}

/// Returns the resident memory of a process in bytes.
fn resident(pid: u32) -> Option<u64> {
    kibibytes(&procfs::read(format!("/proc/{pid}/status"))?, "VmRSS:")
}

/// Returns the memory of a process in bytes: of memory that it shares with others, only its part.
fn proportional(pid: u32) -> Option<u64> {
    kibibytes(&procfs::read(format!("/proc/{pid}/smaps_rollup"))?, "Pss:")
}

/// Returns the number in the line that begins with `name`, in bytes: see `proc_pid_status(5)`
/// and `proc_pid_smaps(5)`.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let number = line.split_whitespace().next()?.parse::<u64>().ok()?;
    Some(number * 1024)
}

/// How long each of the two steps of [`end`] may take, if there are always new processes.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// Ends all processes of a submission, and then the process that runs the checks. Reports whether all have ended,
/// which is known only on Linux.
pub fn end(checker: &mut Child) -> bool {
    stop_all(checker.id());
    let have_ended = kill_descendants(checker.id());
    #[cfg(not(unix))]
    kill_tree(checker.id());
    // This fails only if the process has ended.
    let _ = checker.kill();
    have_ended
}

/// Stops all processes of a submission, until there are no new ones. A process that starts others without end could do
/// so while they are killed one after the other; a stopped process starts no others.
fn stop_all(checker: u32) {
    let deadline = Instant::now() + END_TIMEOUT;
    let mut stopped = HashSet::new();
    while Instant::now() < deadline {
        let family = family(checker);
        let new: Vec<_> = family.iter().copied().filter(|pid| stopped.insert(*pid)).collect();
        if new.is_empty() {
            return;
        }
        // A signal to a group reaches all its members at once, so that none can start a process in the meantime. Only
        // a group whose first process belongs to the submission gets it: a process can join the group of another.
        let groups: HashSet<_> = new.iter().filter_map(|pid| procfs::group(*pid)).collect();
        groups.into_iter().filter(|group| family.contains(group)).for_each(stop_group);
        new.into_iter().for_each(stop);
    }
}

/// Kills all descendants of a process, which must be stopped. Reports whether all have ended.
fn kill_descendants(checker: u32) -> bool {
    let deadline = Instant::now() + END_TIMEOUT;
    loop {
        let mut descendants = family(checker);
        descendants.retain(|pid| *pid != checker);
        descendants.iter().copied().for_each(kill);
        // The stopped process does not wait for its children, so they stay as zombies until it ends.
        descendants.retain(|pid| procfs::is_running(*pid));
        if descendants.is_empty() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(unix)]
use self::signals::{kill, stop, stop_group};

/// The signals. That a process has ended already is not an error.
#[cfg(unix)]
mod signals {
    use rustix::process::{Pid, Signal, kill_process, kill_process_group};

    fn pid(number: u32) -> Option<Pid> {
        i32::try_from(number).ok().and_then(Pid::from_raw)
    }

    pub fn stop(number: u32) {
        let _ = pid(number).map(|pid| kill_process(pid, Signal::STOP));
    }

    pub fn stop_group(number: u32) {
        let _ = pid(number).map(|group| kill_process_group(group, Signal::STOP));
    }

    pub fn kill(number: u32) {
        let _ = pid(number).map(|pid| kill_process(pid, Signal::KILL));
    }
}

/// Kills a process and its descendants.
#[cfg(not(unix))]
fn kill_tree(number: u32) {
    let _ = std::process::Command::new("taskkill")
        .args(["/F", "/T", "/PID", &number.to_string()])
        .output();
}

// Without `/proc`, no process is found that could get these signals.
#[cfg(not(unix))]
fn stop(_number: u32) {}
#[cfg(not(unix))]
fn stop_group(_number: u32) {}
#[cfg(not(unix))]
fn kill(_number: u32) {}
