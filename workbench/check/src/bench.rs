use std::cell::RefCell;
use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::log_events as events;
use crate::protocol::{FirstExchange, Protocol};
use crate::{Finding, OwnServer, Profile, ServerUnderTest, Serves, Source};
use probe::server::{Exited, Launch, OutputLines, Server};
use probe::sockdiag::unread_bytes;
use probe::tape::Record;
use probe::tls::TlsSettings;
use probe::wire::{Client, Received, prep_msg};
use probe::{Description, Failure, fail_timeout, wait_until};
use watch::{Processes, Recording};

/// What one check works with: the server to start, and a record of what happens.
#[derive(Debug)]
pub struct Bench {
    server: ServerUnderTest,
    tape: Record,
    chance: RefCell<fastrand::Rng>,
    story: RefCell<Option<String>>,
    printed: RefCell<Vec<(OutputLines, OutputLines)>>,
    survivors: RefCell<Vec<String>>,
    /// A library that is loaded into its servers before their own.
    preloaded: RefCell<Option<String>>,
    /// Whether to look at what the threads of its servers do, and the record of the last one's.
    watches: bool,
    recording: RefCell<Option<Recording>>,
}

impl Bench {
    /// A bench on which nothing was started yet.
    #[must_use]
    pub fn new(server: ServerUnderTest, id: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        (server.seed, id).hash(&mut hasher);
        Self {
            chance: RefCell::new(fastrand::Rng::with_seed(hasher.finish())),
            server,
            tape: Record::default(),
            story: RefCell::default(),
            printed: RefCell::default(),
            survivors: RefCell::default(),
            preloaded: RefCell::default(),
            watches: false,
            recording: RefCell::default(),
        }
    }

    /// The same, which looks at what the threads of its servers do.
    #[must_use]
    pub fn watching(mut self) -> Self {
        self.watches = true;
        self
    }

    /// What the threads of the last server did; nothing where that could not be seen.
    #[must_use]
    pub fn threads(&self) -> String {
        const WIDTH: usize = 76;
        const LANES: usize = 16;
        let recording = self.recording.borrow_mut().take();
        recording.map(|it| it.end(WIDTH, LANES)).unwrap_or_default()
    }

    /// What the server claims to be.
    #[must_use]
    pub fn profile(&self) -> Profile {
        self.server.profile
    }

    /// What is known about a server of this project that is not a stage.
    #[must_use]
    pub fn own(&self) -> Option<OwnServer> {
        self.server.own
    }

    /// The protocol, unless it is that of tin-can messages.
    fn protocol(&self) -> Option<Protocol> {
        self.own().map(|it| it.protocol).or_else(|| self.profile().protocol())
    }

    /// The first exchange of a client in two parts, unless the protocol is that of tin-can messages.
    pub(crate) fn first_exchange(&self) -> Option<FirstExchange> {
        self.protocol().and_then(|it| it.first)
    }

    /// Whether a client stays connected after an exchange.
    pub(crate) fn stays_after_exchange(&self) -> bool {
        self.protocol().map_or(self.profile().is_chat(), |it| !it.ends_connection)
    }

    /// Makes the bytes that bring a text into the log.
    pub(crate) fn text_in_log(&self) -> Option<fn(&str) -> Vec<u8>> {
        self.own().map_or(Some(prep_msg), |it| it.text)
    }

    /// Whether a client that is silent makes the others wait.
    #[must_use]
    pub fn one_at_a_time(&self) -> bool {
        self.own().map_or(self.profile().one_at_a_time(), |it| it.serves < Serves::Many)
    }

