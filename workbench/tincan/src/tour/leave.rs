//! Ends the tour so that no server is left running, even if a signal ends it.

use std::io::{self, Write as _};
use std::process;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use probe::server;

use crate::signals;
use crate::terminal::cbreak;

/// How long the last line may take: the terminal or the pipe may accept no more output.
const LAST_LINE: Duration = Duration::from_secs(2);

/// Ends all servers, restores the terminal, and ends this process.
pub fn leave(code: u8) -> ! {
    // Held until the process ends: other threads cannot start a server.
    let _no_server_starts = server::end_all();
    cbreak::leave();
    let (sender, written) = mpsc::channel();
    thread::spawn(move || {
        let _ = writeln!(anstream::stdout(), "\nThe tour ends here; nothing is left running.");
        let _ = sender.send(());
    });
    let _ = written.recv_timeout(LAST_LINE);
    process::exit(code.into())
}

/// Ends the tour when a signal asks for it, with the exit code of that signal.
pub fn leave_at_signals() -> io::Result<()> {
    signals::handle(|signal| match signal.ending() {
        Some(number) => leave(signals::exit_code(number)),
        // The tour was suspended, and the shell has changed the mode of the terminal.
        None => cbreak::enter_again(),
    })
}
