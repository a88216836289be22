//! The log of a server that must not have a second thread: a process writes it.
//!
//! Nobody may wait for stderr, which may be a pipe that nobody reads. The house's log has a thread for
//! that. Here lines go, from the server and from its workers, into a socket that takes them or not, and
//! a process takes them out and writes them.

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

use crate::processes::{fork, wait_for};
use crate::server::retry_interrupted;

/// How often, and how many times, the end of the server looks whether the last lines are written.
const LOOK_EVERY: Duration = Duration::from_millis(5);
const LOOKS: usize = 100;

/// The process that writes the log; dropping it sees the last lines off.
pub struct LogProcess {
    pid: Pid,
    lines: Arc<UnixStream>,
}

impl LogProcess {
    /// Starts it. The signals that are held back stay so in it: its end is the end of the lines.
    pub fn start() -> Result<Self> {
        let (lines, to_write) = UnixStream::pair()?;
        lines.set_nonblocking(true)?;
        match fork().context("no process for the log")? {
            ForkResult::Child => {
                drop(lines);
                write_out(to_write)
            }
            ForkResult::Parent { child } => Ok(LogProcess { pid: child, lines: Arc::new(lines) }),
        }
    }

    /// What takes a line, or leaves it out. Linux takes a line as a whole or not at all.
    pub fn writer(&self) -> impl Fn(&[u8]) + use<> {
        let (lines, left_out) = (Arc::clone(&self.lines), AtomicUsize::new(0));
        move |line| {
            let before = left_out.swap(0, Ordering::Relaxed);
            let note = format!("({before} lines of the log left out: nobody took them)\n");
            let note = if before == 0 { "" } else { &note };
            let bytes = [note.as_bytes(), line].concat();
            if retry_interrupted(|| (&*lines).write(&bytes)).is_err() {
                left_out.fetch_add(before + 1, Ordering::Relaxed);
            }
        }
    }
}

impl Drop for LogProcess {
    fn drop(&mut self) {
        let _ = self.lines.shutdown(Shutdown::Write);
        for _ in 0..LOOKS {
            if wait_for(Some(self.pid), Some(WaitPidFlag::WNOHANG)) != Ok(WaitStatus::StillAlive) {
                return;
            }
            thread::sleep(LOOK_EVERY);
        }
        // It waits for somebody who reads.
        let _ = kill(self.pid, Signal::SIGKILL);
        let _ = wait_for(Some(self.pid), None);
    }
}

fn write_out(mut lines: UnixStream) -> ! {
    let mut text = vec![0; 64 * 1024];
    while let Ok(len @ 1..) = retry_interrupted(|| lines.read(&mut text)) {
        let _ = io::stderr().write_all(&text[..len]); // a full disk or a closed pipe costs these lines
    }
    process::exit(0)
}
