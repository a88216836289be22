//! How bytes become messages, whatever way the network cuts them.

use anyhow::Result;

use crate::bench::{Room, wait_until_read};
use crate::check::ours;
use crate::log_events::{self as events, said};
use crate::profile::{CHAT_STAGES, STAGES};
use crate::{Bench, Check, Theme};
use probe::fail;
use probe::server::Server;
use probe::wire::{Client, Received, prep_msg, show};

pub(crate) const ROWS: &[Check] = &[
    ours(
        "framing-empty",
        Theme::Framing,
        STAGES,
        empty_ignored,
        "§2: An empty message (two ␀ in a row) is ignored.",
    ),
    ours(
        "framing-zero-bytes",
        Theme::Framing,
        STAGES,
        zero_bytes_only,
        "§2: An empty message is ignored, and so are 300,000 of them.",
    ),
    ours(
        "framing-too-long",
        Theme::Framing,
        STAGES,
        too_long_refused,
        "§2: A message longer than `MAX_MSG_LEN` bytes is a protocol error: the log says \
         which and from whom, and that client is disconnected.",
    ),
    ours(
        "framing-no-end",
        Theme::Framing,
        STAGES,
        without_end_refused,
        "§2: A message longer than `MAX_MSG_LEN` bytes is a protocol error, also while its ␀ \
         has not come.",
    ),
    ours(
        "framing-bad-utf8",
        Theme::Framing,
        STAGES,
        bad_utf8_refused,
        "§2: A message that is not UTF-8 is a protocol error: the log says which and from \
         whom, and that client is disconnected.",
    ),
    ours(
        "framing-good-before-bad",
        Theme::Framing,
        STAGES,
        good_before_bad,
        "§2: Whole messages that came before it in the same read still count.",
    ),
    ours(
        "framing-any-cut",
        Theme::Framing,
        STAGES,
        same_however_cut,
        "§2: The answer is the same however the bytes were cut.",
    ),
    ours(
        "framing-reason-arrives",
        Theme::Framing,
        CHAT_STAGES,
        reason_survives_a_talker,
        "§2: A chat server first tells it why, in a message `server: …`, and closes so that \
         the text arrives.",
    ),
    ours(
        "framing-unfinished",
        Theme::Framing,
        CHAT_STAGES,
        unfinished_not_relayed,
        "§2: Bytes left without their ␀ when the client leaves are dropped.",
    ),
    ours(
        "framing-unfinished-logged",
        Theme::Framing,
        CHAT_STAGES,
        unfinished_dropped,
        "§2: Bytes left without their ␀ when the client leaves are dropped (logged at \
         `debug`).",
    ),
];

/// The bytes that a message may have, without its zero byte (DESIGN.md, section 5).
pub(super) const MAX: usize = 16 * 1024;

pub(super) fn empty_ignored(bench: &Bench) -> Result<()> {
    let server = bench.start(&[])?;
    let mut client = Client::connect(server.addr())?;
    client.send(b"\0\0first\0\0second\0\0")?;
    if bench.profile().is_echo() {
        return bench.expect_answer(&mut client, "first");
    }
    let addr = client.addr();
    client.expect_msg(&said(addr, "first"))?;
    client.expect_msg(&said(addr, "second"))?;
    bench.exchange(&mut client, "third")?;
    drop(client);
    events::wait_for(&server, &events::left(addr))?;
    match server.log().count(|line| line.contains(&addr.to_string())) {
        5 => Ok(()),
        n => fail("sent three messages and four empty ones", "5 log lines about the client", n),
    }
}

pub(super) fn zero_bytes_only(bench: &Bench) -> Result<()> {
    let server = bench.start(&[])?;
    let mut client = Client::connect(server.addr())?;
    client.send(&vec![0; 300_000])?;
    bench.exchange(&mut client, "at last")
}

