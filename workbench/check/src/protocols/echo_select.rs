//! `echo-select`: an echo of bytes, on one thread for all connections.

use std::io::{ErrorKind, Write as _};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::check::ROW_AFTER_FRAMING;
use crate::protocol::{FirstExchange, Protocol};
use crate::protocols::OtherProtocol;
use crate::{Bench, Check, Needs, Profile, Theme};
use probe::server::Server;
use probe::sockdiag::{unacknowledged_bytes, unread_bytes};
use probe::wire::Client;
use probe::{fail, wait_until};

pub(crate) static PROTOCOL: OtherProtocol = OtherProtocol {
    name: "echo-select",
    description: "Echo of bytes, on one thread for all connections",
    protocol: Protocol {
        exchange,
        ends_connection: false,
        first: Some(FirstExchange { request, answer }),
    },
    serves_thousands: true,
    basic_checks: &["select-echo"],
    checks: CHECKS,
    right_servers: &["echo_select.py"],
};

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

const CHECKS: &[Check] = &[
    Check {
        id: "select-echo",
        title: "two messages come back",
        rule: "The server sends back the bytes that it receives, until the client closes the \
               connection.",
        after: &[],
        hints: [
            "The bytes that come back differ from the bytes that were sent, or the connection ends \
             after the first answer.",
            "Look at what the server does with the bytes of a read, and what it does after that.",
            "Send back the bytes unchanged, with nothing before or after them, and continue to \
             read.",
        ],
        run: twice,
        ..ROW
    },
    Check {
        id: "select-bytes",
        title: "arbitrary bytes",
        rule: "The server echoes bytes, not text: each of the 256 byte values comes back \
               unchanged, in any order.",
        hints: [
            "Somewhere, the server treats the bytes as text, as lines, or as messages that end \
             with a ␀.",
            "Look for calls that decode, strip, split or compare the bytes of a read.",
            "Append the bytes of a read to the queue unchanged; only a read that returns no bytes \
             is the end.",
        ],
        run: any_bytes,
        ..ROW
    },
    Check {
        id: "select-megabyte",
        title: "1,000,000 bytes, to a client with small buffers",
        rule: "One write may accept only a part of the bytes: the server sends the rest later, in \
               order.",
        after: &["select-bytes"],
        hints: [
            "Bytes that the socket does not accept at once are lost, or are sent twice.",
            "Look at the return value of the call that writes: the number of bytes accepted, or an \
             error that it would block.",
            "Keep a queue for each client, remove the bytes that the socket has accepted, and wait \
             until the socket is writable while bytes remain.",
        ],
        run: megabyte,
        ..ROW
    },
    Check {
        id: "select-last-bytes",
        title: "the end of a client, with bytes still to send",
        rule: "A client that shuts down its sending side gets back all bytes that it has sent; \
               then the server closes the connection.",
        after: &["select-megabyte", "frame-half-close"],
        hints: [
            "The server closes the connection when it sees the end of the client's data, although \
             bytes for the client are still in the queue.",
            "Look at what happens when a read returns no bytes while the queue is not empty.",
            "When a read returns no bytes, stop reading; close the connection when the queue is \
             empty too.",
        ],
        run: last_bytes,
        ..ROW
    },
    Check {
        id: "select-nobody-waits",
        theme: Theme::SlowReaders,
        title: "a client that sends and does not read",
        rule: "No connection waits for a client that does not read.",
        after: &["select-megabyte"],
        hints: [
            "The only thread waits until the socket of a client that does not read becomes \
             writable.",
            "Look for calls that block: is there one other than the call that waits for all sockets? \
             sendall() is one.",
            "Make the sockets non-blocking; write as much as a socket accepts, and wait for all \
             sockets in one place.",
        ],
        run: nobody_waits,
        ..ROW
    },
    Check {
        id: "select-memory",
        theme: Theme::SlowReaders,
        title: "bounded memory",
        rule: "The server stops reading from a client while more than 64 KiB wait to be sent to \
               that client.",
        needs: Needs::Figures,
        after: &["select-nobody-waits"],
        hints: [
            "The server continues to read from a client that receives nothing, and its queue grows \
             without limit.",
            "When does the server ask to be told that a socket is readable: always?",
            "While more than 64 KiB are queued for a client, do not wait for its socket to become \
             readable. Then the kernel makes the client itself wait.",
        ],
        run: memory_bounded,
        ..ROW
    },
];

