//! Who hears what in a chat, and in which order.

use std::thread;

use anyhow::{Result, anyhow};

use super::framing::or_silent;
use crate::bench::{Room, while_stopped};
use crate::check::CHAT_ROW;
use crate::{Bench, Check};
use probe::wire::{Client, Received, prep_msg};
use probe::{Description, Failure, fail_timeout, wait_until};

pub(crate) const ROWS: &[Check] = &[
    Check {
        id: "chat-everyone",
        title: "everyone gets it",
        rule: "Each message goes to every client connected at that moment, the sender included, once.",
        hints: [
            "A message does not reach all: somebody is left out, or gets it twice.",
            "The list of those it is sent to: who puts a client in, and when?",
            "Put a client into the table when it is accepted, and send each message to all in the \
             table, the sender too.",
        ],
        run: everyone,
        ..CHAT_ROW
    },
    Check {
        id: "chat-sender-order",
        title: "each sender's messages in order",
        rule: "One sender's messages arrive in the order sent, each once.",
        after: &["chat-everyone", "frame-one-write"],
        hints: [
            "Messages overtake each other: two ways lead from a sender to a receiver, or what is \
             queued last is sent first.",
            "What hands messages on: a thread or task for each message? A stack instead of a queue?",
            "One reader for each client, one queue for each client, first in, first out.",
        ],
        run: |bench| or_silent(order_of_each(bench)),
        ..CHAT_ROW
    },
    Check {
        id: "chat-one-order",
        title: "one order for all",
        rule: "Every client sees all messages in the same order.",
        after: &["chat-sender-order", "chat-whole-frames"],
        hints: [
            "Each client gets the messages in an order of its own: two broadcasts run at the same \
             time, or one's own messages take a shorter way.",
            "What is held while a message is put into all queues: one lock, or one for each?",
            "Put a message into the queues of all clients under one lock, or in one thread.",
        ],
        run: |bench| or_silent(one_order(bench)),
        ..CHAT_ROW
    },
    Check {
        id: "chat-late-joiner",
        title: "a late joiner",
        rule: "A message goes to those connected at that moment, and to nobody who comes later.",
        after: &["chat-everyone", "frame-one-write"],
        hints: [
            "A newcomer is sent what was said before it came.",
            "What is kept of old messages, and what is done when a client is accepted.",
            "Start each client with an empty queue of its own.",
        ],
        run: |bench| or_silent(late_joiner(bench)),
        ..CHAT_ROW
    },
    Check {
        id: "chat-leaver",
        title: "somebody leaves during a broadcast",
        rule: "However a client leaves, every other client gets every message.",
        after: &["chat-everyone", "frame-one-write", "reset-any-moment"],
        hints: [
            "When a client leaves amid a broadcast, another misses a message, or the broadcast ends.",
            "The loop over the clients: is one taken out of the list while the loop walks over it?",
            "Walk over a copy, or collect who has left and take them out afterwards.",
        ],
        run: leaver,
        ..CHAT_ROW
    },
    Check {
        id: "chat-whole-frames",
        title: "no torn or mixed messages with 8 writers",
        rule: "Each message arrives whole: nothing of another one in it.",
        after: &["chat-everyone", "frame-long", "frame-one-write"],
        hints: [
            "Two threads write to one socket at a time, or one message is written in pieces.",
            "How many places write to a client's socket, and what one call writes.",
            "Make the whole frame first, prefix and ␀ included; let one thread alone write to a \
             socket, or hold that client's lock for the whole frame.",
        ],
        run: |bench| or_silent(whole_frames(bench)),
        ..CHAT_ROW
    },
];

pub(super) fn everyone(bench: &Bench) -> Result<()> {
    let mut room = Room::of(bench, 1)?;
    bench.did("clients came, one after the other; each said \"hello\" and the others heard it");
    (0..3).try_for_each(|_| room.join_one())?;
    bench.did("four clients spoke in turn, and all heard each, the speaker too");
    for round in 0..3 {
        for who in 0..4 {
            room.say(who, &format!("round {round}"))?;
        }
    }
    silent_listener(bench, &mut room)
}

/// One that says nothing is in the room as well, as soon as it has been let in.
fn silent_listener(bench: &Bench, room: &mut Room<'_>) -> Result<()> {
    bench.did("a client connected and said nothing; A spoke until it heard that");
    let mut listener = bench.connect(&room.server)?;
    let is_in = wait_until(bench.patience(), || {
        room.say(0, "anybody new?")?;
        Ok(listener.recv(bench.patience() / 20)? != Received::Timeout)
    })?;
    if is_in {
        return Ok(());
    }
    fail_timeout(listener.transcript(), "it hears A, although it has said nothing", "nothing")
}

pub(super) fn order_of_each(bench: &Bench) -> Result<()> {
    const MESSAGES: usize = 500;
    let mut room = Room::of(bench, 3)?;
    bench.did(format!("A sent {MESSAGES} numbered messages, as fast as it could"));
    let addr = room.members[0].addr();
    for i in 0..MESSAGES {
        room.members[0].send_msg(&format!("number {i}"))?;
    }
    (0..MESSAGES).try_for_each(|i| room.hear(&bench.said(addr, &format!("number {i}"))))?;
    bench.did("after these, B spoke: nothing may come a second time");
    room.say(1, "and nothing twice")
}

