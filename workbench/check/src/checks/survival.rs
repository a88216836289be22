//! Checks that a server survives clients that break their connections at any moment.

use anyhow::{Context, Result};

use crate::bench::{Departure, wait_until_read, while_stopped};
use crate::check::{ROW_AFTER_FRAMING, own_check};
use crate::finding::with_likely_cause;
use crate::log_events as events;
use crate::profile::STAGES;
use crate::{Bench, Check, Needs, OwnRequirement, Profile, Serves, Theme};
use probe::procfs::Usage;
use probe::server::Server;
use probe::wire::{Client, Received};
use probe::{fail, fail_timeout, wait_until};

pub(crate) const ROWS: &[Check] = &[
    Check {
        id: "leave-mid-message",
        theme: Theme::Survival,
        title: "a client leaves in the middle of a message",
        rule: "When a client leaves in the middle of a message, the server drops the unfinished \
               bytes and keeps nothing of that client.",
        must_pass: Profile::is_any,
        needs: Needs::Figures,
        after: &["frame-bytewise"],
        hints: [
            "A read of 0 bytes is the end of the client's data. A loop that continues to read \
             gets 0 bytes again and again, and never ends.",
            "The loop around the read: what does it do when a read returns 0 bytes?",
            "When a read returns 0 bytes, leave the loop and close that client's connection.",
        ],
        page: "protocol.md#Half-close",
        own_servers: OwnRequirement::non_stages(Serves::OneAtATime),
        run: leave_mid_message,
        ..ROW_AFTER_FRAMING
    },
    Check {
        id: "reset-any-moment",
        theme: Theme::Survival,
        title: "a client resets its connection at any moment",
        rule: "However a client leaves, the server and every other client continue.",
        must_pass: Profile::is_any,
        after: &["frame-three"],
        hints: [
            "An error of one client (connection reset, broken pipe) ends more than that client.",
            "Each read, write and accept: where is its error handled? Each of them can return a \
             reset.",
            "Catch the errors of a client where its handler is called, log them, close that \
             client's connection, and continue.",
        ],
        page: "echo-uni.md#Where it breaks",
        run: reset_at_every_moment,
        ..ROW_AFTER_FRAMING
    },
    Check {
        id: "reset-hundred",
        theme: Theme::Survival,
        title: "100 resets in a row",
        rule: "However clients leave, the server and every other client continue.",
        must_pass: Profile::is_any,
        after: &["reset-any-moment"],
        hints: [
            "The server survives one reset but not 100: each takes a resource that the server \
             does not release.",
            "What a handler does not release when it ends with an error: its place under the \
             limit, its lock, its thread.",
            "Release the client's resources on every path out of its handler (finally, defer, a \
             destructor).",
        ],
        page: "echo-uni.md#Where it breaks",
        run: hundred_resets,
        ..ROW_AFTER_FRAMING
    },
    Check {
        id: "cycles-thousand",
        theme: Theme::Survival,
        title: "1,000 clients connect and leave",
        rule: "Clients that have left occupy no descriptor, no thread and no memory.",
        must_pass: Profile::is_any,
        needs: Needs::Figures,
        after: &["frame-long", "reset-hundred", "leave-mid-message"],
        hints: [
            "The server keeps something of each client: its socket, its thread or process, or its \
             messages.",
            "What refers to a client or its messages after it has left? Look at lists, tables, \
             histories, and threads that wait.",
            "Close each socket on every path, remove the client from every table, let its threads \
             end, wait for child processes, and do not keep old messages.",
        ],
        page: "echo-multi.md#Where it breaks",
        own_servers: OwnRequirement::non_stages(Serves::OneAtATime),
        run: thousand_clients,
        ..ROW_AFTER_FRAMING
    },
    own_check(
        "survive-garbage",
        Theme::Survival,
        STAGES,
        garbage,
        "§1: whatever a client sends, the server and every other client go on.",
    )
    .non_stages(Serves::OneAtATime),
];

/// Lets clients break their connections, and then expects that the server still serves a new client
/// and the client that was connected before.
fn expect_survives(
    bench: &Bench,
    server: &mut Server,
    did: &str,
    break_connections: impl FnOnce(&Server) -> Result<()>,
) -> Result<()> {
    let mut other = None;
    // An echo server that does not serve a client while another one is silent fails another check.
    let stays = bench.stays_after_exchange();
    if stays {
        let mut client = bench.connect(server)?;
        bench.exchange_skipping_all(&mut client, "hello")?;
        other = Some(client);
    }
    bench.set_step(did);
    break_connections(server)?;
    server.expect_running(did)?;
    bench.set_step(format!("{did}; then another client connected and sent a message"));
    bench.expect_new_client_served(server)?;
    let Some(mut other) = other else { return Ok(()) };
    bench.set_step(format!("{did}; then a client that was connected before sent a message"));
    bench.exchange_skipping_all(&mut other, "I was here before")
}

