//! Gets information about processes from `/proc` (Linux). On other systems, the functions return `None`,
//! `false` or an empty list.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

/// The resources that a process uses at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The number of its threads.
    pub threads: u64,
    /// The number of its open descriptors.
    pub descriptors: u64,
    /// Its resident memory in bytes.
    pub resident_bytes: u64,
    /// The processor time that it has used since its start, in user mode and in the kernel.
    pub cpu: Duration,
}

/// Returns the resources that a process uses, or `None` if the process does not run.
#[must_use]
pub fn usage(pid: u32) -> Option<Usage> {
    let status = read(format!("/proc/{pid}/status"))?;
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
    Some(Usage {
        threads: field(&status, "Threads:")?.parse().ok()?,
        descriptors: u64::try_from(descriptors).ok()?,
        resident_bytes: field(&status, "VmRSS:")?.parse::<u64>().ok()? * 1024,
        cpu: cpu(pid)?,
    })
}

/// Returns the sum of the resources that the processes of a group use: a server may have a process for each
/// client.
#[must_use]
pub fn group_usage(group: u32) -> Option<Usage> {
    let mut sum = None;
    for pid in group_members(group) {
        // A process that has just ended and was waited for is left out. A zombie still counts as a thread.
        let Some(one) = usage(pid).or_else(|| zombie_usage(pid)) else { continue };
        let total = sum.get_or_insert(Usage {
            threads: 0,
            descriptors: 0,
            resident_bytes: 0,
            cpu: Duration::ZERO,
        });
        total.threads += one.threads;
        total.descriptors += one.descriptors;
        total.resident_bytes += one.resident_bytes;
        total.cpu += one.cpu;
    }
    sum
}

/// Reports whether a thread of a group's processes runs or waits for a processor now.
#[must_use]
pub fn is_group_busy(group: u32) -> bool {
    group_members(group).into_iter().any(is_busy)
}

/// Reports whether a thread of a process runs or waits for a processor now.
#[must_use]
pub fn is_busy(pid: u32) -> bool {
    let is_running = |thread: u32| {
        let stat = read(format!("/proc/{pid}/task/{thread}/stat")).unwrap_or_default();
        stat.rsplit_once(')').is_some_and(|(_, fields)| fields.trim_start().starts_with('R'))
    };
    thread_ids(pid).into_iter().any(is_running)
}

/// Reports whether a process exists and is not a zombie.
#[must_use]
pub fn is_running(pid: u32) -> bool {
    let status = read(format!("/proc/{pid}/status")).unwrap_or_default();
    field(&status, "State:").is_some_and(|state| state != "Z")
}

/// Returns the resources of a zombie, which is a process that has ended, but was not waited for.
fn zombie_usage(pid: u32) -> Option<Usage> {
    let status = read(format!("/proc/{pid}/status"))?;
    (field(&status, "State:")? == "Z").then_some(())?;
    Some(Usage { threads: 1, descriptors: 0, resident_bytes: 0, cpu: cpu(pid)? })
}

/// Returns the processes of a group, zombies included.
#[must_use]
pub fn group_members(group: u32) -> Vec<u32> {
    // One system call, instead of three for each process of the machine.
    if is_group_empty(group) {
        return Vec::new();
    }
    all_processes()
        .into_iter()
        .filter(|pid| stat_field(*pid, GROUP).is_some_and(|it| it == u64::from(group)))
        .collect()
}

/// Reports whether a process group has no members. A zombie is a member.
#[cfg(unix)]
pub(crate) fn is_group_empty(group: u32) -> bool {
    use rustix::io::Errno;
    use rustix::process::{Pid, test_kill_process_group};
    let group = i32::try_from(group).ok().and_then(Pid::from_raw);
    group.is_some_and(|group| test_kill_process_group(group) == Err(Errno::SRCH))
}

#[cfg(not(unix))]
pub(crate) fn is_group_empty(_group: u32) -> bool {
    false
}

/// Returns the children of a process.
#[must_use]
pub fn children(parent: u32) -> Vec<u32> {
    all_processes()
        .into_iter()
        .filter(|pid| stat_field(*pid, PARENT).is_some_and(|it| it == u64::from(parent)))
        .collect()
}

/// Returns the processes in whose environment a variable has this value. A process of another user is left out.
pub(crate) fn processes_with_variable(name: &str, value: &str) -> Vec<u32> {
    let wanted = format!("{name}={value}");
    let is_set = |pid: &u32| {
        read(format!("/proc/{pid}/environ"))
            .is_some_and(|variables| variables.split('\0').any(|variable| variable == wanted))
    };
    all_processes().into_iter().filter(is_set).collect()
}

/// Returns the number of a process's group.
#[must_use]
pub fn group(pid: u32) -> Option<u32> {
    u32::try_from(stat_field(pid, GROUP)?).ok()
}

/// The processes from which [`with_descendants`] starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Processes {
    /// All processes of a group.
    Group(u32),
    /// One process.
    Process(u32),
    /// The children of a process, without the process itself.
    Children(u32),
}

/// Returns these processes and all their descendants. The process that `roots` names comes first; for a group, the
/// leader of the group comes first.
#[must_use]
pub fn with_descendants(roots: Processes) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    let mut found = Vec::new();
    for pid in all_processes() {
        let Some(fields) = stat_fields(pid) else { continue };
        let mut fields = fields.split_whitespace().map(|field| field.parse::<u32>().ok());
        let Some(Some(parent)) = fields.nth(PARENT) else { continue };
        let is_root = match roots {
            Processes::Group(it) => fields.next().flatten() == Some(it),
            Processes::Process(it) => pid == it,
            Processes::Children(it) => parent == it,
        };
        if is_root {
            found.push(pid);
        }
        children.entry(parent).or_default().push(pid);
    }
    let mut family = Vec::new();
    while let Some(pid) = found.pop() {
        family.push(pid);
        found.extend(children.remove(&pid).unwrap_or_default());
    }
    let (Processes::Group(first) | Processes::Process(first) | Processes::Children(first)) = roots;
    family.sort_unstable_by_key(|pid| (*pid != first, *pid));
    // A process of the group may also be a child of another one.
    family.dedup();
    family
}

