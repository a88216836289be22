//! What can be measured, and how it is started.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::{Broker, Origin, Tongue, Trade};
use probe::Said;
use probe::server::{Launch, Server};
use probe::wire::{Client, Heard, framed};

/// A server of this project.
#[derive(Clone, Copy, Debug)]
pub struct Stage {
    /// Its package and program.
    pub name: &'static str,
    /// What it does.
    pub trade: Trade,
    /// Whether it is one of the stages, which are always there. Variations may not be.
    pub is_stage: bool,
    /// Where it ends, which it is told if that is above its default.
    pub ceiling: Option<Ceiling>,
}

const CHAT: Trade = Trade::Chat(Tongue::TinCan);
const IN_TLS: Trade = Trade::Chat(Tongue::TinCanInTls);

/// All that may be in the workspace, in the order in which they are shown.
pub const STAGES: &[Stage] = &[
    Stage { name: "echo-uni", trade: Trade::Echo, is_stage: true, ceiling: None },
    Stage { name: "echo-multi", trade: Trade::Echo, is_stage: true, ceiling: None },
    Stage { name: "echo-mixins", trade: Trade::Echo, is_stage: false, ceiling: None },
    Stage { name: "chat-threads", trade: CHAT, is_stage: true, ceiling: THREADS },
    Stage { name: "chat-green", trade: CHAT, is_stage: false, ceiling: ROOMY },
    Stage { name: "chat-poll", trade: CHAT, is_stage: true, ceiling: ROOMY },
    Stage { name: "chat-uring", trade: CHAT, is_stage: false, ceiling: ROOMY },
    Stage { name: "chat-async", trade: CHAT, is_stage: true, ceiling: ROOMY },
    Stage { name: "chat-smol", trade: CHAT, is_stage: false, ceiling: ROOMY },
    Stage { name: "chat-tls", trade: IN_TLS, is_stage: false, ceiling: ROOMY },
    Stage { name: "chat-nats", trade: CHAT, is_stage: false, ceiling: ROOMY },
];

/// Two threads a client; Rust aborts a program that has about 16,000.
const THREADS: Option<Ceiling> = Some(Ceiling { clients: 7500, why: "each has two threads" });

/// Ten thousand, and those who send besides.
const ROOMY: Option<Ceiling> = Some(Ceiling { clients: 12_000, why: "it was told so" });

/// How many clients a server takes at most.
#[derive(Clone, Copy, Debug)]
pub struct Ceiling {
    /// So many.
    pub clients: u32,
    /// In a few words.
    pub why: &'static str,
}

impl Stage {
    /// Whether its package is in this workspace.
    #[must_use]
    pub fn is_in(&self, workspace: &Path) -> bool {
        let folders = [workspace.join(self.name), workspace.join("variations").join(self.name)];
        folders.iter().any(|folder| folder.join("Cargo.toml").exists())
    }
}

/// A server that can be started again and again.
#[derive(Clone, Debug)]
pub struct Subject {
    /// What it is called in tables.
    pub name: String,
    /// Where it comes from.
    pub origin: Origin,
    /// What it does.
    pub trade: Trade,
    /// How many clients it takes at most, if that is known.
    pub ceiling: Option<Ceiling>,
    /// How it is started, as one would type it.
    pub shown: String,
    launch: Launch,
    /// What it keeps in files, from one start to the next: its certificate.
    _files: Option<Arc<TempDir>>,
    broker: Option<Broker>,
}

impl Subject {
    /// A server of this project, whose program is there.
    pub fn ours(stage: &Stage, program: &Path) -> Result<Self> {
        let mut launch = Launch::new(program, &[]).args(&["-qqq"]);
        let mut shown = format!("{} --port 0 -qqq", stage.name);
        if let Some(Ceiling { clients, .. }) = stage.ceiling {
            let clients = clients.to_string();
            launch = launch.args(&["--max-clients", &clients]);
            shown = format!("{shown} --max-clients {clients}");
        }
        let mut files = None;
        if stage.trade == IN_TLS {
            let folder = TempDir::new().context("cannot make a folder for a certificate")?;
            launch = launch.args(&["--dev-cert", &folder.path().to_string_lossy()]);
            shown += " --dev-cert dev";
            files = Some(Arc::new(folder));
        }
        let Stage { name, trade, ceiling, .. } = *stage;
        let (name, origin) = (name.to_owned(), Origin::Ours);
        Ok(Self { name, origin, trade, ceiling, shown, launch, _files: files, broker: None })
    }

    /// The reader's own; what it does is found out by talking to it.
    ///
    /// # Errors
    ///
    /// [`NotStarted`](probe::server::NotStarted), or what it answered that neither an echo nor a
    /// chat server does.
    pub fn mine(
        name: &str,
        command: &[OsString],
        shown: String,
        wrap: impl Fn(Launch) -> Launch,
    ) -> Result<Self> {
        let (program, args) = command.split_first().context("there is no command")?;
        let launch = wrap(Launch::new(program, args));
        let server = launch.start_anything()?;
        let trade = recognize(&server).with_context(|| {
            format!(
                "cannot tell what {name} is, `{shown}`: an echo server answers `hello␀` and closes, \
                 a chat server sends it to all, back to the sender, too, and stays"
            )
        })?;
        let (name, origin) = (name.to_owned(), Origin::Mine);
        Ok(Self { name, origin, trade, ceiling: None, shown, launch, _files: None, broker: None })
    }

