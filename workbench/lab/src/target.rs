//! What an experiment is pointed at.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, bail};

use super::load::Crowd;
use super::process::Process;
use probe::tls::Tls;

/// The language that a chat server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tongue {
    /// Text and a zero byte; everybody gets everything, the sender's address before it.
    TinCan,
    /// The same inside TLS.
    TinCanInTls,
    /// Lines as they are, relayed to all but the sender: `ncat --broker`.
    Lines,
    /// Redis' publish and subscribe: senders have connections of their own.
    Redis,
    /// NATS: the same.
    Nats,
}

impl Tongue {
    /// How clients speak TLS, if they do.
    pub fn tls(self) -> Result<Option<Tls>> {
        (self == Self::TinCanInTls).then(Tls::trusting_anybody).transpose()
    }
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

impl Plan {
    /// Less of that time, if there is less of everything.
    #[must_use]
    pub fn time(self, time: Duration) -> Duration {
        if self.is_quick { time / 2 } else { time }
    }
}

impl Target {
    /// So many clients for it, messages of so many bytes.
    pub fn crowd(&self, clients: usize, senders: usize, size: usize) -> Result<Crowd> {
        let Trade::Chat(tongue) = self.trade else { bail!("it does not relay") };
        Ok(Crowd { addr: self.addr, tongue, clients, senders, size })
    }

    /// How its clients speak TLS, if they do.
    pub fn tls(&self) -> Result<Option<Tls>> {
        match self.trade {
            Trade::Chat(tongue) => tongue.tls(),
            Trade::Echo => Ok(None),
        }
    }

    /// What a client says first that wants to receive.
    #[must_use]
    pub fn listener_hello(&self) -> &'static [u8] {
        match self.trade {
            Trade::Chat(tongue) => tongue.listener_hello(),
            Trade::Echo => b"",
        }
    }
}
