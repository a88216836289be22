//! One terminal for two threads: the main thread edits the line being typed, and the receiving thread
//! prints messages above that line.
//!
//! `rustyline` does both, except between two lines. There, its printer writes directly to the terminal: it
//! does not check whether a prompt is being drawn at that moment, and it overtakes messages that wait for
//! the prompt. So [`Printing`] holds messages back from the moment the user presses Enter until the next
//! prompt.

use std::borrow::Cow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{env, io, mem, thread};

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
pub use mode::block_termination_signals;

#[cfg(unix)]
mod mode;
#[cfg(unix)]
mod rows;

/// How long rustyline waits for the rest of a key's bytes after ESC: 200 ms. Until then it prints no
/// messages.
const KEY_TIMEOUT_MS: u16 = 200;

/// How long rustyline may take to show messages that its printer has accepted: 200 ms.
const PRINT_TIME: Duration = Duration::from_millis(200);

/// A terminal, split into a part for each thread.
pub struct Terminal<P> {
    /// For the main thread.
    pub typed_lines: TypedLines,
    /// For the receiving thread.
    pub printer: MsgPrinter<P>,
}

/// Prepares the terminal for editing. Returns `None` if stdin or stdout is not a terminal, or is one that
/// cannot move its cursor.
pub fn open() -> anyhow::Result<Option<Terminal<impl ExternalPrinter + Send + 'static>>> {
    let config = Config::builder()
        .auto_add_history(true)
        .keyseq_timeout(Some(KEY_TIMEOUT_MS))
        // Otherwise rustyline does not call the highlighter. We need it to break lines, not for colours.
        .color_mode(ColorMode::Forced)
        .build();
    let mut editor = Editor::with_config(config).map_err(io::Error::other)?;
    let Ok(printer) = editor.create_external_printer() else {
        return Ok(None);
    };
    let printing = Arc::new(Printing { is_allowed: Mutex::new(false), changed: Condvar::new() });
    let mode = Arc::new(Mode::read()?);

    let block_main_thread = {
        let printing = Arc::clone(&printing);
        move || printing.lock_forever()
    };
    let mut redrawer = editor.create_external_printer().map_err(io::Error::other)?;
    // rustyline redraws the line being typed after anything that it prints, even an empty text.
    let redraw = move || _ = redrawer.print(String::new());
    mode.watch_signals(block_main_thread, redraw)?;

    let suspend_handler = Box::new(SuspendHandler { mode: Arc::clone(&mode) });
    editor.bind_sequence(mode.suspend_key(), EventHandler::Conditional(suspend_handler));
    editor.set_helper(Some(EditorHooks {
        printing: Arc::clone(&printing),
        mode: Arc::clone(&mode),
        width: AtomicUsize::new(rows::terminal_width()),
        prompt_end: AtomicUsize::new(0),
    }));

    // See https://no-color.org: an empty value does not count.
    let has_colours = env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    Ok(Some(Terminal {
        typed_lines: TypedLines {
            editor,
            printing: Arc::clone(&printing),
            mode: Arc::clone(&mode),
        },
        printer: MsgPrinter { printer, printing, mode, has_colours },
    }))
}

/// An iterator over the lines that the user types, until Ctrl-D or Ctrl-C.
pub struct TypedLines {
    editor: Editor<EditorHooks, DefaultHistory>,
    printing: Arc<Printing>,
    mode: Arc<Mode>,
}

impl Iterator for TypedLines {
    type Item = io::Result<String>;

    fn next(&mut self) -> Option<Self::Item> {
        self.mode.note_editing();
        let line = self.editor.readline("> ");
        self.mode.note_original();
        // After an error, printing is still allowed, because rustyline has not called the validator.
        self.printing.set_allowed(false);
        match line {
            Ok(line) => Some(Ok(line)),
            Err(ReadlineError::Eof | ReadlineError::Interrupted) => None,
            // InvalidData, for example: bytes that are not UTF-8.
            Err(ReadlineError::Io(err)) => Some(Err(err)),
            Err(err) => Some(Err(io::Error::other(err))),
        }
    }
}

impl Drop for TypedLines {
    fn drop(&mut self) {
        // No prompt follows, so messages may be printed at any time.
        self.printing.set_allowed(true);
    }
}

/// Prints messages above the line being typed.
pub struct MsgPrinter<P> {
    printer: P,
    printing: Arc<Printing>,
    mode: Arc<Mode>,
    has_colours: bool,
}

impl<P: ExternalPrinter> MsgPrinter<P> {
    /// Prints each message as a line. Waits for the next prompt if no prompt is shown now.
    pub fn print(&mut self, msgs: &[String]) -> anyhow::Result<()> {
        let mut lines = String::new();
        for msg in msgs {
            match self.has_colours {
                true => lines.push_str(&with_colour(msg)),
                false => lines.push_str(msg),
            }
            lines.push('\n');
        }
        // The lock is released before printing: rustyline sometimes takes the lines only at the next
        // prompt, and it needs the lock to draw that prompt.
        drop(self.printing.wait_until_allowed());
        // The first call fails if the user quits at this moment. Then rustyline is no longer editing a
        // line, and the second call writes directly to the terminal.
        let printed = self.printer.print(lines.clone());
        Ok(printed.or_else(|_| self.printer.print(lines))?)
    }

    /// Restores the terminal's mode while the main thread may be inside rustyline, and blocks the main
    /// thread, so that it does not change the mode again. The program must end next.
    pub fn restore_terminal(self) {
        let lock = self.printing.wait_until_allowed();
        // rustyline does not report when it has shown the messages.
        thread::sleep(PRINT_TIME);
        self.mode.restore();
        mem::forget(lock);
    }
}

