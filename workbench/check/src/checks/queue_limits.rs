//! Checks that clients that do not read are disconnected without an effect on the others, and that
//! clients that read are not.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};

#[cfg(unix)]
use crate::bench::while_stopped;
use crate::check::own_check;
use crate::log_events::{self as events, message_line};
use crate::profile::CHAT_STAGES;
use crate::room::ChatRoom;
use crate::{Bench, Check, Theme};
use probe::server::Server;
use probe::wire::{Client, prep_msg, show};
use probe::{Failure, TIMEOUT, fail, wait_until};

pub(crate) const ROWS: &[Check] = &[
    own_check(
        "slow-warning",
        Theme::SlowReaders,
        CHAT_STAGES,
        disconnected_with_a_warning,
        "§2: A client that does not keep up is disconnected, with a warning that says how \
         much was queued.",
    ),
    own_check(
        "slow-talker",
        Theme::SlowReaders,
        CHAT_STAGES,
        sender_that_never_reads,
        "§2: A client that does not keep up (its queue is full) is disconnected, however much it \
         sends itself.",
    ),
    own_check(
        "slow-write-deadline",
        Theme::SlowReaders,
        CHAT_STAGES,
        write_deadline,
        "§2: A client that accepts no bytes until the write deadline is disconnected, with a \
         warning that says how much was queued.",
    ),
    own_check(
        "slow-late-reader",
        Theme::SlowReaders,
        CHAT_STAGES,
        late_reader_kept,
        "§2: Nothing is lost while the receiver stays connected and keeps up.",
    ),
    own_check(
        "slow-one-letter",
        Theme::SlowReaders,
        CHAT_STAGES,
        one_letter_messages,
        "§2: Nothing is lost while the receiver keeps up: 64 KiB of one-letter messages \
         disconnect no client that reads.",
    ),
    own_check(
        "slow-full-queue",
        Theme::SlowReaders,
        CHAT_STAGES,
        full_queue_not_slow,
        "§2: Nothing is lost while the receiver keeps up: a megabyte at once disconnects no \
         client that reads.",
    ),
    own_check(
        "slow-short-pause",
        Theme::SlowReaders,
        CHAT_STAGES,
        short_pause_allowed,
        "§2: A client that reads is never disconnected for a pause of less than a second.",
    ),
    #[cfg(unix)]
    own_check(
        "slow-suspended-server",
        Theme::SlowReaders,
        CHAT_STAGES,
        suspended_server,
        "§2: A client that reads is never disconnected for a pause of the server; time in which \
         the server itself did not run does not count.",
    ),
];

pub(super) fn disconnected_with_a_warning(bench: &Bench) -> Result<()> {
    let mut room = ChatRoom::start_with_args(bench, &[], 2)?;
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(room.connect_slow_reader()?);
    }
    room.send_and_expect_many(0, &"x".repeat(4000), 2000)?;
    for mut client in silent {
        expect_disconnected_as_slow(&room.server, client.addr())?;
        client.recv_msgs_to_end()?;
    }
    room.send_and_expect(1, "the others continue")
}

/// Expects one warning that the client was disconnected, with the number of bytes that waited for
/// it. Returns the warning.
fn expect_disconnected_as_slow(server: &Server, addr: SocketAddr) -> Result<String> {
    let about = |line: &str| events::is_warning(line) && line.contains(&addr.to_string());
    let what = format!("a warning about {addr} that says how much was queued");
    let line = server.wait_for_log(&what, about)?;
    events::wait_for(server, &events::disconnected_line(addr))?;
    events::expect_once(server.log(), &events::disconnected_line(addr))?;
    // At least some kilobytes wait before any limit is reached.
    if !events::numbers(&line).iter().any(|n| *n >= 1000) {
        return fail("connected a client that does not read", what, line);
    }
    match server.log().count(about) {
        1 => Ok(line),
        n => fail(
            "connected a client that does not read",
            "one warning about it",
            format!("{n} warnings"),
        ),
    }
}

