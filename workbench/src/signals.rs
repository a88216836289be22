//! However this program ends, its servers end first: they are in process groups of their own, which
//! a terminal's Ctrl-C does not reach.

use workbench::server;

/// Ends all servers and this program at SIGINT, SIGTERM, SIGHUP and SIGQUIT.
#[cfg(unix)]
pub fn end_servers_at_signals() {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
    let Ok(mut signals) = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP, SIGQUIT])
    else {
        return;
    };
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            let _none_starts = server::end_all();
            std::process::exit(128 + signal);
        }
    });
}

#[cfg(not(unix))]
pub fn end_servers_at_signals() {
    let _ = server::end_all;
}
