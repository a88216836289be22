//! Starts any server, reads what it prints, sends it signals, and ends it whatever happens.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
#[cfg(unix)]
pub use rustix::process::Signal;

use crate::port::Port;
use crate::procfs::{self, Figures};
use crate::wire::is_obeyed;
use crate::{PATIENCE, fail, sockdiag, wait_until};

/// What happens to what a server prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outlet {
    /// It is read at once, line by line.
    Collected,
    /// It is read at once, and only the last lines are kept.
    LastLines,
    /// It goes into a pipe that nobody reads, which is soon full.
    Unread,
    /// It goes into a pipe whose other end is closed already.
    ReaderGone,
    /// There is no such descriptor at all.
    Closed,
    /// It goes into a file or device.
    File(PathBuf),
}

/// A server to be started.
#[derive(Clone, Debug)]
pub struct Launch {
    /// What starts the program, without being a part of it.
    through: Vec<OsString>,
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(String, String)>,
    stdout: Outlet,
    stderr: Outlet,
    limits: Vec<String>,
}

impl Launch {
    /// Prepares to start a program with these arguments.
    pub fn new(program: impl AsRef<OsStr>, args: &[OsString]) -> Self {
        Self {
            through: Vec::new(),
            program: program.as_ref().to_owned(),
            args: args.to_vec(),
            env: Vec::new(),
            stdout: Outlet::Collected,
            stderr: Outlet::Collected,
            limits: Vec::new(),
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(OsString::from));
        self
    }

