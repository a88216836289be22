//! The server: a loop around epoll, and a table of clients.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use serverkit::{Admission, Admitted, Permit, Stop, announce, catch_panic, log_disconnect, trace};
use slab::Slab;
use tincanchat::{Closing, DRAIN, LINGER, QueueLimit, create_listen_socket, printable};
use tracing::{debug, info};

use crate::Args;
use crate::http::{
    Date, MAX_BODY, MAX_HEAD, REQUEST_TIMEOUT, Request, UNFINISHED_REQUEST, append_answer,
    first_request,
};

/// The listener's number in epoll's events. A client's number is its index in the table.
const LISTENER: u64 = u64::MAX;

/// The most events that one wait returns.
const MAX_EVENTS: usize = 1024;

/// The most connections that are accepted in one turn.
const ACCEPT_TURN: usize = 64;

/// The longest wait for events, so that the stop signal, the limits of the queues, and the deadlines of
/// requests and of connections that are being closed are checked at least this often.
const TICK: Duration = Duration::from_millis(100);

/// The most bytes of answers that may wait for one client before its next request is answered: 64 KiB.
const MAX_WAITING: usize = 64 * 1024;

/// How long to read on after a client's last answer if it is not known how much input remains: 10 s. If the
/// server closed the socket before the client had sent everything, the kernel would send a reset, which can
/// destroy the answer (RFC 9112, section 9.6).
const MAX_REST: Duration = Duration::from_secs(10);

pub fn run(args: &Args) -> Result<()> {
    let _log = args.server.start_log()?;
    // Up to 1,024 connections wait in the listener's backlog. The kernel ignores further ones, whose
    // clients try again for a while.
    let listener = create_listen_socket(&args.server.host, args.server.port)?;
    let stop = Stop::on_signal()?;
    announce(&listener)?; // prints: Listening on ADDR
    listener.set_nonblocking(true)?;
    serve(listener, args, &stop)
}

struct Clients {
    table: Slab<Client>,
    epoll: OwnedFd,
    date: Date,
    /// How long a head may take to arrive, and how long a connection may be idle.
    timeout: Duration,
    /// When the deadlines were last checked.
    checked_at: Instant,
}

struct Client {
    sock: TcpStream,
    permit: Permit,
    /// The bytes that have been received and not answered yet: at most a head, and the bytes of one read.
    rest: Vec<u8>,
    /// How many bytes of a body have not arrived yet. They will be read and discarded.
    body_left: u64,
    /// Since when the server has been waiting for the next request, or for more of its head or body.
    waiting_since: Instant,
    /// When the last answer on this connection was queued. Input that arrives after that is discarded.
    last_answer_at: Option<Instant>,
    /// Whether the sending side has been shut down, which tells the client that there are no more answers.
    is_shut_down: bool,
    /// Whether the client has shut down its sending side.
    has_ended: bool,
    /// The queued answers, of which the first `sent` bytes have been sent.
    send_queue: Vec<u8>,
    sent: usize,
    limit: QueueLimit,
    /// What epoll waits for on this socket.
    interest: EventFlags,
    /// `None` until the connection is being closed.
    disconnect: Option<Disconnect>,
}

struct Disconnect {
    closing: Closing,
    reason: Result<()>,
}

impl Clients {
    fn join(&mut self, sock: TcpStream, permit: Permit) {
        let interest = EventFlags::IN;
        let entry = self.table.vacant_entry();
        let number = EventData::new_u64(entry.key() as u64);
        let added = sock
            .set_nonblocking(true)
            .and_then(|()| Ok(epoll::add(&self.epoll, &sock, number, interest)?));
        if let Err(err) = added {
            log_disconnect(permit.addr(), Err(err.into()));
            return;
        }
        entry.insert(Client {
            sock,
            permit,
            rest: Vec::new(),
            body_left: 0,
            waiting_since: Instant::now(),
            last_answer_at: None,
            is_shut_down: false,
            has_ended: false,
            send_queue: Vec::new(),
            sent: 0,
            limit: QueueLimit::new(),
            interest,
            disconnect: None,
        });
    }

    /// Waits until the kernel reports events; does not wait if there is something to do already.
    fn wait_for_events(&self, events: &mut Vec<Event>, must_accept: bool) -> Result<()> {
        let timeout = Timespec::try_from(if must_accept { Duration::ZERO } else { TICK })?;
        events.clear();
        let space = spare_capacity(events);
        match trace("poll", || epoll::wait(&self.epoll, space, Some(&timeout))) {
            // A signal came. There are no events.
            Err(Errno::INTR) => Ok(()),
            result => result.map(drop).context("epoll_wait"),
        }
    }