pub(super) fn reset_at_every_moment(bench: &Bench) -> Result<()> {
    let mut server = bench.start_server()?;
    let client = |server: &Server| bench.connect(server);
    expect_survives(
        bench,
        &mut server,
        "a client reset its connection without sending anything",
        |it| client(it)?.reset(),
    )?;
    expect_survives(
        bench,
        &mut server,
        "a client reset its connection in the middle of a message",
        |it| {
            let mut client = client(it)?;
            client.send(&bench.unfinished_message())?;
            wait_until_read(&client)?;
            client.reset()
        },
    )?;
    expect_survives(
        bench,
        &mut server,
        "a client sent a message and reset its connection at once",
        |it| {
            let mut client = client(it)?;
            client.send(&bench.request("no time for an answer"))?;
            client.reset()
        },
    )?;
    expect_survives(
        bench,
        &mut server,
        "a client reset its connection before it had read the answer",
        |it| {
            let mut client = client(it)?;
            client.send(&bench.request("an answer that is not read"))?;
            wait_until_read(&client)?;
            client.reset()
        },
    )?;
    expect_survives(
        bench,
        &mut server,
        "a client closed its sending side and then reset its connection",
        |it| {
            let mut client = client(it)?;
            client.send(&bench.request("bye"))?;
            client.half_close()?;
            client.reset()
        },
    )?;
    reset_before_accept(bench, &mut server)
}

/// Resets connections that the server has not accepted yet: while the server is stopped, the kernel
/// completes them.
fn reset_before_accept(bench: &Bench, server: &mut Server) -> Result<()> {
    if server.pid().is_none() {
        return Ok(());
    }
    let begun = bench.first_tcp_bytes()?;
    expect_survives(
        bench,
        server,
        "5 clients reset their connections before the server had accepted them",
        |server| {
            while_stopped(server, || {
                for i in 0..5 {
                    let mut client = bench.connect_without_tls(server)?;
                    client.send(&begun[..begun.len() * i / 5])?;
                    client.reset()?;
                }
                Ok(())
            })
        },
    )
}

/// Checks that the server is idle after clients have closed in the middle of a message: a server
/// that does not see the end reads 0 bytes again and again.
pub(crate) fn leave_mid_message(bench: &Bench) -> Result<()> {
    const CLIENTS: usize = 8;
    /// How often the server may be found busy: a few clients that have left give it little to do.
    const LOOKS: usize = 15;
    let server = bench.start_server()?;
    bench.expect_new_client_served(&server)?;
    bench.set_step(format!(
        "{CLIENTS} clients sent half a message each and closed their connections"
    ));
    let mut clients = Vec::new();
    for i in 0..CLIENTS {
        let mut client = bench.connect(&server)?;
        let first = bench.first_exchange();
        client.send(&first.map_or_else(|| b"half a mess".to_vec(), |it| it.halves().0))?;
        wait_until_read(&client)?;
        // A client that closes while it has unread bytes sends a reset instead of the end of the stream. Where
        // the server may have sent bytes, the client ends only its sending direction, and reads.
        if first.is_some() || bench.uses_tls() {
            // If the server has closed already, another check reports that.
            _ = if bench.uses_tls() && i % 2 == 0 {
                client.close_without_notify()
            } else {
                client.half_close()
            };
            clients.push(client);
        }
    }
    for mut client in clients {
        // A server that does not see the end is found busy below.
        if client.recv_bytes_to_end().is_err() {
            break;
        }
    }
    // Each look takes 0.2 s of processor time.
    if (0..LOOKS).any(|_| server.is_idle()) {
        return bench.expect_new_client_served(&server);
    }
    let got = format!("it was busy in each of {LOOKS} looks");
    fail_timeout("", "the server is idle, because no client is connected", got)
}

pub(super) fn hundred_resets(bench: &Bench) -> Result<()> {
    let mut server = bench.start_server()?;
    let bytes = bench.one_and_a_half_messages();
    expect_survives(
        bench,
        &mut server,
        "100 clients in a row connected, sent part of a message, and reset their connections",
        |server| {
            for _ in 0..100 {
                let mut client = bench.connect(server)?;
                client.try_send(&bytes[..bench.random_below(bytes.len() + 1)]);
                client.reset()?;
            }
            Ok(())
        },
    )
}

