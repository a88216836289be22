//! The protocols other than tin-can messages: each file has one protocol and its checks.

pub(crate) mod app_protocol;
pub(crate) mod calc;
pub(crate) mod chat_select;
pub(crate) mod echo_select;
pub(crate) mod tea_party;

use crate::{Profile, Protocol, ServerUnderTest};

/// Returns the protocol of a server; `None` if it speaks tin-can messages, which
/// [`Bench`](crate::Bench) handles.
pub(crate) fn protocol_of(server: &ServerUnderTest) -> Option<Protocol> {
    if let Some(own) = server.own {
        return Some(own.protocol);
    }
    match server.profile {
        Profile::EchoSelect => Some(echo_select::PROTOCOL),
        Profile::AppProtocol => Some(app_protocol::PROTOCOL),
        Profile::Calc => Some(calc::PROTOCOL),
        Profile::ChatSelect => Some(chat_select::PROTOCOL),
        Profile::TeaParty => Some(tea_party::PROTOCOL),
        _ => None,
    }
}
