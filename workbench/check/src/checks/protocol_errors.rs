//! Checks how a server handles messages that are empty, too long, not UTF-8, or unfinished.

use anyhow::Result;

use crate::bench::wait_until_read;
use crate::check::own_check;
use crate::log_events::{self as events, message_line};
use crate::profile::{CHAT_STAGES, STAGES};
use crate::room::ChatRoom;
use crate::{Bench, Check, Theme};
use probe::fail;
use probe::server::Server;
use probe::wire::{Client, Received, prep_msg, show};

pub(crate) const ROWS: &[Check] = &[
    own_check(
        "framing-empty",
        Theme::Framing,
        STAGES,
        empty_ignored,
        "§2: An empty message (two ␀ in a row) is ignored.",
    ),
    own_check(
        "framing-zero-bytes",
        Theme::Framing,
        STAGES,
        zero_bytes_only,
        "§2: An empty message (two ␀ in a row) is ignored: here 300,000 of them.",
    ),
    own_check(
        "framing-too-long",
        Theme::Framing,
        STAGES,
        too_long_refused,
        "§2: A message longer than `MAX_MSG_LEN` bytes is a protocol error: the log names the \
         error and the client's address, and that client is disconnected.",
    ),
    own_check(
        "framing-no-end",
        Theme::Framing,
        STAGES,
        without_end_refused,
        "§2: A message longer than `MAX_MSG_LEN` bytes is a protocol error, even before its ␀ has \
         arrived.",
    ),
    own_check(
        "framing-bad-utf8",
        Theme::Framing,
        STAGES,
        bad_utf8_refused,
        "§2: A message that is not UTF-8 is a protocol error: the log names the error and the \
         client's address, and that client is disconnected.",
    ),
    own_check(
        "framing-good-before-bad",
        Theme::Framing,
        STAGES,
        valid_before_invalid,
        "§2: Whole messages that came before the bad one in the same read still count.",
    ),
    own_check(
        "framing-any-cut",
        Theme::Framing,
        STAGES,
        same_however_cut,
        "§2: The answer is the same however the bytes were cut.",
    ),
    own_check(
        "framing-reason-arrives",
        Theme::Framing,
        CHAT_STAGES,
        reason_reaches_a_sender,
        "§2: After a protocol error, a chat server first tells the client the reason, in a \
         message `server: …`, and closes so that the text arrives.",
    ),
    own_check(
        "framing-unfinished",
        Theme::Framing,
        CHAT_STAGES,
        unfinished_not_relayed,
        "§2: Bytes left without their ␀ when the client leaves are dropped.",
    ),
    own_check(
        "framing-unfinished-logged",
        Theme::Framing,
        CHAT_STAGES,
        unfinished_dropped,
        "§2: Bytes left without their ␀ when the client leaves are dropped (logged at `debug`).",
    ),
];

/// The longest message, in bytes without its zero byte (DESIGN.md, section 5).
pub(super) const MAX_MSG_LEN: usize = 16 * 1024;

pub(super) fn empty_ignored(bench: &Bench) -> Result<()> {
    let server = bench.start_with_args(&[])?;
    let mut client = Client::connect(server.addr())?;
    client.send(b"\0\0first\0\0second\0\0")?;
    if bench.profile().is_echo() {
        return bench.expect_answer(&mut client, "first");
    }
    let addr = client.addr();
    client.expect_msg(&message_line(addr, "first"))?;
    client.expect_msg(&message_line(addr, "second"))?;
    bench.exchange(&mut client, "third")?;
    drop(client);
    events::wait_for(&server, &events::disconnected_line(addr))?;
    match server.log().count(|line| line.contains(&addr.to_string())) {
        5 => Ok(()),
        n => fail(
            "sent three messages and four empty ones",
            "5 log lines with the client's address",
            format!("{n} lines in the log:\n{}", server.log()),
        ),
    }
}

pub(super) fn zero_bytes_only(bench: &Bench) -> Result<()> {
    let server = bench.start_with_args(&[])?;
    let mut client = Client::connect(server.addr())?;
    client.send(&vec![0; 300_000])?;
    bench.exchange(&mut client, "after 300,000 empty messages")
}

pub(super) fn too_long_refused(bench: &Bench) -> Result<()> {
    let server = bench.start_with_args(&[])?;
    for text in
        ["x".repeat(MAX_MSG_LEN + 1), "é".repeat(MAX_MSG_LEN / 2) + "x", "x".repeat(1 << 20)]
    {
        refused(bench, &server, &prep_msg(&text), TOO_LONG)?;
    }
    bench.expect_new_client_served(&server)
}

