//! A connection inside TLS, for a thread that reads and another that writes.
//!
//! Who is on the other side is known by a certificate: it names the server, and somebody whom we trust,
//! a certificate authority (CA), has signed it.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow, bail};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, pem, pem::PemObject};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, PeerIncompatible,
    RootCertStore,
};
use tincanchat::cli::in_words;
use tincanchat::{LINGER, retry_interrupted, without_brackets};

/// How long a server may take for its part of the handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// A connection to a server, in private or not.
pub enum Sock {
    Plain(TcpStream),
    Tls(Box<TlsSock>),
}

impl Sock {
    /// Shakes hands with the server on a new connection, and makes sure that it is `host`. The CAs
    /// that count are those in the file `ca`, or else those that the system trusts.
    pub fn shake(sock: TcpStream, host: &str, ca: Option<&Path>) -> Result<Self> {
        let roots = match ca {
            Some(path) => read_roots(path).with_context(|| path.display().to_string())?,
            None => system_roots()?,
        };
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(without_brackets(host).to_owned())
            .with_context(|| format!("no certificate can be for a host called {host}"))?;
        let mut tls = ClientConnection::new(Arc::new(config), name)?;
        let shaken = shake_hands(&sock, &mut tls);
        shaken.map_err(|err| explained(err, host, ca)).context("TLS handshake")?;
        Ok(Sock::Tls(Box::new(TlsSock { sock, tls: Mutex::new(tls) })))
    }

    pub fn is_plain(&self) -> bool {
        matches!(self, Sock::Plain(_))
    }

    pub fn tcp(&self) -> &TcpStream {
        match self {
            Sock::Plain(sock) => sock,
            Sock::Tls(tls) => &tls.sock,
        }
    }

    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        if let (Sock::Tls(tls), Shutdown::Write) = (self, how) {
            tls.close_notify()?;
        }
        self.tcp().shutdown(how)
    }
}

impl Read for &Sock {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Sock::Plain(sock) => (&*sock).read(buf),
            Sock::Tls(tls) => (&**tls).read(buf),
        }
    }
}

impl Write for &Sock {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Sock::Plain(sock) => (&*sock).write(bytes),
            Sock::Tls(tls) => (&**tls).write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The thread that reads waits at the socket without the lock, so the other can send meanwhile. Only
/// one thread writes.
pub struct TlsSock {
    sock: TcpStream,
    tls: Mutex<ClientConnection>,
}

impl TlsSock {
    /// Tells the server that we send no more. TLS has a message for that, so a connection that has been
    /// cut off looks different.
    fn close_notify(&self) -> io::Result<()> {
        // A server that does not read does not keep us from leaving.
        self.sock.set_write_timeout(Some(LINGER))?;
        self.tls().send_close_notify();
        self.send_out()
    }

    fn send_out(&self) -> io::Result<()> {
        let mut records = Vec::new();
        let mut tls = self.tls();
        while tls.wants_write() {
            tls.write_tls(&mut records)?;
        }
        drop(tls); // or a server that does not read would keep us from reading
        (&self.sock).write_all(&records)
    }

    fn tls(&self) -> MutexGuard<'_, ClientConnection> {
        self.tls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Read for &TlsSock {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.tls().reader().read(buf) {
                Err(err) if err.kind() == ErrorKind::WouldBlock => {}
                Err(err) if err.kind() == ErrorKind::UnexpectedEof => {
                    let cut_off = "no close_notify before the end: something may have been cut off";
                    return Err(io::Error::new(err.kind(), cut_off));
                }
                read => return read,
            }
            // Waits until there is something, without the lock.
            retry_interrupted(|| self.sock.peek(&mut [0]))?;
            let mut tls = self.tls();
            retry_interrupted(|| tls.read_tls(&mut &self.sock))?;
            let processed = tls.process_new_packets();
            processed.map_err(|err| io::Error::other(tls_words(&err)))?;
        }
    }
}

