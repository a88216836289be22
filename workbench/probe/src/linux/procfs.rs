//! What Linux tells about a process; `None` on other systems.

use std::path::Path;
use std::time::Duration;

/// What a process uses at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Its threads.
    pub threads: u64,
    /// Its open descriptors.
    pub descriptors: u64,
    /// Its resident memory in bytes.
    pub resident: u64,
    /// The processor time that it has used since its start.
    pub cpu: Duration,
}

/// Gives what a process uses, if it lives and the system tells.
#[must_use]
pub fn figures(pid: u32) -> Option<Figures> {
    let status = read(format!("/proc/{pid}/status"))?;
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
    Some(Figures {
        threads: field(&status, "Threads:")?.parse().ok()?,
        descriptors: u64::try_from(descriptors).ok()?,
        resident: field(&status, "VmRSS:")?.parse::<u64>().ok()? * 1024,
        cpu: cpu(pid)?,
    })
}

/// What all processes of a group use together: a server may have one for each client.
#[must_use]
pub fn group_figures(group: u32) -> Option<Figures> {
    let mut sum = None;
    for pid in group_members(group) {
        // Whoever has ended meanwhile uses nothing; one that nobody has waited for is still there.
        let Some(one) = figures(pid).or_else(|| zombie(pid)) else { continue };
        let so_far = sum.get_or_insert(Figures {
            threads: 0,
            descriptors: 0,
            resident: 0,
            cpu: Duration::ZERO,
        });
        so_far.threads += one.threads;
        so_far.descriptors += one.descriptors;
        so_far.resident += one.resident;
        so_far.cpu += one.cpu;
    }
    sum
}

/// Whether a thread of a group's processes runs at this moment, or would if a processor were free.
#[must_use]
pub fn is_busy(group: u32) -> bool {
    let tasks = |pid: u32| std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    let is_running = |stat: &str| {
        stat.rsplit_once(')').is_some_and(|(_, fields)| fields.trim_start().starts_with('R'))
    };
    let stat = |task: std::fs::DirEntry| read(task.path().join("stat"));
    let mut stats = group_members(group).into_iter().flat_map(tasks).flatten().filter_map(stat);
    stats.any(|stat| is_running(&stat))
}

/// Whether a process runs: it is there, and has not ended unnoticed.
#[must_use]
pub fn is_running(pid: u32) -> bool {
    let status = read(format!("/proc/{pid}/status")).unwrap_or_default();
    field(&status, "State:").is_some_and(|state| state != "Z")
}

fn zombie(pid: u32) -> Option<Figures> {
    let status = read(format!("/proc/{pid}/status"))?;
    (field(&status, "State:")? == "Z").then_some(())?;
    Some(Figures { threads: 1, descriptors: 0, resident: 0, cpu: cpu(pid)? })
}

/// The processes of a group that are there now, those that have ended unnoticed included.
#[must_use]
pub fn group_members(group: u32) -> Vec<u32> {
    all_processes()
        .into_iter()
        .filter(|pid| stat_field(*pid, GROUP).is_some_and(|it| it == u64::from(group)))
        .collect()
}

/// The children that a process has now.
#[must_use]
pub fn children(parent: u32) -> Vec<u32> {
    all_processes()
        .into_iter()
        .filter(|pid| stat_field(*pid, PARENT).is_some_and(|it| it == u64::from(parent)))
        .collect()
}

/// The process group that a process is in.
#[must_use]
pub fn group(pid: u32) -> Option<u32> {
    u32::try_from(stat_field(pid, GROUP)?).ok()
}

/// Which processes are meant, besides all that they have started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// Those of a group.
    Group(u32),
    /// One.
    Process(u32),
    /// The children of one, but not that one itself.
    Children(u32),
}

/// The processes that are meant and their descendants, the first one first.
#[must_use]
pub fn family(whom: Whom) -> Vec<u32> {
    let place = |pid: u32| {
        let stat = read(format!("/proc/{pid}/stat"))?;
        let (_, fields) = stat.rsplit_once(')')?;
        let mut fields = fields.split_whitespace();
        let parent: u32 = fields.nth(PARENT)?.parse().ok()?;
        let group: u32 = fields.next()?.parse().ok()?;
        Some((pid, parent, group))
    };
    let mut others: Vec<_> = all_processes().into_iter().filter_map(place).collect();
    let mut family = Vec::new();
    let mut more = true;
    while std::mem::take(&mut more) {
        others.retain(|&(pid, parent, group)| {
            let is_meant = match whom {
                Whom::Group(it) => group == it,
                Whom::Process(it) => pid == it,
                Whom::Children(it) => parent == it,
            };
            let is_new = is_meant || family.contains(&parent);
            if is_new {
                family.push(pid);
                more = true;
            }
            !is_new
        });
    }
    let (Whom::Group(first) | Whom::Process(first) | Whom::Children(first)) = whom;
    family.sort_by_key(|pid| *pid != first);
    family
}

/// The threads of a process, by number.
#[must_use]
pub fn threads(pid: u32) -> Vec<u32> {
    if !cfg!(target_os = "linux") {
        return Vec::new();
    }
    let entries = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// What a process is called, if it lives.
#[must_use]
pub fn name(pid: u32) -> Option<String> {
    read(format!("/proc/{pid}/comm")).map(|name| name.trim_end().to_owned())
}

/// The sockets that the processes of a group have open, by number.
#[must_use]
pub fn group_sockets(group: u32) -> Vec<u64> {
    sockets(&group_members(group))
}

/// The sockets that processes have open, by number.
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

/// Where these are in `/proc/PID/stat`, counted from behind the program's name.
const PARENT: usize = 1;
const GROUP: usize = 2;

fn stat_field(pid: u32, at: usize) -> Option<u64> {
    let stat = read(format!("/proc/{pid}/stat"))?;
    // The second field is the program's name in parentheses and may have blanks in it.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(at)?.parse().ok()
}

/// Whether no signal waits for the process to take it; `None` if the system does not tell.
#[must_use]
pub fn has_taken_signals(pid: u32) -> Option<bool> {
    let status = read(format!("/proc/{pid}/status"))?;
    // Whoever has ended or stands still takes none, and what comes then (a child's end, say) stays so.
    if matches!(field(&status, "State:")?, "Z" | "T") {
        return Some(true);
    }
    let none = |name| field(&status, name).map(|mask| mask.chars().all(|digit| digit == '0'));
    Some(none("ShdPnd:")? && none("SigPnd:")?)
}

#[cfg(target_os = "linux")]
fn cpu(pid: u32) -> Option<Duration> {
    let ticks = stat_field(pid, 11)? + stat_field(pid, 12)?;
    let millis = ticks * 1000 / rustix::param::clock_ticks_per_second();
    Some(Duration::from_millis(millis))
}

#[cfg(not(target_os = "linux"))]
fn cpu(_pid: u32) -> Option<Duration> {
    None
}

/// Reads a file of `/proc`; what is not UTF-8 in it is replaced.
///
/// The kernel cuts a program's name after 15 bytes, also inside a character, and a path may have any
/// bytes.
#[must_use]
pub fn read(path: impl AsRef<Path>) -> Option<String> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let bytes = std::fs::read(path).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use anyhow::{Context, Result};

    use super::*;

    #[test]
    fn own_figures_are_plausible() -> Result<()> {
        let figures = figures(std::process::id()).context("no figures")?;
        assert!(figures.threads >= 1);
        assert!(figures.descriptors >= 3);
        assert!(figures.resident > 100_000);
        Ok(())
    }
}
