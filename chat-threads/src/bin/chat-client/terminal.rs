//! One terminal for two threads: one edits the line being typed, the other prints messages above it.
//!
//! `rustyline` does both, but for the moments between two lines: there its printer writes to the
//! terminal itself, without a look at whether a prompt is just being drawn, and ahead of messages
//! that wait for it. So a [`Gate`] keeps messages out in those moments.

use std::borrow::Cow;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{
    Cmd, ColorMode, ConditionalEventHandler, Config, Editor, Event, EventContext, EventHandler,
    ExternalPrinter, Helper, RepeatCount,
};

use mode::Mode;
pub use mode::leave_signals_to_main_thread;

/// How long rustyline waits for the rest of a key that begins with ESC; it prints nothing meanwhile.
const KEY_TIME_MS: u16 = 200;

/// Gives the two halves of the terminal, or none if there is no terminal that can edit lines.
pub fn open() -> anyhow::Result<Option<(Typing, Screen<impl ExternalPrinter + Send + 'static>)>> {
    let config = Config::builder()
        .auto_add_history(true)
        .keyseq_timeout(Some(KEY_TIME_MS))
        // Otherwise rustyline does not call the highlighter, which we use to break lines, not for
        // colours.
        .color_mode(ColorMode::Forced)
        .build();
    let mut editor = Editor::with_config(config).map_err(io::Error::other)?;
    // Fails if stdin or stdout is no terminal, or one that cannot move its cursor.
    let Ok(printer) = editor.create_external_printer() else {
        return Ok(None);
    };
    let gate = Arc::new(Gate { is_closed: Mutex::new(true), opened: Condvar::new() });
    let mode = Arc::new(Mode::get()?);
    let keep_out = {
        let gate = Arc::clone(&gate);
        move || std::mem::forget(gate.lock())
    };
    let mut redrawer = editor.create_external_printer().map_err(io::Error::other)?;
    // What is printed is an empty line; the line being typed is drawn after it.
    mode.watch_signals(keep_out, move || _ = redrawer.print(String::new()))?;
    let stopper = EventHandler::Conditional(Box::new(Stopper(Arc::clone(&mode))));
    editor.bind_sequence(mode.stop_key(), stopper);
    editor.set_helper(Some(Gatekeeper {
        gate: Arc::clone(&gate),
        mode: Arc::clone(&mode),
        width: AtomicUsize::new(rows::width()),
        column: AtomicUsize::new(0),
    }));
    let has_colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let screen = Screen { printer, gate: Arc::clone(&gate), has_colour, mode: Arc::clone(&mode) };
    Ok(Some((Typing { editor, gate, mode }, screen)))
}

/// The lines typed, until Ctrl-D or Ctrl-C.
pub struct Typing {
    editor: Editor<Gatekeeper, DefaultHistory>,
    gate: Arc<Gate>,
    mode: Arc<Mode>,
}

impl Iterator for Typing {
    type Item = io::Result<String>;

    fn next(&mut self) -> Option<Self::Item> {
        self.mode.set_raw();
        let line = self.editor.readline("> ");
        self.mode.set_plain();
        // After an error, the validator has not closed the gate.
        self.gate.set_closed(true);
        match line {
            Err(ReadlineError::Eof | ReadlineError::Interrupted) => None,
            // Among them InvalidData: bytes that are not UTF-8.
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
    mode: Arc<Mode>,
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
        // Fails if the user quits meanwhile; after that, rustyline prints at once.
        let printed = self.printer.print(lines.clone());
        Ok(printed.or_else(|_| self.printer.print(lines))?)
    }

    /// Puts the terminal back as it was: the typing thread cannot be called out of rustyline.
    pub fn restore(self) {
        let gate = self.gate.pass();
        // rustyline does not say when it has shown what the printer was given.
        std::thread::sleep(std::time::Duration::from_millis(200));
        self.mode.restore();
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
///
/// As the highlighter, it breaks the line being typed into rows. If the terminal broke the line, it
/// would join the rows again when it is made wider; rustyline does not know, counts the rows that it
/// has drawn, and erases as many, among them messages above the line.
struct Gatekeeper {
    gate: Arc<Gate>,
    mode: Arc<Mode>,
    /// The terminal's width, as rustyline knows it: it asks for a hint after each change, and may draw
    /// before it knows of one.
    width: AtomicUsize,
    /// The column after the prompt.
    column: AtomicUsize,
}

impl Hinter for Gatekeeper {
    type Hint = String;

    fn hint(&self, _: &str, _: usize, _: &rustyline::Context<'_>) -> Option<String> {
        self.mode.remember_raw();
        self.width.store(rows::width(), Ordering::SeqCst);
        self.gate.set_closed(false);
        None
    }
}

impl Validator for Gatekeeper {
    fn validate(&self, _: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        self.gate.set_closed(true);
        Ok(ValidationResult::Valid(None))
    }
}

impl Completer for Gatekeeper {
    type Candidate = String;
}

impl Highlighter for Gatekeeper {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        let (rows, column) = rows::broken(prompt, 0, self.width.load(Ordering::SeqCst));
        self.column.store(column, Ordering::SeqCst);
        rows
    }

    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        let column = self.column.load(Ordering::SeqCst);
        rows::broken(line, column, self.width.load(Ordering::SeqCst)).0
    }
}

impl Helper for Gatekeeper {}

/// Marks the terminal as plain at the key that stops the program: rustyline restores it for that.
struct Stopper(Arc<Mode>);

impl ConditionalEventHandler for Stopper {
    fn handle(&self, _: &Event, _: RepeatCount, _: bool, _: &EventContext<'_>) -> Option<Cmd> {
        self.0.set_plain();
        None
    }
}

/// Breaks text where the terminal's row ends, as rustyline counts.
#[cfg(unix)]
mod rows {
    use std::borrow::Cow;
    use std::io;

