//! The server under test.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use probe::TIMEOUT;
use probe::tls::TlsSettings;

use crate::{OwnServer, Profile};

/// How the checks get the server.
#[derive(Clone, Debug)]
pub enum Source {
    /// Each check runs this command. `{port}` and `{host}` in its words are replaced.
    Command(Vec<OsString>),
    /// Each check runs this program with these arguments, on a port that the system picks. The program has the
    /// command line of this project's servers.
    Program(Vec<OsString>),
    /// The server runs already and listens on this address.
    Running(SocketAddr),
}

/// The notation in which a server writes a client's address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AddressFormat {
    /// As `127.0.0.1:50312`, as the protocol requires.
    #[default]
    HostPort,
    /// As `('127.0.0.1', 50312)`, as Python prints an address, and as the servers of many tutorials do.
    PythonTuple,
}

impl AddressFormat {
    /// Formats an address in this notation.
    #[must_use]
    pub fn format(self, addr: SocketAddr) -> String {
        match self {
            Self::HostPort => addr.to_string(),
            Self::PythonTuple => format!("('{}', {})", addr.ip(), addr.port()),
        }
    }

    /// Returns the address in front of a relayed message; `None` if the text does not begin with an address in
    /// this notation, a colon and a space.
    #[must_use]
    pub fn parse_prefix(self, text: &str) -> Option<SocketAddr> {
        match self {
            Self::HostPort => text.split_once(": ")?.0.parse().ok(),
            Self::PythonTuple => {
                let (ip, port) = text.strip_prefix("('")?.split_once("): ")?.0.split_once("', ")?;
                Some(SocketAddr::new(ip.parse().ok()?, port.parse().ok()?))
            }
        }
    }
}

/// The server under test, and how the checks reach it.
#[derive(Clone, Debug)]
pub struct ServerUnderTest {
    /// The profile that the server claims to have.
    pub profile: Profile,
    /// How the checks get the server.
    pub source: Source,
    /// The notation in which the server writes a client's address.
    pub address_format: AddressFormat,
    /// The description of the server if it is a server of this project that is not a stage.
    pub own: Option<OwnServer>,
    /// The seed of the random numbers: the same seed splits messages at the same bytes, and disconnects
    /// clients after the same steps.
    pub seed: u64,
    /// How long a check waits for an event.
    pub patience: Duration,
    /// The TLS settings of the clients, if they use TLS.
    pub tls: Option<TlsSettings>,
}

impl ServerUnderTest {
    /// Returns a server under test that is started from a program with the command line of this project's
    /// servers.
    pub fn new(profile: Profile, program: impl AsRef<Path>) -> Self {
        let source = Source::Program(vec![program.as_ref().into()]);
        let address_format = AddressFormat::default();
        Self { profile, source, address_format, own: None, seed: 0, patience: TIMEOUT, tls: None }
    }

    /// Returns a server under test from the description of a server of this project that is not a stage.
    #[must_use]
    pub fn own(own: OwnServer) -> Self {
        let mut words = vec![own.program];
        words.extend(own.args);
        let source = Source::Program(words.into_iter().map(OsString::from).collect());
        Self { source, own: Some(own), ..Self::new(Profile::None, own.program) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_notation_parses_the_addresses_that_it_writes_and_no_others() {
        let addr: SocketAddr = "127.0.0.1:50312".parse().unwrap();
        for (address_format, other) in [
            (AddressFormat::HostPort, AddressFormat::PythonTuple),
            (AddressFormat::PythonTuple, AddressFormat::HostPort),
        ] {
            let text = format!("{}: a message: with a colon", address_format.format(addr));
            assert_eq!(address_format.parse_prefix(&text), Some(addr));
            assert_eq!(other.parse_prefix(&text), None);
            assert_eq!(address_format.parse_prefix("server: full"), None);
        }
    }
}