pub(super) fn too_long_refused(bench: &Bench) -> Result<()> {
    let server = bench.start(&[])?;
    for text in ["x".repeat(MAX + 1), "é".repeat(MAX / 2) + "x", "x".repeat(1 << 20)] {
        refused(bench, &server, &prep_msg(&text), TOO_LONG)?;
    }
    bench.expect_works(&server)
}

pub(super) fn without_end_refused(bench: &Bench) -> Result<()> {
    let server = bench.start(&[])?;
    for len in [MAX + 1, 1 << 20] {
        refused(bench, &server, &vec![b'x'; len], TOO_LONG)?;
    }
    bench.expect_works(&server)
}

pub(super) fn bad_utf8_refused(bench: &Bench) -> Result<()> {
    let server = bench.start(&[])?;
    let bad: [&[u8]; 6] =
        [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"ab\x80cd", b"cut \xe2\x82"];
    for text in bad {
        refused(bench, &server, &[text, &[0]].concat(), BAD_UTF8)?;
    }
    bench.expect_works(&server)
}

/// One of these words in the log says that a message was too long.
const TOO_LONG: &[&str] = &["long", "16384", "16,384", "16 KiB"];

/// One of these words in the log says that a message was not UTF-8.
const BAD_UTF8: &[&str] = &["UTF-8", "utf-8", "UTF8", "utf8"];

/// The server must turn the client away for what it sent: a chat with a word why, an echo server
/// without an answer; and say in the log whom and why.
fn refused(bench: &Bench, server: &Server, bytes: &[u8], why: &[&str]) -> Result<()> {
    let mut client = Client::connect(server.addr())?;
    client.try_send(bytes);
    if bench.profile().is_chat() {
        expect_told(&mut client)?;
        client.expect_eof()?;
    } else {
        client.expect_closed()?;
    }
    let addr = client.addr();
    events::wait_for(server, &events::left(addr))?;
    events::expect_once(server.log(), &events::left(addr))?;
    let says_why =
        |line: &str| events::is_about(line, addr) && why.iter().any(|word| line.contains(word));
    match server.log().count(says_why) {
        1 => Ok(()),
        n => fail(
            client.transcript(),
            format!("one log line with {addr} and one of {why:?}"),
            format!("{n} of\n{}", server.log()),
        ),
    }
}

/// The next message must be the server's own word.
pub(super) fn expect_told(client: &mut Client) -> Result<()> {
    let frame = client.recv_msg()?;
    let is_reason = frame.strip_prefix(b"server: ").is_some_and(|why| !why.is_empty());
    if is_reason && str::from_utf8(&frame).is_ok() {
        return Ok(());
    }
    fail(client.transcript(), "a message `server: …`", show(&frame))
}

pub(super) fn good_before_bad(bench: &Bench) -> Result<()> {
    let too_long = [&vec![b'x'; MAX + 1][..], b"\0three\0"].concat();
    for bad in [b"\xff\0three\0", &too_long[..]] {
        let bytes = [b"one\0two\0", bad].concat();
        if bench.profile().is_chat() {
            good_before_bad_in_chat(bench, &bytes)?;
        } else {
            let server = bench.start(&[])?;
            let mut client = Client::connect(server.addr())?;
            client.send(&bytes)?;
            bench.expect_answer(&mut client, "one")?;
        }
    }
    Ok(())
}

fn good_before_bad_in_chat(bench: &Bench, bytes: &[u8]) -> Result<()> {
    let mut room = Room::open(bench, &[], 2)?;
    let addr = room.members[0].addr();
    room.members[0].try_send(bytes);
    room.hear(&said(addr, "one"))?;
    room.hear(&said(addr, "two"))?;
    let mut bad = room.members.remove(0);
    expect_told(&mut bad)?;
    bad.expect_eof()?;
    room.say(0, "what comes after the bad one is not relayed")
}

