//! Clients that do not read.

use anyhow::{Context, Result};

use super::Bench;
use super::bench::{Room, wait_until_read};
use probe::fail;
use probe::server::Server;
use probe::wire::Client;

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
    client.widen()?;
    (0..PAUSED).try_for_each(|i| bench.expect_own(&mut client, &numbered(i)))
}

/// How many messages of 1 KB wait for one who pauses: more than the kernel takes of them.
pub(super) const PAUSED: usize = 120;

/// A client that has said so much, and has read none of the answers yet.
pub(super) fn pausing(bench: &Bench, server: &Server) -> Result<Client> {
    let mut client = bench.connect_narrow(server)?;
    bench.did("A sent 120 messages of 1 KB, and did not read meanwhile");
    for i in 0..PAUSED {
        client.say(&numbered(i))?;
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
        let figures = room.server.figures().context("the system does not tell about the server")?;
        anyhow::Ok(usize::try_from(figures.resident)?)
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
