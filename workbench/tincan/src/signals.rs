//! However this program ends, its servers end first: they are in process groups of their own, which
//! a terminal's Ctrl-C does not reach.

use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};

use probe::server;

/// Starts the watchdog: the process that ends the servers if this one is killed. If it cannot be
/// started, everything else still works.
///
/// It is no child of this process: all children are servers, or what servers leave behind.
pub fn start_watchdog() {
    let Ok(mut child) = watchdog(&[], Stdio::piped()) else { return };
    let pipe = child.stdin.take();
    if child.wait().is_ok_and(|status| status.success())
        && let Some(pipe) = pipe
    {
        server::set_watchdog(pipe);
    }
}

/// Runs the watchdog, or the short-lived parent that detaches it.
pub fn be_watchdog(is_alone: bool) -> anyhow::Result<ExitCode> {
    if is_alone {
        server::watch_over(std::io::stdin().lock())?;
    } else {
        watchdog(&["--alone"], Stdio::inherit())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn watchdog(args: &[&str], stdin: Stdio) -> std::io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("watchdog").args(args).stdin(stdin).stdout(Stdio::null()).stderr(Stdio::null());
    // What a terminal sends to this process does not reach it. It needs nothing of the environment, by
    // which a reader may look for what is left of this process.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command.env_clear(), 0);
    command.spawn()
}

/// Whether the next signal only ends the servers.
static SPARES_US: AtomicBool = AtomicBool::new(false);

/// The signal that has ended only the servers.
static NOTED: AtomicI32 = AtomicI32::new(0);

/// From now on the first signal ends all servers, and none can start any more, but this program goes
/// on, to write what it knows; the second signal ends it.
pub fn spare_us_once() {
    SPARES_US.store(true, Ordering::SeqCst);
}

/// The signal that has come since then.
pub fn noted() -> Option<i32> {
    Some(NOTED.load(Ordering::SeqCst)).filter(|signal| *signal != 0)
}

/// Ends all servers and this program at SIGINT, SIGTERM, SIGHUP and SIGQUIT.
#[cfg(unix)]
pub fn end_servers_at_signals() {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
    let Ok(mut signals) = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP, SIGQUIT])
    else {
        return;
    };
    std::thread::spawn(move || {
        let mut none_starts = None;
        for signal in signals.forever() {
            none_starts = none_starts.or_else(|| Some(server::end_all()));
            if signal == SIGQUIT || !SPARES_US.swap(false, Ordering::SeqCst) {
                std::process::exit(128 + signal);
            }
            NOTED.store(signal, Ordering::SeqCst);
        }
    });
}

#[cfg(not(unix))]
pub fn end_servers_at_signals() {
    let _ = server::end_all;
    let _ = (&SPARES_US, &NOTED);
}

/// The signals that have come since [`note_signals`].
#[derive(Debug, Default)]
pub struct Noted {
    last: Arc<AtomicUsize>,
    resumed: Arc<AtomicBool>,
}

impl Noted {
    /// The number of the last that asks for the end.
    pub fn signal(&self) -> Option<u8> {
        let number = self.last.load(Ordering::Relaxed);
        u8::try_from(number).ok().filter(|number| *number > 0)
    }

    /// Whether this process was suspended and goes on, since that was last asked.
    pub fn resumed(&self) -> bool {
        self.resumed.swap(false, Ordering::Relaxed)
    }
}

/// Notes SIGINT, SIGTERM, SIGHUP, SIGQUIT and SIGCONT from now on, for one that then ends by itself.
#[cfg(unix)]
pub fn note_signals() -> std::io::Result<Noted> {
    use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM};
    let noted = Noted::default();
    for signal in [SIGINT, SIGTERM, SIGHUP, SIGQUIT] {
        let number = usize::try_from(signal).unwrap_or_default();
        signal_hook::flag::register_usize(signal, Arc::clone(&noted.last), number)?;
    }
    signal_hook::flag::register(SIGCONT, Arc::clone(&noted.resumed))?;
    Ok(noted)
}

#[cfg(not(unix))]
// Where there are signals, watching for them may fail.
#[allow(clippy::unnecessary_wraps)]
pub fn note_signals() -> std::io::Result<Noted> {
    Ok(Noted::default())
}