const ROW: Check = Check {
    must_pass: |profile| profile == Profile::Other(&PROTOCOL),
    after: &["select-echo"],
    page: "variations-protocols.md#echo-select",
    ..ROW_AFTER_FRAMING
};

fn twice(bench: &Bench) -> Result<()> {
    let server = bench.start_server()?;
    let mut client = bench.connect(&server)?;
    bench.set_step("client A sent \"Message 1 from client.\", without a line end or a ␀ after it");
    exchange(&mut client)?;
    bench.set_step("client A sent the same message again after the first one had come back");
    exchange(&mut client)
}

/// Returns bytes that do not repeat, so that a lost or repeated block is noticed.
fn varied(len: usize) -> Vec<u8> {
    (0u32..).flat_map(u32::to_le_bytes).take(len).collect()
}

fn any_bytes(bench: &Bench) -> Result<()> {
    let server = bench.start_server()?;
    let mut client = bench.connect(&server)?;
    let mut echoed = |bytes: &[u8]| {
        client.send(bytes)?;
        client.expect_bytes(bytes)
    };
    let values: Vec<u8> = (0..=255).collect();
    bench.set_step("client A sent all 256 byte values, from 0 to 255");
    echoed(&values)?;
    bench.set_step(
        "client A sent 12 bytes that are not UTF-8, with blanks and line ends around them",
    );
    echoed(b" \r\n\xff\xfe\x80\0\0\xc3\n \t")?;
    bench.set_step(
        "client A sent all 256 byte values one at a time, each byte after the previous one had \
         come back",
    );
    values.chunks(1).try_for_each(echoed)
}

/// More bytes than the socket buffers hold if those of the client are small, but few enough that a server
/// queues them.
const UNREAD: usize = 100_000;

fn megabyte(bench: &Bench) -> Result<()> {
    let server = bench.start_server()?;
    bench.set_step(
        "client A sent 1,000,000 bytes, and left 100,000 bytes or more of the echo unread meanwhile",
    );
    let mut client = bench.connect_with_small_buffers(&server)?;
    let bytes = varied(1_000_000);
    let (mut sent, mut echoed) = (0, 0);
    let mut unread = UNREAD;
    for piece in bytes.chunks(20_000) {
        client.send(piece)?;
        sent += piece.len();
        if sent - echoed > unread && echoed == 0 {
            // If the client read at once, it would make room for each write of the server, and no write would be
            // partial.
            wait_until_server_has_read(bench, &server, &client)?;
            if has_kernel_taken_most(bench, &server, &client, sent)? {
                unread = sent;
            }
        }
        while sent - echoed > unread {
            client.expect_bytes(&bytes[echoed..echoed + 20_000])?;
            echoed += 20_000;
        }
    }
    bytes[echoed..].chunks(20_000).try_for_each(|piece| client.expect_bytes(piece))
}

fn last_bytes(bench: &Bench) -> Result<()> {
    const PIECE: usize = 20_000;
    let server = bench.start_server()?;
    let step = |sent| {
        bench.set_step(format!(
            "client A sent {sent} bytes, shut down its sending side, and only then started to read"
        ));
    };
    let mut client = bench.connect_with_small_buffers(&server)?;
    let bytes = varied(1_000_000);
    let mut sent = 140_000;
    step(sent);
    client.send(&bytes[..sent])?;
    while has_kernel_taken_most(bench, &server, &client, sent)? && sent < bytes.len() {
        client.send(&bytes[sent..sent + PIECE])?;
        sent += PIECE;
    }
    step(sent);
    client.half_close()?;
    wait_until_server_has_read(bench, &server, &client)?;
    client.enlarge_recv_buffer()?;
    bytes[..sent].chunks(PIECE).try_for_each(|piece| client.expect_bytes(piece))?;
    client.expect_eof()
}

/// Reports whether the kernel has taken most bytes of the echo. The server could then write the few that are left at
/// once when it sees the end of the client's data, and would have nothing to lose. If the kernel has not taken them,
/// this waits until the server is idle.
fn has_kernel_taken_most(
    bench: &Bench,
    server: &Server,
    client: &Client,
    sent: usize,
) -> Result<bool> {
    /// More than a third of the kernel's buffer. While less than a third is free, the kernel does not report that the
    /// socket is writable, but it accepts bytes.
    const LEFT: u64 = 40_000;
    let (own, server_addr) = (client.addr(), client.server());
    let has_taken_most = || {
        let received = unread_bytes(own, server_addr).unwrap_or(0);
        let on_their_way = unacknowledged_bytes(server_addr, own).unwrap_or(0);
        received + on_their_way + LEFT > sent as u64
    };
    wait_until(bench.patience(), || Ok(has_taken_most() || server.is_idle()))?;
    Ok(has_taken_most())
}

