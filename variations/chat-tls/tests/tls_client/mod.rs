//! A client inside TLS, on a connection of the raw client of `probe`.
// Each test program uses only a part of this module.
#![allow(dead_code)]

use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::{fs, mem};

use anyhow::{Result, bail, ensure};
use probe::wire::{Client, prep_msg};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, RootCertStore, Stream, SupportedProtocolVersion};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_chat-tls");

/// Returns the configuration of a client that trusts the CA in a file and speaks these versions of TLS.
pub fn config(ca: &Path, versions: &[&'static SupportedProtocolVersion]) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for cert in CertificateDer::pem_slice_iter(&fs::read(ca)?) {
        roots.add(cert?)?;
    }
    Ok(ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// Returns the client's TLS state before the handshake.
pub fn session(config: ClientConfig) -> Result<ClientConnection> {
    Ok(ClientConnection::new(Arc::new(config), ServerName::try_from("localhost")?)?)
}

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// The server sent `close_notify`: nothing is missing.
    Notified,
    /// The connection ended without `close_notify`.
    CutOff,
}

pub struct TlsClient {
    pub sock: Client,
    pub tls: ClientConnection,
    /// The bytes that have been received and not returned yet.
    received: Vec<u8>,
}

impl TlsClient {
    /// Performs the handshake on a connection.
    pub fn new(mut sock: Client, config: ClientConfig) -> Result<Self> {
        let mut tls = session(config)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut sock)?;
        }
        let mut client = TlsClient { sock, tls, received: Vec::new() };
        client.flush()?;
        Ok(client)
    }

    /// Sends the messages of TLS itself, such as answers and requests.
    pub fn flush(&mut self) -> Result<()> {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.sock)?;
        }
        Ok(())
    }

    fn stream(&mut self) -> Stream<'_, ClientConnection, Client> {
        Stream::new(&mut self.tls, &mut self.sock)
    }

    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream().write_all(bytes)?;
        Ok(self.stream().flush()?)
    }

    /// Sends a message.
    pub fn say(&mut self, text: &str) -> Result<()> {
        self.send(&prep_msg(text))
    }

    /// Receives the next message.
    pub fn recv_msg(&mut self) -> Result<String> {
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == 0) {
                let text = self.received.drain(..=end).take(end).collect();
                return Ok(String::from_utf8(text)?);
            }
            let mut chunk = [0; 16 * 1024];
            match self.stream().read(&mut chunk)? {
                0 => bail!("the server has closed the connection"),
                n => self.received.extend(&chunk[..n]),
            }
        }
    }

    /// Receives the next message and compares it.
    pub fn expect(&mut self, text: &str) -> Result<()> {
        let received = self.recv_msg()?;
        ensure!(received == text, "expected {text:?}, received {received:?}");
        Ok(())
    }

    pub fn close_notify(&mut self) -> Result<()> {
        self.tls.send_close_notify();
        self.flush()
    }

    /// Returns all bytes up to the end of the connection, and how it ended.
    pub fn until_end(&mut self) -> Result<(Vec<u8>, End)> {
        let mut bytes = mem::take(&mut self.received);
        match self.stream().read_to_end(&mut bytes) {
            Ok(_) => Ok((bytes, End::Notified)),
            Err(err) if err.kind() == ErrorKind::TimedOut => Err(err.into()),
            Err(_) => Ok((bytes, End::CutOff)),
        }
    }
}
