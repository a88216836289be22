//! A server for messages that begin with their length: one request on each connection, in one thread,
//! driven by readiness.
//!
//! A connection goes through these states: header length, header, content, answering, closing. The first
//! three are the states of an `Incoming` message. The loop passes it the bytes that have arrived, and
//! enforces the deadlines.
//!
//! Run it:      `cargo run -p app-protocol --bin app-server`
//! Talk to it:  `cargo run -p app-protocol --bin app-client -- localhost 65432 search ring`
//! Compare:     `chat-poll`, which has the same loop, but ends each message with a zero byte.
//! Bad at:      memory. Each client may occupy 1 MiB with an unfinished request. So by default there are at
//!              most 1,000 clients, and --deadline limits how long a request may take.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read as _, Write as _};
use std::mem;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use app_protocol::{Incoming, Message, MessageError, message::string_in};
use clap::Parser;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use serde_json::{Map, Value};
use serverkit::{Admission, Admitted, Failure, Permit, ServerArgs, Stop, announce, catch_panic};
use serverkit::{log_disconnect_as, trace};
use slab::Slab;
use tincanchat::{Closing, DRAIN, create_listen_socket};
use tracing::info;

/// The listener's token. A client's token is its index in the table, which never reaches this value.
const LISTENER: Token = Token(usize::MAX);

/// The most connections that are accepted in one turn.
const ACCEPT_TURN: usize = 64;

/// The longest wait for events, so that the stop signal and the clients' deadlines are checked at least
/// this often.
const TICK: Duration = Duration::from_millis(100);

/// The most bytes that are read from a client before the other clients get their turn.
const READ_TURN: usize = 16 * 1024;

/// The values that `search` finds, each with its result.
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
#[command(mut_arg("max_clients", |max| max.default_value("1000").help("Maximum number of clients at any one time")))]
struct Args {
    #[command(flatten)]
    server: ServerArgs,

    /// How long a client may take to send its request, and how long to accept the answer
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = parse_seconds)]
    deadline: Duration,
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
    /// How long a client may take to send its request, and how long to accept the answer.
    time_limit: Duration,
    /// When to check the deadlines of all clients again.
    next_check: Instant,
}

struct Client {
    sock: TcpStream,
    permit: Permit,
    state: State,
    /// The time by which the client must have sent its request, or accepted its answer.
    deadline: Instant,
}

enum State {
    Receiving(Incoming),
    Answering {
        answer: Vec<u8>,
        /// How many bytes of the answer the kernel has accepted.
        sent: usize,
    },
    Closing {
        closing: Closing,
        reason: Result<()>,
    },
}

