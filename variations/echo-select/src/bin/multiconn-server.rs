//! An echo server for bytes: many connections in one thread, driven by readiness.
//!
//! The kernel reports which sockets are ready, and for each of them the thread does what it can do without
//! blocking. Each client has a queue for the bytes that cannot be sent back yet. While a client's queue is
//! long, the server does not read from this client, so that sooner or later the client's own writes block.
//!
//! Run it:      `cargo run -p echo-select --bin multiconn-server`
//! Talk to it:  `cargo run -p echo-select --bin multiconn-client -- localhost 65432 5`
//! Compare:     `chat-poll`, which has the same loop, but relays messages to all clients.
//! Bad at:      clients that never read. Each keeps its connection and 80 KiB of memory until the kernel
//!              gives up sending to it (on Linux, after 30 s: `tincanchat::USER_TIMEOUT`).

use std::collections::{BTreeSet, VecDeque};
use std::io::{ErrorKind, Read as _, Write as _};
use std::mem;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Parser;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use serverkit::{Admission, Admitted, Failure, Permit, ServerArgs, Stop, announce, catch_panic};
use serverkit::{log_disconnect, trace};
use slab::Slab;
use tincanchat::{create_listen_socket, printable};
use tracing::info;

/// The listener's token. A client's token is its index in the table, which never reaches this value.
const LISTENER: Token = Token(usize::MAX);

/// The most connections that are accepted in one turn.
const ACCEPT_TURN: usize = 64;

/// The longest wait for events, so that the stop signal is checked at least this often.
const TICK: Duration = Duration::from_millis(100);

/// If more bytes than this are queued for a client, the server does not read from it.
const MAX_QUEUE: usize = 64 * 1024;

/// The most bytes that are read from a client before the other clients get their turn.
const READ_TURN: usize = 16 * 1024;

/// How many bytes of each read the log shows.
const EXCERPT: usize = 200;

/// Echo the bytes of many clients, in one thread
#[derive(Parser)]
#[command(version)]
#[command(after_help = concat!("Examples:\n  ", env!("CARGO_BIN_NAME"), " --host :: --port 5000 -v"))]
#[command(mut_arg("port", |port| port.default_value("65432")))]
struct Args {
    #[command(flatten)]
    server: ServerArgs,
}

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let _log = args.server.start_log()?;
    // Up to 1,024 connections wait in the listener's backlog. The kernel ignores further ones, whose
    // clients try again for a while.
    let listener = create_listen_socket(&args.server.host, args.server.port)?;
    let stop = Stop::on_signal()?;
    announce(&listener)?; // prints: Listening on ADDR
    listener.set_nonblocking(true)?;
    serve(TcpListener::from_std(listener), &args, &stop)?;
    Ok(())
}

/// The clients. A client's id is its index in the table, and its token.
struct Clients {
    table: Slab<Client>,
    /// The clients for which there may be something to do at once.
    ready: BTreeSet<usize>,
}

struct Client {
    sock: TcpStream,
    permit: Permit,
    /// The bytes that have been read and that the kernel has not yet accepted for sending.
    send_queue: VecDeque<u8>,
    /// Whether the client has shut down its sending side.
    has_ended: bool,
}

impl Clients {
    fn add(&mut self, mut sock: TcpStream, permit: Permit, poll: &Poll) {
        let token = Token(self.table.vacant_key());
        // mio reports each change once (it is edge-triggered), so the socket stays registered for both.
        let interest = Interest::READABLE | Interest::WRITABLE;
        match poll.registry().register(&mut sock, token, interest) {
            Ok(()) => {
                let send_queue = VecDeque::new();
                self.table.insert(Client { sock, permit, send_queue, has_ended: false });
            }
            Err(err) => {
                let reason = anyhow::Error::from(err).context("cannot wait for this client");
                log_disconnect(permit.addr(), Err(reason));
            }
        }
    }

    /// Waits until the kernel reports events; does not wait if there is something to do already.
    fn wait_for_events(
        &self,
        poll: &mut Poll,
        events: &mut Events,
        must_accept: bool,
    ) -> Result<()> {
        let is_busy = must_accept || !self.ready.is_empty();
        let timeout = if is_busy { Duration::ZERO } else { TICK };
        match trace("poll", || poll.poll(events, Some(timeout))) {
            // A signal came. There are no events.
            Err(err) if err.kind() == ErrorKind::Interrupted => Ok(()),
            result => Ok(result?),
        }
    }

    /// Does for every client that may be ready what can be done without blocking.
    fn take_turn(&mut self, events: &Events) {
        for event in events.iter().filter(|event| event.token() != LISTENER) {
            self.ready.insert(event.token().0);
        }
        for id in mem::take(&mut self.ready) {
            let Some(client) = self.table.get_mut(id) else {
                continue;
            };
            // An error or a panic ends this client's connection only.
            match catch_panic(|| handle_client(client)) {
                Ok(_) if client.is_done() => self.handle_disconnect(id, Ok(())),
                Ok(may_have_more) if may_have_more => _ = self.ready.insert(id),
                Ok(_) => {}
                Err(err) => self.handle_disconnect(id, Err(err)),
            }
        }
    }

