//! Clients that break their connections, at every moment.

use anyhow::Result;

use crate::check::ours;
use crate::log_events as events;
use crate::profile::STAGES;
use crate::{Bench, Check, Serves, Theme};
use probe::server::Server;
use probe::wire::Client;

pub(crate) const ROWS: &[Check] = &[
    #[cfg(unix)]
    ours(
        "limits-burst",
        Theme::Survival,
        STAGES,
        burst_of_connections,
        "§1: `accept` errors never end a server, and a burst of connections is let in.",
    )
    .others(Serves::OneAtATime),
    ours(
        "survive-resets",
        Theme::Survival,
        STAGES,
        reset_by_many,
        "\
    §1: however it leaves, the server and every other client go on: a hundred resets in a row.",
    )
    .others(Serves::OneAtATime),
    #[cfg(unix)]
    ours(
        "survive-reset-in-backlog",
        Theme::Survival,
        STAGES,
        reset_before_accept,
        "§1: `accept` errors never end a server: a reset before the accept.",
    )
    .others(Serves::OneAtATime),
];

/// Lets clients break their connections, then asks the server, and whoever was there before,
/// whether all is well.
fn survives(bench: &Bench, breaks: impl Fn(&Server) -> Result<()>) -> Result<()> {
    let mut server = bench.start(&[])?;
    let mut witness = None;
    if !bench.one_at_a_time() {
        witness = Some(bench.known_client(&server)?);
    }
    breaks(&server)?;
    bench.expect_works(&server)?;
    server.expect_running("let clients break their connections")?;
    events::expect_all_left_but(&server, witness.iter().len())?;
    match witness {
        Some(mut witness) => bench.exchange_amid_others(&mut witness, "I was here before"),
        None => Ok(()),
    }
}

pub(super) fn reset_by_many(bench: &Bench) -> Result<()> {
    survives(bench, |server| {
        for i in 0..100 {
            let mut client = Client::connect(server.addr())?;
            client.send(&b"said\0half"[..i % 10])?;
            client.reset()?;
        }
        Ok(())
    })
}

/// While the server is stopped, its kernel completes connections that break before it accepts them.
#[cfg(unix)]
pub(super) fn reset_before_accept(bench: &Bench) -> Result<()> {
    use probe::server::Signal;
    survives(bench, |server| {
        server.signal(Signal::STOP)?;
        for i in 0..20 {
            let mut client = Client::connect(server.addr())?;
            client.send(&b"said\0half"[..i % 10])?;
            if i % 4 < 3 { client.reset()? } else { drop(client) }
        }
        server.signal(Signal::CONT)
    })
}

/// A burst of connections finds room in the backlog while the server looks away.
#[cfg(unix)]
pub(super) fn burst_of_connections(bench: &Bench) -> Result<()> {
    use probe::server::Signal;
    let server = bench.start(&[])?;
    server.signal(Signal::STOP)?;
    let mut clients = Vec::new();
    for _ in 0..500 {
        clients.push(Client::connect(server.addr())?);
    }
    server.signal(Signal::CONT)?;
    drop(clients);
    bench.expect_works(&server)?;
    events::expect_all_left_but(&server, 0)
}
