use std::ffi::{OsStr, OsString};
use std::fmt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::listening::is_port_in_use;
use super::output_to::OutputTo;
use super::running::Server;
use crate::groups;
use crate::port::Port;
use crate::{Failure, TIMEOUT, fail_timeout};

/// The start of a command line that drops the capability `CAP_NET_BIND_SERVICE`, which a process needs to listen on
/// ports below 1024.
pub const WITHOUT_PRIVILEGED_PORTS: &str =
    "setpriv --bounding-set=-net_bind_service --inh-caps=-net_bind_service";

/// The start of a command line that changes the user. The caller adds `--reuid` and `--regid`, and then the command.
pub const AS_USER: &str = "setpriv --clear-groups";

/// How long a server may take until it listens, if [`Launch::start_timeout`] sets no other time.
pub const START_TIMEOUT: Duration = Duration::from_secs(10);

/// The command of a server, with its environment, its limits and the destinations of its output.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The words before the program's name; failures do not show them.
    wrapper: Vec<OsString>,
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(String, String)>,
    stdout: OutputTo,
    stderr: OutputTo,
    /// The shell commands that set the limits before the program starts.
    setup: Vec<String>,
    start_timeout: Duration,
}

impl Launch {
    /// Prepares to start a program with these arguments. All lines of its output are collected.
    pub fn new(program: impl AsRef<OsStr>, args: &[OsString]) -> Self {
        Self {
            wrapper: Vec::new(),
            program: program.as_ref().to_owned(),
            args: args.to_vec(),
            env: Vec::new(),
            stdout: OutputTo::Collected,
            stderr: OutputTo::Collected,
            setup: Vec::new(),
            start_timeout: START_TIMEOUT,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(OsString::from));
        self
    }

    /// Puts these words before the program's name, so that another program starts it. Failures do not show
    /// them.
    #[must_use]
    pub fn with_wrapper(mut self, words: &[&str]) -> Self {
        self.wrapper = words.iter().map(OsString::from).collect();
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets where standard output goes.
    #[must_use]
    pub fn stdout(mut self, to: OutputTo) -> Self {
        self.stdout = to;
        self
    }

    /// Sets where standard error goes.
    #[must_use]
    pub fn stderr(mut self, to: OutputTo) -> Self {
        self.stderr = to;
        self
    }

    /// Sets how long [`Self::start_on_free_port`] waits until the server listens.
    #[must_use]
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.start_timeout = timeout;
        self
    }

    /// Limits the number of descriptors of the server; the server cannot raise the limit (Unix).
    #[must_use]
    pub fn descriptor_limit(mut self, limit: u64) -> Self {
        self.setup.push(format!("ulimit -n {limit}"));
        self
    }

    /// Limits the number of descriptors of the server; the server can raise the limit (Unix).
    #[must_use]
    pub fn soft_descriptor_limit(mut self, limit: u64) -> Self {
        self.setup.push(format!("ulimit -S -n {limit}"));
        self
    }

    /// Limits the address space of the server to this number of bytes (Linux, with prlimit(1)).
    #[must_use]
    pub fn address_space_limit(mut self, bytes: u64) -> Self {
        self.setup.push(format!("set -- prlimit --as={bytes} \"$@\""));
        self
    }

    /// Runs the server as another user, and limits the total number of that user's processes and threads (Linux, as
    /// root, with prlimit(1) and setpriv(1)).
    #[must_use]
    pub fn process_limit(mut self, limit: u64, user: u32) -> Self {
        self.setup.push(format!(
            "set -- prlimit --nproc={limit} {AS_USER} --reuid={user} --regid={user} \"$@\""
        ));
        self
    }

    /// Runs the server without root's privilege to listen on ports below 1024 (Linux, with setpriv(1)).
    #[must_use]
    pub fn without_privileged_ports(mut self) -> Self {
        self.setup.push(format!("set -- {WITHOUT_PRIVILEGED_PORTS} \"$@\""));
        self
    }

