//! What happens at `--max-clients`, and how much of it the log tells.

use std::time::Instant;

use anyhow::Result;

use crate::bench::Room;
use crate::check::ours;
use crate::log_events::{self as events, is_warning};
use crate::profile::{CHAT_STAGES, SEVERAL_STAGES};
use crate::{Bench, Check, Profile, Serves, Theme};
use probe::fail;
use probe::server::Server;
use probe::wire::{Client, Received};

pub(crate) const ROWS: &[Check] = &[
    ours(
        "limits-chat-full",
        Theme::Limits,
        CHAT_STAGES,
        chat_is_full,
        "§1: a connection past the limit is closed at once (a tin-can chat first tells it \
         `server: full`), a warning is logged, and the clients already there notice nothing.",
    ),
    ours(
        "limits-full",
        Theme::Limits,
        &[Profile::EchoMulti],
        echo_is_full,
        "§1: a connection past the limit is closed at once, a warning is logged, and the \
         clients already there notice nothing.",
    )
    .others(Serves::Many),
    ours(
        "limits-refusals-counted",
        Theme::Limits,
        SEVERAL_STAGES,
        refusals_are_counted,
        "§1: Nor does the log ever stall a server: refused connections cost at most 10 lines \
         a second, with a count of those left out.",
    )
    .others(Serves::Many),
];

pub(super) fn chat_is_full(bench: &Bench) -> Result<()> {
    let mut room = Room::open(bench, &["--max-clients", "2"], 2)?;
    for speaks in [false, true] {
        let mut third = Client::connect(room.server.addr())?;
        if speaks {
            third.try_send(b"let me in\0");
        }
        third.expect_msg("server: full")?;
        third.expect_closed()?;
    }
    room.server.wait_for_log("a warning", is_warning)?;
    room.say(0, "the two inside notice nothing")?;
    room.say(1, "neither of them")?;
    drop(room.members.remove(0));
    let newcomer = served_again(&room)?;
    room.members[0].expect_msg(&events::said(newcomer.addr(), "again"))?;
    room.members.push(newcomer);
    room.say(0, "two again")?;
    Client::connect(room.server.addr())?.expect_msg("server: full")
}

/// Tries until the place of the one who left is free.
fn served_again(room: &Room<'_>) -> Result<Client> {
    let mut served = None;
    probe::wait_until(probe::TIMEOUT, || {
        let mut client = Client::connect(room.server.addr())?;
        client.try_send(b"again\0");
        let relay = events::said(client.addr(), "again").into_bytes();
        if client.recv(probe::TIMEOUT)? == Received::Msg(relay) {
            served = Some(client);
        }
        Ok(served.is_some())
    })?;
    match served {
        Some(client) => Ok(client),
        None => fail("one of two left", "a newcomer gets the place", "`server: full`"),
    }
}

pub(super) fn echo_is_full(bench: &Bench) -> Result<()> {
    let server = bench.start(&["--max-clients", "2"])?;
    let mut one = bench.known_client(&server)?;
    let mut two = bench.known_client(&server)?;
    let mut third = Client::connect(server.addr())?;
    third.expect_bytes(bench.own().map_or(b"", |it| it.full))?;
    third.expect_closed()?;
    server.wait_for_log("a warning", is_warning)?;
    bench.exchange(&mut one, "one is still there")?;
    drop(one);
    bench.expect_works_again(&server)?;
    bench.exchange(&mut two, "two is still there")
}

/// Refused connections may cost ten lines a second, and the rest must be counted.
pub(super) fn refusals_are_counted(bench: &Bench) -> Result<()> {
    let server = bench.start(&["--max-clients", "1"])?;
    let _inside = bench.known_client(&server)?;
    let before = server.log().so_far().len();
    let begin = Instant::now();
    let knock = bench.own().map_or(&b""[..], |it| it.knock);
    for _ in 0..FLOOD {
        refused(&server, knock)?;
    }
    let refused = wait_for_count(&server, knock, before)?;
    let (lines, counted) = told(&server, before);
    let seconds = begin.elapsed().as_secs() + 2;
    let did = format!("was refused {refused} times in less than {seconds} s");
    // Ten lines for the refusals and one that counts the rest.
    if lines > 11 * seconds {
        let expected = format!("at most {} lines", 11 * seconds);
        return fail(did, expected, format!("{lines} lines\n{}", server.log()));
    }
    if counted > refused + lines {
        return fail(did, "no more left out than refused", format!("{counted} left out"));
    }
    Ok(())
}

/// The connections that are refused in a row.
const FLOOD: u64 = 1500;

fn refused(server: &Server, knock: &[u8]) -> Result<()> {
    let mut client = Client::connect(server.addr())?;
    client.try_send(knock);
    client.recv_msgs_to_end().map(drop)
}

/// Is refused now and then until the log has told of the whole flood: by a line each, or counted.
fn wait_for_count(server: &Server, knock: &[u8], before: usize) -> Result<u64> {
    let mut times = FLOOD;
    let all_told = probe::wait_until(probe::TIMEOUT, || {
        let (lines, counted) = told(server, before);
        if lines + counted < FLOOD {
            refused(server, knock)?;
            times += 1;
        }
        Ok(lines + counted >= FLOOD)
    })?;
    if all_told {
        return Ok(times);
    }
    let (lines, counted) = told(server, before);
    let got = format!("{lines} lines that count {counted}:\n{}", server.log());
    fail(format!("was refused {times} times"), "the log counts what it leaves out", got)
}

/// The new lines in the log, and the sum of the counts in its warnings.
fn told(server: &Server, before: usize) -> (u64, u64) {
    let log = server.log().so_far();
    let new = &log[before..];
    let counts = new
        .iter()
        // An error's number is no count, and chat-nats may warn of its missing NATS just now.
        .filter(|line| is_warning(line) && !line.contains("os error"))
        .filter_map(|line| events::numbers(line).into_iter().max());
    (new.len() as u64, counts.sum())
}