    /// How long to wait for what must happen.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.server.patience
    }

    /// Tells what is being done, for a failure's text.
    pub fn did(&self, story: impl Into<String>) {
        *self.story.borrow_mut() = Some(story.into());
    }

    /// A newcomer's whole request: a message that is answered.
    pub(super) fn request(&self, text: &str) -> Vec<u8> {
        self.first_exchange().map_or_else(|| prep_msg(text), |it| (it.request)())
    }

    /// A message that has begun and not ended.
    pub(super) fn unfinished(&self) -> Vec<u8> {
        self.first_exchange().map_or_else(|| b"unfinish".to_vec(), |it| it.halves().0)
    }

    /// What is being done.
    #[must_use]
    pub fn story(&self) -> Option<String> {
        self.story.borrow().clone()
    }

    /// A number below `end`, the same in every run with the same seed.
    #[must_use]
    pub fn chance(&self, end: usize) -> usize {
        self.chance.borrow_mut().usize(..end)
    }

    /// Starts the server, whatever it is, and waits until it listens.
    pub fn serve(&self) -> Result<Server> {
        let prepared = |words: &[OsString]| match words.split_first() {
            Some((program, args)) => Ok(Launch::new(program, args)),
            None => bail!("there is no command"),
        };
        let server = match &self.server.source {
            Source::Running(addr) => return Ok(Server::external(*addr)),
            Source::Command(words) => prepared(words)?.start_any()?,
            Source::Own(words) => prepared(words)?.start()?,
        };
        Ok(self.remember(server))
    }

    fn remember(&self, server: Server) -> Server {
        self.printed.borrow_mut().push((server.stdout().clone(), server.log().clone()));
        if let (true, Some(pid)) = (self.watches, server.pid()) {
            *self.recording.borrow_mut() = Recording::begin(Processes::Group(pid));
        }
        server
    }

    /// A client whose steps are told in the story.
    pub fn connect(&self, server: &Server) -> Result<Client> {
        self.ready(self.connect_bare(server)?)
    }

    /// Such a client that has shaken no hands, where there is TLS.
    pub fn connect_bare(&self, server: &Server) -> Result<Client> {
        Ok(Client::connect(server.addr())?.record_in(&self.tape).with_timeout(self.patience()))
    }

    /// Such a client with little room for what it does not read.
    pub fn connect_narrow(&self, server: &Server) -> Result<Client> {
        let client = Client::connect_with_small_buffers(server.addr())?;
        self.ready(client.record_in(&self.tape).with_timeout(self.patience()))
    }

    /// A client of which there are too many to be told of.
    pub fn connect_untold(&self, server: &Server) -> Result<Client> {
        self.ready(Client::connect(server.addr())?.with_timeout(self.patience()))
    }

    fn ready(&self, client: Client) -> Result<Client> {
        match &self.server.tls {
            Some(tls) => client.start_tls(tls),
            None => Ok(client),
        }
    }

    /// Whether its clients are inside TLS.
    #[must_use]
    pub fn is_inside_tls(&self) -> bool {
        self.server.tls.is_some()
    }

    /// What a bare client begins with: a handshake, or a message.
    pub(super) fn beginning(&self) -> Result<Vec<u8>> {
        self.server
            .tls
            .as_ref()
            .map_or_else(|| Ok(self.one_and_a_half()), TlsSettings::client_hello)
    }

    /// A whole message, and one that has begun.
    pub(super) fn one_and_a_half(&self) -> Vec<u8> {
        match self.first_exchange() {
            Some(first) => [(first.request)(), first.halves().0].concat(),
            None => b"said\0half".to_vec(),
        }
    }

    /// Prepares a start with these arguments, for a server with this project's command line.
    #[must_use]
    pub fn launch(&self, args: &[&str]) -> Launch {
        let program = match &self.server.source {
            Source::Command(words) | Source::Own(words) => {
                words.first().cloned().unwrap_or_default()
            }
            Source::Running(_) => OsString::new(),
        };
        let launch = Launch::new(program, &[]).args(self.own().map_or(&[], |it| it.args));
        let launch = match &*self.preloaded.borrow() {
            Some(library) => launch.env("LD_PRELOAD", library),
            None => launch,
        };
        launch.args(args)
    }

    /// Loads a library into each server that is [prepared](Self::launch) from now on (Linux).
    pub fn preload(&self, library: &str) {
        *self.preloaded.borrow_mut() = Some(library.to_owned());
    }

    /// Starts the server with these arguments.
    pub fn start(&self, args: &[&str]) -> Result<Server> {
        self.run(self.launch(args))
    }

    /// Starts what was prepared.
    pub fn run(&self, launch: Launch) -> Result<Server> {
        Ok(self.remember(launch.start()?))
    }

    /// Starts what was prepared with a port of its own.
    pub fn run_as_given(&self, launch: Launch) -> Result<Server> {
        Ok(self.remember(launch.start_without_port()?))
    }

    /// Starts what was prepared with a port of its own; returns how it ended if it ends instead.
    pub fn run_or_end(&self, launch: Launch) -> Result<Result<Server, Exited>> {
        Ok(launch.start_or_exit()?.map(|server| self.remember(server)))
    }

    /// Starts what was prepared so that it cannot say where it listens.
    pub fn run_unheard(&self, launch: Launch) -> Result<Server> {
        Ok(self.remember(launch.start_with_unread_stdout()?))
    }

    /// Notes what a server has left behind.
    pub fn note_survivors(&self, server: &Server) {
        self.survivors.borrow_mut().extend(server.leftover_processes());
    }

    /// What servers have left behind.
    #[must_use]
    pub fn survivors(&self) -> Vec<String> {
        self.survivors.borrow().clone()
    }

    /// The failure in the words of this check, with what happened around it.
    #[must_use]
    pub fn finding(&self, mut failure: Failure) -> Finding {
        if let Some(story) = self.story() {
            failure.did = story;
        }
        let mut output = String::new();
        for (stdout, log) in self.printed.borrow().iter() {
            output += &OutputLines::labelled(stdout, log);
        }
        let threads = self.threads();
        Finding { failure, picture: self.tape.picture(), threads, output }
    }

    /// What the server answers to this client.
    #[must_use]
    pub fn answer(&self, client: SocketAddr, text: &str) -> String {
        match self.profile() {
            Profile::EchoUni => text.to_owned(),
            _ => self.said(client, text),
        }
    }

    /// How the server relays what a client has said.
    #[must_use]
    pub fn said(&self, client: SocketAddr, text: &str) -> String {
        format!("{}: {text}", self.address(client))
    }

    /// How the server writes a client's address.
    #[must_use]
    pub fn address(&self, client: SocketAddr) -> String {
        self.server.naming.of(client)
    }

    /// The client says something and must get its answer; of an echo server, the end, too.
    ///
    /// With a server that does not speak tin-can messages, what is said is up to that.
    pub fn exchange(&self, client: &mut Client, text: &str) -> Result<()> {
        if let Some(protocol) = self.protocol() {
            return (protocol.exchange)(client);
        }
        client.send_msg(text)?;
        self.expect_answer(client, text)
    }

    /// The client must get this as the answer to its own words: what others say in a chat is another
    /// check's.
    pub fn expect_own(&self, client: &mut Client, text: &str) -> Result<()> {
        let answer = self.answer(client.addr(), text);
        loop {
            match client.recv(client.timeout())? {
                Received::Msg(frame) if frame == answer.as_bytes() => return Ok(()),
                Received::Msg(frame) if self.is_of_another(&frame, client) => {}
                other => {
                    return Err(client.failure(Description::bytes(prep_msg(&answer), ""), other));
                }
            }
        }
    }

    /// Whether somebody else has said this in a chat.
    pub fn is_of_another(&self, frame: &[u8], client: &Client) -> bool {
        let text = String::from_utf8_lossy(frame);
        let speaker = text.split_once(": ").and_then(|(addr, _)| addr.parse::<SocketAddr>().ok());
        self.profile().is_chat() && speaker.is_some_and(|addr| addr != client.addr())
    }

    /// The client must get the answer to what it said; of an echo server, the end, too.
    pub fn expect_answer(&self, client: &mut Client, text: &str) -> Result<()> {
        self.expect_own(client, text)?;
        if self.profile().is_echo() { client.expect_eof() } else { Ok(()) }
    }

    /// A newcomer must be served: the server works.
    pub fn expect_works(&self, server: &Server) -> Result<()> {
        let mut client = self.connect(server)?;
        self.exchange_amid_others(&mut client, "does it work?")
    }

    /// The client says something and must get its answer, after whatever others have said in a chat.
    pub fn exchange_amid_others(&self, client: &mut Client, text: &str) -> Result<()> {
        if let Some(protocol) = self.protocol() {
            return (protocol.exchange)(client);
        }
        client.send_msg(text)?;
        if self.profile().is_echo() {
            return self.expect_answer(client, text);
        }
        let answer = self.answer(client.addr(), text).into_bytes();
        while client.recv_msg()? != answer {}
        Ok(())
    }

    /// Waits until a newcomer is served, trying again as long as it is turned away.
    pub fn expect_works_again(&self, server: &Server) -> Result<()> {
        let done = wait_until(self.patience(), || {
            let mut client = self.connect(server)?;
            if let Some(protocol) = self.protocol() {
                return Ok((protocol.exchange)(&mut client).is_ok());
            }
            client.try_send(b"again\0");
            let answer = self.answer(client.addr(), "again").into_bytes();
            Ok(client.recv(self.patience())? == Received::Msg(answer))
        })?;
        if done { Ok(()) } else { fail_timeout("tried again and again", "to be served", "never") }
    }

    /// A client that the server of this project knows of: a chat has relayed a word of it, an echo
    /// server has logged it.
    pub fn known_client(&self, server: &Server) -> Result<Client> {
        let mut client = self.connect(server)?;
        if self.stays_after_exchange() {
            self.exchange(&mut client, "hello")?;
        } else {
            events::wait_for(server, &events::came(client.addr()))?;
        }
        Ok(client)
    }

    /// Lets a client send what is wrong, and leave.
    pub fn misbehave(&self, server: &Server) -> Result<()> {
        let mut bad = Client::connect(server.addr())?;
        bad.try_send(b"\xff\0");
        // What is wrong in a protocol of its own, and what comes of it, is not known here.
        if self.own().is_none() {
            bad.recv_msgs_to_end()?;
        }
        Ok(())
    }
}

