//! Who hears what in a chat, and in which order.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::Result;

use super::events::said;
use crate::check::Bench;
use crate::check::bench::Room;
use crate::wire::{Client, Heard, framed, show};
use crate::{PATIENCE, fail, wait_until};

pub(super) fn others_only(bench: &Bench) -> Result<()> {
    let server = bench.start(&["--others-only"])?;
    let mut first = Client::connect(server.addr())?;
    let mut second = Client::connect(server.addr())?;
    let mut third = Client::connect(server.addr())?;
    meet(&mut [&mut first, &mut second, &mut third])?;
    for text in ["one", "two"] {
        first.say(text)?;
        second.expect(&said(first.addr(), text))?;
        third.expect(&said(first.addr(), text))?;
    }
    second.say("the first hears this, and nothing of its own before")?;
    let answer = said(second.addr(), "the first hears this, and nothing of its own before");
    first.expect(&answer)?;
    third.expect(&answer)
}

/// Waits until each hears each of the others, where nobody hears itself: all are in by then.
fn meet(clients: &mut [&mut Client]) -> Result<()> {
    let mut heard = HashMap::new();
    let met = wait_until(PATIENCE, || {
        clients.iter_mut().try_for_each(|client| client.say("anybody there?"))?;
        for client in clients.iter_mut() {
            let heard: &mut usize = heard.entry(client.addr()).or_default();
            while matches!(client.hear(LISTEN)?, Heard::Frame(_)) {
                *heard += 1;
            }
        }
        Ok(clients.iter().all(|client| heard[&client.addr()] >= clients.len()))
    })?;
    if met { Ok(()) } else { fail("let all say something", "all hear the others", "never") }
}

/// How long to listen for what others said before saying more.
const LISTEN: Duration = Duration::from_millis(100);

pub(super) fn pipelined_in_order(bench: &Bench) -> Result<()> {
    let mut room = Room::open(bench, &[], 3)?;
    let addr = room.members[0].addr();
    let texts: Vec<_> = (0..1000).map(|i| format!("message {i}")).collect();
    let bytes: Vec<_> = texts.iter().map(|text| framed(text)).collect();
    room.members[0].send(&bytes.concat())?;
    texts.iter().try_for_each(|text| room.hear(&said(addr, text)))?;
    room.say(1, "and nothing twice")
}

pub(super) fn a_thousand_hear(bench: &Bench) -> Result<()> {
    const CLIENTS: usize = 1000;
    // A server raises this limit by itself when it starts.
    let launch = bench.launch(&[]);
    let launch = if cfg!(unix) { launch.descriptors_at_first(256) } else { launch };
    let server = bench.run(launch)?;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(Client::connect(server.addr())?);
    }
    wait_until_all_are_in(&mut clients)?;
    let last = said(clients[7].addr(), "to a thousand");
    clients[7].say("to a thousand")?;
    clients.iter_mut().try_for_each(|client| hear_up_to(client, &last))
}

/// The first says something again and again until everyone has heard something.
fn wait_until_all_are_in(clients: &mut [Client]) -> Result<()> {
    let mut heard = vec![false; clients.len()];
    let all_in = wait_until(PATIENCE, || {
        clients[0].say("anybody there?")?;
        let addr = clients[0].addr();
        clients[0].expect(&said(addr, "anybody there?"))?;
        heard[0] = true;
        for (client, heard) in clients.iter_mut().zip(&mut heard).skip(1) {
            if !*heard {
                *heard = matches!(client.hear(Duration::ZERO)?, Heard::Frame(_));
            }
        }
        Ok(heard.iter().all(|heard| *heard))
    })?;
    let missing = heard.iter().filter(|heard| !**heard).count();
    let did = format!("connected {} clients", clients.len());
    if all_in { Ok(()) } else { fail(did, "all hear", format!("{missing} hear nothing")) }
}

/// Skips what was said to find out who is there.
fn hear_up_to(client: &mut Client, last: &str) -> Result<()> {
    loop {
        let frame = client.frame()?;
        if frame == last.as_bytes() {
            return Ok(());
        }
        if !frame.ends_with(b": anybody there?") {
            return fail(client.transcript(), last, show(&frame));
        }
    }
}
