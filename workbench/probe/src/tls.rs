//! Speaks TLS as a client: the settings of all clients of one server, and the session of one connection.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use crate::tls_error::TlsError;
use anyhow::{Context, Result, anyhow, bail, ensure};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DEFAULT_VERSIONS, DigitallySignedStruct, ProtocolVersion,
    RootCertStore, SignatureScheme, SupportedProtocolVersion,
};

use crate::read_once;

/// The name that a server's certificate has to contain, unless any certificate is accepted.
pub const SERVER_NAME: &str = "localhost";

/// The TLS settings of the clients of one server: TLS 1.3 or 1.2, and a full handshake for each connection.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    config: Arc<ClientConfig>,
    /// A description of the accepted certificates, for the notes on the server.
    trust: String,
    seen: Arc<Mutex<Seen>>,
}

/// Observations of the server, from all its connections.
#[derive(Debug, Default)]
struct Seen {
    /// The version of the last handshake that was completed.
    version: Option<ProtocolVersion>,
    /// Whether the server ended a stream without `close_notify`.
    omits_close_notify: bool,
}

impl TlsSettings {
    /// Returns settings that accept a certificate for [`SERVER_NAME`] that a CA in this file has signed.
    pub fn with_ca(ca: &Path) -> Result<Self> {
        Self::with_ca_and_versions(ca, DEFAULT_VERSIONS)
    }

    /// Returns settings that accept the same certificates as [`with_ca`](Self::with_ca), and only these versions of
    /// TLS.
    pub fn with_ca_and_versions(
        ca: &Path,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Result<Self> {
        let shown = ca.display();
        let text = fs::read(ca).with_context(|| format!("cannot read {shown}"))?;
        let mut roots = RootCertStore::empty();
        for cert in CertificateDer::pem_slice_iter(&text) {
            let cert = cert.map_err(|err| anyhow!("{shown} is not a valid PEM file: {err}"))?;
            roots.add(cert).with_context(|| format!("a certificate in {shown} is not valid"))?;
        }
        if roots.is_empty() {
            bail!("there is no certificate in {shown} (-----BEGIN CERTIFICATE-----)");
        }
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        let trust = format!("its certificate is for {SERVER_NAME}, signed by a CA in {shown}");
        Self::with(verifier.build()?, versions, trust)
    }

    /// Returns settings that accept any certificate.
    pub fn with_any_certificate() -> Result<Self> {
        let trust = "its certificate was not checked (with --ca FILE, it has to be signed by a CA \
                     in FILE)";
        Self::with(Arc::new(AcceptAny), DEFAULT_VERSIONS, trust.to_owned())
    }

    fn with(
        verifier: Arc<dyn ServerCertVerifier>,
        versions: &[&'static SupportedProtocolVersion],
        trust: String,
    ) -> Result<Self> {
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        // So that every handshake with a server costs as much as the first.
        config.resumption = Resumption::disabled();
        Ok(Self { config: Arc::new(config), trust, seen: Arc::default() })
    }

    /// Returns the configuration of rustls, for a setting that this type does not offer. A change affects only later
    /// connections.
    pub fn config_mut(&mut self) -> &mut ClientConfig {
        Arc::make_mut(&mut self.config)
    }

    /// Returns the first bytes that a client sends.
    pub fn client_hello(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        TlsSession::new(self)?.flush(&mut bytes)?;
        Ok(bytes)
    }

    /// Reports whether the end of one direction also ends the other one, as in TLS 1.2 (RFC 5246, 7.2.1).
    #[must_use]
    pub fn ends_both_directions(&self) -> bool {
        lock(&self.seen).version == Some(ProtocolVersion::TLSv1_2)
    }

    /// Returns notes on the TLS of the server, for the report on it.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let Seen { version, omits_close_notify } = *lock(&self.seen);
        let Some(version) = version else { return Vec::new() };
        let mut notes = vec![format!("it speaks {}; {}.", name(version), self.trust)];
        if omits_close_notify {
            notes.push(OMITS_CLOSE_NOTIFY.to_owned());
        }
        notes
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

const OMITS_CLOSE_NOTIFY: &str = "it ends connections without close_notify, so that clients cannot know whether \
                        something was cut off (RFC 8446 section 6.1). No check fails because of it.";

fn name(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::TLSv1_2 => "TLS 1.2",
        ProtocolVersion::TLSv1_3 => "TLS 1.3",
        _ => "TLS",
    }
}

/// Accepts every certificate: a check sends no secrets to the server.
#[derive(Debug)]
struct AcceptAny;

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// The TLS of one connection, without the socket: the caller passes in the bytes that came from the socket,
/// and [`flush`](Self::flush) writes the bytes that go to it.
#[derive(Debug)]
pub struct TlsSession {
    conn: ClientConnection,
    seen: Arc<Mutex<Seen>>,
    has_close_notify: bool,
}

impl TlsSession {
    /// Begins a session; nothing is sent before the first [`flush`](Self::flush).
    pub fn new(tls: &TlsSettings) -> Result<Self> {
        let name = ServerName::try_from(SERVER_NAME)?;
        let conn = ClientConnection::new(Arc::clone(&tls.config), name)?;
        Ok(Self { conn, seen: Arc::clone(&tls.seen), has_close_notify: false })
    }

    /// Does the whole handshake over a blocking socket, and returns the session.
    ///
    /// # Errors
    ///
    /// The handshake failed, or the server sent data at once, before the client sent any.
    pub fn handshake(tls: &TlsSettings, sock: &mut (impl Read + Write)) -> Result<Self> {
        let mut session = Self::new(tls)?;
        let (mut encrypted, mut plain) = ([0; 4096], Vec::new());
        while session.is_handshaking() {
            session.flush(sock)?;
            match read_once(sock, &mut encrypted)? {
                0 => bail!("the server ended the connection during the TLS handshake"),
                n => session.decrypt(&encrypted[..n], &mut plain)?,
            }
        }
        session.flush(sock)?;
        ensure!(plain.is_empty(), "the server sent data before the client did, inside TLS");
        Ok(session)
    }

    /// Returns the state in rustls, for an operation that this type does not offer.
    pub(crate) fn rustls_mut(&mut self) -> &mut ClientConnection {
        &mut self.conn
    }

    /// Reports whether the handshake is not completed yet.
    pub(crate) fn is_handshaking(&self) -> bool {
        self.conn.is_handshaking()
    }

    /// Reports whether the server has sent `close_notify`: nothing more comes after it.
    pub(crate) fn has_close_notify(&self) -> bool {
        self.has_close_notify
    }

    /// Returns the name of the TLS version that the handshake chose, once it is completed.
    pub(crate) fn version(&self) -> &'static str {
        self.conn.protocol_version().map_or("TLS", name)
    }

    /// Decrypts bytes that came from the socket, and appends their data to `plain`.
    pub fn decrypt(&mut self, mut encrypted: &[u8], plain: &mut Vec<u8>) -> Result<(), TlsError> {
        let other = |err: io::Error| TlsError::Other(err.to_string());
        while !encrypted.is_empty() && !self.has_close_notify {
            // There is room in the buffers of rustls: each turn of this loop empties them.
            self.conn.read_tls(&mut encrypted).map_err(other)?;
            let was_handshaking = self.conn.is_handshaking();
            let processed = self.conn.process_new_packets();
            if was_handshaking && !self.conn.is_handshaking() {
                lock(&self.seen).version = self.conn.protocol_version();
            }
            // Data that came before an error counts, too. The reader returns `WouldBlock` when no data is left.
            let _ = self.conn.reader().read_to_end(plain);
            let state = processed.map_err(|err| tls_error(&err))?;
            self.has_close_notify = state.peer_has_closed();
        }
        Ok(())
    }

    /// Reports whether this server has completed a handshake, with this client or with another.
    pub(crate) fn server_speaks_tls(&self) -> bool {
        lock(&self.seen).version.is_some()
    }

    /// Notes that the server ended a stream without `close_notify`.
    pub(crate) fn set_omits_close_notify(&self) {
        lock(&self.seen).omits_close_notify = true;
    }

    /// Encrypts bytes, as many as the buffers have room for, and returns their number.
    pub fn encrypt(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.conn.writer().write(bytes)
    }

    /// Writes all encrypted bytes to the socket. After an error, the rest is written by the next call.
    pub fn flush(&mut self, sock: &mut impl Write) -> io::Result<()> {
        while self.conn.wants_write() {
            match self.conn.write_tls(sock) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(err),
            }
        }
        Ok(())
    }

