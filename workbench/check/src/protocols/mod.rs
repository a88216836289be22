//! The protocols other than tin-can messages: each file has one protocol, its profile and its checks.

mod app_protocol;
mod calc;
mod chat_select;
mod echo_select;
mod tea_party;

use crate::{Check, Profile, Protocol, ServerUnderTest};

/// All of them, in the order of the grid. A new protocol is a file and its row here.
pub(crate) static OTHER_PROTOCOLS: &[&OtherProtocol] = &[
    &echo_select::PROTOCOL,
    &app_protocol::PROTOCOL,
    &calc::PROTOCOL,
    &chat_select::PROTOCOL,
    &tea_party::PROTOCOL,
];

/// A protocol other than tin-can messages, with the profile of its servers and its checks.
#[derive(Debug)]
pub struct OtherProtocol {
    /// The name of the profile.
    pub name: &'static str,
    /// A short description of the servers, for `--help`.
    pub description: &'static str,
    /// How clients talk to a server.
    pub protocol: Protocol,
    /// Whether a server must serve more than 1,000 clients at a time. A server with a thread for each client
    /// may refuse some of them.
    pub serves_thousands: bool,
    /// The checks of this protocol that must pass before the checks that are for several protocols.
    pub basic_checks: &'static [&'static str],
    /// The checks of this protocol.
    pub checks: &'static [Check],
    /// The right servers in `mutants/right/`.
    pub right_servers: &'static [&'static str],
}

impl OtherProtocol {
    /// Reports whether a check is one of this protocol.
    pub(crate) fn has_check(&self, id: &str) -> bool {
        self.checks.iter().any(|check| check.id == id)
    }
}

/// Profiles with the same name are the same profile.
impl PartialEq for OtherProtocol {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for OtherProtocol {}

/// Returns the protocol of a server; `None` if it exchanges tin-can messages, which
/// [`Bench`](crate::Bench) handles.
pub(crate) fn protocol_of(server: &ServerUnderTest) -> Option<Protocol> {
    match (server.own, server.profile) {
        (Some(own), _) => Some(own.protocol),
        (None, Profile::Other(other)) => Some(other.protocol),
        (None, _) => None,
    }
}
