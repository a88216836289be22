//! A chat server with clients that have joined.

use anyhow::Result;

use crate::Bench;
use probe::server::Server;
use probe::wire::{Client, prep_msg};

/// A chat server with clients that have joined, and have received the same messages so far.
pub struct ChatRoom<'a> {
    bench: &'a Bench,
    /// The chat server.
    pub server: Server,
    /// The clients that have joined. A check must let each of them receive every message.
    pub members: Vec<Client>,
}

impl<'a> ChatRoom<'a> {
    /// Starts a chat server with these arguments, which are those of this project's servers, and connects
    /// `members` clients.
    pub fn start_with_args(bench: &'a Bench, args: &[&str], members: usize) -> Result<Self> {
        Self::with_server(bench, bench.start_with_args(args)?, members)
    }

    /// Starts the chat server under test without arguments of its own, and connects `members` clients.
    pub fn start(bench: &'a Bench, members: usize) -> Result<Self> {
        Self::with_server(bench, bench.start_server()?, members)
    }

    /// Connects `members` clients to a running server.
    pub fn with_server(bench: &'a Bench, server: Server, members: usize) -> Result<Self> {
        let mut room = Self { bench, server, members: Vec::new() };
        for _ in 0..members {
            room.connect_member()?;
        }
        Ok(room)
    }

    /// Connects one more member.
    pub fn connect_member(&mut self) -> Result<()> {
        let client = self.bench.connect(&self.server)?;
        self.add_member(client)
    }

    /// Adds a client to the members, after it and all members have received its first message. Before this
    /// message, the client may receive other messages.
    pub fn add_member(&mut self, mut client: Client) -> Result<()> {
        self.join(&mut client)?;
        self.members.push(client);
        Ok(())
    }

    /// Connects a client that joins but is not added to the members. It has small socket buffers and reads only
    /// when the check reads.
    pub fn connect_slow_reader(&mut self) -> Result<Client> {
        let mut client = self.bench.connect_with_small_buffers(&self.server)?;
        self.join(&mut client)?;
        Ok(client)
    }

    /// Waits until the client and all members have received the client's first message.
    fn join(&mut self, client: &mut Client) -> Result<()> {
        self.bench.exchange_skipping_all(client, "hello")?;
        self.expect_msg(&self.bench.relayed(client.addr(), "hello"))
    }

    /// Sends a message from the member with this index; it must be the next message that each member receives.
    pub fn send_and_expect(&mut self, sender: usize, text: &str) -> Result<()> {
        self.members[sender].send_msg(text)?;
        self.expect_msg(&self.bench.relayed(self.members[sender].addr(), text))
    }

    /// Checks that this is the next message that each member receives.
    pub fn expect_msg(&mut self, text: &str) -> Result<()> {
        self.members.iter_mut().try_for_each(|member| member.expect_msg(text))
    }

    /// Sends a message `times` times from the member with this index, in batches; each member must receive each
    /// message.
    pub fn send_and_expect_many(&mut self, sender: usize, text: &str, times: usize) -> Result<()> {
        /// The most bytes in one batch: fewer than any queue may have, so that no member is disconnected.
        const BATCH_BYTES: usize = 128 * 1024;
        let relay = self.bench.relayed(self.members[sender].addr(), text);
        let batch = (BATCH_BYTES / relay.len()).clamp(1, 500);
        let mut left = times;
        while left > 0 {
            let count = left.min(batch);
            self.members[sender].send(&prep_msg(text).repeat(count))?;
            for member in &mut self.members {
                (0..count).try_for_each(|_| member.expect_msg(&relay))?;
            }
            left -= count;
        }
        Ok(())
    }
}
