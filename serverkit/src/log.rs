//! The log: lines on stderr. The server never waits until they are written.
//!
//! A write to stderr blocks when stderr is a pipe that is not read or a terminal that is stopped, and a
//! server that blocks there serves no client. So the lines go into a queue with a limit in bytes, and a
//! thread writes all queued lines at once. (`tracing-appender` does nearly the same. But its limit is a
//! number of lines, not of bytes, and at the end of the program it writes to the blocked stderr itself.)

use std::env;
use std::io::{self, IsTerminal, Write};
use std::mem;
use std::panic;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use clap_verbosity_flag::{LogLevel, Verbosity};
use tincanchat::printable;
use tracing::{error, warn};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::{log_limit, trace};

/// The most bytes of lines that wait to be written. Further lines are counted and left out.
const QUEUE_BYTES: usize = 4 * 1024 * 1024;

/// How long the program waits at its end until the last lines are written.
const LAST_LINES: Duration = Duration::from_millis(500);

/// How much of its buffer the thread that writes the lines keeps while it has nothing to write, in bytes.
const KEPT_BYTES: usize = 64 * 1024;

/// Starts the log: one line for each event, on stderr, in colour if stderr is a terminal.
///
/// `-v` and `-q` set the level. Without them, `RUST_LOG` sets it (to `debug`, or `chat_poll=debug,info`),
/// and without that the level is `info`. If `RUST_LOG` is mistyped, a warning says so, and `RUST_LOG` has
/// no effect. A panic becomes a line of the log too.
///
/// No other thread waits for stderr. If nothing reads stderr, the lines that do not fit into the queue are
/// counted and left out. Keep the result until the program ends: dropping it waits until the last lines
/// have been written, for up to 500 ms.
///
/// ```
/// use clap_verbosity_flag::{InfoLevel, Verbosity};
/// use serverkit::start_log;
///
/// let _log = start_log(&Verbosity::<InfoLevel>::new(0, 0));
/// tracing::info!("a line on stderr");
/// ```
#[must_use]
pub fn start_log(verbosity: &Verbosity<impl LogLevel>) -> Log {
    start_log_to(verbosity, &[], |line| QUEUE.push(line))
}

/// Does the same, but leaves out the lines of these libraries, unless the level is more detailed than
/// `info`.
pub(crate) fn start_log_without(verbosity: &Verbosity<impl LogLevel>, libraries: &[&str]) -> Log {
    start_log_to(verbosity, libraries, |line| QUEUE.push(line))
}

/// Does the same, but passes each line to `write`. All clients wait while it blocks.
pub(crate) fn start_log_to(
    verbosity: &Verbosity<impl LogLevel>,
    without: &[&str],
    write: impl Fn(&[u8]) + Send + Sync + 'static,
) -> Log {
    let mut levels = default_levels(verbosity.tracing_level_filter(), without);
    let mut mistyped = None;
    // -v and -q take precedence over RUST_LOG.
    if !verbosity.is_present()
        && let Some(text) = env::var_os("RUST_LOG")
    {
        match parse_levels(&text.to_string_lossy()) {
            Ok(Some(asked)) => levels = asked,
            Ok(None) => {} // it is empty
            Err(part) => mistyped = Some(part),
        }
    }
    let lines = tracing_subscriber::fmt::layer()
        .with_target(false)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(LineWriter(write));
    // An error means that there is a log already, which stays in use.
    let _ = tracing_subscriber::registry().with(lines).with(levels).try_init();
    if let Some(part) = mistyped {
        let part = printable(&part);
        warn!("RUST_LOG is ignored: \"{part}\" is neither a level nor TARGET=LEVEL");
    }
    // Before the hook for panics, which passes a fail point: if `FAILPOINTS` is mistyped, this panics while it
    // holds the lock that a fail point needs.
    #[cfg(feature = "failpoints")]
    set_failpoints();
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let why = panic.payload_as_str().unwrap_or("without a message");
        error!("panic at {place}: {}", printable(why));
    }));
    Log(())
}

/// Sets the fail points as the variable `FAILPOINTS` says, until the program ends.
#[cfg(feature = "failpoints")]
fn set_failpoints() {
    // A program may start a log twice. The scenario holds a lock, so a second one would wait forever.
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| mem::forget(fail::FailScenario::setup())); // dropping it would reset the points
}

/// Returns the levels that apply without `RUST_LOG`: `level` for all targets, except that these libraries
/// are off unless `level` is more detailed than `info`.
fn default_levels(level: LevelFilter, without: &[&str]) -> Targets {
    let libraries = if level > LevelFilter::INFO { level } else { LevelFilter::OFF };
    Targets::new().with_default(level).with_targets(without.iter().map(|name| (*name, libraries)))
}

