//! Stage 4: a chat server, in one thread, on readiness.
//!
//! The kernel says which of all the sockets are ready, and for each the one thread does what can be
//! done at once, waiting for none of them. What a client has said so far, and what it has not taken
//! yet, is no longer on the stack of a thread of its own; a table keeps it from turn to turn.
//!
//! Run it:      `cargo run -p chat-poll`
//! Talk to it:  `cargo run -p chat-threads --bin chat-client`, in two terminals
//! Compare:     `chat-threads`, where the kernel remembers who is waiting for what.
//! Bad at:      a second processor, which it leaves idle; and being read from top to bottom.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Parser;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use tincanchat::cli::{Door, Failure, Seat, ServerArgs, Shutdown, announce, caught, last_words};
use tincanchat::cli::{log_end, log_rest, relay_msgs};
use tincanchat::{DRAIN, Farewell, Frame, Frames, QueueGauge, Rest, SERVER_FULL};
use tincanchat::{create_listen_socket, recv_msgs};
use tracing::info;

/// The listener's token; a client's is its place in the table.
const LISTENER: Token = Token(usize::MAX - 1);

/// The most connections that are accepted in one turn.
const ACCEPT_TURN: usize = 64;

/// The longest wait for events: time passes for a client that is slow or leaving without any.
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

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let _log = args.server.start_log()?;
    let listener = create_listen_socket(&args.server.host, args.server.port)?;
    let shutdown = Shutdown::on_signal()?;
    announce(&listener)?;
    listener.set_nonblocking(true)?;
    serve(TcpListener::from_std(listener), &args, &shutdown)?;
    Ok(())
}

/// Who is in the room; a client's number is its token.
struct Clients {
    table: Slab<Client>,
    others_only: bool,
    /// Who may have more to read.
    readable: BTreeSet<usize>,
    /// Whether there is something to send, or somebody to see off.
    has_work: bool,
}

struct Client {
    sock: TcpStream,
    seat: Seat,
    rest: Rest,
    send_queue: Frames,
    gauge: QueueGauge,
    leaving: Option<(Farewell, Result<()>)>,
}

impl Clients {
    fn add(&mut self, mut sock: TcpStream, seat: Seat, poll: &Poll) {
        let token = Token(self.table.vacant_key());
        // Once is enough: there will be an event for each change, if what was there has been used up.
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(err) = poll.registry().register(&mut sock, token, interest) {
            return log_end(&seat, Err(err.into()));
        }
        let (rest, send_queue, gauge) = (Rest::new(), Frames::new(), QueueGauge::new());
        let mut client = Client { sock, seat, rest, send_queue, gauge, leaving: None };
        if !client.seat.is_inside() {
            client.queue(&SERVER_FULL.into());
            client.handle_disconnect(Ok(()));
        }
        self.table.insert(client);
    }

    /// Waits for events; does not wait if a client may have more to read, or if there may be more to accept.
    fn wait(&self, poll: &mut Poll, events: &mut Events, may_accept: bool) -> Result<()> {
        let has_more = may_accept || !self.readable.is_empty();
        let timeout = if has_more { Duration::ZERO } else { TICK };
        match tincanchat::span("poll").over(poll.poll(events, Some(timeout))) {
            Err(err) if err.kind() != ErrorKind::Interrupted => Err(err.into()),
            _ => Ok(()),
        }
    }

    /// Receives once from everyone who may have more, then sends once to everyone.
    fn turn(&mut self, events: &Events) {
        let readable =
            events.iter().filter(|event| event.is_readable() && event.token() != LISTENER);
        self.readable.extend(readable.map(|event| event.token().0));
        self.has_work |= !events.is_empty() || !self.readable.is_empty();
        for id in std::mem::take(&mut self.readable) {
            match caught(|| handle_client(id, self)) {
                Ok(has_more) => self.readable.extend(has_more.then_some(id)),
                Err(err) => self.table[id].handle_disconnect(Err(err)),
            }
        }
        if self.has_work {
            self.send();
        }
    }

    /// Queues frames for everyone. One thread does it, so there is one order for all.
    fn broadcast_msg(&mut self, from: usize, frames: &Frame) {
        let _span = tincanchat::span("broadcast").of_bytes(frames.len());
        for (id, client) in &mut self.table {
            if (id != from || !self.others_only) && client.leaving.is_none() {
                client.queue(frames);
            }
        }
    }

