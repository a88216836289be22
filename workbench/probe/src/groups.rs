//! Tracks the process groups that this process has started, and ends each of them: when its server is dropped, when
//! [`end_all`] is called, or through the watchdog when this process is killed.
//!
//! Each server runs in a process group of its own, whose number is the process id of its first process. The watchdog is
//! a second process that reads the numbers of the live groups, and kills these groups when this process has ended.

use std::fmt::Write as _;
use std::io;
use std::io::{BufRead, Write as _};
use std::process::{Child, ChildStdin, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use anyhow::Result;

use crate::linux::procfs;
use crate::wait::{TIMEOUT, wait_until};

/// The groups that were started and have not ended. A group starts and ends while this is locked.
static LIVE_GROUPS: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// The groups whose servers were dropped.
static ENDED_GROUPS: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// The pipe to the watchdog, which reads the numbers of the live groups from it.
static WATCHDOG: Mutex<Option<ChildStdin>> = Mutex::new(None);

/// The name of a variable in the environment of each server, whose value is [`OWNER`].
const OWNER_VARIABLE: &str = "PROBE_OWNER";

/// A word that identifies this process, among all processes that ever ran on this machine.
static OWNER: LazyLock<String> =
    LazyLock::new(|| format!("{}-{:016x}", std::process::id(), fastrand::u64(..)));

/// Whether processes that a server leaves behind become children of this process.
static ADOPTS_ORPHANS: AtomicBool = AtomicBool::new(false);

fn lock<T>(list: &Mutex<T>) -> MutexGuard<'_, T> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a process with `begin`, and adds its process group, which `group` returns, to the list of the groups
/// that are ended in any case.
///
/// # Errors
///
/// `begin` returned this error.
pub fn start_tracked<T>(
    begin: impl FnOnce() -> Result<T>,
    group: impl FnOnce(&T) -> u32,
) -> Result<T> {
    // The lock is held while `begin` runs, so that no process starts while `end_all` goes through the list.
    let mut live = lock(&LIVE_GROUPS);
    let started = begin()?;
    live.push(group(&started));
    send_groups_to_watchdog(&live);
    Ok(started)
}

/// Marks the process that a command will start as a server of this process, for the watchdog.
pub(crate) fn mark(command: &mut Command) {
    command.env(OWNER_VARIABLE, OWNER.as_str());
}

/// Removes a group that has ended from the list.
pub fn untrack(group: u32) {
    remove(group, &mut lock(&LIVE_GROUPS));
}

fn remove(group: u32, live: &mut Vec<u32>) {
    if live.contains(&group) {
        live.retain(|it| *it != group);
        send_groups_to_watchdog(live);
    }
}

/// Calls `act` while no server starts in this process.
///
/// Between fork and exec, a child holds a copy of every descriptor of this process. So a port can still be in use after
/// this process has closed it.
pub(crate) fn with_starts_blocked<T>(act: impl FnOnce() -> T) -> T {
    let _live = lock(&LIVE_GROUPS);
    act()
}

/// Returns the exit status of a child that has ended, and removes its group from the list if no other process is in
/// the group.
pub(crate) fn try_wait(child: &mut Child) -> io::Result<Option<ExitStatus>> {
    // Once the child is waited for and its group is empty, the system may give the number to another process. The
    // lock keeps `end_all` from killing that process.
    let mut live = lock(&LIVE_GROUPS);
    let status = child.try_wait()?;
    if status.is_some() && procfs::is_group_empty(child.id()) {
        remove(child.id(), &mut live);
    }
    Ok(status)
}

/// Kills a child and all processes of its group, waits for their end, and removes the group from the list.
pub(crate) fn end(child: &mut Child) {
    let group = child.id();
    let mut live = lock(&LIVE_GROUPS);
    // If the group is not in the list, `try_wait` has removed it, and its number may be another group's now.
    if live.contains(&group) {
        kill_group(group);
        let _ = child.kill();
        let _ = child.wait();
        remove(group, &mut live);
    }
    drop(live);
    // A process of the group may hold the port as long as it lives.
    let is_gone = || Ok(!procfs::group_members(group).into_iter().any(procfs::is_running));
    let _ = wait_until(TIMEOUT, is_gone);
    lock(&ENDED_GROUPS).push(group);
}

/// Ends all servers that this process has started, before this process itself ends.
///
/// Until the returned value is dropped, no server can start, and a thread that waits for a server's end or drops a
/// [`Server`](crate::server::Server) is blocked. So such a thread cannot end this process before the caller does.
#[must_use]
pub fn end_all() -> impl Sized {
    let live = lock(&LIVE_GROUPS);
    for group in live.iter() {
        kill_group(*group);
        wait_for_child(*group);
    }
    send_groups_to_watchdog(&[]);
    live
}

/// Sets the pipe to a watchdog, which is a process that runs [`run_watchdog`].
///
/// Whenever the list of live groups changes, a line is written to the pipe: a word that identifies this process,
/// and the numbers of the groups.
pub fn set_watchdog(pipe: ChildStdin) {
    let live = lock(&LIVE_GROUPS);
    *lock(&WATCHDOG) = Some(pipe);
    send_groups_to_watchdog(&live);
}

fn send_groups_to_watchdog(live: &[u32]) {
    let mut watchdog = lock(&WATCHDOG);
    let Some(pipe) = &mut *watchdog else { return };
    let mut update = OWNER.clone();
    for group in live {
        let _ = write!(update, " {group}");
    }
    update.push('\n');
    // If the watchdog has ended, this process still ends its servers itself, unless it is killed.
    let _ = pipe.write_all(update.as_bytes());
}

/// Runs the watchdog: waits until the process that writes to `input` has ended, and kills the groups in its last line.
/// On Linux, also kills a server that the process has started without writing the server's group to `input`.
///
/// # Errors
///
/// `input` could not be read.
pub fn run_watchdog(input: impl BufRead) -> Result<()> {
    let line = last_line(input)?;
    let (owner, groups) = line.split_once(' ').unwrap_or((&line, ""));
    groups.split(' ').filter_map(|group| group.parse().ok()).for_each(kill_group);
    if !owner.is_empty() {
        let unnamed = procfs::processes_with_variable(OWNER_VARIABLE, owner);
        unnamed.into_iter().filter_map(procfs::group).for_each(kill_group);
    }
    Ok(())
}

/// Reads to the end of `input`, and returns its last complete line.
fn last_line(mut input: impl BufRead) -> Result<String> {
    let (mut last, mut line) = (String::new(), String::new());
    // A process that is killed may leave an incomplete line, whose last number may be cut off.
    while input.read_line(&mut line)? > 0 && line.ends_with('\n') {
        std::mem::swap(&mut last, &mut line);
        line.clear();
    }
    last.truncate(last.trim_end().len());
    Ok(last)
}

/// Makes this process the parent of all processes that its servers leave behind (Linux), so that
/// [`end_orphans`] finds them.
///
/// After this call, all children of this process must be its servers, and only one thread may start servers and call
/// [`end_orphans`].
pub fn adopt_orphans() {
    ADOPTS_ORPHANS.store(true, Ordering::Relaxed);
    #[cfg(target_os = "linux")]
    // If this fails, such processes are not found; no check depends on that.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
}

/// Kills the processes that a server left behind outside its process group, and returns their numbers and
/// names (Linux, after [`adopt_orphans`]).
#[must_use]
pub fn end_orphans() -> Vec<String> {
    let mut escaped = Vec::new();
    // Without `adopt_orphans`, a child of this process may be one that another thread is just starting.
    if !ADOPTS_ORPHANS.load(Ordering::Relaxed) {
        return escaped;
    }
    for pid in procfs::children(std::process::id()) {
        if lock(&LIVE_GROUPS).contains(&pid) {
            continue;
        }
        // A process that stayed in its server's group was killed with the group. It only has to be waited for.
        let group = procfs::group(pid).unwrap_or_default();
        if !lock(&ENDED_GROUPS).contains(&group) {
            escaped.push(format!("{pid} ({})", procfs::name(pid).unwrap_or_default()));
        }
        kill_child(pid);
    }
    escaped
}

#[cfg(unix)]
fn pid(number: u32) -> Option<rustix::process::Pid> {
    i32::try_from(number).ok().and_then(rustix::process::Pid::from_raw)
}

/// Kills a child, and waits for its end.
#[cfg(unix)]
fn kill_child(number: u32) {
    use rustix::process::{Signal, kill_process};
    let Some(pid) = pid(number) else { return };
    let _ = kill_process(pid, Signal::KILL);
    wait_for_child(number);
}

/// Waits for the end of a child that was killed. Returns at once if another thread has waited for it.
#[cfg(unix)]
fn wait_for_child(number: u32) {
    use rustix::process::{WaitOptions, waitpid};
    let Some(pid) = pid(number) else { return };
    let _ = rustix::io::retry_on_intr(|| waitpid(Some(pid), WaitOptions::empty()));
}

#[cfg(unix)]
fn kill_group(group: u32) {
    use rustix::process::{Signal, kill_process_group};
    let Some(group) = pid(group) else { return };
    // This fails if all its processes have ended.
    let _ = kill_process_group(group, Signal::KILL);
}

#[cfg(not(unix))]
fn kill_child(_number: u32) {}

#[cfg(not(unix))]
fn wait_for_child(_number: u32) {}

#[cfg(not(unix))]
fn kill_group(_group: u32) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incomplete_line_is_ignored() -> Result<()> {
        assert_eq!(last_line(&b"owner 12\nowner 12 345\n"[..])?, "owner 12 345");
        assert_eq!(last_line(&b"owner 12\nowner 12 34"[..])?, "owner 12");
        assert_eq!(last_line(&b"own"[..])?, "");
        Ok(())
    }

    #[test]
    #[cfg(unix)]
    fn a_group_is_not_tracked_after_its_only_process_was_waited_for() -> Result<()> {
        use std::os::unix::process::CommandExt;

        let start = || Ok(Command::new("true").process_group(0).spawn()?);
        let mut child = start_tracked(start, Child::id)?;
        assert!(lock(&LIVE_GROUPS).contains(&child.id()));
        assert!(wait_until(TIMEOUT, || Ok(try_wait(&mut child)?.is_some()))?);
        assert!(!lock(&LIVE_GROUPS).contains(&child.id()));
        end(&mut child);
        Ok(())
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_watchdog_kills_named_groups_and_unnamed_servers() -> Result<()> {
        use std::os::unix::process::{CommandExt, ExitStatusExt};

        const KILLED: Option<i32> = Some(9);
        let sleep = |owner: &str| {
            let mut command = Command::new("sleep");
            command.arg("600").env(OWNER_VARIABLE, owner).process_group(0).spawn()
        };
        let owner = format!("test-of-{}", *OWNER);
        let (mut named, mut unnamed) = (sleep("another")?, sleep(&owner)?);
        let mut foreign = sleep("another")?;
        // For a moment after `spawn` has returned, the kernel shows no environment of the new process.
        let environment = format!("/proc/{}/environ", unnamed.id());
        let is_shown = || Ok(std::fs::read(&environment).is_ok_and(|shown| !shown.is_empty()));
        assert!(wait_until(TIMEOUT, is_shown)?);
        run_watchdog(format!("{owner} {}\n", named.id()).as_bytes())?;
        assert_eq!(named.wait()?.signal(), KILLED);
        assert_eq!(unnamed.wait()?.signal(), KILLED);
        assert!(foreign.try_wait()?.is_none());
        foreign.kill()?;
        foreign.wait()?;
        Ok(())
    }
}
