//! TLS between a client's socket and its bytes: whom the client trusts, and a session with a server.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, ProtocolVersion, RootCertStore,
    SignatureScheme,
};

/// The name that a server's certificate must have, where it is looked at.
pub const SERVER_NAME: &str = "localhost";

/// How clients speak TLS with a server: 1.3 or 1.2, with a whole handshake each time.
#[derive(Clone, Debug)]
pub struct Tls {
    config: Arc<ClientConfig>,
    /// What is known of the server's certificate.
    trust: String,
    met: Arc<Mutex<Met>>,
}

/// What was seen of a server.
#[derive(Debug, Default)]
struct Met {
    version: Option<ProtocolVersion>,
    cuts_off: bool,
}

impl Tls {
    /// Takes a server with a certificate for [`SERVER_NAME`] that a CA in this file has signed.
    pub fn trusting(ca: &Path) -> Result<Self> {
        let shown = ca.display();
        let text = fs::read(ca).with_context(|| format!("cannot read {shown}"))?;
        let mut roots = RootCertStore::empty();
        for cert in CertificateDer::pem_slice_iter(&text) {
            let cert = cert.map_err(|err| anyhow!("{shown} is no valid PEM: {err}"))?;
            roots.add(cert).with_context(|| format!("a certificate in {shown} makes no sense"))?;
        }
        if roots.is_empty() {
            bail!("there is no certificate in {shown} (-----BEGIN CERTIFICATE-----)");
        }
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        let trust = format!("its certificate is for {SERVER_NAME}, signed by a CA in {shown}");
        Self::with(verifier.build()?, trust)
    }

    /// Takes any server, whatever its certificate says.
    pub fn trusting_anybody() -> Result<Self> {
        let trust = "nobody looked at its certificate (with --ca FILE, it has to be signed by a CA \
                     in FILE)";
        Self::with(Arc::new(Anybody), trust.to_owned())
    }

    fn with(verifier: Arc<dyn ServerCertVerifier>, trust: String) -> Result<Self> {
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        // So that the first handshake with a server costs what the next one does.
        config.resumption = Resumption::disabled();
        Ok(Self { config: Arc::new(config), trust, met: Arc::default() })
    }

    /// The bytes with which a client begins.
    pub fn hello(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        Session::begin(self)?.flush(&mut bytes)?;
        Ok(bytes)
    }

    /// Whether the end of one direction is the end of both, as in TLS 1.2 (RFC 5246 section 7.2.1).
    #[must_use]
    pub fn ends_both(&self) -> bool {
        self.met().version == Some(ProtocolVersion::TLSv1_2)
    }

    /// What is to be told of a server that was checked so.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let Met { version, cuts_off } = *self.met();
        let Some(version) = version else { return Vec::new() };
        let mut notes = vec![format!("it speaks {}; {}.", name(version), self.trust)];
        if cuts_off {
            notes.push(CUTS_OFF.to_owned());
        }
        notes
    }

    fn met(&self) -> MutexGuard<'_, Met> {
        self.met.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const CUTS_OFF: &str = "it ends connections without close_notify, so that clients cannot know whether \
                        something was cut off (RFC 8446 section 6.1). Apart from this note, that is \
                        let pass.";

fn name(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::TLSv1_2 => "TLS 1.2",
        ProtocolVersion::TLSv1_3 => "TLS 1.3",
        _ => "TLS",
    }
}

/// Believes everybody: who is checked has no secrets from us, nor we from it.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
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

/// One connection's TLS, which knows nothing of its socket: what comes is put in, what has to go is
/// taken out.
#[derive(Debug)]
pub struct Session {
    conn: ClientConnection,
    met: Arc<Mutex<Met>>,
    is_notified: bool,
}

impl Session {
    /// The client's side, before its first byte.
    pub fn begin(tls: &Tls) -> Result<Self> {
        let name = ServerName::try_from(SERVER_NAME)?;
        let conn = ClientConnection::new(Arc::clone(&tls.config), name)?;
        Ok(Self { conn, met: Arc::clone(&tls.met), is_notified: false })
    }

