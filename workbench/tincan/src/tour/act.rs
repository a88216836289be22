//! What the scenes are made of: a stage, its clients, and what is seen of them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use probe::procfs::{self, Figures};
use probe::server::Server;
use probe::wire::{Client, Heard, framed, show};
use probe::{PATIENCE, fail, wait_until};

use super::lanes::Lanes;
use super::page::Page;
use crate::stages::Stages;

/// A stage on stage: its lanes, and the clients that are connected to it now.
pub struct Act<'a> {
    /// First, so that what has happened is shown before the server ends.
    pub lanes: Lanes<'a>,
    /// Each in the lane of its number; those who have none come last.
    pub clients: Vec<Client>,
    names: &'static [&'static str],
    stage: &'a str,
    pub server: Server,
}

impl<'a> Act<'a> {
    /// Starts a stage for clients of these names.
    pub fn open(
        stages: &Stages,
        page: &'a Page,
        stage: &'a str,
        names: &'static [&'static str],
    ) -> Result<Self> {
        let server = stages.start(stage)?;
        let lanes = Lanes::new(page, names, server.log().clone());
        lanes.heads()?;
        Ok(Self { lanes, clients: Vec::new(), names, stage, server })
    }

    /// The next client connects.
    pub fn connect(&mut self) -> Result<usize> {
        let who = self.clients.len();
        self.lanes.note(who, "connects");
        let client = Client::connect(self.server.addr())?;
        self.lanes.name(client.addr(), self.names[who].split(' ').next().unwrap_or_default());
        self.clients.push(client);
        Ok(who)
    }

    /// Waits until the log says that a client has come.
    pub fn expect_known(&self, who: usize) -> Result<()> {
        self.expect_log(&format!("Connection from {}", self.addr(who)))
    }

    pub fn addr(&self, who: usize) -> SocketAddr {
        self.clients[who].addr()
    }

    /// Waits until a line of the log ends like this.
    pub fn expect_log(&self, event: &str) -> Result<()> {
        self.server.wait_for_log(event, |line| line.ends_with(event)).map(drop)
    }

    /// A client sends bytes; the table gets the text.
    pub fn send(&mut self, who: usize, bytes: &[u8], text: &str) -> Result<()> {
        self.lanes.note(who, text);
        self.clients[who].send(bytes)
    }

    /// A client must get this message next.
    pub fn expect(&mut self, who: usize, text: &str) -> Result<()> {
        let heard = self.clients[who].frame()?;
        self.lanes.note(who, format!("gets {}", String::from_utf8_lossy(&heard)));
        if heard == text.as_bytes() {
            return Ok(());
        }
        fail(self.clients[who].transcript(), format!("the message {text:?}"), show(&heard))
    }

    /// A client must get nothing for this time; it is noted that it waits.
    pub fn expect_silence(&mut self, who: usize, time: Duration) -> Result<()> {
        let heard = self.clients[who].hear(time)?;
        if heard == Heard::Silence {
            self.lanes.stress(who, "waits");
            return Ok(());
        }
        self.lanes.stress(who, format!("gets {heard}"));
        let name = self.names[who];
        fail(self.clients[who].transcript(), format!("no answer: {name} has to wait"), heard)
    }

    /// One says something, and all who are there hear it next.
    pub fn say(&mut self, who: usize, text: &str) -> Result<()> {
        self.send(who, &framed(text), &format!("says {text}"))?;
        let relay = format!("{}: {text}", self.addr(who));
        self.expect_log(&relay)?;
        for listener in 0..self.clients.len() {
            self.expect(listener, &relay)?;
        }
        Ok(())
    }

    /// The next client joins a chat: it is in when all have heard it say something.
    pub fn join(&mut self) -> Result<()> {
        let who = self.connect()?;
        self.expect_known(who)?;
        self.lanes.show()?;
        self.say(who, "hi")?;
        self.lanes.show()
    }

    /// Notes the server's threads, which must become so many where the system tells.
    pub fn expect_threads(&mut self, expected: u64) -> Result<()> {
        let mut seen = None;
        wait_until(PATIENCE, || {
            seen = threads(&self.server);
            Ok(seen.is_none_or(|seen| seen == expected))
        })?;
        self.note_threads(seen);
        match seen {
            Some(seen) if seen != expected => {
                fail(format!("counted the threads of {}", self.stage), expected, seen)
            }
            _ => Ok(()),
        }
    }

    /// Notes the server's threads once their number does not change any more.
    pub fn threads(&mut self) -> Result<Option<u64>> {
        let seen = settled(|| threads(&self.server))?;
        self.note_threads(seen);
        Ok(seen)
    }

    fn note_threads(&mut self, seen: Option<u64>) {
        let text = match seen {
            None => "the system does not tell how many threads".to_owned(),
            Some(1) => "= 1 thread".to_owned(),
            Some(n) => format!("= {n} threads"),
        };
        self.lanes.stress(self.lanes.server(), text);
    }
}

/// The threads of a server but for those that every stage has for its log and for signals; `None` if
/// the system does not tell.
pub fn threads(server: &Server) -> Option<u64> {
    const HELPERS: [&str; 2] = ["log", "signals"];
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid()?)).ok()?;
    let names = tasks.map(|task| procfs::read(task.ok()?.path().join("comm")));
    // A thread that ends while it is looked at is none.
    let count = names.flatten().filter(|name| !HELPERS.contains(&name.trim_end())).count();
    u64::try_from(count).ok()
}

/// Looks until the same is seen for a while.
pub fn settled<T: PartialEq>(look: impl Fn() -> T) -> Result<T> {
    const LOOKS: u32 = 20;
    let (mut seen, mut looks) = (look(), 0);
    // If it never settles, the last look has to do.
    wait_until(PATIENCE / 10, || {
        let next = look();
        looks = if next == seen { looks + 1 } else { 0 };
        seen = next;
        Ok(looks >= LOOKS)
    })?;
    Ok(seen)
}

/// The memory that a server occupies, as a text.
pub fn memory(figures: Option<Figures>) -> String {
    figures.map_or_else(|| "?".to_owned(), |figures| megabytes(figures.resident))
}

/// A number of bytes in millions, with one decimal.
pub fn megabytes(bytes: u64) -> String {
    let tenths = (bytes + 50_000) / 100_000;
    format!("{}.{} MB", tenths / 10, tenths % 10)
}

/// How long something has taken, in milliseconds and at least one.
pub fn millis(since: Instant) -> u128 {
    since.elapsed().as_millis().max(1)
}
