use std::ffi::{OsStr, OsString};
use std::fmt;
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail};

use super::listening::is_taken;
use super::outlet::{Outlet, outlet, stdio};
use super::running::Server;
use crate::groups::enter;
use crate::port::Port;
use crate::{PATIENCE, fail};

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
