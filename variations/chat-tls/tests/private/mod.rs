//! A client inside TLS, made of the wire client of `workbench`.
// Each test program uses some of it.
#![allow(dead_code)]

use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::{fs, mem};

use anyhow::{Result, bail};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, RootCertStore, Stream, SupportedProtocolVersion};
use workbench::wire::Client;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_chat-tls");

/// Trusts the CA in a file, and speaks these versions of TLS.
pub fn trust(ca: &Path, versions: &[&'static SupportedProtocolVersion]) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for cert in CertificateDer::pem_slice_iter(&fs::read(ca)?) {
        roots.add(cert?)?;
    }
    Ok(ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// The client's side of TLS, before the handshake.
pub fn begin(config: ClientConfig) -> Result<ClientConnection> {
    Ok(ClientConnection::new(Arc::new(config), ServerName::try_from("localhost")?)?)
}

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// The server said that nothing more comes.
    Notified,
    /// It did not.
    CutOff,
}

pub struct Private {
    pub sock: Client,
    pub tls: ClientConnection,
    /// What has come and was not given out.
    received: Vec<u8>,
}

impl Private {
    /// Shakes hands on a connection.
    pub fn shake(mut sock: Client, config: ClientConfig) -> Result<Self> {
        let mut tls = begin(config)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut sock)?;
        }
        let mut private = Private { sock, tls, received: Vec::new() };
        private.send_out()?;
        Ok(private)
    }

    /// Sends what waits in TLS: an answer, a request.
    pub fn send_out(&mut self) -> Result<()> {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.sock)?;
        }
        Ok(())
    }

    pub fn stream(&mut self) -> Stream<'_, ClientConnection, Client> {
        Stream::new(&mut self.tls, &mut self.sock)
    }

    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream().write_all(bytes)?;
        Ok(self.stream().flush()?)
    }

    pub fn say(&mut self, text: &str) -> Result<()> {
        self.send(&[text.as_bytes(), b"\0"].concat())
    }

    /// The next message.
    pub fn hear(&mut self) -> Result<String> {
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == 0) {
                let frame = self.received.drain(..=end).take(end).collect();
                return Ok(String::from_utf8(frame)?);
            }
            let mut chunk = [0; 16 * 1024];
            match self.stream().read(&mut chunk)? {
                0 => bail!("the server says no more"),
                n => self.received.extend(&chunk[..n]),
            }
        }
    }

    pub fn expect(&mut self, text: &str) -> Result<()> {
        let heard = self.hear()?;
        if heard == text { Ok(()) } else { bail!("expected {text:?}, heard {heard:?}") }
    }

    /// Says that nothing more will be said.
    pub fn close_notify(&mut self) -> Result<()> {
        self.tls.send_close_notify();
        self.send_out()
    }

    /// All bytes up to the end, and how it ended.
    pub fn until_end(&mut self) -> Result<(Vec<u8>, End)> {
        let mut bytes = mem::take(&mut self.received);
        match self.stream().read_to_end(&mut bytes) {
            Ok(_) => Ok((bytes, End::Notified)),
            Err(err) if matches!(err.kind(), ErrorKind::TimedOut) => Err(err.into()),
            Err(_) => Ok((bytes, End::CutOff)),
        }
    }
}

/// Reads a message, and not a byte more.
pub fn hear(stream: &mut impl Read) -> Result<String> {
    let mut text = Vec::new();
    let mut byte = [0];
    loop {
        match stream.read(&mut byte)? {
            0 => bail!("the server says no more, after {:?}", String::from_utf8_lossy(&text)),
            _ if byte == [0] => return Ok(String::from_utf8(text)?),
            _ => text.push(byte[0]),
        }
    }
}
