//! `echo-select`: the same bytes back, on one thread for all connections.

use std::io::{ErrorKind, Write as _};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::check::TIN_CAN_ROW;
use crate::protocol::{FirstExchange, Protocol};
use crate::{Bench, Check, Needs, Profile, Theme};
use probe::sockdiag::unread_bytes;
use probe::wire::Client;
use probe::{fail, wait_until};

pub(crate) const PROTOCOL: Protocol =
    Protocol { exchange, ends_connection: false, first: Some(FirstExchange { request, answer }) };

fn request() -> Vec<u8> {
    b"Message 1 from client.".to_vec()
}

fn answer(client: &mut Client) -> Result<()> {
    client.expect_bytes(&request())
}

fn exchange(client: &mut Client) -> Result<()> {
    client.send(&request())?;
    answer(client)
}

pub(crate) const ROWS: &[Check] = &[
    Check {
        id: "select-echo",
        title: "a message comes back, and one more",
        rule: "The server sends back the bytes that it gets, until the client closes.",
        after: &[],
        hints: [
            "What comes back is not what was sent, or the connection ends after the first answer.",
            "What is done with what a read has brought, and after that.",
            "Send back the bytes as they are, nothing before or behind them, and go on reading.",
        ],
        run: twice,
        ..ROW
    },
    Check {
        id: "select-bytes",
        title: "any bytes at all",
        rule: "Bytes, not text: each of the 256 values comes back as it is, in any order.",
        hints: [
            "The bytes are taken for text somewhere, or for lines, or for messages that a ␀ ends.",
            "Calls that decode, strip, split or compare what a read has brought.",
            "Put what a read has brought into the queue as it is; only a read of no bytes is the end.",
        ],
        run: any_bytes,
        ..ROW
    },
    Check {
        id: "select-megabyte",
        title: "a megabyte, to a client with little room",
        rule: "A write may take a part of the bytes: the rest is sent later, in order.",
        after: &["select-bytes"],
        hints: [
            "What a socket does not take at once is lost, or is sent twice.",
            "What the call that writes returns: how many bytes it took, or that it took none now.",
            "Keep a queue for each client, take out what the socket took, and wait until it can be \
             written to while there is more.",
        ],
        run: megabyte,
        ..ROW
    },
    Check {
        id: "select-last-bytes",
        title: "the end, with much still to be sent",
        rule: "A client that closes its sending side gets back all that it sent; then the server \
               closes.",
        after: &["select-megabyte", "frame-half-close"],
        hints: [
            "The connection is closed when the client has sent its last, though its echo still waits \
             in the queue.",
            "What happens when a read brings nothing, and the queue is not empty.",
            "When a read brings nothing, read no more; close when the queue is empty, too.",
        ],
        run: last_bytes,
        ..ROW
    },
    Check {
        id: "select-nobody-waits",
        theme: Theme::SlowReaders,
        title: "a client that sends and does not read",
        rule: "No connection waits for one that does not read.",
        after: &["select-megabyte"],
        hints: [
            "The one thread waits for room in the socket of a client that does not read.",
            "The calls that wait: is there one beside the wait for all sockets? sendall() is one.",
            "Make the sockets non-blocking; write what they take, and wait for all at one place.",
        ],
        run: nobody_waits,
        ..ROW
    },
    Check {
        id: "select-memory",
        theme: Theme::SlowReaders,
        title: "memory stays bounded",
        rule: "Reading from a client stops while more than 64 KiB wait to go out to it.",
        needs: Needs::Figures,
        after: &["select-nobody-waits"],
        hints: [
            "The server reads on from a client that takes nothing, and its queue grows without bound.",
            "When the server wants to be told that a socket can be read from: always?",
            "While more than 64 KiB wait for a client, do not ask whether it can be read from. The \
             kernel then makes the client itself wait.",
        ],
        run: memory_bounded,
        ..ROW
    },
];

const ROW: Check = Check {
    who: &[Profile::EchoSelect],
    after: &["select-echo"],
    read: "variations-protocols.md#echo-select",
    ..TIN_CAN_ROW
};

fn twice(bench: &Bench) -> Result<()> {
    let server = bench.serve()?;
    let mut client = bench.connect(&server)?;
    bench.did("A sent \"Message 1 from client.\", and no line end or zero byte behind it");
    exchange(&mut client)?;
    bench.did("A sent the same once more, when it had got it back");
    exchange(&mut client)
}

/// Bytes of which no two neighbouring kilobytes are alike.
fn varied(len: usize) -> Vec<u8> {
    (0u32..).flat_map(u32::to_le_bytes).take(len).collect()
}

