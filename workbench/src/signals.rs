//! However this program ends, its servers end first: they are in process groups of their own, which
//! a terminal's Ctrl-C does not reach.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use workbench::server;

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
