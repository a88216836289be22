//! Stage 4: a chat server, in one thread, driven by readiness.
//!
//! The kernel reports which sockets are ready, and the thread reads from them and writes to them as far as
//! it can without blocking. It blocks only to wait for the next report. The state of each client, such as
//! its unfinished message, is in a table, and not on the stack of a thread.
//!
//! Run it:      `cargo run -p chat-poll`
//! Talk to it:  `cargo run --bin chat-client`, in two terminals
//! Compare:     `chat-threads`, where each thread waits for one thing.
//! Bad at:      using more than one processor. And the code for one client is spread over several
//!              functions.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::mem;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use clap::Parser;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use serverkit::{Admission, Admitted, Failure, Permit, ServerArgs, Stop, announce, catch_panic};
use serverkit::{log_disconnect, log_unfinished, trace};
use slab::Slab;
use tincanchat::{Closing, DRAIN, QueueLimit, READ_TURN, RecvBuf, SERVER_FULL, SendBuf};
use tincanchat::{append_msg, create_listen_socket, error_reply, printable, recv_msgs};
use tracing::info;

/// The listener's token. A client's token is its index in the table, which never reaches this value.
const LISTENER: Token = Token(usize::MAX);

/// The most connections that are accepted in one turn.
const ACCEPT_TURN: usize = 64;

/// The longest wait for events, so that the stop signal, the limits of the queues and the deadlines of
/// connections that are being closed are checked at least this often.
const TICK: Duration = Duration::from_millis(100);

#[derive(Parser)]
#[command(version, about)]
#[command(after_help = concat!("Examples:\n  ", env!("CARGO_BIN_NAME"), " --host :: --port 5000 -v"))]
struct Args {
    #[command(flatten)]
    server: ServerArgs,
    /// Relay a message to all clients but the one that sent it
    #[arg(long)]
    others_only: bool,
}

/// Starts the server. On an error, prints it on stderr, in one line, and exits with code 1.
fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let _log = args.server.start_log()?; // lines on stderr, until this is dropped
    // Up to 1,024 connections wait in the listener's backlog. The kernel ignores further ones, whose
    // clients try again for a while.
    let listener = create_listen_socket(&args.server.host, args.server.port)?;
    let stop = Stop::on_signal()?; // SIGINT or SIGTERM; a second signal ends the process at once
    announce(&listener)?; // prints "Listening on ADDR" on stdout
    listener.set_nonblocking(true)?; // mio requires it
    serve(TcpListener::from_std(listener), &args, &stop)?;
    Ok(())
}

/// The clients in the room, and the clients whose connections are being closed. A client's id is its index
/// in the table, and its token.
struct Clients {
    table: Slab<Client>,
    others_only: bool,
    /// The clients from which there may be more to read: the kernel has reported them as readable, and no
    /// read has returned `WouldBlock` since. The kernel may report a client more than once.
    readable: BTreeSet<usize>,
    /// The clients for which something is queued, or whose connections are being closed; no duplicates.
    pending: Vec<usize>,
}

struct Client {
    sock: TcpStream,
    permit: Permit,
    /// Whether this client is only being told that the server is full.
    is_refused: bool,
    /// The part of an unfinished message that has been read. Between reads it is at most 16 KiB: a longer
    /// message is an error.
    rest: RecvBuf,
    /// Whether the client is in `Clients::pending`.
    is_pending: bool,
    /// `None` while nothing is queued, so that an idle client needs no memory for a queue.
    send_queue: Option<Box<SendQueue>>,
    /// `None` while the client is in the room.
    disconnect: Option<Box<Disconnect>>,
}

#[derive(Default)]
struct SendQueue {
    send_buf: SendBuf,
    limit: QueueLimit,
}

struct Disconnect {
    closing: Closing,
    /// Why the client is disconnected; `Ok` if it has left or was refused, or if the server is stopping.
    reason: Result<()>,
}

impl Clients {
    /// Adds a client to the room: from now on, it gets every message. (It is in the room because its
    /// `disconnect` is `None`.)
    fn join(&mut self, sock: TcpStream, permit: Permit, poll: &Poll) {
        self.add_client(sock, permit, poll);
    }

    /// Tells a client that the server is full, and starts to close its connection.
    fn refuse(&mut self, sock: TcpStream, permit: Permit, poll: &Poll) {
        let id = self.add_client(sock, permit, poll);
        self.table[id].is_refused = true;
        self.send_reply(id, &Bytes::from_static(SERVER_FULL));
        self.handle_disconnect(id, Ok(()));
    }