impl Write for &TlsSock {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.tls().writer().write(bytes)?;
        self.send_out()?;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn read_roots(path: &Path) -> Result<RootCertStore> {
    let text = fs::read(path).map_err(in_words)?;
    // Some editors write a byte order mark.
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
    match text {
        [0xfe, 0xff, ..] | [0xff, 0xfe, ..] => {
            bail!("it is UTF-16 text: save it again as UTF-8 or ASCII")
        }
        // A sequence, as each certificate in DER is: its tag, and how its length is written. The tag
        // alone is also the character 0, with which the comments before a PEM certificate may begin.
        [0x30, 0x80..=0x84, ..] => bail!(
            "it is DER or PKCS #12, not PEM: openssl x509 -in FILE -out ca.pem writes it as PEM"
        ),
        _ => {}
    }
    let mut roots = RootCertStore::empty();
    for cert in CertificateDer::pem_slice_iter(text) {
        let cert = cert.map_err(|err| anyhow!("it is not valid PEM: {}", pem_words(&err)))?;
        if roots.add(cert).is_err() {
            bail!("a certificate in it is damaged: the bytes inside are not an X.509 certificate");
        }
    }
    match roots.is_empty() {
        true => bail!("there is no certificate in it (-----BEGIN CERTIFICATE-----)"),
        false => Ok(roots),
    }
}

fn pem_words(err: &pem::Error) -> String {
    match err {
        pem::Error::MissingSectionEnd { end_marker } => {
            format!("the line -----END {}----- is missing", String::from_utf8_lossy(end_marker))
        }
        pem::Error::IllegalSectionStart { line } => {
            format!("the line {} is cut off", String::from_utf8_lossy(line).trim_end())
        }
        pem::Error::Base64Decode(_) => "a line between BEGIN and END is not base64".to_owned(),
        err => err.to_string(),
    }
}

fn system_roots() -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    // Some have certificates that nobody can read; one that can be read is enough.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    match roots.is_empty() {
        true => bail!("the system has no list of trusted CAs here; --ca FILE names one"),
        false => Ok(roots),
    }
}

fn shake_hands(mut sock: &TcpStream, tls: &mut ClientConnection) -> io::Result<()> {
    let until = Instant::now() + HANDSHAKE;
    while tls.is_handshaking() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        sock.set_read_timeout(Some(left))?;
        while tls.wants_write() {
            retry_interrupted(|| tls.write_tls(&mut sock))?;
        }
        if tls.is_handshaking() && retry_interrupted(|| tls.read_tls(&mut sock))? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if let Err(err) = tls.process_new_packets() {
            let _ = retry_interrupted(|| tls.write_tls(&mut sock)); // tells the server why
            return Err(io::Error::new(ErrorKind::InvalidData, err));
        }
    }
    while tls.wants_write() {
        retry_interrupted(|| tls.write_tls(&mut sock))?;
    }
    sock.set_read_timeout(None)
}

/// Says in plain words why there is no connection in TLS, and what to do about it.
fn explained(err: io::Error, host: &str, ca: Option<&Path>) -> Error {
    match err.get_ref().and_then(|err| err.downcast_ref()) {
        Some(rustls::Error::InvalidCertificate(reason)) => {
            anyhow!(certificate_words(reason, host, ca))
        }
        Some(err) => anyhow!(tls_words(err)),
        None if matches!(err.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => {
            anyhow!("no answer within {HANDSHAKE:?}: does the server speak TLS?")
        }
        None if err.kind() == ErrorKind::UnexpectedEof => {
            anyhow!("the server closed the connection: does it speak TLS?")
        }
        None if matches!(err.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
            anyhow!("{}: does it speak TLS?", in_words(err))
        }
        None => in_words(err).into(),
    }
}

/// Says what is wrong with a server's certificate, and what to do about it.
#[allow(clippy::enum_glob_use)] // twice as long, and no clearer
fn certificate_words(reason: &CertificateError, host: &str, ca: Option<&Path>) -> String {
    use CertificateError::*;
    let trusted = ca.map_or("that the system trusts (--ca FILE names another)".to_owned(), |ca| {
        format!("in {}: --ca needs the certificate of the CA that has signed it", ca.display())
    });
    match reason {
        UnknownIssuer => {
            format!("wrong CA: the server's certificate is not signed by a CA {trusted}")
        }
        BadSignature => format!(
            "wrong CA, or an RSA key of fewer than 2048 bits: the signature of the server's \
             certificate does not match the key of the CA of that name {trusted}"
        ),
        Expired | ExpiredContext { .. } => {
            "the server's certificate has expired: the server needs a new one, or our clock is wrong".into()
        }
        NotValidYet | NotValidYetContext { .. } => {
            "the server's certificate is not valid yet: the server needs another, or our clock is wrong"
                .into()
        }
        NotValidForNameContext { presented, .. } if presented.is_empty() => format!(
            "the server's certificate names no host: the server needs one with {host} as a \
             subjectAltName (its common name does not count)"
        ),
        NotValidForNameContext { presented, .. } => {
            let names: Vec<_> = presented.iter().map(|name| bare(name)).collect();
            format!(
                "wrong host name: the server's certificate is not for {host} but for {}: connect \
                 to a name that it is for, or give the server one for {host}",
                names.join(", ")
            )
        }
        NotValidForName => format!(
            "wrong host name: the server's certificate is not for {host}: connect to a name that \
             it is for, or give the server one for {host}"
        ),
        Revoked => "the server's certificate has been revoked by its CA: the server needs a new one".into(),
        InvalidPurpose | InvalidPurposeContext { .. } => {
            "the server's certificate is not for servers: the server needs one with serverAuth in its \
             extendedKeyUsage, or without one"
                .into()
        }
        BadEncoding => "the server's certificate is damaged: the server needs a new one".into(),
        UnsupportedSignatureAlgorithmContext { .. }
        | UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "the server's certificate is signed in a way that we do not accept: the server needs one \
             signed with RSA and SHA-256, ECDSA P-256 or P-384, or Ed25519"
                .into()
        }
        Other(reason) => match reason.0.downcast_ref() {
            Some(reason) => webpki_words(reason),
            None => unusable(&reason.0),
        },
        reason => unusable(reason),
    }
}

