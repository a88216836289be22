//! Helpers of the tests of `chat-client --tls`: a certificate authority, and the server's side of a TLS connection.
//!
//! Each test file uses only some of them.
#![allow(dead_code)]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use probe::client_process::{ClientProcess, TestServer};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::{ServerConfig, ServerConnection, Stream};
use tempfile::TempDir;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_chat-client");

/// How the error begins if the handshake fails.
pub const REFUSED: &str = "Error: TLS handshake: ";

pub const HOUR: Duration = Duration::from_hours(1);

/// A certificate authority, for the clients to trust. Its own certificate is in a PEM file.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: TempDir,
}

/// A server's certificate and its private key.
pub struct Identity {
    pub cert: CertificateDer<'static>,
    pub key: PrivateKeyDer<'static>,
}

impl Authority {
    pub fn named(name: &str) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let cert = params.self_signed(&key).unwrap().pem();
        let authority =
            Authority { issuer: Issuer::new(params, key), folder: TempDir::new().unwrap() };
        fs::write(authority.path(), cert).unwrap();
        authority
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Makes a certificate for a host that is valid from `since` to `until`.
    pub fn certify_between(&self, host: &str, since: SystemTime, until: SystemTime) -> Identity {
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        params.not_before = since.into();
        params.not_after = until.into();
        self.sign(&params)
    }

    /// Makes a certificate for a host that is valid now.
    pub fn certify(&self, host: &str) -> Identity {
        let now = SystemTime::now();
        self.certify_between(host, now - HOUR, now + HOUR)
    }

    pub fn sign(&self, params: &CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap().into();
        Identity { cert, key: PrivateKeyDer::Pkcs8(key.serialize_der().into()) }
    }

    /// Returns the CA's own certificate and key.
    pub fn own_identity(&self) -> Identity {
        let cert = CertificateDer::from_pem_file(self.path()).unwrap();
        Identity { cert, key: PrivateKeyDer::Pkcs8(self.issuer.key().serialize_der().into()) }
    }
}

/// The server's side of a TLS connection.
pub struct TlsServer {
    pub sock: TcpStream,
    tls: ServerConnection,
}

impl TlsServer {
    pub fn new(sock: TcpStream, Identity { cert, key }: Identity) -> Self {
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert], key)
            .unwrap();
        Self::with_config(sock, config)
    }

    pub fn with_config(sock: TcpStream, config: ServerConfig) -> Self {
        TlsServer { sock, tls: ServerConnection::new(Arc::new(config)).unwrap() }
    }

    pub fn stream(&mut self) -> Stream<'_, ServerConnection, TcpStream> {
        Stream::new(&mut self.tls, &mut self.sock)
    }

    /// Checks that the next bytes are this message.
    #[track_caller]
    pub fn expect(&mut self, text: &str) {
        let mut frame = vec![0; text.len() + 1];
        self.stream().read_exact(&mut frame).unwrap();
        assert_eq!(String::from_utf8(frame).unwrap(), format!("{text}\0"));
    }

    pub fn send(&mut self, text: &str) {
        self.stream().write_all(format!("{text}\0").as_bytes()).unwrap();
        self.stream().flush().unwrap();
    }

    pub fn send_close_notify(&mut self) {
        self.tls.send_close_notify();
        self.stream().flush().unwrap();
    }
}

/// Starts a client that trusts this CA, and a server with this certificate.
pub fn connect(
    authority: &Authority,
    args: &[&str],
    identity: Identity,
) -> (ClientProcess, TlsServer) {
    let server = TestServer::accepting(1);
    let ca = authority.path();
    let args = [&["--tls", "--ca", ca.to_str().unwrap()], args].concat();
    let client = ClientProcess::start(PROGRAM, server.port, &args);
    (client, TlsServer::new(server.accept(), identity))
}