pub(super) fn without_end_refused(bench: &Bench) -> Result<()> {
    let server = bench.start_with_args(&[])?;
    for len in [MAX_MSG_LEN + 1, 1 << 20] {
        refused(bench, &server, &vec![b'x'; len], TOO_LONG)?;
    }
    bench.expect_new_client_served(&server)
}

pub(super) fn bad_utf8_refused(bench: &Bench) -> Result<()> {
    let server = bench.start_with_args(&[])?;
    let bad: [&[u8]; 6] =
        [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"ab\x80cd", b"cut \xe2\x82"];
    for text in bad {
        refused(bench, &server, &[text, &[0]].concat(), BAD_UTF8)?;
    }
    bench.expect_new_client_served(&server)
}

/// The log line about a message that is too long must contain one of these words.
const TOO_LONG: &[&str] = &["long", "16384", "16,384", "16 KiB"];

/// The log line about a message that is not UTF-8 must contain one of these words.
const BAD_UTF8: &[&str] = &["UTF-8", "utf-8", "UTF8", "utf8"];

/// Checks that the server disconnects a client for these bytes, and logs its address and the
/// reason: a chat sends the reason first, an echo server sends no answer.
fn refused(bench: &Bench, server: &Server, bytes: &[u8], why: &[&str]) -> Result<()> {
    let mut client = Client::connect(server.addr())?;
    client.try_send(bytes);
    if bench.profile().is_chat() {
        expect_reason(&mut client)?;
        client.expect_eof()?;
    } else {
        client.expect_closed()?;
    }
    let addr = client.addr();
    events::wait_for(server, &events::disconnected_line(addr))?;
    events::expect_once(server.log(), &events::disconnected_line(addr))?;
    let says_why =
        |line: &str| events::is_about(line, addr) && why.iter().any(|word| line.contains(word));
    match server.log().count(says_why) {
        1 => Ok(()),
        n => fail(
            client.transcript(),
            format!("one log line with {addr} and one of the words {why:?}"),
            format!("{n} such lines in the log:\n{}", server.log()),
        ),
    }
}

/// Expects a message `server: …` next, with a reason.
pub(super) fn expect_reason(client: &mut Client) -> Result<()> {
    let frame = client.recv_msg()?;
    let is_reason = frame.strip_prefix(b"server: ").is_some_and(|why| !why.is_empty());
    if is_reason && str::from_utf8(&frame).is_ok() {
        return Ok(());
    }
    fail(client.transcript(), "a message `server: …` with a reason", show(&frame))
}

pub(super) fn valid_before_invalid(bench: &Bench) -> Result<()> {
    let too_long = [&vec![b'x'; MAX_MSG_LEN + 1][..], b"\0three\0"].concat();
    for bad in [b"\xff\0three\0", &too_long[..]] {
        let bytes = [b"one\0two\0", bad].concat();
        if bench.profile().is_chat() {
            valid_before_invalid_in_chat(bench, &bytes)?;
        } else {
            let server = bench.start_with_args(&[])?;
            let mut client = Client::connect(server.addr())?;
            client.send(&bytes)?;
            bench.expect_answer(&mut client, "one")?;
        }
    }
    Ok(())
}

fn valid_before_invalid_in_chat(bench: &Bench, bytes: &[u8]) -> Result<()> {
    let mut room = ChatRoom::start_with_args(bench, &[], 2)?;
    let addr = room.members[0].addr();
    room.members[0].try_send(bytes);
    room.expect_msg(&message_line(addr, "one"))?;
    room.expect_msg(&message_line(addr, "two"))?;
    let mut bad = room.members.remove(0);
    expect_reason(&mut bad)?;
    bad.expect_eof()?;
    room.send_and_expect(0, "this is the next message that the others receive")
}

pub(super) fn same_however_cut(bench: &Bench) -> Result<()> {
    let server = bench.start_with_args(&[])?;
    let long = |len: usize| vec![b'x'; len];
    let streams = [
        b"good\0bad \xff here\0after\0".to_vec(),
        [b"good\0", &long(MAX_MSG_LEN + 1)[..], b"\0after\0"].concat(),
        [&long(20_000)[..], b"\0"].concat(),
        [b"\xff", &long(MAX_MSG_LEN)[..], b"\0"].concat(),
        [&long(MAX_MSG_LEN - 1)[..], b"\xff\0"].concat(),
        b"\0good\0also good\0unfinish".to_vec(),
    ];
    streams.iter().try_for_each(|stream| same_for_all_cuts(bench, &server, stream))
}

