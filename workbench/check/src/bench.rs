//! Starts the server under test and its clients for one check, and records their steps.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::finding::Finding;
use crate::log_events as events;
use crate::protocol::{FirstExchange, Protocol};
use crate::protocols::protocol_of;
use crate::{OwnServer, Profile, ServerUnderTest, Serves, Source};
use probe::record::Record;
use probe::server::{Exited, Launch, OutputLines, OutputTo, START_TIMEOUT, Server};
use probe::sockdiag::unread_bytes;
use probe::tls::TlsSettings;
use probe::wire::{Client, Received, prep_msg};
use probe::{Description, Failure, fail_timeout, wait_until};
use watch::{Processes, Recording};

/// The way in which a client ends its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// The client closes its connection.
    Close,
    /// The client closes its sending side.
    HalfClose,
    /// The client resets its connection.
    Reset,
}

impl Departure {
    /// All ways.
    pub const ALL: [Self; 3] = [Self::Close, Self::HalfClose, Self::Reset];

    /// Ends a client's connection in this way. Returns the client if it can still receive.
    pub fn end(self, mut client: Client) -> Result<Option<Client>> {
        match self {
            Self::Close => drop(client),
            Self::Reset => client.reset()?,
            Self::HalfClose => {
                client.half_close()?;
                return Ok(Some(client));
            }
        }
        Ok(None)
    }
}

impl fmt::Display for Departure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Close => "closed its connection",
            Self::HalfClose => "closed its sending side",
            Self::Reset => "reset its connection",
        })
    }
}

/// How long a finding waits for the last lines of servers that have been ended. A process that such a server has left
/// running may keep the output open.
const OUTPUT_TIMEOUT: Duration = Duration::from_secs(3);

/// Starts servers and connects clients for one check, and records what they do.
#[derive(Debug)]
pub struct Bench {
    server: ServerUnderTest,
    /// `None` if the server speaks tin-can messages.
    protocol: Option<Protocol>,
    record: Record,
    rng: RefCell<fastrand::Rng>,
    step: RefCell<Option<String>>,
    outputs: RefCell<Vec<(OutputLines, OutputLines)>>,
    leftovers: RefCell<Vec<String>>,
    /// A library that servers load before their own libraries.
    preloaded: RefCell<Option<String>>,
    /// Whether to record the threads of the servers; the recording is that of the last server.
    records_threads: bool,
    recording: RefCell<Option<Recording>>,
}

impl Bench {
    /// Returns a bench for the check with this id, which has not started a server yet.
    #[must_use]
    pub fn new(server: ServerUnderTest, id: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        (server.seed, id).hash(&mut hasher);
        Self {
            rng: RefCell::new(fastrand::Rng::with_seed(hasher.finish())),
            protocol: protocol_of(&server),
            server,
            record: Record::default(),
            step: RefCell::default(),
            outputs: RefCell::default(),
            leftovers: RefCell::default(),
            preloaded: RefCell::default(),
            records_threads: false,
            recording: RefCell::default(),
        }
    }

    /// Makes the bench record the threads of its servers.
    #[must_use]
    pub fn recording_threads(mut self) -> Self {
        self.records_threads = true;
        self
    }

    /// Ends the recording, and returns a chart of the last server's threads; an empty string if they were
    /// not recorded.
    #[must_use]
    pub fn end_recording(&self) -> String {
        const WIDTH: usize = 76;
        const LANES: usize = 16;
        let recording = self.recording.borrow_mut().take();
        recording.map(|it| it.end(WIDTH, LANES)).unwrap_or_default()
    }

    /// Returns the profile of the server under test.
    #[must_use]
    pub fn profile(&self) -> Profile {
        self.server.profile
    }

    /// Returns the description of a server of this project that is not a stage.
    #[must_use]
    pub fn own_server(&self) -> Option<OwnServer> {
        self.server.own
    }

    /// Returns the first exchange of a client in two parts; `None` if the protocol is that of tin-can
    /// messages, or only whole exchanges are known.
    pub(crate) fn first_exchange(&self) -> Option<FirstExchange> {
        self.protocol.and_then(|it| it.first)
    }

    /// Reports whether a client stays connected after an exchange.
    pub(crate) fn stays_after_exchange(&self) -> bool {
        self.protocol.map_or(self.profile().is_chat(), |it| !it.ends_connection)
    }

    /// Returns the function that returns a request that makes the server log the given text.
    pub(crate) fn logged_request(&self) -> Option<fn(&str) -> Vec<u8>> {
        self.own_server().map_or(Some(prep_msg), |it| it.logged_request)
    }

    /// Reports whether a silent client makes the other clients wait.
    #[must_use]
    pub fn serves_one_at_a_time(&self) -> bool {
        self.own_server()
            .map_or(self.profile().serves_one_at_a_time(), |it| it.serves < Serves::Many)
    }

