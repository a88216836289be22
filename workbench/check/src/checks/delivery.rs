//! Checks which clients of this project's chats receive a message, and in which order.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Result;

use crate::check::own_check;
use crate::log_events::message_line;
use crate::profile::CHAT_STAGES;
use crate::room::ChatRoom;
use crate::{Bench, Check, Profile, Theme};
use probe::wire::{Client, Received, show};
use probe::{TIMEOUT, fail, wait_until};

pub(crate) const ROWS: &[Check] = &[
    own_check(
        "chat-others-only",
        Theme::Chat,
        CHAT_STAGES,
        others_only,
        "§2: `--others-only` leaves the sender out.",
    ),
    own_check(
        "chat-thousand",
        Theme::Chat,
        CHAT_STAGES,
        relayed_to_a_thousand,
        "§2: Each message is relayed to every client connected at that moment: here to 1,000.",
    ),
    own_check(
        "chat-newcomer",
        Theme::Chat,
        CHAT_STAGES,
        new_client_gets_next_message,
        "§2: A server with one loop accepts what is waiting before it reads, so a client whose \
         `connect` has returned gets every message that is sent after that.",
    ),
    own_check(
        "chat-churn",
        Theme::Chat,
        CHAT_STAGES,
        churn_starves_nobody,
        "§1: One client's failure is that client's alone: the server and every other client go on.",
    ),
];

pub(super) fn others_only(bench: &Bench) -> Result<()> {
    let server = bench.start_with_args(&["--others-only"])?;
    let mut first = Client::connect(server.addr())?;
    let mut second = Client::connect(server.addr())?;
    let mut third = Client::connect(server.addr())?;
    wait_until_all_have_joined(&mut [&mut first, &mut second, &mut third])?;
    for text in ["one", "two"] {
        first.send_msg(text)?;
        second.expect_msg(&message_line(first.addr(), text))?;
        third.expect_msg(&message_line(first.addr(), text))?;
    }
    second.send_msg("the first hears this, and nothing of its own before")?;
    let answer = message_line(second.addr(), "the first hears this, and nothing of its own before");
    first.expect_msg(&answer)?;
    third.expect_msg(&answer)
}

/// Waits until each client has received messages of all others, and none of its own: all have
/// joined by then.
fn wait_until_all_have_joined(clients: &mut [&mut Client]) -> Result<()> {
    let mut received = HashMap::new();
    let met = wait_until(TIMEOUT, || {
        clients.iter_mut().try_for_each(|client| client.send_msg("anybody there?"))?;
        for client in clients.iter_mut() {
            let received: &mut usize = received.entry(client.addr()).or_default();
            while matches!(client.recv(LISTEN_TIME)?, Received::Msg(_)) {
                *received += 1;
            }
        }
        Ok(clients.iter().all(|client| received[&client.addr()] >= clients.len()))
    })?;
    if !met {
        let expected = "all receive the messages of the others";
        return fail("let all clients send messages", expected, "never");
    }
    // A message may still be on its way: a client has received all of them when it receives the last one of
    // each other client.
    clients.iter_mut().try_for_each(|client| client.send_msg("all are there"))?;
    for i in 0..clients.len() {
        let mut missing = clients.len() - 1;
        while missing > 0 {
            missing -= usize::from(clients[i].recv_msg()?.ends_with(b": all are there"));
        }
    }
    Ok(())
}

/// How long to wait for the messages of others before a client sends again.
const LISTEN_TIME: Duration = Duration::from_millis(100);

pub(super) fn relayed_to_a_thousand(bench: &Bench) -> Result<()> {
    const CLIENTS: usize = 1000;
    // The server raises this soft limit when it starts.
    let launch = bench.launch_with_args(&[])?;
    let launch = if cfg!(unix) { launch.soft_descriptor_limit(256) } else { launch };
    let server = bench.start_launch(launch)?;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(Client::connect(server.addr())?);
    }
    wait_until_all_are_in(&mut clients)?;
    let last = message_line(clients[7].addr(), "to a thousand");
    clients[7].send_msg("to a thousand")?;
    clients.iter_mut().try_for_each(|client| skip_to(client, &last))
}

/// Lets the first client send messages until every client has received one.
fn wait_until_all_are_in(clients: &mut [Client]) -> Result<()> {
    let mut missing: Vec<_> = (1..clients.len()).collect();
    let all_in = wait_until(TIMEOUT, || {
        clients[0].send_msg("anybody there?")?;
        let addr = clients[0].addr();
        clients[0].expect_msg(&message_line(addr, "anybody there?"))?;
        // The last client first: when it has joined, most of the others have. A `recv` that finds no message takes
        // 4 ms, so the first one ends this round.
        while let Some(&last) = missing.last() {
            if !matches!(clients[last].recv(Duration::ZERO)?, Received::Msg(_)) {
                return Ok(false);
            }
            missing.pop();
        }
        Ok(true)
    })?;
    if all_in {
        return Ok(());
    }
    let did = format!("connected {} clients", clients.len());
    fail(did, "all receive a message", "at least one receives none")
}

