//! Checks how a chat handles clients that do not read.

use anyhow::{Context, Result};

use crate::bench::wait_until_read;
use crate::check::CHAT_ROW;
use crate::finding::with_likely_cause;
use crate::room::ChatRoom;
use crate::{Bench, Check, Needs, Theme};
use probe::server::Server;
use probe::sockdiag::{unacknowledged_bytes, unread_bytes};
use probe::wire::Client;
use probe::{fail, wait_until};

pub(crate) const ROWS: &[Check] = &[
    Check {
        id: "slow-pause",
        theme: Theme::SlowReaders,
        title: "a client that pauses",
        rule: "Messages that a client has not read yet wait for it: all of them arrive when it \
               reads again.",
        after: &["chat-sender-order"],
        hints: [
            "Bytes that the socket does not accept at once are lost, or are never sent.",
            "The result of the call that writes: it reports how many bytes were accepted, or that \
             none were. What happens to the rest?",
            "Keep the rest at the front of the client's queue, and send it when the socket is \
             writable again; or write in a thread for each client, with a blocking call.",
        ],
        page: "protocol.md#Slow consumers",
        run: pause,
        ..CHAT_ROW
    },
    Check {
        id: "slow-nobody-freezes",
        theme: Theme::SlowReaders,
        title: "no client waits for one that does not read",
        rule: "No client ever waits for another that does not read.",
        after: &["chat-everyone", "frame-long", "reset-any-moment", "frame-one-write"],
        hints: [
            "The server writes to a client that does not read and blocks there, so that all other \
             clients wait too.",
            "Which call blocks when the receiver's buffers are full, and what is held at that \
             moment (a lock, the only loop)?",
            "Only add messages to a queue for each client. A thread for each client, or a loop \
             that waits for write readiness, empties the queue.",
        ],
        page: "protocol.md#Slow consumers",
        run: others_do_not_wait,
        ..CHAT_ROW
    },
    Check {
        id: "slow-memory",
        theme: Theme::SlowReaders,
        title: "memory stays bounded",
        rule: "A client that does not keep up is disconnected, and the server's memory stays \
               bounded.",
        needs: Needs::Figures,
        after: &["slow-nobody-freezes"],
        hints: [
            "The queue of a client that does not read grows without limit.",
            "The queue of a client: where is its size checked?",
            "Limit the queue (to 256 KiB, for example). Disconnect a client whose queue is full \
             while the kernel accepts no more bytes for it.",
        ],
        page: "protocol.md#Slow consumers",
        run: memory_bounded,
        ..CHAT_ROW
    },
];

/// The length of the messages that are sent while some clients do not read, in bytes.
const TEXT_BYTES: usize = 4000;
const MIB: usize = 1 << 20;

fn text() -> String {
    "z".repeat(TEXT_BYTES)
}

/// Starts a chat with two clients that read, and two that never do.
fn room_with_silent(bench: &Bench) -> Result<(ChatRoom<'_>, Vec<Client>)> {
    let mut room = ChatRoom::start(bench, 2)?;
    let silent = vec![room.connect_slow_reader()?, room.connect_slow_reader()?];
    Ok((room, silent))
}

/// Checks that a client receives messages that it has not read at once. It is alone in the chat, so
/// that a server that waits for it delays no other client.
pub(super) fn pause(bench: &Bench) -> Result<()> {
    let server = bench.start_server()?;
    let (mut client, sent) = client_with_unread(bench, &server)?;
    bench.set_step(format!("A sent {sent} messages of 1 KB, and only then read the answers"));
    client.enlarge_recv_buffer()?;
    (0..sent).try_for_each(|i| bench.expect_own_answer(&mut client, &numbered(i)))
}

