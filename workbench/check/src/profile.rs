//! The profiles of servers.

use std::fmt;

use clap::ValueEnum;

/// The kind of server that a server claims to be: it decides which checks the server must pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// Echo, one client at a time
    EchoUni,
    /// Echo, any number of clients at a time
    EchoMulti,
    /// Chat, built in any way
    Chat,
    /// Chat with a thread or two for each client
    ChatThreads,
    /// Chat with one thread for all clients
    ChatPoll,
    /// Chat with tasks on a few threads
    ChatAsync,
    /// Echo of bytes, on one thread for all connections
    EchoSelect,
    /// Requests of a length, a JSON header and content: one request for each connection
    AppProtocol,
    /// A line-based calculator, with a mode for each client
    Calc,
    /// A chat with names, in frames that begin with their length
    ChatSelect,
    /// A line-based chat for telnet and nc, where clients log in with a name
    TeaParty,
    /// A server of this project with a protocol of its own: see [`OwnServer`](crate::OwnServer)
    #[value(skip)]
    Own,
}

impl Profile {
    /// Reports whether this is a tin-can chat.
    #[must_use]
    pub fn is_chat(self) -> bool {
        matches!(self, Self::Chat | Self::ChatThreads | Self::ChatPoll | Self::ChatAsync)
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
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::EchoUni => "echo-uni",
            Self::EchoMulti => "echo-multi",
            Self::Chat => "chat",
            Self::ChatThreads => "chat-threads",
            Self::ChatPoll => "chat-poll",
            Self::ChatAsync => "chat-async",
            Self::EchoSelect => "echo-select",
            Self::AppProtocol => "app-protocol",
            Self::Calc => "calc",
            Self::ChatSelect => "chat-select",
            Self::TeaParty => "tea-party",
            Self::Own => "own",
        })
    }
}

/// The profiles of servers that speak tin-can messages.
pub(crate) const TIN_CANS: &[Profile] = &[
    Profile::EchoUni,
    Profile::EchoMulti,
    Profile::Chat,
    Profile::ChatThreads,
    Profile::ChatPoll,
    Profile::ChatAsync,
];

/// The profiles of tin-can chats.
pub(crate) const CHATS: &[Profile] =
    &[Profile::Chat, Profile::ChatThreads, Profile::ChatPoll, Profile::ChatAsync];

/// All profiles, for checks that need no particular protocol.
pub(crate) const ANY: &[Profile] = &[
    Profile::EchoUni,
    Profile::EchoMulti,
    Profile::Chat,
    Profile::ChatThreads,
    Profile::ChatPoll,
    Profile::ChatAsync,
    Profile::EchoSelect,
    Profile::AppProtocol,
    Profile::Calc,
    Profile::ChatSelect,
    Profile::TeaParty,
];

/// The profiles of servers that serve several clients at the same time.
pub(crate) const SEVERAL: &[Profile] = match ANY {
    [Profile::EchoUni, several @ ..] => several,
    all => all,
};

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
