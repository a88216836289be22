use std::net::SocketAddr;

use crate::tape::{Record, StepKind, client_name};

/// A client's part of a [`Record`].
#[derive(Debug)]
pub(super) struct ClientRecord {
    tape: Record,
    /// The client's number in the tape.
    client: usize,
    /// The client's own address.
    pub(super) addr: SocketAddr,
    pub(super) server: SocketAddr,
}

impl ClientRecord {
    /// Creates a record in a tape of its own.
    pub(super) fn new(addr: SocketAddr, server: SocketAddr) -> Self {
        let tape = Record::default();
        Self { client: tape.add_client(), tape, addr, server }
    }

    /// Continues in a tape that other clients write to, too.
    pub(super) fn move_to(&mut self, tape: &Record) {
        self.tape = tape.clone();
        self.client = tape.add_client();
    }

    pub(super) fn sent(&self, bytes: &[u8]) {
        self.tape.add_step(self.client, StepKind::Sent, bytes);
    }

    /// Records that the same bytes were sent several times.
    pub(super) fn sent_repeatedly(&self, bytes: &[u8], times: usize) {
        self.tape.add_repeated_step(self.client, StepKind::Sent, bytes, times);
    }

    pub(super) fn received(&self, bytes: &[u8]) {
        self.tape.add_step(self.client, StepKind::Received, bytes);
    }

    pub(super) fn note(&self, text: &str) {
        self.tape.add_step(self.client, StepKind::Note, text.as_bytes());
    }

    /// Returns the client's name in the tape: A, B, …
    pub(super) fn client_name(&self) -> String {
        client_name(self.client)
    }

    /// Returns the client's steps as text, under a line with both addresses.
    pub(super) fn transcript(&self) -> String {
        format!("client {} of {}\n{}", self.addr, self.server, self.tape.steps_of(self.client))
    }
}
