//! What a client sends to a server, and what it must receive.

use anyhow::Result;
use probe::Failure;
use probe::wire::Client;

/// A protocol: what a client sends, what it must receive, and whether that ends the connection.
#[derive(Clone, Copy, Debug)]
pub struct Protocol {
    /// Sends a request and receives the right answer; messages of other clients may arrive before the answer. A
    /// client that stays connected can repeat it; it [stores](Client::set_state) the state that this needs.
    pub exchange: fn(&mut Client) -> Result<()>,
    /// Whether an exchange ends the connection. The exchange itself checks that it does.
    pub ends_connection: bool,
    /// The first exchange of a client in two parts, for checks that send only a part of a request. `None` if
    /// only whole exchanges are known.
    pub first: Option<FirstExchange>,
}

/// The first exchange of a client, in two parts.
#[derive(Clone, Copy, Debug)]
pub struct FirstExchange {
    /// Returns what the client sends.
    pub request: fn() -> Vec<u8>,
    /// Receives the answer, and the end of the stream if an exchange ends the connection.
    pub answer: fn(&mut Client) -> Result<()>,
}

impl Protocol {
    /// Returns a protocol of which only whole exchanges are known.
    #[must_use]
    pub const fn new(exchange: fn(&mut Client) -> Result<()>) -> Self {
        Self { exchange, ends_connection: false, first: None }
    }
}

impl FirstExchange {
    /// Returns a request in two pieces, neither of them empty.
    #[must_use]
    pub fn halves(&self) -> (Vec<u8>, Vec<u8>) {
        let mut first = (self.request)();
        let second = first.split_off(first.len() / 2);
        (first, second)
    }

    /// Sends the rest of a request, and reports whether the server answered it; if it did not, it must have closed
    /// the connection.
    pub(crate) fn is_served(&self, client: &mut Client, rest: &[u8]) -> Result<bool> {
        client.try_send(rest);
        let Err(err) = (self.answer)(client) else { return Ok(true) };
        // Nothing arrived before the end of the stream.
        let is_refusal = |failure: &Failure| !failure.is_timeout && failure.got.bytes.is_none();
        match err.downcast_ref::<Failure>() {
            Some(failure) if is_refusal(failure) => Ok(false),
            _ => Err(err),
        }
    }
}
