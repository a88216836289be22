//! Processes that write the log and the line on stdout, for a server that must not have a second thread.
//!
//! If stderr or stdout is a pipe that no process reads, a write to it blocks, and a server that blocks
//! there serves no client. With threads, a thread of `serverkit` writes the log, so that only this thread
//! blocks. Here, a process writes it. The server and its workers send their lines to this process through a
//! socket. If the process does not read, the server drops lines.

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{process, thread};

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus};
use nix::unistd::{ForkResult, Pid};
use tincanchat::retry_interrupted;

use crate::processes::{fork, wait_for};

/// How long the server waits at its start for its line on stdout to be written.
const START_TIMEOUT: Duration = Duration::from_millis(100);

/// How long the server waits at its end for the last lines to be written.
const END_TIMEOUT: Duration = Duration::from_millis(500);

/// How long a line waits, if the socket is full, until the process has read from it.
const WRITE_TIMEOUT: Duration = Duration::from_millis(500);

/// How often the server checks, while it waits, whether the process has ended.
const CHECK_INTERVAL: Duration = Duration::from_millis(5);

/// A process that writes lines to stdout or stderr. Dropping this waits for up to 500 ms until the last
/// line is written.
pub struct WriterProcess {
    pid: Pid,
    /// The end of the socket to which lines are written. `None` after the last line.
    lines: Option<Arc<UnixStream>>,
}

impl WriterProcess {
    /// Starts the process.
    ///
    /// Call this while SIGINT and SIGTERM are blocked. They stay blocked in the new process, so that
    /// Ctrl-C, which sends SIGINT to all processes in the terminal, does not end it before it has written
    /// the last line.
    ///
    /// # Errors
    ///
    /// The errors of creating the socket and of [`fork`].
    pub fn start(output: impl io::Write) -> Result<Self> {
        let (lines, receiver) = UnixStream::pair()?;
        lines.set_write_timeout(Some(WRITE_TIMEOUT))?;
        match fork().context("cannot start the process that writes the output")? {
            ForkResult::Child => {
                drop(lines);
                write_lines(receiver, output)
            }
            ForkResult::Parent { child } => {
                Ok(WriterProcess { pid: child, lines: Some(Arc::new(lines)) })
            }
        }
    }

    /// Returns a function that sends a line to the process. If the socket is full, the line waits for up to
    /// 500 ms: after a burst of lines, the process may not have had a turn yet. Then the function drops the
    /// line, and the next line says how many lines are missing. No further line waits until one is sent.
    pub fn writer(&self) -> impl Fn(&[u8]) + use<> {
        let lines = self.lines.clone();
        let left_out = AtomicUsize::new(0);
        move |line| {
            let missing = left_out.swap(0, Ordering::Relaxed);
            let mut text = Vec::new();
            if missing > 0 {
                let note = format!("({missing} log lines left out: stderr is not read)\n");
                text.extend_from_slice(note.as_bytes());
            }
            text.extend_from_slice(line);
            let is_sent = match lines.as_deref() {
                // Linux accepts a line as a whole or not at all, so lines of several workers do not mix.
                Some(mut lines) => {
                    let is_sent = retry_interrupted(|| lines.write(&text)).is_ok();
                    let _ = lines.set_nonblocking(!is_sent);
                    is_sent
                }
                None => false,
            };
            if !is_sent {
                left_out.fetch_add(missing + 1, Ordering::Relaxed);
            }
        }
    }

    /// Sends one line, after which the process ends. Waits for up to 100 ms until the line is written.
    pub fn write_last(&mut self, line: &[u8]) {
        if let Some(mut lines) = self.lines.as_deref() {
            let _ = retry_interrupted(|| lines.write(line)); // a new socket has room for a line
        }
        self.end_lines();
        self.has_ended_within(START_TIMEOUT);
    }

    /// Tells the process that there will be no more lines. The process ends after the last one.
    fn end_lines(&mut self) {
        if let Some(lines) = self.lines.take() {
            // Dropping the socket is not enough: the workers and the function of `writer` have copies of
            // it.
            let _ = lines.shutdown(Shutdown::Write);
        }
    }

    /// Waits for up to `timeout` until the process has ended; reports whether it has.
    fn has_ended_within(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        loop {
            // An error means that the accept loop has already waited for the process: it has ended.
            let status = wait_for(Some(self.pid), Some(WaitPidFlag::WNOHANG));
            if !matches!(status, Ok(WaitStatus::StillAlive)) {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(CHECK_INTERVAL);
        }
    }
}

impl Drop for WriterProcess {
    fn drop(&mut self) {
        self.end_lines();
        if !self.has_ended_within(END_TIMEOUT) {
            // The process is blocked in a write: no process reads stdout or stderr.
            let _ = kill(self.pid, Signal::SIGKILL);
            let _ = wait_for(Some(self.pid), None);
        }
    }
}

/// Writes lines to `output` until there are no more, and ends the process.
fn write_lines(mut receiver: UnixStream, mut output: impl io::Write) -> ! {
    let mut text = vec![0; 64 * 1024];
    // 0 means that there are no more lines: the server has shut down the socket, or the server has been
    // killed and all workers have ended.
    while let Ok(len @ 1..) = retry_interrupted(|| receiver.read(&mut text)) {
        let _ = output.write_all(&text[..len]); // a full disk or a closed pipe loses these lines
    }
    process::exit(0)
}