    /// Whether its clients are inside TLS.
    #[must_use]
    pub fn is_in_tls(&self) -> bool {
        self.trade == IN_TLS
    }

    /// Has this done to how it is started.
    #[must_use]
    pub fn wrapped(mut self, wrap: impl Fn(Launch) -> Launch) -> Self {
        self.launch = wrap(self.launch);
        self
    }

    /// Whether it relays nothing without a NATS server.
    #[must_use]
    pub fn needs_broker(&self) -> bool {
        self.origin == Origin::Ours && self.name == "chat-nats"
    }

    /// Has this started beside it.
    #[must_use]
    pub fn beside(mut self, broker: Broker) -> Self {
        self.shown = format!("{} --nats nats://127.0.0.1:PORT", self.shown);
        self.broker = Some(broker);
        self
    }

    /// Starts it on a port of its own, and waits until it listens. What it needs comes second, to be
    /// ended after it.
    pub fn start(&self) -> Result<(Server, Option<Server>)> {
        let broker = self.broker.as_ref().map(Broker::start).transpose()?;
        let mut launch = self.launch.clone();
        if let Some(broker) = &broker {
            launch = launch.args(&["--nats", &format!("nats://{}", broker.addr())]);
        }
        let server = match self.origin {
            Origin::Ours => launch.start(),
            Origin::Mine | Origin::Peer => launch.start_anything(),
        };
        Ok((server?, broker))
    }
}

/// An echo server answers once and closes; a chat server answers again.
fn recognize(server: &Server) -> Result<Trade> {
    const IN_TIME: Duration = Duration::from_secs(5);
    let mut client = Client::connect(server.addr())?.patient(IN_TIME);
    let answers = |heard: &Heard, text: &str| match heard {
        Heard::Frame(answer) => {
            let answer = String::from_utf8_lossy(answer);
            answer == text || answer.ends_with(&format!(": {text}"))
        }
        _ => false,
    };
    client.send(&framed("hello"))?;
    let heard = client.hear(IN_TIME)?;
    if !answers(&heard, "hello") {
        return Err(client.failure(Said::words("`hello␀` or `ADDR: hello␀`"), heard));
    }
    // A server that has closed may reset the connection on this.
    client.send_regardless(&framed("again"));
    match client.hear(IN_TIME)? {
        Heard::Eof | Heard::Reset => Ok(Trade::Echo),
        heard if answers(&heard, "again") => Ok(CHAT),
        heard => {
            let expected = "the end of the connection, or `again␀`, or `ADDR: again␀`";
            Err(client.failure(Said::words(expected), heard))
        }
    }
}

/// Somebody else's server, which speaks another language.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// What it is called.
    pub name: &'static str,
    /// Its program.
    pub program: &'static str,
    tongue: Tongue,
    args: &'static [&'static str],
    /// What it can be told only in a file.
    file: Option<&'static str>,
    ceiling: Option<Ceiling>,
}

/// Those for whom there is an adapter: a line relay, Redis and NATS.
///
/// They keep nothing on disk, and cut off nobody who is slow: the generator waits for the slowest.
pub const PEERS: &[Peer] = &[
    Peer {
        name: "ncat",
        program: "ncat",
        tongue: Tongue::Lines,
        args: &["-l", "127.0.0.1", "{port}", "--broker", "-k", "--max-conns", "20000"],
        file: None,
        ceiling: Some(Ceiling { clients: 1000, why: "select(2) ends at descriptor 1,024" }),
    },
    Peer {
        name: "redis",
        program: "redis-server",
        tongue: Tongue::Redis,
        args: &[
            "--bind",
            "127.0.0.1",
            "--port",
            "{port}",
            "--save",
            "",
            "--io-threads",
            "1",
            "--maxclients",
            "12000",
            "--client-output-buffer-limit",
            "pubsub 0 0 0",
        ],
        file: None,
        ceiling: None,
    },
    Peer {
        name: "nats",
        program: "nats-server",
        tongue: Tongue::Nats,
        args: &["-a", "127.0.0.1", "-p", "{port}", "-c", "{file}"],
        file: Some("max_connections: 20000\nmax_pending: 1GB\nwrite_deadline: \"60s\"\n"),
        ceiling: None,
    },
];

impl Peer {
    /// Prepares to start it, if it is installed; a file that it needs is put into the folder.
    pub fn find(&self, folder: &Path) -> Result<Option<Subject>> {
        let Some(program) = installed(self.program) else { return Ok(None) };
        let file = folder.join(format!("{}.conf", self.name));
        if let Some(text) = self.file {
            fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        }
        let path = file.to_string_lossy();
        let args: Vec<OsString> =
            self.args.iter().map(|arg| arg.replace("{file}", &path).into()).collect();
        let words = [self.program].into_iter().chain(self.args.iter().copied());
        let shown = shlex::try_join(words.map(|word| match word {
            "{file}" => "nats.conf",
            other => other,
        }));
        Ok(Some(Subject {
            name: self.name.to_owned(),
            origin: Origin::Peer,
            trade: Trade::Chat(self.tongue),
            ceiling: self.ceiling,
            shown: shown.unwrap_or_else(|_| self.name.to_owned()),
            launch: Launch::new(program, &args),
            _files: None,
            broker: None,
        }))
    }
}

/// Where a program is that one can call by its name; servers may be where only root looks.
pub(super) fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.extend(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    let program = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    folders.into_iter().map(|folder| folder.join(&program)).find(|path| is_program(path))
}

#[cfg(unix)]
fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_program(path: &Path) -> bool {
    path.is_file()
}
