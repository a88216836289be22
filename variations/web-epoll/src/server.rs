//! The server: a loop around epoll, and a table of clients.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use slab::Slab;
use tincanchat::cli::{Door, Seat, Shutdown, announce, caught, log_end};
use tincanchat::{DRAIN, Farewell, LINGER, QueueGauge, create_listen_socket, printable};
use tracing::{debug, info};

use crate::Args;
use crate::http::{
    Date, MAX_BODY, MAX_HEAD, Request, TIMEOUT, UNFINISHED, append_answer, first_request,
};

/// The listener's number; a client's is its place in the table.
const LISTENER: u64 = u64::MAX;

/// The longest wait for events: time passes for a client that is slow or leaving without any.
const TICK: Duration = Duration::from_millis(100);

/// The bytes of answers that wait for one client before its next request is looked at: 64 KiB.
const MAX_WAITING: usize = 64 * 1024;

/// The longest time to keep reading from a client after its last answer if the length of the rest is
/// unknown: 10 s. A socket that is closed before its client has sent all sends a reset, and
/// the client may lose the answer by it (RFC 9112, section 9.6).
const MAX_REST: Duration = Duration::from_secs(10);

pub fn run(args: &Args) -> Result<()> {
    let _log = args.server.start_log()?;
    let listener = create_listen_socket(&args.server.host, args.server.port)?;
    let shutdown = Shutdown::on_signal()?;
    announce(&listener)?;
    listener.set_nonblocking(true)?;
    serve(listener, args, &shutdown)
}

struct Clients {
    table: Slab<Client>,
    epoll: OwnedFd,
    date: Date,
    timeout: Duration,
    ticked_at: Instant,
}

struct Client {
    sock: TcpStream,
    seat: Seat,
    /// What has come and is not answered.
    rest: Vec<u8>,
    /// How many of the next bytes are a body, which nobody looks at.
    body: u64,
    /// Since when the next request, the rest of its head, or more of its body is awaited.
    since: Instant,
    /// When the last answer was given. What comes after it is read away.
    last_answer: Option<Instant>,
    /// Whether the client has been told that there is no other answer.
    is_shut_down: bool,
    has_ended: bool,
    send_queue: Vec<u8>,
    sent: usize,
    gauge: QueueGauge,
    /// What epoll has been asked for.
    interest: EventFlags,
    leaving: Option<(Farewell, Result<()>)>,
}

impl Clients {
    fn add(&mut self, sock: TcpStream, seat: Seat) {
        let (rest, send_queue, gauge) = (Vec::new(), Vec::new(), QueueGauge::new());
        let (since, interest) = (Instant::now(), EventFlags::IN);
        let place = self.table.vacant_entry();
        let number = EventData::new_u64(place.key() as u64);
        let asked = sock.set_nonblocking(true);
        let asked = asked.and_then(|()| Ok(epoll::add(&self.epoll, &sock, number, interest)?));
        if let Err(err) = asked {
            return log_end(&seat, Err(err.into()));
        }
        place.insert(Client {
            sock,
            seat,
            rest,
            body: 0,
            since,
            last_answer: None,
            is_shut_down: false,
            has_ended: false,
            send_queue,
            sent: 0,
            gauge,
            interest,
            leaving: None,
        });
    }

    /// Waits for events and does for each client what can be done; says whether somebody is at the
    /// door.
    fn turn(&mut self, events: &mut Vec<Event>) -> Result<bool> {
        let timeout = Timespec::try_from(TICK)?;
        events.clear();
        let waited = tincanchat::span("poll").over(epoll::wait(
            &self.epoll,
            spare_capacity(events),
            Some(&timeout),
        ));
        match waited {
            Err(Errno::INTR) => {}
            result => _ = result.context("epoll_wait")?,
        }
        let mut is_somebody_there = false;
        for event in events.iter() {
            match event.data.u64() {
                LISTENER => is_somebody_there = true,
                // One that is gone may still have been in the list.
                number => usize::try_from(number).into_iter().for_each(|id| self.attend(id)),
            }
        }
        if self.ticked_at.elapsed() >= TICK {
            self.ticked_at = Instant::now();
            self.tick();
        }
        Ok(is_somebody_there)
    }

    /// Receives from a client, answers, sends, and asks epoll for what is to be awaited next.
    fn attend(&mut self, id: usize) {
        let Some(client) = self.table.get_mut(id) else { return };
        let date = self.date.now();
        if let Err(err) = caught(|| handle_client(client, date)) {
            client.handle_disconnect(Err(err));
        }
        let interest = client.interest();
        if interest != client.interest {
            let number = EventData::new_u64(id as u64);
            match epoll::modify(&self.epoll, &client.sock, number, interest) {
                Ok(()) => client.interest = interest,
                Err(err) => client.handle_disconnect(Err(err.into())),
            }
        }
        let has_sent_all = client.send_queue.is_empty();
        let Some((farewell, end)) = &mut client.leaving else { return };
        if farewell.is_over(&mut client.sock, has_sent_all) {
            log_end(&client.seat, std::mem::replace(end, Ok(())));
            self.table.remove(id); // closes the socket, and with that epoll forgets it
        }
    }

