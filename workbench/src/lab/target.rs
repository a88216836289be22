//! What an experiment is pointed at.

use std::net::SocketAddr;

use super::load::Process;

/// The language that a chat server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tongue {
    /// Text and a zero byte; everybody gets everything, the sender's address before it.
    TinCan,
    /// Lines as they are, relayed to all but the sender: `ncat --broker`.
    Lines,
    /// Redis' publish and subscribe: senders have connections of their own.
    Redis,
    /// NATS: the same.
    Nats,
}

/// What a server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trade {
    /// It relays what each says to all.
    Chat(Tongue),
    /// It answers one message and closes.
    Echo,
}

/// A server that runs.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where it listens.
    pub addr: SocketAddr,
    /// What it does.
    pub trade: Trade,
    /// Its process, or all of its group.
    pub process: Process,
}

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Less of everything: fewer clients, shorter.
    pub is_quick: bool,
}
