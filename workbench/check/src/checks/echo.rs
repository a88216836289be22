//! Checks the answers of the two echo servers, and whether one client waits for another.

use std::time::Duration;

#[cfg(target_os = "linux")]
use anyhow::Context;
use anyhow::Result;

use crate::check::own_check;
use crate::log_events::{self as events, connected_line, disconnected_line, message_line};
use crate::profile::ECHO_STAGES;
use crate::{Bench, Check, Profile, Theme};
use probe::fail;
use probe::wire::{Client, Received};
#[cfg(target_os = "linux")]
use probe::{TIMEOUT, wait_until};

pub(crate) const ROWS: &[Check] = &[
    own_check(
        "echo-answer",
        Theme::Framing,
        ECHO_STAGES,
        answers_and_closes,
        "§2: The client connects and sends a message; the server answers; both close.",
    ),
    own_check(
        "echo-rest-ignored",
        Theme::Framing,
        ECHO_STAGES,
        rest_ignored,
        "§2: What follows the first ␀ is ignored.",
    ),
    own_check(
        "echo-early-leaver",
        Theme::Framing,
        ECHO_STAGES,
        early_leaver_logged,
        "§2: A client that leaves early is logged, and the next one is served.",
    ),
    own_check(
        "echo-one-at-a-time",
        Theme::Framing,
        &[Profile::EchoUni],
        second_waits,
        "§2: One client at a time: a second client waits until the first is done.",
    ),
    own_check(
        "echo-one-at-a-time-limit",
        Theme::Framing,
        &[Profile::EchoUni],
        second_waits_at_the_limit,
        "§2: A second client waits until the first is done, so a limit is never exceeded.",
    ),
    #[cfg(target_os = "linux")]
    own_check(
        "echo-thread-a-client",
        Theme::Framing,
        &[Profile::EchoMulti],
        thread_a_client,
        "§2: One thread a client.",
    ),
];

pub(super) fn answers_and_closes(bench: &Bench) -> Result<()> {
    let server = bench.start_with_args(&[])?;
    for text in ["one", "two", "one"] {
        let mut client = Client::connect(server.addr())?;
        bench.exchange(&mut client, text)?;
        events::wait_for(&server, &disconnected_line(client.addr()))?;
    }
    Ok(())
}

pub(super) fn rest_ignored(bench: &Bench) -> Result<()> {
    let server = bench.start_with_args(&[])?;
    let much = [b"first\0", &vec![b'z'; 300_000][..]].concat();
    for bytes in
        [&b"first\0second\0third\0"[..], b"first\0\xff\xff\0", b"first\0half of a", &much[..]]
    {
        let mut client = Client::connect(server.addr())?;
        client.send(bytes)?;
        bench.expect_answer(&mut client, "first")?;
        events::wait_for(&server, &disconnected_line(client.addr()))?;
        let lines = server.log().count(|line| line.contains(&client.addr().to_string()));
        if lines != 3 {
            let got = format!("{lines} lines in the log:\n{}", server.log());
            return fail(client.transcript(), "3 log lines with the client's address", got);
        }
    }
    Ok(())
}

pub(super) fn early_leaver_logged(bench: &Bench) -> Result<()> {
    let server = bench.start_with_args(&[])?;
    for bytes in [&b""[..], b"par", b"\0\0"] {
        let mut client = Client::connect(server.addr())?;
        client.send(bytes)?;
        let addr = client.addr();
        drop(client);
        events::wait_for(&server, &connected_line(addr))?;
        events::wait_for(&server, &disconnected_line(addr))?;
        bench.expect_new_client_served(&server)?;
    }
    Ok(())
}

pub(super) fn second_waits(bench: &Bench) -> Result<()> {
    second_waits_with(bench, &[])
}

pub(super) fn second_waits_at_the_limit(bench: &Bench) -> Result<()> {
    second_waits_with(bench, &["--max-clients", "1"])
}

/// Checks that the second client waits, even if it is beyond the limit. The log of one thread is in
/// the order of events, so it proves that the server did not even accept the second client before
/// the first was done; the short silence only makes a failure clearer.
fn second_waits_with(bench: &Bench, args: &[&str]) -> Result<()> {
    let server = bench.start_with_args(args)?;
    let mut first = bench.connect_accepted(&server)?;
    let mut second = Client::connect(server.addr())?;
    let mut third = Client::connect(server.addr())?;
    second.send_msg("second")?;
    third.send_msg("third")?;
    let early = second.recv(Duration::from_millis(300))?;
    if early != Received::Timeout {
        return fail(
            second.transcript(),
            "nothing in the 0.3 s in which the first client is silent",
            early,
        );
    }
    bench.exchange(&mut first, "first")?;
    bench.expect_answer(&mut second, "second")?;
    bench.expect_answer(&mut third, "third")?;
    events::wait_for(&server, &disconnected_line(third.addr()))?;
    let turns = [(&first, "first"), (&second, "second"), (&third, "third")];
    let expected: Vec<_> = turns
        .into_iter()
        .flat_map(|(client, text)| {
            [
                connected_line(client.addr()),
                message_line(client.addr(), text),
                disconnected_line(client.addr()),
            ]
        })
        .collect();
    expect_order(&server.log().so_far(), &expected)
}

fn expect_order(log: &[String], expected: &[String]) -> Result<()> {
    let is_event = |line: &str| expected.iter().any(|event| events::ends_with_event(line, event));
    let lines: Vec<_> = log.iter().filter(|line| is_event(line)).collect();
    let in_order = lines.len() == expected.len()
        && lines.iter().zip(expected).all(|(line, event)| events::ends_with_event(line, event));
    if in_order {
        return Ok(());
    }
    fail(
        "sent one message from each of three clients",
        format!("{expected:#?}"),
        format!("{lines:#?}"),
    )
}

/// Checks that each client has a thread while it is served.
#[cfg(target_os = "linux")]
pub(super) fn thread_a_client(bench: &Bench) -> Result<()> {
    const CLIENTS: u64 = 10;
    /// The threads that a server may start for itself when the first client comes.
    const SLACK: u64 = 2;
    let server = bench.start_with_args(&[])?;
    let threads = || server.usage().map(|it| it.threads).context("the server has ended");
    let before = threads()?;
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(bench.connect_accepted(&server)?);
    }
    if !wait_until(TIMEOUT, || Ok(threads()? >= before + CLIENTS))? {
        let expected = format!("{CLIENTS} more threads than the {before} without clients");
        return fail(
            format!("connected {CLIENTS} silent clients"),
            expected,
            format!("{} threads", threads()?),
        );
    }
    clients.iter_mut().try_for_each(|client| bench.exchange(client, "done"))?;
    if wait_until(TIMEOUT, || Ok(threads()? <= before + SLACK))? {
        return Ok(());
    }
    fail(
        format!("served all {CLIENTS} clients"),
        format!("at most {} threads", before + SLACK),
        format!("{} threads", threads()?),
    )
}
