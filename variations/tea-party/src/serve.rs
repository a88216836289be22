//! The network: one thread on readiness, as in `chat-poll`, for whatever chat is put on it.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use anyhow::Result;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use tincanchat::cli::{Door, Seat, ServerArgs, Shutdown, announce, caught, log_end};
use tincanchat::telnet::keep_urgent_inline;
use tincanchat::{DRAIN, Frame, create_listen_socket, printable, span};
use tracing::{debug, info, warn};

use crate::LineTooLong;
use crate::client::Client;

/// The listener's token; a client's is its number.
const LISTENER: Token = Token(usize::MAX - 1);

/// The longest wait for events: time passes for a client that is slow, leaving or ahead of its pace
/// without any.
const TICK: Duration = Duration::from_millis(100);

/// A client's number, from when it has arrived until it has left.
pub type Id = usize;

/// What a program makes of its clients. Each gets one `arrived`, any number of `heard`, one `left`.
pub trait Chat {
    /// Somebody is there.
    fn arrived(&mut self, id: Id, clients: &mut Clients);
    /// Somebody has said this line; its end is not in it.
    fn heard(&mut self, id: Id, line: &[u8], clients: &mut Clients);
    /// Somebody has gone, and cannot be told anything any more.
    fn left(&mut self, id: Id, clients: &mut Clients);
}

/// Who is connected.
#[derive(Default)]
pub struct Clients {
    table: Slab<Client>,
    /// Who may have more to be read.
    readable: BTreeSet<Id>,
    /// Who has, and has to wait.
    paced: BTreeSet<Id>,
}

impl Clients {
    /// Queues a line for these clients; its end is added.
    pub fn tell(&mut self, ids: &[Id], line: impl AsRef<[u8]>) {
        let frame: Frame = [line.as_ref(), b"\r\n"].concat().into();
        let _span = span("broadcast").of_bytes(frame.len());
        for id in ids {
            if let Some(client) = self.table.get_mut(*id).filter(|it| it.leaving.is_none()) {
                client.queue(&frame);
            }
        }
    }

    /// Closes a client's connection, after what is queued for it has been sent.
    pub fn say_goodbye(&mut self, id: Id) {
        if let Some(client) = self.table.get_mut(id).filter(|it| it.leaving.is_none()) {
            client.handle_disconnect(Ok(()));
        }
    }

    fn add(&mut self, mut sock: TcpStream, seat: Seat, poll: &Poll, chat: &mut impl Chat) {
        let token = Token(self.table.vacant_key());
        let options = keep_urgent_inline(&sock);
        // Once is enough: there will be an event for each change, if what was there has been used up.
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registered =
            options.and_then(|()| poll.registry().register(&mut sock, token, interest));
        if let Err(err) = registered {
            return log_end(&seat, Err(err.into()));
        }
        let id = self.table.insert(Client::new(sock, seat));
        let told = caught(|| {
            chat.arrived(id, self);
            Ok(())
        });
        if let Err(err) = told {
            self.table[id].handle_disconnect(Err(err));
        }
    }

    /// Waits for events, receives once from everyone who may have more, then sends once to everyone.
    /// Says whether somebody is at the door.
    fn turn(&mut self, poll: &mut Poll, events: &mut Events, chat: &mut impl Chat) -> Result<bool> {
        let timeout = if self.readable.is_empty() { TICK } else { Duration::ZERO };
        match span("poll").over(poll.poll(events, Some(timeout))) {
            Err(err) if err.kind() != ErrorKind::Interrupted => return Err(err.into()),
            _ => {}
        }
        for event in events.iter().filter(|event| event.token() != LISTENER) {
            let Token(id) = event.token();
            self.readable.extend(event.is_readable().then_some(id));
            if let Some(client) = self.table.get_mut(id).filter(|_| event.is_read_closed()) {
                client.ended.get_or_insert_with(Instant::now);
            }
        }
        self.readable.append(&mut self.paced);
        for id in std::mem::take(&mut self.readable) {
            match caught(|| handle_client(id, self, chat)) {
                Ok(Next::Wait) => {}
                Ok(Next::Read) => _ = self.readable.insert(id),
                Ok(Next::Pace) => _ = self.paced.insert(id),
                Err(err) => self.table[id].handle_disconnect(Err(err)),
            }
        }
        // To tell of one who leaves may show that another does not keep up, who then leaves too.
        while self.tell_who_left(chat) || self.send() {}
        Ok(events.iter().any(|event| event.token() == LISTENER))
    }

    /// Tells the chat of one who has left, and whether there was one.
    fn tell_who_left(&mut self, chat: &mut impl Chat) -> bool {
        let has_left = |client: &Client| client.leaving.is_some() && client.is_known;
        let Some(id) = self.table.iter().find(|(_, it)| has_left(it)).map(|(id, _)| id) else {
            return false;
        };
        self.table[id].is_known = false;
        let told = caught(|| {
            chat.left(id, self);
            Ok(())
        });
        if let Err(err) = told {
            warn!("when client {id} left: {err:#}");
        }
        true
    }

