//! A stage with its clients and its table: the actions and expectations of the scenes.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use probe::procfs::{self, Usage};
use probe::server::Server;
use probe::wire::{Client, Received, prep_msg, show};
use probe::{TIMEOUT, fail, wait_until};

use super::page::Page;
use super::table::Table;
use crate::stages::ServerPrograms;

/// A running stage, its clients and its table.
pub struct Demo<'a> {
    /// The first field, so that its last events are printed before the server ends.
    pub table: Table<'a>,
    /// The connected clients. The index of a client is also its column; further clients have no column.
    pub clients: Vec<Client>,
    names: &'static [&'static str],
    stage: &'a str,
    pub server: Server,
}

impl<'a> Demo<'a> {
    /// Starts a stage, and a table for clients with these names.
    pub fn start(
        programs: &ServerPrograms,
        page: &'a Page,
        stage: &'a str,
        names: &'static [&'static str],
    ) -> Result<Self> {
        let server = programs.start(stage)?;
        let table = Table::new(page, names, server.log().clone());
        table.print_heads()?;
        Ok(Self { table, clients: Vec::new(), names, stage, server })
    }

    /// Connects the next client, and returns its index.
    pub fn connect(&mut self) -> Result<usize> {
        let index = self.clients.len();
        self.table.add(index, "connects");
        let client = Client::connect(self.server.addr())?;
        self.table.name(client.addr(), self.names[index].split(' ').next().unwrap_or_default());
        self.clients.push(client);
        Ok(index)
    }

    /// Waits until the log says that a client is connected.
    pub fn expect_accepted(&self, client: usize) -> Result<()> {
        self.expect_log(&format!("Connection from {}", self.addr(client)))
    }

    pub fn addr(&self, client: usize) -> SocketAddr {
        self.clients[client].addr()
    }

    /// Waits until a line of the log ends with this text.
    pub fn expect_log(&self, text: &str) -> Result<()> {
        self.server.wait_for_log(text, |line| line.ends_with(text)).map(drop)
    }

    /// Lets a client send bytes, and shows a text in the table.
    pub fn send(&mut self, client: usize, bytes: &[u8], text: &str) -> Result<()> {
        self.table.add(client, text);
        self.clients[client].send(bytes)
    }

    /// Expects that this is the next message that a client gets.
    pub fn expect(&mut self, client: usize, text: &str) -> Result<()> {
        let got = self.clients[client].recv_msg()?;
        self.table.add(client, format!("gets {}", String::from_utf8_lossy(&got)));
        if got == text.as_bytes() {
            return Ok(());
        }
        fail(self.clients[client].transcript(), format!("the message {text:?}"), show(&got))
    }

    /// Expects that a client gets nothing for this time, and shows that it waits.
    pub fn expect_silence(&mut self, client: usize, time: Duration) -> Result<()> {
        let heard = self.clients[client].recv(time)?;
        if heard == Received::Timeout {
            self.table.highlight(client, "waits");
            return Ok(());
        }
        self.table.highlight(client, format!("gets {heard}"));
        let name = self.names[client];
        fail(self.clients[client].transcript(), format!("no answer: {name} has to wait"), heard)
    }

    /// Lets a client of a chat say something, and expects that all clients get it next.
    pub fn say(&mut self, client: usize, text: &str) -> Result<()> {
        self.send(client, &prep_msg(text), &format!("says {text}"))?;
        let relayed = format!("{}: {text}", self.addr(client));
        self.expect_log(&relayed)?;
        for receiver in 0..self.clients.len() {
            self.expect(receiver, &relayed)?;
        }
        Ok(())
    }

    /// Lets the next client join a chat and say something, which all clients must get.
    pub fn join(&mut self) -> Result<()> {
        let client = self.connect()?;
        self.expect_accepted(client)?;
        self.table.print()?;
        self.say(client, "hi")?;
        self.table.print()
    }

    /// Expects that the server has this number of threads, if the system tells, and shows it.
    pub fn expect_threads(&mut self, expected: u64) -> Result<()> {
        let mut count = None;
        wait_until(TIMEOUT, || {
            count = threads(&self.server);
            Ok(count.is_none_or(|count| count == expected))
        })?;
        self.show_threads(count);
        match count {
            Some(count) if count != expected => {
                fail(format!("counted the threads of {}", self.stage), expected, count)
            }
            _ => Ok(()),
        }
    }

    /// Waits until the number of the server's threads does not change any more, shows it, and returns it.
    pub fn threads(&mut self) -> Result<Option<u64>> {
        let count = settled(|| threads(&self.server))?;
        self.show_threads(count);
        Ok(count)
    }

    fn show_threads(&mut self, count: Option<u64>) {
        let text = match count {
            None => "the system does not tell how many threads".to_owned(),
            Some(1) => "= 1 thread".to_owned(),
            Some(n) => format!("= {n} threads"),
        };
        self.table.highlight(self.table.server(), text);
    }
}

/// Returns the number of a server's threads, without the two that every stage has for its log and for
/// signals; nothing if the system does not tell.
pub fn threads(server: &Server) -> Option<u64> {
    const HELPERS: [&str; 2] = ["log", "signals"];
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid()?)).ok()?;
    let names = tasks.map(|task| procfs::read(task.ok()?.path().join("comm")));
    // A thread that has ended in the meantime has no name, and does not count.
    let count = names.flatten().filter(|name| !HELPERS.contains(&name.trim_end())).count();
    u64::try_from(count).ok()
}

/// Calls a function until it has returned the same value many times in a row, and returns that value.
pub fn settled<T: PartialEq>(look: impl Fn() -> T) -> Result<T> {
    const TIMES: u32 = 20;
    let (mut last, mut times) = (look(), 0);
    // If the value never settles, the last one counts.
    wait_until(TIMEOUT / 10, || {
        let next = look();
        times = if next == last { times + 1 } else { 0 };
        last = next;
        Ok(times >= TIMES)
    })?;
    Ok(last)
}

/// Returns the memory that a server occupies, as a text.
pub fn memory(figures: Option<Usage>) -> String {
    figures.map_or_else(|| "?".to_owned(), |figures| megabytes(figures.resident_bytes))
}

/// Returns a number of bytes in megabytes, with one decimal.
pub fn megabytes(bytes: u64) -> String {
    let tenths = (bytes + 50_000) / 100_000;
    format!("{}.{} MB", tenths / 10, tenths % 10)
}

/// Returns the time since a moment in milliseconds, at least one.
pub fn millis(since: Instant) -> u128 {
    since.elapsed().as_millis().max(1)
}
