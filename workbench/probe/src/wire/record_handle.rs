use std::net::SocketAddr;

use crate::record::{Record, StepKind, client_name};

/// A client's part of a [`Record`].
#[derive(Debug)]
pub(super) struct RecordHandle {
    record: Record,
    /// The client's number in the record.
    client: usize,
    /// The client's own address.
    pub(super) addr: SocketAddr,
    pub(super) server: SocketAddr,
}

impl RecordHandle {
    /// Adds the client to a new record.
    pub(super) fn new(addr: SocketAddr, server: SocketAddr) -> Self {
        let record = Record::default();
        Self { client: record.add_client(), record, addr, server }
    }

    /// Adds the client to a record to which other clients also write. Later steps go there.
    pub(super) fn move_to(&mut self, record: &Record) {
        self.record = record.clone();
        self.client = record.add_client();
    }

    pub(super) fn sent(&self, bytes: &[u8]) {
        self.record.add_step(self.client, StepKind::Sent, bytes);
    }

    /// Records that the same bytes were sent several times.
    pub(super) fn sent_repeatedly(&self, bytes: &[u8], times: usize) {
        self.record.add_repeated_step(self.client, StepKind::Sent, bytes, times);
    }

    pub(super) fn received(&self, bytes: &[u8]) {
        self.record.add_step(self.client, StepKind::Received, bytes);
    }

    pub(super) fn note(&self, text: &str) {
        self.record.add_step(self.client, StepKind::Note, text.as_bytes());
    }

    /// Returns the client's name in the record: A, B, …
    pub(super) fn client_name(&self) -> String {
        client_name(self.client)
    }

    /// Returns the client's steps as text, under a line with both addresses.
    pub(super) fn transcript(&self) -> String {
        format!("client {} of {}\n{}", self.addr, self.server, self.record.steps_of(self.client))
    }
}
