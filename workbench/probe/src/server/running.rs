use std::fmt;
use std::io::Read;
use std::net::SocketAddr;
use std::process::{Child, ExitStatus};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
#[cfg(unix)]
use rustix::process::Signal;

use super::lines::Lines;
use super::listening::{is_taken, reachable};
use crate::groups::{ENDED, kill_group, live, tell_watchdog};
use crate::linux::procfs::{self, Figures};
use crate::linux::sockdiag;
use crate::port::Port;
use crate::{PATIENCE, fail, wait_until};

/// A server: one that was started, in a process group of its own, which dropping it ends; or one
/// that runs somewhere.
pub struct Server {
    pub(super) child: Option<Child>,
    pub(super) addr: SocketAddr,
    /// The port that it was told to take, kept for it until it has ended.
    pub(super) port: Option<Port>,
    pub(super) stdout: Lines,
    pub(super) log: Lines,
    pub(super) name: String,
    pub(super) _unread: Vec<Box<dyn Read + Send>>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.name, self.addr)
    }
}

impl Server {
    /// One that somebody else has started.
    #[must_use]
    pub fn elsewhere(addr: SocketAddr) -> Self {
        let (stdout, log) = (Lines::default(), Lines::default());
        let name = "a server".to_owned();
        Self { child: None, addr, port: None, stdout, log, name, _unread: Vec::new() }
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(match &mut self.child {
            Some(child) => child.try_wait()?,
            None => None,
        })
    }

    /// Waits until it listens; gives where, or why it does not.
    pub(super) fn wait_until_listening(&mut self, port: u16) -> Result<Result<SocketAddr, String>> {
        const AT_MOST: Duration = Duration::from_secs(10);
        /// When a listener on its port counts that is in no process of its group: in a container,
        /// say.
        const ELSEWHERE_AFTER: Duration = Duration::from_secs(3);
        let begin = Instant::now();
        let mut found = None;
        let mut ended = None;
        wait_until(AT_MOST, || {
            ended = self.ended()?;
            found = self.listens_at(port, begin.elapsed() > ELSEWHERE_AFTER);
            Ok(ended.is_some() || found.is_some())
        })?;
        Ok(match (ended, found) {
            (Some(status), _) => Err(format!("it has ended ({status}) before it listened")),
            (None, Some(addr)) => Ok(addr),
            (None, None) => {
                Err(format!("it does not listen on any port after {} s", AT_MOST.as_secs()))
            }
        })
    }

    /// Where it listens now.
    fn listens_at(&self, port: u16, or_elsewhere: bool) -> Option<SocketAddr> {
        let Some(all) = sockdiag::listeners() else {
            return self
                .says_it_listens()
                .or_else(|| is_taken(port).then(|| SocketAddr::from(([127, 0, 0, 1], port))));
        };
        let own = procfs::group_sockets(self.pid()?);
        let mut found: Vec<_> = all
            .into_iter()
            .filter(|it| own.contains(&it.inode) || (or_elsewhere && it.addr.port() == port))
            .map(|it| it.addr)
            .collect();
        // The port that it was told to take before others, and IPv4 before IPv6.
        found.sort_by_key(|addr| (addr.port() != port, addr.is_ipv6()));
        found.first().map(|addr| reachable(*addr))
    }

    /// Waits for its `Listening on` line, and notes the address.
    pub(super) fn has_listened(&mut self) -> bool {
        let line = self.stdout.wait_for(PATIENCE, |_| true);
        let addr = line.as_deref().and_then(|line| line.strip_prefix("Listening on "));
        let Some(addr) = addr.and_then(|addr| addr.parse().ok()) else { return false };
        self.addr = addr;
        true
    }

    /// Returns where it says that it listens.
    fn says_it_listens(&self) -> Option<SocketAddr> {
        let addr = |line: &String| line.split_once("Listening on ")?.1.trim().parse().ok();
        let lines = [self.stdout.so_far(), self.log.so_far()].concat();
        lines.iter().find_map(addr).map(reachable)
    }

    /// Whether it says that its port is taken: in the words of C, Java, Node or Windows.
    pub(super) fn says_port_is_taken(&self) -> bool {
        const WORDS: [&str; 3] = ["already in use", "EADDRINUSE", "Only one usage of each socket"];
        let output = self.output();
        WORDS.iter().any(|words| output.contains(words))
    }

    /// The end of what it printed, each line marked with where.
    #[must_use]
    pub fn output(&self) -> String {
        Lines::marked(&self.stdout, &self.log)
    }

    /// What it printed on standard output, as far as that is collected.
    #[must_use]
    pub fn stdout(&self) -> &Lines {
        &self.stdout
    }

    /// Waits a moment for the rest of what a server printed that has ended.
    pub fn wait_for_output(&self) -> Result<()> {
        const A_MOMENT: Duration = Duration::from_secs(1);
        wait_until(A_MOMENT, || Ok(self.stdout.state().ended && self.log.state().ended)).map(drop)
    }

