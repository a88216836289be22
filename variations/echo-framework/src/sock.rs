//! A socket of tokio that reads and writes again when a signal has interrupted it: the framework takes
//! that for the end of the connection. It also reads until the kernel has no more.

use std::io::{self, ErrorKind, Read as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tincanchat::asynchronous::retry_interrupted;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

pub struct Sock(pub TcpStream);

impl AsyncRead for Sock {
    /// Reads from the kernel what tokio's own `poll_read` may leave there. To tokio, a read that brings less
    /// than there is room for means that no more has come. But the kernel also ends a read at an urgent
    /// byte, and does not report the bytes behind it again.
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buf.initialize_unfilled();
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            // tokio waits for the kernel again only after `WouldBlock`.
            let read = self.0.try_io(Interest::READABLE, || (&*SockRef::from(&self.0)).read(room));
            match read {
                Err(err)
                    if matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                read => return Poll::Ready(read.map(|len| buf.advance(len))),
            }
        }
    }
}

impl AsyncWrite for Sock {
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

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