pub(super) fn one_order(bench: &Bench) -> Result<()> {
    const TALKERS: usize = 8;
    const ROUNDS: usize = 40;
    let mut room = Room::of(bench, TALKERS)?;
    bench
        .did(format!("{TALKERS} clients talked at the same time; compared what two of them heard"));
    let heard = at_once(&mut room.members, |member| talk(member, TALKERS, ROUNDS))?;
    for (i, other) in heard.iter().enumerate().skip(1) {
        if let Some(at) = (0..other.len()).find(|at| heard[0][*at] != other[*at]) {
            let of = |name: &str, frame: &[u8]| {
                Description::bytes(with_zero(frame), format!("which is message {at} for {name}"))
            };
            return Err(Failure {
                did: String::new(),
                expected: of("A", &heard[0][at]),
                got: of(&room.members[i].name(), &other[at]),
                is_timeout: false,
                likely: None,
            }
            .into());
        }
    }
    Ok(())
}

fn with_zero(frame: &[u8]) -> Vec<u8> {
    [frame, &[0]].concat()
}

/// How much each says at once: a round of all fits into any queue.
const A_ROUND: usize = 100;

/// Says a round, hears a round of everybody, and so on: nobody is ever more than a round ahead.
fn talk(member: &mut Client, talkers: usize, rounds: usize) -> Result<Vec<Vec<u8>>> {
    let mut heard = Vec::new();
    for round in 0..rounds {
        let texts = (0..A_ROUND).map(|i| prep_msg(&(round * A_ROUND + i).to_string()));
        member.send(&texts.collect::<Vec<_>>().concat())?;
        for _ in 0..talkers * A_ROUND {
            heard.push(member.recv_msg()?);
        }
    }
    Ok(heard)
}

/// Lets all members do something at the same time.
fn at_once<T: Send>(
    members: &mut [Client],
    each: impl Fn(&mut Client) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let each = &each;
    thread::scope(|scope| {
        let threads: Vec<_> =
            members.iter_mut().map(|member| scope.spawn(move || each(member))).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Result<T>>| {
            thread.join().map_err(|_| anyhow!("a client's thread panicked"))?
        };
        threads.into_iter().map(join).collect()
    })
}

pub(super) fn late_joiner(bench: &Bench) -> Result<()> {
    let mut room = Room::of(bench, 2)?;
    room.say(0, "before")?;
    room.pour(0, "long before", 100)?;
    bench.did("A and B talked; then C came and said \"hello\", which it must hear first");
    let mut newcomer = bench.connect(&room.server)?;
    let hello = bench.said(newcomer.addr(), "hello");
    newcomer.send_msg("hello")?;
    newcomer.expect_msg(&hello)?;
    room.hear(&hello)?;
    room.members.push(newcomer);
    bench.did("A spoke after C had come");
    room.say(0, "after")
}

pub(super) fn leaver(bench: &Bench) -> Result<()> {
    let mut room = Room::of(bench, 3)?;
    let addr = room.members[0].addr();
    for i in 0..12 {
        bench.did("a client came, and left again while A was talking; the others listened");
        room.join_one()?;
        room.join_one()?;
        let mut leaver = room.members.remove(room.members.len() - 2);
        let text = format!("while number {i} leaves");
        let bytes = prep_msg(&text).repeat(20);
        let Room { server, members, .. } = &mut room;
        let act = || {
            members[0].send(&bytes)?;
            match i % 3 {
                0 => drop(leaver),
                1 => leaver.reset()?,
                _ => leaver.half_close()?,
            }
            Ok(())
        };
        // What happens while it stands still meets in one broadcast for certain.
        if i % 2 == 0 {
            while_stopped(server, act)?;
        } else {
            act()?;
        }
        (0..20).try_for_each(|_| room.hear(&bench.said(addr, &text)))?;
    }
    room.say(1, "all is well")
}

/// Many messages at once: each must come out as one piece, the long and the short ones.
pub(super) fn whole_frames(bench: &Bench) -> Result<()> {
    const WRITERS: usize = 8;
    let mut room = Room::of(bench, WRITERS)?;
    let names: Vec<_> = room.members.iter().map(|it| bench.address(it.addr())).collect();
    for (len, at_once_each, rounds) in [(3000, 5, 30), (20, 100, 30)] {
        bench.did(format!(
            "{WRITERS} clients sent messages of {len} bytes at once, each of one letter"
        ));
        at_once(&mut room.members, |member| {
            let message = prep_msg(&letter_of(&member.name()).repeat(len));
            for _ in 0..rounds {
                member.send(&message.repeat(at_once_each))?;
                for _ in 0..WRITERS * at_once_each {
                    expect_whole(&names, &member.recv_msg()?, len)?;
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn letter_of(name: &str) -> String {
    name.to_lowercase()
}

/// `ADDR: ` and so many times the same letter.
fn expect_whole(names: &[String], frame: &[u8], len: usize) -> Result<()> {
    let text = String::from_utf8_lossy(frame);
    let name = names.iter().find(|name| text.starts_with(&format!("{name}: ")));
    let letter = |name: &String| text[name.len() + 2..].chars().next();
    let Some((name, letter)) = name.and_then(|name| Some((name, letter(name)?))) else {
        let expected = Description::text(format!("`ADDR: ` and {len} times one letter"));
        return Err(unlike(expected, frame));
    };
    let whole = format!("{name}: {}", letter.to_string().repeat(len));
    if text == whole {
        return Ok(());
    }
    Err(unlike(Description::bytes(prep_msg(&whole), ""), frame))
}

fn unlike(expected: Description, frame: &[u8]) -> anyhow::Error {
    let got = Description::bytes(with_zero(frame), "");
    Failure { did: String::new(), expected, got, is_timeout: false, likely: None }.into()
}
