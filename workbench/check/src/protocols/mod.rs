//! The protocols other than tin-can messages, a file for each: how a client talks, and the checks of its own.

pub(crate) mod app_protocol;
pub(crate) mod calc;
pub(crate) mod chat_select;
pub(crate) mod echo_select;
pub(crate) mod tea_party;
