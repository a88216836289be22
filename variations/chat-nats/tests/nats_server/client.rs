//! A client of a node, which keeps everything that it has received.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use probe::wire::{self, Received};
use probe::{Description, wait_until};

use crate::nats::Node;

/// How long to wait for something that has to happen. A node may wait several times for an answer of NATS, up
/// to 5 s each time.
pub const TIMEOUT: Duration = Duration::from_mins(1);

/// The notes that all clients of a node get when NATS goes away and when it comes back.
pub const AWAY: &str = "server: NATS is away: messages are refused until it is back";
pub const BACK: &str = "server: NATS is back";

/// Returns the text of the message that this note refuses, if it refuses a message.
pub fn refused_text(note: &str) -> Option<&str> {
    let (_reason, text) = note.strip_prefix("server: not delivered, ")?.split_once(": ")?;
    Some(text)
}

pub struct Client {
    conn: wire::Client,
    /// The messages and the notes that it has received.
    pub received: Vec<String>,
    /// The texts that it has sent.
    pub sent: Vec<String>,
}

impl Client {
    pub fn connect(node: &Node) -> Result<Self> {
        let conn = wire::Client::connect(node.0.addr())?.with_timeout(TIMEOUT);
        Ok(Self { conn, received: Vec::new(), sent: Vec::new() })
    }

    pub fn addr(&self) -> SocketAddr {
        self.conn.addr()
    }

    pub fn send(&mut self, text: &str) -> Result<()> {
        self.sent.push(text.to_owned());
        self.conn.send_msg(text)
    }

    /// Returns a message of this client as all clients receive it.
    pub fn relayed(&self, text: &str) -> String {
        format!("{}: {text}", self.addr())
    }

    /// Receives until a wanted text comes, at most `within`. Returns this text, or what came instead.
    pub fn recv_until(
        &mut self,
        within: Duration,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Result<Received> {
        let deadline = Instant::now() + within;
        loop {
            let received = self.conn.recv(deadline.saturating_duration_since(Instant::now()))?;
            let Received::Msg(text) = &received else { return Ok(received) };
            let text = String::from_utf8(text.clone())?;
            let is_last = is_wanted(&text);
            self.received.push(text);
            if is_last {
                return Ok(received);
            }
        }
    }

    /// Waits until this client has received a text.
    pub fn wait_for(&mut self, text: &str) -> Result<()> {
        self.wait_for_wanted(text, |it| it == text)
    }

    /// Waits until a message of this client is relayed or refused, and reports whether it is relayed.
    pub fn wait_for_answer(&mut self, text: &str) -> Result<bool> {
        let relayed = self.relayed(text);
        self.wait_for_wanted(text, |it| it == relayed || refused_text(it) == Some(text))?;
        Ok(self.received.contains(&relayed))
    }

    fn wait_for_wanted(&mut self, what: &str, is_wanted: impl Fn(&str) -> bool) -> Result<()> {
        if self.received.iter().any(|text| is_wanted(text)) {
            return Ok(());
        }
        match self.recv_until(TIMEOUT, is_wanted)? {
            Received::Msg(_) => Ok(()),
            end => Err(self.conn.failure(Description::text(what), end)),
        }
    }

    /// Sends a message with a number, and again with the next number while it is refused. Returns the message
    /// as all clients receive it.
    pub fn say(&mut self, text: &str) -> Result<String> {
        let mut numbered = String::new();
        let is_relayed = wait_until(TIMEOUT, || {
            numbered = format!("{text} {}", self.sent.len());
            self.send(&numbered)?;
            self.wait_for_answer(&numbered)
        })?;
        assert!(is_relayed, "{text} is refused again and again");
        Ok(self.relayed(&numbered))
    }

    /// Returns how often this client has received a text.
    pub fn count(&self, text: &str) -> usize {
        self.received.iter().filter(|it| *it == text).count()
    }

    /// Returns the messages of all clients, without the notes.
    pub fn msgs(&self) -> Vec<&str> {
        let texts = self.received.iter().map(String::as_str);
        texts.filter(|text| !text.starts_with("server: ")).collect()
    }

    pub fn notes(&self) -> impl Iterator<Item = &str> {
        self.received.iter().map(String::as_str).filter(|text| text.starts_with("server: "))
    }

    /// Returns the texts of the messages that are refused. No other notes may have come, except that NATS is
    /// away or back.
    pub fn refused(&self) -> Result<Vec<&str>> {
        let notes = self.notes().filter(|note| ![AWAY, BACK].contains(note));
        let text = |note| refused_text(note).with_context(|| format!("{}: {note}", self.addr()));
        notes.map(text).collect()
    }
}
