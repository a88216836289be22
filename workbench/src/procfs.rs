//! What Linux tells about a process; `None` on other systems.

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
    let status = read(&format!("/proc/{pid}/status"))?;
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
    Some(Figures {
        threads: field(&status, "Threads:")?.parse().ok()?,
        descriptors: u64::try_from(descriptors).ok()?,
        resident: field(&status, "VmRSS:")?.parse::<u64>().ok()? * 1024,
        cpu: cpu(pid)?,
    })
}

/// Whether no signal waits for the process to take it; `None` if the system does not tell.
#[must_use]
pub fn has_taken_signals(pid: u32) -> Option<bool> {
    let status = read(&format!("/proc/{pid}/status"))?;
    let none = |name| field(&status, name).map(|mask| mask.chars().all(|digit| digit == '0'));
    Some(none("ShdPnd:")? && none("SigPnd:")?)
}

#[cfg(target_os = "linux")]
fn cpu(pid: u32) -> Option<Duration> {
    let stat = read(&format!("/proc/{pid}/stat"))?;
    // The second field is the program's name in parentheses and may have blanks in it.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks = |n: usize| fields.split_whitespace().nth(n)?.parse::<u64>().ok();
    let millis = (ticks(11)? + ticks(12)?) * 1000 / rustix::param::clock_ticks_per_second();
    Some(Duration::from_millis(millis))
}

#[cfg(not(target_os = "linux"))]
fn cpu(_pid: u32) -> Option<Duration> {
    None
}

fn read(path: &str) -> Option<String> {
    if cfg!(target_os = "linux") { std::fs::read_to_string(path).ok() } else { None }
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
