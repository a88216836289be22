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
    /// One client; then the server ends.
    One,
    /// One client after the other.
    OneAtATime,
    /// Any number of clients at a time.
    Many,
}

/// Connects clients to a server.
pub type ConnectClients = fn(&Server) -> Result<Vec<Client>>;

/// A server of this project that is not a stage: how to start it, how clients talk to it, and its properties.
#[derive(Clone, Copy, Debug)]
pub struct OwnServer {
    /// The path of the server's program.
    pub program: &'static str,
    /// The port on which the server listens without `--port`.
    pub default_port: u16,
    /// Arguments for every start; the arguments of a check follow them.
    pub args: &'static [&'static str],
    /// How clients talk to the server.
    pub protocol: Protocol,
    /// How many clients the server serves.
    pub serves: Serves,
    /// Whether the server starts a process for each client, so that its own process needs no descriptor for a
    /// client.
    pub process_per_client: bool,
    /// Makes the bytes that a client sends so that the server logs a text. The log has the text unchanged, except
    /// for escaped characters.
    pub logged_request: Option<fn(&str) -> Vec<u8>>,
    /// The bytes that a refused client receives before the server closes the connection.
    pub refusal: &'static [u8],
    /// The bytes that a refused client sends so that the server closes its connection at once.
    pub refused_request: &'static [u8],
    /// Makes the longest message that the server still keeps as unfinished; `None` if the server answers each
    /// read.
    pub longest_unfinished: Option<fn() -> Vec<u8>>,
    /// Connects clients for which the server, asked to end, waits as long as it may.
    pub connect_slow_clients: Option<ConnectClients>,
    /// The profile whose checks the server must also pass.
    pub profile: Option<Profile>,
    /// The TLS settings of the clients in the checks of this profile, if they use TLS.
    pub tls: Option<&'static TlsSettings>,
}

impl OwnServer {
    /// Returns a server that serves many clients, which stay connected after an exchange.
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
            process_per_client: false,
            logged_request: None,
            refusal: b"",
            refused_request: b"",
            longest_unfinished: None,
            connect_slow_clients: None,
            profile: None,
            tls: None,
        }
    }

    /// Returns the server with these arguments.
    #[must_use]
    pub const fn args(mut self, args: &'static [&'static str]) -> Self {
        self.args = args;
        self
    }

    /// Returns the server with each exchange ending its connection.
    #[must_use]
    pub const fn ends_connection(mut self) -> Self {
        self.protocol.ends_connection = true;
        self
    }

    /// Returns the server with this number of clients served.
    #[must_use]
    pub const fn serves(mut self, serves: Serves) -> Self {
        self.serves = serves;
        self
    }

    /// Returns the server with a process for each client.
    #[must_use]
    pub const fn process_per_client(mut self) -> Self {
        self.process_per_client = true;
        self
    }

    /// Returns the server with a function that makes the bytes a client sends so that the server logs a text.
    #[must_use]
    pub const fn logged_request(mut self, bytes: fn(&str) -> Vec<u8>) -> Self {
        self.logged_request = Some(bytes);
        self
    }

    /// Returns the server with the bytes that a refused client receives.
    #[must_use]
    pub const fn refusal(mut self, bytes: &'static [u8]) -> Self {
        self.refusal = bytes;
        self
    }

    /// Returns the server with the bytes that a refused client sends to be disconnected at once.
    #[must_use]
    pub const fn refused_request(mut self, bytes: &'static [u8]) -> Self {
        self.refused_request = bytes;
        self
    }

    /// Returns the server with a function that makes the longest message it still keeps as unfinished.
    #[must_use]
    pub const fn longest_unfinished(mut self, bytes: fn() -> Vec<u8>) -> Self {
        self.longest_unfinished = Some(bytes);
        self
    }

    /// Returns the server with a function that connects clients for which it waits, when asked to end, as long as
    /// it may.
    #[must_use]
    pub const fn connect_slow_clients(mut self, clients: ConnectClients) -> Self {
        self.connect_slow_clients = Some(clients);
        self
    }

    /// Sets the profile with this name: the server must also pass its checks.
    ///
    /// # Panics
    ///
    /// Panics if no profile has this name.
    #[must_use]
    pub fn profile(mut self, name: &str) -> Self {
        self.profile = Some(Profile::named(name).expect("the name of a profile"));
        self
    }

    /// Returns the server with TLS for the clients in the checks of its profile.
    #[must_use]
    pub const fn tls(mut self, tls: &'static TlsSettings) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Returns the name of the program and its arguments, which distinguish several servers.
    pub(crate) fn name(&self) -> String {
        let program = Path::new(self.program).file_stem().unwrap_or_default();
        let words = std::iter::once(program.to_string_lossy().into_owned());
        words.chain(self.args.iter().map(ToString::to_string)).collect::<Vec<_>>().join(" ")
    }
}