    use rustix::termios::tcgetwinsize;
    use rustyline::GraphemeClusterMode;
    use unicode_segmentation::UnicodeSegmentation;

    /// How far apart rustyline takes tab stops to be.
    const TAB_STOP: usize = 8;

    /// Gives the terminal's width; 80, as rustyline, for one that does not know its own.
    pub fn width() -> usize {
        match tcgetwinsize(io::stdout()) {
            Ok(size) if size.ws_col > 0 => size.ws_col.into(),
            _ => 80,
        }
    }

    /// Gives the rows of a text that begins in this column, and the column after it.
    pub fn broken(text: &str, mut column: usize, width: usize) -> (Cow<'_, str>, usize) {
        let measure = GraphemeClusterMode::from_env();
        let mut rows = String::with_capacity(text.len() + 16);
        for character in text.graphemes(true) {
            if character == "\n" {
                rows.push('\n');
                column = 0;
                continue;
            }
            let is_tab = character == "\t";
            let columns = match is_tab {
                true => TAB_STOP - column % TAB_STOP,
                false => usize::from(measure.width(character)),
            };
            if column + columns > width {
                rows.push('\n');
                column = 0;
            }
            column += columns;
            // A terminal does not go to the next row for a tab.
            match is_tab {
                true => rows.extend(std::iter::repeat_n(' ', columns)),
                false => rows.push_str(character),
            }
        }
        (Cow::Owned(rows), column)
    }
}

#[cfg(not(unix))]
mod rows {
    use std::borrow::Cow;

    pub fn width() -> usize {
        0
    }

    pub fn broken(text: &str, column: usize, _width: usize) -> (Cow<'_, str>, usize) {
        (Cow::Borrowed(text), column)
    }
}

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

/// Saves the terminal's mode, which rustyline changes, and restores it.
#[cfg(unix)]
mod mode {
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
    use rustyline::KeyEvent;
    use rustyline::Modifiers;
    use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM};
    use signal_hook::iterator::Signals;
    use signal_hook::{flag, low_level};
    use tincanchat::cli::in_words;

    use crate::NO_THREAD;

    const ENDING: [i32; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];

    const PASTE_MARKS_ON: &[u8] = b"\x1b[?2004h";
    const PASTE_MARKS_OFF: &[u8] = b"\x1b[?2004l\n";

    pub struct Mode {
        plain: Termios,
        /// Known when the first line is being edited.
        raw: OnceLock<Termios>,
        /// Whether there is nothing to put back: then a signal ends the program at once.
        is_plain: Arc<AtomicBool>,
    }

    impl Mode {
        pub fn get() -> io::Result<Mode> {
            let is_plain = Arc::new(AtomicBool::new(true));
            Ok(Mode { plain: tcgetattr(io::stdin())?, raw: OnceLock::new(), is_plain })
        }

