//! Checks what a server does at `--max-clients`, and how many log lines that costs.

use std::time::Instant;

use anyhow::Result;

use crate::check::own_check;
use crate::log_events::{self as events, is_warning};
use crate::profile::{CHAT_STAGES, SEVERAL_STAGES};
use crate::room::ChatRoom;
use crate::{Bench, Check, Profile, Serves, Theme};
use probe::fail;
use probe::server::Server;
use probe::wire::{Client, Received};

pub(crate) const ROWS: &[Check] = &[
    own_check(
        "limits-chat-full",
        Theme::Limits,
        CHAT_STAGES,
        chat_is_full,
        "§1: a connection past the limit is closed at once (a tin-can chat first tells it \
         `server: full`), a warning is logged, and the clients already there notice nothing.",
    ),
    own_check(
        "limits-full",
        Theme::Limits,
        &[Profile::EchoMulti],
        echo_is_full,
        "§1: a connection past the limit is closed at once, a warning is logged, and the \
         clients already there notice nothing.",
    )
    .non_stages(Serves::Many),
    own_check(
        "limits-refusals-counted",
        Theme::Limits,
        SEVERAL_STAGES,
        refusals_are_counted,
        "§1: Nor does the log ever stall a server: refused connections cost at most 10 lines a \
         second, with a count of the lines left out.",
    )
    .non_stages(Serves::Many),
];

pub(super) fn chat_is_full(bench: &Bench) -> Result<()> {
    let mut room = ChatRoom::start_with_args(bench, &["--max-clients", "2"], 2)?;
    for speaks in [false, true] {
        let mut third = Client::connect(room.server.addr())?;
        if speaks {
            third.try_send(b"let me in\0");
        }
        third.expect_msg("server: full")?;
        third.expect_closed()?;
    }
    room.server.wait_for_log("a warning", is_warning)?;
    room.send_and_expect(0, "the first client notices nothing")?;
    room.send_and_expect(1, "the second client notices nothing")?;
    drop(room.members.remove(0));
    let new_client = connect_when_free(&room)?;
    room.members[0].expect_msg(&events::message_line(new_client.addr(), "again"))?;
    room.members.push(new_client);
    room.send_and_expect(0, "two again")?;
    Client::connect(room.server.addr())?.expect_msg("server: full")
}

/// Connects again and again until the place of the client that left is free.
fn connect_when_free(room: &ChatRoom<'_>) -> Result<Client> {
    let mut served = None;
    probe::wait_until(probe::TIMEOUT, || {
        let mut client = Client::connect(room.server.addr())?;
        client.try_send(b"again\0");
        let relay = events::message_line(client.addr(), "again").into_bytes();
        if client.recv(probe::TIMEOUT)? == Received::Msg(relay) {
            served = Some(client);
        }
        Ok(served.is_some())
    })?;
    match served {
        Some(client) => Ok(client),
        None => fail("one of two clients left", "a new client is served", "`server: full`"),
    }
}

pub(super) fn echo_is_full(bench: &Bench) -> Result<()> {
    let server = bench.start_with_args(&["--max-clients", "2"])?;
    let mut one = bench.connect_accepted(&server)?;
    let mut two = bench.connect_accepted(&server)?;
    let mut third = Client::connect(server.addr())?;
    third.expect_bytes(bench.own_server().map_or(b"", |it| it.refusal))?;
    third.expect_closed()?;
    server.wait_for_log("a warning", is_warning)?;
    bench.exchange(&mut one, "one is still there")?;
    drop(one);
    bench.wait_until_new_client_served(&server)?;
    bench.exchange(&mut two, "two is still there")
}

/// Checks that refused connections cost at most ten log lines a second, and that the log counts the
/// others.
pub(super) fn refusals_are_counted(bench: &Bench) -> Result<()> {
    let server = bench.start_with_args(&["--max-clients", "1"])?;
    let _inside = bench.connect_accepted(&server)?;
    let before = server.log().so_far().len();
    let begin = Instant::now();
    let request = bench.own_server().map_or(&b""[..], |it| it.refused_request);
    for _ in 0..REFUSALS {
        connect_refused(&server, request)?;
    }
    let refused = wait_for_count(&server, request, before)?;
    let (lines, counted) = logged_refusals(&server, before);
    let seconds = begin.elapsed().as_secs() + 2;
    let did = format!("was refused {refused} times in less than {seconds} s");
    // Ten lines for refusals and one with the count of the others, in each second.
    if lines > 11 * seconds {
        let expected = format!("at most {} log lines", 11 * seconds);
        return fail(did, expected, format!("{lines} lines\n{}", server.log()));
    }
    if counted > refused + lines {
        return fail(
            did,
            format!("a count of at most {refused} lines left out"),
            format!("a count of {counted}"),
        );
    }
    Ok(())
}

/// How many connections are refused in a row.
const REFUSALS: u64 = 1500;

fn connect_refused(server: &Server, knock: &[u8]) -> Result<()> {
    let mut client = Client::connect(server.addr())?;
    client.try_send(knock);
    client.recv_msgs_to_end().map(drop)
}

/// Connects and is refused again, until the log accounts for all refusals, with a line each or in a
/// count; returns how often a connection was refused.
fn wait_for_count(server: &Server, knock: &[u8], before: usize) -> Result<u64> {
    let mut times = REFUSALS;
    let all_logged = probe::wait_until(probe::TIMEOUT, || {
        let (lines, counted) = logged_refusals(server, before);
        if lines + counted < REFUSALS {
            connect_refused(server, knock)?;
            times += 1;
        }
        Ok(lines + counted >= REFUSALS)
    })?;
    if all_logged {
        return Ok(times);
    }
    let (lines, counted) = logged_refusals(server, before);
    let got = format!("{lines} lines, which count {counted} lines left out:\n{}", server.log());
    fail(
        format!("was refused {times} times"),
        "one line for each, or a count of the lines left out",
        got,
    )
}

/// Returns the number of new log lines, and the sum of the counts in the warnings.
fn logged_refusals(server: &Server, before: usize) -> (u64, u64) {
    let log = server.log().so_far();
    let new = &log[before..];
    let counts = new
        .iter()
        // The number of an error is not a count, and chat-nats may warn at this moment that its
        // NATS server is missing.
        .filter(|line| is_warning(line) && !line.contains("os error"))
        .filter_map(|line| events::numbers(line).into_iter().max());
    (new.len() as u64, counts.sum())
}