/// Checks that a client that sends and reads nothing, not even its own messages, is disconnected.
pub(super) fn sender_that_never_reads(bench: &Bench) -> Result<()> {
    let mut room = ChatRoom::start_with_args(bench, &[], 2)?;
    let sender = room.connect_slow_reader()?;
    let (addr, server) = (sender.addr(), &room.server);
    thread::scope(|scope| {
        let receive = |member: &mut Client| expect_numbers(member, addr);
        let threads: Vec<_> =
            room.members.iter_mut().map(|member| scope.spawn(move || receive(member))).collect();
        let disconnected = send_until_disconnected(server, sender);
        // This is the last message that the others receive, whatever happened to the sender.
        Client::connect(server.addr())?.send_msg("enough")?;
        disconnected?;
        threads
            .into_iter()
            .try_for_each(|it| it.join().map_err(|_| anyhow!("a client's thread panicked"))?)
    })
}

fn send_until_disconnected(server: &Server, mut sender: Client) -> Result<()> {
    let addr = sender.addr();
    let mut numbers = 0..;
    wait_until(TIMEOUT, || {
        for i in numbers.by_ref().take(50) {
            sender.try_send(&prep_msg(&format!("{i:6} {}", "y".repeat(1000))));
        }
        Ok(events::count(server.log(), &events::disconnected_line(addr)) > 0)
    })?;
    let warning = expect_disconnected_as_slow(server, addr)?;
    // The reason must not be the age of its bytes, for which the limit is 10 s. The server says how old they
    // were; on a busy machine, this check itself may need longer to send them.
    let age = warning.rsplit_once("refused for ").and_then(|(_, age)| age.strip_suffix(" s"));
    if age.and_then(|age| age.parse().ok()).is_some_and(|age: f64| age < 9.0) {
        return Ok(());
    }
    fail(sender.transcript(), "disconnected when its queue is full, in less than 9 s", warning)
}

/// Expects the sender's messages in order and without a gap, up to its last one.
fn expect_numbers(member: &mut Client, sender: SocketAddr) -> Result<()> {
    for i in 0.. {
        let frame = member.recv_msg()?;
        if frame.ends_with(b": enough") && i > 0 {
            return Ok(());
        }
        let expected = message_line(sender, &format!("{i:6} "));
        if !frame.starts_with(expected.as_bytes()) {
            return fail(member.transcript(), format!("{expected}…, or the end"), show(&frame));
        }
    }
    Ok(())
}

/// Checks that a client is disconnected after 10 s although its queue is not full.
pub(super) fn write_deadline(bench: &Bench) -> Result<()> {
    let mut room = ChatRoom::start_with_args(bench, &[], 2)?;
    let slow = room.connect_slow_reader()?;
    let begin = Instant::now();
    room.send_and_expect_many(0, &"z".repeat(1000), 130)?;
    events::wait_for(&room.server, &events::disconnected_line(slow.addr()))?;
    expect_disconnected_as_slow(&room.server, slow.addr())?;
    // The client may use the whole time of the rule.
    if begin.elapsed() < Duration::from_secs(9) {
        let got = format!("it was disconnected after {:?}", begin.elapsed());
        return fail(
            "left 130 KB queued for a client",
            "disconnected after 10 s, not earlier",
            got,
        );
    }
    room.send_and_expect(1, "the others stay")
}

/// Checks that a client that reads late, but within 10 s, receives every message.
pub(super) fn late_reader_kept(bench: &Bench) -> Result<()> {
    let mut room = ChatRoom::start_with_args(bench, &[], 2)?;
    let addr = room.members[0].addr();
    let mut late = room.connect_slow_reader()?;
    for _ in 0..5 {
        room.send_and_expect_many(0, &"z".repeat(1000), 130)?;
        let relay = message_line(addr, &"z".repeat(1000));
        (0..130).try_for_each(|_| late.expect_msg(&relay))?;
    }
    room.add_member(late)?;
    room.send_and_expect(2, "still here")
}

