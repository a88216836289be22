//! A connection inside TLS, for one thread that reads and another that writes.
//!
//! The server proves with a certificate that it is the host that the user has named. The certificate
//! contains the host's name, and is signed by a certificate authority (CA) that the client trusts.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use serverkit::readable_error;
use tincanchat::{LINGER, retry_interrupted, without_brackets};

use explain::{explain_handshake_error, explain_pem_error, explain_tls_error};

mod explain;

/// How long the handshake may take: 10 s.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// A connection to a server, plain or encrypted.
pub enum Sock {
    Plain(TcpStream),
    Tls(Box<TlsSock>),
}

impl Sock {
    /// Performs the TLS handshake on a new connection, and checks that the server is `host`. Trusts the CAs
    /// in the PEM file `ca` or, without such a file, the CAs that the system trusts.
    pub fn connect_tls(sock: TcpStream, host: &str, ca: Option<&Path>) -> Result<Self> {
        let roots = match ca {
            Some(path) => read_roots(path).with_context(|| path.display().to_string())?,
            None => system_roots()?,
        };
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(without_brackets(host).to_owned())
            .with_context(|| format!("a certificate cannot be for a host named {host}"))?;
        let mut tls = ClientConnection::new(Arc::new(config), name)?;
        handshake(&sock, &mut tls)
            .map_err(|err| explain_handshake_error(err, host, ca))
            .context("TLS handshake")?;
        Ok(Sock::Tls(Box::new(TlsSock { sock, tls: Mutex::new(tls) })))
    }

    /// Reports whether the connection is not encrypted.
    pub fn is_plain(&self) -> bool {
        matches!(self, Sock::Plain(_))
    }

    /// Shuts down one direction of the connection or both, as [`TcpStream::shutdown`] does. For the
    /// sending direction alone, TLS has a message of its own, which is sent first.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Sock::Plain(sock) => sock.shutdown(how),
            Sock::Tls(tls) => {
                if how == Shutdown::Write {
                    tls.send_close_notify()?;
                }
                tls.sock.shutdown(how)
            }
        }
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

/// An encrypted connection. The reading thread waits for bytes without holding the lock, so that the
/// writing thread can send at the same time. Only one thread may write.
pub struct TlsSock {
    sock: TcpStream,
    tls: Mutex<ClientConnection>,
}

impl TlsSock {
    /// Tells the server, inside TLS, that we will send nothing more. This lets the server distinguish it
    /// from a connection that was cut off on the way.
    fn send_close_notify(&self) -> io::Result<()> {
        // The program ends next; a server that does not read must not delay that for long.
        self.sock.set_write_timeout(Some(LINGER))?;
        self.tls().send_close_notify();
        self.send_records()
    }

    /// Sends the records that rustls has encrypted.
    fn send_records(&self) -> io::Result<()> {
        let mut records = Vec::new();
        let mut tls = self.tls();
        while tls.wants_write() {
            tls.write_tls(&mut records)?;
        }
        // The write blocks while the server does not read; the reading thread needs the lock.
        drop(tls);
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
                // No decrypted bytes are left.
                Err(err) if err.kind() == ErrorKind::WouldBlock => {}
                // The connection has ended without the message that announces this in TLS.
                Err(err) if err.kind() == ErrorKind::UnexpectedEof => {
                    let reason = "no close_notify before the end: something may have been cut off";
                    return Err(io::Error::new(err.kind(), reason));
                }
                read => return read,
            }
            // Waits for bytes without holding the lock, and leaves them in the socket.
            retry_interrupted(|| self.sock.peek(&mut [0]))?;
            let mut tls = self.tls();
            retry_interrupted(|| tls.read_tls(&mut &self.sock))?;
            tls.process_new_packets().map_err(|err| io::Error::other(explain_tls_error(&err)))?;
        }
    }
}

impl Write for &TlsSock {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.tls().writer().write(bytes)?;
        self.send_records()?;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads the certificates of CAs from a PEM file.
fn read_roots(path: &Path) -> Result<RootCertStore> {
    let text = fs::read(path).map_err(readable_error)?;
    // Some editors write a byte order mark.
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
    match text {
        [0xfe, 0xff, ..] | [0xff, 0xfe, ..] => {
            bail!("it is UTF-16 text: save it again as UTF-8 or ASCII")
        }
        // In DER a certificate is a SEQUENCE: its tag, then its length in one of these forms. The tag alone
        // would not be enough: it is also the digit 0, and the comment before a PEM certificate may begin
        // with a 0.
        [0x30, 0x80..=0x84, ..] => bail!(
            "it is DER or PKCS #12, not PEM: openssl x509 -in FILE -out ca.pem writes it as PEM"
        ),
        _ => {}
    }
    let mut roots = RootCertStore::empty();
    for cert in CertificateDer::pem_slice_iter(text) {
        let cert =
            cert.map_err(|err| anyhow!("it is not valid PEM: {}", explain_pem_error(&err)))?;
        if roots.add(cert).is_err() {
            bail!("a certificate in it is damaged: the bytes inside are not an X.509 certificate");
        }
    }
    if roots.is_empty() {
        bail!("there is no certificate in it (-----BEGIN CERTIFICATE-----)");
    }
    Ok(roots)
}

/// Returns the CAs that the system trusts.
fn system_roots() -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    // On some systems, some of these certificates cannot be read. One that can be read is enough.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        bail!("no list of trusted CAs was found on this system; --ca FILE names one");
    }
    Ok(roots)
}

/// Performs the handshake, within [`HANDSHAKE_TIME`].
fn handshake(mut sock: &TcpStream, tls: &mut ClientConnection) -> io::Result<()> {
    let deadline = Instant::now() + HANDSHAKE_TIME;
    while tls.is_handshaking() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(no_answer());
        }
        sock.set_read_timeout(Some(left))?;
        while tls.wants_write() {
            retry_interrupted(|| tls.write_tls(&mut sock))?;
        }
        match retry_interrupted(|| tls.read_tls(&mut sock)) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            // The read has timed out. Which of the two kinds this is depends on the system.
            Err(err) if matches!(err.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => {
                return Err(no_answer());
            }
            Err(err) => return Err(err),
        }
        if let Err(err) = tls.process_new_packets() {
            // Sends the alert that tells the server the reason.
            let _ = retry_interrupted(|| tls.write_tls(&mut sock));
            return Err(io::Error::new(ErrorKind::InvalidData, err));
        }
    }
    while tls.wants_write() {
        retry_interrupted(|| tls.write_tls(&mut sock))?;
    }
    sock.set_read_timeout(None)
}

fn no_answer() -> io::Error {
    let reason = format!("no answer within {HANDSHAKE_TIME:?}: does the server speak TLS?");
    io::Error::new(ErrorKind::TimedOut, reason)
}