/// Waits until the server has read all that a client has sent, the end included, where the system
/// tells.
pub fn wait_until_read(client: &Client) -> Result<()> {
    let unread = || unread_bytes(client.server(), client.addr()).unwrap_or(0);
    if wait_until(client.timeout(), || Ok(unread() == 0))? {
        return Ok(());
    }
    let got = format!("{} bytes are still unread", unread());
    fail_timeout(client.transcript(), "the server reads what it was sent", got)
}

/// Does something while the server stands still, so that it finds all of it at once; where a server
/// cannot be stopped, while it runs.
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

/// Where a server cannot be stopped, it is done while it runs.
#[cfg(not(unix))]
pub fn while_stopped(_server: &Server, act: impl FnOnce() -> Result<()>) -> Result<()> {
    act()
}

/// A chat server with members that it is known to have let in, who have heard the same so far.
pub struct Room<'a> {
    bench: &'a Bench,
    /// The server.
    pub server: Server,
    /// Those who hear everything.
    pub members: Vec<Client>,
}

impl<'a> Room<'a> {
    /// Starts a chat server with these arguments of this project and lets so many members in.
    pub fn open(bench: &'a Bench, args: &[&str], members: usize) -> Result<Self> {
        Self::around(bench, bench.start(args)?, members)
    }

