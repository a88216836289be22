//! Clients that break their connections, at every moment.

use anyhow::{Context, Result};

use super::framing::guessed;
use crate::bench::{wait_until_read, while_stopped};
use crate::check::{TIN_CAN_ROW, ours};
use crate::log_events as events;
use crate::profile::{ANY, STAGES};
use crate::{Bench, Check, Needs, Ours, Serves, Theme};
use probe::procfs::Usage;
use probe::server::Server;
use probe::wire::{Client, Received};
use probe::{fail, fail_timeout, wait_until};

pub(crate) const ROWS: &[Check] = &[
    Check {
        id: "leave-amid",
        theme: Theme::Survival,
        title: "a client leaves amid a message",
        rule: "What a client has begun to say when it leaves is dropped, and nothing stays of it.",
        who: ANY,
        needs: Needs::Figures,
        after: &[
            "frame-bytewise",
            "select-echo",
            "app-any-split",
            "calc-sum",
            "names-hello",
            "party-before",
        ],
        hints: [
            "A read of no bytes is the end of what the client sends. A loop that goes on reading gets \
             no bytes again and again, and never ends.",
            "What happens in the loop around the read when it brings nothing.",
            "When a read brings nothing, leave the loop, and close that client's connection.",
        ],
        read: "protocol.md#Half-close",
        ours: Ours::others(Serves::OneAtATime),
        run: left_amid,
        ..TIN_CAN_ROW
    },
    Check {
        id: "reset-any-moment",
        theme: Theme::Survival,
        title: "a reset at every moment",
        rule: "However a client leaves, the server and every other client go on.",
        who: ANY,
        after: &[
            "frame-three",
            "select-echo",
            "app-search",
            "calc-sum",
            "names-hello",
            "party-before",
        ],
        hints: [
            "An error of one client (connection reset, broken pipe) ends more than that client.",
            "Each read, write and accept: where does its error go? A reset can come up in any.",
            "Catch the errors of a client where its handler is called, log them, close that client, \
             and go on.",
        ],
        read: "echo-uni.md#Where it breaks",
        run: reset_at_every_moment,
        ..TIN_CAN_ROW
    },
    Check {
        id: "reset-hundred",
        theme: Theme::Survival,
        title: "a hundred resets in a row",
        rule: "However clients leave, the server and every other client go on.",
        who: ANY,
        after: &["reset-any-moment"],
        hints: [
            "One reset is survived and many are not: each costs something that is not given back.",
            "What a handler leaves behind when it ends by an error: its place, its lock, its thread.",
            "Give back on every way out what a client has taken (finally, defer, a destructor).",
        ],
        read: "echo-uni.md#Where it breaks",
        run: hundred_resets,
        ..TIN_CAN_ROW
    },
    Check {
        id: "cycles-thousand",
        theme: Theme::Survival,
        title: "a thousand clients come and go",
        rule: "Clients that have left cost no descriptor, no thread and no memory.",
        who: ANY,
        needs: Needs::Figures,
        after: &["frame-long", "reset-hundred", "leave-amid"],
        hints: [
            "Something of each client stays behind: its socket, its thread or process, or what it \
             said.",
            "What refers to a client or its messages after it has left? Lists, tables, histories, \
             threads that wait.",
            "Close each socket on every way out, take the client out of every table, let its threads \
             end, wait for child processes, and keep nothing that was said.",
        ],
        read: "echo-multi.md#Where it breaks",
        ours: Ours::others(Serves::OneAtATime),
        run: thousand_cycles,
        ..TIN_CAN_ROW
    },
    ours(
        "survive-garbage",
        Theme::Survival,
        STAGES,
        garbage,
        "§1: whatever a client sends, the server and every other client go on.",
    )
    .others(Serves::OneAtATime),
];

/// Lets clients break their connections, then asks the server, and whoever was there before,
/// whether all is well.
fn survives(
    bench: &Bench,
    server: &mut Server,
    story: &str,
    breaks: impl FnOnce(&Server) -> Result<()>,
) -> Result<()> {
    let mut witness = None;
    // An echo server that cannot serve beside a silent client fails for that in its own check.
    let stays = bench.stays_after_exchange();
    if stays {
        let mut client = bench.connect(server)?;
        bench.exchange_amid_others(&mut client, "hello")?;
        witness = Some(client);
    }
    bench.did(story);
    breaks(server)?;
    server.expect_running(story)?;
    bench.did(format!("{story}; then another client came"));
    bench.expect_works(server)?;
    let Some(mut witness) = witness else { return Ok(()) };
    bench.did(format!("{story}; then one who had been there before spoke"));
    bench.exchange_amid_others(&mut witness, "I was here before")
}

