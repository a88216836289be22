//! A connection inside TLS: how it begins, and how it is used by two tasks at once.

use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::mem;
use std::net::Shutdown as Half;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use anyhow::{Context as _, Error, Result, anyhow, bail};
use async_std::channel::{self, Receiver, Sender};
use async_std::net::TcpStream;
use async_std::{future, task};
use futures_io::{AsyncRead, AsyncWrite};
use futures_rustls::TlsAcceptor;
use rustls::{AlertDescription, ServerConfig, ServerConnection};
use tincanchat::asynchronous::{close_gently, retry_interrupted};
use tincanchat::{LINGER, SERVER_FULL};

/// The first byte of all that begins with a TLS handshake: the record type (RFC 8446 section 5.1).
/// No message does, as a control character is not the beginning of a word.
const HANDSHAKE_RECORD: u8 = 22;

/// How long a client that is turned away may take for its handshake: without one it cannot be told.
const HANDSHAKE_AT_THE_DOOR: Duration = Duration::from_secs(1);

/// How many bytes wait in TLS for the kernel: about one record, the most that is encrypted at once.
///
/// More would be neither in the queue, where it is measured, nor on its way.
const UNSENT: usize = 16 * 1024;

/// Where connections become private, until the server ends.
pub struct Handshakes {
    acceptor: TlsAcceptor,
    /// Nothing is ever sent: that it is closed says that the server ends.
    open: Sender<()>,
    ended: Receiver<()>,
}

impl Handshakes {
    pub fn with(config: ServerConfig) -> Self {
        let (open, ended) = channel::bounded(1);
        Handshakes { acceptor: Arc::new(config).into(), open, ended }
    }

    /// Ends all handshakes that are under way: those clients have said nothing yet.
    pub fn end(&self) {
        self.open.close();
    }

    /// Makes a connection private, or closes it.
    pub async fn shake(&self, sock: TcpStream, time: Duration) -> Result<TlsSock> {
        let mut shaking = pin!(future::timeout(time, self.try_shake(&sock)));
        let mut ended = pin!(self.ended.recv());
        let shaken = poll_fn(|cx| match ended.as_mut().poll(cx) {
            Poll::Ready(_) => Poll::Ready(None),
            Poll::Pending => shaking.as_mut().poll(cx).map(Some),
        });
        match shaken.await {
            Some(Ok(Ok(tls))) => Ok(tls),
            None => bail!("TLS handshake: the server ends"),
            Some(failed) => {
                // Gently, so that the client can read why: TLS sends it an alert.
                close_gently(&sock, task::sleep).await;
                let late = |_| Err(anyhow!("not done within {time:?}"));
                failed.unwrap_or_else(late).context("TLS handshake")
            }
        }
    }

    async fn try_shake(&self, sock: &TcpStream) -> Result<TlsSock> {
        let mut first = [0];
        let peeked = loop {
            match sock.peek(&mut first).await {
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                peeked => break peeked?,
            }
        };
        match peeked {
            0 => bail!("the client left before it"),
            _ if first != [HANDSHAKE_RECORD] => bail!("the client speaks plaintext, not TLS"),
            _ => {}
        }
        let limit = |session: &mut ServerConnection| session.set_buffer_limit(Some(UNSENT));
        let sock = Retrying(sock.clone());
        let stream = self.acceptor.accept_with(sock, limit).await.map_err(explained)?;
        let (Retrying(sock), session) = stream.into_inner();
        let tls = Tls { session, unsent: 0, is_closing: false };
        Ok(TlsSock { sock, tls: Mutex::new(tls) })
    }

    /// Tells a client that the server is full, and closes so that the client can read it.
    pub async fn turn_away(&self, sock: TcpStream) {
        // Whoever does not shake hands cannot be told.
        let Ok(sock) = self.shake(sock, HANDSHAKE_AT_THE_DOOR).await else { return };
        let telling = poll_fn(|cx| Pin::new(&mut &sock).poll_write(cx, SERVER_FULL));
        if let Ok(Ok(_)) = future::timeout(LINGER, telling).await {
            sock.close_gently().await;
        }
    }
}

/// Says in plain words why a handshake failed, where the usual reasons are.
fn explained(err: io::Error) -> Error {
    use AlertDescription::{BadCertificate, CertificateExpired, CertificateUnknown, UnknownCA};
    let reason = err.get_ref().and_then(|err| err.downcast_ref::<rustls::Error>());
    match reason {
        Some(rustls::Error::AlertReceived(UnknownCA)) => {
            anyhow!("the client does not trust the CA of our certificate")
        }
        // Clients such as those of rustls send this alert for both.
        Some(rustls::Error::AlertReceived(CertificateExpired)) => anyhow!(
            "the client says that our certificate has expired or is not valid yet: \
             compare its dates with the clocks of both machines"
        ),
        Some(rustls::Error::AlertReceived(alert @ (BadCertificate | CertificateUnknown))) => {
            anyhow!(
                "the client refuses our certificate ({alert:?}): \
                 perhaps it is for another host, or not valid yet"
            )
        }
        _ if err.kind() == ErrorKind::UnexpectedEof => anyhow!("the client left during it"),
        _ => err.into(),
    }
}