    /// Starts a chat server, whatever it is, and lets so many members in.
    pub fn of(bench: &'a Bench, members: usize) -> Result<Self> {
        Self::around(bench, bench.serve()?, members)
    }

    /// Lets so many members into a running server.
    pub fn around(bench: &'a Bench, server: Server, members: usize) -> Result<Self> {
        let mut room = Self { bench, server, members: Vec::new() };
        for _ in 0..members {
            room.join_one()?;
        }
        Ok(room)
    }

    /// Lets a newcomer in.
    pub fn join_one(&mut self) -> Result<()> {
        let client = self.bench.connect(&self.server)?;
        self.join(client)
    }

    /// Lets a client in: it is in once it has heard itself, whatever it is told before that, and the
    /// others hear it, too.
    pub fn join(&mut self, mut client: Client) -> Result<()> {
        self.bench.exchange_amid_others(&mut client, "hello")?;
        self.hear(&self.bench.said(client.addr(), "hello"))?;
        self.members.push(client);
        Ok(())
    }

    /// A client that the server knows, and that will not be read from until its check says so.
    pub fn join_narrow(&mut self) -> Result<Client> {
        let client = self.bench.connect_narrow(&self.server)?;
        self.join(client)?;
        match self.members.pop() {
            Some(client) => Ok(client),
            None => bail!("nobody joined"),
        }
    }

    /// One says something, and all hear it next.
    pub fn say(&mut self, who: usize, text: &str) -> Result<()> {
        self.members[who].send_msg(text)?;
        self.hear(&self.bench.said(self.members[who].addr(), text))
    }

    /// All members hear this next.
    pub fn hear(&mut self, text: &str) -> Result<()> {
        self.members.iter_mut().try_for_each(|member| member.expect_msg(text))
    }

    /// One says many things of one kind, a few at a time, and all hear each.
    pub fn pour(&mut self, who: usize, text: &str, times: usize) -> Result<()> {
        /// No more than any queue holds: who reads is never cut off.
        const AT_ONCE: usize = 128 * 1024;
        let relay = self.bench.said(self.members[who].addr(), text);
        let batch = (AT_ONCE / relay.len()).clamp(1, 500);
        let mut left = times;
        while left > 0 {
            let now = left.min(batch);
            self.members[who].send(&prep_msg(text).repeat(now))?;
            for member in &mut self.members {
                (0..now).try_for_each(|_| member.expect_msg(&relay))?;
            }
            left -= now;
        }
        Ok(())
    }
}
