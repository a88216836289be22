//! Clients that do not read.

use anyhow::{Context, Result};

use crate::bench::{Room, wait_until_read};
use crate::check::CHAT_ROW;
use crate::{Bench, Check, Needs, Theme};
use probe::fail;
use probe::server::Server;
use probe::wire::Client;

pub(crate) const ROWS: &[Check] = &[
    Check {
        id: "slow-pause",
        theme: Theme::SlowReaders,
        title: "a client that pauses",
        rule: "What a client has not read yet waits for it: all of it arrives when it reads on.",
        after: &["chat-sender-order"],
        hints: [
            "What a socket does not take at once is lost, or is never sent.",
            "What the call that writes returns: how much of the bytes it took, or that it took none \
             now. What is done with the rest?",
            "Keep the rest at the head of the client's queue, and send it when the socket can be \
             written again; or write in a thread of the client's own, with a call that waits.",
        ],
        read: "protocol.md#Slow consumers",
        run: pause,
        ..CHAT_ROW
    },
    Check {
        id: "slow-nobody-freezes",
        theme: Theme::SlowReaders,
        title: "nobody freezes",
        rule: "No client waits for one that does not read, ever.",
        after: &["chat-everyone", "frame-long", "reset-any-moment", "frame-one-write"],
        hints: [
            "The server writes to a client that does not read, waits there, and with it waits the \
             room.",
            "What blocks when the receiver's buffers are full, and what is held meanwhile (a lock, \
             the one loop).",
            "Only put messages into a queue for each client; a thread for each, or write readiness, \
             empties it.",
        ],
        read: "protocol.md#Slow consumers",
        run: nobody_freezes,
        ..CHAT_ROW
    },
    Check {
        id: "slow-memory",
        theme: Theme::SlowReaders,
        title: "memory stays bounded",
        rule: "A client that does not keep up is disconnected, and memory stays bounded.",
        needs: Needs::Figures,
        after: &["slow-nobody-freezes"],
        hints: [
            "The queue of a client that does not read grows without bound.",
            "The queue of a client: who looks at how much is in it?",
            "Bound it (256 KiB, say); a client whose queue is full although the kernel takes nothing \
             more is disconnected.",
        ],
        read: "protocol.md#Slow consumers",
        run: memory_bounded,
        ..CHAT_ROW
    },
];

/// What is said while some do not read, in messages of so many bytes.
const TEXT_BYTES: usize = 4000;
const MIB: usize = 1 << 20;

fn text() -> String {
    "z".repeat(TEXT_BYTES)
}

/// A room with two who read, and two who are there and never do.
fn room_with_silent(bench: &Bench) -> Result<(Room<'_>, Vec<Client>)> {
    let mut room = Room::of(bench, 2)?;
    let silent = vec![room.join_narrow()?, room.join_narrow()?];
    Ok((room, silent))
}

/// Alone in the room, so that a server that waits for it makes nobody else wait.
pub(super) fn pause(bench: &Bench) -> Result<()> {
    let server = bench.serve()?;
    let mut client = pausing(bench, &server)?;
    bench.did("A sent 120 messages of 1 KB, and read the answers only then");
    client.enlarge_recv_buffer()?;
    (0..PAUSED).try_for_each(|i| bench.expect_own(&mut client, &numbered(i)))
}

/// How many messages of 1 KB wait for one who pauses: more than the kernel takes of them.
pub(super) const PAUSED: usize = 120;

/// A client that has said so much, and has read none of the answers yet.
pub(super) fn pausing(bench: &Bench, server: &Server) -> Result<Client> {
    let mut client = bench.connect_narrow(server)?;
    bench.did("A sent 120 messages of 1 KB, and did not read meanwhile");
    for i in 0..PAUSED {
        client.send_msg(&numbered(i))?;
    }
    // A server that waits for this client to read may read on only then: that is another check's.
    _ = wait_until_read(&client);
    Ok(client)
}

/// What it says.
pub(super) fn numbered(i: usize) -> String {
    format!("number {i} {}", "q".repeat(1000))
}

pub(super) fn nobody_freezes(bench: &Bench) -> Result<()> {
    let (mut room, silent) = room_with_silent(bench)?;
    bench.did("C and D were in the room and never read; A said 8 MB, and A and B listened");
    room.pour(0, &text(), 8 * MIB / TEXT_BYTES)?;
    bench.did("C and D were in the room and never read; after 8 MB of A's, B spoke");
    room.say(1, "not frozen")?;
    drop(silent);
    room.say(0, "and not when they leave")
}

pub(super) fn memory_bounded(bench: &Bench) -> Result<()> {
    /// What is poured past them at first, until all that can be queued is, and then each time.
    const POURED: usize = 16 * MIB;
    let (mut room, _silent) = room_with_silent(bench)?;
    bench.did("C and D were in the room and never read; A said 16 MB, again and again");
    let resident = |room: &Room<'_>| {
        let figures = room.server.usage().context("the system does not tell about the server")?;
        anyhow::Ok(usize::try_from(figures.resident_bytes)?)
    };
    room.pour(0, &text(), POURED / TEXT_BYTES)?;
    let first = resident(&room)?;
    let mut before = first;
    for _ in 0..6 {
        room.pour(0, &text(), POURED / TEXT_BYTES)?;
        let now = resident(&room)?;
        // A heap that is collected now and then grows for a while; a queue without bound, each time.
        if now.saturating_sub(before) < POURED / 2 {
            return Ok(());
        }
        before = now;
    }
    let mib = |bytes: usize| bytes / MIB;
    let got = format!("it grew each time: from {} MiB to {} MiB", mib(first), mib(before));
    fail("", "memory stops growing, whatever C and D have not read", got)
}