    /// Lets these words start the program; they are not shown.
    #[must_use]
    pub fn through(mut self, words: &[&str]) -> Self {
        self.through = words.iter().map(OsString::from).collect();
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Says what becomes of standard output.
    #[must_use]
    pub fn stdout(mut self, outlet: Outlet) -> Self {
        self.stdout = outlet;
        self
    }

    /// Says what becomes of standard error.
    #[must_use]
    pub fn stderr(mut self, outlet: Outlet) -> Self {
        self.stderr = outlet;
        self
    }

    /// Lets the server have so many descriptors and no more (Unix).
    #[must_use]
    pub fn descriptors(mut self, limit: u64) -> Self {
        self.limits.push(format!("ulimit -n {limit}"));
        self
    }

    /// Starts the server with so many descriptors, and lets it ask for more (Unix).
    #[must_use]
    pub fn descriptors_at_first(mut self, limit: u64) -> Self {
        self.limits.push(format!("ulimit -S -n {limit}"));
        self
    }

    /// Limits the address space of the server to this number of bytes (Linux, with prlimit(1)).
    #[must_use]
    pub fn address_space(mut self, bytes: u64) -> Self {
        self.limits.push(format!("set -- prlimit --as={bytes} \"$@\""));
        self
    }

    /// Lets the server be another user's, who may have so many threads and processes and no more (Linux,
    /// as root, with prlimit(1) and setpriv(1)).
    #[must_use]
    pub fn threads(mut self, limit: u64, user: u32) -> Self {
        self.limits.push(format!(
            "set -- prlimit --nproc={limit} {BE_USER} --reuid={user} --regid={user} \"$@\""
        ));
        self
    }

    /// Takes from the server root's privilege to listen on the low ports (Linux, with setpriv(1)).
    #[must_use]
    pub fn without_low_ports(mut self) -> Self {
        self.limits.push(format!("set -- {DROP_LOW_PORTS} \"$@\""));
        self
    }

    /// Starts the server on a port that the system picks, and waits for its `Listening on` line.
    pub fn start(self) -> Result<Server> {
        self.args(&["--port", "0"]).start_as_given()
    }

    /// Starts the server with the arguments as they are, and waits for its `Listening on` line.
    pub fn start_as_given(self) -> Result<Server> {
        let mut server = self.spawn()?;
        if !server.has_listened() {
            let line = server.stdout.so_far().into_iter().next();
            let got = format!("{line:?} on stdout, and the log\n{}", server.log);
            return fail(format!("started {self}"), "a line `Listening on ADDR`", got);
        }
        Ok(server)
    }

    /// Starts the server with the arguments as they are, and waits for its `Listening on` line, or for its
    /// end.
    pub fn start_or_end(self) -> Result<Result<Server, Ended>> {
        let mut server = self.spawn()?;
        if server.has_listened() { Ok(Ok(server)) } else { Ok(Err(self.end_of(server)?)) }
    }

    /// Starts any server, and waits until it listens.
    ///
    /// `{host}` and `{port}` in its words become an address of this machine and a port that is
    /// free; the variables `HOST` and `PORT` say the same. A server that listens on a port of its
    /// own is taken there. Whether it listens is looked up where the system shows that: a
    /// connection to try would take the only place of a server that has one.
    ///
    /// # Errors
    ///
    /// [`NotStarted`], if the program cannot be run, ends, or does not listen for ten seconds.
    pub fn start_anything(&self) -> Result<Server> {
        const TRIES: usize = 3;
        let mut tries = 0;
        loop {
            tries += 1;
            let port = Port::reserve()?;
            let number = port.number();
            let launch = self.clone().at("127.0.0.1", number);
            let mut server =
                launch.spawn().map_err(|err| NotStarted::new(self, &format!("{err:#}"), None))?;
            server.port = Some(port);
            match server.wait_until_listening(number)? {
                Ok(addr) => {
                    server.addr = addr;
                    return Ok(server);
                }
                Err(reason) => {
                    server.wait_for_output()?;
                    // A program that reserves no ports may have taken this one in the meantime.
                    if tries < TRIES && (server.says_port_is_taken() || is_taken(number)) {
                        continue;
                    }
                    return Err(NotStarted::new(self, &reason, Some(server.output())).into());
                }
            }
        }
    }

    /// Starts any program and waits for nothing; `{host}` and `{port}` become what they do in
    /// [`Self::start_anything`].
    ///
    /// # Errors
    ///
    /// [`NotStarted`], if the program cannot be run.
    pub fn start_at_once(&self) -> Result<Server> {
        let port = Port::reserve()?;
        let started = self.clone().at("127.0.0.1", port.number()).spawn();
        let mut server = started.map_err(|err| NotStarted::new(self, &format!("{err:#}"), None))?;
        server.port = Some(port);
        Ok(server)
    }

    fn names_port(&self) -> bool {
        self.args.iter().any(|arg| arg.to_string_lossy().contains("{port}"))
    }

    fn at(mut self, host: &str, port: u16) -> Self {
        let port = port.to_string();
        for word in std::iter::once(&mut self.program).chain(&mut self.args) {
            if let Some(text) = word.to_str() {
                *word = text.replace("{host}", host).replace("{port}", &port).into();
            }
        }
        self.env("HOST", host).env("PORT", &port)
    }

    /// Starts a server whose standard output tells nobody where it listens, and waits until it
    /// listens.
    pub fn start_unheard(self) -> Result<Server> {
        self.args(&["--port", "{port}"]).start_anything()
    }

    /// Starts a program that is expected to end by itself, and waits for it.
    pub fn run_to_end(self) -> Result<Ended> {
        let server = self.spawn()?;
        self.end_of(server)
    }

    fn end_of(&self, mut server: Server) -> Result<Ended> {
        let Some(status) = server.wait(PATIENCE)? else {
            let got = format!("it still runs; its log\n{}", server.log);
            return fail(format!("ran {self}"), "an end", got);
        };
        Ok(Ended { status, stdout: server.stdout.all()?, stderr: server.log.all()? })
    }

    fn spawn(&self) -> Result<Server> {
        let mut command = self.command()?;
        // A reader's own settings must not change what a check sees.
        command.env_remove("RUST_LOG").env_remove("RUST_BACKTRACE").env_remove("NO_COLOR");
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(stdio(&self.stdout)?).stderr(stdio(&self.stderr)?);
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let begin = || command.spawn().context("there is no such program, or it cannot be run");
        let mut child = enter(begin, Child::id)?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let (stdout, unread_out) = outlet(&self.stdout, out);
        let (log, unread_err) = outlet(&self.stderr, err);
        let addr = SocketAddr::from(([0, 0, 0, 0], 0));
        let unread = unread_out.into_iter().chain(unread_err).collect();
        Ok(Server {
            child: Some(child),
            addr,
            port: None,
            stdout,
            log,
            name: self.to_string(),
            _unread: unread,
        })
    }

    fn command(&self) -> Result<Command> {
        let mut script = self.limits.clone();
        let closed = |outlet: &Outlet, closing| {
            if *outlet == Outlet::Closed { closing } else { "" }
        };
        let closing = [closed(&self.stdout, " >&-"), closed(&self.stderr, " 2>&-")].concat();
        let mut words = self.through.iter().chain([&self.program]).chain(&self.args);
        if script.is_empty() && closing.is_empty() {
            let mut command = Command::new(words.next().context("no program is named")?);
            command.args(words);
            return Ok(command);
        }
        if !cfg!(unix) {
            bail!("limits and closed descriptors need a Unix shell");
        }
        script.push(format!("exec \"$@\"{closing}"));
        let mut command = Command::new("sh");
        command.args(["-c", &script.join("; "), "sh"]).args(words);
        Ok(command)
    }
}

/// Runs the command that follows without the privilege that capabilities(7) calls
/// `CAP_NET_BIND_SERVICE`.
pub const DROP_LOW_PORTS: &str =
    "setpriv --bounding-set=-net_bind_service --inh-caps=-net_bind_service";

/// Runs the command that follows as another user, whose numbers are missing here.
pub const BE_USER: &str = "setpriv --clear-groups";

impl fmt::Display for Launch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for limit in &self.limits {
            write!(f, "{limit}; ")?;
        }
        for (name, value) in &self.env {
            write!(f, "{name}={value} ")?;
        }
        write!(f, "{}", self.program.display())?;
        for arg in &self.args {
            write!(f, " {}", arg.display())?;
        }
        Ok(())
    }
}

