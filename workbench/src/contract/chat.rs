//! Who hears what in a chat, and in which order.

use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};

use super::events::{self, said};
use crate::check::Bench;
use crate::check::bench::Room;
use crate::wire::{Client, Heard, framed, show};
use crate::{PATIENCE, fail, wait_until};

pub(super) fn relayed_to_all(bench: &Bench) -> Result<()> {
    let mut room = Room::open(bench, &[], 4)?;
    for round in 0..3 {
        for who in 0..4 {
            room.say(who, &format!("round {round}"))?;
        }
    }
    Ok(())
}

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

pub(super) fn late_joiner(bench: &Bench) -> Result<()> {
    let mut room = Room::open(bench, &[], 1)?;
    room.say(0, "before")?;
    room.pour(0, "long before", 500)?;
    // Its own "hello" must be the first that it hears.
    let late = Client::connect(room.server.addr())?;
    room.join(late)?;
    room.say(0, "after")
}

pub(super) fn one_order_for_all(bench: &Bench) -> Result<()> {
    const ROUNDS: usize = 25;
    let mut room = Room::open(bench, &[], 12)?;
    let senders: Vec<_> = room.members.iter().map(Client::addr).collect();
    let heard = thread::scope(|scope| {
        let threads: Vec<_> = room
            .members
            .iter_mut()
            .map(|member| scope.spawn(move || talk(member, ROUNDS)))
            .collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Result<Vec<Vec<u8>>>>| {
            thread.join().map_err(|_| anyhow!("a client's thread panicked"))?
        };
        threads.into_iter().map(join).collect::<Result<Vec<_>>>()
    })?;
    for other in &heard[1..] {
        if let Some(at) = (0..other.len()).find(|at| heard[0][*at] != other[*at]) {
            let (one, two) = (show(&heard[0][at]), show(&other[at]));
            let did = format!("let 12 clients talk at once and compared message {at}");
            return fail(did, "the same for all", format!("{one} for one, {two} for another"));
        }
    }
    for sender in senders {
        expect_in_order(&heard[0], &sender.to_string(), ROUNDS)?;
    }
    Ok(())
}

/// How much one of twelve says at once: two rounds of all fit into any queue.
const A_ROUND: usize = 40;

/// Says a round, hears a round of everybody, and so on: nobody is ever more than a round ahead, so
/// no queue can grow full, however slow the machine.
fn talk(member: &mut Client, rounds: usize) -> Result<Vec<Vec<u8>>> {
    let mut heard = Vec::new();
    for round in 0..rounds {
        let texts = (0..A_ROUND).map(|i| framed(&format!("{}", round * A_ROUND + i)));
        member.send(&texts.collect::<Vec<_>>().concat())?;
        for _ in 0..12 * A_ROUND {
            heard.push(member.frame()?);
        }
    }
    Ok(heard)
}

fn expect_in_order(heard: &[Vec<u8>], sender: &str, rounds: usize) -> Result<()> {
    let own = heard.iter().filter(|frame| frame.starts_with(format!("{sender}: ").as_bytes()));
    let expected: Vec<_> =
        (0..rounds * A_ROUND).map(|i| format!("{sender}: {i}").into_bytes()).collect();
    if own.eq(&expected) {
        return Ok(());
    }
    let own: Vec<_> = heard.iter().filter(|frame| frame.starts_with(sender.as_bytes())).collect();
    let wrong = own.iter().zip(&expected).find(|(got, expected)| **got != *expected);
    let got = wrong.map_or(format!("{} messages", own.len()), |(got, _)| show(got));
    fail("let 12 clients talk at once", format!("0, 1, 2, … of {sender}, each once"), got)
}

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

pub(super) fn leavers_disturb_nobody(bench: &Bench) -> Result<()> {
    let mut room = Room::open(bench, &[], 4)?;
    let addr = room.members[0].addr();
    let mut leavers = Vec::new();
    for _ in 0..20 {
        let leaver = Client::connect(room.server.addr())?;
        room.join(leaver)?;
        leavers.extend(room.members.pop());
    }
    for (i, mut leaver) in leavers.into_iter().enumerate() {
        let text = format!("while {i} leaves");
        room.members[0].send(&framed(&text).repeat(100))?;
        match i % 3 {
            0 => drop(leaver),
            1 => leaver.reset()?,
            _ => leaver.half_close()?,
        }
        (0..100).try_for_each(|_| room.hear(&said(addr, &text)))?;
    }
    room.say(1, "all is well")?;
    events::expect_all_left_but(&room.server, room.members.len())
}
