//! Messages that say how long they are: a server for one request a connection, on readiness.
//!
//! A connection goes through states: header length, header, content, answer, farewell. The first
//! three are those of an `Incoming` message; this loop gives it what has arrived, and keeps the time.
//!
//! Run it:      `cargo run -p app-protocol --bin app-server`
//! Talk to it:  `cargo run -p app-protocol --bin app-client -- localhost 65432 search ring`
//! Compare:     `chat-poll`, the same loop, where a zero byte ends a message.
//! Bad at:      memory. Each client may have 1 MiB under way, so there are at most 1,000 of them
//!              unless you say otherwise, and --deadline ends those who take too long.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read as _, Write as _};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use app_protocol::{Incoming, Message, MessageError, message::text_in};
use clap::Parser;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use serde_json::{Map, Value};
use slab::Slab;
use tincanchat::cli::{Door, Failure, Seat, ServerArgs, Shutdown, announce, caught, log_end_of};
use tincanchat::{DRAIN, Farewell, create_listen_socket};
use tracing::info;

/// The listener's token; a client's is its place in the table.
const LISTENER: Token = Token(usize::MAX - 1);

/// The longest wait for events: time passes for a client that is slow or leaving without any.
const TICK: Duration = Duration::from_millis(100);

/// The most bytes taken from a client before the others get their turn.
const READ_TURN: usize = 16 * 1024;

/// What `search` finds.
const KNOWN: [(&str, &str); 3] = [
    ("morpheus", "Follow the white rabbit. 🐰"),
    ("ring", "In the caves beneath the Misty Mountains. 💍"),
    ("🐶", "🐾 Playing ball! 🏐"),
];

/// Answer requests: a length, a JSON header, and content
#[derive(Parser)]
#[command(version)]
#[command(after_help = concat!("Examples:\n  ", env!("CARGO_BIN_NAME"), " --host :: --port 5000 -v"))]
#[command(mut_arg("port", |port| port.default_value("65432")))]
#[command(mut_arg("max_clients", |max| max.default_value("1000").help("Most clients at any one time")))]
struct Args {
    #[command(flatten)]
    server: ServerArgs,

    /// How long a client may take to send its request, and again to take the answer
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    deadline: Duration,
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
    /// When to look for those whose time is up.
    look_at: Instant,
    deadline: Duration,
}

struct Client {
    sock: TcpStream,
    seat: Seat,
    state: State,
    /// When it must have left its state.
    done_by: Instant,
}

enum State {
    Receiving(Incoming),
    /// The bytes of the answer, and how many of them have been sent.
    Answering(Vec<u8>, usize),
    Leaving(Farewell, Result<()>),
}

impl Clients {
    fn add(&mut self, mut sock: TcpStream, seat: Seat, poll: &Poll) {
        let token = Token(self.table.vacant_key());
        // Once is enough: there will be an event for each change, if what was there has been used up.
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(err) = poll.registry().register(&mut sock, token, interest) {
            return log_end_of::<MessageError>(&seat, Err(err.into()));
        }
        let state = State::Receiving(Incoming::request());
        let done_by = Instant::now() + self.deadline;
        self.table.insert(Client { sock, seat, state, done_by });
    }

    /// Waits for events, does for everyone who may be ready what can be done at once, and sees off
    /// those who are done or late. Says whether somebody is at the door.
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
            match caught(|| handle_client(client, self.deadline)) {
                Ok(has_more) => self.ready.extend(has_more.then_some(id)),
                Err(err) => client.handle_disconnect(Err(err)),
            }
            if client.is_over() {
                self.table.remove(id);
            }
        }
        let now = Instant::now();
        if now >= self.look_at {
            self.look_at = now + TICK;
            self.table.retain(|_, client| {
                if now >= client.done_by {
                    client.handle_lateness();
                }
                !client.is_over()
            });
        }
        Ok(events.iter().any(|event| event.token() == LISTENER))
    }
}

impl Client {
    /// Takes no more. What was wrong with a message is no reason to break the connection off.
    fn handle_disconnect(&mut self, end: Result<()>) {
        let has_failed =
            end.as_ref().is_err_and(|err| err.downcast_ref::<MessageError>().is_none());
        let farewell = if has_failed { Farewell::at_once() } else { Farewell::begin() };
        self.state = State::Leaving(farewell, end);
    }

    fn handle_lateness(&mut self) {
        let why = match &self.state {
            State::Receiving(incoming) => match incoming.finish() {
                Err(err) => anyhow::Error::from(err).context("too late with its request"),
                Ok(()) => anyhow!("too late with its request: none was begun"),
            },
            State::Answering(answer, sent) => {
                anyhow!("too late with its answer: {} bytes are not taken", answer.len() - sent)
            }
            State::Leaving(..) => return,
        };
        self.handle_disconnect(Err(why));
    }

