use std::collections::VecDeque;
use std::fmt;
use std::io::{ErrorKind, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::show::is_terminal_control;
use crate::{TIMEOUT, fail_timeout};

/// The lines that a program has printed so far on standard output or standard error, which a thread collects
/// while the program runs. A clone is the same collection.
#[derive(Clone, Debug, Default)]
pub struct OutputLines(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<String>,
    /// How many earlier lines were dropped.
    dropped: usize,
    /// Whether a thread collects the lines.
    is_collected: bool,
    /// Whether the output has ended.
    has_ended: bool,
}

impl State {
    /// Reports whether no more lines will be added: the output has ended, or is not collected.
    fn is_complete(&self) -> bool {
        self.has_ended || !self.is_collected
    }
}

/// How many bytes all servers of this process may still print.
static BYTES_LEFT: AtomicU64 = AtomicU64::new(u64::MAX);

/// The function to call when they print more.
static WHEN_EXCEEDED: OnceLock<fn()> = OnceLock::new();

/// Limits how many bytes the servers of this process may print, all together. When they have printed as many, calls
/// `when_exceeded` once, and reads no more of any output: a server that goes on printing then waits at a full
/// pipe, and takes neither memory nor processor time.
pub fn limit_output(bytes: u64, when_exceeded: fn()) {
    let _ = WHEN_EXCEEDED.set(when_exceeded);
    BYTES_LEFT.store(bytes, Ordering::Relaxed);
}

/// Counts bytes that were printed. Does not return if there are too many.
fn count_printed(len: usize) {
    let len = u64::try_from(len).unwrap_or(u64::MAX);
    let counted = BYTES_LEFT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
        // Zero once there were too many, so that the other threads stop as well.
        (left > 0).then(|| left.saturating_sub(len))
    });
    match counted {
        Ok(left) if left > len => return,
        Ok(_) => WHEN_EXCEEDED.get().into_iter().for_each(|exceeded| exceeded()),
        Err(_) => {}
    }
    loop {
        std::thread::park();
    }
}

/// How much is kept of an output.
#[derive(Clone, Copy, Debug)]
struct Kept {
    lines: usize,
    bytes_of_a_line: usize,
}

impl OutputLines {
    /// Collects all lines.
    pub(super) fn collect(pipe: impl Read + Send + 'static) -> Self {
        Self::collect_kept(pipe, Kept { lines: usize::MAX, bytes_of_a_line: usize::MAX })
    }

    /// Collects the last lines, and of each line only the beginning, so that a program that prints for days
    /// fills no memory.
    pub(super) fn collect_last(pipe: impl Read + Send + 'static) -> Self {
        Self::collect_kept(pipe, Kept { lines: 100, bytes_of_a_line: 1000 })
    }

    fn collect_kept(pipe: impl Read + Send + 'static, kept: Kept) -> Self {
        let lines = Self::default();
        lines.state().is_collected = true;
        let collected = lines.clone();
        std::thread::spawn(move || collected.read_to_end(pipe, kept));
        lines
    }

    fn read_to_end(&self, mut pipe: impl Read, kept: Kept) {
        let mut line = Vec::new();
        let mut buf = [0; 8192];
        loop {
            let len = match pipe.read(&mut buf) {
                Err(err) if err.kind() == ErrorKind::Interrupted => continue,
                Ok(0) | Err(_) => break,
                Ok(len) => len,
            };
            count_printed(len);
            for piece in buf[..len].split_inclusive(|byte| *byte == b'\n') {
                let text = piece.strip_suffix(b"\n").unwrap_or(piece);
                let room = kept.bytes_of_a_line - line.len();
                line.extend_from_slice(&text[..text.len().min(room)]);
                if text.len() < piece.len() {
                    self.push(&line, kept);
                    line.clear();
                }
            }
        }
        if !line.is_empty() {
            self.push(&line, kept);
        }
        self.state().has_ended = true;
        self.0.changed.notify_all();
    }

