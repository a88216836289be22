//! The log: lines on stderr that nobody ever waits for.
//!
//! A write to stderr blocks when it is a pipe that nobody reads or a terminal that is stopped, and
//! a server that blocks there serves nobody. So lines go into a queue, which is bounded in bytes,
//! and a thread of its own writes them, all that are there in one write. (`tracing-appender` does
//! nearly this; but it bounds lines, not bytes, and at the end it writes to the stuck stderr
//! itself.)

use std::env;
use std::io::{self, IsTerminal, Write};
use std::mem;
use std::panic;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use clap_verbosity_flag::{LogLevel, Verbosity};
use tracing::{error, warn};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::log_limit;
use crate::{printable, trace};

/// The bytes of log that wait for a reader; lines beyond them are counted and left out.
const WAITING_BYTES: usize = 4 * 1024 * 1024;

/// How long the end of the program waits for the last lines to be written.
const LAST_LINES: Duration = Duration::from_millis(500);

/// Starts the log: one line an event, on stderr, in colour if that is a terminal.
///
/// The level is that of `-v` and `-q` if there are any, else that of `RUST_LOG` (`debug`, or
/// `chat_poll=debug,info`), else `info`; a `RUST_LOG` that is mistyped changes nothing, and a warning
/// says so. A panic becomes a line of the log as well.
/// Lines go out in the order they came; nobody waits for stderr, and what it takes too late is
/// counted and left out. Keep the result until the program ends: it sees the last lines off.
///
/// ```
/// use clap_verbosity_flag::{InfoLevel, Verbosity};
/// use tincanchat::cli::start_log;
///
/// let _log = start_log(&Verbosity::<InfoLevel>::new(0, 0));
/// tracing::info!("a line on stderr");
/// ```
#[must_use]
pub fn start_log(verbosity: &Verbosity<impl LogLevel>) -> Log {
    start_log_to(verbosity, &[], |line| QUEUE.push(line))
}

/// The same without the lines of some libraries, up to `info`.
pub(super) fn start_log_without(verbosity: &Verbosity<impl LogLevel>, libraries: &[&str]) -> Log {
    start_log_to(verbosity, libraries, |line| QUEUE.push(line))
}

/// The same, but each line goes to `write`, which must not block.
pub(super) fn start_log_to(
    verbosity: &Verbosity<impl LogLevel>,
    without: &[&str],
    write: impl Fn(&[u8]) + Send + Sync + 'static,
) -> Log {
    let asked = env::var_os("RUST_LOG").filter(|_| !verbosity.is_present());
    let asked = asked.map(|text| text.to_string_lossy().into_owned());
    let levels = asked.as_deref().map_or(Ok(None), levels);
    let mistyped = levels.as_ref().err().copied();
    let default = || targets(verbosity.tracing_level_filter(), without);
    let levels = levels.ok().flatten().unwrap_or_else(default);
    let lines = tracing_subscriber::fmt::layer()
        .with_target(false)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(To(write));
    // It fails if there is a log already, which then goes on.
    let _ = tracing_subscriber::registry().with(lines).with(levels).try_init();
    if let Some(word) = mistyped {
        let word = printable(word);
        warn!("RUST_LOG is ignored: \"{word}\" is neither a level nor TARGET=LEVEL");
    }
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let why = panic.payload_as_str().unwrap_or("no text");
        error!("panic at {place}: {}", printable(why));
    }));
    Log(())
}

/// Reads the levels that `RUST_LOG` asks for, if there is something in it.
///
/// A word alone has to be a level. `Targets` would take any other word for a target, which gets all
/// levels, and everything else none: a mistyped level would silence the log.
///
/// # Errors
///
/// The part that is neither a level nor TARGET=LEVEL.
fn levels(text: &str) -> Result<Option<Targets>, &str> {
    let parts: Vec<_> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    if parts.is_empty() {
        return Ok(None);
    }
    for &part in &parts {
        let (target, level) = part.split_once('=').unwrap_or(("every target", part));
        // An empty word would be a level, too.
        let is_level = !level.is_empty() && level.parse::<LevelFilter>().is_ok();
        if target.is_empty() || !is_level {
            return Err(part);
        }
    }
    parts.join(",").parse().map(Some).map_err(|_| text)
}