/// Waits until the server has read all bytes that the client has sent, or has stopped reading: then it is idle although
/// it could read more.
fn wait_until_server_has_read(bench: &Bench, server: &Server, client: &Client) -> Result<()> {
    /// Nearly always enough. To find out whether the server is idle would cost a fifth of a second of processor time.
    const SOON: Duration = Duration::from_secs(1);
    let (own, server_addr) = (client.addr(), client.server());
    let has_read_all = || {
        unacknowledged_bytes(own, server_addr).unwrap_or(0) == 0
            && unread_bytes(server_addr, own).unwrap_or(0) == 0
    };
    if !wait_until(SOON, || Ok(has_read_all()))? {
        wait_until(bench.patience(), || Ok(has_read_all() || server.is_idle()))?;
    }
    Ok(())
}

/// How long a write may make no progress before the client waits for the server, or stops sending.
const STUCK: Duration = Duration::from_millis(300);

/// Sends until the buffers on the way are full, or `most` bytes are sent; returns how many bytes were sent.
fn fill_buffers(client: &mut Client, most: usize) -> Result<usize> {
    let bytes = varied(4096);
    let mut sent = 0;
    while sent < most {
        match client.write(&bytes) {
            Ok(n) if n > 0 => sent += n,
            Err(err) if matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            Ok(_) => break,
            // With a timeout set, Linux interrupts the call when this process is stopped and continued.
            Err(err) if err.kind() == ErrorKind::Interrupted => {}
            Err(err) => {
                return fail(
                    client.transcript(),
                    "the connection accepts bytes, or makes the client wait",
                    err,
                );
            }
        }
    }
    Ok(sent)
}

/// Sends until the buffers on the way are full although the server has had time to read, or `most` bytes are sent;
/// returns how many bytes were sent.
fn send_until_stuck(
    bench: &Bench,
    server: &Server,
    client: &mut Client,
    most: usize,
) -> Result<usize> {
    let mut sent = 0;
    loop {
        let more = fill_buffers(client, most - sent)?;
        sent += more;
        if more == 0 || sent >= most {
            return Ok(sent);
        }
        wait_until_server_has_read(bench, server, client)?;
    }
}

/// More bytes than the kernel buffers in both directions.
const FLOOD: usize = 32 << 20;

fn nobody_waits(bench: &Bench) -> Result<()> {
    let server = bench.start_server()?;
    let mut other = bench.connect(&server)?;
    exchange(&mut other)?;
    let mut slow = bench.connect_with_small_buffers(&server)?.with_timeout(STUCK);
    bench.set_step(
        "a client sent bytes until the buffers were full, and read nothing; then a client that \
             had connected before it sent a message, and then a new client",
    );
    send_until_stuck(bench, &server, &mut slow, FLOOD)?;
    exchange(&mut other)?;
    exchange(&mut bench.connect(&server)?)
}

fn memory_bounded(bench: &Bench) -> Result<()> {
    /// How much an interpreter may allocate for itself.
    const SLACK: u64 = 8 << 20;
    let server = bench.start_server()?;
    bench.expect_new_client_served(&server)?;
    let figures = || server.usage().context("the system does not tell what the server uses");
    let before = figures()?.resident_bytes;
    let mut slow = bench.connect_with_small_buffers(&server)?.with_timeout(STUCK);
    bench.set_step(
        "a client sent bytes until the buffers were full (at most 32 MiB), and read nothing",
    );
    let sent = send_until_stuck(bench, &server, &mut slow, FLOOD)?;
    let more = figures()?.resident_bytes.saturating_sub(before);
    if sent < FLOOD && more < SLACK {
        return bench.expect_new_client_served(&server);
    }
    let got = format!(
        "the server read on: the client sent {} MiB, and the server's memory grew by {} MiB",
        sent >> 20,
        more >> 20
    );
    fail("", "the server stops reading, and its memory grows by less than 8 MiB", got)
}