    /// Reports whether encrypted bytes wait to be written.
    #[must_use]
    pub fn wants_write(&self) -> bool {
        self.conn.wants_write()
    }

    /// Adds `close_notify` after the data: the client will send nothing more.
    pub fn close_notify(&mut self) {
        self.conn.send_close_notify();
    }
}

/// Converts an error of rustls. For a certificate that is not trusted, the text contains the reason.
fn tls_error(err: &rustls::Error) -> TlsError {
    use rustls::CertificateError as Cert;
    let reason = match err {
        rustls::Error::InvalidMessage(_) => return TlsError::NotTls,
        rustls::Error::AlertReceived(alert) => return TlsError::Alert(format!("{alert:?}")),
        rustls::Error::InvalidCertificate(reason) => reason,
        err => return TlsError::Other(err.to_string()),
    };
    let why = match reason {
        // The second variant means a CA of the same name with another key.
        Cert::UnknownIssuer | Cert::BadSignature => {
            "no CA in the file of --ca has signed it".to_owned()
        }
        Cert::Expired | Cert::ExpiredContext { .. } => "it has expired".to_owned(),
        Cert::NotValidForName | Cert::NotValidForNameContext { .. } => {
            format!("it is not for {SERVER_NAME}")
        }
        reason => reason.to_string(),
    };
    TlsError::Certificate(format!("a certificate that is not accepted: {why}"))
}