    /// Closes a client's connection.
    fn handle_disconnect(&mut self, id: usize, reason: Result<()>) {
        let client = self.table.remove(id);
        log_disconnect(client.permit.addr(), reason);
    }
}

impl Client {
    /// Reports whether the client has shut down its sending side and its whole echo has been sent.
    fn is_done(&self) -> bool {
        self.has_ended && self.send_queue.is_empty()
    }
}

fn serve(mut listener: TcpListener, args: &Args, stop: &Stop) -> Result<()> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut clients = Clients { table: Slab::new(), ready: BTreeSet::new() };
    // --max-clients, or else 10,000, lowered to what the limit of descriptors allows.
    let mut admission = Admission::new(args.server.client_limit());
    // If set: accept at this time, even if there is no event for the listener.
    let mut accept_at = None;
    // A signal interrupts poll, or else the loop notices it after the next tick.
    while !stop.requested() {
        let must_accept = accept_at.is_some_and(|at| at <= Instant::now());
        clients.wait_for_events(&mut poll, &mut events, must_accept)?;
        if must_accept || events.iter().any(|event| event.token() == LISTENER) {
            accept_at = accept_clients(&listener, &mut admission, &mut clients, &poll);
        }
        clients.take_turn(&events);
    }
    info!("Shutting down");
    Ok(())
}

/// Accepts the connections that are waiting, up to 64. Returns the time at which to accept again even
/// without an event for the listener: mio does not report the same connections again.
fn accept_clients(
    listener: &TcpListener,
    admission: &mut Admission,
    clients: &mut Clients,
    poll: &Poll,
) -> Option<Instant> {
    for _ in 0..ACCEPT_TURN {
        let accepted = trace("accept", || listener.accept());
        // No more connections are waiting.
        if matches!(&accepted, Err(err) if err.kind() == ErrorKind::WouldBlock) {
            return None;
        }
        match admission.admit(accepted) {
            Admitted::Client(sock, _, permit) => clients.add(sock, permit, poll),
            // The client reads the end of the stream.
            Admitted::Full(sock, ..) => drop(sock),
            // accept has failed, which is logged. The pause is zero if the error concerns only one
            // connection, such as a reset by its client. For any other error, such as a lack of
            // descriptors, it is 10 ms, and doubles with each such error, up to 1 s. When no such error has
            // come for 2 s, it starts at 10 ms again.
            Admitted::Retry(pause) => return Some(Instant::now() + pause),
        }
    }
    Some(Instant::now()) // at once, after the clients have had their turn
}

/// Sends as much of a client's queue as the kernel accepts, and reads once if the queue is short. Reports
/// whether there may be more to read.
fn handle_client(client: &mut Client) -> Result<bool> {
    handle_client_send(client)?;
    if client.send_queue.len() > MAX_QUEUE {
        return Ok(false); // there will be an event when the kernel accepts more
    }
    handle_client_recv(client)
}

/// Reads from a client once, and echoes the bytes. Reports whether there may be more to read.
fn handle_client_recv(client: &mut Client) -> Result<bool> {
    if client.has_ended {
        return Ok(false);
    }
    let mut bytes = [0; READ_TURN];
    match trace("read", || client.sock.read(&mut bytes)) {
        Ok(0) => {
            client.has_ended = true;
            Ok(false)
        }
        Ok(n) => {
            info!("{}: {}", client.permit.addr(), excerpt(&bytes[..n]));
            client.send_queue.extend(&bytes[..n]);
            handle_client_send(client)?;
            Ok(true)
        }
        // Nothing more has arrived. There will be an event when it does.
        Err(err) if err.kind() == ErrorKind::WouldBlock => Ok(false),
        // A signal came during the read.
        Err(err) if err.kind() == ErrorKind::Interrupted => Ok(true),
        // The client has reset the connection.
        Err(err) => Err(err).context("receiving"),
    }
}

/// Writes what is queued for a client, until all of it is sent or the kernel accepts no more.
fn handle_client_send(client: &mut Client) -> Result<()> {
    while !client.send_queue.is_empty() {
        // The queue is a ring: its bytes are in up to two pieces, of which this is the first.
        let (bytes, _) = client.send_queue.as_slices();
        match trace("write", || client.sock.write(bytes)) {
            Ok(n) => drop(client.send_queue.drain(..n)),
            // The client reads slowly. There will be an event when the kernel accepts more.
            Err(err) if err.kind() == ErrorKind::WouldBlock => return Ok(()),
            // A signal came during the write.
            Err(err) if err.kind() == ErrorKind::Interrupted => {}
            // The client has closed or reset the connection.
            Err(err) => return Err(err).context("sending"),
        }
    }
    // Frees the memory of the queue, so that idle clients need little memory.
    client.send_queue = VecDeque::new();
    Ok(())
}

/// Returns the first bytes of a read as one line of text for the log. They need not be UTF-8.
fn excerpt(bytes: &[u8]) -> String {
    let start = String::from_utf8_lossy(bytes.get(..EXCERPT).unwrap_or(bytes));
    let ellipsis = if bytes.len() > EXCERPT { "…" } else { "" };
    format!("{}{ellipsis}", printable(&start))
}