fn stdio(outlet: &Outlet) -> Result<Stdio> {
    Ok(match outlet {
        Outlet::Collected | Outlet::LastLines | Outlet::Unread => Stdio::piped(),
        Outlet::ReaderGone => std::io::pipe()?.1.into(),
        Outlet::Closed => Stdio::null(),
        Outlet::File(path) => {
            let file = OpenOptions::new().write(true).open(path);
            file.with_context(|| format!("could not open {}", path.display()))?.into()
        }
    })
}

/// Gives what to collect, and what to hold open without reading it.
fn outlet<R: Read + Send + 'static>(
    outlet: &Outlet,
    pipe: Option<R>,
) -> (Lines, Option<Box<dyn Read + Send>>) {
    match (outlet, pipe) {
        (Outlet::Collected, Some(pipe)) => (Lines::collect(pipe), None),
        (Outlet::LastLines, Some(pipe)) => (Lines::collect_last(pipe), None),
        (_, Some(pipe)) => (Lines::default(), Some(Box::new(pipe))),
        (_, None) => (Lines::default(), None),
    }
}

/// How a program ended, and all that it printed.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: Vec<String>,
    /// Its standard error.
    pub stderr: Vec<String>,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, stdout, stderr } = self;
        write!(f, "{status}\nstdout {stdout:#?}\nstderr {stderr:#?}")
    }
}

/// A server that did not come to listen.
#[derive(Clone, Debug)]
pub struct NotStarted {
    command: String,
    reason: String,
    /// What it printed, if it came so far.
    output: Option<String>,
    names_port: bool,
}

impl NotStarted {
    fn new(launch: &Launch, reason: &impl ToString, output: Option<String>) -> Self {
        let (command, reason) = (launch.to_string(), reason.to_string());
        Self { command, reason, output, names_port: launch.names_port() }
    }
}

impl fmt::Display for NotStarted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not start `{}`: {}", self.command, self.reason)?;
        match self.output.as_deref() {
            None => {}
            Some("") => f.write_str("\nIt printed nothing.")?,
            Some(output) => write!(f, "\nThe last that it printed:\n{}", output.trim_end())?,
        }
        if self.names_port || self.output.is_none() {
            return Ok(());
        }
        f.write_str(
            "\nThere is no {port} in the command, where the server is told its port. One that always \
             takes the same port has to set SO_REUSEADDR, to be started again at once.",
        )
    }
}

impl std::error::Error for NotStarted {}

/// The process groups that were started and not ended.
static LIVE: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// Those that were ended.
static ENDED: Mutex<Vec<u32>> = Mutex::new(Vec::new());

fn live() -> MutexGuard<'static, Vec<u32>> {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts something else that is to be ended with the servers; `group` gives its process group.
///
/// # Errors
///
/// What `begin` could not do.
pub fn enter<T>(begin: impl FnOnce() -> Result<T>, group: impl FnOnce(&T) -> u32) -> Result<T> {
    // Under the lock, so that nothing starts between the last look at the list and the end.
    let mut live = live();
    let started = begin()?;
    live.push(group(&started));
    tell_watchdog(&live);
    Ok(started)
}

