//! The reader's keys: Enter goes on, `q` quits at once, without an Enter after it.

use std::io::{self, ErrorKind, Read};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use super::leave::leave;

/// What Ctrl-D is where the terminal gives each key at once.
const CTRL_D: u8 = 4;

/// Begins to listen to the keys; each Enter is one message.
pub fn listen() -> Receiver<()> {
    mode::take();
    let (sender, enters) = mpsc::channel();
    thread::spawn(move || {
        loop {
            let mut key = [0];
            match io::stdin().read(&mut key) {
                Ok(1..) => match key[0] {
                    b'\n' | b'\r' if sender.send(()).is_err() => return,
                    b'q' | b'Q' | CTRL_D => leave(0),
                    _ => {}
                },
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => leave(0),
            }
        }
    });
    enters
}

pub use mode::put_back;
#[cfg(unix)]
pub use mode::take_again;

/// The terminal gives each key at once and does not show it. Ctrl-C and the like stay signals.
#[cfg(unix)]
pub mod mode {
    use std::io::stdin;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use rustix::process::getpgrp;
    use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios};
    use rustix::termios::{tcgetattr, tcgetpgrp, tcsetattr};

    /// The mode that the terminal had before the tour.
    static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

    fn before() -> MutexGuard<'static, Option<Termios>> {
        BEFORE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn take() {
        *before() = tcgetattr(stdin()).ok();
        take_again();
    }

    pub fn take_again() {
        if let Some(before) = before().as_ref() {
            let mut mode = before.clone();
            mode.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
            mode.special_codes[SpecialCodeIndex::VMIN] = 1;
            mode.special_codes[SpecialCodeIndex::VTIME] = 0;
            set(&mode);
        }
    }

    pub fn put_back() {
        if let Some(before) = before().as_ref() {
            set(before);
        }
    }

    /// In the background of its own terminal, the kernel would stop whoever tries.
    fn set(mode: &Termios) {
        if tcgetpgrp(stdin()).map_or(true, |foreground| foreground == getpgrp()) {
            let _ = tcsetattr(stdin(), OptionalActions::Now, mode);
        }
    }
}

#[cfg(not(unix))]
pub mod mode {
    pub fn take() {}
    pub fn take_again() {}
    pub fn put_back() {}
}
