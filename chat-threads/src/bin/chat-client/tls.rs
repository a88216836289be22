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
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use rustls::{CertificateError, ClientConfig, ClientConnection, RootCertStore};
use tincanchat::LINGER;

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
        // Without the brackets that an IPv6 address may have.
        let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(name)
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
    /// That we send no more is a message in TLS, so that a connection that somebody has cut off looks
    /// different.
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
            self.sock.peek(&mut [0])?; // waits until there is something, without the lock
            let mut tls = self.tls();
            tls.read_tls(&mut &self.sock)?;
            tls.process_new_packets().map_err(io::Error::other)?;
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
    let text = fs::read(path)?;
    let mut roots = RootCertStore::empty();
    for cert in CertificateDer::pem_slice_iter(&text) {
        let cert = cert.map_err(|err| anyhow!("it is no valid PEM: {err}"))?;
        roots.add(cert).context("a certificate in it makes no sense")?;
    }
    match roots.is_empty() {
        true => bail!("there is no certificate in it (-----BEGIN CERTIFICATE-----)"),
        false => Ok(roots),
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
            tls.write_tls(&mut sock)?;
        }
        if tls.is_handshaking() && tls.read_tls(&mut sock)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if let Err(err) = tls.process_new_packets() {
            let _ = tls.write_tls(&mut sock); // tells the server why
            return Err(io::Error::new(ErrorKind::InvalidData, err));
        }
    }
    while tls.wants_write() {
        tls.write_tls(&mut sock)?;
    }
    sock.set_read_timeout(None)
}

/// Says in plain words why we refuse a server, where the usual reasons are.
#[allow(clippy::enum_glob_use)] // twice as long, and no clearer
fn explained(err: io::Error, host: &str, ca: Option<&Path>) -> Error {
    use CertificateError::*;
    let trusted = ca.map_or("the system trusts (--ca FILE names another)".to_owned(), |ca| {
        format!("is in {}", ca.display())
    });
    match err.get_ref().and_then(|err| err.downcast_ref()) {
        Some(rustls::Error::InvalidCertificate(reason)) => match reason {
            // The latter is a CA of the same name with another key.
            UnknownIssuer | BadSignature => {
                anyhow!("wrong CA: the server's certificate is signed by none that {trusted}")
            }
            Expired | ExpiredContext { .. } => anyhow!("the server's certificate has expired"),
            NotValidYet | NotValidYetContext { .. } => {
                anyhow!("the server's certificate is not valid yet; or our clock is wrong")
            }
            NotValidForNameContext { presented, .. } => anyhow!(
                "wrong host name: the server's certificate is not for {host} but for {}",
                presented.iter().map(|name| bare(name)).collect::<Vec<_>>().join(", ")
            ),
            NotValidForName => {
                anyhow!("wrong host name: the server's certificate is not for {host}")
            }
            reason => anyhow!("the server's certificate is refused: {reason}"),
        },
        Some(rustls::Error::InvalidMessage(_)) => anyhow!("the server does not speak TLS"),
        None if matches!(err.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => {
            anyhow!("no answer within {HANDSHAKE:?}: does the server speak TLS?")
        }
        None if err.kind() == ErrorKind::UnexpectedEof => {
            anyhow!("the server closed the connection: does it speak TLS?")
        }
        _ => err.into(),
    }
}

/// The name in what rustls shows of a name: `DnsName("example.org")`, `IpAddress(192.0.2.7)`.
fn bare(shown: &str) -> &str {
    let within = shown.split_once('(').and_then(|(_, within)| within.strip_suffix(')'));
    within.unwrap_or(shown).trim_matches('"')
}