    fn push(&self, line: &[u8], kept: Kept) {
        let mut state = self.state();
        if state.lines.len() >= kept.lines {
            state.lines.pop_front();
            state.dropped += 1;
        }
        state.lines.push_back(String::from_utf8_lossy(line).into_owned());
        self.0.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports whether no more lines will be added: the output has ended, or is not collected.
    pub(super) fn is_complete(&self) -> bool {
        self.state().is_complete()
    }

    /// Returns the last lines of both outputs of a program as text, with `stdout| ` or `stderr| ` before each
    /// line.
    #[must_use]
    pub fn labelled(stdout: &Self, stderr: &Self) -> String {
        let marked = |mark: &str, lines: &Self| {
            let lines = lines.to_string();
            lines.lines().flat_map(|line| [mark, "| ", line, "\n"]).collect::<String>()
        };
        marked("stdout", stdout) + &marked("stderr", stderr)
    }

    /// Returns the lines so far.
    #[must_use]
    pub fn so_far(&self) -> Vec<String> {
        self.state().lines.iter().cloned().collect()
    }

    /// Returns how many of the lines so far are wanted.
    pub fn count(&self, wanted: impl Fn(&str) -> bool) -> usize {
        self.state().lines.iter().filter(|line| wanted(line)).count()
    }

    /// Returns the wanted lines so far.
    pub fn matching(&self, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        self.state().lines.iter().filter(|line| wanted(line)).cloned().collect()
    }

    /// Waits for a wanted line, at most `within`. The line may have been printed before the call. Returns `None`
    /// at once if no more lines will be added.
    pub fn wait_for(&self, within: Duration, wanted: impl Fn(&str) -> bool) -> Option<String> {
        let deadline = Instant::now() + within;
        let mut state = self.state();
        let mut seen = 0_usize;
        loop {
            // `seen` also counts the lines that have been dropped since.
            let mut new = state.lines.iter().skip(seen.saturating_sub(state.dropped));
            if let Some(line) = new.find(|line| wanted(line)) {
                return Some(line.clone());
            }
            seen = state.dropped + state.lines.len();
            let left = deadline.saturating_duration_since(Instant::now());
            if state.is_complete() || left.is_zero() {
                return None;
            }
            let woken = self.0.changed.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until no more lines will be added, at most `within`, and reports whether that is so.
    #[allow(clippy::must_use_candidate)]
    pub fn wait_for_end(&self, within: Duration) -> bool {
        let is_open = |state: &mut State| !state.is_complete();
        let waited = self.0.changed.wait_timeout_while(self.state(), within, is_open);
        waited.unwrap_or_else(PoisonError::into_inner).0.is_complete()
    }

    /// Waits for the end of the output, and returns all lines.
    ///
    /// # Errors
    ///
    /// The output does not end: the program, or a process that it has started, still runs.
    pub fn all(&self) -> Result<Vec<String>> {
        if !self.wait_for_end(TIMEOUT) {
            return fail_timeout("waited for the end of the server's output", "the end", self);
        }
        Ok(self.so_far())
    }
}

/// Shows the last lines.
impl fmt::Display for OutputLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MAX_LINES: usize = 15;
        const MAX_CHARS: usize = 160;
        let state = self.state();
        let not_shown = state.lines.len().saturating_sub(MAX_LINES);
        if state.dropped + not_shown > 0 {
            writeln!(f, "… {} earlier lines", state.dropped + not_shown)?;
        }
        for line in state.lines.iter().skip(not_shown) {
            // The line may contain text that a client has sent.
            let shown = line.chars().take(MAX_CHARS).map(|ch| match ch {
                ch if is_terminal_control(ch) && ch != '\t' => ch.escape_default().to_string(),
                ch => ch.to_string(),
            });
            writeln!(f, "{}", shown.collect::<String>())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io::Write as _;

    use super::*;

    #[test]
    fn all_lines_are_collected() -> Result<()> {
        let lines = OutputLines::collect(&b"one\n\ntwo\nthree"[..]);
        assert_eq!(lines.all()?, ["one", "", "two", "three"]);
        Ok(())
    }

    #[test]
    fn the_last_lines_are_collected_and_long_ones_are_shortened() -> Result<()> {
        let text = format!("{}{}\n", "line\n".repeat(150), "x".repeat(20_000));
        let output = OutputLines::collect_last(std::io::Cursor::new(text));
        let lines = output.all()?;
        assert_eq!(lines.len(), 100);
        assert_eq!(lines[99], "x".repeat(1000));
        assert!(output.to_string().starts_with("… 136 earlier lines\n"), "{output}");
        Ok(())
    }

    #[test]
    fn a_line_is_found_after_others_were_dropped() -> Result<()> {
        let (pipe, writer) = std::io::pipe()?;
        let output = OutputLines::collect_last(pipe);
        (&writer).write_all(format!("{}last\n", "line\n".repeat(150)).as_bytes())?;
        let is_written = Cell::new(false);
        let found = output.wait_for(TIMEOUT, |line| {
            // The wanted line is printed only after all other lines were seen.
            if line == "last" && !is_written.replace(true) {
                (&writer).write_all(b"wanted\n").unwrap();
            }
            line == "wanted"
        });
        assert_eq!(found.as_deref(), Some("wanted"));
        Ok(())
    }

    #[test]
    fn nothing_waits_for_lines_that_are_not_collected() {
        let begin = Instant::now();
        assert_eq!(OutputLines::default().wait_for(TIMEOUT, |_| true), None);
        assert!(begin.elapsed() < TIMEOUT);
    }
}