fn any_bytes(bench: &Bench) -> Result<()> {
    let server = bench.serve()?;
    let mut client = bench.connect(&server)?;
    let mut echoed = |bytes: &[u8]| {
        client.send(bytes)?;
        client.expect_bytes(bytes)
    };
    let values: Vec<u8> = (0..=255).collect();
    bench.did("A sent the 256 values of a byte, from 0 to 255");
    echoed(&values)?;
    bench.did("A sent bytes that are not UTF-8, blanks and line ends around them");
    echoed(b" \r\n\xff\xfe\x80\0\0\xc3\n \t")?;
    bench.did("A sent each of the 256 values in a write of its own, when the one before was back");
    values.chunks(1).try_for_each(echoed)
}

/// More than has room between a server and a narrow client, and less than may wait for one.
const BEHIND: usize = 100_000;

fn megabyte(bench: &Bench) -> Result<()> {
    let server = bench.serve()?;
    bench.did("A sent 1,000,000 bytes, and was always some 100,000 behind with reading them back");
    let mut client = bench.connect_narrow(&server)?;
    let bytes = varied(1_000_000);
    let (mut sent, mut echoed) = (0, 0);
    for piece in bytes.chunks(20_000) {
        client.send(piece)?;
        sent += piece.len();
        while sent - echoed > BEHIND {
            client.expect_bytes(&bytes[echoed..echoed + 20_000])?;
            echoed += 20_000;
        }
    }
    bytes[echoed..].chunks(20_000).try_for_each(|piece| client.expect_bytes(piece))
}

fn last_bytes(bench: &Bench) -> Result<()> {
    /// How long a server may take to see the end; one that stops reading sooner never does.
    const SEEN: Duration = Duration::from_secs(1);
    let server = bench.serve()?;
    bench.did(format!("A sent {BEHIND} bytes and the end, and only then began to read"));
    let mut client = bench.connect_narrow(&server)?;
    let bytes = varied(BEHIND);
    client.send(&bytes)?;
    client.half_close()?;
    let unread = || unread_bytes(client.server(), client.addr()).unwrap_or(0);
    wait_until(SEEN, || Ok(unread() == 0))?;
    client.enlarge_recv_buffer()?;
    bytes.chunks(20_000).try_for_each(|piece| client.expect_bytes(piece))?;
    client.expect_eof()
}

/// As long as nothing moves for that time, a sender is stuck; on a busy machine it may seem to be so
/// sooner, which is no harm.
const STUCK: Duration = Duration::from_millis(300);

/// Sends as much as there is room for on the way, and no more than this; gives how much it was.
fn stuff(client: &mut Client, most: usize) -> Result<usize> {
    let bytes = varied(4096);
    let mut sent = 0;
    while sent < most {
        match client.write(&bytes) {
            Ok(n) if n > 0 => sent += n,
            Err(err) if matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            Ok(_) => break,
            Err(err) => {
                return fail(client.transcript(), "the server takes what there is room for", err);
            }
        }
    }
    Ok(sent)
}

/// More than the kernel keeps on the way there and back.
const FLOOD: usize = 32 << 20;

fn nobody_waits(bench: &Bench) -> Result<()> {
    let server = bench.serve()?;
    let mut other = bench.connect(&server)?;
    exchange(&mut other)?;
    let mut never = bench.connect_narrow(&server)?.with_timeout(STUCK);
    bench
        .did("A sent as much as there was room for and read nothing; B, there before, and C spoke");
    stuff(&mut never, FLOOD)?;
    exchange(&mut other)?;
    exchange(&mut bench.connect(&server)?)
}

fn memory_bounded(bench: &Bench) -> Result<()> {
    /// What an interpreter may take besides.
    const SLACK: u64 = 8 << 20;
    let server = bench.serve()?;
    bench.expect_works(&server)?;
    let figures = || server.usage().context("the system does not tell what the server uses");
    let before = figures()?.resident_bytes;
    let mut never = bench.connect_narrow(&server)?.with_timeout(STUCK);
    bench.did("A sent as much as there was room for, up to 32 MiB, and read nothing");
    let sent = stuff(&mut never, FLOOD)?;
    let more = figures()?.resident_bytes.saturating_sub(before);
    if sent < FLOOD && more < SLACK {
        return bench.expect_works(&server);
    }
    let got = format!("it took {} MiB, and has {} MiB more memory", sent >> 20, more >> 20);
    fail("", "the server stops reading", got)
}
