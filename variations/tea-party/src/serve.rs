//! The network code of both chats: one thread on readiness, as in `chat-poll`.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::mem;
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use serverkit::telnet::keep_urgent_inline;
use serverkit::{Admission, Admitted, Permit, ServerArgs, Stop, announce, catch_panic};
use serverkit::{log_disconnect, trace};
use slab::Slab;
use tincanchat::{DRAIN, create_listen_socket, printable};
use tracing::{debug, info, warn};

use crate::client::Client;

/// The listener's token. A client's token is its number, which never gets this large.
const LISTENER: Token = Token(usize::MAX);

/// The most connections that are accepted in one turn.
const ACCEPT_TURN: usize = 64;

/// The longest wait for events. After it, the stop signal, the rate limits, the limits of the queues and
/// the deadlines of closing connections are checked.
const TICK: Duration = Duration::from_millis(100);

/// The number of a client: its place in the table. The number is used again after the client has left.
pub type Id = usize;

/// What a program does with its clients.
///
/// For each client, `on_connect` is called once, then `on_line` for each line, then `on_disconnect` once.
pub trait Chat {
    /// Handles a client that has connected.
    fn on_connect(&mut self, id: Id, clients: &mut Clients);
    /// Handles a line that a client has sent, without its end.
    fn on_line(&mut self, id: Id, line: &[u8], clients: &mut Clients);
    /// Handles a client that has disconnected. Nothing more can be sent to it.
    fn on_disconnect(&mut self, id: Id, clients: &mut Clients);
}

/// The clients that are connected, and the clients whose connections are being closed.
#[derive(Default)]
pub struct Clients {
    table: Slab<Client>,
    /// The clients from which there may be more to read: the kernel has reported input, and no read has
    /// returned `WouldBlock` since then.
    readable: BTreeSet<Id>,
    /// The clients from which there may be more to read, but which have exceeded their rate limit.
    rate_limited: BTreeSet<Id>,
}

/// When to read from a client again.
enum ReadAgain {
    /// After the next event for the client.
    AfterEvent,
    /// In the next turn.
    NextTurn,
    /// When the client's rate limit allows it.
    WhenAllowed,
}

impl Clients {
    /// Queues a line for each of these clients. Adds the line end.
    pub fn send_line(&mut self, ids: &[Id], line: impl AsRef<[u8]>) {
        let bytes = Bytes::from([line.as_ref(), b"\r\n"].concat());
        trace("broadcast", || {
            for id in ids {
                if let Some(client) = self.connected(*id) {
                    client.queue(bytes.clone()); // the same bytes, not a copy
                }
            }
        });
    }

    /// Closes a client's connection after sending what is queued for the client.
    pub fn handle_disconnect(&mut self, id: Id) {
        if let Some(client) = self.connected(id) {
            client.start_closing(Ok(()));
        }
    }

    /// Returns a client if its connection is not being closed.
    fn connected(&mut self, id: Id) -> Option<&mut Client> {
        self.table.get_mut(id).filter(|client| client.is_connected())
    }

    /// Adds a client, and notifies the chat.
    fn join(&mut self, mut sock: TcpStream, permit: Permit, poll: &Poll, chat: &mut impl Chat) {
        let id = self.table.vacant_key();
        // mio reports each change once (it is edge-triggered), so the socket stays registered for both.
        let interest = Interest::READABLE | Interest::WRITABLE;
        // A telnet client sends part of Ctrl-C as urgent data. This option leaves it in place in the
        // stream.
        let registered = keep_urgent_inline(&sock)
            .and_then(|()| poll.registry().register(&mut sock, Token(id), interest));
        if let Err(err) = registered {
            log_disconnect(permit.addr(), Err(err.into()));
            return;
        }
        self.table.insert(Client::new(sock, permit));
        let handled = catch_panic(|| {
            chat.on_connect(id, self);
            Ok(())
        });
        if let Err(err) = handled {
            self.table[id].start_closing(Err(err));
        }
    }

