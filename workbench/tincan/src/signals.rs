//! Handles signals, and ends the servers of this program however it ends.
//!
//! There is one mechanism: a thread waits for signals and calls a function with each, see [`handle`]. The
//! commands differ in that function:
//!
//! | command | the function |
//! |---|---|
//! | `check`, `exercise check` | ends the servers, then the program: [`end_servers_at_signals`] |
//! | the same with `--watch` | also notes that this program has continued: [`take_continued`] |
//! | `lab` | ends the servers, but [survives the first signal](survive_first_signal) to write its results |
//! | `tour` | ends the servers, restores the terminal and ends the program: `tour/leave.rs` |
//! | `watch`, `grade` | records the signal for a loop, which ends the servers: [`note_signals`] |
//!
//! The other commands start no server, so they need no function. While the pager of `diff` runs, `diff`
//! [ignores SIGINT](ignore_interrupts): Ctrl-C is for the pager then.
//!
//! The servers are in process groups of their own, so Ctrl-C in a terminal does not reach them.

use std::io;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use probe::server;

use crate::terminal::{self, cbreak};

/// A signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT, which Ctrl-C sends.
    Interrupt,
    /// SIGTERM, SIGHUP or SIGQUIT, by its number.
    End(i32),
    /// SIGCONT: this program was suspended, and continues.
    #[cfg_attr(not(unix), allow(dead_code))]
    Continue,
}

const SIGINT: i32 = 2;

impl Signal {
    /// Returns the number of the signal if it asks this program to end.
    pub fn ending(self) -> Option<i32> {
        match self {
            Self::Interrupt => Some(SIGINT),
            Self::End(number) => Some(number),
            Self::Continue => None,
        }
    }
}

/// Returns the exit code of a program that this signal has ended, as shells count it.
pub fn exit_code(number: i32) -> u8 {
    u8::try_from(128 + number).unwrap_or(u8::MAX)
}

/// Calls a function with each signal from now on, in a thread of its own.
#[cfg(unix)]
pub fn handle(mut function: impl FnMut(Signal) + Send + 'static) -> io::Result<()> {
    use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM};
    let all = [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGCONT];
    let mut signals = signal_hook::iterator::Signals::new(all)?;
    std::thread::spawn(move || {
        for number in signals.forever() {
            function(match number {
                SIGINT => Signal::Interrupt,
                SIGCONT => Signal::Continue,
                number => Signal::End(number),
            });
        }
    });
    Ok(())
}

#[cfg(not(unix))]
// On Unix, it may fail.
#[allow(clippy::unnecessary_wraps)]
pub fn handle(_function: impl FnMut(Signal) + Send + 'static) -> io::Result<()> {
    Ok(())
}

/// Ignores SIGINT from now on. A program that is started later does not ignore it.
pub fn ignore_interrupts() -> io::Result<()> {
    signal_hook::flag::register(SIGINT, Arc::default()).map(drop)
}

/// Whether the next signal ends only the servers, and not this program. SIGQUIT always ends both.
static CONTINUES_AFTER_NEXT: AtomicBool = AtomicBool::new(false);

/// The number of the signal that has ended only the servers; zero if there was no such signal.
static SERVERS_ENDED_BY: AtomicI32 = AtomicI32::new(0);

/// Lets this program survive the next signal except SIGQUIT, so that it can write its results. That signal ends
/// all servers, and from then on no server can start. The signal after it ends the program.
///
/// The program must have called [`end_servers_at_signals`].
pub fn survive_first_signal() {
    CONTINUES_AFTER_NEXT.store(true, Ordering::SeqCst);
}

/// Returns the number of the signal that has ended only the servers, or `None` if there was no such signal.
pub fn survived_signal() -> Option<i32> {
    Some(SERVERS_ENDED_BY.load(Ordering::SeqCst)).filter(|signal| *signal != 0)
}

/// Whether this program was suspended and has continued.
static HAS_CONTINUED: AtomicBool = AtomicBool::new(false);

/// Reports whether this program was suspended and has continued since the last call.
///
/// The program must have called [`end_servers_at_signals`].
pub fn take_continued() -> bool {
    HAS_CONTINUED.swap(false, Ordering::Relaxed)
}

