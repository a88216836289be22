//! Checks that a server serves many clients at once, with the threads that its profile says.

use anyhow::{Context, Result};

use super::survival::is_served;
use crate::bench::wait_until_read;
use crate::check::ROW_AFTER_FRAMING;
use crate::finding::with_likely_cause;

use crate::protocol::FirstExchange;
use crate::{Bench, Check, Needs, Profile, Theme};
use probe::server::Server;
use probe::wire::{Client, Received};
use probe::{fail, fail_timeout, sockdiag, wait_until};

pub(crate) const ROWS: &[Check] = &[
    Check {
        id: "silent-peer",
        theme: Theme::Concurrency,
        title: "a silent client does not delay another client",
        rule: "A client that sends nothing delays no other client; in echo-uni it delays all \
               others, which is the lesson of echo-uni.",
        must_pass: Profile::serves_several,
        must_fail: &[Profile::EchoUni],
        must_fail_hint: "The server serves several clients at once, but its profile is that of a server \
                         that cannot. Check it as echo-multi.",
        after: &["frame-bytewise"],
        hints: [
            "The server waits for one client and does not serve the others until it has finished.",
            "The accept loop: does it read from a client itself, or wait until a client has ended?",
            "Accept clients in a loop that does nothing else: start a thread or a task for each \
             client, or wait for the readiness of all clients together.",
        ],
        page: "echo-multi.md#Predict",
        run: silent_peer,
        ..ROW_AFTER_FRAMING
    },
    Check {
        id: "crowd-200",
        theme: Theme::Concurrency,
        title: "200 clients at once",
        rule: "200 clients are served at once; echo-uni serves them one after the other.",
        must_pass: Profile::is_any,
        after: &["silent-peer", "frame-one-write", "chat-everyone"],
        hints: [
            "The server has room for fewer than 200 clients: a limit, a pool of workers, or a \
             full backlog.",
            "Numbers in the code: of workers, of clients, and the argument of listen().",
            "Accept clients as soon as they connect, and give listen() a backlog of 1,024.",
        ],
        page: "echo-multi.md#Where it breaks",
        run: two_hundred,
        ..ROW_AFTER_FRAMING
    },
    Check {
        id: "crowd-1100",
        theme: Theme::Concurrency,
        title: "1,100 clients at once",
        rule: "1,100 clients at once are served; a server with a thread for each client may \
               refuse some, but must not leave any waiting.",
        must_pass: Profile::serves_several,
        after: &["crowd-200"],
        hints: [
            "Something is limited to 1,024: select(2), or the number of descriptors that a \
             process may have.",
            "The call that waits for clients, and the output of `ulimit -n`.",
            "Use poll, epoll or kqueue instead of select. Raise the soft limit of descriptors \
             when the server starts. Close a connection for which there is no room.",
        ],
        page: "chat-poll.md#Where it breaks",
        run: eleven_hundred,
        ..ROW_AFTER_FRAMING
    },
    Check {
        id: "threads-each",
        theme: Theme::Concurrency,
        title: "a thread for each client",
        rule: "chat-threads: each client has a thread (or process) of its own.",
        must_pass: |profile| profile == Profile::ChatThreads,
        needs: Needs::Figures,
        hints: [
            "The server has fewer threads than clients: its design is not the one that its \
             profile names.",
            "The code after accept: does it start a thread?",
            "Start a thread for each client, or check the server with the profile `chat`.",
        ],
        page: "chat-threads.md#The picture",
        run: thread_a_client,
        ..ROW_AFTER_FRAMING
    },
    Check {
        id: "threads-one",
        theme: Theme::Concurrency,
        title: "one thread for all",
        rule: "chat-poll: no client has a thread of its own.",
        must_pass: |profile| profile == Profile::ChatPoll,
        needs: Needs::Figures,
        hints: [
            "The server starts a thread for each client: its design is not the one that its \
             profile names.",
            "The code after accept: does it start a thread?",
            "Register each client with the one loop that waits for all clients, or check the \
             server with the profile `chat`.",
        ],
        page: "chat-poll.md#The code in pieces",
        run: one_thread,
        ..ROW_AFTER_FRAMING
    },
    Check {
        id: "threads-few",
        theme: Theme::Concurrency,
        title: "a few threads for all",
        rule: "chat-async: the tasks of all clients share a few threads.",
        must_pass: |profile| profile == Profile::ChatAsync,
        needs: Needs::Figures,
        hints: [
            "The server starts threads for its clients: a task blocks, or each task runs in a \
             thread of its own.",
            "Blocking calls inside tasks, and calls that pass work to a thread pool.",
            "Await each operation that waits, in one task for each client, or check the server \
             with the profile `chat`.",
        ],
        page: "chat-async.md#The code in pieces",
        run: few_threads,
        ..ROW_AFTER_FRAMING
    },
];