impl Clients {
    fn add(&mut self, mut sock: TcpStream, permit: Permit, poll: &Poll) {
        let id = self.table.vacant_key();
        // mio reports each change once (it is edge-triggered), so the socket stays registered for both.
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registered = poll.registry().register(&mut sock, Token(id), interest);
        let state = State::Receiving(Incoming::request());
        let deadline = Instant::now() + self.time_limit;
        self.table.insert(Client { sock, permit, state, deadline });
        if let Err(err) = registered {
            let reason = anyhow::Error::from(err).context("cannot wait for this client");
            self.table[id].start_closing(Closing::at_once(), Err(reason));
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

    /// Does for every client that may be ready what can be done without blocking, and checks the deadlines
    /// ten times a second.
    fn take_turn(&mut self, events: &Events) {
        for event in events.iter().filter(|event| event.token() != LISTENER) {
            self.ready.insert(event.token().0);
        }
        for id in mem::take(&mut self.ready) {
            let Some(client) = self.table.get_mut(id) else {
                continue;
            };
            // An error or a panic ends this client's connection only.
            match catch_panic(|| handle_client(client, self.time_limit)) {
                Ok(may_have_more) if may_have_more => _ = self.ready.insert(id),
                Ok(_) => {}
                Err(err) => client.start_closing(Closing::at_once(), Err(err)),
            }
            self.advance_closing(id);
        }
        let now = Instant::now();
        if now >= self.next_check {
            self.next_check = now + TICK;
            let ids: Vec<usize> = self.table.iter().map(|(id, _)| id).collect();
            for id in ids {
                self.table[id].check_deadline(now, self.time_limit);
                self.advance_closing(id);
            }
        }
    }

    /// Takes the next step of closing, if the client's connection is being closed. After the last step,
    /// closes the socket.
    ///
    /// The client reads the end of the stream, and has 500 ms to close its side. Until then, its input is
    /// read and discarded: closing a socket with unread input sends a reset, which can destroy the end of
    /// the answer. If a connection has failed, it is closed at once.
    fn advance_closing(&mut self, id: usize) {
        let client = &mut self.table[id];
        let State::Closing { closing, .. } = &mut client.state else {
            return;
        };
        let has_sent_all = true; // the previous state has sent all of the answer
        if closing.advance(&mut client.sock, has_sent_all) {
            let Client { permit, state, .. } = self.table.remove(id); // closes the socket
            if let State::Closing { reason, .. } = state {
                log_disconnect_as::<MessageError>(permit.addr(), reason);
            }
        }
    }
}

impl Client {
    /// Starts to close the connection.
    fn start_closing(&mut self, closing: Closing, reason: Result<()>) {
        self.state = State::Closing { closing, reason };
    }

    /// Starts to close the connection if the client has taken too long.
    fn check_deadline(&mut self, now: Instant, time_limit: Duration) {
        if now < self.deadline {
            return;
        }
        let reason = match &self.state {
            State::Receiving(incoming) => {
                let late = format!("no complete request after {time_limit:?}");
                match incoming.finish() {
                    Ok(()) => anyhow!("{late}: nothing has arrived"),
                    Err(incomplete) => anyhow::Error::from(incomplete).context(late),
                }
            }
            State::Answering { answer, sent } => {
                let unsent = answer.len() - sent;
                let all = answer.len();
                anyhow!(
                    "the answer is not accepted after {time_limit:?}: {unsent} of {all} bytes left"
                )
            }
            State::Closing { .. } => return, // this state has deadlines of its own
        };
        self.start_closing(Closing::start(), Err(reason));
    }
}

fn serve(mut listener: TcpListener, args: &Args, stop: &Stop) -> Result<()> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut clients = Clients {
        table: Slab::new(),
        ready: BTreeSet::new(),
        time_limit: args.deadline,
        next_check: Instant::now(),
    };
    // --max-clients, or else 1,000.
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
    drop(listener);
    for (_, client) in &mut clients.table {
        if matches!(client.state, State::Receiving(_)) {
            client.start_closing(Closing::start(), Ok(()));
        }
    }
    // Answers are still sent, for up to 3 s.
    let deadline = Instant::now() + DRAIN;
    while !clients.table.is_empty() && Instant::now() < deadline {
        clients.wait_for_events(&mut poll, &mut events, false)?;
        clients.take_turn(&events);
    }
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

/// Takes one step, depending on the state of the client. Reports whether there may be more to do at once.
fn handle_client(client: &mut Client, time_limit: Duration) -> Result<bool> {
    match &client.state {
        State::Receiving(_) => handle_client_recv(client, time_limit),
        State::Answering { .. } => handle_client_send(client),
        State::Closing { .. } => Ok(false),
    }
}

/// Reads once, and prepares the answer if the request is complete. Reports whether there may be more to do
/// at once.
fn handle_client_recv(client: &mut Client, time_limit: Duration) -> Result<bool> {
    let State::Receiving(incoming) = &mut client.state else {
        return Ok(false);
    };
    let mut bytes = [0; READ_TURN];
    match trace("read", || client.sock.read(&mut bytes)) {
        // The client has shut down its sending side.
        Ok(0) => {
            let finished =
                incoming.finish().context("the client left in the middle of its request");
            client.start_closing(Closing::start(), finished);
            Ok(false)
        }
        Ok(n) => {
            match incoming.push(&bytes[..n]) {
                Ok(None) => {}
                Ok(Some(request)) => {
                    info!("{}: {request}", client.permit.addr());
                    let answer = answer(&request).encode()?;
                    client.state = State::Answering { answer, sent: 0 };
                    client.deadline = Instant::now() + time_limit;
                }
                // A wrong message is not answered.
                Err(err) => client.start_closing(Closing::start(), Err(err.into())),
            }
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

/// Writes the answer until all of it is sent or the kernel accepts no more. Reports whether there may be
/// more to do at once.
fn handle_client_send(client: &mut Client) -> Result<bool> {
    let State::Answering { answer, sent } = &mut client.state else {
        return Ok(false);
    };
    while *sent < answer.len() {
        match trace("write", || client.sock.write(&answer[*sent..])) {
            Ok(n) => *sent += n,
            // The client reads slowly. There will be an event when the kernel accepts more.
            Err(err) if err.kind() == ErrorKind::WouldBlock => return Ok(false),
            // A signal came during the write.
            Err(err) if err.kind() == ErrorKind::Interrupted => {}
            // The client has closed or reset the connection.
            Err(err) => return Err(err).context("sending"),
        }
    }
    client.start_closing(Closing::start(), Ok(()));
    Ok(false)
}

fn answer(request: &Message) -> Message {
    match request {
        Message::Json(object) => {
            // The whole request has arrived, so the client waits for an answer. If the request is wrong,
            // the answer is an error message.
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

/// Returns the result of a JSON request.
///
/// # Errors
///
/// A [`MessageError`] if a field is missing, or its value is an object or an array.
fn result(request: &Map<String, Value>) -> Result<String, MessageError> {
    let action = scalar_field(request, "action")?;
    if action != "search" {
        return Ok(format!("Error: invalid action '{action}'."));
    }
    let value = scalar_field(request, "value")?;
    match KNOWN.iter().find(|(known, _)| *known == value) {
        Some((_, found)) => Ok((*found).to_owned()),
        None => Ok(format!("No match for '{value}'.")),
    }
}

/// Returns the value of a field as text: a string unchanged, and a number, a boolean or null as in JSON.
fn scalar_field(request: &Map<String, Value>, name: &'static str) -> Result<String, MessageError> {
    match request.get(name) {
        Some(value @ (Value::Null | Value::Bool(_) | Value::Number(_))) => Ok(value.to_string()),
        _ => string_in(request, name).map(str::to_owned),
    }
}

/// Parses a number of seconds, from a millisecond to a day.
fn parse_seconds(text: &str) -> Result<Duration, String> {
    let allowed = 0.001..=86_400.0;
    match text.parse() {
        Ok(seconds) if allowed.contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("expected a number from 0.001 to 86400".to_owned()),
    }
}