    /// Does for each client that has an event what can be done without blocking, and checks the deadlines
    /// after each tick.
    fn take_turn(&mut self, events: &[Event]) {
        for event in events {
            let number = event.data.u64();
            if number != LISTENER
                && let Ok(id) = usize::try_from(number)
            {
                self.take_client_turn(id);
            }
        }
        if self.checked_at.elapsed() >= TICK {
            self.checked_at = Instant::now();
            self.check_deadlines();
        }
    }

    /// Receives from a client, sends it the answers, and tells epoll what to wait for next.
    fn take_client_turn(&mut self, id: usize) {
        let Some(client) = self.table.get_mut(id) else {
            return;
        };
        let date = self.date.now();
        // An error or a panic ends this client's connection only.
        if let Err(err) = catch_panic(|| handle_client(client, date)) {
            client.start_closing(Closing::at_once(), Err(err));
        }
        let interest = client.wanted_interest();
        if interest != client.interest {
            let number = EventData::new_u64(id as u64);
            match epoll::modify(&self.epoll, &client.sock, number, interest) {
                Ok(()) => client.interest = interest,
                Err(err) => client.start_closing(Closing::at_once(), Err(err.into())),
            }
        }
        if client.advance_closing() {
            let client = self.table.remove(id); // closes the socket, which also removes it from epoll
            if let Some(disconnect) = client.disconnect {
                log_disconnect(client.permit.addr(), disconnect.reason);
            }
        }
    }

    /// Checks all deadlines: those of clients that read slowly, of requests that are late, and of
    /// connections that are being closed.
    fn check_deadlines(&mut self) {
        let mut changed = Vec::new();
        let date = self.date.now();
        for (id, client) in &mut self.table {
            if client.check_deadlines(self.timeout, date) {
                changed.push(id);
            }
        }
        for id in changed {
            self.take_client_turn(id);
        }
    }

    /// Accepts the connections that are waiting, up to 64. If `accept` must pause, returns until when.
    fn accept_clients(
        &mut self,
        listener: &TcpListener,
        admission: &mut Admission,
    ) -> Option<Instant> {
        for _ in 0..ACCEPT_TURN {
            let accepted = trace("accept", || listener.accept());
            // No more connections are waiting.
            if matches!(&accepted, Err(err) if err.kind() == ErrorKind::WouldBlock) {
                return None;
            }
            match admission.admit(accepted) {
                Admitted::Client(sock, _, permit) => self.join(sock, permit),
                // The client reads the end of the stream.
                Admitted::Full(sock, ..) => drop(sock),
                // accept has failed, which is logged. Only that connection was affected: the next one may
                // be accepted at once.
                Admitted::Retry(Duration::ZERO) => {}
                // For any other error, such as a lack of descriptors, which is logged too, the pause is 10
                // ms and doubles up to 1 s.
                Admitted::Retry(pause) => return Some(Instant::now() + pause),
            }
        }
        None // if more are waiting, the next wait reports the listener again
    }
}

impl Client {
    /// Starts to close the connection. If it is already being closed because of an error, that error is
    /// still the reason.
    fn start_closing(&mut self, closing: Closing, reason: Result<()>) {
        let reason = match self.disconnect.take() {
            Some(earlier) if earlier.reason.is_err() => earlier.reason,
            _ => reason,
        };
        self.disconnect = Some(Disconnect { closing, reason });
    }

    /// Takes the next step of closing, if the connection is being closed; reports whether the socket can be
    /// closed.
    fn advance_closing(&mut self) -> bool {
        let has_sent_all = self.send_queue.is_empty();
        match &mut self.disconnect {
            Some(disconnect) => disconnect.closing.advance(&mut self.sock, has_sent_all),
            None => false,
        }
    }

    /// Reports whether the next request may be answered: the connection is kept, and the queue is short.
    fn may_answer(&self) -> bool {
        let waiting = self.send_queue.len() - self.sent;
        self.disconnect.is_none() && self.last_answer_at.is_none() && waiting < MAX_WAITING
    }

    fn may_receive(&self) -> bool {
        !self.has_ended && (self.may_answer() || self.last_answer_at.is_some())
    }

    /// Returns the events to wait for.
    ///
    /// epoll, as it is used here, is level-triggered: it reports a state, not a change. So the server must
    /// not wait for an event that it does not handle: each wait would return at once, and the loop would
    /// never block.
    fn wanted_interest(&self) -> EventFlags {
        let discards_input = self.disconnect.is_some() && self.send_queue.is_empty();
        let mut interest = EventFlags::empty();
        interest.set(EventFlags::IN, self.may_receive() || discards_input);
        interest.set(EventFlags::OUT, !self.send_queue.is_empty());
        interest
    }