    /// Waits until the kernel reports events; does not wait if there is something to do already.
    fn wait_for_events(
        &self,
        poll: &mut Poll,
        events: &mut Events,
        must_accept: bool,
    ) -> Result<()> {
        let is_busy = must_accept || !self.readable.is_empty();
        let timeout = if is_busy { Duration::ZERO } else { TICK };
        match trace("poll", || poll.poll(events, Some(timeout))) {
            // A signal came. There are no events.
            Err(err) if err.kind() == ErrorKind::Interrupted => Ok(()),
            result => Ok(result?),
        }
    }

    /// Reads from every client that may have more to read, then writes to every client for which something
    /// is queued.
    fn take_turn(&mut self, events: &Events, chat: &mut impl Chat) {
        for event in events.iter().filter(|event| event.token() != LISTENER) {
            let Token(id) = event.token();
            if event.is_readable() {
                self.readable.insert(id);
            }
            if event.is_read_closed()
                && let Some(client) = self.table.get_mut(id)
            {
                client.read_closed_at.get_or_insert_with(Instant::now);
            }
        }
        // Time has passed, so the rate limits of these clients may allow more now.
        self.readable.append(&mut self.rate_limited);
        for id in mem::take(&mut self.readable) {
            // An error or a panic ends this client's connection only.
            match catch_panic(|| handle_client_recv(id, self, chat)) {
                Ok(ReadAgain::AfterEvent) => {}
                Ok(ReadAgain::NextTurn) => _ = self.readable.insert(id),
                Ok(ReadAgain::WhenAllowed) => _ = self.rate_limited.insert(id),
                Err(err) => self.table[id].start_closing(Err(err)),
            }
        }
        loop {
            while let Some(id) = self.next_leaver() {
                self.leave(id, chat);
            }
            self.handle_client_sends();
            // If a write has failed, another client is leaving now, and the chat must be notified of this,
            // too.
            if self.next_leaver().is_none() {
                break;
            }
        }
    }

    /// Returns a client whose connection is being closed, if the chat has not been notified of it yet.
    fn next_leaver(&self) -> Option<Id> {
        let mut clients = self.table.iter();
        let (id, _) = clients.find(|(_, client)| client.is_in_chat && !client.is_connected())?;
        Some(id)
    }

    /// Notifies the chat that a client has disconnected.
    fn leave(&mut self, id: Id, chat: &mut impl Chat) {
        self.table[id].is_in_chat = false;
        let handled = catch_panic(|| {
            chat.on_disconnect(id, self);
            Ok(())
        });
        if let Err(err) = handled {
            let addr = self.table[id].permit.addr();
            warn!("{addr}: while its disconnection was handled: {err:#}");
        }
    }

    /// Sends what is queued, and closes the sockets that can be closed.
    fn handle_client_sends(&mut self) {
        self.table.retain(|_, client| {
            if let Err(err) = catch_panic(|| client.handle_client_send()) {
                client.start_closing(Err(err));
            }
            let is_closed = client.advance_closing();
            if is_closed {
                client.log_disconnect();
            }
            !is_closed
        });
    }
}

