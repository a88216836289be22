//! Checks which clients of a chat receive a message, and in which order.

use std::thread;

use anyhow::{Result, anyhow};

use super::framing::or_silent;
use crate::bench::{Departure, while_stopped};
use crate::check::CHAT_ROW;
use crate::room::ChatRoom;
use crate::{Bench, Check};
use probe::wire::{Client, Received, prep_msg};
use probe::{Description, Failure, fail_timeout, wait_until};

pub(crate) const ROWS: &[Check] = &[
    Check {
        id: "chat-everyone",
        title: "every client gets each message",
        rule: "Each message goes exactly once to every client connected at that moment, the \
               sender included.",
        hints: [
            "Not every client receives each message exactly once.",
            "The list of clients to which a message is sent: where and when is a client added?",
            "Add a client to the table when it is accepted, and send each message to all clients \
             in the table, the sender included.",
        ],
        run: everyone,
        ..CHAT_ROW
    },
    Check {
        id: "chat-sender-order",
        title: "each sender's messages in order",
        rule: "One sender's messages arrive in the order sent, each of them once.",
        after: &["chat-everyone", "frame-one-write"],
        hints: [
            "Messages overtake each other: there are two paths from a sender to a receiver, or \
             the message that is queued last is sent first.",
            "The code that passes messages on: is there a thread or task for each message, or a \
             stack instead of a queue?",
            "Give each client one reader and one queue that is first in, first out.",
        ],
        run: |bench| or_silent(order_of_each(bench)),
        ..CHAT_ROW
    },
    Check {
        id: "chat-one-order",
        title: "one order for all",
        rule: "Every client receives all messages in the same order.",
        after: &["chat-sender-order", "chat-whole-frames"],
        hints: [
            "The clients receive the messages in different orders: two broadcasts run at the same \
             time, or a client's own messages take a shorter path.",
            "Which lock is held while a message is added to all queues: one for all queues, or \
             one for each?",
            "Add a message to the queues of all clients under one lock, or in one thread.",
        ],
        run: |bench| or_silent(one_order(bench)),
        ..CHAT_ROW
    },
    Check {
        id: "chat-late-joiner",
        title: "a client that joins later",
        rule: "A message goes to the clients connected at that moment, and not to clients that \
               connect later.",
        after: &["chat-everyone", "frame-one-write"],
        hints: [
            "A new client receives messages that were sent before it connected.",
            "Where old messages are kept, and the code that runs when a client is accepted.",
            "Give each new client an empty queue of its own.",
        ],
        run: |bench| or_silent(late_joiner(bench)),
        ..CHAT_ROW
    },
    Check {
        id: "chat-leaver",
        title: "a client leaves during a broadcast",
        rule: "However a client leaves, every other client receives every message.",
        after: &["chat-everyone", "frame-one-write", "reset-any-moment"],
        hints: [
            "When a client leaves during a broadcast, another client misses a message, or the \
             broadcast ends early.",
            "The loop over the clients: is a client removed from the list while the loop iterates \
             over it?",
            "Iterate over a copy, or collect the clients that have left and remove them after the \
             loop.",
        ],
        run: leaver,
        ..CHAT_ROW
    },
    Check {
        id: "chat-whole-frames",
        title: "messages of 8 senders arrive whole",
        rule: "Each message arrives whole and contains no bytes of another message.",
        after: &["chat-everyone", "frame-long", "frame-one-write"],
        hints: [
            "Two threads write to one socket at the same time, or one message is written in \
             pieces.",
            "How many places write to a client's socket, and how much does each call write?",
            "Build the whole frame first, with its prefix and its ␀. Let only one thread write to \
             a socket, or hold that client's lock until the whole frame is written.",
        ],
        run: |bench| or_silent(whole_frames(bench)),
        ..CHAT_ROW
    },
];

pub(super) fn everyone(bench: &Bench) -> Result<()> {
    let mut room = ChatRoom::start(bench, 1)?;
    bench.set_step(
        "clients connected, one after the other; each sent \"hello\", which all of them must \
         receive",
    );
    (0..3).try_for_each(|_| room.connect_member())?;
    bench.set_step(
        "four clients sent messages in turn; all four must receive each message, the sender too",
    );
    for round in 0..3 {
        for sender in 0..4 {
            room.send_and_expect(sender, &format!("round {round}"))?;
        }
    }
    silent_listener(bench, &mut room)
}

/// Checks that a client that has sent nothing receives messages as well, as soon as the server has
/// accepted it.
fn silent_listener(bench: &Bench, room: &mut ChatRoom<'_>) -> Result<()> {
    bench.set_step(
        "a client connected and sent nothing; A sent messages, which that client must receive",
    );
    let mut listener = bench.connect(&room.server)?;
    let is_in = wait_until(bench.patience(), || {
        room.send_and_expect(0, "anybody new?")?;
        Ok(listener.recv(bench.patience() / 20)? != Received::Timeout)
    })?;
    if is_in {
        return Ok(());
    }
    fail_timeout(
        listener.transcript(),
        "it receives A's messages, although it has sent nothing",
        "no message",
    )
}

pub(super) fn order_of_each(bench: &Bench) -> Result<()> {
    const MESSAGES: usize = 500;
    let mut room = ChatRoom::start(bench, 3)?;
    bench.set_step(format!("A sent {MESSAGES} numbered messages without a pause"));
    let addr = room.members[0].addr();
    let msgs: Vec<_> = (0..MESSAGES).map(|i| prep_msg(&format!("number {i}"))).collect();
    room.members[0].send(&msgs.concat())?;
    (0..MESSAGES)
        .try_for_each(|i| room.expect_msg(&bench.relayed(addr, &format!("number {i}"))))?;
    bench.set_step("then B sent a message: no earlier message may arrive a second time");
    room.send_and_expect(1, "and nothing twice")
}

