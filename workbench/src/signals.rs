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

/// The signals that have come since [`note_signals`].
#[derive(Debug)]
pub struct Noted(std::sync::Arc<std::sync::atomic::AtomicUsize>);

impl Noted {
    /// The number of the last signal.
    pub fn signal(&self) -> Option<u8> {
        let number = self.0.load(std::sync::atomic::Ordering::Relaxed);
        u8::try_from(number).ok().filter(|number| *number > 0)
    }
}

/// Notes SIGINT, SIGTERM, SIGHUP and SIGQUIT from now on, for one that ends by itself then.
#[cfg(unix)]
pub fn note_signals() -> std::io::Result<Noted> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
    let noted = Noted(std::sync::Arc::default());
    for signal in [SIGINT, SIGTERM, SIGHUP, SIGQUIT] {
        let number = usize::try_from(signal).unwrap_or_default();
        signal_hook::flag::register_usize(signal, std::sync::Arc::clone(&noted.0), number)?;
    }
    Ok(noted)
}
