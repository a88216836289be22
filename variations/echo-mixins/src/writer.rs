//! Processes that write the log and the line on stdout, for a server that must not have a second thread.
//!
//! If stderr or stdout is a full pipe that no process reads, a write to it blocks, and a server that blocks
//! there serves no client. With threads, a thread of `serverkit` writes the log, so that only this thread
//! blocks. Here, a process writes it. The server and its workers send their lines to this process through a
//! socket. While the socket is full, they drop lines.

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{process, thread};

use anyhow::{Context as _, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus};
use nix::unistd::{ForkResult, Pid};
use tincanchat::retry_interrupted;

use crate::processes::{fork, wait_for};

/// How long the server waits at its start for its line on stdout to be written.
const START_TIMEOUT: Duration = Duration::from_millis(100);

/// How long the server waits at its end for the last lines to be written.
const END_TIMEOUT: Duration = Duration::from_millis(500);

/// How long the server, or a worker, waits in all until there is room for lines.
const MAX_WAIT: Duration = Duration::from_millis(500);

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
        lines.set_nonblocking(true)?;
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

    /// Returns a function that sends a line to the process. If the socket is full, the function drops the
    /// line, and the next line says how many lines are missing. Before that, it waits for room, but in all
    /// for at most 500 ms: after a burst of lines, the process may not have been scheduled yet.
    pub fn writer(&self) -> impl Fn(&[u8]) + use<> {
        let lines = self.lines.clone();
        let dropped = Mutex::new(Dropped { by: process::id(), count: 0, waited: Duration::ZERO });
        move |line| {
            let mut dropped = dropped.lock().unwrap_or_else(PoisonError::into_inner);
            if dropped.by != process::id() {
                // This is a worker. The server itself reports the lines that it has dropped.
                *dropped = Dropped { by: process::id(), count: 0, ..*dropped };
            }
            let mut text = Vec::new();
            if dropped.count > 0 {
                let note = format!("({} log lines left out: stderr is not read)\n", dropped.count);
                text.extend_from_slice(note.as_bytes());
            }
            text.extend_from_slice(line);
            let is_sent = lines.as_deref().is_some_and(|lines| {
                send(lines, &text) || dropped.wait_for_room(lines) && send(lines, &text)
            });
            dropped.count = if is_sent { 0 } else { dropped.count + 1 };
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

/// Sends a text, and reports whether that succeeded. Linux accepts a text as a whole or not at all, so lines of
/// several workers do not mix.
fn send(mut lines: &UnixStream, text: &[u8]) -> bool {
    retry_interrupted(|| lines.write(text)).is_ok()
}

/// The lines that a process could not send.
#[derive(Clone, Copy)]
struct Dropped {
    /// The id of the process. A worker starts with a copy of what the server has here.
    by: u32,
    /// How many lines were dropped since the last one that was sent.
    count: usize,
    /// How long the process has waited for room.
    waited: Duration,
}

impl Dropped {
    /// Waits until the socket has room, and reports whether it has. Does not wait if the process has waited
    /// for 500 ms already: a slow reader of stderr must not delay each line.
    fn wait_for_room(&mut self, lines: &UnixStream) -> bool {
        let left = MAX_WAIT.saturating_sub(self.waited);
        let begin = Instant::now();
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        let mut writable = [PollFd::new(lines.as_fd(), PollFlags::POLLOUT)];
        let has_room = matches!(poll(&mut writable, timeout), Ok(1));
        self.waited += begin.elapsed();
        has_room
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
