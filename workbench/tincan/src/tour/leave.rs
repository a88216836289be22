//! Ends the tour with nothing left running, whatever ends it.

use std::io::Write as _;
use std::process;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use probe::server;

use super::keys;

/// How long the last words may take: whoever should print them may be stuck.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Ends all that runs, puts the terminal back, and ends this process.
pub fn leave(code: i32) -> ! {
    // Held to the end: a thread that starts or ends something waits here for ever.
    let _none_starts = server::end_all();
    keys::put_back();
    let (sender, written) = mpsc::channel();
    thread::spawn(move || {
        let _ = writeln!(anstream::stdout(), "\nThe tour ends here; nothing is left running.");
        let _ = sender.send(());
    });
    let _ = written.recv_timeout(LAST_WORDS);
    process::exit(code)
}

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
// Where there are signals, watching for them may fail.
#[allow(clippy::unnecessary_wraps)]
pub fn on_signals() -> Result<()> {
    Ok(())
}