    fn add_client(&mut self, mut sock: TcpStream, permit: Permit, poll: &Poll) -> usize {
        let id = self.table.vacant_key();
        // mio reports each change once (it is edge-triggered), so a socket that stays writable causes no
        // further events.
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registered = poll.registry().register(&mut sock, Token(id), interest);
        self.table.insert(Client {
            sock,
            permit,
            is_refused: false,
            rest: RecvBuf::new(),
            is_pending: false,
            send_queue: None,
            disconnect: None,
        });
        if let Err(err) = registered {
            self.abort(id, anyhow::Error::from(err).context("registering with poll"));
        }
        id
    }

    /// Waits until the kernel reports events, for one tick at most, and not beyond `accept_at`. Does not
    /// wait if there may be more to read from a client. (Pending clients do not prevent the wait: the
    /// kernel reports when it has room for their bytes, and the tick is short enough for the deadlines.)
    fn wait_for_events(
        &self,
        poll: &mut Poll,
        events: &mut Events,
        accept_at: Option<Instant>,
    ) -> Result<()> {
        let mut timeout = if self.readable.is_empty() { TICK } else { Duration::ZERO };
        if let Some(accept_at) = accept_at {
            timeout = timeout.min(accept_at.saturating_duration_since(Instant::now()));
        }
        // `trace` calls the closure and, with --trace, records how long it takes.
        match trace("poll", || poll.poll(events, Some(timeout))) {
            // A signal interrupted the wait. mio has cleared `events`.
            Err(err) if err.kind() == ErrorKind::Interrupted => Ok(()),
            result => Ok(result?),
        }
    }

    /// Reads from every client from which there may be more to read, then writes to every pending client.
    /// The other clients cost nothing here.
    fn take_turn(&mut self, events: &Events) {
        for event in events.iter().filter(|event| event.token() != LISTENER) {
            // A writable event only ends the wait: below, every pending client is tried anyway.
            if event.is_readable() {
                self.readable.insert(event.token().0);
            }
        }
        for id in mem::take(&mut self.readable) {
            // A panic is logged, with its place in the code, and becomes an error. An error ends only this
            // client's connection.
            match catch_panic(|| handle_client_recv(id, self)) {
                Ok(true) => {
                    self.readable.insert(id);
                }
                Ok(false) => {}
                Err(err) => self.abort(id, err),
            }
        }
        for id in mem::take(&mut self.pending) {
            let Some(client) = self.table.get_mut(id) else {
                continue;
            };
            client.is_pending = false;
            if let Err(err) = catch_panic(|| handle_client_send(client)) {
                client.abort(err);
            }
            if client.advance_closing() {
                self.remove_client(id);
            } else if client.send_queue.is_some() || client.disconnect.is_some() {
                mark_pending(&mut self.pending, id, client);
            }
        }
    }

    /// Removes a client and logs why. Dropping it closes the socket, and drops the permit, which makes room
    /// for another client.
    fn remove_client(&mut self, id: usize) {
        let client = self.table.remove(id);
        if let Some(disconnect) = client.disconnect
            && !client.is_refused
        {
            log_disconnect(client.permit.addr(), disconnect.reason);
        }
    }

    /// Adds a batch of messages to the queue of every client, or of every client except the sender. There
    /// is only one thread, so every queue gets the batches in the same order.
    fn broadcast_msg(&mut self, from: usize, batch: &Bytes) {
        for (id, client) in &mut self.table {
            let is_left_out = id == from && self.others_only;
            if !is_left_out && client.disconnect.is_none() {
                client.enqueue(batch);
                mark_pending(&mut self.pending, id, client);
            }
        }
    }

    /// Adds a reply to the queue of one client.
    fn send_reply(&mut self, id: usize, reply: &Bytes) {
        if let Some(client) = self.table.get_mut(id) {
            client.enqueue(reply);
            mark_pending(&mut self.pending, id, client);
        }
    }

    /// Takes a client out of the room, and starts to close its connection: what is queued is still sent.
    fn handle_disconnect(&mut self, id: usize, reason: Result<()>) {
        if let Some(client) = self.table.get_mut(id)
            && client.disconnect.is_none()
        {
            client.disconnect = Some(Box::new(Disconnect { closing: Closing::start(), reason }));
            mark_pending(&mut self.pending, id, client);
        }
    }