    /// Looks after those for whom time has passed.
    fn tick(&mut self) {
        let (timeout, date) = (self.timeout, self.date.now());
        let mut due = Vec::new();
        for (id, client) in &mut self.table {
            if client.leaving.is_none() {
                // epoll says when the kernel has room again, and nothing while it has none. The gauge
                // counts time in which writes are tried.
                match handle_client_send(client) {
                    Err(err) => client.handle_disconnect(Err(err)),
                    Ok(_) if client.is_late(timeout) && client.send_queue.is_empty() => {
                        client.give_up(date);
                    }
                    Ok(_) => continue,
                }
            }
            due.push(id);
        }
        for id in due {
            self.attend(id);
        }
    }

    /// Lets in everyone who is at the door; gives when to look again, if not when epoll says so.
    fn accept(&mut self, listener: &TcpListener, door: &mut Door) -> Option<Instant> {
        loop {
            let accepted = tincanchat::span("accept").over(listener.accept());
            if matches!(&accepted, Err(err) if err.kind() == ErrorKind::WouldBlock) {
                return None;
            }
            match door.admit(accepted) {
                Ok((sock, _, seat)) => self.add(sock, seat),
                Err(Duration::ZERO) => {}
                Err(pause) => return Some(Instant::now() + pause),
            }
        }
    }
}

impl Client {
    /// Receives no more. What is queued is still sent, unless the connection has failed.
    fn handle_disconnect(&mut self, end: Result<()>) {
        self.gauge.close();
        let farewell = if end.is_err() { Farewell::at_once() } else { Farewell::begin() };
        self.leaving = Some((farewell, end));
    }

    fn may_answer(&self) -> bool {
        self.leaving.is_none()
            && self.last_answer.is_none()
            && self.send_queue.len() - self.sent < MAX_WAITING
    }

    fn may_receive(&self) -> bool {
        !self.has_ended && (self.may_answer() || self.last_answer.is_some())
    }

    /// Reports whether the bytes that the server waits for have not come in time.
    fn is_late(&self, timeout: Duration) -> bool {
        match self.last_answer {
            None => self.since.elapsed() >= timeout,
            // More of the body may be on its way, or more of a request that was wrong.
            Some(at) => {
                let pause = if self.body > 0 { timeout } else { LINGER };
                let has_end = (1..=MAX_BODY).contains(&self.body);
                self.since.elapsed() >= pause || (at.elapsed() >= MAX_REST && !has_end)
            }
        }
    }

    /// What to wait for. epoll tells of a state, not of a change: what is asked for and not used
    /// comes back at once, and the loop would turn for nothing.
    fn interest(&self) -> EventFlags {
        let sees_off = self.leaving.is_some() && self.send_queue.is_empty();
        let mut interest = EventFlags::empty();
        interest.set(EventFlags::IN, self.may_receive() || sees_off);
        interest.set(EventFlags::OUT, !self.send_queue.is_empty());
        interest
    }

    fn receive(&mut self) -> Result<()> {
        let mut chunk = [0; MAX_HEAD];
        match tincanchat::span("read").over(self.sock.read(&mut chunk)) {
            Err(err) if matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            // A client that has its last answer may go as it likes.
            Err(_) if self.last_answer.is_some() => self.has_ended = true,
            Err(err) => return Err(err).context("receiving"),
            Ok(0) => self.has_ended = true,
            Ok(n) => {
                if self.body > 0 || self.last_answer.is_some() {
                    // A body that is on its way is no pause, however long it takes.
                    self.since = Instant::now();
                }
                self.rest.extend_from_slice(&chunk[..n]);
            }
        }
        Ok(())
    }

    /// Answers the requests that have come whole; says whether there were any.
    fn answer(&mut self, date: &str) -> Result<bool> {
        let mut taken = 0;
        let before = self.send_queue.len();
        while self.may_answer() {
            let body = self.body.min((self.rest.len() - taken) as u64);
            self.body -= body;
            taken += usize::try_from(body)?;
            // Empty lines before a request are to be passed over (RFC 9112, section 2.2).
            let is_empty_line = |byte: &&u8| matches!(byte, b'\r' | b'\n');
            taken += self.rest[taken..].iter().take_while(is_empty_line).count();
            let Some(request) = first_request(&self.rest[taken..]) else { break };
            taken += request.len;
            self.respond(&request, date);
        }
        if self.last_answer.is_some() {
            self.body = self.body.saturating_sub((self.rest.len() - taken) as u64);
            taken = self.rest.len();
        }
        self.rest.drain(..taken);
        if self.rest.is_empty() {
            self.rest = Vec::new(); // idle clients are many, and need none
        }
        if self.send_queue.len() == before {
            return Ok(false);
        }
        self.gauge.queue(self.send_queue.len() - before)?;
        Ok(true)
    }