/// Listens, and serves a chat until a signal ends the program.
///
/// # Errors
///
/// An error if the server cannot start, or cannot wait for events.
pub fn serve(args: &ServerArgs, mut chat: impl Chat) -> Result<()> {
    // Up to 1,024 connections wait in the listener's backlog. The kernel ignores further ones, whose
    // clients try again for a while.
    let listener = create_listen_socket(&args.host, args.port)?;
    let stop = Stop::on_signal()?;
    announce(&listener)?; // prints: Listening on ADDR
    listener.set_nonblocking(true)?;
    let mut listener = TcpListener::from_std(listener);
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut clients = Clients::default();
    // --max-clients, or else 10,000, lowered to what the limit of descriptors allows.
    let mut admission = Admission::new(args.client_limit());
    // If set: accept at this time, even if there is no event for the listener.
    let mut accept_at = None;
    // A signal interrupts poll, or else the loop notices it after the next tick.
    while !stop.requested() {
        let must_accept = accept_at.is_some_and(|at| at <= Instant::now());
        clients.wait_for_events(&mut poll, &mut events, must_accept)?;
        // This comes before any read, so that a client that has connected by now gets every line from now
        // on.
        if must_accept || events.iter().any(|event| event.token() == LISTENER) {
            let join = |sock, permit| clients.join(sock, permit, &poll, &mut chat);
            accept_at = accept_clients(&listener, &mut admission, join);
        }
        clients.take_turn(&events, &mut chat);
    }
    info!("Shutting down");
    drop(listener);
    for (_, client) in &mut clients.table {
        client.is_in_chat = false; // all clients leave, so there is no client to notify
        if client.is_connected() {
            client.start_closing(Ok(()));
        }
    }
    // What is queued is still sent, for up to 3 s.
    let deadline = Instant::now() + DRAIN;
    while !clients.table.is_empty() && Instant::now() < deadline {
        clients.wait_for_events(&mut poll, &mut events, false)?;
        clients.take_turn(&events, &mut chat);
    }
    Ok(())
}

/// Accepts the connections that are waiting, up to 64. Returns the time at which to accept again even
/// without an event for the listener: mio does not report the same connections again.
fn accept_clients(
    listener: &TcpListener,
    admission: &mut Admission,
    mut join: impl FnMut(TcpStream, Permit),
) -> Option<Instant> {
    for _ in 0..ACCEPT_TURN {
        let accepted = trace("accept", || listener.accept());
        // No more connections are waiting.
        if matches!(&accepted, Err(err) if err.kind() == ErrorKind::WouldBlock) {
            return None;
        }
        match admission.admit(accepted) {
            Admitted::Client(sock, _, permit) => join(sock, permit),
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

/// Handles the lines that a client has sent, and reads from it once.
fn handle_client_recv(id: Id, clients: &mut Clients, chat: &mut impl Chat) -> Result<ReadAgain> {
    // First the lines that have been received before, but exceeded the rate limit.
    if !handle_lines(id, clients, chat)? {
        return Ok(ReadAgain::WhenAllowed);
    }
    let Some(client) = clients.connected(id) else {
        return Ok(ReadAgain::AfterEvent);
    };
    let has_received = client.receive()?;
    if !has_received {
        return Ok(ReadAgain::AfterEvent);
    }
    let is_allowed = handle_lines(id, clients, chat)?;
    Ok(if is_allowed { ReadAgain::NextTurn } else { ReadAgain::WhenAllowed })
}

/// Passes the lines that have been received from a client to the chat, as far as the rate limit allows.
/// Reports whether it allows more.
fn handle_lines(id: Id, clients: &mut Clients, chat: &mut impl Chat) -> Result<bool> {
    while let Some(client) = clients.connected(id) {
        let addr = client.permit.addr();
        if !client.rate_limit.allows_line() {
            // At the permitted rate, the remaining lines could take hours, and the client would stay in the
            // room until then.
            if client.has_left()? {
                info!("{addr}: has left; its lines beyond the rate limit are dropped");
                client.start_closing(Ok(()));
            }
            return Ok(false);
        }
        let Some(line) = client.lines.take_line() else {
            break;
        };
        client.rate_limit.add_line();
        match line {
            Ok(line) => {
                info!("{addr}: {}", printable(&String::from_utf8_lossy(&line)));
                chat.on_line(id, &line, clients);
            }
            Err(too_long) => {
                debug!("{addr}: a line that was too long has been dropped");
                clients.send_line(&[id], too_long.to_string());
            }
        }
    }
    Ok(true)
}
