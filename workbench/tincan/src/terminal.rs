//! The terminal: its size, its mode, a line that says what happens now, and the styles of text.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use anstyle::{AnsiColor, Style};

pub const PLAIN: Style = Style::new();
pub const BOLD: Style = Style::new().bold();
pub const DIM: Style = Style::new().dimmed();
pub const HIGHLIGHT: Style = AnsiColor::Yellow.on_default();

/// Returns the number of columns and rows of the terminal, or 80 and 24 if they are not known.
///
/// The terminal is the one of standard output, standard error or standard input, the first of them that is one.
pub fn size() -> (usize, usize) {
    let (columns, rows) = known_size();
    (columns.unwrap_or(80), rows.unwrap_or(24))
}

/// Returns the number of columns of the same terminal, if it is known.
pub fn columns() -> Option<usize> {
    known_size().0
}

fn known_size() -> (Option<usize>, Option<usize>) {
    let Some((columns, rows)) = terminal_size::terminal_size() else { return (None, None) };
    // A terminal that does not know its size reports zeros.
    let known = |number: u16| Some(usize::from(number)).filter(|number| *number > 0);
    (known(columns.0), known(rows.0))
}

/// Whether the cursor is at the end of a line that [`write_status`] has written.
static HAS_STATUS: AtomicBool = AtomicBool::new(false);

/// Replaces the line in which the cursor is. The text must not be wider than the terminal.
pub fn write_status(text: &str) -> io::Result<()> {
    HAS_STATUS.store(false, Ordering::Relaxed);
    let mut out = io::stdout().lock();
    write!(out, "\r\x1b[2K{text}")?;
    out.flush()?;
    HAS_STATUS.store(true, Ordering::Relaxed);
    Ok(())
}

/// Ends the line that [`write_status`] has written, if the cursor is still in it.
pub fn end_status() {
    if HAS_STATUS.swap(false, Ordering::Relaxed) {
        // An error means that nobody sees the terminal any more.
        let _ = writeln!(io::stdout());
    }
}

/// Erases the screen, and puts the cursor into its first line.
pub fn clear() -> io::Result<()> {
    HAS_STATUS.store(false, Ordering::Relaxed);
    let mut out = io::stdout().lock();
    out.write_all(b"\x1b[H\x1b[2J")?;
    out.flush()
}

/// The byte of Ctrl-D in cbreak mode.
pub const CTRL_D: u8 = 4;

/// Waits for a key and returns its byte; `None` if there is no more input. Without [`cbreak`] mode, the keys come after
/// the user has pressed Enter.
pub fn next_key() -> Option<u8> {
    let mut byte = [0];
    loop {
        match io::stdin().read(&mut byte) {
            Ok(1..) => return Some(byte[0]),
            Err(err) if err.kind() == ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return None,
        }
    }
}

/// Cbreak mode: the terminal passes on each key at once, and does not show it. Ctrl-C and similar keys
/// still cause signals.
#[cfg(unix)]
pub mod cbreak {
    use std::io::stdin;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use rustix::process::getpgrp;
    use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios};
    use rustix::termios::{tcgetattr, tcgetpgrp, tcsetattr};

    /// The mode that the terminal had before.
    static ORIGINAL: Mutex<Option<Termios>> = Mutex::new(None);

    fn original() -> MutexGuard<'static, Option<Termios>> {
        ORIGINAL.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Saves the mode of the terminal, and enters cbreak mode.
    pub fn enter() {
        *original() = tcgetattr(stdin()).ok();
        enter_again();
    }

    /// Enters cbreak mode again after the shell has changed the mode, which it does when a program is
    /// suspended. Does nothing if [`enter`] was not called.
    pub fn enter_again() {
        if let Some(original) = original().as_ref() {
            let mut mode = original.clone();
            mode.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
            mode.special_codes[SpecialCodeIndex::VMIN] = 1;
            mode.special_codes[SpecialCodeIndex::VTIME] = 0;
            set(&mode);
        }
    }

    /// Restores the mode that [`enter`] has saved, for good.
    pub fn leave() {
        if let Some(original) = original().take() {
            set(&original);
        }
    }

    fn set(mode: &Termios) {
        // The kernel would stop a background process that sets the mode of its terminal.
        if tcgetpgrp(stdin()).map_or(true, |foreground| foreground == getpgrp()) {
            let _ = tcsetattr(stdin(), OptionalActions::Now, mode);
        }
    }
}

/// Does nothing on other systems.
#[cfg(not(unix))]
pub mod cbreak {
    pub fn enter() {}
    pub fn enter_again() {}
    pub fn leave() {}
}