    /// Reads once.
    fn receive(&mut self) -> Result<()> {
        let mut received = [0; MAX_HEAD];
        match trace("read", || self.sock.read(&mut received)) {
            Ok(0) => self.has_ended = true,
            Ok(n) => {
                if self.body_left > 0 || self.last_answer_at.is_some() {
                    // A client that is sending a body is not idle, however long the body takes.
                    self.waiting_since = Instant::now();
                }
                self.rest.extend_from_slice(&received[..n]);
            }
            // Nothing has arrived, or a signal came during the read. epoll will report when there is more.
            Err(err) if matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            // The client has reset the connection after its last answer, which is not an error.
            Err(_) if self.last_answer_at.is_some() => self.has_ended = true,
            // The client has reset the connection.
            Err(err) => return Err(err).context("receiving"),
        }
        Ok(())
    }

    /// Queues the answers to the requests that have arrived. Reports whether there were any.
    fn answer(&mut self, date: &str) -> Result<bool> {
        let queued_before = self.send_queue.len();
        let mut taken = 0; // how many bytes of `rest` have been used
        while self.may_answer() {
            taken += self.take_body(taken)?;
            // Empty lines before a request are ignored (RFC 9112, section 2.2).
            let is_line_end = |byte: &&u8| matches!(byte, b'\r' | b'\n');
            taken += self.rest[taken..].iter().take_while(is_line_end).count();
            let Some(request) = first_request(&self.rest[taken..]) else {
                break;
            };
            taken += request.head_len;
            self.queue_answer(&request, date);
        }
        if self.last_answer_at.is_some() {
            // Discards everything after the last request.
            self.take_body(taken)?;
            taken = self.rest.len();
        }
        self.rest.drain(..taken);
        if self.rest.is_empty() {
            self.rest = Vec::new(); // an idle client needs no memory for it
        }
        let queued = self.send_queue.len() - queued_before;
        if queued == 0 {
            return Ok(false);
        }
        self.limit.add(queued)?;
        Ok(true)
    }

    /// Returns how many bytes of `rest`, from `start` on, belong to a body. Subtracts them from
    /// `body_left`.
    fn take_body(&mut self, start: usize) -> Result<usize> {
        let n = self.body_left.min((self.rest.len() - start) as u64);
        self.body_left -= n;
        Ok(usize::try_from(n)?)
    }

    fn queue_answer(&mut self, request: &Request, date: &str) {
        info!("{}: {} {}", self.permit.addr(), printable(&request.line), request.status.code);
        append_answer(&mut self.send_queue, request, date);
        self.body_left = request.body_len;
        self.waiting_since = Instant::now();
        if !request.keeps_connection {
            self.last_answer_at = Some(self.waiting_since);
        }
    }

    /// Refuses a request that has not arrived completely.
    fn refuse(&mut self, request: &Request, date: &str) {
        self.rest = Vec::new();
        let queued_before = self.send_queue.len();
        self.queue_answer(request, date);
        // This cannot exceed the limit, since the queue was empty.
        let _ = self.limit.add(self.send_queue.len() - queued_before);
    }

    /// Checks the client's deadlines. Reports whether the client needs a turn, even without an event.
    fn check_deadlines(&mut self, timeout: Duration, date: &str) -> bool {
        if self.disconnect.is_some() {
            return true;
        }
        // epoll reports when the kernel accepts more, but not that it accepts nothing. The limit counts
        // only time in which writes are tried, so this function tries one.
        if let Err(err) = handle_client_send(self) {
            self.start_closing(Closing::at_once(), Err(err));
            return true;
        }
        let is_timeout = self.send_queue.is_empty() && self.is_timeout(timeout);
        if is_timeout {
            self.handle_timeout(date);
        }
        is_timeout
    }

    /// Reports whether the input that the server waits for is late.
    fn is_timeout(&self, timeout: Duration) -> bool {
        let waited = self.waiting_since.elapsed();
        let Some(last_answer_at) = self.last_answer_at else {
            return waited >= timeout; // the next request, or the rest of its head, is late
        };
        // The connection stays open for input that may still be on its way: a body, or the rest of a
        // request that was refused.
        let longest_pause = if self.body_left > 0 { timeout } else { LINGER };
        let ends_by_itself = (1..=MAX_BODY).contains(&self.body_left);
        waited >= longest_pause || (last_answer_at.elapsed() >= MAX_REST && !ends_by_itself)
    }

