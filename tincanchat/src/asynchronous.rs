//! Async versions of the functions for blocking sockets. They wait where the blocking functions block.
//!
//! They need only the traits of `futures_lite::io`, and no particular runtime. Where time is limited, the
//! caller passes the runtime's `sleep`.

use std::future::{Future, poll_fn};
use std::io;
use std::net::Shutdown;
#[cfg(unix)]
use std::os::fd::AsFd as AsSock;
#[cfg(windows)]
use std::os::windows::io::AsSocket as AsSock;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_lite::future::{race, yield_now};
use futures_lite::{AsyncRead, AsyncWrite};
use socket2::SockRef;

use crate::{LINGER, Msgs, RecvBuf, SERVER_FULL, SendBuf, parse_recvd_data};

/// Reads until at least one message is complete, and returns all complete messages, as
/// [`recv_msgs`](crate::recv_msgs) does; waits where that function blocks.
///
/// While it waits, `rest` uses memory only for an unfinished message. The future may be dropped at any
/// time: every byte received so far is in `rest`.
///
/// # Errors
///
/// Any error of the socket.
///
/// ```
/// use tincanchat::RecvBuf;
/// use tincanchat::asynchronous::recv_msgs;
///
/// # async_std::task::block_on(async {
/// let mut received = &b"one\0two\0thr"[..]; // stands for a socket
/// let mut rest = RecvBuf::new();
/// let msgs = recv_msgs(&mut received, &mut rest).await?.expect("two messages");
/// assert_eq!(msgs.collect::<Result<Vec<_>, _>>()?, ["one", "two"]);
/// assert!(recv_msgs(&mut received, &mut rest).await?.is_none());
/// # Ok::<(), std::io::Error>(())
/// # }).unwrap();
/// ```
pub async fn recv_msgs<'a>(
    sock: &mut (impl AsyncRead + Unpin),
    rest: &'a mut RecvBuf,
) -> io::Result<Option<Msgs<'a>>> {
    while !rest.has_msg() {
        // `sock.read(..)` would keep the read buffer while it waits, perhaps for hours.
        match poll_fn(|cx| poll_read(Pin::new(sock), rest, cx)).await? {
            0 => return Ok(None),
            n => rest.has_read(n),
        }
    }
    Ok(Some(parse_recvd_data(rest)))
}

fn poll_read(
    mut sock: Pin<&mut impl AsyncRead>,
    rest: &mut RecvBuf,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let read = retry_interrupted(|| sock.as_mut().poll_read(cx, rest.spare()));
    if !matches!(read, Poll::Ready(Ok(_))) {
        rest.release();
    }
    read
}

/// Polls again for as long as a signal interrupts the poll.
///
/// A runtime tries again when a socket would block, but returns `Interrupted` like any other error.
///
/// ```
/// use std::io::{Error, ErrorKind};
/// use std::task::Poll;
/// use tincanchat::asynchronous::retry_interrupted;
///
/// let mut results = [Err(ErrorKind::Interrupted), Ok(5)].into_iter();
/// let mut read = || Poll::Ready(results.next().expect("two calls").map_err(Error::from));
/// assert!(matches!(retry_interrupted(&mut read), Poll::Ready(Ok(5))));
/// ```
pub fn retry_interrupted<T>(mut poll: impl FnMut() -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
    loop {
        match poll() {
            Poll::Ready(Err(err)) if err.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Writes up to 64 batches with one call, removes the bytes that `sock` accepted from `send_buf`, and
/// returns their number, as [`SendBuf::write_to`] does; waits while `sock` accepts nothing.
///
/// The future may be dropped at any time: the bytes that have not been written are still in `send_buf`.
///
/// # Errors
///
/// Any error of the socket. `WriteZero` if the socket reports that it accepted no bytes.
///
/// ```
/// use tincanchat::{SendBuf, asynchronous::write_batches};
///
/// # async_std::task::block_on(async {
/// let mut send_buf = SendBuf::new();
/// send_buf.push("one\0".into());
/// let mut sock = Vec::new(); // stands for a socket
/// assert_eq!(write_batches(&mut sock, &mut send_buf).await?, 4);
/// assert_eq!(sock, b"one\0");
/// # Ok::<(), std::io::Error>(())
/// # }).unwrap();
/// ```
pub async fn write_batches(
    sock: &mut (impl AsyncWrite + Unpin),
    send_buf: &mut SendBuf,
) -> io::Result<usize> {
    // Each poll makes the slices of the batches anew, so that the future does not contain them while it
    // waits.
    poll_fn(|cx| poll_write(Pin::new(sock), send_buf, cx)).await
}

fn poll_write(
    mut sock: Pin<&mut impl AsyncWrite>,
    send_buf: &mut SendBuf,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let written = send_buf.write_with(|slices| {
        match retry_interrupted(|| sock.as_mut().poll_write_vectored(cx, slices)) {
            Poll::Ready(written) => written,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    });
    match written {
        Err(err) if err.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        written => Poll::Ready(written),
    }
}

/// Reads and discards input until the peer shuts down its sending side or the connection fails.
///
/// ```
/// # async_std::task::block_on(async {
/// let mut received = &b"not read by anyone"[..]; // stands for a socket
/// tincanchat::asynchronous::discard_input(&mut received).await;
/// assert!(received.is_empty());
/// # });
/// ```
pub async fn discard_input(sock: &mut (impl AsyncRead + Unpin)) {
    loop {
        let read = poll_fn(|cx| {
            // Declared here, the array is not part of the future while it waits.
            let mut discarded = [0; 4096];
            retry_interrupted(|| Pin::new(&mut *sock).poll_read(cx, &mut discarded))
        });
        if !matches!(read.await, Ok(1..)) {
            return;
        }
        // A client that never stops sending must not keep a thread of the runtime to itself.
        yield_now().await;
    }
}

/// Sends `server: full` and ends the connection as [`refuse`](crate::refuse) does: shuts down the sending
/// side, then discards input until the peer closes its side too. Waits for up to [`LINGER`].
///
/// ```
/// use async_std::net::{TcpListener, TcpStream};
/// use async_std::prelude::*;
/// use async_std::task;
/// use tincanchat::{SERVER_FULL, asynchronous::refuse};
///
/// # task::block_on(async {
/// let listener = TcpListener::bind("127.0.0.1:0").await?;
/// let mut client = TcpStream::connect(listener.local_addr()?).await?;
/// client.shutdown(std::net::Shutdown::Write)?;
///
/// let (sock, _) = listener.accept().await?;
/// refuse(&sock, task::sleep).await;
/// drop(sock);
///
/// let mut received = Vec::new();
/// client.read_to_end(&mut received).await?;
/// assert_eq!(received, SERVER_FULL);
/// # Ok::<(), std::io::Error>(())
/// # })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub async fn refuse<S, T>(mut sock: &S, sleep: impl Fn(Duration) -> T)
where
    S: AsSock,
    for<'a> &'a S: AsyncRead + AsyncWrite,
    T: Future,
{
    let reply_and_linger = async {
        // Not `write_all`, which fails when a signal interrupts it.
        let mut send_buf = SendBuf::new();
        send_buf.push(Bytes::from_static(SERVER_FULL));
        if write_batches(&mut sock, &mut send_buf).await.is_ok() {
            let _ = SockRef::from(sock).shutdown(Shutdown::Write); // fails if the peer has reset it
            discard_input(&mut sock).await;
        }
    };
    let time_is_up = async {
        sleep(LINGER).await;
    };
    race(reply_and_linger, time_is_up).await;
}