/// Checks that 64 KiB of one-letter messages, which become ten times as much with their prefixes,
/// disconnect no client that reads.
pub(super) fn one_letter_messages(bench: &Bench) -> Result<()> {
    const MESSAGES: usize = 32 * 1024;
    let mut room = ChatRoom::start_with_args(bench, &[], 6)?;
    let addr = room.members[0].addr();
    room.members[0].send(&b"x\0".repeat(MESSAGES))?;
    let relay = message_line(addr, "x");
    let relay = relay.as_str();
    thread::scope(|scope| {
        let receive_all =
            |member: &mut Client| (0..MESSAGES).try_for_each(|_| member.expect_msg(relay));
        let threads: Vec<_> = room
            .members
            .iter_mut()
            .map(|member| scope.spawn(move || receive_all(member)))
            .collect();
        threads
            .into_iter()
            .try_for_each(|it| it.join().map_err(|_| anyhow!("a client's thread panicked"))?)
    })?;
    room.send_and_expect(3, "all still here")
}

/// Checks that clients that have read everything can be sent a full queue at once, several times.
pub(super) fn full_queue_not_slow(bench: &Bench) -> Result<()> {
    let mut room = ChatRoom::start_with_args(bench, &[], 3)?;
    let text = "w".repeat(16_000);
    let addr = room.members[0].addr();
    for _ in 0..4 {
        room.members[0].send(&prep_msg(&text).repeat(60))?;
        (0..60).try_for_each(|_| room.expect_msg(&message_line(addr, &text)))?;
    }
    Ok(())
}

/// Checks that a reader may pause for less than a second, however much is queued for it in that
/// time.
pub(super) fn short_pause_allowed(bench: &Bench) -> Result<()> {
    const MESSAGES: usize = 600;
    const PAUSE: Duration = Duration::from_millis(300);
    /// A server may disconnect a reader that pauses for 1 s, so the check does not judge a pause of
    /// nearly 1 s.
    const SHORT: Duration = Duration::from_millis(900);
    const TRIES: usize = 10;
    let text = "p".repeat(1000);
    let mut room = ChatRoom::start_with_args(bench, &[], 2)?;
    for _ in 0..TRIES {
        let mut reader = room.connect_slow_reader()?;
        // The pause begins when the reader's window is full, which is soon after the first message.
        let begin = Instant::now();
        room.members[0].send(&prep_msg(&text).repeat(MESSAGES))?;
        let relay = message_line(room.members[0].addr(), &text);
        // The reader does not read until the others have all of it: the rest waits in the server.
        (0..MESSAGES).try_for_each(|_| room.expect_msg(&relay))?;
        thread::sleep(PAUSE.saturating_sub(begin.elapsed()));
        reader.enlarge_recv_buffer()?;
        match (0..MESSAGES).try_for_each(|_| reader.expect_msg(&relay)) {
            Ok(()) => return room.send_and_expect(1, "all still here"),
            Err(err) if begin.elapsed() <= SHORT || is_timeout(&err) => return Err(err),
            Err(_) => {} // the machine is busy, and the pause may have been too long
        }
    }
    bail!(
        "undecided: the machine is too busy to pause for less than {SHORT:?}, in each of {TRIES} \
         tries"
    )
}

/// Reports whether a client received nothing in time, and was not disconnected.
fn is_timeout(err: &anyhow::Error) -> bool {
    err.downcast_ref::<Failure>().is_some_and(|failure| failure.is_timeout)
}

/// Checks that no client is disconnected for the time in which the server is suspended, because the
/// server offers it no bytes then.
#[cfg(unix)]
pub(super) fn suspended_server(bench: &Bench) -> Result<()> {
    /// Longer than any deadline of a server.
    const SUSPENDED: Duration = Duration::from_secs(11);
    let mut room = ChatRoom::start_with_args(bench, &[], 2)?;
    let mut reader = room.connect_slow_reader()?;
    let text = "s".repeat(1000);
    room.send_and_expect_many(0, &text, 130)?;
    while_stopped(&room.server, || {
        thread::sleep(SUSPENDED);
        Ok(())
    })?;
    let relay = message_line(room.members[0].addr(), &text);
    (0..130).try_for_each(|_| reader.expect_msg(&relay))?;
    room.add_member(reader)?;
    room.send_and_expect(2, "still here")
}