    /// Takes a client out of the room, and closes its connection in this turn.
    fn abort(&mut self, id: usize, err: anyhow::Error) {
        if let Some(client) = self.table.get_mut(id) {
            client.abort(err);
            mark_pending(&mut self.pending, id, client);
        }
    }
}

impl Client {
    /// Adds a batch to the client's queue, without waiting for the client: a slow reader does not slow down
    /// any sender. All queues share the bytes of the batch.
    ///
    /// The queue has a limit, so that a client that stops reading cannot use up the memory. A client is too
    /// slow if
    ///
    /// * the kernel has refused every write for 1 s, and more than 256 KiB or 1,024 batches wait;
    /// * a byte is still waiting 10 s after the kernel first refused it; or
    /// * more than 8 MiB wait. For a queue that was empty, this is not checked before the first attempt to
    ///   write: until then, the server causes the delay.
    ///
    /// Then `limit.add` or `limit.blocked` returns an error, and the client is disconnected in the same
    /// turn. Bytes count until `limit.sent` reports that the kernel has accepted them.
    fn enqueue(&mut self, batch: &Bytes) {
        let send_queue = self.send_queue.get_or_insert_default();
        match send_queue.limit.add(batch.len()) {
            Ok(()) => send_queue.send_buf.push(batch.clone()),
            Err(slow) => self.abort(slow.into()),
        }
    }

    /// Makes the connection close in this turn: what the kernel does not accept at once is lost. If the
    /// connection was being closed because of an earlier error, that error is still the reason.
    fn abort(&mut self, err: anyhow::Error) {
        let reason = match self.disconnect.take() {
            Some(disconnect) if disconnect.reason.is_err() => disconnect.reason,
            _ => Err(err),
        };
        self.disconnect = Some(Box::new(Disconnect { closing: Closing::at_once(), reason }));
    }

    /// Takes the next step of closing, if the connection is being closed; reports whether the socket can be
    /// dropped now.
    ///
    /// First, `handle_client_send` sends what is queued, for up to 3 s; if some is left then, the socket is
    /// dropped at once. Otherwise the sending side is shut down, so that the client reads the end of the
    /// stream. Then, for up to 500 ms or until the client has closed its side too, its input is read and
    /// discarded: closing a socket with unread input sends a reset, which can destroy the last message. After
    /// `abort`, there is one attempt to send, and the socket can be dropped.
    fn advance_closing(&mut self) -> bool {
        let has_sent_all = self.send_queue.is_none();
        match &mut self.disconnect {
            Some(disconnect) => disconnect.closing.advance(&mut self.sock, has_sent_all),
            None => false,
        }
    }
}

fn serve(mut listener: TcpListener, args: &Args, stop: &Stop) -> Result<()> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut clients = Clients {
        table: Slab::new(),
        others_only: args.others_only,
        readable: BTreeSet::new(),
        pending: Vec::new(),
    };
    // --max-clients, or else 10,000, lowered to what the limit of descriptors allows.
    let mut admission = Admission::new(args.server.client_limit());
    // If set: accept at this time, and ignore events for the listener until then.
    let mut accept_at = None;
    // A signal interrupts poll. If it comes just before poll, the loop notices it one tick later.
    while !stop.requested() {
        clients.wait_for_events(&mut poll, &mut events, accept_at)?;
        let must_accept = match accept_at {
            Some(accept_at) => accept_at <= Instant::now(),
            None => events.iter().any(|event| event.token() == LISTENER),
        };
        // Clients are accepted before anything is read, so each gets every message from now on.
        if must_accept {
            accept_at = accept_clients(&listener, &mut admission, &mut clients, &poll);
        }
        clients.take_turn(&events);
    }
    info!("Shutting down");
    drop(listener);
    let ids: Vec<usize> = clients.table.iter().map(|(id, _)| id).collect();
    for id in ids {
        clients.handle_disconnect(id, Ok(()));
    }
    // What is queued is still sent. After 3 s, the connections that are still open are closed.
    let deadline = Instant::now() + DRAIN;
    events.clear();
    loop {
        clients.take_turn(&events);
        if clients.table.is_empty() || Instant::now() >= deadline {
            break;
        }
        clients.wait_for_events(&mut poll, &mut events, None)?;
    }
    Ok(())
}

