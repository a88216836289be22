//! A server of this project that is not a stage.

use std::path::Path;

use anyhow::Result;
use probe::server::Server;
use probe::tls::TlsSettings;
use probe::wire::Client;

use crate::Profile;
use crate::protocol::Protocol;

/// How many clients a server serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Serves {
    /// One, and then it ends.
    One,
    /// One after the other.
    OneAtATime,
    /// Any number at a time.
    Many,
}

/// Connects clients to a server.
pub type Connect = fn(&Server) -> Result<Vec<Client>>;

/// A server of this project that is not a stage: how to start it, how to talk to it, and what kind of server
/// it is.
#[derive(Clone, Copy, Debug)]
pub struct OwnServer {
    /// The server's program.
    pub program: &'static str,
    /// The port that it listens on unless told otherwise.
    pub default_port: u16,
    /// Arguments of every start, before those of the check.
    pub args: &'static [&'static str],
    /// How clients talk to it.
    pub protocol: Protocol,
    /// How many clients it serves.
    pub serves: Serves,
    /// Whether each client has a process, so that clients cost the server no descriptors.
    pub has_processes: bool,
    /// The bytes that a client sends so that a text comes into the log, as it is but for what is
    /// escaped.
    pub text: Option<fn(&str) -> Vec<u8>>,
    /// What the server tells a client for which it has no place, before it closes.
    pub full: &'static [u8],
    /// What a client for which there is no place says, so that the server turns it away at once.
    pub knock: &'static [u8],
    /// An unfinished message, as long as the protocol lets it be; none where each read is answered.
    pub unfinished: Option<fn() -> Vec<u8>>,
    /// Clients for which the server, asked to end, waits as long as it may.
    pub held_by: Option<Connect>,
    /// As what it has to climb the ladder, too.
    pub profile: Option<Profile>,
    /// How the clients of the ladder speak TLS with it, if they do.
    pub tls: Option<&'static TlsSettings>,
}

impl OwnServer {
    /// A server of many clients, who stay after an exchange.
    #[must_use]
    pub const fn new(
        program: &'static str,
        default_port: u16,
        exchange: fn(&mut Client) -> Result<()>,
    ) -> Self {
        Self {
            program,
            default_port,
            args: &[],
            protocol: Protocol::new(exchange),
            serves: Serves::Many,
            has_processes: false,
            text: None,
            full: b"",
            knock: b"",
            unfinished: None,
            held_by: None,
            profile: None,
            tls: None,
        }
    }

    /// The same, started with these arguments.
    #[must_use]
    pub const fn args(mut self, args: &'static [&'static str]) -> Self {
        self.args = args;
        self
    }

    /// The same, but each exchange ends its connection.
    #[must_use]
    pub const fn once(mut self) -> Self {
        self.protocol.ends_connection = true;
        self
    }

    /// The same for so many clients.
    #[must_use]
    pub const fn serves(mut self, serves: Serves) -> Self {
        self.serves = serves;
        self
    }

    /// The same with a process for each client.
    #[must_use]
    pub const fn has_processes(mut self) -> Self {
        self.has_processes = true;
        self
    }

    /// The same, and these bytes bring a text into the log.
    #[must_use]
    pub const fn text(mut self, bytes: fn(&str) -> Vec<u8>) -> Self {
        self.text = Some(bytes);
        self
    }

    /// The same, and this is what a client is told for which there is no place.
    #[must_use]
    pub const fn full(mut self, told: &'static [u8]) -> Self {
        self.full = told;
        self
    }

    /// The same, and whoever says this where there is no place is turned away at once.
    #[must_use]
    pub const fn knock(mut self, said: &'static [u8]) -> Self {
        self.knock = said;
        self
    }

    /// The same, and these bytes are the longest message that the server still takes for unfinished.
    #[must_use]
    pub const fn unfinished(mut self, bytes: fn() -> Vec<u8>) -> Self {
        self.unfinished = Some(bytes);
        self
    }

    /// The same, and for these clients the server waits at its end, as long as it may.
    #[must_use]
    pub const fn held_by(mut self, clients: Connect) -> Self {
        self.held_by = Some(clients);
        self
    }

    /// The same, which also has to pass what `tincan check` asks of this profile.
    #[must_use]
    pub const fn climbs_as(mut self, profile: Profile) -> Self {
        self.profile = Some(profile);
        self
    }

    /// The same, where the clients of the ladder are inside TLS.
    #[must_use]
    pub const fn inside(mut self, tls: &'static TlsSettings) -> Self {
        self.tls = Some(tls);
        self
    }

    /// The program and its arguments, to tell several servers apart.
    pub(crate) fn name(&self) -> String {
        let program = Path::new(self.program).file_stem().unwrap_or_default();
        let words = std::iter::once(program.to_string_lossy().into_owned());
        words.chain(self.args.iter().map(ToString::to_string)).collect::<Vec<_>>().join(" ")
    }
}
