//! Clients that break their connections, at every moment.

use anyhow::Result;

use super::events::{self, said};
use crate::Bench;
use crate::bench::{Room, wait_until_read};
use probe::server::Server;
use probe::wire::Client;

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
    server.expect_alive("let clients break their connections")?;
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

/// What a client leaves unread when it goes must not reach anybody else, nor stop anything.
pub(super) fn garbage_disturbs_nobody(bench: &Bench) -> Result<()> {
    let mut room = Room::open(bench, &[], 2)?;
    for garbage in
        [&b"\xff\xfe\0"[..], &vec![0x80; 100_000], b"\0\0\0\xff", b"GET / HTTP/1.1\r\n\r\n"]
    {
        let mut client = Client::connect(room.server.addr())?;
        client.send_regardless(garbage);
        wait_until_read(&client)?;
        client.reset()?;
        // A client that sends text has it relayed, whatever protocol it believes in.
        room.members[0].say("undisturbed")?;
        room.members[1].say("undisturbed, too")?;
        let last = said(room.members[1].addr(), "undisturbed, too").into_bytes();
        for member in &mut room.members {
            while member.frame()? != last {}
        }
    }
    events::expect_all_left_but(&room.server, 2)
}
