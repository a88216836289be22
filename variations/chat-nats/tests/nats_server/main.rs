//! Tests nodes with a real NATS server, which is killed, suspended and restarted: no message is lost, repeated
//! or reordered.
//!
//! `cargo test --workspace` leaves these tests out, because they need an installed nats-server. Run them with
//!
//! ```sh
//! cargo test -p chat-nats --test nats_server
//! ```
#![cfg(unix)]

mod client;
mod load;
mod nats;
mod proxy;

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::ops::ControlFlow;
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_nats::jetstream::stream;
use check::{Outcome, Profile, ServerUnderTest, Source, TRIES, run_checks};
use client::{AWAY, BACK, Client, TIMEOUT, refused_text};
use nats::{Nats, Node};
use probe::wait_until;
use probe::wire::Received;
use proxy::{Mode, Proxy};

#[test]
fn a_node_passes_all_checks_of_a_chat() -> Result<()> {
    let Some(nats) = Nats::start(&["-js"])? else { return Ok(()) };
    // Each start of the server uses its own room, so that it does not get another check's messages.
    let node = env!("CARGO_BIN_EXE_chat-nats");
    let words =
        [node, "--port", "{port}", "--room", "check-{port}", "--nats", &nats.addr().to_string()];
    let source = Source::Command(words.map(OsString::from).to_vec());
    let server = ServerUnderTest { source, ..ServerUnderTest::new(Profile::Chat, node) };
    let report = run_checks(server, |_| true, TRIES, |_| ControlFlow::Continue(()))?;
    let rows = report.rows.iter();
    let failed = rows.filter(|(_, outcome, _)| !matches!(outcome, Outcome::Passed));
    let failed: Vec<_> = failed.map(|(check, outcome, _)| (check.id, outcome)).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    Ok(())
}

#[test]
fn nodes_relay_each_message_once_before_and_after_nats_is_away() -> Result<()> {
    let Some(mut nats) = Nats::start(&["-js"])? else { return Ok(()) };
    let one = Node::start(nats.addr(), "talk", &[])?;
    let two = Node::start(nats.addr(), "talk", &["--others-only"])?;
    let other_room = Node::start(nats.addr(), "other-room", &[])?;
    for node in [&one, &two, &other_room] {
        node.wait_for_log("Connected to NATS")?;
    }
    let (mut ann, mut elsewhere) = (Client::connect(&one)?, Client::connect(&other_room)?);
    let (mut bob, mut bill) = (Client::connect(&two)?, Client::connect(&two)?);
    elsewhere.say("hello")?;
    ann.say("hello")?;
    bob.send("hello")?;
    ann.wait_for(&bob.relayed("hello"))?; // after this, his node has accepted Bob
    bill.send("hello")?;
    let hello = bill.relayed("hello");
    ann.wait_for(&hello)?;
    bob.wait_for(&hello)?;

    nats.kill();
    ann.wait_for(AWAY)?;
    ann.send("is anyone there?")?;
    ann.wait_for("server: not delivered, NATS is away: is anyone there?")?;
    let late = Node::start(nats.addr(), "talk", &[])?; // listens although NATS is away
    let mut carl = Client::connect(&late)?;
    carl.send("me too?")?;
    carl.wait_for("server: not delivered, NATS is away: me too?")?;

    nats.restart()?;
    let said = [carl.say("back")?, ann.say("back")?];
    for client in [&mut ann, &mut bob, &mut bill] {
        client.wait_for(&said[0])?;
        client.wait_for(&said[1])?;
    }
    elsewhere.wait_for(BACK)?; // the clients in another room get the note, too

    for node in [one, two, other_room, late] {
        node.stop()?;
    }
    for client in [&mut ann, &mut bob, &mut bill, &mut carl, &mut elsewhere] {
        assert_eq!(client.recv_until(TIMEOUT, |_| false)?, Received::Eof);
        let msgs = client.msgs();
        assert_eq!(msgs.len(), msgs.iter().collect::<HashSet<_>>().len(), "twice: {msgs:?}");
    }
    for client in [&elsewhere, &bob, &bill] {
        let notes = client.notes().filter(|note| refused_text(note).is_none());
        assert_eq!(notes.collect::<Vec<_>>(), [AWAY, BACK]);
    }
    assert!(!bill.received.contains(&hello), "--others-only, and Bill got his own message");
    let own = elsewhere.relayed("");
    assert!(elsewhere.msgs().iter().all(|msg| msg.starts_with(&own)), "from another room");
    Ok(())
}