pub(super) fn silent_peer(bench: &Bench) -> Result<()> {
    let server = bench.start_server()?;
    let mut silent = bench.connect(&server)?;
    if let Some(first) = bench.first_exchange() {
        return silent_after_half_a_request(bench, &server, silent, first);
    }
    silent.send(b"half a mess")?;
    wait_until_read(&silent)?;
    bench.set_step("A sent half a message and no more; B connected and sent a whole one");
    let mut other = bench.connect(&server)?;
    bench.exchange(&mut other, "hello")?;
    bench.set_step("A sent half a message, and the rest after B had been served");
    silent.send(b"age\0")?;
    let answer = bench.expected_answer(silent.addr(), "half a message").into_bytes();
    while silent.recv_msg()? != answer {}
    if bench.uses_tls() { no_handshake(bench, &server) } else { Ok(()) }
}

/// Checks that a client that begins no TLS handshake does not delay another client.
fn no_handshake(bench: &Bench, server: &Server) -> Result<()> {
    bench.set_step(
        "a client connected and began no handshake; another connected and sent a message",
    );
    let _silent = bench.connect_without_tls(server)?;
    let other = || bench.exchange_skipping_all(&mut bench.connect(server)?, "hello");
    with_likely_cause(other(), |failure| failure.is_timeout.then_some(ONE_HANDSHAKE_AT_ONCE))
}

const ONE_HANDSHAKE_AT_ONCE: &str = "The server completes the handshake of one client before it \
                                     accepts the next. Wrap the accepted socket, not the \
                                     listener, in the client's own thread or task.";

fn silent_after_half_a_request(
    bench: &Bench,
    server: &Server,
    mut silent: Client,
    first: FirstExchange,
) -> Result<()> {
    let (begun, rest) = first.halves();
    silent.send(&begun)?;
    wait_until_read(&silent)?;
    bench.set_step("A sent half a request and no more; B connected and sent a whole one");
    bench.exchange(&mut bench.connect(server)?, "hello")?;
    bench.set_step("A sent half a request, and the rest after B had been served");
    silent.send(&rest)?;
    (first.answer)(&mut silent)
}

pub(super) fn two_hundred(bench: &Bench) -> Result<()> {
    let server = bench.start_server()?;
    let refused = crowd(bench, &server, 200)?;
    if refused == 0 {
        return Ok(());
    }
    fail("", "all 200 clients are served", format!("{refused} were refused"))
}

pub(super) fn eleven_hundred(bench: &Bench) -> Result<()> {
    let mut server = bench.start_server()?;
    let refused = crowd(bench, &server, 1100)?;
    server.expect_running("")?;
    // A server with one loop or with tasks must serve all. Any other server may have a thread for each
    // client, and therefore a limit: it may refuse clients, but must not let them wait.
    let must_serve_all = match bench.profile() {
        Profile::Other(protocol) => protocol.serves_thousands,
        profile => matches!(profile, Profile::ChatPoll | Profile::ChatAsync),
    };
    let (most_refused, expected) = if must_serve_all {
        (0, "all 1,100 clients are served")
    } else {
        (600, "at least 500 of 1,100 clients are served, and the others are refused")
    };
    if refused <= most_refused {
        return Ok(());
    }
    fail("", expected, format!("{refused} were refused"))
}

/// Connects this many clients at once, and returns how many of them were refused.
fn crowd(bench: &Bench, server: &Server, size: usize) -> Result<usize> {
    bench.set_step(format!("{size} clients connected and stayed; each sent a message"));
    let mut clients = Vec::new();
    for _ in 0..size {
        clients.push(bench.connect(server)?.with_timeout(4 * bench.patience()));
    }
    if let Some(first) = bench.first_exchange() {
        return finish_requests(bench, clients, first);
    }
    if bench.profile().is_chat() {
        wait_until_accepted(bench, server)?;
        return relay_to_all(bench, &mut clients);
    }
    if !bench.serves_one_at_a_time() {
        for client in &mut clients {
            client.try_send(b"from the cro");
        }
        bench.set_step(format!(
            "{size} clients sent half a message and stayed; then, from the last to the first, \
             each sent the rest and received its answer"
        ));
    }
    let mut refused = 0;
    if bench.serves_one_at_a_time() {
        for client in &mut clients {
            client.try_send(b"from the crowd\0");
        }
    } else {
        // The client that connected last is served first: all others are still in the middle of
        // their messages then.
        clients.reverse();
    }
    // A client leaves when it has been served: a server may wait for that before it serves the
    // next.
    for mut client in clients {
        client.try_send(if bench.serves_one_at_a_time() { b"" } else { b"wd\0" });
        refused += usize::from(!is_served(bench, &mut client, "from the crowd")?);
    }
    Ok(refused)
}