/// Whether messages may be printed. They may not between Enter and the next prompt.
///
/// The main thread takes the lock at each prompt and at each Enter. So a thread that takes the lock and
/// never releases it blocks the main thread there, before it can change the terminal's mode again.
struct Printing {
    is_allowed: Mutex<bool>,
    changed: Condvar,
}

impl Printing {
    fn lock(&self) -> MutexGuard<'_, bool> {
        self.is_allowed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_forever(&self) {
        mem::forget(self.lock());
    }

    fn set_allowed(&self, is_allowed: bool) {
        *self.lock() = is_allowed;
        self.changed.notify_all();
    }

    fn wait_until_allowed(&self) -> MutexGuard<'_, bool> {
        let lock = self.changed.wait_while(self.lock(), |is_allowed| !*is_allowed);
        lock.unwrap_or_else(PoisonError::into_inner)
    }
}

/// The points at which rustyline calls our code while it edits a line.
///
/// * It asks for a hint once it has set the terminal's mode and is about to draw the prompt: from then on
///   messages may be printed.
/// * At Enter it asks whether the line is valid, before it restores the terminal's mode: from then on
///   messages must wait.
/// * It asks for the colours of the line being typed. We answer with the line broken into rows. If the
///   terminal broke the line, it would join the rows again when the user makes the window wider. rustyline
///   does not know about that: it would erase as many rows as it has drawn, and some of these rows would be
///   messages by then.
struct EditorHooks {
    printing: Arc<Printing>,
    mode: Arc<Mode>,
    /// The terminal's width in columns when rustyline last asked for a hint. rustyline asks again after
    /// each change of the width that it notices, and draws for this width until then.
    width: AtomicUsize,
    /// The column after the prompt.
    prompt_end: AtomicUsize,
}

impl Hinter for EditorHooks {
    type Hint = String;

    fn hint(&self, _: &str, _: usize, _: &rustyline::Context<'_>) -> Option<String> {
        self.mode.save_editing();
        self.width.store(rows::terminal_width(), Ordering::SeqCst);
        self.printing.set_allowed(true);
        None
    }
}

impl Validator for EditorHooks {
    fn validate(&self, _: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        self.printing.set_allowed(false);
        Ok(ValidationResult::Valid(None))
    }
}

impl Completer for EditorHooks {
    type Candidate = String;
}

impl Highlighter for EditorHooks {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        let rows = rows::break_into_rows(prompt, 0, self.width.load(Ordering::SeqCst));
        self.prompt_end.store(rows.end_column, Ordering::SeqCst);
        rows.text
    }

    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        let prompt_end = self.prompt_end.load(Ordering::SeqCst);
        rows::break_into_rows(line, prompt_end, self.width.load(Ordering::SeqCst)).text
    }
}

impl Helper for EditorHooks {}

/// When the user presses the key that suspends the program (Ctrl-Z), notes that rustyline is about to
/// restore the terminal's mode.
struct SuspendHandler {
    mode: Arc<Mode>,
}

impl ConditionalEventHandler for SuspendHandler {
    fn handle(&self, _: &Event, _: RepeatCount, _: bool, _: &EventContext<'_>) -> Option<Cmd> {
        self.mode.note_original();
        // rustyline goes on as it would without this handler.
        None
    }
}

/// Returns a message with its sender's address in a colour that is always the same for that address; a
/// message from the server itself in bold.
fn with_colour(msg: &str) -> String {
    // Our servers write `127.0.0.1:50312: text`; the Python servers write `('127.0.0.1', 50312): text`.
    match msg.split_once(": ") {
        Some(("server", _)) => format!("\x1b[1m{msg}\x1b[0m"),
        Some((sender, text)) => {
            // 31 to 36 are red, green, yellow, blue, magenta and cyan.
            let colour = 31 + sender.bytes().map(u32::from).sum::<u32>() % 6;
            format!("\x1b[{colour}m{sender}:\x1b[0m {text}")
        }
        None => msg.to_owned(),
    }
}

/// On other systems the terminal restores its mode when a program ends.
#[cfg(not(unix))]
// The functions have the same signatures as the functions for Unix.
#[allow(clippy::unnecessary_wraps, clippy::unused_self)]
mod mode {
    use std::io;
    use std::sync::Arc;

    use rustyline::KeyEvent;

    pub struct Mode;

    impl Mode {
        pub fn read() -> io::Result<Mode> {
            Ok(Mode)
        }

        pub fn watch_signals(
            self: &Arc<Self>,
            _block_main_thread: impl Fn() + Send + 'static,
            _redraw: impl FnMut() + Send + 'static,
        ) -> io::Result<()> {
            Ok(())
        }

        pub fn suspend_key(&self) -> KeyEvent {
            KeyEvent::ctrl('Z')
        }

        pub fn note_editing(&self) {}

        pub fn save_editing(&self) {}

        pub fn note_original(&self) {}

        pub fn restore(&self) {}
    }

    pub fn block_termination_signals() {}
}

/// On other systems the terminal breaks the line being typed.
#[cfg(not(unix))]
mod rows {
    use std::borrow::Cow;

    pub struct Rows<'a> {
        pub text: Cow<'a, str>,
        pub end_column: usize,
    }

    pub fn terminal_width() -> usize {
        0
    }

    pub fn break_into_rows(text: &str, column: usize, _width: usize) -> Rows<'_> {
        Rows { text: Cow::Borrowed(text), end_column: column }
    }
}