    /// Whether the socket can be closed; if so, logs how it ended.
    fn is_over(&mut self) -> bool {
        let State::Leaving(farewell, end) = &mut self.state else { return false };
        let is_over = farewell.is_over(&mut self.sock, true);
        if is_over {
            log_end_of::<MessageError>(&self.seat, std::mem::replace(end, Ok(())));
        }
        is_over
    }
}

fn serve(mut listener: TcpListener, args: &Args, shutdown: &Shutdown) -> Result<()> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let (table, ready, look_at) = (Slab::new(), BTreeSet::new(), Instant::now());
    let mut clients = Clients { table, ready, look_at, deadline: args.deadline };
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
    drop(listener);
    // Who has been answered gets the answer; who is still asking gets the end.
    for (_, client) in &mut clients.table {
        if matches!(client.state, State::Receiving(_)) {
            client.handle_disconnect(Ok(()));
        }
    }
    let deadline = Instant::now() + DRAIN;
    while !clients.table.is_empty() && Instant::now() < deadline {
        clients.turn(&mut poll, &mut events)?;
    }
    Ok(())
}

/// Does once what a client's state asks for, and says whether there may be more to do.
fn handle_client(client: &mut Client, deadline: Duration) -> Result<bool> {
    match &mut client.state {
        State::Receiving(_) => handle_client_recv(client, deadline),
        State::Answering(..) => handle_client_send(client),
        State::Leaving(..) => Ok(false),
    }
}

/// Receives once, and answers the request when it is whole.
fn handle_client_recv(client: &mut Client, deadline: Duration) -> Result<bool> {
    let State::Receiving(incoming) = &mut client.state else { return Ok(false) };
    let mut bytes = [0; READ_TURN];
    match tincanchat::span("read").over(client.sock.read(&mut bytes)) {
        Err(err) if err.kind() == ErrorKind::WouldBlock => Ok(false),
        Err(err) if err.kind() == ErrorKind::Interrupted => Ok(true),
        Err(err) => Err(err).context("receiving"),
        Ok(0) => {
            let end = incoming.finish().context("it left in the middle of its request");
            client.handle_disconnect(end);
            Ok(false)
        }
        Ok(n) => {
            if let Some(request) = incoming.push(&bytes[..n])? {
                info!("{}: {request}", client.seat.addr());
                client.state = State::Answering(answer(&request).encode()?, 0);
                client.done_by = Instant::now() + deadline;
            }
            Ok(true)
        }
    }
}

/// Sends what is left of the answer until the kernel takes no more.
fn handle_client_send(client: &mut Client) -> Result<bool> {
    let State::Answering(answer, sent) = &mut client.state else { return Ok(false) };
    while *sent < answer.len() {
        match tincanchat::span("write").over(client.sock.write(&answer[*sent..])) {
            Err(err) if err.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(err) if err.kind() == ErrorKind::Interrupted => {}
            written => *sent += written.context("sending")?,
        }
    }
    client.handle_disconnect(Ok(()));
    Ok(false)
}

fn answer(request: &Message) -> Message {
    match request {
        Message::Json(object) => {
            let result = result(object).unwrap_or_else(|err| format!("Error: {err}."));
            Message::json([("result", &result)])
        }
        Message::Binary { bytes, .. } => {
            let first = bytes.get(..10).unwrap_or(bytes);
            let bytes = [b"First 10 bytes of request: ", first].concat();
            Message::binary("binary/custom-server-binary-type", bytes)
        }
    }
}

/// Returns the result of a request. The client is told an error as well: its request came whole, so
/// it waits for an answer.
fn result(request: &Map<String, Value>) -> Result<String, MessageError> {
    let action = word(request, "action")?;
    if action != "search" {
        return Ok(format!("Error: invalid action '{action}'."));
    }
    let value = word(request, "value")?;
    let found = KNOWN.iter().find(|(known, _)| *known == value);
    Ok(found.map_or_else(|| format!("No match for '{value}'."), |(_, found)| (*found).to_owned()))
}

/// Returns a text as it is, and a number, a boolean or null as it is written in JSON.
fn word(request: &Map<String, Value>, field: &'static str) -> Result<String, MessageError> {
    match request.get(field) {
        Some(value @ (Value::Null | Value::Bool(_) | Value::Number(_))) => Ok(value.to_string()),
        _ => text_in(request, field).map(str::to_owned),
    }
}

/// A time from a millisecond to a day.
fn seconds(text: &str) -> Result<Duration, String> {
    let range = 0.001..=86_400.0;
    let seconds = text.parse().ok().filter(|seconds| range.contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "a number from 0.001 to 86400".to_owned())
}
