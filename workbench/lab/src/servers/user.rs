//! The user's servers: those named with `--mine`, and those that run already. Finds out which protocol they speak.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::super::origin::Origin;
use super::super::protocol::Protocol;
use super::spec::ServerSpec;
use probe::Description;
use probe::server::Launch;
use probe::wire::{Client, Received, prep_msg};

/// Describes a server of the user. Starts it once to find out which protocol it speaks.
///
/// # Errors
///
/// [`StartError`](probe::server::StartError), or an answer that neither an echo server nor a chat server
/// gives.
pub fn user_server(
    name: &str,
    command: &[OsString],
    shown: &str,
    wrap: impl Fn(Launch) -> Launch,
) -> Result<ServerSpec> {
    let (program, args) = command.split_first().context("there is no command")?;
    let launch = wrap(Launch::new(program, args));
    let server = launch.start_on_free_port()?;
    let protocol = recognize(server.addr()).with_context(|| {
        format!("{name}, `{shown}`, is neither an echo server nor a chat server")
    })?;
    Ok(ServerSpec::new(name, Origin::User, protocol, shown.to_owned(), launch))
}

/// Finds out whether a server is an echo server, which answers once and closes the connection, or a chat
/// server, which answers again.
pub fn recognize(addr: SocketAddr) -> Result<Protocol> {
    const LIMIT: Duration = probe::TIMEOUT;
    let mut client = Client::connect(addr)?.with_timeout(LIMIT);
    let is_answer = |heard: &Received, text: &str| match heard {
        Received::Msg(answer) => {
            let answer = String::from_utf8_lossy(answer);
            answer == text || answer.ends_with(&format!(": {text}"))
        }
        _ => false,
    };
    client.send(&prep_msg("hello"))?;
    let heard = client.recv(LIMIT)?;
    if !is_answer(&heard, "hello") {
        return Err(client.failure(Description::text("`hello␀` or `ADDR: hello␀`"), heard));
    }
    // A server that has closed the connection may reset it now.
    client.try_send(&prep_msg("again"));
    match client.recv(LIMIT)? {
        Received::Eof | Received::Reset => Ok(Protocol::Echo),
        heard if is_answer(&heard, "again") => Ok(Protocol::TinCan),
        heard => {
            let expected = "the end of the connection, or `again␀`, or `ADDR: again␀`";
            Err(client.failure(Description::text(expected), heard))
        }
    }
}