pub(crate) fn thousand_clients(bench: &Bench) -> Result<()> {
    /// The threads and descriptors that a runtime may create once and keep.
    const SLACK: u64 = 8;
    const WARM_UP: usize = 200;
    let server = bench.start_server()?;
    bench.set_step(
        "1,000 clients, one after the other, connected, sent 8 KB, received the answer and left",
    );
    run_clients(bench, &server, WARM_UP)?;
    let mut before = wait_for_usage(bench, &server, |_| true)?;
    run_clients(bench, &server, 1000)?;
    let after = wait_for_usage(bench, &server, |now| {
        now.threads <= before.threads + SLACK && now.descriptors <= before.descriptors + SLACK
    })?;
    if after.descriptors > before.descriptors + SLACK {
        return fail_not_released("open descriptors", before.descriptors, after.descriptors);
    }
    if after.threads > before.threads + SLACK {
        return fail_not_released("threads or processes", before.threads, after.threads);
    }
    // A garbage-collected heap grows for a while. Only memory that grows every time is a leak.
    let first = before;
    let mut now = after;
    for _ in 0..8 {
        if now.resident_bytes.saturating_sub(before.resident_bytes) < CLIENT_BYTES * 1000 / 2 {
            return Ok(());
        }
        before = now;
        run_clients(bench, &server, 1000)?;
        now = wait_for_usage(bench, &server, |_| true)?;
    }
    let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
    let did = bench.step().unwrap_or_default();
    bench.set_step(format!("{did}; then 1,000 more, up to 8 times"));
    let expected = format!("the memory returns to {}, or stops growing", mib(first.resident_bytes));
    fail("", expected, format!("{}, and it grew with every 1,000 clients", mib(now.resident_bytes)))
}

/// The message of each client, in bytes.
const CLIENT_BYTES: u64 = 8 * 1024;

const SPORADIC_FAILURE: &str = "After many clients, one received the end of the connection \
                                instead of an answer: something in the server fails occasionally, \
                                perhaps because two threads change one table at the same time \
                                without a lock. See its output below.";

fn run_clients(bench: &Bench, server: &Server, times: usize) -> Result<()> {
    for i in 0..times {
        let mut client = bench.connect_unrecorded(server)?;
        if i % 5 == 4 {
            // This client leaves in the middle of its message.
            client.try_send(&bench.unfinished_message());
            continue;
        }
        let text = format!("{i:5}{}", "c".repeat(usize::try_from(CLIENT_BYTES)? - 5));
        with_likely_cause(bench.exchange_skipping_all(&mut client, &text), |failure| {
            (!failure.is_timeout && failure.got.bytes.is_none()).then_some(SPORADIC_FAILURE)
        })?;
        match bench.random_below(4) {
            0 => client.reset()?,
            1 => _ = client.try_send(&bench.unfinished_message()),
            2 => _ = client.half_close(),
            _ => {}
        }
    }
    Ok(())
}

/// Returns the resources that the server uses as soon as `is_enough` accepts them, or when the patience of
/// the check is over.
fn wait_for_usage(
    bench: &Bench,
    server: &Server,
    is_enough: impl Fn(&Usage) -> bool,
) -> Result<Usage> {
    let mut now = server.usage().context("the system does not report what the server uses")?;
    wait_until(bench.patience(), || {
        now = server.usage().context("the server has ended")?;
        Ok(is_enough(&now))
    })?;
    Ok(now)
}

fn fail_not_released(what: &str, before: u64, after: u64) -> Result<()> {
    fail_timeout("", format!("about {before} {what}, as before"), format!("{after} {what}"))
}

/// Reports whether a client is served: the server answers its message, or ends the connection.
pub(super) fn is_served(bench: &Bench, client: &mut Client, text: &str) -> Result<bool> {
    let answer = bench.expected_answer(client.addr(), text).into_bytes();
    loop {
        match client.recv(client.timeout())? {
            Received::Msg(frame) if frame == answer => return Ok(true),
            Received::Msg(_) => {}
            Received::Eof | Received::Reset => return Ok(false),
            Received::Timeout => {
                let expected = probe::Description::text("an answer, or the end of the connection");
                return Err(client.failure(expected, Received::Timeout));
            }
        }
    }
}

/// Bytes that are invalid in every protocol here, in several ways.
const GARBAGE: [&[u8]; 8] = [
    b"\xff\xfe\0",
    &[0x80; 100_000],
    &[0; 100_000],
    &[b'a'; 100_000],
    &[b'\n'; 100_000],
    b"\0\0\0\xff",
    b"\x7f\xff\xff\xff\xff\xff\xff\xff",
    b"GET / HTTP/1.1\r\n\r\n\x16\x03\x01\x02\0\x01\0\x01\xfc",
];

fn garbage(bench: &Bench) -> Result<()> {
    let mut server = bench.start_with_args(&[])?;
    let mut other = None;
    if !bench.serves_one_at_a_time() {
        other = Some(bench.connect_accepted(&server)?);
    }
    for garbage in GARBAGE {
        for departure in Departure::ALL {
            let mut client = Client::connect(server.addr())?;
            client.try_send(garbage);
            // The server may have closed the connection already.
            if let Ok(Some(mut client)) = departure.end(client) {
                _ = client.recv_bytes_to_end();
            }
        }
        bench.expect_new_client_served(&server)?;
    }
    server.expect_running("sent garbage")?;
    events::expect_all_left_but(&server, other.iter().len())?;
    match other {
        Some(mut other) => bench.exchange_skipping_all(&mut other, "I was here before"),
        None => Ok(()),
    }
}