/// The socket during the handshake: futures-rustls would end the handshake when a signal interrupts a
/// read or a write.
struct Retrying(TcpStream);

impl AsyncRead for Retrying {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        retry_interrupted(|| Pin::new(&mut self.0).poll_read(cx, buf))
    }
}

impl AsyncWrite for Retrying {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        retry_interrupted(|| Pin::new(&mut self.0).poll_write(cx, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}

/// A socket with TLS around it, for one task that reads and another that writes.
///
/// Both change the same state, a read may even have to answer something; so there is a lock, held
/// while bytes are encrypted or decrypted, and never while one waits.
pub struct TlsSock {
    sock: TcpStream,
    tls: Mutex<Tls>,
}

struct Tls {
    session: ServerConnection,
    /// How many bytes of the last write are encrypted and not with the kernel yet.
    unsent: usize,
    /// Whether what still comes is thrown away as it is, without a look into it.
    is_closing: bool,
}

impl TlsSock {
    /// Shuts the connection down as it is, without a word in TLS.
    pub fn shutdown(&self, half: Half) -> io::Result<()> {
        self.sock.shutdown(half)
    }

    /// Says `close_notify`, so that the client knows that nothing was cut off; then closes so that
    /// what was sent arrives. A task that still reads finds the end.
    pub async fn close_gently(&self) {
        let mut sock = self;
        let notify = poll_fn(|cx| Pin::new(&mut sock).poll_close(cx));
        let _ = future::timeout(LINGER, notify).await; // without it, the client will know that too
        self.tls().is_closing = true;
        close_gently(&self.sock, task::sleep).await;
    }

    fn tls(&self) -> MutexGuard<'_, Tls> {
        // A panic inside TLS is the end of this client, whose handler does not come back.
        self.tls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsyncRead for &TlsSock {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut tls = self.tls();
        let mut sock = Waking { sock: &self.sock, cx };
        while !tls.is_closing {
            match tls.session.reader().read(buf) {
                Err(err) if err.kind() == ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read.map_err(cut_off)),
            }
            ready!(sock.ready(|sock| tls.session.read_tls(sock)))?;
            // It puts up with only so much in a row that says nothing, so this ends.
            tls.session.process_new_packets().map_err(io::Error::other)?;
        }
        Poll::Ready(Ok(0))
    }
}

/// Whoever sits between us and the client can end a TCP connection, but not say `close_notify`.
fn cut_off(err: io::Error) -> io::Error {
    match err.kind() {
        ErrorKind::UnexpectedEof => io::Error::new(
            ErrorKind::UnexpectedEof,
            "the connection ended without close_notify: something may have been cut off",
        ),
        _ => err,
    }
}

/// A write is done when the kernel has all of it, encrypted, so that what is measured as taken is
/// taken. Until then, each further try must offer the same bytes; `send_frames` does.
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
        let mut tls = self.tls();
        let mut sock = Waking { sock: &self.sock, cx };
        ready!(tls.poll_flush(&mut sock))?;
        if tls.unsent == 0 {
            tls.unsent = tls.session.writer().write_vectored(slices)?;
            ready!(tls.poll_flush(&mut sock))?;
        }
        Poll::Ready(Ok(mem::take(&mut tls.unsent)))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tls().poll_flush(&mut Waking { sock: &self.sock, cx })
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut tls = self.tls();
        tls.session.send_close_notify(); // the first time; later ones do nothing
        tls.poll_flush(&mut Waking { sock: &self.sock, cx })
    }
}

impl Tls {
    fn poll_flush(&mut self, sock: &mut Waking<'_, '_>) -> Poll<io::Result<()>> {
        while self.session.wants_write() {
            ready!(sock.ready(|sock| self.session.write_tls(sock)))?;
        }
        Poll::Ready(Ok(()))
    }
}

/// A socket for rustls, which knows of no tasks: where it would block, its task is woken later.
struct Waking<'a, 'b> {
    sock: &'a TcpStream,
    cx: &'a mut Context<'b>,
}

impl Waking<'_, '_> {
    fn ready<T>(&mut self, act: impl FnOnce(&mut Self) -> io::Result<T>) -> Poll<io::Result<T>> {
        match act(self) {
            Err(err) if err.kind() == ErrorKind::WouldBlock => Poll::Pending,
            done => Poll::Ready(done),
        }
    }
}

impl Read for Waking<'_, '_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        blocking(retry_interrupted(|| Pin::new(&mut self.sock).poll_read(self.cx, buf)))
    }
}

impl Write for Waking<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        blocking(retry_interrupted(|| Pin::new(&mut self.sock).poll_write(self.cx, bytes)))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(()) // a TCP socket keeps nothing back
    }
}

fn blocking(done: Poll<io::Result<usize>>) -> io::Result<usize> {
    match done {
        Poll::Ready(done) => done,
        Poll::Pending => Err(ErrorKind::WouldBlock.into()),
    }
}