    /// Does the whole handshake over a socket that waits, and gives the session. Nothing may have been
    /// said in it by then.
    pub fn shake(tls: &Tls, sock: &mut (impl Read + Write)) -> Result<Self> {
        let mut session = Self::begin(tls)?;
        let (mut raw, mut plain) = ([0; 4096], Vec::new());
        while session.is_shaking() {
            session.flush(sock)?;
            match sock.read(&mut raw)? {
                0 => bail!("the server ended the connection amid the TLS handshake"),
                n => session.take_in(&raw[..n], &mut plain)?,
            }
        }
        session.flush(sock)?;
        ensure!(plain.is_empty(), "the server speaks first, inside TLS");
        Ok(session)
    }

    /// Whether the handshake still lasts.
    #[must_use]
    pub fn is_shaking(&self) -> bool {
        self.conn.is_handshaking()
    }

    /// Whether the server has said that nothing more comes.
    #[must_use]
    pub fn is_notified(&self) -> bool {
        self.is_notified
    }

    /// What was agreed on, once the handshake is done.
    #[must_use]
    pub fn version(&self) -> &'static str {
        self.conn.protocol_version().map_or("TLS", name)
    }

    /// Takes in what has come, and adds to `plain` what it says.
    pub fn take_in(&mut self, mut came: &[u8], plain: &mut Vec<u8>) -> Result<(), rustls::Error> {
        while !came.is_empty() && !self.is_notified {
            // What is in the buffers has been taken out of them each time, so there is room.
            self.conn.read_tls(&mut came).map_err(|err| rustls::Error::General(err.to_string()))?;
            let was_shaking = self.conn.is_handshaking();
            let state = self.conn.process_new_packets()?;
            if was_shaking && !self.conn.is_handshaking() {
                self.met().version = self.conn.protocol_version();
            }
            let before = plain.len();
            plain.resize(before + state.plaintext_bytes_to_read(), 0);
            let read = self.conn.reader().read_exact(&mut plain[before..]);
            read.map_err(|err| rustls::Error::General(err.to_string()))?;
            self.is_notified = state.peer_has_closed();
        }
        Ok(())
    }

    /// Whether this server has shaken hands, with this client or with another.
    #[must_use]
    pub fn was_met(&self) -> bool {
        self.met().version.is_some()
    }

    /// Keeps in mind that the server ended a connection in good order, but without a word of it in TLS.
    pub fn was_cut_off(&self) {
        self.met().cuts_off = true;
    }

    /// Takes bytes to be said, as many as there is room for.
    pub fn put(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.conn.writer().write(bytes)
    }

    /// Sends what has to go, as far as the socket takes it.
    pub fn flush(&mut self, sock: &mut impl Write) -> io::Result<()> {
        while self.conn.wants_write() {
            if self.conn.write_tls(sock)? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }

    /// Whether something has to go.
    #[must_use]
    pub fn has_to_flush(&self) -> bool {
        self.conn.wants_write()
    }

    /// Says that nothing more will be said.
    pub fn notify(&mut self) {
        self.conn.send_close_notify();
    }

    fn met(&self) -> MutexGuard<'_, Met> {
        self.met.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says in plain words why TLS with a server failed, where the usual reasons are.
#[must_use]
pub fn explained(err: &rustls::Error) -> String {
    use rustls::CertificateError as Cert;
    let rustls::Error::InvalidCertificate(reason) = err else { return err.to_string() };
    let why = match reason {
        // The latter is a CA of the same name with another key.
        Cert::UnknownIssuer | Cert::BadSignature => {
            "no CA in the file of --ca has signed it".to_owned()
        }
        Cert::Expired | Cert::ExpiredContext { .. } => "it has expired".to_owned(),
        Cert::NotValidForName | Cert::NotValidForNameContext { .. } => {
            format!("it is not for {SERVER_NAME}")
        }
        reason => reason.to_string(),
    };
    format!("a certificate that does not do: {why}")
}
