//! The terminal's mode. rustyline changes it while a line is edited, and this module restores the original
//! mode however the program ends.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;

use anyhow::Context as _;
use nix::sys::signal::{SigSet, Signal};
use rustix::process::getpgrp;
use rustix::termios::{
    OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetpgrp, tcsetattr,
};
use rustyline::{KeyEvent, Modifiers};
use serverkit::readable_error;
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::{flag, low_level};

/// The signals that end the program.
const TERMINATION_SIGNALS: [i32; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];

/// Tells the terminal to mark pasted text, so that rustyline does not take a line end in it for Enter.
const BRACKETED_PASTE_ON: &[u8] = b"\x1b[?2004h";

/// Tells the terminal to stop marking pasted text, and leaves the row of the line being typed.
const BRACKETED_PASTE_OFF: &[u8] = b"\x1b[?2004l\n";

/// The two modes of the terminal, and which of them it is in.
pub struct Mode {
    /// The mode that the terminal had when the program started.
    original: Termios,
    /// The mode in which rustyline edits lines, known from the first prompt on.
    editing: OnceLock<Termios>,
    /// Whether the terminal is in its original mode. If so, a signal ends the program at once.
    is_original: Arc<AtomicBool>,
}

impl Mode {
    /// Reads the terminal's mode, before rustyline changes it.
    pub fn read() -> io::Result<Mode> {
        Ok(Mode {
            original: tcgetattr(io::stdin())?,
            editing: OnceLock::new(),
            is_original: Arc::new(AtomicBool::new(true)),
        })
    }

    /// Starts a thread that handles signals. On a signal that ends the program, the thread restores the
    /// terminal first; on SIGCONT, it resumes the editing of a line.
    ///
    /// `block_main_thread` must keep the main thread from changing the terminal again; `redraw` must
    /// draw the line being typed.
    pub fn watch_signals(
        self: &Arc<Self>,
        block_main_thread: impl Fn() + Send + 'static,
        mut redraw: impl FnMut() + Send + 'static,
    ) -> anyhow::Result<()> {
        for signal in TERMINATION_SIGNALS {
            flag::register_conditional_default(signal, Arc::clone(&self.is_original))?;
        }
        let mut signals = Signals::new(TERMINATION_SIGNALS)?;
        signals.add_signal(SIGCONT)?;
        let mode = Arc::clone(self);
        let watch = move || {
            block_termination_signals();
            for signal in &mut signals {
                if signal == SIGCONT {
                    if mode.resume_editing() {
                        redraw();
                    }
                } else {
                    block_main_thread();
                    mode.restore();
                    // Ends the program, with this signal as the reason.
                    let _ = low_level::emulate_default_handler(signal);
                }
            }
        };
        let thread = thread::Builder::new().name("signals".to_owned());
        thread.spawn(watch).map_err(readable_error).context("cannot start a thread")?;
        Ok(())
    }

    /// Returns the key that suspends the program and returns to the shell: Ctrl-Z, unless the user has
    /// chosen another (`stty susp`).
    pub fn suspend_key(&self) -> KeyEvent {
        let code = self.original.special_codes[SpecialCodeIndex::VSUSP];
        KeyEvent::new(char::from(code), Modifiers::NONE)
    }

    /// Notes that rustyline is about to set the mode for editing, or has set it.
    pub fn note_editing(&self) {
        self.is_original.store(false, Ordering::SeqCst);
    }

    /// Notes that rustyline has set the mode for editing, and saves that mode.
    pub fn save_editing(&self) {
        self.note_editing();
        if self.editing.get().is_some() {
            return;
        }
        if let Ok(editing) = tcgetattr(io::stdin()) {
            // Fails only if the mode has been saved already.
            let _ = self.editing.set(editing);
        }
    }

    /// Notes that rustyline is about to restore the original mode, or has restored it.
    pub fn note_original(&self) {
        self.is_original.store(true, Ordering::SeqCst);
    }

    /// Restores the original mode, unless the program is in the background.
    pub fn restore(&self) {
        // This comes first, so that another signal ends the program even if the terminal blocks the calls
        // that follow.
        self.note_original();
        if is_in_foreground() {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.original);
            write(BRACKETED_PASTE_OFF);
        }
    }

    /// Sets the mode for editing again after a stop that rustyline has not noticed (SIGSTOP): the shell
    /// has restored the original mode. Reports whether that was necessary.
    fn resume_editing(&self) -> bool {
        let Some(editing) = self.editing.get() else {
            return false;
        };
        if self.is_original.load(Ordering::SeqCst) || !is_in_foreground() {
            return false;
        }
        let current = tcgetattr(io::stdin());
        if current.is_ok_and(|current| current.local_modes == editing.local_modes) {
            return false;
        }
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, editing);
        write(BRACKETED_PASTE_ON);
        true
    }
}

/// Blocks, in the calling thread, the signals that end the program, so that the main thread gets them.
///
/// The system stops a program in the background that changes the terminal (SIGTTOU). When such a program
/// continues, rustyline changes the terminal again, and the program is stopped again. A signal that arrived
/// in between must end the program first. In the main thread, the signal's handler does so, because it runs
/// before rustyline continues; in another thread, it could run too late.
pub fn block_termination_signals() {
    let signals = TERMINATION_SIGNALS.iter().filter_map(|&signal| Signal::try_from(signal).ok());
    let _ = signals.collect::<SigSet>().thread_block();
}

/// Reports whether the program may change the terminal. In the background it may not: the system would
/// stop the program (SIGTTOU), and the terminal is in the mode that the shell needs.
fn is_in_foreground() -> bool {
    match tcgetpgrp(io::stdin()) {
        Ok(foreground) => foreground == getpgrp(),
        // A terminal that does not control this program does not stop it either.
        Err(_) => true,
    }
}

/// Writes to the terminal. A terminal that is gone needs no restoring, so errors do not matter.
fn write(bytes: &[u8]) {
    let mut stdout = io::stdout();
    let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
}
