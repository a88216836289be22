//! A server that can be started again and again.

use std::sync::Arc;

use anyhow::Result;
use tempfile::TempDir;

use super::super::origin::Origin;
use super::super::protocol::Protocol;
use super::nats::NatsServer;
use probe::server::{Launch, Server};

/// The largest number of clients that a server takes.
#[derive(Clone, Copy, Debug)]
pub struct ClientLimit {
    /// The number.
    pub clients: u32,
    /// The reason, in a few words.
    pub why: &'static str,
    /// How many clients it takes without the option `--max-clients`, if it has that option.
    pub default: Option<usize>,
}

/// A server that can be started again and again.
#[derive(Clone, Debug)]
pub struct ServerSpec {
    /// Its name in tables.
    pub name: String,
    /// Where it comes from.
    pub origin: Origin,
    /// The protocol that it speaks.
    pub protocol: Protocol,
    /// How many clients it takes, if that is known.
    pub limit: Option<ClientLimit>,
    /// The command that starts it, as one would type it.
    pub command: String,
    launch: Launch,
    /// Files that it keeps from one start to the next: its certificate.
    pub(super) files: Option<Arc<TempDir>>,
    nats: Option<NatsServer>,
}

impl ServerSpec {
    /// Describes a server that only needs its command.
    pub(super) fn new(
        name: &str,
        origin: Origin,
        protocol: Protocol,
        command: String,
        launch: Launch,
    ) -> Self {
        let name = name.to_owned();
        Self { name, origin, protocol, limit: None, command, launch, files: None, nats: None }
    }

    /// Adds arguments to the command.
    pub(super) fn with_args(mut self, args: &[&str]) -> Self {
        self.launch = self.launch.args(args);
        self
    }

    /// Changes how the server is started.
    #[must_use]
    pub fn wrapped(mut self, wrap: impl Fn(Launch) -> Launch) -> Self {
        self.launch = wrap(self.launch);
        self
    }

    /// Reports whether its clients use TLS.
    #[must_use]
    pub fn is_in_tls(&self) -> bool {
        self.protocol == Protocol::TinCanTls
    }

    /// Reports whether it relays nothing without a NATS server.
    #[must_use]
    pub fn needs_nats(&self) -> bool {
        self.origin == Origin::Project && self.name == "chat-nats"
    }

    /// Adds the NATS server that is started with it.
    #[must_use]
    pub fn with_nats(mut self, nats: NatsServer) -> Self {
        self.command = format!("{} --nats nats://127.0.0.1:PORT", self.command);
        self.nats = Some(nats);
        self
    }

    /// Starts the server on a port of its own, and waits until it listens. The second server is the NATS
    /// server that it needs, which has to end after it.
    pub fn start(&self) -> Result<(Server, Option<Server>)> {
        let nats = self.nats.as_ref().map(NatsServer::start).transpose()?;
        let mut launch = self.launch.clone();
        if let Some(nats) = &nats {
            launch = launch.args(&["--nats", &format!("nats://{}", nats.addr())]);
        }
        let server = match self.origin {
            Origin::Project => launch.start(),
            Origin::User | Origin::Peer => launch.start_on_free_port(),
        };
        Ok((server?, nats))
    }
}
