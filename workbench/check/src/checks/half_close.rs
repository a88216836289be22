//! Checks that a half-closed client loses no message, and that the server closes its connection in
//! time.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::bench::wait_until_read;
use crate::check::own_check;
use crate::log_events::{self as events, disconnected_line, message_line};
use crate::profile::CHAT_STAGES;
use crate::room::ChatRoom;
use crate::{Bench, Check, Theme};
use probe::fail;
use probe::wire::{Client, Received};

pub(crate) const ROWS: &[Check] = &[
    own_check(
        "leave-half-close",
        Theme::Chat,
        CHAT_STAGES,
        half_close_relayed,
        "§2: A half-close is not a disconnect in itself: what the client sent before is relayed.",
    ),
    own_check(
        "leave-half-close-idle",
        Theme::Chat,
        CHAT_STAGES,
        half_closed_and_idle,
        "§2: After a half-close, what is queued for the client is still delivered, then the \
         server closes: here nothing is queued.",
    ),
    own_check(
        "leave-half-close-queued",
        Theme::Chat,
        CHAT_STAGES,
        half_close_delivers,
        "§2: what is queued for it is still delivered (for at most 3 s), then the server closes.",
    ),
    own_check(
        "leave-half-close-unread",
        Theme::Chat,
        CHAT_STAGES,
        half_closed_non_reader,
        "§2: what is queued for it is still delivered (for at most 3 s), then the server closes.",
    ),
    own_check(
        "leave-half-close-all",
        Theme::Chat,
        CHAT_STAGES,
        half_close_by_all,
        "§2: what the client sent before is relayed, then the server closes.",
    ),
    own_check(
        "leave-much-queued",
        Theme::Chat,
        CHAT_STAGES,
        leaves_with_much_queued,
        "§1: however it leaves, the server and every other client go on: here with 180 KB queued \
         for it.",
    ),
];

/// How many messages of 1 KB are sent to a client that does not read yet: less than any queue
/// holds.
const QUEUED_MSGS: usize = 180;

fn a_kilobyte() -> String {
    "k".repeat(1000)
}

pub(super) fn half_close_relayed(bench: &Bench) -> Result<()> {
    let mut room = ChatRoom::start_with_args(bench, &[], 3)?;
    let mut leaver = room.members.remove(1);
    let addr = leaver.addr();
    leaver.send(b"one\0two\0three\0unfinished")?;
    leaver.half_close()?;
    for text in ["one", "two", "three"] {
        leaver.expect_msg(&message_line(addr, text))?;
        room.expect_msg(&message_line(addr, text))?;
    }
    leaver.expect_eof()?;
    events::wait_for(&room.server, &disconnected_line(addr))?;
    room.send_and_expect(0, "this is the next message that the others receive")?;
    events::expect_once(room.server.log(), &disconnected_line(addr))
}

pub(super) fn half_closed_and_idle(bench: &Bench) -> Result<()> {
    let mut room = ChatRoom::start_with_args(bench, &[], 1)?;
    for _ in 0..3 {
        let mut leaver = Client::connect(room.server.addr())?;
        leaver.half_close()?;
        leaver.expect_eof()?;
        events::wait_for(&room.server, &disconnected_line(leaver.addr()))?;
    }
    room.send_and_expect(0, "the others stay")
}

/// Checks that messages that wait in the server's queue are delivered after the half-close, to a
/// client that starts to read only then.
pub(super) fn half_close_delivers(bench: &Bench) -> Result<()> {
    let mut room = ChatRoom::start_with_args(bench, &[], 2)?;
    let mut leaver = room.connect_slow_reader()?;
    room.send_and_expect_many(0, &a_kilobyte(), QUEUED_MSGS)?;
    leaver.half_close()?;
    // Only a server that knows of the half-close can have dropped messages for it.
    wait_until_read(&leaver)?;
    // With a small buffer, a busy machine might need more than the 3 s.
    leaver.enlarge_recv_buffer()?;
    expect_delivered(
        &mut leaver,
        &message_line(room.members[0].addr(), &a_kilobyte()),
        QUEUED_MSGS,
    )?;
    room.send_and_expect(1, "the others stay")
}

/// Expects `times` messages like `relay`, then the end.
pub(super) fn expect_delivered(client: &mut Client, relay: &str, times: usize) -> Result<()> {
    let (frames, ending) = client.recv_msgs_to_end()?;
    let right = frames.iter().filter(|frame| **frame == relay.as_bytes()).count();
    if (frames.len(), right, &ending) == (times, times, &Received::Eof) {
        return Ok(());
    }
    let got = format!("{} messages, {right} of them right, then {ending}", frames.len());
    fail(client.transcript(), format!("{times} messages, then the end"), got)
}

/// Checks that a half-closed client that does not read is disconnected after 3 s.
pub(super) fn half_closed_non_reader(bench: &Bench) -> Result<()> {
    let mut room = ChatRoom::start_with_args(bench, &[], 2)?;
    let mut leaver = room.connect_slow_reader()?;
    room.send_and_expect_many(0, &a_kilobyte(), QUEUED_MSGS)?;
    leaver.half_close()?;
    let begin = Instant::now();
    events::wait_for(&room.server, &disconnected_line(leaver.addr()))?;
    if begin.elapsed() > Duration::from_secs(8) {
        let got = format!("it was disconnected after {:?}", begin.elapsed());
        return fail(leaver.transcript(), "disconnected after 3 s", got);
    }
    room.send_and_expect(1, "the others stay")
}

/// Checks that a client that half-closes receives its own last message, even if other clients
/// half-close at the same time.
pub(super) fn half_close_by_all(bench: &Bench) -> Result<()> {
    let mut room = ChatRoom::start_with_args(bench, &[], 5)?;
    let Some(mut stayer) = room.members.pop() else { return Ok(()) };
    for leaver in &mut room.members {
        leaver.send_msg("bye")?;
        leaver.half_close()?;
    }
    for leaver in &mut room.members {
        let bye = message_line(leaver.addr(), "bye");
        let (frames, ending) = leaver.recv_msgs_to_end()?;
        if ending != Received::Eof || !frames.contains(&bye.into_bytes()) {
            let got = format!("{} messages, then {ending}", frames.len());
            return fail(leaver.transcript(), "its own message `bye`, then the end", got);
        }
    }
    let mut received = HashSet::new();
    for _ in &room.members {
        received.insert(stayer.recv_msg()?);
    }
    let all =
        room.members.iter().map(|leaver| message_line(leaver.addr(), "bye").into_bytes()).collect();
    if received != all {
        return fail(
            stayer.transcript(),
            "a message `bye` of each client",
            format!("{} of {} such messages", received.len(), room.members.len()),
        );
    }
    bench.exchange(&mut stayer, "alone")
}

/// Checks that a client that leaves while much is queued for it does not affect the others.
pub(super) fn leaves_with_much_queued(bench: &Bench) -> Result<()> {
    let mut room = ChatRoom::start_with_args(bench, &[], 2)?;
    for resets in [false, true] {
        let leaver = room.connect_slow_reader()?;
        room.send_and_expect_many(0, &a_kilobyte(), QUEUED_MSGS)?;
        let addr = leaver.addr();
        if resets {
            leaver.reset()?;
        } else {
            drop(leaver);
        }
        events::wait_for(&room.server, &disconnected_line(addr))?;
    }
    room.send_and_expect(1, "the others stay")
}