/// Returns the ids of a process's threads.
#[must_use]
pub fn thread_ids(pid: u32) -> Vec<u32> {
    if !cfg!(target_os = "linux") {
        return Vec::new();
    }
    let entries = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Returns the name of a process, if it exists.
#[must_use]
pub fn name(pid: u32) -> Option<String> {
    read(format!("/proc/{pid}/comm")).map(|name| name.trim_end().to_owned())
}

/// Returns the inode numbers of the sockets that the processes of a group have open.
#[must_use]
pub fn group_sockets(group: u32) -> Vec<u64> {
    sockets(&group_members(group))
}

/// Returns the inode numbers of the sockets that these processes have open.
#[must_use]
pub fn sockets(processes: &[u32]) -> Vec<u64> {
    let mut sockets = Vec::new();
    for pid in processes {
        let Ok(links) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        for link in links.flatten().filter_map(|link| std::fs::read_link(link.path()).ok()) {
            let name = link.to_string_lossy();
            let number = name.strip_prefix("socket:[").and_then(|name| name.strip_suffix(']'));
            sockets.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
    }
    sockets
}

fn all_processes() -> Vec<u32> {
    if !cfg!(target_os = "linux") {
        return Vec::new();
    }
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The position of the parent's process id in `/proc/PID/stat`, counted from the first field after the program's name.
const PARENT: usize = 1;

/// The position of the number of the process group.
const GROUP: usize = 2;

/// The position of the processor time in user mode.
#[cfg(target_os = "linux")]
const USER_TICKS: usize = 11;

/// The position of the processor time in the kernel.
#[cfg(target_os = "linux")]
const KERNEL_TICKS: usize = 12;

/// Returns the number at this position of `/proc/PID/stat`.
fn stat_field(pid: u32, position: usize) -> Option<u64> {
    stat_fields(pid)?.split_whitespace().nth(position)?.parse().ok()
}

/// Returns the fields of `/proc/PID/stat` after the program's name.
fn stat_fields(pid: u32) -> Option<String> {
    let stat = read(format!("/proc/{pid}/stat"))?;
    // The second field is the program's name in parentheses, which may contain blanks and parentheses.
    stat.rsplit_once(')').map(|(_, fields)| fields.to_owned())
}

/// Reports whether a signal was sent to a process that has not taken it yet, but will. Returns `None` if that is
/// unknown.
#[must_use]
pub fn is_signal_pending(pid: u32, signal: u32) -> Option<bool> {
    let status = read(format!("/proc/{pid}/status"))?;
    // A process that has ended or is stopped takes no signals: a signal that comes then stays pending.
    if matches!(field(&status, "State:")?, "Z" | "T" | "t") {
        return Some(false);
    }
    let is_set = |name| {
        let mask = u64::from_str_radix(field(&status, name)?, 16).ok()?;
        Some(mask >> signal.checked_sub(1)? & 1 == 1)
    };
    Some(is_set("ShdPnd:")? || is_set("SigPnd:")?)
}

#[cfg(target_os = "linux")]
fn cpu(pid: u32) -> Option<Duration> {
    let ticks = stat_field(pid, USER_TICKS)? + stat_field(pid, KERNEL_TICKS)?;
    let millis = ticks * 1000 / rustix::param::clock_ticks_per_second();
    Some(Duration::from_millis(millis))
}

#[cfg(not(target_os = "linux"))]
fn cpu(_pid: u32) -> Option<Duration> {
    None
}

/// Returns the processor time that the calling thread has used.
#[cfg(target_os = "linux")]
pub(crate) fn thread_cpu() -> Option<Duration> {
    use rustix::time::{ClockId, clock_gettime};
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).ok()
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn thread_cpu() -> Option<Duration> {
    None
}

/// Reads a file of `/proc`, and replaces bytes that are not UTF-8.
///
/// There can be such bytes: the kernel cuts a program's name after 15 bytes, even within a character, and a
/// path may contain any bytes.
#[must_use]
pub fn read(path: impl AsRef<Path>) -> Option<String> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let bytes = std::fs::read(path).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Returns the first word after this name in `/proc/PID/status`.
fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use anyhow::{Context, Result};

    use super::*;

    #[test]
    fn a_child_is_found_once_after_its_parent() -> Result<()> {
        let mut child = std::process::Command::new("sleep").arg("600").spawn()?;
        let own = std::process::id();
        let found = with_descendants(Processes::Process(own));
        let in_group = with_descendants(Processes::Group(group(own).context("no group")?));
        let children = with_descendants(Processes::Children(own));
        child.kill()?;
        child.wait()?;
        assert_eq!(found.first(), Some(&own));
        for list in [found, in_group, children] {
            assert_eq!(list.iter().filter(|pid| **pid == child.id()).count(), 1);
        }
        Ok(())
    }

    #[test]
    fn own_usage_is_plausible() -> Result<()> {
        let figures = usage(std::process::id()).context("no figures")?;
        assert!(figures.threads >= 1);
        assert!(figures.descriptors >= 3);
        assert!(figures.resident_bytes > 100_000);
        Ok(())
    }
}