    /// Sends what is queued, in one write for each client, and sees off those who are leaving. Says
    /// whether one of them did not keep up or was lost, and the chat has not been told.
    fn send(&mut self) -> bool {
        let mut has_lost = false;
        self.table.retain(|_, client| {
            if let Err(err) = caught(|| client.handle_client_send()) {
                client.handle_disconnect(Err(err));
            }
            let has_sent_all = client.send_queue.is_empty();
            let Some((farewell, end)) = &mut client.leaving else {
                return true;
            };
            has_lost |= client.is_known;
            let is_over = !client.is_known && farewell.is_over(&mut client.sock, has_sent_all);
            if is_over {
                log_end(&client.seat, std::mem::replace(end, Ok(())));
            }
            !is_over
        });
        has_lost
    }
}

/// Listens, and serves this chat to all who come, until a signal ends it.
///
/// # Errors
///
/// Those of starting, and of waiting for events.
pub fn serve(args: &ServerArgs, mut chat: impl Chat) -> Result<()> {
    let listener = create_listen_socket(&args.host, args.port)?;
    let shutdown = Shutdown::on_signal()?;
    announce(&listener)?;
    listener.set_nonblocking(true)?;
    let mut listener = TcpListener::from_std(listener);
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut clients = Clients::default();
    let mut door = Door::new(args.client_limit(0));
    let mut accept_at = None;
    while !shutdown.requested() {
        let is_due = accept_at.is_some_and(|at| Instant::now() >= at);
        if clients.turn(&mut poll, &mut events, &mut chat)? || is_due {
            accept_at = accept(&listener, &mut door, |sock, seat| {
                clients.add(sock, seat, &poll, &mut chat);
            });
        }
    }
    info!("Shutting down");
    drop(listener);
    for (_, client) in &mut clients.table {
        client.is_known = false; // everybody leaves, so nobody needs to be told
        if client.leaving.is_none() {
            client.handle_disconnect(Ok(()));
        }
    }
    let deadline = Instant::now() + DRAIN;
    while !clients.table.is_empty() && Instant::now() < deadline {
        clients.turn(&mut poll, &mut events, &mut chat)?;
    }
    Ok(())
}

/// Lets in everyone who is at the door; gives when to look again, if that must not wait for an event.
fn accept(
    listener: &TcpListener,
    door: &mut Door,
    mut add: impl FnMut(TcpStream, Seat),
) -> Option<Instant> {
    loop {
        let accepted = span("accept").over(listener.accept());
        if matches!(&accepted, Err(err) if err.kind() == ErrorKind::WouldBlock) {
            return None;
        }
        match door.admit(accepted) {
            Ok((sock, _, seat)) => add(sock, seat),
            Err(Duration::ZERO) => {}
            // Those who wait outside make no new event, so the clock must.
            Err(pause) => return Some(Instant::now() + pause),
        }
    }
}

/// When to look at a client again.
enum Next {
    /// After an event.
    Wait,
    /// In the next turn.
    Read,
    /// When its pace allows.
    Pace,
}

/// Hears what a client has said, and receives once from it.
fn handle_client(id: Id, clients: &mut Clients, chat: &mut impl Chat) -> Result<Next> {
    if !hear(id, clients, chat)? {
        return Ok(Next::Pace);
    }
    let Some(client) = clients.table.get_mut(id).filter(|client| client.leaving.is_none()) else {
        return Ok(Next::Wait);
    };
    if !client.handle_client_recv()? {
        return Ok(Next::Wait);
    }
    Ok(if hear(id, clients, chat)? { Next::Read } else { Next::Pace })
}

/// Passes on the lines that a client has said, as far as its pace allows, and says whether it may say
/// more.
fn hear(id: Id, clients: &mut Clients, chat: &mut impl Chat) -> Result<bool> {
    while let Some(client) = clients.table.get_mut(id).filter(|it| it.leaving.is_none()) {
        let addr = client.seat.addr();
        if !client.pace.may_speak() {
            if client.is_gone()? {
                info!("{addr}: has left amid a flood; the rest of that is not heard");
                client.handle_disconnect(Ok(()));
            }
            return Ok(false);
        }
        let Some(line) = client.lines.take() else { break };
        client.pace.said_line();
        match line {
            Ok(line) => {
                info!("{addr}: {}", printable(&String::from_utf8_lossy(&line)));
                chat.heard(id, &line, clients);
            }
            Err(err @ LineTooLong) => {
                debug!("{addr}: a line that is too long was dropped");
                clients.tell(&[id], err.to_string());
            }
        }
    }
    Ok(true)
}
