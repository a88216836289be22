//! Helpers of the tests that chat inside TLS.
//!
//! Each test file uses only some of them.
#![allow(dead_code)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use probe::server::{Launch, Server};
use probe::tls::TlsSettings;
use probe::wire::{Client, prep_msg};
use probe::{TIMEOUT, wait_until};
use rustls::SupportedProtocolVersion;
use rustls::version::TLS13;
use tempfile::TempDir;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_chat-tls");

/// A folder with the certificates of a server.
pub struct Certs(pub TempDir);

impl Certs {
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Returns the arguments that make a server use the files as `--cert` and `--key`.
    pub fn args(&self) -> [String; 4] {
        let path = |name| self.path(name).to_str().unwrap().to_owned();
        ["--cert".to_owned(), path("cert.pem"), "--key".to_owned(), path("key.pem")]
    }

    /// Returns the settings of clients that speak this version of TLS.
    pub fn tls(&self, version: &'static SupportedProtocolVersion) -> Result<TlsSettings> {
        TlsSettings::with_ca_and_versions(&self.path("ca.pem"), &[version])
    }
}

/// Starts a server with a new development certificate.
pub fn start(args: &[&str]) -> Result<(Certs, Server)> {
    let certs = Certs(TempDir::new()?);
    let dev_cert = ["--dev-cert", certs.0.path().to_str().unwrap()];
    let server = Launch::new(PROGRAM, &[]).args(&dev_cert).args(args).start()?;
    Ok((certs, server))
}

pub fn connect(certs: &Certs, server: &Server) -> Result<Client> {
    Client::connect(server.addr())?.start_tls(&certs.tls(&TLS13)?)
}

/// Connects a client, and waits until the server has sent a message back. The server has then completed the
/// handshake, too, which it does a moment later than the client.
pub fn join(certs: &Certs, server: &Server) -> Result<Client> {
    let mut client = connect(certs, server)?;
    exchange(&mut client, "I am here", 1)?;
    Ok(client)
}

/// Sends the same message several times, and waits until all of them have come back.
pub fn exchange(client: &mut Client, text: &str, times: usize) -> Result<()> {
    let relayed = format!("{}: {text}", client.addr());
    client.send(&prep_msg(text).repeat(times))?;
    for _ in 0..times {
        client.expect_msg(&relayed)?;
    }
    Ok(())
}

/// Returns all bytes to the end of the connection, which must come after `close_notify`.
pub fn recv_to_close_notify(client: &mut Client) -> Result<Vec<u8>> {
    let (bytes, _) = client.recv_bytes_to_end()?;
    ensure!(client.has_close_notify(), "no close_notify: {}", client.transcript());
    Ok(bytes)
}

pub fn wait_for_log_about(server: &Server, client: SocketAddr, text: &str) -> Result<String> {
    let addr = client.to_string();
    server.wait_for_log(text, |line| line.contains(&addr) && line.contains(text))
}

/// Waits until a new client is told that the server is full. A client whose handshake takes too long is not
/// told.
pub fn expect_full(certs: &Certs, server: &Server) -> Result<()> {
    let is_refused = || recv_to_close_notify(&mut connect(certs, server)?);
    let was_refused =
        wait_until(TIMEOUT, || Ok(is_refused().is_ok_and(|told| told == b"server: full\0")))?;
    assert!(was_refused, "{}", server.log());
    Ok(())
}

/// Checks that the server does nothing for a second: a loop that does not wait takes all the processor
/// time that it gets.
pub fn expect_idle(server: &Server, situation: &str) {
    let cpu = || server.usage().map_or(Duration::ZERO, |figures| figures.cpu);
    let before = cpu();
    thread::sleep(Duration::from_secs(1)); // the second that is measured
    let used = cpu().saturating_sub(before);
    assert!(used < Duration::from_millis(100), "{used:?} in a second in which {situation}");
}
