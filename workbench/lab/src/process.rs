//! A server's process, seen through `/proc`.

use std::fs;

use anyhow::{Context, Result};

use probe::procfs;

/// A process, or all the processes of a group.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    pid: u32,
    is_group: bool,
}

impl Process {
    /// The process with that id.
    #[must_use]
    pub fn new(pid: u32) -> Self {
        Self { pid, is_group: false }
    }

    /// The processes of the group with that id: a server may have one for each client.
    #[must_use]
    pub fn group(pid: u32) -> Self {
        Self { pid, is_group: true }
    }

    fn pids(self) -> Vec<u32> {
        if self.is_group { procfs::group_members(self.pid) } else { vec![self.pid] }
    }

    /// Sums something up over the processes; those that end meanwhile have nothing.
    fn sum(self, of_one: impl Fn(u32) -> Result<u64>) -> Result<u64> {
        if !self.is_group {
            return of_one(self.pid);
        }
        let sum = self.pids().into_iter().filter_map(|pid| of_one(pid).ok()).reduce(|a, b| a + b);
        sum.context("the server has ended")
    }

    /// Processor time so far in seconds, user and system, of all threads, and of the children that
    /// have ended and been waited for.
    pub fn cpu_seconds(self) -> Result<f64> {
        let ticks = self.sum(|pid| {
            let stat = read(pid, "stat")?;
            // The name in parentheses may hold blanks: count from behind it.
            let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
            let fields = fields.split_whitespace().skip(11).take(4);
            fields.map(|field| Ok(field.parse::<u64>()?)).sum()
        })?;
        // The kernel tells user space of 100 ticks a second, whatever it counts itself.
        Ok(f64::from(u32::try_from(ticks)?) / 100.0)
    }

    /// Memory in use, in bytes. `smaps_rollup` counts; `status` only estimates, by up to 64 pages a
    /// thread.
    pub fn resident_bytes(self) -> Result<u64> {
        let kib = self.sum(|pid| {
            field(pid, "smaps_rollup", "Rss:").or_else(|_| field(pid, "status", "VmRSS:"))
        })?;
        Ok(kib * 1024)
    }

    /// The same at once, for a look many times a second: estimated, and nobody is kept waiting.
    pub fn resident_bytes_about(self) -> Result<u64> {
        Ok(self.sum(|pid| field(pid, "status", "VmRSS:"))? * 1024)
    }

    /// Threads now.
    pub fn threads(self) -> Result<u64> {
        self.sum(|pid| field(pid, "status", "Threads:"))
    }

    /// Open descriptors now.
    pub fn descriptors(self) -> Result<u64> {
        self.sum(|pid| {
            let dir = format!("/proc/{pid}/fd");
            let entries = fs::read_dir(&dir).with_context(|| format!("cannot read {dir}"))?;
            Ok(entries.count() as u64)
        })
    }
}

fn read(pid: u32, file: &str) -> Result<String> {
    let path = format!("/proc/{pid}/{file}");
    procfs::read(&path).with_context(|| format!("cannot read {path}"))
}

fn field(pid: u32, file: &str, name: &str) -> Result<u64> {
    let text = read(pid, file)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).with_context(|| format!("no {name} in {file}"))
}

/// Processor time of the calling thread so far, in seconds, if the system tells.
#[cfg(unix)]
#[must_use]
pub fn own_cpu_seconds() -> Option<f64> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?);
    Some(std::time::Duration::new(seconds, nanos).as_secs_f64())
}

/// Processor time of the calling thread so far, in seconds, if the system tells.
#[cfg(not(unix))]
#[must_use]
pub fn own_cpu_seconds() -> Option<f64> {
    None
}