pub(super) fn reset_at_every_moment(bench: &Bench) -> Result<()> {
    let mut server = bench.serve()?;
    let client = |server: &Server| bench.connect(server);
    survives(bench, &mut server, "a client broke its connection (reset) without a word", |it| {
        client(it)?.reset()
    })?;
    survives(bench, &mut server, "a client reset its connection amid a message", |it| {
        let mut client = client(it)?;
        client.send(&bench.unfinished())?;
        wait_until_read(&client)?;
        client.reset()
    })?;
    survives(bench, &mut server, "a client sent a message and reset at once", |it| {
        let mut client = client(it)?;
        client.send(&bench.request("no time for an answer"))?;
        client.reset()
    })?;
    survives(bench, &mut server, "a client reset with the answer unread", |it| {
        let mut client = client(it)?;
        client.send(&bench.request("an answer that nobody reads"))?;
        wait_until_read(&client)?;
        client.reset()
    })?;
    survives(bench, &mut server, "a client closed its sending side and reset then", |it| {
        let mut client = client(it)?;
        client.send(&bench.request("bye"))?;
        client.half_close()?;
        client.reset()
    })?;
    reset_before_accept(bench, &mut server)
}

/// While the server is stopped, its kernel completes connections that break before it accepts them.
fn reset_before_accept(bench: &Bench, server: &mut Server) -> Result<()> {
    if server.pid().is_none() {
        return Ok(());
    }
    let begun = bench.beginning()?;
    survives(bench, server, "clients reset before the server had accepted them", |server| {
        while_stopped(server, || {
            for i in 0..5 {
                let mut client = bench.connect_bare(server)?;
                client.send(&begun[..begun.len() * i / 5])?;
                client.reset()?;
            }
            Ok(())
        })
    })
}

/// Clients that end their side in good order, before their message has ended: a server that does not
/// see the end reads nothing again and again.
pub(crate) fn left_amid(bench: &Bench) -> Result<()> {
    const LEAVERS: usize = 8;
    /// So many looks in a row at a server that does nothing: about a tenth of a second.
    const LOOKS: usize = 20;
    let server = bench.serve()?;
    bench.expect_works(&server)?;
    bench.did(format!("{LEAVERS} clients sent half a message each, and closed their connections"));
    let mut leavers = Vec::new();
    for i in 0..LEAVERS {
        let mut client = bench.connect(&server)?;
        let first = bench.first_exchange();
        client.send(&first.map_or_else(|| b"half a mess".to_vec(), |it| it.halves().0))?;
        wait_until_read(&client)?;
        // What is unread when a connection is closed makes a reset of it.
        if first.is_some() || bench.is_inside_tls() {
            // A server that has closed already has shown that in its own check.
            _ = if bench.is_inside_tls() && i % 2 == 0 {
                client.close_without_notify()
            } else {
                client.half_close()
            };
            leavers.push(client);
        }
    }
    for mut client in leavers {
        // A server that does not see the end is found to be busy below.
        if client.recv_bytes_to_end().is_err() {
            break;
        }
    }
    let mut calm = 0;
    let rests = wait_until(bench.patience(), || {
        calm = if server.is_busy() { 0 } else { calm + 1 };
        Ok(calm == LOOKS)
    })?;
    if rests {
        return bench.expect_works(&server);
    }
    let got = format!("it is busy all the time, for {:.1} s now", bench.patience().as_secs_f64());
    fail_timeout("", "the server rests, as nobody is there", got)
}

pub(super) fn hundred_resets(bench: &Bench) -> Result<()> {
    let mut server = bench.serve()?;
    let bytes = bench.one_and_a_half();
    survives(bench, &mut server, "100 clients in a row reset their connections", |server| {
        for _ in 0..100 {
            let mut client = bench.connect(server)?;
            client.try_send(&bytes[..bench.chance(bytes.len() + 1)]);
            client.reset()?;
        }
        Ok(())
    })
}