    /// The processes that it left behind when it ended: their numbers and names (Linux).
    #[must_use]
    pub fn survivors(&self) -> Vec<String> {
        let Some(leader) = self.pid() else { return Vec::new() };
        let left = procfs::group_members(leader).into_iter().filter(|pid| *pid != leader);
        left.map(|pid| format!("{pid} ({})", procfs::name(pid).unwrap_or_default())).collect()
    }

    /// Sends a signal to it and to the processes that it has started.
    #[cfg(unix)]
    pub fn signal_all(&self, signal: Signal) -> Result<()> {
        let Some(child) = &self.child else { bail!("cannot signal a server elsewhere") };
        let group = rustix::process::Pid::from_child(child);
        rustix::process::kill_process_group(group, signal).context("could not send a signal")?;
        self.wait_until_signal_taken()
    }

    /// Asks it and the processes that it has started to end, and waits for that.
    #[cfg(unix)]
    pub fn end_gently(&mut self, within: Duration) -> Result<Option<ExitStatus>> {
        let Some(child) = &self.child else { bail!("cannot end a server elsewhere") };
        let group = rustix::process::Pid::from_child(child);
        // Whoever is gone already need not be asked.
        let _ = rustix::process::kill_process_group(group, Signal::TERM);
        self.wait(within)
    }

    /// Without signals, it is not asked, but killed when it is dropped.
    #[cfg(not(unix))]
    pub fn end_gently(&mut self, _within: Duration) -> Result<Option<ExitStatus>> {
        self.ended()
    }

    #[cfg(unix)]
    fn wait_until_signal_taken(&self) -> Result<()> {
        let taken = || self.pid().and_then(procfs::has_taken_signals).unwrap_or(true);
        wait_until(PATIENCE, || Ok(taken()))?;
        Ok(())
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its process id, which is that of its group; nothing for a server elsewhere.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// What it printed on standard error, as far as that is collected.
    #[must_use]
    pub fn log(&self) -> &Lines {
        &self.log
    }

    /// Waits for a log line.
    pub fn wait_for_log(&self, what: &str, wanted: impl Fn(&str) -> bool) -> Result<String> {
        match self.log.wait_for(PATIENCE, wanted) {
            Some(line) => Ok(line),
            None => fail("waited for the log", what, &self.log),
        }
    }

    /// What it and its child processes use now, if the system tells.
    #[must_use]
    pub fn figures(&self) -> Option<Figures> {
        procfs::group_figures(self.pid()?)
    }

    /// Whether it or a child process does something at this moment, if the system tells.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.pid().is_some_and(procfs::is_busy)
    }

    /// Sends a signal, and waits until the process has taken it where the system tells.
    #[cfg(unix)]
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let Some(child) = &self.child else { bail!("cannot signal a server elsewhere") };
        let pid = rustix::process::Pid::from_child(child);
        rustix::process::kill_process(pid, signal).context("could not send a signal")?;
        self.wait_until_signal_taken()
    }

    /// Waits for the process to end; gives nothing if it still runs after that time.
    pub fn wait(&mut self, within: Duration) -> Result<Option<ExitStatus>> {
        let mut status = None;
        wait_until(within, || {
            status = self.ended()?;
            Ok(status.is_some())
        })?;
        Ok(status)
    }

    /// Waits for the process to end with code 0, and gives how long that took.
    pub fn expect_exit(&mut self, did: &str) -> Result<Duration> {
        let begin = Instant::now();
        match self.wait(PATIENCE)? {
            Some(status) if status.code() == Some(0) => Ok(begin.elapsed()),
            Some(status) => fail(did, "exit code 0", format!("{status}; its log\n{}", self.log)),
            None => fail(did, "its end", format!("it still runs; its log\n{}", self.log)),
        }
    }

    /// The process must live.
    pub fn expect_alive(&mut self, did: &str) -> Result<()> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => fail(did, "the server goes on", format!("{status}\n{}", self.log)),
        }
    }

    /// Everything on standard output and in the log of a server that has ended.
    pub fn printed(&self) -> Result<(Vec<String>, Vec<String>)> {
        Ok((self.stdout.all()?, self.log.all()?))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(child) = &mut self.child else { return };
        let group = child.id();
        // Its number is not given to anybody else before it is waited for, or as long as somebody
        // is left in the group.
        if child.try_wait().is_ok_and(|status| status.is_none())
            || !procfs::group_members(group).is_empty()
        {
            kill_group(group);
        }
        let _ = child.kill();
        // Under one lock: once it is waited for, its number may be somebody else's.
        let mut live = live();
        let _ = child.wait();
        live.retain(|it| *it != group);
        tell_watchdog(&live);
        drop(live);
        // As long as one of them lives, it may hold the port.
        let gone = || Ok(!procfs::group_members(group).into_iter().any(procfs::is_running));
        let _ = wait_until(PATIENCE, gone);
        ENDED.lock().unwrap_or_else(PoisonError::into_inner).push(group);
    }
}
