//! Output of a server that must not have a second thread: one process writes the log, another the line
//! on stdout.
//!
//! Nobody may wait for stderr or stdout, which may be a pipe that nobody reads. The house's log has a
//! thread for that. Here lines go, from the server and from its workers, into a socket that takes them
//! or not, and a process takes them out and writes them.

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use std::{process, thread};

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus};
use nix::unistd::{ForkResult, Pid};
use tincanchat::retry_interrupted;

use crate::processes::{fork, wait_for};

/// How often, and how many times, the end of the server looks whether the last lines are written; and
/// how many times its start looks whether its line is written.
const LOOK_EVERY: Duration = Duration::from_millis(5);
const LOOKS: usize = 100;
const LOOKS_AT_START: usize = 20;

/// A process that writes lines; dropping it waits for the last ones.
pub struct WriterProcess {
    pid: Pid,
    /// Takes lines until the last one has been written.
    lines: Option<Arc<UnixStream>>,
}

impl WriterProcess {
    /// Starts it. The signals that are held back stay so in it: its end is the end of the lines.
    pub fn start(output: impl io::Write) -> Result<Self> {
        let (lines, to_write) = UnixStream::pair()?;
        lines.set_nonblocking(true)?;
        match fork().context("cannot start the process that writes the output")? {
            ForkResult::Child => {
                drop(lines);
                write_out(to_write, output)
            }
            ForkResult::Parent { child } => {
                Ok(WriterProcess { pid: child, lines: Some(Arc::new(lines)) })
            }
        }
    }

    /// Returns a function that hands a line to the process, or leaves the line out if the socket is full.
    /// Linux takes a line as a whole or not at all.
    pub fn writer(&self) -> impl Fn(&[u8]) + use<> {
        let (lines, left_out) = (self.lines.clone(), AtomicUsize::new(0));
        move |line| {
            let before = left_out.swap(0, Ordering::Relaxed);
            let note = format!("({before} lines of the log left out: nobody took them)\n");
            let note = if before == 0 { "" } else { &note };
            let text = [note.as_bytes(), line].concat();
            if lines
                .as_deref()
                .is_none_or(|mut lines| retry_interrupted(|| lines.write(&text)).is_err())
            {
                left_out.fetch_add(before + 1, Ordering::Relaxed);
            }
        }
    }

    /// Writes a line after which there will be none: the process ends when it has written it, and is
    /// waited for a moment.
    pub fn write_last(&mut self, line: &[u8]) {
        if let Some(mut lines) = self.lines.as_deref() {
            let _ = retry_interrupted(|| lines.write(line)); // a new socket has room for a line
        }
        self.ends_within(LOOKS_AT_START);
    }

    /// Ends the lines, and reports whether the process has ended after at most `looks` checks.
    fn ends_within(&mut self, looks: usize) -> bool {
        if let Some(lines) = self.lines.take() {
            // Closing it is not enough: others may have the socket as well.
            let _ = lines.shutdown(Shutdown::Write);
        }
        for _ in 0..looks {
            // An error if the server's loop has waited for it already.
            let waited = wait_for(Some(self.pid), Some(WaitPidFlag::WNOHANG));
            if !matches!(waited, Ok(WaitStatus::StillAlive)) {
                return true;
            }
            thread::sleep(LOOK_EVERY);
        }
        false
    }
}

impl Drop for WriterProcess {
    fn drop(&mut self) {
        if !self.ends_within(LOOKS) {
            // It waits for somebody who reads.
            let _ = kill(self.pid, Signal::SIGKILL);
            let _ = wait_for(Some(self.pid), None);
        }
    }
}

fn write_out(mut lines: UnixStream, mut output: impl io::Write) -> ! {
    let mut text = vec![0; 64 * 1024];
    while let Ok(len @ 1..) = retry_interrupted(|| lines.read(&mut text)) {
        let _ = output.write_all(&text[..len]); // a full disk or a closed pipe costs these lines
    }
    process::exit(0)
}
