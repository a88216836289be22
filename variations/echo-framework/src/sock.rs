//! A tokio socket, changed in two ways.
//!
//! It repeats a call that a signal has interrupted: the framework would treat the interruption as the end
//! of the connection. And it reads until the kernel reports that nothing is left.

use std::io::{self, ErrorKind, Read as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tincanchat::asynchronous::retry_interrupted;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

pub struct Sock {
    pub inner: TcpStream,
}

impl AsyncRead for Sock {
    /// Reads once. Waits until something has arrived.
    ///
    /// tokio's own `poll_read` may leave bytes in the kernel. When a read returns fewer bytes than there is
    /// space for, tokio concludes that nothing is left, and waits for the next event. But the kernel also
    /// ends a read at an urgent byte, and there is no further event for the bytes after it. This function
    /// waits only after `WouldBlock`.
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let space = buf.initialize_unfilled();
        loop {
            ready!(self.inner.poll_read_ready(cx))?;
            let sock = SockRef::from(&self.inner);
            match self.inner.try_io(Interest::READABLE, || (&*sock).read(space)) {
                // Nothing has arrived. Now tokio waits for the next event.
                Err(err) if err.kind() == ErrorKind::WouldBlock => {}
                // A signal came during the read.
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                Ok(n) => {
                    buf.advance(n);
                    return Poll::Ready(Ok(()));
                }
                Err(err) => return Poll::Ready(Err(err)),
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
        retry_interrupted(|| Pin::new(&mut self.inner).poll_write(cx, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