/// Explains the errors that rustls passes on from webpki.
fn webpki_words(reason: &webpki::Error) -> String {
    use webpki::Error;
    match reason {
        Error::CaUsedAsEndEntity => {
            "the server's certificate is that of a CA, which is for signing others: the server needs one of \
             its own, with CA:FALSE in its basicConstraints (openssl req -x509 makes a CA, unless \
             told -addext basicConstraints=CA:FALSE)"
                .into()
        }
        Error::EndEntityUsedAsCa => {
            "the server's certificate is signed by a certificate that is not a CA: the server needs one \
             signed by a CA"
                .into()
        }
        Error::UnsupportedCertVersion => {
            "the server's certificate is of an old version of X.509: the server needs one of version 3, \
             with its host as a subjectAltName (openssl x509 -req makes one if told -extfile FILE)"
                .into()
        }
        Error::UnsupportedCriticalExtension => {
            "the server's certificate has a critical extension that we do not know: the server needs one \
             without"
                .into()
        }
        Error::NameConstraintViolation => {
            "the server's certificate is for a name that its CA may not sign for: the server needs one \
             from another CA"
                .into()
        }
        Error::PathLenConstraintViolated | Error::MaximumPathDepthExceeded => {
            "the certificate chain is too long: the server needs a certificate with fewer \
             intermediate CAs"
                .into()
        }
        reason => unusable(reason),
    }
}

fn unusable(reason: &impl std::fmt::Debug) -> String {
    format!("the server's certificate cannot be used ({reason:?}): the server needs a new one")
}

/// Says in plain words what else ends a connection in TLS.
fn tls_words(err: &rustls::Error) -> String {
    use rustls::Error;
    match err {
        Error::InvalidMessage(_) => "the server does not speak TLS".into(),
        Error::NoCertificatesPresented => {
            "the server shows no certificate: the server needs one".into()
        }
        Error::AlertReceived(AlertDescription::ProtocolVersion)
        | Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => "the server speaks only old versions of TLS: the server needs 1.2 or 1.3".into(),
        Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "the server wants a certificate of its clients, and chat-client has none".into()
        }
        Error::AlertReceived(AlertDescription::UnrecognisedName) => {
            "the server has no certificate for this host name: connect to another of its names"
                .into()
        }
        Error::AlertReceived(
            AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity,
        )
        | Error::PeerIncompatible(_) => {
            "the server and this client have no cipher or kind of key in common, or the server \
             wants a certificate of its clients, and chat-client has none"
                .into()
        }
        Error::AlertReceived(alert) => {
            format!("the server refused the connection with the TLS alert {alert:?}")
        }
        Error::PeerMisbehaved(what) => format!("the server breaks a rule of TLS: {what:?}"),
        Error::DecryptError => "what the server has sent cannot be decrypted".into(),
        err => err.to_string(),
    }
}

/// Returns the name without what rustls shows around it: `DnsName("example.org")`, `IpAddress(192.0.2.7)`.
fn bare(shown: &str) -> &str {
    let within = shown.split_once('(').and_then(|(_, within)| within.strip_suffix(')'));
    within.unwrap_or(shown).trim_matches('"')
}
