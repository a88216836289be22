//! Many connections in one thread: an echo server for bytes, on readiness.
//!
//! The kernel says which sockets are ready, and for each the one thread does what can be done at
//! once. What a client has sent and not taken back yet waits in a queue of its own; while that is
//! long, nothing more is read from this client, and in the end its own writes block.
//!
//! Run it:      `cargo run -p echo-select --bin multiconn-server`
//! Talk to it:  `cargo run -p echo-select --bin multiconn-client -- localhost 65432 5`
//! Compare:     `chat-poll`, the same loop with messages, and with everybody's bytes for everybody.
//! Bad at:      peers that never read: each keeps its place, and 80 KiB, for as long as its kernel
//!              answers for it (on Linux 30 s, see `tincanchat::USER_TIMEOUT`).

use std::collections::{BTreeSet, VecDeque};
use std::io::{ErrorKind, Read as _, Write as _};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Parser;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use tincanchat::cli::{Door, Failure, Seat, ServerArgs, Shutdown, announce, caught, log_end};
use tincanchat::{create_listen_socket, printable};
use tracing::info;

/// The listener's token; a client's is its place in the table.
const LISTENER: Token = Token(usize::MAX - 1);

/// The longest wait for events: a signal to another thread makes none.
const TICK: Duration = Duration::from_millis(100);

/// How many bytes may wait to go out to a client before reading from it stops.
const MAX_WAITING: usize = 64 * 1024;

/// The most bytes taken from a client before the others get their turn.
const READ_TURN: usize = 16 * 1024;

/// How many of the bytes just read the log shows.
const SHOWN: usize = 200;

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
    let listener = create_listen_socket(&args.server.host, args.server.port)?;
    let shutdown = Shutdown::on_signal()?;
    announce(&listener)?;
    listener.set_nonblocking(true)?;
    serve(TcpListener::from_std(listener), &args, &shutdown)?;
    Ok(())
}

/// Who is connected; a client's number is its token.
struct Clients {
    table: Slab<Client>,
    /// For whom there may be something to do.
    ready: BTreeSet<usize>,
}

struct Client {
    sock: TcpStream,
    seat: Seat,
    /// What has been read and not written yet.
    send_queue: VecDeque<u8>,
    /// Whether the peer has closed its sending side.
    has_ended: bool,
}

impl Clients {
    fn add(&mut self, mut sock: TcpStream, seat: Seat, poll: &Poll) {
        let token = Token(self.table.vacant_key());
        // Once is enough: there will be an event for each change, if what was there has been used up.
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(err) = poll.registry().register(&mut sock, token, interest) {
            return log_end(&seat, Err(err.into()));
        }
        let (send_queue, has_ended) = (VecDeque::new(), false);
        self.table.insert(Client { sock, seat, send_queue, has_ended });
    }

    /// Waits for events, then does for everyone who may be ready what can be done at once. Says
    /// whether somebody is at the door.
    fn turn(&mut self, poll: &mut Poll, events: &mut Events) -> Result<bool> {
        let timeout = if self.ready.is_empty() { TICK } else { Duration::ZERO };
        match tincanchat::span("poll").over(poll.poll(events, Some(timeout))) {
            Err(err) if err.kind() != ErrorKind::Interrupted => return Err(err.into()),
            _ => {}
        }
        let ready = events.iter().filter(|event| event.token() != LISTENER);
        self.ready.extend(ready.map(|event| event.token().0));
        for id in std::mem::take(&mut self.ready) {
            let Some(client) = self.table.get_mut(id) else { continue };
            match caught(|| handle_client(client)) {
                Ok(has_more) if !client.is_done() => self.ready.extend(has_more.then_some(id)),
                end => {
                    log_end(&client.seat, end.map(drop));
                    self.table.remove(id);
                }
            }
        }
        Ok(events.iter().any(|event| event.token() == LISTENER))
    }
}

impl Client {
    fn is_done(&self) -> bool {
        self.has_ended && self.send_queue.is_empty()
    }

    /// Whether anything is to be read from it now.
    fn may_send(&self) -> bool {
        !self.has_ended && self.send_queue.len() <= MAX_WAITING
    }
}

fn serve(mut listener: TcpListener, args: &Args, shutdown: &Shutdown) -> Result<()> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut clients = Clients { table: Slab::new(), ready: BTreeSet::new() };
    let mut door = Door::new(args.server.client_limit(0));
    let mut accept_at = None;
    while !shutdown.requested() {
        let is_due = accept_at.is_some_and(|at| Instant::now() >= at);
        if clients.turn(&mut poll, &mut events)? || is_due {
            accept_at = loop {
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
    }
    info!("Shutting down");
    Ok(())
}

/// Sends what waits, receives once if that leaves room, and says whether there may be more.
fn handle_client(client: &mut Client) -> Result<bool> {
    handle_client_send(client)?;
    if !client.may_send() {
        return Ok(false); // there will be an event when the socket takes more
    }
    let mut bytes = [0; READ_TURN];
    match tincanchat::span("read").over(client.sock.read(&mut bytes)) {
        Err(err) if err.kind() == ErrorKind::WouldBlock => Ok(false),
        Err(err) if err.kind() == ErrorKind::Interrupted => Ok(true),
        Err(err) => Err(err).context("receiving"),
        Ok(0) => {
            client.has_ended = true;
            Ok(false)
        }
        Ok(n) => {
            info!("{}: {}", client.seat.addr(), shown(&bytes[..n]));
            client.send_queue.extend(&bytes[..n]);
            handle_client_send(client)?;
            Ok(true)
        }
    }
}

/// Sends what waits for a client until the kernel takes no more.
fn handle_client_send(client: &mut Client) -> Result<()> {
    while !client.send_queue.is_empty() {
        let (bytes, _) = client.send_queue.as_slices();
        match tincanchat::span("write").over(client.sock.write(bytes)) {
            Err(err) if err.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(err) if err.kind() == ErrorKind::Interrupted => {}
            sent => drop(client.send_queue.drain(..sent.context("sending")?)),
        }
    }
    // Ten thousand idle clients hold no memory.
    client.send_queue = VecDeque::new();
    Ok(())
}

/// Bytes as the log shows them: not all of many, and as text, which they need not be.
fn shown(bytes: &[u8]) -> String {
    let start = String::from_utf8_lossy(bytes.get(..SHOWN).unwrap_or(bytes));
    let cut = if bytes.len() > SHOWN { "…" } else { "" };
    format!("{}{cut}", printable(&start))
}