/// Observes what chat-nats is bad at: without NATS, a node does not even relay between its own clients.
#[test]
fn a_node_relays_nothing_while_nats_is_suspended() -> Result<()> {
    let Some(nats) = Nats::start(&["-js"])? else { return Ok(()) };
    let node = Node::start(nats.addr(), "slow", &[])?;
    let (mut ann, mut bob) = (Client::connect(&node)?, Client::connect(&node)?);
    bob.say("hello")?;
    ann.say("hello")?;
    nats.suspend()?;
    ann.send("are you there?")?;
    let text = ann.relayed("are you there?");
    assert_eq!(ann.recv_until(Duration::from_secs(1), |it| it == text)?, Received::Timeout);
    assert_eq!(bob.recv_until(Duration::ZERO, |it| it == text)?, Received::Timeout);
    nats.resume()?;
    bob.wait_for(&text)
}

#[test]
fn a_message_whose_answer_is_lost_is_delivered_once() -> Result<()> {
    let Some(nats) = Nats::start(&["-js"])? else { return Ok(()) };
    assert_eq!(lose_answer(&nats, "long", Duration::ZERO)?, 0);
    Ok(())
}

#[test]
fn a_message_whose_id_nats_has_forgotten_is_in_doubt_and_delivered_once() -> Result<()> {
    let Some(nats) = Nats::start(&["-js"])? else { return Ok(()) };
    let duplicate_window = Duration::from_secs(2);
    nats.create_stream("brief", stream::Config { duplicate_window, ..Default::default() })?;
    assert_eq!(lose_answer(&nats, "brief", 2 * duplicate_window)?, 1);
    Ok(())
}

/// Loses the answer of NATS to a message of Ann, and disconnects her node for a time. Checks that Ann and a
/// client of another node get the message once, and returns how many notes Ann gets that it is in doubt.
fn lose_answer(nats: &Nats, room: &str, disconnected: Duration) -> Result<usize> {
    let proxy = Proxy::start(nats.addr())?;
    let far = Node::start(proxy.addr, room, &[])?;
    let near = Node::start(nats.addr(), room, &[])?;
    let (mut ann, mut bob) = (Client::connect(&far)?, Client::connect(&near)?);
    ann.say("hello")?; // after this, her node has accepted Ann
    ann.wait_for(&bob.say("hello")?)?;
    let last = nats.last_sequence(room)?;
    proxy.set(Mode::DropsAnswers);
    ann.send("one")?;
    assert!(wait_until(TIMEOUT, || Ok(nats.last_sequence(room)? > last))?, "NATS stores nothing");
    proxy.set(Mode::Closes);
    ann.wait_for(AWAY)?;
    std::thread::sleep(disconnected); // in this time, NATS may forget the id of the message
    proxy.set(Mode::Passes);
    let one = ann.relayed("one");
    ann.wait_for(&one)?;
    let two = ann.say("two")?;
    bob.wait_for(&two)?;
    assert_eq!((ann.count(&one), bob.count(&one)), (1, 1), "{:?}", ann.received);
    Ok(ann.count("server: perhaps not delivered, NATS went away: one"))
}