pub(super) fn same_however_cut(bench: &Bench) -> Result<()> {
    let server = bench.start(&[])?;
    let long = |len: usize| vec![b'x'; len];
    let streams = [
        b"good\0bad \xff here\0after\0".to_vec(),
        [b"good\0", &long(MAX + 1)[..], b"\0after\0"].concat(),
        [&long(20_000)[..], b"\0"].concat(),
        [b"\xff", &long(MAX)[..], b"\0"].concat(),
        [&long(MAX - 1)[..], b"\xff\0"].concat(),
        b"\0good\0also good\0unfinish".to_vec(),
    ];
    streams.iter().try_for_each(|stream| same_for_all_cuts(bench, &server, stream))
}

fn same_for_all_cuts(bench: &Bench, server: &Server, stream: &[u8]) -> Result<()> {
    let len = stream.len();
    let at = [1, 4, 5, 9, len / 2, MAX - 1, MAX, MAX + 1, MAX + 5, MAX + 6, len - 2, len - 1];
    let mut at: Vec<_> = at.into_iter().filter(|at| (1..len).contains(at)).collect();
    at.sort_unstable();
    at.dedup();
    let whole = heard_for(bench, server, stream, &[])?;
    let mut cuts: Vec<_> = at.iter().map(|at| vec![*at]).collect();
    cuts.push(at);
    for cut in cuts {
        let heard = heard_for(bench, server, stream, &cut)?;
        if heard != whole {
            let did = format!("sent {} cut at {cut:?}", show(stream));
            return fail(did, format!("as if uncut: {whole:?}"), format!("{heard:?}"));
        }
    }
    Ok(())
}

/// All that a client hears who sends the stream cut at these places and then closes its side.
fn heard_for(bench: &Bench, server: &Server, stream: &[u8], cut: &[usize]) -> Result<Vec<String>> {
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
        return fail(client.transcript(), "the end of the stream", ending);
    }
    let text = |frame: Vec<u8>| String::from_utf8_lossy(&frame).into_owned();
    let own = client.addr().to_string();
    Ok(frames.into_iter().map(|frame| text(frame).replace(&own, "ADDR")).collect())
}

/// A close with bytes unread would send a reset instead of the reason.
pub(super) fn reason_survives_a_talker(bench: &Bench) -> Result<()> {
    let server = bench.start(&[])?;
    let much = vec![b'y'; 8 << 20];
    for bad in [b"\xff\0".to_vec(), vec![b'x'; MAX + 1]] {
        let mut at_once = Client::connect(server.addr())?;
        // No more than the kernel takes at once: a write that fails would hide a reset from the read.
        at_once.try_send(&[&bad[..], &much[..300_000]].concat());
        let mut later = Client::connect(server.addr())?;
        later.send(&bad)?;
        later.try_send(&much);
        for client in [&mut at_once, &mut later] {
            expect_told(client)?;
            client.expect_eof()?;
        }
    }
    bench.expect_works(&server)
}

pub(super) fn unfinished_dropped(bench: &Bench) -> Result<()> {
    for (level, logged) in [(None, false), (Some("-v"), true)] {
        let server = bench.start(level.as_slice())?;
        let mut client = Client::connect(server.addr())?;
        client.send(b"unfinished")?;
        wait_until_read(&client)?;
        client.half_close()?;
        client.expect_eof()?;
        let addr = client.addr();
        events::wait_for(&server, &events::left(addr))?;
        let debug = |line: &str| line.contains("DEBUG") && line.contains(&addr.to_string());
        let lines = server.log().count(debug);
        if (lines > 0) != logged {
            let expected = format!("a debug line about {addr}: {logged}");
            return fail(client.transcript(), expected, format!("{lines} of\n{}", server.log()));
        }
    }
    Ok(())
}

pub(super) fn unfinished_not_relayed(bench: &Bench) -> Result<()> {
    let mut room = Room::open(bench, &[], 2)?;
    room.members[0].send(b"whole\0par")?;
    let mut leaver = room.members.remove(0);
    room.hear(&said(leaver.addr(), "whole"))?;
    leaver.expect_msg(&said(leaver.addr(), "whole"))?;
    let addr = leaver.addr();
    drop(leaver);
    events::wait_for(&room.server, &events::left(addr))?;
    room.say(0, "nothing in between")
}