/// Strikes off the list what has ended.
pub fn strike(group: u32) {
    let mut live = live();
    live.retain(|it| *it != group);
    tell_watchdog(&live);
}

/// The pipe to the watchdog, which reads the live process groups from it.
static WATCHDOG: Mutex<Option<ChildStdin>> = Mutex::new(None);

/// Lets a process that runs [`watch_over`] know which groups live, by a line of their numbers whenever
/// that changes, so that servers end even if this process is killed.
pub fn set_watchdog(pipe: ChildStdin) {
    let live = live();
    *WATCHDOG.lock().unwrap_or_else(PoisonError::into_inner) = Some(pipe);
    tell_watchdog(&live);
}

fn tell_watchdog(live: &[u32]) {
    let mut watchdog = WATCHDOG.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(pipe) = &mut *watchdog else { return };
    let groups: Vec<_> = live.iter().map(u32::to_string).collect();
    // Without a watchdog, servers are ended as long as this process can end them.
    let _ = pipe.write_all(format!("{}\n", groups.join(" ")).as_bytes());
}

/// Waits until the process at the other end has ended, however it did, and ends the groups that it
/// named last.
///
/// # Errors
///
/// If its words cannot be read.
pub fn watch_over(told: impl BufRead) -> Result<()> {
    named_last(told)?.into_iter().for_each(kill_group);
    Ok(())
}

/// Returns the groups of the last line, at its end.
fn named_last(mut told: impl BufRead) -> Result<Vec<u32>> {
    let (mut last, mut line) = (String::new(), String::new());
    // A process that is killed may leave an unfinished line, of which the last number may be cut off.
    while told.read_line(&mut line)? > 0 && line.ends_with('\n') {
        std::mem::swap(&mut last, &mut line);
        line.clear();
    }
    Ok(last.split_whitespace().filter_map(|group| group.parse().ok()).collect())
}

/// Does something during which no server starts in this process: between its fork and its exec, a
/// child has a copy of every descriptor.
pub(crate) fn while_none_starts<T>(act: impl FnOnce() -> T) -> T {
    let _live = live();
    act()
}

/// Ends all servers that this process has started, for one that is about to end itself: as long as
/// what this gives is held, none can start.
#[must_use]
pub fn end_all() -> impl Sized {
    let live = live();
    for group in live.iter() {
        kill_group(*group);
        await_end(*group);
    }
    tell_watchdog(&[]);
    live
}

/// What has escaped from its server's process group to become a child of this process, by number and
/// name; it is ended here (Linux, after [`adopt_orphans`]).
#[must_use]
pub fn end_escaped() -> Vec<String> {
    let mut escaped = Vec::new();
    // Otherwise children are others' business: somebody may just be starting a server.
    if !ADOPTS.load(Ordering::Relaxed) {
        return escaped;
    }
    for pid in procfs::children(std::process::id()) {
        if live().contains(&pid) {
            continue;
        }
        // Whoever stayed in its group was ended with it, and has only to be waited for.
        let group = procfs::group(pid).unwrap_or_default();
        if ENDED.lock().unwrap_or_else(PoisonError::into_inner).contains(&group) {
            end_orphan(pid);
        } else {
            escaped.push(format!("{pid} ({})", procfs::name(pid).unwrap_or_default()));
            end_orphan(pid);
        }
    }
    escaped
}

/// Whether what servers leave behind comes to this process.
static ADOPTS: AtomicBool = AtomicBool::new(false);

/// Makes this process the parent of whatever its servers leave behind (Linux), for [`end_escaped`].
///
/// From then on every child of this process has to be a [`Server`], and started by one thread.
pub fn adopt_orphans() {
    ADOPTS.store(true, Ordering::Relaxed);
    #[cfg(target_os = "linux")]
    // Without it, what a server leaves behind is not found, which harms no check.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
}

#[cfg(unix)]
fn end_orphan(number: u32) {
    use rustix::process::{Pid, kill_process};
    let Some(pid) = i32::try_from(number).ok().and_then(Pid::from_raw) else { return };
    let _ = kill_process(pid, Signal::KILL);
    await_end(number);
}

/// Waits for the end of a child that was killed, unless somebody else does.
#[cfg(unix)]
fn await_end(pid: u32) {
    use rustix::process::{Pid, WaitOptions, waitpid};
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
    let _ = waitpid(Some(pid), WaitOptions::empty());
}