pub(super) fn one_order(bench: &Bench) -> Result<()> {
    const SENDERS: usize = 8;
    const ROUNDS: usize = 40;
    let mut room = ChatRoom::start(bench, SENDERS)?;
    bench.set_step(format!(
        "{SENDERS} clients sent messages at the same time; all must receive them in the same order"
    ));
    let received =
        in_parallel(&mut room.members, |member| send_and_receive(member, SENDERS, ROUNDS))?;
    for (i, other) in received.iter().enumerate().skip(1) {
        if let Some(at) = (0..other.len()).find(|at| received[0][*at] != other[*at]) {
            let of = |name: &str, frame: &[u8]| {
                Description::bytes(
                    with_terminator(frame),
                    format!("as message {at} that {name} received"),
                )
            };
            return Err(Failure {
                did: String::new(),
                expected: of("A", &received[0][at]),
                got: of(&room.members[i].name(), &other[at]),
                is_timeout: false,
                likely_cause: None,
            }
            .into());
        }
    }
    Ok(())
}

fn with_terminator(frame: &[u8]) -> Vec<u8> {
    [frame, &[0]].concat()
}

/// How many messages each client sends at once: a round of all clients fits into any queue.
const ROUND_MSGS: usize = 100;

/// Sends a round of messages, receives a round of all clients, and so on: no client is ever more
/// than a round ahead.
fn send_and_receive(member: &mut Client, senders: usize, rounds: usize) -> Result<Vec<Vec<u8>>> {
    let mut received = Vec::new();
    for round in 0..rounds {
        let texts = (0..ROUND_MSGS).map(|i| prep_msg(&(round * ROUND_MSGS + i).to_string()));
        member.send(&texts.collect::<Vec<_>>().concat())?;
        for _ in 0..senders * ROUND_MSGS {
            received.push(member.recv_msg()?);
        }
    }
    Ok(received)
}

/// Runs the function for all members at the same time, and returns its results.
fn in_parallel<T: Send>(
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
    let mut room = ChatRoom::start(bench, 2)?;
    room.send_and_expect(0, "before")?;
    room.send_and_expect_many(0, "long before", 100)?;
    bench.set_step(
        "A and B sent messages; then C connected and sent \"hello\", which must be the first \
         message that C receives",
    );
    let mut new_client = bench.connect(&room.server)?;
    let hello = bench.relayed(new_client.addr(), "hello");
    new_client.send_msg("hello")?;
    new_client.expect_msg(&hello)?;
    room.expect_msg(&hello)?;
    room.members.push(new_client);
    bench.set_step("A sent a message after C had connected");
    room.send_and_expect(0, "after")
}

pub(super) fn leaver(bench: &Bench) -> Result<()> {
    let mut room = ChatRoom::start(bench, 3)?;
    let addr = room.members[0].addr();
    for i in 0..12 {
        bench.set_step(
            "a client connected, and left while A was sending 20 messages, which all others must \
             receive",
        );
        room.connect_member()?;
        room.connect_member()?;
        let leaver = room.members.remove(room.members.len() - 2);
        let text = format!("while number {i} leaves");
        let bytes = prep_msg(&text).repeat(20);
        let ChatRoom { server, members, .. } = &mut room;
        let act = || {
            members[0].send(&bytes)?;
            Departure::ALL[i % 3].end(leaver).map(drop)
        };
        // While the server is stopped, the messages and the end of the connection wait in the kernel. The
        // server then finds both at the same time.
        if i % 2 == 0 {
            while_stopped(server, act)?;
        } else {
            act()?;
        }
        (0..20).try_for_each(|_| room.expect_msg(&bench.relayed(addr, &text)))?;
    }
    room.send_and_expect(1, "all is well")
}

/// Checks that each of many messages that are sent at once arrives as one piece, long messages and
/// short ones.
pub(super) fn whole_frames(bench: &Bench) -> Result<()> {
    const SENDERS: usize = 8;
    let mut room = ChatRoom::start(bench, SENDERS)?;
    let names: Vec<_> = room.members.iter().map(|it| bench.address_text(it.addr())).collect();
    for (len, at_once_each, rounds) in [(3000, 5, 30), (20, 100, 30)] {
        bench.set_step(format!(
            "{SENDERS} clients sent messages of {len} bytes at the same time, each message one \
             letter repeated"
        ));
        in_parallel(&mut room.members, |member| {
            let message = prep_msg(&member.name().to_lowercase().repeat(len));
            for _ in 0..rounds {
                member.send(&message.repeat(at_once_each))?;
                for _ in 0..SENDERS * at_once_each {
                    expect_whole(&names, &member.recv_msg()?, len)?;
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Expects `ADDR: ` and `len` times the same letter.
fn expect_whole(names: &[String], frame: &[u8], len: usize) -> Result<()> {
    let text = String::from_utf8_lossy(frame);
    let name = names.iter().find(|name| text.starts_with(&format!("{name}: ")));
    let letter = |name: &String| text[name.len() + 2..].chars().next();
    let Some((name, letter)) = name.and_then(|name| Some((name, letter(name)?))) else {
        let expected = Description::text(format!("`ADDR: ` and {len} times the same letter"));
        return Err(mismatch(expected, frame));
    };
    let whole = format!("{name}: {}", letter.to_string().repeat(len));
    if text == whole {
        return Ok(());
    }
    Err(mismatch(Description::bytes(prep_msg(&whole), ""), frame))
}

fn mismatch(expected: Description, frame: &[u8]) -> anyhow::Error {
    let got = Description::bytes(with_terminator(frame), "");
    Failure { did: String::new(), expected, got, is_timeout: false, likely_cause: None }.into()
}