    /// Starts the server with `--port 0`, so that the system picks the port, and waits for its line
    /// `Listening on ADDR`.
    ///
    /// # Errors
    ///
    /// The program cannot be run, or its first line is another one, or no line comes in time.
    pub fn start(self) -> Result<Server> {
        self.args(&["--port", "0"]).start_with_own_args()
    }

    /// Starts the server with its own arguments, and waits for its line `Listening on ADDR`.
    ///
    /// # Errors
    ///
    /// The program cannot be run, or its first line is another one, or no line comes in time.
    pub fn start_with_own_args(self) -> Result<Server> {
        let mut server = self.spawn()?;
        if !server.wait_for_addr() {
            let line = server.stdout().so_far().into_iter().next();
            let got = format!("{line:?} on stdout, and the log\n{}", server.log());
            let failure =
                Failure::new(format!("started {self}"), "a line `Listening on ADDR`", got);
            let is_timeout = line.is_none() && !server.stdout().is_complete();
            return Err(if is_timeout { failure.timed_out() } else { failure }.into());
        }
        Ok(server)
    }

    /// Starts the server with its own arguments, and waits for its line `Listening on ADDR`. If the first line is
    /// another one, waits until the server ends.
    ///
    /// # Errors
    ///
    /// The program cannot be run, or it does not print this line and does not end.
    pub fn start_or_wait_for_exit(self) -> Result<Result<Server, Exited>> {
        let mut server = self.spawn()?;
        if server.wait_for_addr() { Ok(Ok(server)) } else { Ok(Err(self.wait_for_end(server)?)) }
    }

    /// Starts a server of any kind, and waits until it listens.
    ///
    /// `{host}` and `{port}` in the command are replaced by an address of this machine and a free port; the variables
    /// `HOST` and `PORT` contain the same values. If the server listens on another port, that port is used. If the
    /// system lists the listening sockets, this method finds the server in the list. It does not connect to the
    /// server: a test connection could occupy a server that serves one client at a time.
    ///
    /// # Errors
    ///
    /// [`StartError`]: the program cannot be run, ends, or does not listen in time.
    pub fn start_on_free_port(&self) -> Result<Server> {
        const TRIES: usize = 3;
        let mut tries = 0;
        loop {
            tries += 1;
            let port = Port::reserve()?;
            let number = port.number();
            let mut server = self.spawn_on(port)?;
            let Err(reason) = server.wait_until_listening(number, self.start_timeout)? else {
                return Ok(server);
            };
            server.wait_for_output();
            // A program that does not reserve its ports may have taken this one in the meantime.
            if tries == TRIES || !(server.says_port_is_in_use() || is_port_in_use(number)) {
                return Err(StartError::new(self, reason, Some(server.last_output())).into());
            }
        }
    }

    /// Starts a program of any kind, and does not wait. `{host}` and `{port}` in the command are replaced as
    /// in [`Self::start_on_free_port`].
    ///
    /// # Errors
    ///
    /// [`StartError`]: the program cannot be run.
    pub fn start_without_waiting(&self) -> Result<Server> {
        self.spawn_on(Port::reserve()?)
    }

    /// Starts a server of this project whose stdout is not read, with `--port` and a free port, and waits until it
    /// listens.
    ///
    /// # Errors
    ///
    /// [`StartError`], as from [`Self::start_on_free_port`].
    pub fn start_with_port_argument(self) -> Result<Server> {
        self.args(&["--port", "{port}"]).start_on_free_port()
    }

    /// Runs a program that has to end by itself, and waits for its end.
    ///
    /// # Errors
    ///
    /// The program cannot be run, or it or its output does not end.
    pub fn run_to_end(self) -> Result<Exited> {
        let server = self.spawn()?;
        self.wait_for_end(server)
    }

