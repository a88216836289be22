//! The protocols that measured servers speak, and the bytes that a client sends and receives.

use anyhow::Result;

use probe::tls::TlsSettings;

/// What a server does with a message, and in which form it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// The server sends one message back and closes the connection.
    Echo,
    /// The tin-can chat: a text and a zero byte; all clients receive it, with the sender's address.
    TinCan,
    /// The same inside TLS.
    TinCanTls,
    /// Lines, which all clients except the sender receive unchanged: `ncat --broker`.
    Lines,
    /// Publish and subscribe of Redis; senders have connections of their own.
    Redis,
    /// Publish and subscribe of NATS; senders have connections of their own.
    Nats,
}

impl Protocol {
    /// Reports whether the server relays messages to other clients.
    #[must_use]
    pub fn is_chat(self) -> bool {
        self != Self::Echo
    }

    /// Reports whether clients speak the tin-can protocol, with or without TLS.
    #[must_use]
    pub fn is_tin_can(self) -> bool {
        matches!(self, Self::TinCan | Self::TinCanTls)
    }

    /// Returns the TLS settings of a client, if the protocol is inside TLS.
    pub fn tls(self) -> Result<Option<TlsSettings>> {
        (self == Self::TinCanTls).then(TlsSettings::with_any_certificate).transpose()
    }

    /// Returns the bytes that a client sends first to receive messages.
    #[must_use]
    pub fn receiver_greeting(self) -> &'static [u8] {
        match self {
            Self::Echo | Self::TinCan | Self::TinCanTls | Self::Lines => b"",
            Self::Redis => b"*2\r\n$9\r\nSUBSCRIBE\r\n$4\r\nroom\r\n",
            Self::Nats => b"CONNECT {\"verbose\":false}\r\nSUB room 1\r\nPING\r\n",
        }
    }

    /// Returns the server's answer to the greeting, if it answers.
    #[must_use]
    pub fn greeting_answer(self) -> &'static [u8] {
        match self {
            Self::Echo | Self::TinCan | Self::TinCanTls | Self::Lines => b"",
            Self::Redis => b":1\r\n",
            Self::Nats => b"PONG\r\n",
        }
    }

    /// Returns the bytes that a sender sends first, if senders have connections of their own.
    #[must_use]
    pub fn sender_greeting(self) -> Option<&'static [u8]> {
        match self {
            Self::Echo | Self::TinCan | Self::TinCanTls => None,
            Self::Lines | Self::Redis => Some(b""),
            Self::Nats => Some(b"CONNECT {\"verbose\":false}\r\n"),
        }
    }

    /// Returns the bytes before and after a text of `len` bytes when a client sends it.
    #[must_use]
    pub fn sent_around(self, len: usize) -> (String, &'static str) {
        match self {
            Self::Echo | Self::TinCan | Self::TinCanTls => (String::new(), "\0"),
            Self::Lines => (String::new(), "\n"),
            Self::Redis => (format!("*3\r\n$7\r\nPUBLISH\r\n$4\r\nroom\r\n${len}\r\n"), "\r\n"),
            Self::Nats => (format!("PUB room {len}\r\n"), "\r\n"),
        }
    }

    /// Returns the bytes after a text, which are the same when it is sent and when it arrives.
    #[must_use]
    pub fn ending(self) -> &'static [u8] {
        self.sent_around(0).1.as_bytes()
    }

    /// Returns the bytes before a text of `len` bytes when it arrives, if they do not depend on the
    /// sender.
    #[must_use]
    pub fn received_before(self, len: usize) -> Option<String> {
        match self {
            Self::Echo | Self::TinCan | Self::TinCanTls | Self::Lines => None,
            Self::Redis => Some(format!("*3\r\n$7\r\nmessage\r\n$4\r\nroom\r\n${len}\r\n")),
            Self::Nats => Some(format!("MSG room 1 {len}\r\n")),
        }
    }

    /// Returns the bytes that the server may send between two messages.
    ///
    /// The client does not answer them. The server disconnects such a client after several minutes, and no run
    /// takes so long, unless `--seconds` asks for it.
    #[must_use]
    pub fn keepalive(self) -> &'static [u8] {
        if self == Self::Nats { b"PING\r\n" } else { b"" }
    }

    /// Reports whether all clients have to receive all messages in the same order.
    #[must_use]
    pub fn has_one_order(self) -> bool {
        self.is_tin_can()
    }
}