pub(crate) fn thousand_cycles(bench: &Bench) -> Result<()> {
    /// What a runtime may start once and keep.
    const SLACK: u64 = 8;
    const WARM_UP: usize = 200;
    let server = bench.serve()?;
    bench.did("1,000 clients, one after the other, came, said 8 KB, got the answer and left");
    cycle(bench, &server, WARM_UP)?;
    let mut before = settled(bench, &server, |_| true)?;
    cycle(bench, &server, 1000)?;
    let after = settled(bench, &server, |now| {
        now.threads <= before.threads + SLACK && now.descriptors <= before.descriptors + SLACK
    })?;
    if after.descriptors > before.descriptors + SLACK {
        return left_behind("open descriptors", before.descriptors, after.descriptors);
    }
    if after.threads > before.threads + SLACK {
        return left_behind("threads or processes", before.threads, after.threads);
    }
    // A heap that is collected now and then grows for a while: only one that always grows leaks.
    let first = before;
    let mut now = after;
    for _ in 0..8 {
        if now.resident_bytes.saturating_sub(before.resident_bytes) < CYCLE_BYTES * 1000 / 2 {
            return Ok(());
        }
        before = now;
        cycle(bench, &server, 1000)?;
        now = settled(bench, &server, |_| true)?;
    }
    let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
    let did = bench.story().unwrap_or_default();
    bench.did(format!("{did}; then 1,000 more, again and again"));
    let expected = format!("memory back at {}, or growing no more", mib(first.resident_bytes));
    fail("", expected, format!("{}, and it grows each time", mib(now.resident_bytes)))
}

/// What each client of a cycle says, in bytes.
const CYCLE_BYTES: u64 = 8 * 1024;

const GAVE_UP: &str = "After many clients one got no answer but an end: something in the server fails now \
                       and then. What it printed is below. Two threads that change one table at a \
                       time without a lock, perhaps.";

fn cycle(bench: &Bench, server: &Server, times: usize) -> Result<()> {
    for i in 0..times {
        let mut client = bench.connect_untold(server)?;
        if i % 5 == 4 {
            // One that leaves amid its message.
            client.try_send(&bench.unfinished());
            continue;
        }
        let text = format!("{i:5}{}", "c".repeat(usize::try_from(CYCLE_BYTES)? - 5));
        guessed(bench.exchange_amid_others(&mut client, &text), |failure| {
            (!failure.is_timeout && failure.got.bytes.is_none()).then_some(GAVE_UP)
        })?;
        match bench.chance(4) {
            0 => client.reset()?,
            1 => _ = client.try_send(&bench.unfinished()),
            2 => _ = client.half_close(),
            _ => {}
        }
    }
    Ok(())
}

/// The server's figures, as soon as they are as wished, or else when there is no more time.
fn settled(bench: &Bench, server: &Server, wished: impl Fn(&Usage) -> bool) -> Result<Usage> {
    let mut now = server.usage().context("the system does not tell what the server uses")?;
    wait_until(bench.patience(), || {
        now = server.usage().context("the server is gone")?;
        Ok(wished(&now))
    })?;
    Ok(now)
}

fn left_behind(what: &str, before: u64, after: u64) -> Result<()> {
    fail_timeout("", format!("about {before} {what}, as before"), format!("{after} {what}"))
}

/// Whether a client is served: its message answered, or the connection ended.
pub(super) fn served_or_refused(bench: &Bench, client: &mut Client, text: &str) -> Result<bool> {
    let answer = bench.answer(client.addr(), text).into_bytes();
    loop {
        match client.recv(client.timeout())? {
            Received::Msg(frame) if frame == answer => return Ok(true),
            Received::Msg(_) => {}
            Received::Eof | Received::Reset => return Ok(false),
            Received::Timeout => {
                let expected =
                    probe::Description::text("an answer, or else the end of the connection");
                return Err(client.failure(expected, Received::Timeout));
            }
        }
    }
}

/// What no protocol here knows, one way or another.
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
    let mut server = bench.start(&[])?;
    let mut witness = None;
    if !bench.one_at_a_time() {
        witness = Some(bench.known_client(&server)?);
    }
    for garbage in GARBAGE {
        for leaves in [Leaves::AtOnce, Leaves::Gently, Leaves::ByReset] {
            let mut client = Client::connect(server.addr())?;
            client.try_send(garbage);
            match leaves {
                Leaves::AtOnce => drop(client),
                Leaves::ByReset => client.reset()?,
                // The server may have closed already.
                Leaves::Gently => _ = client.half_close().and_then(|()| client.recv_bytes_to_end()),
            }
        }
        bench.expect_works(&server)?;
    }
    server.expect_running("sent garbage")?;
    events::expect_all_left_but(&server, witness.iter().len())?;
    match witness {
        Some(mut witness) => bench.exchange_amid_others(&mut witness, "undisturbed"),
        None => Ok(()),
    }
}

#[derive(Clone, Copy, Debug)]
enum Leaves {
    AtOnce,
    Gently,
    ByReset,
}