    /// Returns how long a check waits for an event that must happen.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.server.patience
    }

    /// Sets the current step of the check: a failure quotes it.
    pub fn set_step(&self, step: impl Into<String>) {
        *self.step.borrow_mut() = Some(step.into());
    }

    /// Returns the first whole request of a client.
    pub(super) fn request(&self, text: &str) -> Vec<u8> {
        self.first_exchange().map_or_else(|| prep_msg(text), |it| (it.request)())
    }

    /// Returns the beginning of a message.
    pub(super) fn unfinished_message(&self) -> Vec<u8> {
        self.first_exchange().map_or_else(|| b"unfinish".to_vec(), |it| it.halves().0)
    }

    /// Returns the current step of the check.
    #[must_use]
    pub fn step(&self) -> Option<String> {
        self.step.borrow().clone()
    }

    /// Returns a random number below `end`: the same one in every run with the same seed.
    #[must_use]
    pub fn random_below(&self, end: usize) -> usize {
        self.rng.borrow_mut().usize(..end)
    }

    /// Starts the server under test without further arguments, and waits until it listens. For a server that
    /// runs already, returns at once.
    pub fn start_server(&self) -> Result<Server> {
        let server = self.start_unrecorded_server()?;
        let is_ours = !matches!(self.server.source, Source::Running(_));
        Ok(if is_ours { self.register(server) } else { server })
    }

    /// Starts the server as [`start_server`](Self::start_server) does, but keeps neither what it prints nor what its
    /// threads do.
    ///
    /// # Errors
    ///
    /// The server did not start.
    pub fn start_unrecorded_server(&self) -> Result<Server> {
        match &self.server.source {
            Source::Running(addr) => Ok(Server::at(*addr)),
            Source::Command(words) => {
                let timeout = START_TIMEOUT.max(3 * self.patience());
                // A server of a learner may print without end.
                launch(words)?
                    .stdout(OutputTo::CollectedLast)
                    .stderr(OutputTo::CollectedLast)
                    .start_timeout(timeout)
                    .start_on_free_port()
            }
            Source::Program(words) => launch(words)?.start(),
        }
    }

    /// Keeps what a server prints, and starts to record its threads if asked to.
    fn register(&self, server: Server) -> Server {
        self.outputs.borrow_mut().push((server.stdout().clone(), server.log().clone()));
        if let (true, Some(pid)) = (self.records_threads, server.pid()) {
            *self.recording.borrow_mut() = Recording::begin(Processes::Group(pid));
        }
        server
    }

    /// Connects a client whose steps are recorded.
    pub fn connect(&self, server: &Server) -> Result<Client> {
        self.start_tls_if_used(self.connect_without_tls(server)?)
    }

    /// Connects a client whose steps are recorded; if the server uses TLS, the client does not start the
    /// handshake.
    pub fn connect_without_tls(&self, server: &Server) -> Result<Client> {
        Ok(Client::connect(server.addr())?.record_in(&self.record).with_timeout(self.patience()))
    }

    /// Connects a client whose steps are recorded, with small socket buffers.
    pub fn connect_with_small_buffers(&self, server: &Server) -> Result<Client> {
        let client = Client::connect_with_small_buffers(server.addr())?;
        self.start_tls_if_used(client.record_in(&self.record).with_timeout(self.patience()))
    }

    /// Connects a client whose steps are not recorded, for checks with very many clients.
    pub fn connect_unrecorded(&self, server: &Server) -> Result<Client> {
        self.start_tls_if_used(Client::connect(server.addr())?.with_timeout(self.patience()))
    }

    /// Starts TLS on the connection if the server uses it.
    fn start_tls_if_used(&self, client: Client) -> Result<Client> {
        match &self.server.tls {
            Some(tls) => client.start_tls(tls),
            None => Ok(client),
        }
    }

    /// Reports whether the clients use TLS.
    #[must_use]
    pub fn uses_tls(&self) -> bool {
        self.server.tls.is_some()
    }

    /// Returns the first bytes that a client sends on its TCP connection: a `ClientHello` if the server uses
    /// TLS, otherwise one and a half messages.
    pub(super) fn first_tcp_bytes(&self) -> Result<Vec<u8>> {
        self.server
            .tls
            .as_ref()
            .map_or_else(|| Ok(self.one_and_a_half_messages()), TlsSettings::client_hello)
    }

    /// Returns a whole message and the beginning of another one.
    pub(super) fn one_and_a_half_messages(&self) -> Vec<u8> {
        match self.first_exchange() {
            Some(first) => [(first.request)(), first.halves().0].concat(),
            None => b"said\0half".to_vec(),
        }
    }

    /// Prepares a start with these arguments, for a server with the command line of this project's servers.
    pub fn launch_with_args(&self, args: &[&str]) -> Result<Launch> {
        let launch = match &self.server.source {
            Source::Command(words) | Source::Program(words) => launch(words)?,
            Source::Running(addr) => bail!("the server at {addr} was not started by the check"),
        };
        let launch = match &*self.preloaded.borrow() {
            Some(library) => launch.env("LD_PRELOAD", library),
            None => launch,
        };
        Ok(launch.args(args))
    }

    /// Loads a library into each server that is [prepared](Self::launch_with_args) after this call (Linux).
    pub fn preload(&self, library: &str) {
        *self.preloaded.borrow_mut() = Some(library.to_owned());
    }

    /// Starts the server with these arguments, for a server with the command line of this project's
    /// servers.
    pub fn start_with_args(&self, args: &[&str]) -> Result<Server> {
        self.start_launch(self.launch_with_args(args)?)
    }

    /// Starts the prepared server.
    pub fn start_launch(&self, launch: Launch) -> Result<Server> {
        Ok(self.register(launch.start()?))
    }

    /// Starts the prepared server without adding a `--port` to its arguments.
    pub fn start_with_own_args(&self, launch: Launch) -> Result<Server> {
        Ok(self.register(launch.start_with_own_args()?))
    }

    /// Starts the prepared server without adding a `--port` to its arguments; if it exits before it
    /// listens, returns how it exited.
    pub fn start_or_exit(&self, launch: Launch) -> Result<Result<Server, Exited>> {
        Ok(launch.start_or_wait_for_exit()?.map(|server| self.register(server)))
    }

    /// Starts the prepared server with a stdout that nothing reads.
    pub fn start_with_port_argument(&self, launch: Launch) -> Result<Server> {
        Ok(self.register(launch.start_with_port_argument()?))
    }

    /// Records the processes that a server left running after its end.
    pub fn record_leftover_processes(&self, server: &Server) {
        self.leftovers.borrow_mut().extend(server.leftover_processes());
    }

    /// Returns the processes that servers left running after their end.
    #[must_use]
    pub fn leftover_processes(&self) -> Vec<String> {
        self.leftovers.borrow().clone()
    }

    /// Returns a finding with the failure, the current step, the recorded client steps, and the output of the
    /// servers, which have been ended.
    #[must_use]
    pub fn finding(&self, mut failure: Failure) -> Finding {
        if let Some(step) = self.step() {
            failure.did = step;
        }
        let mut output = String::new();
        let deadline = Instant::now() + OUTPUT_TIMEOUT;
        for (stdout, log) in self.outputs.borrow().iter() {
            for lines in [stdout, log] {
                lines.wait_for_end(deadline.saturating_duration_since(Instant::now()));
            }
            output += &OutputLines::labelled(stdout, log);
        }
        let thread_chart = self.end_recording();
        Finding { failure, client_steps: self.record.table(), thread_chart, output }
    }

    /// Returns the expected answer to a message of this client.
    #[must_use]
    pub fn expected_answer(&self, client: SocketAddr, text: &str) -> String {
        match self.profile() {
            Profile::EchoUni => text.to_owned(),
            _ => self.relayed(client, text),
        }
    }

    /// Returns a message of this client as the server relays it.
    #[must_use]
    pub fn relayed(&self, client: SocketAddr, text: &str) -> String {
        format!("{}: {text}", self.address_text(client))
    }

    /// Returns a client's address as the server writes it.
    #[must_use]
    pub fn address_text(&self, client: SocketAddr) -> String {
        self.server.address_format.format(client)
    }

    /// Sends a message, and checks the answer; from an echo server, the end of the stream must follow.
    ///
    /// If the server does not speak tin-can messages, its protocol's exchange replaces the message.
    pub fn exchange(&self, client: &mut Client, text: &str) -> Result<()> {
        if let Some(protocol) = self.protocol {
            return (protocol.exchange)(client);
        }
        client.send_msg(text)?;
        self.expect_answer(client, text)
    }

    /// Checks that the client receives the answer to its own message; in a chat, messages of other clients
    /// may arrive before it.
    pub fn expect_own_answer(&self, client: &mut Client, text: &str) -> Result<()> {
        let answer = self.expected_answer(client.addr(), text);
        loop {
            match client.recv(client.timeout())? {
                Received::Msg(frame) if frame == answer.as_bytes() => return Ok(()),
                Received::Msg(frame) if self.is_from_another_client(&frame, client) => {}
                other => {
                    return Err(client.failure(Description::bytes(prep_msg(&answer), ""), other));
                }
            }
        }
    }

    /// Reports whether a frame is the relayed message of another client, in a chat.
    pub fn is_from_another_client(&self, frame: &[u8], client: &Client) -> bool {
        let text = String::from_utf8_lossy(frame);
        let speaker = self.server.address_format.parse_prefix(&text);
        self.profile().is_chat() && speaker.is_some_and(|addr| addr != client.addr())
    }

    /// Checks the answer to a message; from an echo server, the end of the stream must follow.
    pub fn expect_answer(&self, client: &mut Client, text: &str) -> Result<()> {
        self.expect_own_answer(client, text)?;
        if self.profile().is_echo() { client.expect_eof() } else { Ok(()) }
    }

    /// Checks that the server serves a new client.
    pub fn expect_new_client_served(&self, server: &Server) -> Result<()> {
        let mut client = self.connect(server)?;
        self.exchange_skipping_all(&mut client, "does it work?")
    }

    /// Sends a message, and waits for its answer; in a chat, skips all messages before it, the client's own
    /// earlier messages included.
    pub fn exchange_skipping_all(&self, client: &mut Client, text: &str) -> Result<()> {
        if let Some(protocol) = self.protocol {
            return (protocol.exchange)(client);
        }
        client.send_msg(text)?;
        if self.profile().is_echo() {
            return self.expect_answer(client, text);
        }
        let answer = self.expected_answer(client.addr(), text).into_bytes();
        while client.recv_msg()? != answer {}
        Ok(())
    }

    /// Waits until the server serves a new client; connects again after each refusal.
    pub fn wait_until_new_client_served(&self, server: &Server) -> Result<()> {
        let done = wait_until(self.patience(), || {
            let mut client = self.connect(server)?;
            if let Some(protocol) = self.protocol {
                return Ok((protocol.exchange)(&mut client).is_ok());
            }
            client.try_send(b"again\0");
            let answer = self.expected_answer(client.addr(), "again").into_bytes();
            Ok(client.recv(self.patience())? == Received::Msg(answer))
        })?;
        if done {
            Ok(())
        } else {
            fail_timeout(
                "connected new clients, one after the other",
                "the server serves one of them",
                "each one was refused",
            )
        }
    }

    /// Connects a client, and waits until the server has accepted it: until the first exchange has succeeded
    /// if the client stays connected after it, otherwise until the server has logged the connection.
    pub fn connect_accepted(&self, server: &Server) -> Result<Client> {
        let mut client = self.connect(server)?;
        if self.stays_after_exchange() {
            self.exchange(&mut client, "hello")?;
        } else {
            events::wait_for(server, &events::connected_line(client.addr()))?;
        }
        Ok(client)
    }

    /// Connects a client that sends a message that is not UTF-8. Waits for the end of the connection if the
    /// server has the protocol of this project.
    pub fn send_protocol_error(&self, server: &Server) -> Result<()> {
        let mut bad = self.connect(server)?;
        bad.try_send(b"\xff\0");
        // Which bytes are an error in another protocol, and what follows, is not known here.
        if self.own_server().is_none() {
            bad.recv_msgs_to_end()?;
        }
        Ok(())
    }
}