fn finish_requests(bench: &Bench, mut clients: Vec<Client>, first: FirstExchange) -> Result<usize> {
    let (begun, rest) = first.halves();
    for client in &mut clients {
        client.try_send(&begun);
    }
    bench.set_step(format!(
        "{} clients sent half a request and stayed; then, from the last to the first, each sent \
         the rest and received its answer",
        clients.len()
    ));
    let mut refused = 0;
    // All stay until the last has been served.
    for client in clients.iter_mut().rev() {
        refused += usize::from(!first.is_served(client, &rest)?);
    }
    Ok(refused)
}

/// Waits until the server has accepted all connections, where the system reports how many wait.
fn wait_until_accepted(bench: &Bench, server: &Server) -> Result<()> {
    let port = server.addr().port();
    let waiting = || {
        let all = sockdiag::listeners().unwrap_or_default();
        all.iter().find(|it| it.addr.port() == port).map_or(0, |it| it.waiting)
    };
    // If the server never accepts them, the next step fails.
    wait_until(bench.patience(), || Ok(waiting() == 0)).map(drop)
}

/// Lets the first client send messages until every other client has received one or was refused;
/// then one message more, which every client must receive. Returns how many were refused.
fn relay_to_all(bench: &Bench, clients: &mut Vec<Client>) -> Result<usize> {
    let size = clients.len();
    bench.set_step(format!(
        "{size} clients connected and stayed; A sent messages until each of them had received one"
    ));
    let first = clients[0].addr();
    let mut waiting: Vec<_> = (0..size).collect();
    let mut refused = Vec::new();
    let patience = clients[0].timeout();
    let all_in = wait_until(patience, || {
        clients[0].send_msg("anybody there?")?;
        let mut still = Vec::new();
        for i in std::mem::take(&mut waiting) {
            // A client that has not joined yet receives a later message.
            let within = if i == 0 { patience } else { std::time::Duration::ZERO };
            match clients[i].recv(within)? {
                Received::Msg(frame) if frame.starts_with(b"server: ") => refused.push(i),
                Received::Msg(_) => {}
                Received::Timeout => still.push(i),
                Received::Eof | Received::Reset => refused.push(i),
            }
        }
        waiting = still;
        Ok(waiting.is_empty())
    })?;
    if !all_in {
        let got = format!("{} clients received nothing and were not refused", waiting.len());
        return fail_timeout("", "each client receives a message of A, or is refused", got);
    }
    refused.sort_unstable();
    for i in refused.iter().rev() {
        clients.remove(*i);
    }
    bench.set_step(format!("{size} clients connected and stayed; A sent one message to all"));
    let Some(speaker) = clients.first_mut() else { return Ok(size) };
    speaker.send_msg("to everybody")?;
    let last = bench.relayed(first, "to everybody").into_bytes();
    for client in clients {
        while client.recv_msg()? != last {}
    }
    Ok(refused.len())
}

/// Returns how many more threads and processes the server has with this many clients.
fn threads_for(bench: &Bench, clients: usize, done: impl Fn(u64) -> bool) -> Result<u64> {
    let server = bench.start_server()?;
    bench.expect_new_client_served(&server)?;
    let threads = || {
        let figures = server.usage().context("the system does not report what the server uses")?;
        anyhow::Ok(figures.threads)
    };
    let before = threads()?;
    let mut inside = Vec::new();
    for _ in 0..clients {
        let mut client = bench.connect(&server)?;
        bench.exchange_skipping_all(&mut client, "here I am")?;
        inside.push(client);
    }
    let mut more = 0;
    wait_until(bench.patience(), || {
        more = threads()?.saturating_sub(before);
        Ok(done(more))
    })?;
    bench.set_step(format!("{clients} clients connected, sent a message each, and stayed"));
    Ok(more)
}

pub(super) fn thread_a_client(bench: &Bench) -> Result<()> {
    const CLIENTS: usize = 50;
    let is_enough = |more| more + 2 >= CLIENTS as u64;
    match threads_for(bench, CLIENTS, is_enough)? {
        more if is_enough(more) => Ok(()),
        more => fail(
            "",
            format!("at least {} more threads than without clients", CLIENTS - 2),
            format!("{more} more threads"),
        ),
    }
}

pub(super) fn one_thread(bench: &Bench) -> Result<()> {
    match threads_for(bench, 50, |more| more <= 1)? {
        0 | 1 => Ok(()),
        more => {
            fail("", "at most 1 more thread than without clients", format!("{more} more threads"))
        }
    }
}

pub(super) fn few_threads(bench: &Bench) -> Result<()> {
    const CLIENTS: u64 = 200;
    match threads_for(bench, 200, |more| more < CLIENTS / 4)? {
        more if more < CLIENTS / 4 => Ok(()),
        more => fail(
            "",
            "fewer than 50 more threads than without clients",
            format!("{more} more threads"),
        ),
    }
}
