//! A NATS server that a test can kill, suspend and restart; and the nodes.

use std::env;
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use async_nats::jetstream::{self, stream};
use probe::port::Port;
use probe::server::{Launch, Server, Signal};
use probe::{TIMEOUT, report_skipped, wait_until};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

pub struct Nats {
    launch: Launch,
    server: Option<Server>,
    /// The port and the folder of the streams stay the same after a restart.
    port: Port,
    _folder: TempDir,
    runtime: Runtime,
}

impl Nats {
    /// Starts a NATS server, with streams if the arguments contain `-js`. Returns `None` if nats-server is not installed; where CI is set, that is an
    /// error.
    pub fn start(args: &[&str]) -> Result<Option<Self>> {
        // Debian installs it where only root looks for programs.
        let path = env::var_os("PATH").unwrap_or_default();
        let folders = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
        let mut programs = folders.map(|folder| folder.join("nats-server"));
        let Some(program) = programs.find(|program| program.is_file()) else {
            report_skipped("nats-server is not installed")?;
            return Ok(None);
        };
        let (port, folder) = (Port::reserve()?, tempfile::tempdir()?);
        let path = folder.path().to_str().context("the path of the folder is not UTF-8")?;
        let launch = Launch::new(program, &[]).args(&["-a", "127.0.0.1", "-sd", path]);
        let launch = launch.args(&["-p", &port.to_string()]).args(args);
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let mut nats = Self { launch, server: None, port, _folder: folder, runtime };
        nats.restart()?;
        Ok(Some(nats))
    }

    pub fn restart(&mut self) -> Result<()> {
        self.server = Some(self.launch.start_on_free_port()?);
        Ok(())
    }

    pub fn kill(&mut self) {
        self.server = None;
    }

    /// Suspends the server: the system still accepts connections for it, but nothing answers.
    pub fn suspend(&self) -> Result<()> {
        self.server()?.signal(Signal::STOP)?;
        // On a busy machine, its threads may run for a moment after the signal.
        assert!(wait_until(TIMEOUT, || Ok(!self.server()?.is_busy()))?, "nats-server still runs");
        Ok(())
    }

    pub fn resume(&self) -> Result<()> {
        self.server()?.signal(Signal::CONT)
    }

    fn server(&self) -> Result<&Server> {
        self.server.as_ref().context("nats-server does not run")
    }

    pub fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// Waits until this many lines of the server's log contain a text.
    pub fn wait_for_log(&self, text: &str, lines: usize) -> Result<()> {
        let log = self.server()?.log();
        let enough = wait_until(TIMEOUT, || Ok(log.count(|line| line.contains(text)) >= lines))?;
        assert!(enough, "the log of NATS has fewer than {lines} lines with {text:?}:\n{log}");
        Ok(())
    }

    /// Creates the stream of a room before a node does it.
    pub fn create_stream(&self, room: &str, mut config: stream::Config) -> Result<()> {
        config.name = format!("CHAT_{room}");
        if config.subjects.is_empty() {
            config.subjects.push(format!("chat.{room}"));
        }
        self.runtime.block_on(async {
            let client = async_nats::connect(self.addr().to_string()).await?;
            jetstream::new(client).create_stream(config).await?;
            Ok(())
        })
    }

    /// Returns the number of the last entry in the stream of a room.
    pub fn last_sequence(&self, room: &str) -> Result<u64> {
        self.runtime.block_on(async {
            let client = async_nats::connect(self.addr().to_string()).await?;
            let stream = jetstream::new(client).get_stream(format!("CHAT_{room}")).await?;
            Ok(stream.cached_info().state.last_sequence)
        })
    }
}

pub struct Node(pub Server);

impl Node {
    /// Starts a node, and waits until it listens. `nats` is an address, with or without `user:password@` before
    /// it.
    pub fn start(nats: impl Display, room: &str, args: &[&str]) -> Result<Self> {
        let launch = Launch::new(env!("CARGO_BIN_EXE_chat-nats"), &[]);
        let launch = launch.args(&["--nats", &format!("nats://{nats}"), "--room", room]).args(args);
        Ok(Self(launch.start()?))
    }

    /// Waits for a line of the log that contains a text.
    pub fn wait_for_log(&self, text: &str) -> Result<()> {
        self.0.wait_for_log(text, |line| line.contains(text)).map(drop)
    }

    /// Stops the node, and checks that its exit code is 0 and that nothing has panicked.
    pub fn stop(mut self) -> Result<()> {
        self.0.signal(Signal::TERM)?;
        self.0.expect_exit("stopped a node")?;
        assert_eq!(self.0.log().count(|line| line.contains("panic")), 0, "a node panicked");
        Ok(())
    }
}

/// Prints the log. The test runner shows it if the test fails.
impl Drop for Node {
    fn drop(&mut self) {
        eprintln!("The log of the node on {}:\n{}", self.0.addr(), self.0.log());
    }
}