    fn wait_for_end(&self, mut server: Server) -> Result<Exited> {
        let Some(status) = server.wait(TIMEOUT)? else {
            let got = format!("it still runs; its log\n{}", server.log());
            return fail_timeout(format!("ran {self}"), "its end", got);
        };
        let (stdout, stderr) = server.output_lines()?;
        Ok(Exited { status, stdout, stderr })
    }

    fn spawn_on(&self, port: Port) -> Result<Server> {
        let started = self.clone().with_addr("127.0.0.1", port.number()).spawn();
        let mut server = started.map_err(|err| StartError::new(self, format!("{err:#}"), None))?;
        server.keep_port(port);
        Ok(server)
    }

    fn has_port_placeholder(&self) -> bool {
        std::iter::once(&self.program)
            .chain(&self.args)
            .any(|word| word.to_string_lossy().contains("{port}"))
    }

    fn with_addr(mut self, host: &str, port: u16) -> Self {
        let port = port.to_string();
        for word in std::iter::once(&mut self.program).chain(&mut self.args) {
            if let Some(text) = word.to_str() {
                *word = text.replace("{host}", host).replace("{port}", &port).into();
            }
        }
        self.env("HOST", host).env("PORT", &port)
    }

    fn spawn(&self) -> Result<Server> {
        let mut command = self.command()?;
        // These variables may be a developer's own settings, which must not change the result of a check.
        command.env_remove("RUST_LOG").env_remove("RUST_BACKTRACE").env_remove("NO_COLOR");
        groups::mark(&mut command);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(self.stdout.stdio()?).stderr(self.stderr.stdio()?);
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let begin = || command.spawn().context("there is no such program, or it cannot be run");
        let child = groups::start_tracked(begin, Child::id)?;
        Ok(Server::started(child, self.to_string(), &self.stdout, &self.stderr))
    }

    /// Returns the command. If there are limits or closed descriptors, the command is a shell that sets them, which
    /// only Unix has.
    fn command(&self) -> Result<Command> {
        let mut script = self.setup.clone();
        let mut closing = String::new();
        if self.stdout == OutputTo::Closed {
            closing += " >&-";
        }
        if self.stderr == OutputTo::Closed {
            closing += " 2>&-";
        }
        let mut words = self.wrapper.iter().chain([&self.program]).chain(&self.args);
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

impl fmt::Display for Launch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for command in &self.setup {
            write!(f, "{command}; ")?;
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

/// How a program ended, and everything that it printed.
#[derive(Clone, Debug)]
pub struct Exited {
    /// The exit status.
    pub status: ExitStatus,
    /// The lines on standard output.
    pub stdout: Vec<String>,
    /// The lines on standard error.
    pub stderr: Vec<String>,
}

impl fmt::Display for Exited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, stdout, stderr } = self;
        write!(f, "{status}\nstdout {stdout:#?}\nstderr {stderr:#?}")
    }
}

/// An error: a server could not be started, or does not listen.
#[derive(Clone, Debug)]
pub struct StartError {
    command: String,
    reason: String,
    /// The program's output, if it could be run.
    output: Option<String>,
    has_port_placeholder: bool,
}

impl StartError {
    fn new(launch: &Launch, reason: String, output: Option<String>) -> Self {
        let has_port_placeholder = launch.has_port_placeholder();
        Self { command: launch.to_string(), reason, output, has_port_placeholder }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not start `{}`: {}", self.command, self.reason)?;
        match self.output.as_deref() {
            None => {}
            Some("") => f.write_str("\nIt printed nothing.")?,
            Some(output) => write!(f, "\nThe last lines that it printed:\n{}", output.trim_end())?,
        }
        if self.has_port_placeholder || self.output.is_none() {
            return Ok(());
        }
        f.write_str(
            "\nThe command contains no {port}, which would be replaced by the port to listen on. A server \
             that always takes the same port has to set SO_REUSEADDR, so that it can be started again at \
             once.",
        )
    }
}

impl std::error::Error for StartError {}
