//! Memory, threads, descriptors and processor time of a server's process, read from `/proc`.

use std::fs;

use anyhow::{Context, Result};

use probe::procfs;

/// A process, or all processes of a group.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    pid: u32,
    is_group: bool,
}

impl Process {
    /// Returns the process with this number.
    #[must_use]
    pub fn new(pid: u32) -> Self {
        Self { pid, is_group: false }
    }

    /// Returns the group of processes with this number: a server may start a process for each client.
    #[must_use]
    pub fn group(pid: u32) -> Self {
        Self { pid, is_group: true }
    }

    fn pids(self) -> Vec<u32> {
        if self.is_group { procfs::group_members(self.pid) } else { vec![self.pid] }
    }

    /// Adds up a number of all processes. A process that ends in the meantime counts as zero.
    fn sum(self, of_one: impl Fn(u32) -> Result<u64>) -> Result<u64> {
        if !self.is_group {
            return of_one(self.pid);
        }
        let sum = self.pids().into_iter().filter_map(|pid| of_one(pid).ok()).reduce(|a, b| a + b);
        sum.context("the server has ended")
    }

    /// Returns the processor time so far in seconds, user and system, of all threads, and of the children
    /// that have ended and were waited for.
    pub fn cpu_seconds(self) -> Result<f64> {
        let ticks = self.sum(|pid| {
            let stat = read(pid, "stat")?;
            // The name in parentheses may contain blanks: count the fields after it.
            let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
            let fields = fields.split_whitespace().skip(11).take(4);
            fields.map(|field| Ok(field.parse::<u64>()?)).sum()
        })?;
        // Linux reports 100 ticks a second here, even if its own clock has another rate (proc(5)).
        Ok(f64::from(u32::try_from(ticks)?) / 100.0)
    }

    /// Returns the resident memory in bytes. `smaps_rollup` counts it; `status` only estimates it, and is
    /// wrong by up to 64 pages a thread.
    pub fn resident_bytes(self) -> Result<u64> {
        let kib = self.sum(|pid| {
            field(pid, "smaps_rollup", "Rss:").or_else(|_| field(pid, "status", "VmRSS:"))
        })?;
        Ok(kib * 1024)
    }

    /// Returns an estimate of the resident memory in bytes. It does not stop the server while the kernel
    /// counts, so it can be read many times a second.
    pub fn resident_bytes_estimate(self) -> Result<u64> {
        Ok(self.sum(|pid| field(pid, "status", "VmRSS:"))? * 1024)
    }

    /// Reports whether a thread runs or waits for a processor now.
    #[must_use]
    pub fn is_busy(self) -> bool {
        self.pids().into_iter().any(procfs::is_busy)
    }

    /// Returns the number of threads.
    pub fn threads(self) -> Result<u64> {
        self.sum(|pid| field(pid, "status", "Threads:"))
    }

    /// Returns the number of open descriptors.
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

/// Returns the processor time of the calling thread so far in seconds, if the system reports it.
#[cfg(unix)]
#[must_use]
pub fn own_cpu_seconds() -> Option<f64> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?);
    Some(std::time::Duration::new(seconds, nanos).as_secs_f64())
}

/// Returns the processor time of the calling thread so far in seconds, if the system reports it.
#[cfg(not(unix))]
#[must_use]
pub fn own_cpu_seconds() -> Option<f64> {
    None
}
