//! A server that runs, as an experiment sees it.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};

use super::load::Load;
use super::process::Process;
use super::protocol::Protocol;
use probe::tls::TlsSettings;

/// A server that runs and is measured.
#[derive(Clone, Copy, Debug)]
pub struct MeasuredServer {
    /// The address at which it listens.
    pub addr: SocketAddr,
    /// The protocol that it speaks.
    pub protocol: Protocol,
    /// Its process, or its group of processes, if that is known.
    pub process: Option<Process>,
}

impl MeasuredServer {
    /// Returns the process, for experiments that read its memory or its threads.
    pub fn process(&self) -> Result<Process> {
        self.process.context("the number of the server's process is not known")
    }

    /// Describes clients for this server: how many receive, how many send, and the size of a message.
    pub fn load(&self, clients: usize, senders: usize, size: usize) -> Result<Load> {
        ensure!(self.protocol.is_chat(), "an echo server does not relay messages");
        Ok(Load { addr: self.addr, protocol: self.protocol, clients, senders, size })
    }

    /// Returns the TLS settings of its clients, if they use TLS.
    pub fn tls(&self) -> Result<Option<TlsSettings>> {
        self.protocol.tls()
    }
}
