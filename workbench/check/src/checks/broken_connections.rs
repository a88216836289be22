//! Checks that this project's servers survive connections that break, also before they are
//! accepted.

use anyhow::Result;

use crate::check::own_check;
use crate::log_events as events;
use crate::profile::STAGES;
use crate::{Bench, Check, Serves, Theme};
use probe::server::Server;
use probe::wire::Client;

pub(crate) const ROWS: &[Check] = &[
    #[cfg(unix)]
    own_check(
        "limits-burst",
        Theme::Survival,
        STAGES,
        burst_of_connections,
        "§1: `accept` errors never end a server, and a burst of connections is accepted.",
    )
    .non_stages(Serves::OneAtATime),
    own_check(
        "survive-resets",
        Theme::Survival,
        STAGES,
        reset_by_many,
        "§1: however it leaves, the server and every other client go on: here 100 resets in a row.",
    )
    .non_stages(Serves::OneAtATime),
    #[cfg(unix)]
    own_check(
        "survive-reset-in-backlog",
        Theme::Survival,
        STAGES,
        reset_before_accept,
        "§1: `accept` errors never end a server: here a reset before the accept.",
    )
    .non_stages(Serves::OneAtATime),
];

/// Lets clients break their connections, and then expects that the server still serves a new client
/// and the client that was connected before.
fn expect_survives(bench: &Bench, break_connections: impl Fn(&Server) -> Result<()>) -> Result<()> {
    let mut server = bench.start_with_args(&[])?;
    let mut earlier = None;
    if !bench.serves_one_at_a_time() {
        earlier = Some(bench.connect_accepted(&server)?);
    }
    break_connections(&server)?;
    bench.expect_new_client_served(&server)?;
    server.expect_running("let clients break their connections")?;
    events::expect_all_left_but(&server, earlier.iter().len())?;
    match earlier {
        Some(mut earlier) => bench.exchange_skipping_all(&mut earlier, "I was here before"),
        None => Ok(()),
    }
}

pub(super) fn reset_by_many(bench: &Bench) -> Result<()> {
    expect_survives(bench, |server| {
        for i in 0..100 {
            let mut client = Client::connect(server.addr())?;
            client.send(&b"said\0half"[..i % 10])?;
            client.reset()?;
        }
        Ok(())
    })
}

/// Resets connections that the server has not accepted yet: while the server is stopped, the kernel
/// completes them.
#[cfg(unix)]
pub(super) fn reset_before_accept(bench: &Bench) -> Result<()> {
    use probe::server::Signal;
    expect_survives(bench, |server| {
        server.signal(Signal::STOP)?;
        for i in 0..20 {
            let mut client = Client::connect(server.addr())?;
            client.send(&b"said\0half"[..i % 10])?;
            if i % 4 < 3 { client.reset()? } else { drop(client) }
        }
        server.signal(Signal::CONT)
    })
}

/// Checks that the backlog holds 500 connections while the server is stopped.
#[cfg(unix)]
pub(super) fn burst_of_connections(bench: &Bench) -> Result<()> {
    use probe::server::Signal;
    let server = bench.start_with_args(&[])?;
    server.signal(Signal::STOP)?;
    let mut clients = Vec::new();
    for _ in 0..500 {
        clients.push(Client::connect(server.addr())?);
    }
    server.signal(Signal::CONT)?;
    drop(clients);
    bench.expect_new_client_served(&server)?;
    events::expect_all_left_but(&server, 0)
}
