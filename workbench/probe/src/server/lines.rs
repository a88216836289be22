use std::fmt;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::show::is_obeyed;
use crate::{PATIENCE, fail, wait_until};

/// The lines that a program has printed so far, collected while it runs.
#[derive(Clone, Debug, Default)]
pub struct Lines(Arc<Shared>);

#[derive(Debug, Default)]
pub(super) struct Shared {
    state: Mutex<Printed>,
    changed: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct Printed {
    pub(super) lines: Vec<String>,
    pub(super) collected: bool,
    pub(super) ended: bool,
}

impl Lines {
    pub(super) fn collect(pipe: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        lines.state().collected = true;
        let collected = lines.clone();
        std::thread::spawn(move || collected.read_all(pipe));
        lines
    }

    fn read_all(&self, pipe: impl Read) {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            let text = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(&line));
            self.state().lines.push(text.into_owned());
            self.0.changed.notify_all();
            line.clear();
        }
        self.state().ended = true;
        self.0.changed.notify_all();
    }

    /// Keeps the last lines alone, and of each only its beginning: whoever prints for days fills no
    /// memory.
    pub(super) fn collect_last(pipe: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        lines.state().collected = true;
        let collected = lines.clone();
        std::thread::spawn(move || collected.read_last(pipe));
        lines
    }

    fn read_last(&self, mut pipe: impl Read) {
        const LINES: usize = 100;
        const BYTES: usize = 1000;
        let mut line = Vec::new();
        let mut buffer = [0; 8192];
        let keep = |text: &[u8]| {
            let mut state = self.state();
            if state.lines.len() >= LINES {
                state.lines.remove(0);
            }
            state.lines.push(String::from_utf8_lossy(text).into_owned());
        };
        loop {
            let len = match pipe.read(&mut buffer) {
                Err(err) if err.kind() == ErrorKind::Interrupted => continue,
                Ok(0) | Err(_) => break,
                Ok(len) => len,
            };
            for &byte in &buffer[..len] {
                match byte {
                    b'\n' => keep(&std::mem::take(&mut line)),
                    byte if line.len() < BYTES => line.push(byte),
                    _ => {}
                }
            }
            self.0.changed.notify_all();
        }
        if !line.is_empty() {
            keep(&line);
        }
        self.state().ended = true;
        self.0.changed.notify_all();
    }

    pub(super) fn state(&self) -> MutexGuard<'_, Printed> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ends of both outputs of a program, each line marked with where it was printed.
    #[must_use]
    pub fn marked(stdout: &Self, stderr: &Self) -> String {
        let marked = |mark: &str, lines: &Self| {
            let lines = lines.to_string();
            lines.lines().flat_map(|line| [mark, "| ", line, "\n"]).collect::<String>()
        };
        marked("stdout", stdout) + &marked("stderr", stderr)
    }

    /// The lines so far.
    #[must_use]
    pub fn so_far(&self) -> Vec<String> {
        self.state().lines.clone()
    }

    /// How many lines so far fit.
    pub fn count(&self, wanted: impl Fn(&str) -> bool) -> usize {
        self.state().lines.iter().filter(|line| wanted(line)).count()
    }

    /// Waits for a line that fits, one printed already included.
    pub fn wait_for(&self, within: Duration, wanted: impl Fn(&str) -> bool) -> Option<String> {
        let until = Instant::now() + within;
        let mut state = self.state();
        let mut seen = 0;
        loop {
            if let Some(line) = state.lines[seen..].iter().find(|line| wanted(line)) {
                return Some(line.clone());
            }
            seen = state.lines.len();
            let left = until.saturating_duration_since(Instant::now());
            if state.ended || left.is_zero() {
                return None;
            }
            let woken = self.0.changed.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// All lines of a program that has ended.
    pub fn all(&self) -> Result<Vec<String>> {
        if self.state().collected && !wait_until(PATIENCE, || Ok(self.state().ended))? {
            return fail("waited for the end of what it prints", "an end", self);
        }
        Ok(self.so_far())
    }
}

/// Shows the last lines.
impl fmt::Display for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LAST: usize = 15;
        let lines = self.so_far();
        if lines.len() > LAST {
            writeln!(f, "… {} lines before", lines.len() - LAST)?;
        }
        for line in lines.iter().skip(lines.len().saturating_sub(LAST)) {
            // The server may have printed what a client has sent it.
            let shown = line.chars().take(160).map(|ch| match ch {
                ch if is_obeyed(ch) && ch != '\t' => ch.escape_default().to_string(),
                ch => ch.to_string(),
            });
            writeln!(f, "{}", shown.collect::<String>())?;
        }
        Ok(())
    }
}