#[test]
fn a_node_that_was_disconnected_tells_its_clients_that_messages_are_missing() -> Result<()> {
    let Some(nats) = Nats::start(&["-js"])? else { return Ok(()) };
    nats.create_stream("small", stream::Config { max_messages: 10, ..Default::default() })?;
    let proxy = Proxy::start(nats.addr())?;
    let far = Node::start(proxy.addr, "small", &[])?;
    let near = Node::start(nats.addr(), "small", &[])?;
    let (mut ann, mut bob) = (Client::connect(&far)?, Client::connect(&near)?);
    ann.say("hello")?;
    proxy.set(Mode::Closes);
    ann.wait_for(AWAY)?;
    let said = (0..30).map(|_| bob.say("hello")).collect::<Result<Vec<_>>>()?;
    proxy.set(Mode::Passes);
    ann.wait_for(&said[29])?;
    let gap = "server: at least 20 messages are missing here: NATS no longer has them";
    let received = ann.received.iter().filter(|text| refused_text(text).is_none());
    let after: Vec<_> = received.skip_while(|text| *text != gap).skip(1).take(2).collect();
    assert_eq!(after, [BACK, &said[20]], "Ann received {:?}", ann.received);
    assert!(!bob.notes().any(|note| note.contains("missing")), "Bob got the note for Ann");
    Ok(())
}

#[test]
fn the_log_says_that_nats_runs_without_jetstream() -> Result<()> {
    let Some(nats) = Nats::start(&[])? else { return Ok(()) };
    Node::start(nats.addr(), "lobby", &[])?.wait_for_log("it runs without JetStream")
}

#[test]
fn the_log_says_that_the_stream_belongs_to_two_rooms() -> Result<()> {
    let Some(nats) = Nats::start(&["-js"])? else { return Ok(()) };
    let subjects = vec!["chat.wide".to_owned(), "chat.narrow".to_owned()];
    nats.create_stream("wide", stream::Config { subjects, ..Default::default() })?;
    let node = Node::start(nats.addr(), "wide", &[])?;
    node.wait_for_log("must have the single subject chat.wide")
}

#[test]
fn the_log_says_once_that_nats_refuses_the_password() -> Result<()> {
    let Some(nats) = start_strict()? else { return Ok(()) };
    for (user, attempts) in [("", 5), ("ann:wrong@", 10)] {
        let node = Node::start(format!("{user}{}", nats.addr()), "lobby", &[])?;
        node.wait_for_log("authorization violation")?;
        let mut client = Client::connect(&node)?;
        client.send("hello")?;
        client.wait_for("server: not delivered, NATS is away: hello")?;
        nats.wait_for_log("authentication error", attempts)?;
        let addr = client.addr().to_string();
        assert_eq!(node.0.log().count(|line| !line.contains(&addr)), 1, "{}", node.0.log());
    }
    Ok(())
}

#[test]
fn a_message_that_is_too_long_for_nats_is_refused_and_the_others_stay_in_order() -> Result<()> {
    let Some(nats) = start_strict()? else { return Ok(()) };
    let node = Node::start(format!("ann:p%40s%2Fs@{}", nats.addr()), "lobby", &[])?;
    let mut ann = Client::connect(&node)?;
    ann.say("hello")?;
    let mut texts: Vec<_> = (0..100).map(|number| format!("message {number:0100}")).collect();
    texts.insert(50, "x".repeat(10_000));
    ann.send(&texts.join("\0"))?;
    for text in &texts {
        ann.wait_for_answer(text)?;
    }
    assert_eq!(ann.refused()?.last(), Some(&&*texts.remove(50)));
    let expected: Vec<_> = texts.iter().map(|text| ann.relayed(text)).collect();
    assert!(ann.msgs().ends_with(&expected.iter().map(|it| &**it).collect::<Vec<_>>()));
    Ok(())
}

/// Starts a NATS server that requires a password with special characters, and accepts only short messages.
fn start_strict() -> Result<Option<Nats>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("nats.conf");
    fs::write(&path, "max_payload: 4096\nauthorization {user: ann, password: \"p@s/s\"}\n")?;
    Nats::start(&["-js", "-c", path.to_str().context("the path is not UTF-8")?])
}