    /// Sends what is queued, in one write for each client, and sees off those who are leaving.
    fn send(&mut self) {
        self.has_work = false;
        self.table.retain(|_, client| {
            if let Err(err) = caught(|| handle_client_send(client)) {
                client.handle_disconnect(Err(err));
            }
            let has_sent_all = client.send_queue.is_empty();
            self.has_work |= !has_sent_all || client.leaving.is_some();
            let Some((farewell, end)) = &mut client.leaving else {
                return true;
            };
            let is_over = farewell.is_over(&mut client.sock, has_sent_all);
            if is_over {
                log_end(&client.seat, std::mem::replace(end, Ok(())));
            }
            !is_over
        });
    }
}

impl Client {
    /// Queues frames. A client that does not keep up is cut off.
    fn queue(&mut self, frames: &Frame) {
        match self.gauge.queue(frames.len()) {
            Ok(()) => self.send_queue.push(Frame::clone(frames)),
            Err(slow) => self.handle_disconnect(Err(slow.into())),
        }
    }

    /// Receives no more. What is queued is still sent, unless the connection has failed.
    fn handle_disconnect(&mut self, end: Result<()>) {
        let last_words = end.as_ref().err().and_then(last_words);
        let has_failed = end.is_err() && last_words.is_none();
        if let Some(frame) = &last_words {
            self.queue(frame);
        }
        self.gauge.close();
        let farewell = if has_failed { Farewell::at_once() } else { Farewell::begin() };
        // The first failure is the cause; a write that fails after it is not.
        let first = self.leaving.take().map(|(_, end)| end).filter(Result::is_err);
        self.leaving = Some((farewell, first.unwrap_or(end)));
    }
}

fn serve(mut listener: TcpListener, args: &Args, shutdown: &Shutdown) -> Result<()> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let (table, readable, has_work) = (Slab::new(), BTreeSet::new(), false);
    let mut clients = Clients { table, others_only: args.others_only, readable, has_work };
    let mut door = Door::with_porch(args.server.client_limit(0));
    let mut accept_at = None;
    while !shutdown.requested() {
        let is_due = accept_at.is_some_and(|at| Instant::now() >= at);
        clients.wait(&mut poll, &mut events, is_due)?;
        // Before anything is received: a client that has connected by now gets every message from now on.
        if is_due || events.iter().any(|event| event.token() == LISTENER) {
            let mut accepts = 0;
            accept_at = loop {
                accepts += 1;
                if accepts > ACCEPT_TURN {
                    break Some(Instant::now()); // the clients first; there is no new event for the rest
                }
                let accepted = tincanchat::span("accept").over(listener.accept());
                if matches!(&accepted, Err(err) if err.kind() == ErrorKind::WouldBlock) {
                    break None;
                }
                match door.admit(accepted) {
                    Ok((sock, _, seat)) => clients.add(sock, seat, &poll),
                    Err(Duration::ZERO) => {}
                    // Those who wait outside make no new event, so the clock must.
                    Err(pause) => break Some(Instant::now() + pause),
                }
            };
        }
        clients.turn(&events);
    }
    info!("Shutting down");
    drop(listener);
    for (_, client) in clients.table.iter_mut().filter(|(_, client)| client.leaving.is_none()) {
        client.handle_disconnect(Ok(()));
    }
    clients.has_work = true;
    let deadline = Instant::now() + DRAIN;
    while !clients.table.is_empty() && Instant::now() < deadline {
        clients.wait(&mut poll, &mut events, false)?;
        clients.turn(&events);
    }
    Ok(())
}

/// Receives once from a client, and says whether there may be more.
fn handle_client(id: usize, clients: &mut Clients) -> Result<bool> {
    let Some(client) = clients.table.get_mut(id).filter(|client| client.leaving.is_none()) else {
        return Ok(false);
    };
    let addr = client.seat.addr();
    match recv_msgs(&mut client.sock, &mut client.rest) {
        Err(err) if err.kind() == ErrorKind::WouldBlock => Ok(false),
        Err(err) => Err(err).context("receiving"),
        Ok(None) => {
            log_rest(addr, &client.rest);
            client.handle_disconnect(Ok(()));
            Ok(false)
        }
        Ok(Some(msgs)) => {
            let (frames, wrong) = relay_msgs(addr, msgs);
            if !frames.is_empty() {
                clients.broadcast_msg(id, &frames.into());
            }
            wrong?;
            Ok(true)
        }
    }
}

/// Sends what is queued for a client until the kernel takes no more.
fn handle_client_send(client: &mut Client) -> Result<()> {
    while !client.send_queue.is_empty() {
        match client.send_queue.write_to(&mut client.sock, usize::MAX) {
            Err(err) if err.kind() == ErrorKind::WouldBlock => {
                return Ok(client.gauge.refused()?);
            }
            sent => client.gauge.took(sent.context("sending")?),
        }
    }
    Ok(())
}
