//! The terminal: its size, its mode, and the styles of text on it.

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
    let (columns, rows) =
        terminal_size::terminal_size().map_or((0, 0), |(columns, rows)| (columns.0, rows.0));
    // A terminal that does not know its size reports zeros.
    let known = |number: u16| Some(usize::from(number)).filter(|number| *number > 0);
    (known(columns), known(rows))
}

/// The byte of Ctrl-D in cbreak mode.
pub const CTRL_D: u8 = 4;

/// Cbreak mode: the terminal passes on each key at once, and does not show it. Ctrl-C and similar keys
/// still cause signals.
#[cfg(unix)]
pub mod cbreak {
    use std::io::{ErrorKind, Read as _, stdin};
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

    /// Restores the mode that [`enter`] has saved.
    pub fn leave() {
        if let Some(original) = original().as_ref() {
            set(original);
        }
    }

    /// Waits for a key and returns its byte; `None` if there is no more input.
    pub fn next_key() -> Option<u8> {
        let mut byte = [0];
        loop {
            match stdin().read(&mut byte) {
                Ok(1..) => return Some(byte[0]),
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return None,
            }
        }
    }

    fn set(mode: &Termios) {
        // The kernel would stop a background process that sets the mode of its terminal.
        if tcgetpgrp(stdin()).map_or(true, |foreground| foreground == getpgrp()) {
            let _ = tcsetattr(stdin(), OptionalActions::Now, mode);
        }
    }
}

#[cfg(not(unix))]
pub mod cbreak {
    pub fn enter() {}
    pub fn enter_again() {}
    pub fn leave() {}
    pub fn next_key() -> Option<u8> {
        None
    }
}
