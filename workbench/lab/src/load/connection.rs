//! One connection of the load generator, with or without TLS.

use std::io::{self, ErrorKind, Write as _};
use std::net::{SocketAddr, TcpStream as StdTcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mio::net::TcpStream;

use probe::tls::{TlsSession, TlsSettings};

/// How long the generator waits for a connection, or for a server that does not answer.
pub const TIMEOUT: Duration = Duration::from_secs(20);

/// How long the generator waits for the copies of a message. A copy that has not come by then is a fault.
pub const COPY_TIMEOUT: Duration = Duration::from_secs(5);

/// Descriptors that an experiment needs in addition to one for each client.
const OTHER_DESCRIPTORS: u64 = 64;

/// Connects to a server, which has to take the connection within [`TIMEOUT`].
pub fn connect(addr: SocketAddr) -> io::Result<StdTcpStream> {
    let stream = StdTcpStream::connect_timeout(&addr, TIMEOUT)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Connects to a server, and does the handshake if the server uses TLS.
pub fn connect_with_tls(
    addr: SocketAddr,
    tls: Option<&TlsSettings>,
) -> Result<(StdTcpStream, Option<Box<TlsSession>>)> {
    let mut stream = connect(addr)?;
    let Some(tls) = tls else { return Ok((stream, None)) };
    stream.set_read_timeout(Some(TIMEOUT))?;
    let session = TlsSession::handshake(tls, &mut stream)?;
    Ok((stream, Some(Box::new(session))))
}

/// Raises the soft limit of open descriptors to the number that these clients need.
pub fn raise_descriptor_limit(clients: u64) -> Result<()> {
    let needed = clients + OTHER_DESCRIPTORS;
    let limit =
        rlimit::increase_nofile_limit(needed).context("cannot raise the descriptor limit")?;
    ensure!(limit >= needed, "{clients} clients need {needed} descriptors, the limit is {limit}");
    Ok(())
}

/// One connection.
pub(super) struct Connection {
    pub stream: TcpStream,
    /// Whether the server has closed or reset it, or has sent bytes that are not TLS to a client that uses TLS.
    pub is_closed: bool,
    pub tls: Option<Box<TlsSession>>,
}

impl Connection {
    /// Sends as many bytes as the kernel takes, and returns their number.
    ///
    /// With TLS, returns how many bytes were encrypted. Encrypted bytes that the kernel does not take wait in the
    /// session.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.stream.write(bytes) };
        tls.flush(&mut self.stream)?;
        let len = tls.encrypt(bytes)?;
        // The next call sends the waiting bytes first.
        match tls.flush(&mut self.stream) {
            Err(e) if e.kind() != ErrorKind::WouldBlock => Err(e),
            _ => Ok(len),
        }
    }

    /// Sends a few bytes. Without TLS, it is an error if the kernel does not take all of them at once.
    pub fn write_all_at_once(&mut self, bytes: &[u8]) -> Result<()> {
        let n = self.write(bytes).context("cannot send")?;
        ensure!(n == bytes.len(), "cannot send {} bytes at once", bytes.len());
        Ok(())
    }

    /// Reports whether encrypted bytes wait until the kernel takes them.
    pub fn has_unsent(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }
}
