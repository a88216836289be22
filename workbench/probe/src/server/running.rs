use std::collections::HashSet;
use std::fmt;
use std::io::Read;
use std::net::SocketAddr;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::Result;
#[cfg(unix)]
use anyhow::{Context as _, bail};
#[cfg(unix)]
use rustix::process::Signal;

use super::lines::OutputLines;
use super::listening::{is_port_in_use, reachable, server_addr};
use super::output_to::OutputTo;
use crate::linux::procfs::{self, Usage};
use crate::linux::sockdiag;
use crate::port::Port;
use crate::{TIMEOUT, fail, fail_timeout, groups, wait_until};

/// How long [`Server::wait_for_output`] waits.
const OUTPUT_TIMEOUT: Duration = Duration::from_secs(5);

/// A running server: either a child process in its own process group, which is killed when this value is dropped, or a
/// server that this process did not start.
pub struct Server {
    child: Option<Child>,
    addr: SocketAddr,
    /// The port that the server was told to listen on, which is reserved until the server has ended.
    port: Option<Port>,
    stdout: OutputLines,
    log: OutputLines,
    /// The server's command.
    command: String,
    /// The pipes that have to stay open although they are not read.
    _unread: Vec<Box<dyn Read + Send>>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.command, self.addr)
    }
}

impl Server {
    /// Returns a server that this process did not start and that listens at this address.
    #[must_use]
    pub fn at(addr: SocketAddr) -> Self {
        let (stdout, log) = (OutputLines::default(), OutputLines::default());
        let command = "a server".to_owned();
        Self { child: None, addr, port: None, stdout, log, command, _unread: Vec::new() }
    }

    /// Returns a server that has just been started and whose address is not known yet, and begins to read its output.
    pub(super) fn started(
        mut child: Child,
        command: String,
        stdout: &OutputTo,
        stderr: &OutputTo,
    ) -> Self {
        let (stdout, unread_stdout) = stdout.collect(child.stdout.take());
        let (log, unread_stderr) = stderr.collect(child.stderr.take());
        let mut unread: Vec<Box<dyn Read + Send>> = Vec::new();
        unread.extend(unread_stdout.map(|pipe| Box::new(pipe) as _));
        unread.extend(unread_stderr.map(|pipe| Box::new(pipe) as _));
        let addr = SocketAddr::from(([0, 0, 0, 0], 0));
        Self { child: Some(child), addr, port: None, stdout, log, command, _unread: unread }
    }

    /// Keeps the server's port reserved until the server has ended.
    pub(super) fn keep_port(&mut self, port: Port) {
        self.port = Some(port);
    }

    fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        Ok(match &mut self.child {
            Some(child) => groups::try_wait(child)?,
            None => None,
        })
    }

    /// Waits until the server listens, and stores the address. Returns the reason if the server does not listen after
    /// this time.
    pub(super) fn wait_until_listening(
        &mut self,
        port: u16,
        timeout: Duration,
    ) -> Result<Result<(), String>> {
        /// After this time, a listener on the port counts although no process of the group owns it: the server may
        /// run in a container.
        const ANY_PROCESS_AFTER: Duration = Duration::from_secs(3);
        let begin = Instant::now();
        let mut addr = None;
        let mut status = None;
        let mut foreign_inodes = HashSet::new();
        wait_until(timeout, || {
            status = self.try_wait()?;
            addr = self.listens_at(port, begin.elapsed() > ANY_PROCESS_AFTER, &mut foreign_inodes);
            Ok(status.is_some() || addr.is_some())
        })?;
        Ok(match (status, addr) {
            (Some(status), _) => Err(format!("it has ended ({status}) before it listened")),
            (None, Some(addr)) => {
                self.addr = addr;
                Ok(())
            }
            (None, None) => {
                Err(format!("it does not listen on any port after {} s", timeout.as_secs()))
            }
        })
    }

    /// Returns the address at which the server listens now, if it listens. `foreign_inodes` is for [`server_addr`].
    fn listens_at(
        &self,
        port: u16,
        any_process: bool,
        foreign_inodes: &mut HashSet<u64>,
    ) -> Option<SocketAddr> {
        match sockdiag::listeners() {
            Some(all) => server_addr(all, self.pid()?, port, any_process, foreign_inodes),
            None => self
                .printed_addr()
                .or_else(|| is_port_in_use(port).then(|| SocketAddr::from(([127, 0, 0, 1], port)))),
        }
    }

    /// Waits for the first line on stdout. If the line is `Listening on ADDR`, stores the address and returns true.
    pub(super) fn wait_for_addr(&mut self) -> bool {
        let line = self.stdout.wait_for(TIMEOUT, |_| true);
        let addr = line.as_deref().and_then(|line| line.strip_prefix("Listening on "));
        let Some(addr) = addr.and_then(|addr| addr.parse().ok()) else { return false };
        self.addr = reachable(addr);
        true
    }

    /// Returns the address that the server has printed after `Listening on`, if it has printed one.
    fn printed_addr(&self) -> Option<SocketAddr> {
        let addr = |line: &String| line.split_once("Listening on ")?.1.trim().parse().ok();
        let lines = [self.stdout.so_far(), self.log.so_far()].concat();
        lines.iter().find_map(addr).map(reachable)
    }

    /// Reports whether the server has printed that its port is in use, in the words of C, Java, Node or Windows.
    pub(super) fn says_port_is_in_use(&self) -> bool {
        const WORDS: [&str; 3] = ["already in use", "EADDRINUSE", "Only one usage of each socket"];
        let output = self.last_output();
        WORDS.iter().any(|words| output.contains(words))
    }

    /// Returns the last lines of both outputs as text, with `stdout| ` or `stderr| ` before each line.
    #[must_use]
    pub fn last_output(&self) -> String {
        OutputLines::labelled(&self.stdout, &self.log)
    }

    /// Returns the lines on standard output, as far as they are collected.
    #[must_use]
    pub fn stdout(&self) -> &OutputLines {
        &self.stdout
    }

    /// Waits for the end of both outputs, at most for five seconds: a server that has ended may have left output that
    /// is not collected yet.
    pub fn wait_for_output(&self) {
        let deadline = Instant::now() + OUTPUT_TIMEOUT;
        for lines in [&self.stdout, &self.log] {
            lines.wait_for_end(deadline.saturating_duration_since(Instant::now()));
        }
    }

    /// Returns the numbers and names of the processes that the server left behind in its group (Linux).
    #[must_use]
    pub fn leftover_processes(&self) -> Vec<String> {
        let Some(leader) = self.pid() else { return Vec::new() };
        let left = procfs::group_members(leader).into_iter().filter(|pid| *pid != leader);
        left.map(|pid| format!("{pid} ({})", procfs::name(pid).unwrap_or_default())).collect()
    }

    /// Sends a signal to the server, and waits until the signal is no longer pending, if the system shows that.
    #[cfg(unix)]
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.signalled_pid()?;
        rustix::process::kill_process(pid, signal).context("could not send a signal")?;
        self.wait_until_not_pending(signal)
    }

    /// Sends a signal to the server and to the other processes of its group, and waits until the signal is no longer
    /// pending for the server, if the system shows that.
    #[cfg(unix)]
    pub fn signal_all(&self, signal: Signal) -> Result<()> {
        let group = self.signalled_pid()?;
        rustix::process::kill_process_group(group, signal).context("could not send a signal")?;
        self.wait_until_not_pending(signal)
    }

    /// Sends SIGTERM to the server and to the processes of its group, and waits for the server's end, at most
    /// `within`.
    #[cfg(unix)]
    pub fn terminate(&mut self, within: Duration) -> Result<Option<ExitStatus>> {
        // This fails if the processes have ended already.
        let _ = rustix::process::kill_process_group(self.signalled_pid()?, Signal::TERM);
        self.wait(within)
    }

    /// Returns the exit status if the server has ended. This system has no signals to ask the server to end; the
    /// server is killed when this value is dropped.
    #[cfg(not(unix))]
    pub fn terminate(&mut self, _within: Duration) -> Result<Option<ExitStatus>> {
        self.try_wait()
    }

    #[cfg(unix)]
    fn signalled_pid(&self) -> Result<rustix::process::Pid> {
        let Some(child) = &self.child else {
            bail!("cannot send a signal to a server that this process did not start");
        };
        Ok(rustix::process::Pid::from_child(child))
    }

    #[cfg(unix)]
    fn wait_until_not_pending(&self, signal: Signal) -> Result<()> {
        // If the server blocks the signal, the signal stays pending. A check then observes that it has no effect, so
        // this is not an error here.
        let number = signal.as_raw().unsigned_abs();
        let is_pending =
            || self.pid().and_then(|pid| procfs::is_signal_pending(pid, number)).unwrap_or(false);
        wait_until(TIMEOUT, || Ok(!is_pending())).map(drop)
    }

    /// Returns the address at which the server listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns the server's process id, which is also its process group id, or `None` if this process did not start the
    /// server.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Returns the lines on standard error, as far as they are collected.
    #[must_use]
    pub fn log(&self) -> &OutputLines {
        &self.log
    }

    /// Waits for a line on stderr that `wanted` accepts. The failure describes the line as `what`.
    pub fn wait_for_log(&self, what: &str, wanted: impl Fn(&str) -> bool) -> Result<String> {
        const DID: &str = "waited for a line in the log";
        match self.log.wait_for(TIMEOUT, wanted) {
            Some(line) => Ok(line),
            None if self.log.is_complete() => fail(DID, what, &self.log),
            None => fail_timeout(DID, what, &self.log),
        }
    }

    /// Returns the resources that the processes of the server's group use now, if the system shows them.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        procfs::group_usage(self.pid()?)
    }

    /// Reports whether a thread of the server's group runs or waits for a processor now. Returns false if the system
    /// does not show that.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.pid().is_some_and(procfs::is_group_busy)
    }

    /// Reports whether the server hardly uses a processor while this thread uses one for 0.2 s. It is always true
    /// where the system does not show the processor time.
    ///
    /// A server that never waits gets about as much processor time as this thread, however busy the machine is;
    /// if its threads take turns at a lock, as in Python, it gets less. The state of its threads at one moment
    /// says less: on a busy machine, a thread that has just been woken up waits for a processor, too.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        const COMPARED: Duration = Duration::from_millis(200);
        let cpu = || self.usage().map_or(Duration::ZERO, |usage| usage.cpu);
        let (begin, before) = (procfs::thread_cpu(), cpu());
        while procfs::thread_cpu().is_some_and(|now| now < begin.unwrap_or_default() + COMPARED) {
            std::hint::spin_loop();
        }
        cpu().saturating_sub(before) < COMPARED / 10
    }

    /// Waits for the server's end, at most `within`. Returns `None` if the server still runs.
    pub fn wait(&mut self, within: Duration) -> Result<Option<ExitStatus>> {
        let mut status = None;
        wait_until(within, || {
            status = self.try_wait()?;
            Ok(status.is_some())
        })?;
        Ok(status)
    }

    /// Waits until the server exits with code 0, and returns how long the wait took. The failure describes the
    /// actions of the check as `did`.
    pub fn expect_exit(&mut self, did: &str) -> Result<Duration> {
        let begin = Instant::now();
        match self.wait(TIMEOUT)? {
            Some(status) if status.code() == Some(0) => Ok(begin.elapsed()),
            Some(status) => fail(did, "exit code 0", format!("{status}; its log\n{}", self.log)),
            None => fail_timeout(did, "its end", format!("it still runs; its log\n{}", self.log)),
        }
    }

    /// Returns a failure if the server has ended. The failure describes the actions of the check as `did`.
    pub fn expect_running(&mut self, did: &str) -> Result<()> {
        match self.try_wait()? {
            None => Ok(()),
            Some(status) => fail(did, "the server goes on", format!("{status}\n{}", self.log)),
        }
    }

    /// Waits for the end of the server's output, and returns all lines on standard output and in the log.
    pub fn output_lines(&self) -> Result<(Vec<String>, Vec<String>)> {
        Ok((self.stdout.all()?, self.log.all()?))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            groups::end(child);
        }
    }
}
