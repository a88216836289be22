//! The profiles of servers.

use std::fmt;
use std::sync::LazyLock;

use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::protocols::{OTHER_PROTOCOLS, OtherProtocol};

/// The kind of server that a server claims to be: it decides which checks the server must pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// An echo server that serves one client at a time.
    EchoUni,
    /// An echo server that serves any number of clients at a time.
    EchoMulti,
    /// A chat, built in any way.
    Chat,
    /// A chat with a thread or two for each client.
    ChatThreads,
    /// A chat with one thread for all clients.
    ChatPoll,
    /// A chat with tasks on a few threads.
    ChatAsync,
    /// A server with another protocol than tin-can messages.
    Other(&'static OtherProtocol),
    /// A server of this project that has no profile: see [`OwnServer`](crate::OwnServer).
    None,
}

impl Profile {
    /// The profiles of servers that exchange tin-can messages.
    const TIN_CANS: [Self; 6] = [
        Self::EchoUni,
        Self::EchoMulti,
        Self::Chat,
        Self::ChatThreads,
        Self::ChatPoll,
        Self::ChatAsync,
    ];

    /// Returns the name of the profile, and a short description of its servers.
    const fn texts(self) -> (&'static str, &'static str) {
        match self {
            Self::EchoUni => ("echo-uni", "Echo, one client at a time"),
            Self::EchoMulti => ("echo-multi", "Echo, any number of clients at a time"),
            Self::Chat => ("chat", "Chat, built in any way"),
            Self::ChatThreads => ("chat-threads", "Chat with a thread or two for each client"),
            Self::ChatPoll => ("chat-poll", "Chat with one thread for all clients"),
            Self::ChatAsync => ("chat-async", "Chat with tasks on a few threads"),
            Self::Other(protocol) => (protocol.name, protocol.description),
            Self::None => ("none", "No profile"),
        }
    }

    /// Returns the profile with this name.
    ///
    /// # Errors
    ///
    /// Returns an error if no profile has this name.
    pub fn named(name: &str) -> anyhow::Result<Self> {
        Self::from_str(name, false).map_err(anyhow::Error::msg)
    }

    /// Reports whether this is one of the profiles on a command line.
    pub(crate) fn is_any(self) -> bool {
        self != Self::None
    }

    /// Reports whether the server exchanges tin-can messages.
    pub(crate) fn is_tin_can(self) -> bool {
        Self::TIN_CANS.contains(&self)
    }

    /// Reports whether this is a tin-can chat.
    #[must_use]
    pub fn is_chat(self) -> bool {
        self.is_tin_can() && !self.is_echo()
    }

    /// Reports whether the server answers one message for each connection.
    #[must_use]
    pub fn is_echo(self) -> bool {
        matches!(self, Self::EchoUni | Self::EchoMulti)
    }

    /// Reports whether a silent client makes the other clients wait.
    #[must_use]
    pub fn serves_one_at_a_time(self) -> bool {
        self == Self::EchoUni
    }

    /// Reports whether this is a profile of servers that serve several clients at the same time.
    pub(crate) fn serves_several(self) -> bool {
        self.is_any() && !self.serves_one_at_a_time()
    }

    /// Returns the protocol, if the server does not exchange tin-can messages.
    pub(crate) fn other_protocol(self) -> Option<&'static OtherProtocol> {
        match self {
            Self::Other(protocol) => Some(protocol),
            _ => None,
        }
    }
}

impl ValueEnum for Profile {
    fn value_variants<'a>() -> &'a [Self] {
        static ALL: LazyLock<Vec<Profile>> = LazyLock::new(|| {
            let others = OTHER_PROTOCOLS.iter().map(|protocol| Profile::Other(protocol));
            Profile::TIN_CANS.into_iter().chain(others).collect()
        });
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (name, description) = self.texts();
        self.is_any().then(|| PossibleValue::new(name).help(description))
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.texts().0)
    }
}

/// The stages.
pub(crate) const STAGES: &[Profile] = &[
    Profile::EchoUni,
    Profile::EchoMulti,
    Profile::ChatThreads,
    Profile::ChatPoll,
    Profile::ChatAsync,
];

/// The stages that serve several clients at the same time.
pub(crate) const SEVERAL_STAGES: &[Profile] =
    &[Profile::EchoMulti, Profile::ChatThreads, Profile::ChatPoll, Profile::ChatAsync];

/// The stages that are chats.
pub(crate) const CHAT_STAGES: &[Profile] =
    &[Profile::ChatThreads, Profile::ChatPoll, Profile::ChatAsync];

/// The stages that are echo servers.
pub(crate) const ECHO_STAGES: &[Profile] = &[Profile::EchoUni, Profile::EchoMulti];
