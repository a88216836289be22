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
    /// Whether the server starts a process for each client. Its own process then does not need a descriptor
    /// for a client.
    pub process_per_client: bool,
    /// Returns a request that makes the server log the given text. The log contains the text unchanged,
    /// except for escaped characters.
    pub logged_request: Option<fn(&str) -> Vec<u8>>,
    /// The bytes that a refused client receives before the server closes the connection.
    pub refusal: &'static [u8],
    /// The bytes that the checks send on a connection that the server refuses; after them, the server closes
    /// the connection at once.
    pub refused_request: &'static [u8],
    /// Returns the longest message that the server keeps as unfinished; `None` if the server answers each
    /// read.
    pub longest_unfinished: Option<fn() -> Vec<u8>>,
    /// Connects clients that delay the exit of the server until its deadline.
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

    /// Sets the arguments for every start.
    #[must_use]
    pub const fn args(mut self, args: &'static [&'static str]) -> Self {
        self.args = args;
        self
    }

    /// Sets that each exchange ends its connection.
    #[must_use]
    pub const fn ends_connection(mut self) -> Self {
        self.protocol.ends_connection = true;
        self
    }

    /// Sets how many clients the server serves.
    #[must_use]
    pub const fn serves(mut self, serves: Serves) -> Self {
        self.serves = serves;
        self
    }

    /// Sets that the server starts a process for each client.
    #[must_use]
    pub const fn process_per_client(mut self) -> Self {
        self.process_per_client = true;
        self
    }

    /// Sets the function that returns a request that makes the server log the given text.
    #[must_use]
    pub const fn logged_request(mut self, bytes: fn(&str) -> Vec<u8>) -> Self {
        self.logged_request = Some(bytes);
        self
    }

    /// Sets the bytes that a refused client receives.
    #[must_use]
    pub const fn refusal(mut self, bytes: &'static [u8]) -> Self {
        self.refusal = bytes;
        self
    }

    /// Sets the bytes that the checks send on a connection that the server refuses.
    #[must_use]
    pub const fn refused_request(mut self, bytes: &'static [u8]) -> Self {
        self.refused_request = bytes;
        self
    }

    /// Sets the function that returns the longest message that the server keeps as unfinished.
    #[must_use]
    pub const fn longest_unfinished(mut self, bytes: fn() -> Vec<u8>) -> Self {
        self.longest_unfinished = Some(bytes);
        self
    }

    /// Sets the function that connects clients that delay the exit of the server until its deadline.
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

    /// Sets the TLS settings of the clients in the checks of the server's profile.
    #[must_use]
    pub const fn tls(mut self, tls: &'static TlsSettings) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Returns the name of the program followed by its arguments. This name distinguishes servers that share
    /// a program.
    pub(crate) fn name(&self) -> String {
        let program = Path::new(self.program).file_stem().unwrap_or_default();
        let words = std::iter::once(program.to_string_lossy().into_owned());
        words.chain(self.args.iter().map(ToString::to_string)).collect::<Vec<_>>().join(" ")
    }
}