/// Connects a client that sends messages of 1 KB and has not read the answers yet: more answers than the kernel holds.
/// Returns the client, and how many messages it has sent.
pub(super) fn client_with_unread(bench: &Bench, server: &Server) -> Result<(Client, usize)> {
    /// Nearly always, the kernel holds less than a hundred.
    const FEWEST: usize = 120;
    /// A server may disconnect a client for which more than 256 KiB wait.
    const MOST: usize = 220;
    let mut client = bench.connect_with_small_buffers(server)?;
    bench.set_step("A sent messages of 1 KB, and did not read the answers yet");
    for sent in 0..MOST {
        if sent >= FEWEST && !kernel_holds_all(bench, server, &client, sent)? {
            return Ok((client, sent));
        }
        client.send_msg(&numbered(sent))?;
    }
    Ok((client, MOST))
}

/// Reports whether the kernel holds the answers to all messages that a client has sent and whose answers it has not
/// read, or nearly all. If the kernel does not, this waits until the server is not busy.
fn kernel_holds_all(bench: &Bench, server: &Server, client: &Client, sent: usize) -> Result<bool> {
    // A server that waits for this client to read does not read on before: another check is about
    // that.
    _ = wait_until_read(client);
    let least: usize = (0..sent).map(|i| numbered(i).len()).sum();
    let holds_all = || {
        let received = unread_bytes(client.addr(), client.server()).unwrap_or(0);
        let on_their_way = unacknowledged_bytes(client.server(), client.addr()).unwrap_or(0);
        received + on_their_way >= least as u64
    };
    wait_until(bench.patience(), || Ok(holds_all() || !server.is_busy()))?;
    Ok(holds_all())
}

/// Returns the text of one of these messages.
pub(super) fn numbered(i: usize) -> String {
    format!("number {i} {}", "q".repeat(1000))
}

pub(super) fn others_do_not_wait(bench: &Bench) -> Result<()> {
    let (mut room, silent) = room_with_silent(bench)?;
    bench
        .set_step("C and D were connected and never read; A sent 8 MB, which A and B must receive");
    let received = room.send_and_expect_many(0, &text(), 8 * MIB / TEXT_BYTES);
    // The hints of this check are about a server that blocks.
    with_likely_cause(received, |failure| {
        let is_disconnected = !failure.is_timeout && !failure.got.text.is_empty();
        is_disconnected.then_some(DISCONNECTED_READER)
    })?;
    bench.set_step("C and D were connected and never read; after A's 8 MB, B sent a message");
    room.send_and_expect(1, "not frozen")?;
    drop(silent);
    room.send_and_expect(0, "and not when they leave")
}

const DISCONNECTED_READER: &str = "The server disconnected a client that reads. In a burst, many messages \
                                   may wait for such a client for a moment. Disconnect a client only if \
                                   its queue is long and the kernel has accepted no bytes for it for a \
                                   while, such as a second. An error on the socket of a silent client must \
                                   not end the client that sent the message.";

pub(super) fn memory_bounded(bench: &Bench) -> Result<()> {
    /// How many bytes are sent at first, until the queues are full, and then each time.
    const BYTES_SENT: usize = 16 * MIB;
    let (mut room, _silent) = room_with_silent(bench)?;
    bench.set_step("C and D were connected and never read; A sent 16 MB up to 7 times");
    let resident = |room: &ChatRoom<'_>| {
        let figures =
            room.server.usage().context("the system does not report what the server uses")?;
        anyhow::Ok(usize::try_from(figures.resident_bytes)?)
    };
    room.send_and_expect_many(0, &text(), BYTES_SENT / TEXT_BYTES)?;
    let first = resident(&room)?;
    let mut before = first;
    for _ in 0..6 {
        room.send_and_expect_many(0, &text(), BYTES_SENT / TEXT_BYTES)?;
        let now = resident(&room)?;
        // A garbage-collected heap grows for a while; a queue without a limit grows every time.
        if now.saturating_sub(before) < BYTES_SENT / 2 {
            return Ok(());
        }
        before = now;
    }
    let mib = |bytes: usize| bytes / MIB;
    let got = format!("it grew every time, from {} MiB to {} MiB", mib(first), mib(before));
    fail("", "memory stops growing, however much C and D have not read", got)
}
