//! A process for each client.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::{fs, io, process};

use anyhow::{Result, anyhow};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{self, ForkResult, Pid};
use tincanchat::cli::{Seat, announce_to, caught, log_end, warn_not_started};
use tincanchat::retry_interrupted;

use crate::log::WriterProcess;
use crate::server::{Mixin, Signals, handle_client};

/// The exit code of a worker whose failure has no number of the system's.
const OTHER: u8 = u8::MAX;

/// Those that serve, and whom.
pub struct Processes<'a> {
    signals: &'a Signals,
    stdout: WriterProcess,
    seats: HashMap<Pid, Seat>,
}

impl<'a> Processes<'a> {
    pub fn new(signals: &'a Signals, stdout: WriterProcess) -> Self {
        Processes { signals, stdout, seats: HashMap::new() }
    }
}

impl Mixin for Processes<'_> {
    fn announce(&mut self, listener: &TcpListener) -> io::Result<()> {
        announce_to(listener, |line| self.stdout.write_last(line))
    }

    fn process_request(&mut self, sock: TcpStream, seat: Seat, listener: &mut Option<TcpListener>) {
        let addr = seat.addr();
        match fork() {
            Ok(ForkResult::Child) => {
                listener.take(); // or the port would be in use for as long as this process lives
                work(self.signals, sock, addr)
            }
            Ok(ForkResult::Parent { child }) => _ = self.seats.insert(child, seat),
            Err(err) => warn_not_started(addr, "a process", &err),
        } // the socket is closed here, and stays open in the child
    }

    /// Waits for those that have ended: until then a process is a zombie, with a number and an end.
    fn service_actions(&mut self) {
        while let Ok(ended) = wait_for(None, Some(WaitPidFlag::WNOHANG)) {
            let Some(pid) = ended.pid() else { break };
            // One that has no seat has written the log, or the line on stdout.
            if let Some(seat) = self.seats.remove(&pid) {
                log_end(&seat, said(ended));
            }
        }
    }

    /// A worker has nothing to finish, and one that stands still would not take SIGTERM.
    fn server_close(&mut self) {
        for pid in self.seats.keys() {
            let _ = kill(*pid, Signal::SIGKILL); // its number is its own until it is waited for
        }
        for (pid, _) in self.seats.drain() {
            let _ = wait_for(Some(pid), None);
        }
    }
}

/// A worker's life. It ends with all that it can say: one byte, 0 or the number of an error.
fn work(signals: &Signals, sock: TcpStream, addr: SocketAddr) -> ! {
    let worker = process::id().to_string();
    let end = caught(|| {
        signals.end_this_process()?;
        handle_client(sock, addr, &worker)
    });
    let number = |err: &anyhow::Error| {
        err.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error)?.try_into().ok()
    };
    process::exit(i32::from(end.map_or_else(|err| number(&err).unwrap_or(OTHER), |()| 0)))
}

/// What a worker has said by its end.
fn said(ended: WaitStatus) -> Result<()> {
    match ended {
        WaitStatus::Exited(_, 0) => Ok(()),
        WaitStatus::Exited(pid, code) if code != i32::from(OTHER) => {
            let err = anyhow::Error::from(io::Error::from_raw_os_error(code));
            Err(err.context(format!("process {pid}, receiving or sending")))
        }
        WaitStatus::Signaled(pid, signal, _) => Err(anyhow!("process {pid} ended by {signal}")),
        _ => Err(anyhow!("its process failed")),
    }
}

/// Waits for a child, as waitpid(2) does, and again when a signal interrupts that.
///
/// # Errors
///
/// `ECHILD` if there is no such child.
pub fn wait_for(pid: Option<Pid>, options: Option<WaitPidFlag>) -> io::Result<WaitStatus> {
    retry_interrupted(|| Ok(waitpid(pid, options)?))
}

/// Makes a copy of this process, which goes on from here, too.
///
/// # Errors
///
/// Those of fork(2); and EDEADLK for a process with a second thread, where the system tells.
#[allow(unsafe_code)]
pub fn fork() -> nix::Result<ForkResult> {
    if fs::metadata("/proc/self/task").is_ok_and(|tasks| count(&tasks) != 1) {
        return Err(Errno::EDEADLK);
    }
    // SAFETY: the copy has this thread and no other. Would another one hold a lock at this moment, that
    // of the heap, say, it would stay locked in the copy for ever, so that POSIX allows the copy of a
    // process with several threads next to nothing. This process has one: it starts none with this
    // mixin (its log has a process instead, its signals come to the loop, and --trace is refused), and
    // Linux has just been asked. So no lock is held, nothing is half-changed, and the copy may do
    // whatever this process may.
    unsafe { unistd::fork() }
}

/// The threads of a process: a folder has two links to itself and one for each folder in it.
fn count(tasks: &fs::Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    tasks.nlink().saturating_sub(2)
}
