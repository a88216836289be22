use std::cell::RefCell;
use std::fmt::Write as _;
use std::net::SocketAddr;

use anyhow::{Result, bail};

use super::events::{said, wait_for};
use super::{Profile, Subject};
use crate::server::{Launch, Lines, Server};
use crate::sockdiag::unread_bytes;
use crate::wire::{Client, Heard};
use crate::{PATIENCE, fail, wait_until};

/// What one check works with: the server to start, and the logs of those that it did start.
#[derive(Debug)]
pub struct Bench {
    subject: Subject,
    logs: RefCell<Vec<Lines>>,
}

impl Bench {
    /// A bench on which nothing was started yet.
    #[must_use]
    pub fn new(subject: Subject) -> Self {
        Self { subject, logs: RefCell::default() }
    }

    /// What the server claims to be.
    #[must_use]
    pub fn profile(&self) -> Profile {
        self.subject.profile
    }

    /// Prepares a start with these arguments.
    #[must_use]
    pub fn launch(&self, args: &[&str]) -> Launch {
        Launch::new(&self.subject.program, &self.subject.args).args(args)
    }

    /// Starts the server with these arguments.
    pub fn start(&self, args: &[&str]) -> Result<Server> {
        self.run(self.launch(args))
    }

    /// Starts what was prepared.
    pub fn run(&self, launch: Launch) -> Result<Server> {
        let server = launch.start()?;
        self.logs.borrow_mut().push(server.log().clone());
        Ok(server)
    }

    /// Starts what was prepared with a port of its own.
    pub fn run_as_given(&self, launch: Launch) -> Result<Server> {
        let server = launch.start_as_given()?;
        self.logs.borrow_mut().push(server.log().clone());
        Ok(server)
    }

    /// Starts what was prepared so that it cannot say where it listens.
    pub fn run_unheard(&self, launch: Launch) -> Result<Server> {
        let server = launch.start_unheard()?;
        self.logs.borrow_mut().push(server.log().clone());
        Ok(server)
    }

    /// The ends of the logs of all servers started here.
    #[must_use]
    pub fn logs(&self) -> String {
        let mut text = String::new();
        for log in self.logs.borrow().iter().filter(|log| !log.so_far().is_empty()) {
            let _ = writeln!(text, "the server's log:\n{log}");
        }
        text
    }

    /// What the server answers to this client.
    #[must_use]
    pub fn answer(&self, client: SocketAddr, text: &str) -> String {
        match self.profile() {
            Profile::EchoUni => text.to_owned(),
            _ => said(client, text),
        }
    }

    /// The client says something and must get its answer; of an echo server, the end, too.
    pub fn exchange(&self, client: &mut Client, text: &str) -> Result<()> {
        client.say(text)?;
        self.expect_answer(client, text)
    }

    /// The client must get the answer to what it said; of an echo server, the end, too.
    pub fn expect_answer(&self, client: &mut Client, text: &str) -> Result<()> {
        client.expect(&self.answer(client.addr(), text))?;
        if self.profile().is_echo() { client.expect_eof() } else { Ok(()) }
    }

    /// A newcomer must be served: the server works.
    pub fn expect_works(&self, server: &Server) -> Result<()> {
        let mut client = Client::connect(server.addr())?;
        self.exchange_amid_others(&mut client, "does it work?")
    }

    /// The client says something and must get its answer, after whatever others have said in a chat.
    pub fn exchange_amid_others(&self, client: &mut Client, text: &str) -> Result<()> {
        client.say(text)?;
        if self.profile().is_echo() {
            return self.expect_answer(client, text);
        }
        let answer = self.answer(client.addr(), text).into_bytes();
        while client.frame()? != answer {}
        Ok(())
    }

    /// Waits until a newcomer is served, trying again as long as it is turned away.
    pub fn expect_works_again(&self, server: &Server) -> Result<()> {
        let done = wait_until(PATIENCE, || {
            let mut client = Client::connect(server.addr())?;
            client.send_regardless(b"again\0");
            let answer = self.answer(client.addr(), "again").into_bytes();
            Ok(client.hear(PATIENCE)? == Heard::Frame(answer))
        })?;
        if done { Ok(()) } else { fail("tried again and again", "to be served", "never") }
    }

    /// A client that the server knows of: a chat has relayed a word of it, an echo server has
    /// logged it.
    pub fn known_client(&self, server: &Server) -> Result<Client> {
        let mut client = Client::connect(server.addr())?;
        if self.profile().is_chat() {
            self.exchange(&mut client, "hello")?;
        } else {
            wait_for(server, &super::events::came(client.addr()))?;
        }
        Ok(client)
    }
}

/// Waits until the server has read all that a client has sent, the end included, where the system
/// tells.
pub fn wait_until_read(client: &Client) -> Result<()> {
    let unread = || unread_bytes(client.server(), client.addr()).unwrap_or(0);
    if wait_until(PATIENCE, || Ok(unread() == 0))? {
        return Ok(());
    }
    fail(client.transcript(), "the server reads it", format!("{} bytes unread", unread()))
}

/// A chat server with members that it is known to have let in, who have heard the same so far.
pub struct Room {
    /// The server.
    pub server: Server,
    /// Those who hear everything.
    pub members: Vec<Client>,
}

impl Room {
    /// Starts a chat server and lets so many members in.
    pub fn open(bench: &Bench, args: &[&str], members: usize) -> Result<Self> {
        Self::around(bench.start(args)?, members)
    }

    /// Lets so many members into a running server.
    pub fn around(server: Server, members: usize) -> Result<Self> {
        let mut room = Self { server, members: Vec::new() };
        for _ in 0..members {
            let client = Client::connect(room.server.addr())?;
            room.join(client)?;
        }
        Ok(room)
    }

    /// Lets a client in: it is in once it has heard itself, and the others hear it, too.
    pub fn join(&mut self, client: Client) -> Result<()> {
        self.members.push(client);
        self.say(self.members.len() - 1, "hello")
    }

    /// A client that the server knows, and that will not be read from until its check says so.
    pub fn join_narrow(&mut self) -> Result<Client> {
        let client = Client::connect_narrow(self.server.addr())?;
        self.join(client)?;
        match self.members.pop() {
            Some(client) => Ok(client),
            None => bail!("nobody joined"),
        }
    }

    /// One says something, and all hear it next.
    pub fn say(&mut self, who: usize, text: &str) -> Result<()> {
        self.members[who].say(text)?;
        self.hear(&said(self.members[who].addr(), text))
    }

    /// All members hear this next.
    pub fn hear(&mut self, text: &str) -> Result<()> {
        self.members.iter_mut().try_for_each(|member| member.expect(text))
    }

    /// One says many things of one kind, a few at a time, and all hear each.
    pub fn pour(&mut self, who: usize, text: &str, times: usize) -> Result<()> {
        /// No more than any queue holds: who reads is never cut off.
        const AT_ONCE: usize = 128 * 1024;
        let relay = said(self.members[who].addr(), text);
        let batch = (AT_ONCE / relay.len()).clamp(1, 500);
        let mut left = times;
        while left > 0 {
            let now = left.min(batch);
            self.members[who].send(&crate::wire::framed(text).repeat(now))?;
            for member in &mut self.members {
                (0..now).try_for_each(|_| member.expect(&relay))?;
            }
            left -= now;
        }
        Ok(())
    }
}