        /// Starts a thread that does for a signal what must be done to the terminal. `keep_out` keeps
        /// the thread that types from changing it again; `redraw` draws the line being typed.
        pub fn watch_signals(
            self: &Arc<Self>,
            keep_out: impl Fn() + Send + 'static,
            mut redraw: impl FnMut() + Send + 'static,
        ) -> anyhow::Result<()> {
            for signal in ENDING {
                flag::register_conditional_default(signal, Arc::clone(&self.is_plain))?;
            }
            let mut signals = Signals::new(ENDING)?;
            signals.add_signal(SIGCONT)?;
            let mode = Arc::clone(self);
            let watch = move || {
                leave_signals_to_main_thread();
                for signal in &mut signals {
                    if signal == SIGCONT {
                        if mode.make_raw_again() {
                            redraw();
                        }
                        continue;
                    }
                    keep_out();
                    mode.restore();
                    let _ = low_level::emulate_default_handler(signal);
                }
            };
            let thread = thread::Builder::new().name("signals".to_owned());
            thread.spawn(watch).map_err(in_words).context(NO_THREAD)?;
            Ok(())
        }

        /// Returns the key that stops the program and returns to the shell.
        pub fn stop_key(&self) -> KeyEvent {
            let code = self.plain.special_codes[SpecialCodeIndex::VSUSP];
            KeyEvent::new(char::from(code), Modifiers::NONE)
        }

        /// Notes that rustyline is about to change the terminal, or has done so.
        pub fn set_raw(&self) {
            self.is_plain.store(false, Ordering::SeqCst);
        }

        /// Remembers what rustyline has made of the terminal.
        pub fn remember_raw(&self) {
            self.set_raw();
            if let (None, Ok(raw)) = (self.raw.get(), tcgetattr(io::stdin())) {
                let _ = self.raw.set(raw);
            }
        }

        /// Notes that rustyline has restored the terminal, or is about to do so.
        pub fn set_plain(&self) {
            self.is_plain.store(true, Ordering::SeqCst);
        }

        pub fn restore(&self) {
            // First, so that the next signal ends the program even if the terminal takes nothing.
            self.set_plain();
            if is_ours() {
                let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.plain);
                write(PASTE_MARKS_OFF);
            }
        }

        /// Sets the mode for editing again after a stop that rustyline has not noticed (SIGSTOP): the shell
        /// has left the terminal plain. Reports whether that was necessary.
        fn make_raw_again(&self) -> bool {
            let Some(raw) = self.raw.get() else {
                return false;
            };
            let is_raw =
                || tcgetattr(io::stdin()).is_ok_and(|mode| mode.local_modes == raw.local_modes);
            if self.is_plain.load(Ordering::SeqCst) || !is_ours() || is_raw() {
                return false;
            }
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, raw);
            write(PASTE_MARKS_ON);
            true
        }
    }

    /// Blocks the signals that end the program, in the thread that calls this.
    ///
    /// A program in the background that changes the terminal is stopped (SIGTTOU). When it continues after
    /// a stop, rustyline does just that. A signal that came during the stop must end the program
    /// before, so it must reach the thread that would go on.
    pub fn leave_signals_to_main_thread() {
        let ending = ENDING.iter().filter_map(|&signal| Signal::try_from(signal).ok());
        let _ = ending.collect::<SigSet>().thread_block();
    }

    /// Reports whether the program is not in the background. The kernel stops a program there that
    /// changes the terminal (SIGTTOU), and the terminal is as the shell needs it.
    fn is_ours() -> bool {
        // An error for a terminal that does not control this program, and so does not stop it.
        tcgetpgrp(io::stdin()).map_or(true, |group| group == getpgrp())
    }

    fn write(bytes: &[u8]) {
        let mut stdout = io::stdout();
        let _ = stdout.write_all(bytes).and_then(|()| stdout.flush());
    }
}

/// Elsewhere a terminal looks after itself when a program ends.
#[cfg(not(unix))]
// The functions have the shape of those above.
#[allow(clippy::unnecessary_wraps, clippy::unused_self)]
mod mode {
    use std::io;
    use std::sync::Arc;

    use rustyline::KeyEvent;

    pub struct Mode;

    impl Mode {
        pub fn get() -> io::Result<Mode> {
            Ok(Mode)
        }

        pub fn watch_signals(
            self: &Arc<Self>,
            _keep_out: impl Fn() + Send + 'static,
            _redraw: impl FnMut() + Send + 'static,
        ) -> io::Result<()> {
            Ok(())
        }

        pub fn stop_key(&self) -> KeyEvent {
            KeyEvent::ctrl('Z')
        }

        pub fn set_raw(&self) {}

        pub fn remember_raw(&self) {}

        pub fn set_plain(&self) {}

        pub fn restore(&self) {}
    }

    pub fn leave_signals_to_main_thread() {}
}