fn same_for_all_cuts(bench: &Bench, server: &Server, stream: &[u8]) -> Result<()> {
    let len = stream.len();
    let at = [
        1,
        4,
        5,
        9,
        len / 2,
        MAX_MSG_LEN - 1,
        MAX_MSG_LEN,
        MAX_MSG_LEN + 1,
        MAX_MSG_LEN + 5,
        MAX_MSG_LEN + 6,
        len - 2,
        len - 1,
    ];
    let mut at: Vec<_> = at.into_iter().filter(|at| (1..len).contains(at)).collect();
    at.sort_unstable();
    at.dedup();
    let whole = answers_to(bench, server, stream, &[])?;
    let mut cuts: Vec<_> = at.iter().map(|at| vec![*at]).collect();
    cuts.push(at);
    for cut in cuts {
        let received = answers_to(bench, server, stream, &cut)?;
        if received != whole {
            let did = format!("sent {} in pieces, cut at bytes {cut:?}", show(stream));
            return fail(
                did,
                format!("the same answers as without cuts: {whole:?}"),
                format!("{received:?}"),
            );
        }
    }
    Ok(())
}

/// Returns every message that a client receives after it has sent the stream, cut at these places,
/// and closed its sending side.
fn answers_to(bench: &Bench, server: &Server, stream: &[u8], cut: &[usize]) -> Result<Vec<String>> {
    let mut client = Client::connect(server.addr())?;
    let ends = cut.iter().copied().chain([stream.len()]);
    let mut begin = 0;
    for end in ends {
        client.try_send(&stream[begin..end]);
        wait_until_read(&client)?;
        begin = end;
    }
    // The server may have closed the connection already.
    let _ = client.half_close();
    let (frames, ending) = client.recv_msgs_to_end()?;
    if bench.profile().is_chat() && ending != Received::Eof {
        return fail(client.transcript(), "the end of the connection", ending);
    }
    let text = |frame: Vec<u8>| String::from_utf8_lossy(&frame).into_owned();
    let own = client.addr().to_string();
    Ok(frames.into_iter().map(|frame| text(frame).replace(&own, "ADDR")).collect())
}

/// Checks that the reason reaches a client that goes on sending: a close with unread bytes would
/// send a reset, which discards the reason.
pub(super) fn reason_reaches_a_sender(bench: &Bench) -> Result<()> {
    let server = bench.start_with_args(&[])?;
    // A server reads on for at least 500 ms, in which a busy machine can still send this.
    let much = vec![b'y'; 2 << 20];
    for bad in [b"\xff\0".to_vec(), vec![b'x'; MAX_MSG_LEN + 1]] {
        let mut at_once = Client::connect(server.addr())?;
        // Not more than the kernel accepts at once: a write that fails would hide a reset from the
        // read.
        at_once.try_send(&[&bad[..], &much[..300_000]].concat());
        let mut later = Client::connect(server.addr())?;
        later.send(&bad)?;
        later.try_send(&much);
        for client in [&mut at_once, &mut later] {
            expect_reason(client)?;
            client.expect_eof()?;
        }
    }
    bench.expect_new_client_served(&server)
}

pub(super) fn unfinished_dropped(bench: &Bench) -> Result<()> {
    for (level, logged) in [(None, false), (Some("-v"), true)] {
        let server = bench.start_with_args(level.as_slice())?;
        let mut client = Client::connect(server.addr())?;
        client.send(b"unfinished")?;
        wait_until_read(&client)?;
        client.half_close()?;
        client.expect_eof()?;
        let addr = client.addr();
        events::wait_for(&server, &events::disconnected_line(addr))?;
        let debug = |line: &str| line.contains("DEBUG") && line.contains(&addr.to_string());
        let lines = server.log().count(debug);
        if (lines > 0) != logged {
            let expected =
                format!("{} line about {addr}", if logged { "a DEBUG" } else { "no DEBUG" });
            return fail(
                client.transcript(),
                expected,
                format!("{lines} such lines in the log:\n{}", server.log()),
            );
        }
    }
    Ok(())
}

pub(super) fn unfinished_not_relayed(bench: &Bench) -> Result<()> {
    let mut room = ChatRoom::start_with_args(bench, &[], 2)?;
    room.members[0].send(b"whole\0par")?;
    let mut leaver = room.members.remove(0);
    room.expect_msg(&message_line(leaver.addr(), "whole"))?;
    leaver.expect_msg(&message_line(leaver.addr(), "whole"))?;
    let addr = leaver.addr();
    drop(leaver);
    events::wait_for(&room.server, &events::disconnected_line(addr))?;
    room.send_and_expect(0, "this is the next message that the others receive")
}
