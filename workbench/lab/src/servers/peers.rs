//! The table of servers that are measured for comparison: servers of other projects, and C programs that
//! do the minimum.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::super::origin::Origin;
use super::super::protocol::Protocol;
use super::c_program::{ACCEPT, BROADCAST, CProgram};
use super::installed::installed;
use super::spec::{ClientLimit, ServerSpec};
use probe::server::Launch;

/// A server that is measured for comparison.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Its name in tables.
    pub name: &'static str,
    program: Program,
    protocol: Protocol,
    /// Its arguments. `{port}` becomes a free port, `{file}` the path of its configuration.
    args: &'static [&'static str],
    /// The settings that it reads only from a file.
    configuration: Option<&'static str>,
    limit: Option<ClientLimit>,
}

#[derive(Clone, Copy, Debug)]
enum Program {
    /// An installed program with this name.
    Installed(&'static str),
    /// A C program that is compiled first.
    C(CProgram),
}

/// All peers, in the order in which they are shown.
///
/// They store nothing on disk, and disconnect no client that is slow: the generator waits for the slowest.
pub const PEERS: &[Peer] = &[
    Peer {
        name: "c-accept",
        program: Program::C(ACCEPT),
        protocol: Protocol::Echo,
        args: &["{port}"],
        configuration: None,
        limit: None,
    },
    Peer {
        name: "c-broadcast",
        program: Program::C(BROADCAST),
        protocol: Protocol::TinCan,
        args: &["{port}"],
        configuration: None,
        limit: None,
    },
    // The same with the sender's address before each message, as the tin-can chat has it.
    Peer {
        name: "c-broadcast-prefix",
        program: Program::C(BROADCAST),
        protocol: Protocol::TinCan,
        args: &["-p", "{port}"],
        configuration: None,
        limit: None,
    },
    Peer {
        name: "ncat",
        program: Program::Installed("ncat"),
        protocol: Protocol::Lines,
        args: &["-l", "127.0.0.1", "{port}", "--broker", "-k", "--max-conns", "20000"],
        configuration: None,
        limit: Some(ClientLimit {
            clients: 1000,
            why: "select(2) ends at descriptor 1,024",
            default: None,
        }),
    },
    Peer {
        name: "redis",
        program: Program::Installed("redis-server"),
        protocol: Protocol::Redis,
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
        configuration: None,
        limit: None,
    },
    Peer {
        name: "nats",
        program: Program::Installed("nats-server"),
        protocol: Protocol::Nats,
        args: &["-a", "127.0.0.1", "-p", "{port}", "-c", "{file}"],
        configuration: Some("max_connections: 20000\nmax_pending: 1GB\nwrite_deadline: \"60s\"\n"),
        limit: None,
    },
];

impl Peer {
    /// Prepares to start the peer. Its configuration is written into `results`, so that a reader finds
    /// it there; a C program is compiled in `scratch`.
    ///
    /// # Errors
    ///
    /// The reason why the peer is left out.
    pub fn prepare(&self, results: &Path, scratch: &Path) -> Result<ServerSpec, String> {
        let program = self.find_program(scratch)?;
        let file = results.join(format!("{}.conf", self.name));
        if let Some(text) = self.configuration {
            fs::write(&file, text)
                .map_err(|err| format!("cannot write {}: {err}", file.display()))?;
        }
        let path = file.to_string_lossy();
        let args: Vec<OsString> =
            self.args.iter().map(|arg| arg.replace("{file}", &path).into()).collect();
        let launch = Launch::new(program, &args);
        let command = self.command(&file);
        let mut spec = ServerSpec::new(self.name, Origin::Peer, self.protocol, command, launch);
        spec.limit = self.limit;
        Ok(spec)
    }

    fn find_program(&self, scratch: &Path) -> Result<PathBuf, String> {
        match self.program {
            Program::Installed(name) => {
                installed(name).ok_or_else(|| format!("{name} is not installed"))
            }
            Program::C(program) => program.compile(scratch),
        }
    }

    /// The command as one would type it in the folder of the results.
    fn command(&self, file: &Path) -> String {
        let program = match self.program {
            Program::Installed(name) => name,
            Program::C(program) => program.name,
        };
        let file = file.file_name().unwrap_or_default().to_string_lossy();
        let args = self.args.iter().map(|arg| if *arg == "{file}" { &*file } else { arg });
        let words = [program].into_iter().chain(args);
        shlex::try_join(words).unwrap_or_else(|_| self.name.to_owned())
    }
}
