//! The server that is checked.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use probe::TIMEOUT;
use probe::tls::TlsSettings;

use crate::{OwnServer, Profile};

/// Where the server comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A command, run anew for each check; `{port}` and `{host}` in its words are replaced.
    Command(Vec<OsString>),
    /// A program with the command line of this project's servers and its arguments, run anew for each
    /// check on a port that the system picks.
    Own(Vec<OsString>),
    /// It runs already.
    Running(SocketAddr),
}

/// How a server writes a client's address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Naming {
    /// `127.0.0.1:50312`, as the protocol says.
    #[default]
    HostPort,
    /// `('127.0.0.1', 50312)`, as Python prints a pair, and the servers of many tutorials do.
    Pair,
}

impl Naming {
    /// The address, written so.
    #[must_use]
    pub fn of(self, addr: SocketAddr) -> String {
        match self {
            Self::HostPort => addr.to_string(),
            Self::Pair => format!("('{}', {})", addr.ip(), addr.port()),
        }
    }
}

/// The server that is checked: where it comes from, and what it claims to be.
#[derive(Clone, Debug)]
pub struct ServerUnderTest {
    /// What it claims to be.
    pub profile: Profile,
    /// Where it comes from.
    pub source: Source,
    /// How it writes a client's address.
    pub naming: Naming,
    /// What is known about it if it is a server of this project that is not a stage.
    pub own: Option<OwnServer>,
    /// What chance begins with: the same seed picks the same places to cut and moments to leave.
    pub seed: u64,
    /// How long to wait for what must happen, at least: where exchanges take long, it is longer.
    pub patience: Duration,
    /// How clients speak TLS with it, if they do.
    pub tls: Option<TlsSettings>,
}

impl ServerUnderTest {
    /// A program with the command line of this project's servers.
    pub fn new(profile: Profile, program: impl AsRef<Path>) -> Self {
        let source = Source::Own(vec![program.as_ref().into()]);
        let naming = Naming::default();
        Self { profile, source, naming, own: None, seed: 0, patience: TIMEOUT, tls: None }
    }

    /// Returns a server of this project that is not a stage.
    #[must_use]
    pub fn own(own: OwnServer) -> Self {
        let mut words = vec![own.program];
        words.extend(own.args);
        let source = Source::Own(words.into_iter().map(OsString::from).collect());
        Self { source, own: Some(own), ..Self::new(Profile::Own, own.program) }
    }
}
