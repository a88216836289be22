//! The process groups that were started here, and their end, whatever happens.

use std::io::{BufRead, Write as _};
use std::process::ChildStdin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Result;
#[cfg(unix)]
use rustix::process::Signal;

use crate::linux::procfs;

/// The process groups that were started and not ended.
static LIVE: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// Those that were ended.
pub(crate) static ENDED: Mutex<Vec<u32>> = Mutex::new(Vec::new());

pub(crate) fn live() -> MutexGuard<'static, Vec<u32>> {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts something else that is to be ended with the servers; `group` gives its process group.
///
/// # Errors
///
/// What `begin` could not do.
pub fn enter<T>(begin: impl FnOnce() -> Result<T>, group: impl FnOnce(&T) -> u32) -> Result<T> {
    // Under the lock, so that nothing starts between the last look at the list and the end.
    let mut live = live();
    let started = begin()?;
    live.push(group(&started));
    tell_watchdog(&live);
    Ok(started)
}

/// Strikes off the list what has ended.
pub fn strike(group: u32) {
    let mut live = live();
    live.retain(|it| *it != group);
    tell_watchdog(&live);
}

/// The pipe to the watchdog, which reads the live process groups from it.
static WATCHDOG: Mutex<Option<ChildStdin>> = Mutex::new(None);

/// Lets a process that runs [`watch_over`] know which groups live, by a line of their numbers whenever
/// that changes, so that servers end even if this process is killed.
pub fn set_watchdog(pipe: ChildStdin) {
    let live = live();
    *WATCHDOG.lock().unwrap_or_else(PoisonError::into_inner) = Some(pipe);
    tell_watchdog(&live);
}

pub(crate) fn tell_watchdog(live: &[u32]) {
    let mut watchdog = WATCHDOG.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(pipe) = &mut *watchdog else { return };
    let groups: Vec<_> = live.iter().map(u32::to_string).collect();
    // Without a watchdog, servers are ended as long as this process can end them.
    let _ = pipe.write_all(format!("{}\n", groups.join(" ")).as_bytes());
}

/// Waits until the process at the other end has ended, however it did, and ends the groups that it
/// named last.
///
/// # Errors
///
/// If its words cannot be read.
pub fn watch_over(told: impl BufRead) -> Result<()> {
    named_last(told)?.into_iter().for_each(kill_group);
    Ok(())
}

/// Returns the groups of the last line, at its end.
fn named_last(mut told: impl BufRead) -> Result<Vec<u32>> {
    let (mut last, mut line) = (String::new(), String::new());
    // A process that is killed may leave an unfinished line, of which the last number may be cut off.
    while told.read_line(&mut line)? > 0 && line.ends_with('\n') {
        std::mem::swap(&mut last, &mut line);
        line.clear();
    }
    Ok(last.split_whitespace().filter_map(|group| group.parse().ok()).collect())
}

/// Does something during which no server starts in this process: between its fork and its exec, a
/// child has a copy of every descriptor.
pub(crate) fn while_none_starts<T>(act: impl FnOnce() -> T) -> T {
    let _live = live();
    act()
}

/// Ends all servers that this process has started, for one that is about to end itself: as long as
/// what this gives is held, none can start.
#[must_use]
pub fn end_all() -> impl Sized {
    let live = live();
    for group in live.iter() {
        kill_group(*group);
        await_end(*group);
    }
    tell_watchdog(&[]);
    live
}

/// What has escaped from its server's process group to become a child of this process, by number and
/// name; it is ended here (Linux, after [`adopt_orphans`]).
#[must_use]
pub fn end_escaped() -> Vec<String> {
    let mut escaped = Vec::new();
    // Otherwise children are others' business: somebody may just be starting a server.
    if !ADOPTS.load(Ordering::Relaxed) {
        return escaped;
    }
    for pid in procfs::children(std::process::id()) {
        if live().contains(&pid) {
            continue;
        }
        // Whoever stayed in its group was ended with it, and has only to be waited for.
        let group = procfs::group(pid).unwrap_or_default();
        if ENDED.lock().unwrap_or_else(PoisonError::into_inner).contains(&group) {
            end_orphan(pid);
        } else {
            escaped.push(format!("{pid} ({})", procfs::name(pid).unwrap_or_default()));
            end_orphan(pid);
        }
    }
    escaped
}

/// Whether what servers leave behind comes to this process.
static ADOPTS: AtomicBool = AtomicBool::new(false);

/// Makes this process the parent of whatever its servers leave behind (Linux), for [`end_escaped`].
///
/// From then on every child of this process has to be a [`Server`], and started by one thread.
pub fn adopt_orphans() {
    ADOPTS.store(true, Ordering::Relaxed);
    #[cfg(target_os = "linux")]
    // Without it, what a server leaves behind is not found, which harms no check.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
}

#[cfg(unix)]
fn end_orphan(number: u32) {
    use rustix::process::{Pid, kill_process};
    let Some(pid) = i32::try_from(number).ok().and_then(Pid::from_raw) else { return };
    let _ = kill_process(pid, Signal::KILL);
    await_end(number);
}

/// Waits for the end of a child that was killed, unless somebody else does.
#[cfg(unix)]
fn await_end(pid: u32) {
    use rustix::process::{Pid, WaitOptions, waitpid};
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
    let _ = waitpid(Some(pid), WaitOptions::empty());
}

#[cfg(not(unix))]
fn await_end(_pid: u32) {}

#[cfg(not(unix))]
fn end_orphan(_pid: u32) {}

#[cfg(unix)]
pub(crate) fn kill_group(group: u32) {
    use rustix::process::{Pid, kill_process_group};
    let Some(group) = i32::try_from(group).ok().and_then(Pid::from_raw) else { return };
    // Whoever is gone already needs no killing.
    let _ = kill_process_group(group, Signal::KILL);
}

#[cfg(not(unix))]
pub(crate) fn kill_group(_group: u32) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_cut_off_names_no_group() -> Result<()> {
        assert_eq!(named_last(&b"12\n12 345\n"[..])?, [12, 345]);
        assert_eq!(named_last(&b"12\n12 34"[..])?, [12]);
        assert!(named_last(&b"12\n\n"[..])?.is_empty());
        assert!(named_last(&b"1"[..])?.is_empty());
        Ok(())
    }
}