/// Prepares a start of the program that is the first of these words, with the other words as its arguments.
fn launch(words: &[OsString]) -> Result<Launch> {
    match words.split_first() {
        Some((program, args)) => Ok(Launch::new(program, args)),
        None => bail!("there is no command"),
    }
}

/// Waits until the server has read all bytes that a client has sent, and the end of the stream if there is
/// one; returns at once on a system that does not report unread bytes.
pub fn wait_until_read(client: &Client) -> Result<()> {
    let unread = || unread_bytes(client.server(), client.addr()).unwrap_or(0);
    if wait_until(client.timeout(), || Ok(unread() == 0))? {
        return Ok(());
    }
    let got = format!("{} bytes are still unread", unread());
    fail_timeout(client.transcript(), "the server reads all bytes that the client has sent", got)
}

/// Sends each piece after the server has read the previous one, until all are sent or the server has closed the
/// connection. A check then finds that the answer is missing.
pub fn send_in_pieces(client: &mut Client, pieces: &[&[u8]]) -> Result<()> {
    for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
        wait_until_read(client)?;
        if !client.try_send(piece) {
            break;
        }
    }
    Ok(())
}

/// Runs `act` while the server is stopped, so that the server finds all its effects at once. A server that
/// was not started by us runs on.
#[cfg(unix)]
pub fn while_stopped(server: &Server, act: impl FnOnce() -> Result<()>) -> Result<()> {
    use probe::server::Signal;
    if server.pid().is_none() {
        return act();
    }
    server.signal_all(Signal::STOP)?;
    let done = act();
    server.signal_all(Signal::CONT)?;
    done
}

/// Runs `act`: this system cannot stop a server.
#[cfg(not(unix))]
pub fn while_stopped(_server: &Server, act: impl FnOnce() -> Result<()>) -> Result<()> {
    act()
}