#[cfg(not(unix))]
fn await_end(_pid: u32) {}

#[cfg(not(unix))]
fn end_orphan(_pid: u32) {}

#[cfg(unix)]
fn kill_group(group: u32) {
    use rustix::process::{Pid, kill_process_group};
    let Some(group) = i32::try_from(group).ok().and_then(Pid::from_raw) else { return };
    // Whoever is gone already needs no killing.
    let _ = kill_process_group(group, Signal::KILL);
}

#[cfg(not(unix))]
fn kill_group(_group: u32) {}

/// A server: one that was started, in a process group of its own, which dropping it ends; or one
/// that runs somewhere.
pub struct Server {
    child: Option<Child>,
    addr: SocketAddr,
    /// The port that it was told to take, kept for it until it has ended.
    port: Option<Port>,
    stdout: Lines,
    log: Lines,
    name: String,
    _unread: Vec<Box<dyn Read + Send>>,
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
    fn wait_until_listening(&mut self, port: u16) -> Result<Result<SocketAddr, String>> {
        const AT_MOST: Duration = Duration::from_secs(10);
        /// When a listener on its port counts that is in no process of its group: in a container,
        /// say.
        const ELSEWHERE_AFTER: Duration = Duration::from_secs(3);
        let begin = Instant::now();
        let mut found = None;
        let mut ended = None;
        let mut others = HashSet::new();
        wait_until(AT_MOST, || {
            ended = self.ended()?;
            found = self.listens_at(port, begin.elapsed() > ELSEWHERE_AFTER, &mut others);
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

    /// Returns where it listens now; `others` collects the listeners of other servers, by inode.
    fn listens_at(
        &self,
        port: u16,
        or_elsewhere: bool,
        others: &mut HashSet<u64>,
    ) -> Option<SocketAddr> {
        let Some(mut all) = sockdiag::listeners() else {
            return self
                .says_it_listens()
                .or_else(|| is_taken(port).then(|| SocketAddr::from(([127, 0, 0, 1], port))));
        };
        // To find the sockets of a group, all processes of the machine are read. On a busy machine a
        // server takes a hundred looks to start, so only a new listener is worth it.
        all.retain(|it| or_elsewhere || !others.contains(&it.inode));
        if all.is_empty() {
            return None;
        }
        let own = procfs::group_sockets(self.pid()?);
        others.extend(all.iter().map(|it| it.inode).filter(|inode| !own.contains(inode)));
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
    fn has_listened(&mut self) -> bool {
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
    fn says_port_is_taken(&self) -> bool {
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

/// The lines that a program has printed so far, collected while it runs.
#[derive(Clone, Debug, Default)]
pub struct Lines(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<Printed>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Printed {
    lines: Vec<String>,
    collected: bool,
    ended: bool,
}

impl Lines {
    fn collect(pipe: impl Read + Send + 'static) -> Self {
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
    fn collect_last(pipe: impl Read + Send + 'static) -> Self {
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

    fn state(&self) -> MutexGuard<'_, Printed> {
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

/// Where processes listen, as a client on this machine reaches it, if the system tells; IPv4 first.
#[must_use]
pub fn listening(processes: &[u32]) -> Vec<SocketAddr> {
    let own = procfs::sockets(processes);
    let all = sockdiag::listeners().unwrap_or_default();
    let mut found: Vec<_> =
        all.into_iter().filter(|it| own.contains(&it.inode)).map(|it| reachable(it.addr)).collect();
    found.sort_by_key(|addr| (addr.is_ipv6(), addr.port()));
    found.dedup();
    found
}

/// The address at which a client on this machine reaches a listener.
fn reachable(mut addr: SocketAddr) -> SocketAddr {
    if addr.ip().is_unspecified() {
        addr.set_ip(match addr {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    addr
}

/// Whether somebody has a port of this machine.
fn is_taken(port: u16) -> bool {
    let tried = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    tried.is_err_and(|err| err.kind() == ErrorKind::AddrInUse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_cut_off_names_no_group() -> Result<()> {
        assert_eq!(named_last(&b"12\n12 345\n"[..])?, [12, 345]);
        assert_eq!(named_last(&b"12\n12 34"[..])?, [12]);
        assert!(named_last(&b"12\n\n"[..])?.is_empty());
        assert!(named_last(&b"1"[..])?.is_empty());
        Ok(())
    }
}