/// Parses the levels in `RUST_LOG`; returns `None` if it is empty.
///
/// A part without `=` must be a level. `Targets` itself would take any other word for a target, enable all
/// levels for it, and turn all other targets off: a mistyped level would turn the log off.
///
/// # Errors
///
/// Returns the part that is neither a level nor `TARGET=LEVEL`.
fn parse_levels(text: &str) -> Result<Option<Targets>, String> {
    let parts: Vec<_> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    if parts.is_empty() {
        return Ok(None);
    }
    for &part in &parts {
        let (target, level) = part.split_once('=').unwrap_or(("all targets", part));
        // An empty text would also be accepted as a level.
        let is_level = !level.is_empty() && level.parse::<LevelFilter>().is_ok();
        if target.is_empty() || !is_level {
            return Err(part.to_owned());
        }
    }
    match parts.join(",").parse() {
        Ok(levels) => Ok(Some(levels)),
        Err(_) => Err(text.to_owned()),
    }
}

/// The log. Dropping it waits until the last lines are written: see [`start_log`].
#[derive(Debug)]
pub struct Log(());

impl Log {
    /// Waits until all lines so far, and the trace, have been written. Waits no longer than 500 ms for
    /// each, because stderr may be blocked.
    pub(crate) fn flush() {
        trace::finish();
        log_limit::log_left_out();
        let lines = QUEUE.lines();
        let is_busy = |lines: &mut Lines| lines.is_writing || !lines.text.is_empty();
        let _ = QUEUE.written.wait_timeout_while(lines, LAST_LINES, is_busy);
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        Self::flush();
    }
}

static QUEUE: Queue = Queue::new();

/// The queue between the threads that log and the thread that writes.
struct Queue {
    lines: Mutex<Lines>,
    /// Signalled when lines have been added.
    added: Condvar,
    /// Signalled when lines have been written.
    written: Condvar,
}

struct Lines {
    /// The lines that wait, one after the other.
    text: Vec<u8>,
    /// How many lines have been left out since the last write.
    left_out: usize,
    has_writer: bool,
    is_writing: bool,
}

impl Queue {
    const fn new() -> Self {
        let lines = Lines { text: Vec::new(), left_out: 0, has_writer: false, is_writing: false };
        Queue { lines: Mutex::new(lines), added: Condvar::new(), written: Condvar::new() }
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line, or leaves it out if the queue is full. Does not block.
    fn push(&'static self, line: &[u8]) {
        let mut lines = self.lines();
        // The thread starts with the first line: a program that logs nothing does not need it.
        if !lines.has_writer {
            let writer = thread::Builder::new().name("log".to_owned()).spawn(|| self.write_lines());
            lines.has_writer = writer.is_ok();
        }
        if lines.text.len() + line.len() > QUEUE_BYTES {
            lines.left_out += 1;
        } else {
            lines.text.extend_from_slice(line);
            self.added.notify_one();
        }
    }

    /// Runs forever, and writes the lines that are added.
    fn write_lines(&self) {
        let mut text = Vec::new();
        loop {
            let mut lines = self.lines();
            lines.is_writing = false;
            self.written.notify_all();
            lines = self
                .added
                .wait_while(lines, |lines| lines.text.is_empty())
                .unwrap_or_else(PoisonError::into_inner);
            lines.is_writing = true;
            mem::swap(&mut text, &mut lines.text);
            let left_out = mem::take(&mut lines.left_out);
            drop(lines); // lines can be added while this thread writes
            if left_out > 0 {
                let note = format!("({left_out} log lines left out: stderr is not read)\n");
                text.extend_from_slice(note.as_bytes());
            }
            let _ = io::stderr().write_all(&text); // a full disk or a closed pipe loses these lines
            text.clear();
            text.shrink_to(KEPT_BYTES);
        }
    }
}

/// Passes each line to a function. tracing-subscriber makes one `write` call for each line.
struct LineWriter<F>(F);

impl<'a, F: Fn(&[u8]) + 'a> MakeWriter<'a> for LineWriter<F> {
    type Writer = LineWriter<&'a F>;

    fn make_writer(&'a self) -> Self::Writer {
        LineWriter(&self.0)
    }
}

impl<F: Fn(&[u8])> Write for LineWriter<&F> {
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
    fn rust_log_is_a_list_of_levels_with_or_without_a_target() {
        for nothing in ["", " , "] {
            assert_eq!(parse_levels(nothing), Ok(None));
        }
        let levels = parse_levels("off, chat_poll=DEBUG ,").expect("levels").expect("not empty");
        assert!(levels.would_enable("chat_poll", &Level::DEBUG));
        assert!(!levels.would_enable("tincanchat", &Level::ERROR));
    }

    #[test]
    fn a_part_that_is_neither_a_level_nor_target_and_level_is_an_error() {
        for wrong in ["inof", "chat_poll", "chat_poll=", "=info", "a=b=info", "chat_poll=inof"] {
            let text = format!("warn,{wrong},debug");
            assert_eq!(parse_levels(&text), Err(wrong.to_owned()));
        }
    }
}