    fn handle_timeout(&mut self, date: &str) {
        if self.last_answer_at.is_some() {
            self.start_closing(Closing::at_once(), Ok(()));
        } else if self.rest.is_empty() {
            // No request has begun, so there is nothing to answer.
            debug!("{}: no request arrived in time", self.permit.addr());
            self.start_closing(Closing::start(), Ok(()));
        } else {
            self.refuse(&Request::refused(&self.rest, REQUEST_TIMEOUT), date);
        }
    }
}

fn serve(listener: TcpListener, args: &Args, stop: &Stop) -> Result<()> {
    let epoll = epoll::create(CreateFlags::CLOEXEC).context("epoll_create")?;
    let listener_number = EventData::new_u64(LISTENER);
    epoll::add(&epoll, &listener, listener_number, EventFlags::IN).context("epoll_ctl")?;
    let mut clients = Clients {
        table: Slab::new(),
        epoll,
        date: Date::default(),
        timeout: Duration::from_secs(args.timeout),
        checked_at: Instant::now(),
    };
    let mut events = Vec::with_capacity(MAX_EVENTS);
    // --max-clients, or else 10,000, lowered to what the limit of descriptors allows.
    let mut admission = Admission::new(args.server.client_limit());
    // If set: do not accept until this time.
    let mut accept_at: Option<Instant> = None;
    // A signal interrupts the wait, or else the loop notices it after the next tick.
    while !stop.requested() {
        let must_accept = accept_at.is_some_and(|at| at <= Instant::now());
        clients.wait_for_events(&mut events, must_accept)?;
        let was_pausing = accept_at.is_some();
        if must_accept || events.iter().any(|event| event.data.u64() == LISTENER) {
            accept_at = clients.accept_clients(&listener, &mut admission);
        }
        let is_pausing = accept_at.is_some();
        if is_pausing != was_pausing {
            // During a pause, epoll would report the waiting connections again and again.
            let interest = if is_pausing { EventFlags::empty() } else { EventFlags::IN };
            epoll::modify(&clients.epoll, &listener, listener_number, interest)
                .context("epoll_ctl")?;
        }
        clients.take_turn(&events);
    }
    info!("Shutting down");
    drop(listener);
    for (_, client) in &mut clients.table {
        if client.disconnect.is_none() {
            client.start_closing(Closing::start(), Ok(()));
        }
    }
    // What is queued is still sent, for up to 3 s.
    let deadline = Instant::now() + DRAIN;
    while !clients.table.is_empty() && Instant::now() < deadline {
        clients.wait_for_events(&mut events, false)?;
        clients.take_turn(&events);
    }
    Ok(())
}

/// Receives once from a client, answers the requests that have arrived, and sends the answers.
fn handle_client(client: &mut Client, date: &str) -> Result<()> {
    let had_rest = !client.rest.is_empty();
    if client.may_receive() {
        client.receive()?;
    }
    loop {
        let has_answered = client.answer(date)?;
        let has_sent_all = handle_client_send(client)?;
        // If all of the queue has been sent, more answers may be queued.
        if !has_answered || !has_sent_all {
            break;
        }
    }
    if !had_rest && !client.rest.is_empty() {
        client.waiting_since = Instant::now(); // the next request has begun
    }
    let has_sent_all = client.send_queue.is_empty();
    if client.last_answer_at.is_some() && has_sent_all && !client.is_shut_down {
        client.is_shut_down = true;
        // Fails if the client has reset the connection. The next read will report that.
        let _ = client.sock.shutdown(Shutdown::Write);
    }
    if client.has_ended && has_sent_all && client.disconnect.is_none() {
        if client.rest.is_empty() {
            client.start_closing(Closing::start(), Ok(()));
        } else {
            client.refuse(&Request::refused(&client.rest, UNFINISHED_REQUEST), date);
            handle_client_send(client)?;
        }
    }
    Ok(())
}

/// Writes the queued answers until the kernel accepts no more. Reports whether all have been sent.
fn handle_client_send(client: &mut Client) -> Result<bool> {
    while client.sent < client.send_queue.len() {
        let unsent = &client.send_queue[client.sent..];
        match trace("write", || client.sock.write(unsent)) {
            Ok(n) => {
                client.limit.sent(n);
                client.sent += n;
            }
            // A signal came during the write.
            Err(err) if err.kind() == ErrorKind::Interrupted => {}
            // The client reads slowly. epoll will report when the kernel accepts more.
            Err(err) if err.kind() == ErrorKind::WouldBlock => {
                client.limit.blocked()?;
                return Ok(false);
            }
            // The client has reset the connection.
            Err(err) => return Err(err).context("sending"),
        }
    }
    if client.sent > 0 {
        client.send_queue = Vec::new(); // an idle client needs no memory for it
        client.sent = 0;
        client.waiting_since = Instant::now();
    }
    Ok(true)
}
