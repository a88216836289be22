//! One terminal for two threads: one edits the line being typed, the other prints messages above it.
//!
//! `rustyline` does both, but for the moments between two lines: there its printer writes to the
//! terminal itself, without a look at whether a prompt is just being drawn, and ahead of messages
//! that wait for it. So a [`Gate`] keeps messages out in those moments.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Config, Editor, ExternalPrinter, Helper};

/// How long rustyline waits for the rest of a key that begins with ESC; it prints nothing meanwhile.
const KEY_TIME_MS: u16 = 200;

/// Gives the two halves of the terminal, or none if there is no terminal that can edit lines.
pub fn open() -> io::Result<Option<(Typing, Screen<impl ExternalPrinter + Send + 'static>)>> {
    let config = Config::builder().auto_add_history(true).keyseq_timeout(Some(KEY_TIME_MS)).build();
    let mut editor = Editor::with_config(config).map_err(io::Error::other)?;
    // Fails if stdin or stdout is no terminal, or one that cannot move its cursor.
    let Ok(printer) = editor.create_external_printer() else {
        return Ok(None);
    };
    let gate = Arc::new(Gate { is_closed: Mutex::new(true), opened: Condvar::new() });
    editor.set_helper(Some(Gatekeeper(Arc::clone(&gate))));
    let has_colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let screen = Screen { printer, gate: Arc::clone(&gate), has_colour, mode: mode::get()? };
    Ok(Some((Typing { editor, gate }, screen)))
}

/// The lines typed, until Ctrl-D or Ctrl-C.
pub struct Typing {
    editor: Editor<Gatekeeper, DefaultHistory>,
    gate: Arc<Gate>,
}

impl Iterator for Typing {
    type Item = io::Result<String>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.editor.readline("> ") {
            Err(ReadlineError::Eof | ReadlineError::Interrupted) => None,
            // Among them InvalidData, for bytes that are not UTF-8.
            Err(ReadlineError::Io(err)) => Some(Err(err)),
            line => Some(line.map_err(io::Error::other)),
        }
    }
}

impl Drop for Typing {
    fn drop(&mut self) {
        self.gate.set_closed(false);
    }
}

/// Prints messages above the line being typed.
pub struct Screen<P> {
    printer: P,
    gate: Arc<Gate>,
    has_colour: bool,
    mode: mode::Mode,
}

impl<P: ExternalPrinter> Screen<P> {
    pub fn show(&mut self, msgs: &[String]) -> anyhow::Result<()> {
        let mut lines = String::new();
        for msg in msgs {
            lines += &if self.has_colour { colour(msg) } else { msg.clone() };
            lines.push('\n');
        }
        // Not held: it may take until the next prompt.
        drop(self.gate.pass());
        Ok(self.printer.print(lines)?)
    }

    /// Puts the terminal back as it was: the typing thread cannot be called out of rustyline.
    pub fn restore(self) {
        let gate = self.gate.pass();
        // rustyline does not say when it has shown what the printer was given.
        std::thread::sleep(std::time::Duration::from_millis(200));
        mode::set(&self.mode);
        // Never opened again, or the typing thread could go on and draw another prompt.
        std::mem::forget(gate);
    }
}

/// Closed from a line's Enter to the next prompt.
struct Gate {
    is_closed: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, bool> {
        self.is_closed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_closed(&self, is_closed: bool) {
        *self.lock() = is_closed;
        self.opened.notify_all();
    }

    fn pass(&self) -> MutexGuard<'_, bool> {
        let opened = self.opened.wait_while(self.lock(), |is_closed| *is_closed);
        opened.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Works the gate where rustyline lets us in: it asks for a hint when it has set up the terminal and
/// draws the prompt, and at Enter, before it gives the terminal back, whether the line is valid.
struct Gatekeeper(Arc<Gate>);

impl Hinter for Gatekeeper {
    type Hint = String;

    fn hint(&self, _: &str, _: usize, _: &rustyline::Context<'_>) -> Option<String> {
        self.0.set_closed(false);
        None
    }
}

impl Validator for Gatekeeper {
    fn validate(&self, _: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        self.0.set_closed(true);
        Ok(ValidationResult::Valid(None))
    }
}

impl Completer for Gatekeeper {
    type Candidate = String;
}

impl Highlighter for Gatekeeper {}

impl Helper for Gatekeeper {}

/// Gives each sender's address a colour, and the server's own words weight.
fn colour(msg: &str) -> String {
    // Our servers write 127.0.0.1:50312: text; the chapter's ('127.0.0.1', 50312): text.
    match msg.split_once(": ") {
        Some(("server", _)) => format!("\x1b[1m{msg}\x1b[0m"),
        Some((sender, text)) => {
            let shade = 31 + sender.bytes().map(u32::from).sum::<u32>() % 6;
            format!("\x1b[{shade}m{sender}:\x1b[0m {text}")
        }
        None => msg.to_owned(),
    }
}

/// What rustyline changes of a terminal.
#[cfg(unix)]
mod mode {
    use std::io::{self, Write};

    use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

    pub type Mode = rustix::termios::Termios;

    pub fn get() -> io::Result<Mode> {
        Ok(tcgetattr(io::stdin())?)
    }

    pub fn set(mode: &Mode) {
        const PASTE_MARKS_OFF: &[u8] = b"\x1b[?2004l\n";
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, mode);
        let mut stdout = io::stdout();
        let _ = stdout.write_all(PASTE_MARKS_OFF).and_then(|()| stdout.flush());
    }
}

/// Elsewhere a terminal looks after itself when a program ends.
#[cfg(not(unix))]
// The two functions have the shape of those above.
#[allow(clippy::trivially_copy_pass_by_ref, clippy::unnecessary_wraps)]
mod mode {
    pub type Mode = ();

    pub fn get() -> std::io::Result<Mode> {
        Ok(())
    }

    pub fn set((): &Mode) {}
}