/// Skips the messages that were sent to find out which clients have joined.
fn skip_to(client: &mut Client, last: &str) -> Result<()> {
    loop {
        let frame = client.recv_msg()?;
        if frame == last.as_bytes() {
            return Ok(());
        }
        if !frame.ends_with(b": anybody there?") {
            return fail(client.transcript(), last, show(&frame));
        }
    }
}

/// Checks that a client that has connected gets the next message.
///
/// A server with one loop accepts the clients that wait before it receives. A server whose accept loop is a
/// thread or a task of its own may receive a message before it has accepted a client that connected at the
/// same time.
pub(super) fn new_client_gets_next_message(bench: &Bench) -> Result<()> {
    const TRIES: usize = 100;
    // How often a thread or a task is late depends on the machine. This is a coarse bound for a busy one: a
    // server that let a client join in a thread or a task of the client missed 60 to 98.
    let allowed = if bench.profile() == Profile::ChatPoll { 0 } else { TRIES / 2 };
    let server = bench.start_with_args(&[])?;
    let mut missed = 0;
    for _ in 0..TRIES {
        let mut speaker = Client::connect(server.addr())?;
        let mut new_client = Client::connect(server.addr())?;
        speaker.send_msg("first")?;
        speaker.expect_msg(&message_line(speaker.addr(), "first"))?;
        new_client.send_msg("second")?;
        let second = message_line(new_client.addr(), "second");
        let first = message_line(speaker.addr(), "first");
        match new_client.recv_msg()? {
            frame if frame == first.as_bytes() => new_client.expect_msg(&second)?,
            frame if frame == second.as_bytes() => missed += 1,
            frame => {
                return fail(new_client.transcript(), format!("{first} or {second}"), show(&frame));
            }
        }
    }
    let did = format!("{TRIES} times: connected two clients, and let the first send a message");
    if missed <= allowed {
        return Ok(());
    }
    fail(
        did,
        format!("the second client misses the message at most {allowed} times"),
        format!("{missed} times"),
    )
}

/// Checks that the messages of connected clients are relayed while many others connect, send half a
/// message and leave.
pub(super) fn churn_starves_nobody(bench: &Bench) -> Result<()> {
    const MESSAGES: usize = 400;
    /// Ten times what a fair server needed. An unfair one accepted tens of thousands.
    const CONNECTIONS: usize = 20_000;
    let mut room = ChatRoom::start_with_args(bench, &["-q"], 2)?;
    let addr = room.server.addr();
    let connections = AtomicUsize::new(0);
    let is_over = AtomicBool::new(false);
    let received = thread::scope(|scope| {
        // Also if the check below fails or panics, because the scope waits for the threads.
        let _end = SetAtEnd(&is_over);
        for is_reset in [true, false] {
            let (connections, is_over) = (&connections, &is_over);
            scope.spawn(move || churn(addr, is_reset, connections, is_over));
        }
        send_during_churn(&mut room, MESSAGES, &connections)
    })?;
    let connected = connections.load(Ordering::Relaxed);
    if connected <= CONNECTIONS {
        return Ok(());
    }
    let did = format!("sent {received} messages while others connected and left");
    fail(
        did,
        format!("delivered before {CONNECTIONS} others have connected"),
        format!("delivered after {connected} have connected"),
    )
}

/// Sets the flag when it is dropped.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn churn(server: SocketAddr, is_reset: bool, connections: &AtomicUsize, is_over: &AtomicBool) {
    /// The limits of the check itself.
    const ENOUGH: usize = 100_000;
    const FAILURES: usize = 100;
    let mut failures = 0;
    while !is_over.load(Ordering::Relaxed) && connections.load(Ordering::Relaxed) < ENOUGH {
        let Ok(mut client) = Client::connect(server) else {
            failures += 1;
            if failures >= FAILURES {
                return;
            }
            thread::sleep(RETRY_DELAY);
            continue;
        };
        connections.fetch_add(1, Ordering::Relaxed);
        if client.try_send(b"x\0half") && is_reset {
            let _ = client.reset();
        }
    }
}

/// How long to wait after a connection that failed, before the next one.
const RETRY_DELAY: Duration = Duration::from_millis(10);

/// Sends `messages` messages after the churn has begun, and waits until the other client has
/// received all of them.
fn send_during_churn(
    room: &mut ChatRoom<'_>,
    messages: usize,
    connections: &AtomicUsize,
) -> Result<usize> {
    const BEGUN: usize = 500;
    if !wait_until(TIMEOUT, || Ok(connections.load(Ordering::Relaxed) >= BEGUN))? {
        let connected = connections.load(Ordering::Relaxed);
        return fail("let clients connect and leave", format!("{BEGUN} connections"), connected);
    }
    connections.store(0, Ordering::Relaxed);
    let speaker = room.members[1].addr();
    for i in 0..messages {
        room.members[1].send_msg(&format!("message {i}"))?;
    }
    for i in 0..messages {
        let expected = message_line(speaker, &format!("message {i}"));
        while room.members[0].recv_msg()? != expected.as_bytes() {} // other messages come in between
    }
    Ok(messages)
}
