//! TLS on the socket of a client: the handshake, and a socket that one task reads and another writes.

use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::mem;
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use anyhow::{Error, Result, anyhow, bail};
use async_std::future::timeout;
use async_std::net::TcpStream;
use futures_lite::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use rustls::{AlertDescription, ServerConfig, ServerConnection};
use tincanchat::asynchronous::{discard_input, retry_interrupted};
use tincanchat::{LINGER, SERVER_FULL};

/// The first byte of every handshake: the type of its records (RFC 8446, section 5.1). It is a control
/// character, so no client that sends text begins with it.
const HANDSHAKE_RECORD: u8 = 22;

/// How long a client that is refused may take for the handshake. Before the handshake is complete, the
/// client cannot be told the reason.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

/// The most bytes that rustls may hold until the kernel accepts them: 16 KiB, about one record.
///
/// These bytes are not in the client's queue any more, so the queue's limit does not count them.
const UNSENT: usize = 16 * 1024;

/// Performs the handshake with a client. If that fails, closes the connection and returns the reason.
pub async fn accept(
    sock: TcpStream,
    config: &Arc<ServerConfig>,
    limit: Duration,
) -> Result<TlsSock> {
    let failure = match timeout(limit, shake_hands(&sock, config)).await {
        Ok(Ok(session)) => return Ok(TlsSock::new(sock, session)),
        Ok(Err(err)) => err,
        Err(_) => anyhow!("not completed within {} s", limit.as_secs()),
    };
    // An alert tells the client the reason. Closing with unread input would send a reset, which can
    // destroy the alert.
    let _ = sock.shutdown(Shutdown::Write);
    let _ = timeout(LINGER, discard_input(&mut &sock)).await;
    Err(failure)
}

/// Tells a client inside TLS that the server is full, and closes the connection.
pub async fn refuse(sock: TcpStream, config: &Arc<ServerConfig>) {
    let Ok(sock) = accept(sock, config, REFUSAL_TIMEOUT).await else {
        return; // the client cannot be told, and the refusal is already in the log
    };
    let mut sock = &sock;
    let reply_and_linger = async {
        if sock.write_all(SERVER_FULL).await.is_ok() && sock.close_notify().await.is_ok() {
            let _ = sock.shutdown(Shutdown::Write);
            sock.discard_input().await;
        }
    };
    let _ = timeout(LINGER, reply_and_linger).await;
}

async fn shake_hands(sock: &TcpStream, config: &Arc<ServerConfig>) -> Result<ServerConnection> {
    let mut first = [0];
    let peeked = loop {
        match sock.peek(&mut first).await {
            // A signal came during the call.
            Err(err) if err.kind() == ErrorKind::Interrupted => {}
            peeked => break peeked?,
        }
    };
    match peeked {
        0 => bail!("the client closed the connection before it"),
        _ if first != [HANDSHAKE_RECORD] => bail!("the client speaks plaintext, not TLS"),
        _ => {}
    }
    let mut session = ServerConnection::new(Arc::clone(config))?;
    session.set_buffer_limit(Some(UNSENT));
    let result = poll_fn(|cx| poll_handshake(&mut session, &mut SyncSock { sock, cx })).await;
    if let Err(err) = result {
        // Sends the alert, if rustls has one for this error.
        let _ = poll_fn(|cx| poll_send(&mut session, &mut SyncSock { sock, cx })).await;
        return Err(explain(err));
    }
    Ok(session)
}

/// Explains the usual reasons why a handshake fails.
fn explain(err: io::Error) -> Error {
    use AlertDescription::{BadCertificate, CertificateExpired, CertificateUnknown, UnknownCA};
    if err.kind() == ErrorKind::UnexpectedEof {
        return anyhow!("the client closed the connection during it");
    }
    let reason = err.get_ref().and_then(|err| err.downcast_ref());
    let Some(rustls::Error::AlertReceived(alert)) = reason else {
        return err.into();
    };
    match alert {
        UnknownCA => anyhow!("the client does not trust the CA of our certificate"),
        // Some clients, such as those that use rustls, send this alert in both cases.
        CertificateExpired => anyhow!(
            "the client says that our certificate has expired or is not valid yet: \
             compare its dates with the clocks of both machines"
        ),
        BadCertificate | CertificateUnknown => anyhow!(
            "the client refuses our certificate ({alert:?}): \
             perhaps it is for another host, or not valid yet"
        ),
        _ => err.into(),
    }
}

/// A connection inside TLS, for one task that reads and another that writes.
///
/// Both tasks use the same TLS state, so a lock protects it. A task holds the lock while it encrypts or
/// decrypts, and never while it waits.
pub struct TlsSock {
    sock: TcpStream,
    state: Mutex<State>,
}

struct State {
    session: ServerConnection,
    /// How many bytes the current write has encrypted; 0 when the kernel has accepted all of them.
    unsent: usize,
    /// Whether this server has begun to close the connection. Then the client need not send `close_notify`.
    is_closing: bool,
}