    fn respond(&mut self, request: &Request, date: &str) {
        info!("{}: {} {}", self.seat.addr(), printable(&request.line), request.status.0);
        append_answer(&mut self.send_queue, request, date);
        (self.body, self.since) = (request.body, Instant::now());
        if !request.is_kept {
            self.last_answer = Some(self.since);
        }
    }

    /// The next request has not come in time. Who has not begun one needs no answer.
    fn give_up(&mut self, date: &str) {
        if self.last_answer.is_some() {
            self.gauge.close();
            self.leaving = Some((Farewell::at_once(), Ok(())));
            return;
        }
        if self.rest.is_empty() {
            debug!("{}: nothing more came", self.seat.addr());
            return self.handle_disconnect(Ok(()));
        }
        self.refuse_rest(&Request::refused(&self.rest, TIMEOUT), date);
    }

    fn refuse_rest(&mut self, request: &Request, date: &str) {
        self.rest = Vec::new();
        let before = self.send_queue.len();
        self.respond(request, date);
        // A gauge refuses only where much is queued already, and here there is not.
        let _ = self.gauge.queue(self.send_queue.len() - before);
    }
}

fn serve(listener: TcpListener, args: &Args, shutdown: &Shutdown) -> Result<()> {
    let epoll = epoll::create(CreateFlags::CLOEXEC).context("epoll_create")?;
    let door_is = EventData::new_u64(LISTENER);
    epoll::add(&epoll, &listener, door_is, EventFlags::IN).context("epoll_ctl")?;
    let (timeout, ticked_at) = (Duration::from_secs(args.timeout), Instant::now());
    let (table, date) = (Slab::new(), Date::default());
    let mut clients = Clients { table, epoll, date, timeout, ticked_at };
    let mut events = Vec::with_capacity(1024);
    let mut door = Door::new(args.server.client_limit(0));
    let mut accept_at: Option<Instant> = None;
    while !shutdown.requested() {
        let is_due = accept_at.is_some_and(|at| Instant::now() >= at);
        let was_open = accept_at.is_none();
        if clients.turn(&mut events)? || is_due {
            accept_at = clients.accept(&listener, &mut door);
        }
        // As long as nobody can be let in, nobody must be announced, time and again.
        if accept_at.is_none() != was_open {
            let interest = if was_open { EventFlags::empty() } else { EventFlags::IN };
            epoll::modify(&clients.epoll, &listener, door_is, interest).context("epoll_ctl")?;
        }
    }
    info!("Shutting down");
    drop(listener);
    for (_, client) in clients.table.iter_mut().filter(|(_, client)| client.leaving.is_none()) {
        client.handle_disconnect(Ok(()));
    }
    let deadline = Instant::now() + DRAIN;
    while !clients.table.is_empty() && Instant::now() < deadline {
        clients.turn(&mut events)?;
    }
    Ok(())
}

/// Receives once from a client, answers what can be answered, and sends.
fn handle_client(client: &mut Client, date: &str) -> Result<()> {
    let had_begun = !client.rest.is_empty();
    if client.may_receive() {
        client.receive()?;
    }
    loop {
        let has_answered = client.answer(date)?;
        let has_sent_all = handle_client_send(client)?;
        // With the queue empty again, there may be room for more answers.
        if !has_answered || !has_sent_all {
            break;
        }
    }
    if !had_begun && !client.rest.is_empty() {
        client.since = Instant::now();
    }
    if client.last_answer.is_some() && client.send_queue.is_empty() && !client.is_shut_down {
        client.is_shut_down = true;
        // Fails when the client has gone, which the next read finds.
        let _ = client.sock.shutdown(std::net::Shutdown::Write);
    }
    if client.has_ended && client.leaving.is_none() && client.send_queue.is_empty() {
        match client.rest.is_empty() {
            true => client.handle_disconnect(Ok(())),
            false => client.refuse_rest(&Request::refused(&client.rest, UNFINISHED), date),
        }
        handle_client_send(client)?;
    }
    Ok(())
}

/// Sends what is queued until the kernel takes no more; says whether it has taken all.
fn handle_client_send(client: &mut Client) -> Result<bool> {
    while client.sent < client.send_queue.len() {
        let unsent = &client.send_queue[client.sent..];
        match tincanchat::span("write").over(client.sock.write(unsent)) {
            Err(err) if err.kind() == ErrorKind::Interrupted => {}
            Err(err) if err.kind() == ErrorKind::WouldBlock => {
                client.gauge.refused()?;
                return Ok(false);
            }
            sent => {
                let n = sent.context("sending")?;
                client.gauge.took(n);
                client.sent += n;
            }
        }
    }
    if client.sent > 0 {
        (client.send_queue, client.sent, client.since) = (Vec::new(), 0, Instant::now());
    }
    Ok(true)
}