/// Reads a client's messages and relays them, until there is nothing more to read or it is the other
/// clients' turn. Reports whether there may be more to read.
fn handle_client_recv(id: usize, clients: &mut Clients) -> Result<bool> {
    let Some(client) = clients.table.get(id) else {
        return Ok(false);
    };
    let addr = client.permit.addr();
    let prefix = format!("{addr}: ");
    // Once 64 KiB have been read in this turn, no further read starts, so that a client that never stops
    // sending does not keep the others waiting.
    let turn_end = client.rest.total_received() + READ_TURN as u64;
    loop {
        let client = &mut clients.table[id];
        if client.disconnect.is_some() {
            return Ok(false); // `advance_closing` discards its input from now on
        }
        if client.rest.total_received() >= turn_end {
            return Ok(true);
        }
        // Reads, up to 64 KiB at a time, until at least one message is complete, that is, ended by a zero
        // byte. Returns all complete messages except empty ones. There is no time limit for a message, but
        // TCP keepalive detects a client that has vanished.
        let msgs = match trace("read", || recv_msgs(&mut client.sock, &mut client.rest)) {
            Ok(Some(msgs)) => msgs,
            // The client has shut down its sending side. What is queued for it is still sent.
            Ok(None) => {
                log_unfinished(addr, &client.rest); // "N bytes of an unfinished message dropped", at debug
                clients.handle_disconnect(id, Ok(()));
                return Ok(false);
            }
            // Nothing more has arrived yet. There will be an event when more arrives.
            Err(err) if err.kind() == ErrorKind::WouldBlock => return Ok(false),
            // In most cases, the client has reset the connection.
            Err(err) => return Err(err).context("receiving"),
        };
        let mut batch = Vec::new(); // up to 1.6 MiB: one-letter messages with long prefixes
        let mut protocol_error = None;
        for msg in msgs {
            match msg {
                Ok(msg) => {
                    info!("{addr}: {}", printable(msg)); // with control characters escaped
                    append_msg(&mut batch, &prefix, msg); // the prefix, the message, a zero byte
                }
                // The message is too long or not UTF-8. This is the last item: what follows is not used.
                Err(err) => protocol_error = Some(err),
            }
        }
        if !batch.is_empty() {
            trace("broadcast", || clients.broadcast_msg(id, &Bytes::from(batch)));
        }
        if let Some(err) = protocol_error {
            clients.send_reply(id, &error_reply(&err)); // "server: ", the error, a zero byte
            clients.handle_disconnect(id, Err(err.into()));
            return Ok(false);
        }
    }
}

/// Writes what is queued for a client, until all of it is sent or the kernel accepts no more.
fn handle_client_send(client: &mut Client) -> Result<()> {
    let Some(send_queue) = &mut client.send_queue else {
        return Ok(());
    };
    while !send_queue.send_buf.is_empty() {
        match trace("write", || send_queue.send_buf.write_to(&mut client.sock)) {
            Ok(n) => send_queue.limit.sent(n), // the kernel has accepted n bytes
            // The kernel's buffer is full. There will be an event when it has room.
            Err(err) if err.kind() == ErrorKind::WouldBlock => {
                send_queue.limit.blocked()?; // an error if the client is too slow
                return Ok(());
            }
            // In most cases, the client has closed or reset the connection.
            Err(err) => return Err(err).context("sending"),
        }
    }
    client.send_queue = None;
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
            Admitted::Client(sock, _, permit) => clients.join(sock, permit, poll),
            // The server is full, which is logged, in at most ten lines a second. Up to 64 clients at a
            // time get the reply "server: full".
            Admitted::Full(sock, _, Some(permit)) => clients.refuse(sock, permit, poll),
            // 64 clients are getting that reply already: this one is closed without a reply.
            Admitted::Full(sock, _, None) => drop(sock),
            // accept has failed, which is logged. The pause is zero if the error concerns only one
            // connection, such as a reset by its client. For any other error, such as a lack of
            // descriptors, it is 10 ms, and doubles with each such error, up to 1 s. When no such error has
            // come for 2 s, it starts at 10 ms again.
            Admitted::Retry(pause) => return Some(Instant::now() + pause),
        }
    }
    Some(Instant::now()) // at once, after the clients have had their turn
}

/// Marks a client as pending, unless it is already.
fn mark_pending(pending: &mut Vec<usize>, id: usize, client: &mut Client) {
    if !client.is_pending {
        client.is_pending = true;
        pending.push(id);
    }
}