impl TlsSock {
    fn new(sock: TcpStream, session: ServerConnection) -> Self {
        TlsSock { sock, state: Mutex::new(State { session, unsent: 0, is_closing: false }) }
    }

    /// Sends `close_notify`, which tells the client that nothing is missing at the end.
    pub async fn close_notify(&self) -> io::Result<()> {
        let mut sock = self;
        sock.close().await
    }

    /// Shuts down the TCP connection, without sending a message of TLS.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.state().is_closing = true;
        self.sock.shutdown(how)
    }

    /// Reads and discards input as it arrives, without decrypting it, until the client ends its sending
    /// side or the connection fails.
    pub async fn discard_input(&self) {
        discard_input(&mut &self.sock).await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // After a panic inside rustls, the client's handler only closes the connection.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncRead for &TlsSock {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut sock = SyncSock { sock: &self.sock, cx };
        let mut state = self.state();
        loop {
            match state.session.reader().read(buf) {
                // All bytes that have been decrypted have been read.
                Err(err) if err.kind() == ErrorKind::WouldBlock => {}
                Err(err) if err.kind() == ErrorKind::UnexpectedEof => {
                    let is_closing = state.is_closing;
                    return Poll::Ready(if is_closing { Ok(0) } else { Err(cut_off()) });
                }
                read => return Poll::Ready(read),
            }
            // A record may contain no text. rustls accepts only a limited number of such records in a row,
            // so this loop ends.
            ready!(poll_recv(&mut state.session, &mut sock))?;
        }
    }
}

/// Anyone between client and server can end a TCP connection, but only the client can send `close_notify`.
fn cut_off() -> io::Error {
    io::Error::new(
        ErrorKind::UnexpectedEof,
        "the connection ended without close_notify: its end may be missing",
    )
}

/// A write returns when the kernel has accepted all of the encrypted bytes, so that the queue's limit does
/// not count a byte as sent too early. After `Pending`, the next write must begin with the same bytes, as
/// those of `write_batches` and `write_all` do.
impl AsyncWrite for &TlsSock {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut sock = SyncSock { sock: &self.sock, cx };
        let mut state = self.state();
        // Sends the bytes that an earlier poll has encrypted, or TLS's own answers to the client.
        ready!(poll_send(&mut state.session, &mut sock))?;
        if state.unsent == 0 {
            state.unsent = state.session.writer().write_vectored(slices)?;
            ready!(poll_send(&mut state.session, &mut sock))?;
        }
        Poll::Ready(Ok(mem::take(&mut state.unsent)))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        poll_send(&mut self.state().session, &mut SyncSock { sock: &self.sock, cx })
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.state();
        state.is_closing = true;
        state.session.send_close_notify(); // has an effect only the first time
        poll_send(&mut state.session, &mut SyncSock { sock: &self.sock, cx })
    }
}

fn poll_handshake(
    session: &mut ServerConnection,
    sock: &mut SyncSock<'_, '_>,
) -> Poll<io::Result<()>> {
    loop {
        ready!(poll_send(session, sock))?;
        if !session.is_handshaking() {
            return Poll::Ready(Ok(()));
        }
        let n = ready!(poll_recv(session, sock))?;
        if n == 0 {
            return Poll::Ready(Err(ErrorKind::UnexpectedEof.into()));
        }
    }
}

/// Receives and decrypts. Returns how many bytes were received: 0 at the end of the stream.
fn poll_recv(
    session: &mut ServerConnection,
    sock: &mut SyncSock<'_, '_>,
) -> Poll<io::Result<usize>> {
    let n = ready!(ready_or_pending(session.read_tls(sock)))?;
    session.process_new_packets().map_err(io::Error::other)?;
    Poll::Ready(Ok(n))
}

/// Sends what rustls has to send, until the kernel has accepted all of it.
fn poll_send(session: &mut ServerConnection, sock: &mut SyncSock<'_, '_>) -> Poll<io::Result<()>> {
    while session.wants_write() {
        ready!(ready_or_pending(session.write_tls(sock)))?;
    }
    Poll::Ready(Ok(()))
}

/// An async socket with std's traits, which rustls needs. After a call returns `WouldBlock`, the task is
/// woken when the socket is ready.
struct SyncSock<'a, 'b> {
    sock: &'a TcpStream,
    cx: &'a mut Context<'b>,
}

impl Read for SyncSock<'_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        ready_or_would_block(retry_interrupted(|| Pin::new(&mut self.sock).poll_read(self.cx, buf)))
    }
}

impl Write for SyncSock<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        ready_or_would_block(retry_interrupted(|| {
            Pin::new(&mut self.sock).poll_write_vectored(self.cx, slices)
        }))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(()) // a TCP socket has no buffer of its own
    }
}

fn ready_or_would_block<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(ErrorKind::WouldBlock.into()),
    }
}

fn ready_or_pending<T>(result: io::Result<T>) -> Poll<io::Result<T>> {
    match result {
        Err(err) if err.kind() == ErrorKind::WouldBlock => Poll::Pending,
        result => Poll::Ready(result),
    }
}
