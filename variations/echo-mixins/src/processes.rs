//! A process for each client.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::{fs, io, process};

use anyhow::{Result, anyhow};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{self, ForkResult, Pid};
use serverkit::{Permit, announce_to, catch_panic, log_disconnect, warn_not_started};
use tincanchat::retry_interrupted;

use crate::server::{Mixin, Signals, handle_client};
use crate::writer::WriterProcess;

/// The exit code of a worker whose error has no error number (errno(3)).
const OTHER_ERROR: u8 = u8::MAX;

/// The workers, each of which is a process, and the permits of their clients.
pub struct Processes<'a> {
    signals: &'a Signals,
    stdout: WriterProcess,
    permits: HashMap<Pid, Permit>,
}

impl<'a> Processes<'a> {
    pub fn new(signals: &'a Signals, stdout: WriterProcess) -> Self {
        Processes { signals, stdout, permits: HashMap::new() }
    }
}

impl Mixin for Processes<'_> {
    fn announce(&mut self, listener: &TcpListener) -> io::Result<()> {
        announce_to(listener, |line| self.stdout.write_last(line))
    }

    fn process_request(
        &mut self,
        sock: TcpStream,
        permit: Permit,
        listener: &mut Option<TcpListener>,
    ) {
        let addr = permit.addr();
        match fork() {
            Ok(ForkResult::Child) => {
                listener.take(); // closes this process's copy
                run_worker(self.signals, sock, addr)
            }
            Ok(ForkResult::Parent { child }) => {
                self.permits.insert(child, permit);
            }
            Err(err) => warn_not_started(addr, "a process", &err),
        }
        // The server's copy of the client's socket is closed here. The worker's copy stays open.
    }

    /// Waits for the processes that have ended. Until this happens, such a process is a zombie, which keeps
    /// its process id and its exit code.
    fn service_actions(&mut self) {
        // With WNOHANG, this does not block. An error means that there are no child processes.
        while let Ok(status) = wait_for(None, Some(WaitPidFlag::WNOHANG)) {
            let Some(pid) = status.pid() else {
                break; // all child processes are running
            };
            // A process without a permit is the one that writes the log, or the line on stdout.
            if let Some(permit) = self.permits.remove(&pid) {
                log_disconnect(permit.addr(), worker_result(status));
            }
        }
    }

    /// Kills the workers. SIGTERM would not be enough: a stopped process (SIGSTOP) does not react to it.
    fn server_close(&mut self) {
        for pid in self.permits.keys() {
            // No other process can have this process id until the server has waited for the worker.
            let _ = kill(*pid, Signal::SIGKILL);
        }
        for (pid, _) in self.permits.drain() {
            let _ = wait_for(Some(pid), None);
        }
    }
}

/// Serves a client in this process, then ends the process. The server learns only the exit code, which is
/// one byte: 0, or the number of the error.
fn run_worker(signals: &Signals, sock: TcpStream, addr: SocketAddr) -> ! {
    let worker = process::id().to_string();
    let result = catch_panic(|| {
        signals.end_this_process()?;
        handle_client(sock, addr, &worker)
    });
    let code = match result {
        Ok(()) => 0,
        Err(err) => error_number(&err).unwrap_or(OTHER_ERROR),
    };
    process::exit(code.into())
}

/// Returns the number of the error if it is a system error (errno(3)).
fn error_number(err: &anyhow::Error) -> Option<u8> {
    let number = err.downcast_ref::<io::Error>()?.raw_os_error()?;
    u8::try_from(number).ok()
}

/// Returns the result of a worker, as far as its exit status shows it.
fn worker_result(status: WaitStatus) -> Result<()> {
    match status {
        WaitStatus::Exited(_, 0) => Ok(()),
        // A panic, which the worker has logged, or an error without a number.
        WaitStatus::Exited(pid, code) if code == i32::from(OTHER_ERROR) => {
            Err(anyhow!("process {pid} failed"))
        }
        WaitStatus::Exited(pid, number) => {
            let err = io::Error::from_raw_os_error(number);
            Err(anyhow::Error::from(err)
                .context(format!("process {pid} failed to receive or send")))
        }
        WaitStatus::Signaled(pid, signal, _) => {
            Err(anyhow!("process {pid} was terminated by {signal}"))
        }
        // waitpid reports stopped, continued and traced processes only to a caller that asks for them.
        other => Err(anyhow!("unexpected status of the process: {other:?}")),
    }
}

/// Waits for a child process as waitpid(2) does. Repeats the call if a signal interrupts it.
///
/// # Errors
///
/// `ECHILD` if there is no such child process.
pub fn wait_for(pid: Option<Pid>, options: Option<WaitPidFlag>) -> io::Result<WaitStatus> {
    retry_interrupted(|| Ok(waitpid(pid, options)?))
}

/// Makes a copy of this process. Returns in both processes; the result says in which one.
///
/// # Errors
///
/// The errors of fork(2); on Linux, also `EDEADLK` if this process has more than one thread.
#[allow(unsafe_code)]
pub fn fork() -> nix::Result<ForkResult> {
    if has_several_threads() {
        return Err(Errno::EDEADLK);
    }
    // SAFETY: the copy has only the thread that calls fork. If another thread held a lock at this moment,
    // for example the lock of the heap, it would stay locked in the copy forever. That is why, if a process
    // has several threads, POSIX lets its copy call only functions that are safe in a signal handler. This
    // process has one thread. With this mixin, it starts no others: a process writes the log, the accept
    // loop notices the signals itself, and --trace is refused. On Linux, the check above confirms it. So no
    // lock is held, no data is half changed, and the copy may call any function.
    unsafe { unistd::fork() }
}

/// Reports whether Linux counts more than one thread in this process; false on other systems.
fn has_several_threads() -> bool {
    // A directory has two links and one more for each directory in it: here, one for each thread.
    fs::metadata("/proc/self/task").is_ok_and(|tasks| tasks.nlink() > 3)
}
