//! How to talk to the servers whose protocol is not that of tin-can messages: what the rows for any
//! server need to know.

use anyhow::Result;

use super::{Profile, app_protocol, calc, chat_select, echo_select, tea_party};
use probe::Failure;
use probe::wire::Client;

/// One exchange of a protocol, whole and in its parts.
#[derive(Clone, Copy, Debug)]
pub struct Talk {
    /// The whole of it: says something and must get the right answer, whatever others have said
    /// before. A client that stays can do it again; what it has to know then, it
    /// [remembers](Client::remember).
    pub exchange: fn(&mut Client) -> Result<()>,
    /// What a newcomer says in it.
    pub request: fn() -> Vec<u8>,
    /// What a newcomer gets for that, and if an exchange ends the connection, the end.
    pub answer: fn(&mut Client) -> Result<()>,
    /// Whether an exchange ends the connection.
    pub once: bool,
}

impl Profile {
    /// How to talk to a server of this profile, if not in tin-can messages.
    #[must_use]
    pub fn talk(self) -> Option<Talk> {
        match self {
            Self::EchoSelect => Some(echo_select::TALK),
            Self::AppProtocol => Some(app_protocol::TALK),
            Self::Calc => Some(calc::TALK),
            Self::ChatSelect => Some(chat_select::TALK),
            Self::TeaParty => Some(tea_party::TALK),
            _ => None,
        }
    }
}

impl Talk {
    /// A newcomer's request in two pieces, neither of them empty.
    #[must_use]
    pub fn halves(&self) -> (Vec<u8>, Vec<u8>) {
        let mut first = (self.request)();
        let second = first.split_off(first.len() / 2);
        (first, second)
    }

    /// Sends the rest of a request; gives whether it was answered. If not, the connection has ended.
    pub(super) fn served_or_refused(&self, client: &mut Client, rest: &[u8]) -> Result<bool> {
        client.send_regardless(rest);
        let Err(err) = (self.answer)(client) else { return Ok(true) };
        // Nothing came but the end.
        let is_refusal = |failure: &Failure| !failure.is_late && failure.got.bytes.is_none();
        match err.downcast_ref::<Failure>() {
            Some(failure) if is_refusal(failure) => Ok(false),
            _ => Err(err),
        }
    }
}