/// Makes SIGINT, SIGTERM, SIGHUP and SIGQUIT end all servers and then this program, from now on.
pub fn end_servers_at_signals() {
    const SIGQUIT: i32 = 3;
    let mut have_servers_ended = false;
    // If signals cannot be handled, they end this program at once. The watchdog, or for `lab` the kernel, then
    // ends the servers.
    let _ = handle(move |signal| {
        let Some(number) = signal.ending() else {
            // The shell has changed the mode of the terminal.
            cbreak::enter_again();
            HAS_CONTINUED.store(true, Ordering::Relaxed);
            return;
        };
        if !have_servers_ended {
            // Forgotten, so that the lock is never released: from here on, no server can start.
            std::mem::forget(server::end_all());
            have_servers_ended = true;
        }
        if number == SIGQUIT || !CONTINUES_AFTER_NEXT.swap(false, Ordering::SeqCst) {
            cbreak::leave();
            if signal == Signal::Interrupt {
                terminal::end_status();
            }
            std::process::exit(exit_code(number).into());
        }
        SERVERS_ENDED_BY.store(number, Ordering::SeqCst);
    });
}

/// Ends all servers, restores the terminal, and ends this program.
pub fn end_servers_and_exit(code: u8) -> ! {
    // Held until the process ends: other threads cannot start a server.
    let _no_server_starts = server::end_all();
    cbreak::leave();
    terminal::end_status();
    std::process::exit(code.into())
}

/// The signals that have come since [`note_signals`].
#[derive(Debug, Default)]
pub struct NotedSignals {
    last: Arc<AtomicI32>,
    has_continued: Arc<AtomicBool>,
}

impl NotedSignals {
    /// Returns the last signal that asks this program to end.
    pub fn ending(&self) -> Option<Signal> {
        match self.last.load(Ordering::Relaxed) {
            0 => None,
            SIGINT => Some(Signal::Interrupt),
            number => Some(Signal::End(number)),
        }
    }

    /// Reports whether this program was suspended and has continued since the last call.
    pub fn take_continued(&self) -> bool {
        self.has_continued.swap(false, Ordering::Relaxed)
    }
}

/// Records each signal from now on. The caller has to look at them again and again, and to end when one asks
/// for it.
pub fn note_signals() -> io::Result<NotedSignals> {
    let noted = NotedSignals::default();
    let last = Arc::clone(&noted.last);
    let has_continued = Arc::clone(&noted.has_continued);
    handle(move |signal| match signal.ending() {
        Some(number) => last.store(number, Ordering::Relaxed),
        None => has_continued.store(true, Ordering::Relaxed),
    })?;
    Ok(noted)
}

/// Starts the watchdog: a process that ends the servers if this program is killed. If it cannot be started,
/// everything else still works.
///
/// The watchdog must not become a child of this process, which takes each of its children for a server, or for a
/// process that a server has left behind, and ends it. So the watchdog is started by a short-lived process, and
/// before [`adopt_orphans`](server::adopt_orphans).
pub fn start_watchdog() {
    let Ok(mut child) = watchdog(&[], Stdio::piped()) else { return };
    let pipe = child.stdin.take();
    if child.wait().is_ok_and(|status| status.success())
        && let Some(pipe) = pipe
    {
        server::set_watchdog(pipe);
    }
}

/// Runs the watchdog if it is detached; otherwise starts it detached.
pub fn be_watchdog(is_detached: bool) -> anyhow::Result<ExitCode> {
    if is_detached {
        server::run_watchdog(std::io::stdin().lock())?;
    } else {
        watchdog(&["--detached"], Stdio::inherit())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn watchdog(args: &[&str], stdin: Stdio) -> io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("watchdog").args(args).stdin(stdin).stdout(Stdio::null()).stderr(Stdio::null());
    // In a process group of its own, it does not get the signals of the terminal. A search for the processes
    // that this one has left behind goes by an environment variable, and must not find the watchdog.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command.env_clear(), 0);
    command.spawn()
}
