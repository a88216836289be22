//! Ends the tour with nothing left running, whatever ends it.
//!
//! Servers are in process groups of their own, so no key of the terminal reaches them; and an exit of
//! the process runs no destructor. So what is started is entered in a list, under a lock that is also
//! held by whoever ends the tour: nothing starts between the last look at the list and the end.

use std::io::Write as _;
use std::process;
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::keys;

/// The process groups that run now.
static GROUPS: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// How long the last words may take: whoever should print them may be stuck.
const LAST_WORDS: Duration = Duration::from_secs(2);

fn groups() -> MutexGuard<'static, Vec<u32>> {
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts what is to be ended with the tour; `group` gives its process group.
pub fn start<T>(begin: impl FnOnce() -> Result<T>, group: impl FnOnce(&T) -> u32) -> Result<T> {
    let mut groups = groups();
    let started = begin()?;
    groups.push(group(&started));
    Ok(started)
}

/// Ends what was started by dropping it, and strikes it off the list.
pub fn end<T>(started: T, group: u32) {
    let mut groups = groups();
    drop(started);
    groups.retain(|it| *it != group);
}

/// Ends all that runs, puts the terminal back, and ends this process.
pub fn leave(code: i32) -> ! {
    // Held to the end: a thread that starts or ends something waits here for ever.
    let groups = groups();
    for group in groups.iter() {
        kill(*group);
    }
    keys::put_back();
    let (sender, written) = mpsc::channel();
    thread::spawn(move || {
        let _ = writeln!(anstream::stdout(), "\nThe tour ends here; nothing is left running.");
        let _ = sender.send(());
    });
    let _ = written.recv_timeout(LAST_WORDS);
    process::exit(code)
}

#[cfg(unix)]
fn kill(group: u32) {
    use rustix::process::{Pid, Signal, WaitOptions, kill_process_group, waitpid};
    let Some(group) = i32::try_from(group).ok().and_then(Pid::from_raw) else {
        return;
    };
    // Whoever is gone already needs neither.
    let _ = kill_process_group(group, Signal::KILL);
    let _ = waitpid(Some(group), WaitOptions::empty());
}

/// Where there are no groups, Ctrl-C reaches the servers by itself.
#[cfg(not(unix))]
fn kill(_group: u32) {}

/// Ends the tour when a signal asks for it, the exit code telling which.
#[cfg(unix)]
pub fn on_signals() -> Result<()> {
    use std::io::Read as _;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM};
    use signal_hook::{flag, low_level::pipe};

    let (mut signals, write_end) = UnixStream::pair()?;
    let asked = Arc::new(AtomicUsize::new(0));
    for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
        flag::register_usize(signal, Arc::clone(&asked), usize::try_from(signal)?)?;
        pipe::register(signal, write_end.try_clone()?)?;
    }
    pipe::register(SIGCONT, write_end)?;
    thread::spawn(move || {
        while signals.read_exact(&mut [0]).is_ok() {
            match i32::try_from(asked.load(Ordering::SeqCst)) {
                // It was suspended, and the shell has given the terminal its own mode meanwhile.
                Ok(0) | Err(_) => keys::take_again(),
                Ok(signal) => leave(128 + signal),
            }
        }
    });
    Ok(())
}

#[cfg(not(unix))]
pub fn on_signals() -> Result<()> {
    Ok(())
}