fn targets(level: LevelFilter, without: &[&str]) -> Targets {
    let libraries = if level > LevelFilter::INFO { level } else { LevelFilter::OFF };
    Targets::new().with_default(level).with_targets(without.iter().map(|name| (*name, libraries)))
}

/// The log while it is running; see [`start_log`].
#[derive(Debug)]
pub struct Log(());

impl Log {
    /// Waits until all lines so far are written, and the trace, but not long: they may be stuck.
    pub(super) fn see_off() {
        trace::finish();
        log_limit::log_left_out();
        let lines = QUEUE.lines();
        let is_busy = |lines: &mut Lines| lines.is_writing || !lines.text.is_empty();
        let _ = QUEUE.written.wait_timeout_while(lines, LAST_LINES, is_busy);
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        Self::see_off();
    }
}

static QUEUE: Queue = Queue::new();

struct Queue {
    lines: Mutex<Lines>,
    filled: Condvar,
    written: Condvar,
}

struct Lines {
    text: Vec<u8>,
    left_out: usize,
    has_writer: bool,
    is_writing: bool,
}

impl Queue {
    const fn new() -> Self {
        let lines = Lines { text: Vec::new(), left_out: 0, has_writer: false, is_writing: false };
        Queue { lines: Mutex::new(lines), filled: Condvar::new(), written: Condvar::new() }
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&'static self, line: &[u8]) {
        let mut lines = self.lines();
        // Only a program that logs needs the thread, so a quiet one has none.
        if !lines.has_writer {
            let writer = thread::Builder::new().name("log".to_owned()).spawn(|| self.write_out());
            lines.has_writer = writer.is_ok();
        }
        if lines.text.len() + line.len() > WAITING_BYTES {
            lines.left_out += 1;
        } else {
            lines.text.extend_from_slice(line);
            self.filled.notify_one();
        }
    }

    fn write_out(&self) {
        let mut text = Vec::new();
        loop {
            let mut lines = self.lines();
            lines.is_writing = false;
            self.written.notify_all();
            lines = self
                .filled
                .wait_while(lines, |lines| lines.text.is_empty())
                .unwrap_or_else(PoisonError::into_inner);
            lines.is_writing = true;
            mem::swap(&mut text, &mut lines.text);
            let left_out = mem::take(&mut lines.left_out);
            drop(lines);
            if left_out > 0 {
                let note = format!("({left_out} lines of the log left out: nobody took them)\n");
                text.extend_from_slice(note.as_bytes());
            }
            // A full disk or a closed pipe costs these lines, and nothing else.
            let _ = io::stderr().write_all(&text);
            text.clear();
            text.shrink_to(64 * 1024);
        }
    }
}

/// Hands each line to a function.
struct To<F>(F);

impl<'a, F: Fn(&[u8]) + 'a> MakeWriter<'a> for To<F> {
    type Writer = To<&'a F>;

    fn make_writer(&'a self) -> Self::Writer {
        To(&self.0)
    }
}

impl<F: Fn(&[u8])> Write for To<&F> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        (self.0)(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn rust_log_is_a_list_of_levels_some_with_a_target() {
        for nothing in ["", " , "] {
            assert_eq!(levels(nothing), Ok(None));
        }
        let levels = levels("off, chat_poll=DEBUG ,").expect("levels").expect("not empty");
        assert!(levels.would_enable("chat_poll", &Level::DEBUG));
        assert!(!levels.would_enable("tincanchat", &Level::ERROR));
    }

    #[test]
    fn what_is_neither_a_level_nor_a_target_with_one_is_named() {
        for wrong in ["inof", "chat_poll", "chat_poll=", "=info", "a=b=info", "chat_poll=inof"] {
            let text = format!("warn,{wrong},debug");
            assert_eq!(levels(&text), Err(wrong));
        }
    }
}
