//! Messages on blocking sockets.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use crate::{LINGER, Msgs, RecvBuf, SERVER_FULL, append_msg, parse_recvd_data, prep_msg};

/// Sends one message; blocks until the kernel has accepted all of it.
///
/// # Errors
///
/// An error of [`prep_msg`], as an I/O error of the kind `InvalidData`; nothing is sent then. Any error of
/// the socket, such as `BrokenPipe` or `ConnectionReset` when the peer has left.
///
/// ```
/// let mut sent = Vec::new(); // stands for a socket
/// tincanchat::send_msg(&mut sent, "hello")?;
/// assert_eq!(sent, b"hello\0");
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn send_msg(sock: &mut impl Write, msg: &str) -> io::Result<()> {
    sock.write_all(&prep_msg(msg)?)
}

/// Sends a prefix, such as the sender's address, and then one message; blocks until the kernel has accepted
/// all of it.
///
/// The message must be one that [`recv_msg`] has returned; with the prefix, it may be longer than
/// [`MAX_MSG_LEN`](crate::MAX_MSG_LEN).
///
/// # Errors
///
/// Any error of the socket.
///
/// ```
/// let mut sent = Vec::new(); // stands for a socket
/// tincanchat::send_prefixed_msg(&mut sent, "127.0.0.1:50312: ", "hello")?;
/// assert_eq!(sent, b"127.0.0.1:50312: hello\0");
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn send_prefixed_msg(sock: &mut impl Write, prefix: &str, msg: &str) -> io::Result<()> {
    let mut frame = Vec::new();
    append_msg(&mut frame, prefix, msg);
    sock.write_all(&frame)
}

/// Receives one message: blocks until all of it has arrived, and returns its text.
///
/// Meant for connections with one message in each direction: bytes after the message are lost. Empty
/// messages before it are skipped.
///
/// # Errors
///
/// `UnexpectedEof` if the peer closes the connection before the end of a message; a
/// [`FrameError`](crate::FrameError), as an I/O error of the kind `InvalidData`; or any error of the
/// socket.
///
/// ```
/// let mut received = &b"hello\0"[..]; // stands for a socket
/// assert_eq!(tincanchat::recv_msg(&mut received)?, "hello");
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn recv_msg(sock: &mut impl Read) -> io::Result<String> {
    recv_one(sock, RecvBuf::new())
}

/// Receives one message from a server. Unlike [`recv_msg`], accepts the longest message even with its
/// sender's address in front of it ([`MAX_RELAY_LEN`](crate::MAX_RELAY_LEN)).
///
/// # Errors
///
/// The same as those of [`recv_msg`].
///
/// ```
/// let reply = format!("127.0.0.1:50312: {}\0", "x".repeat(tincanchat::MAX_MSG_LEN));
/// assert!(tincanchat::recv_msg(&mut reply.as_bytes()).is_err());
/// assert!(tincanchat::recv_reply(&mut reply.as_bytes()).is_ok());
/// ```
pub fn recv_reply(sock: &mut impl Read) -> io::Result<String> {
    recv_one(sock, RecvBuf::for_client())
}

fn recv_one(sock: &mut impl Read, mut rest: RecvBuf) -> io::Result<String> {
    while let Some(mut msgs) = recv_msgs(sock, &mut rest)? {
        if let Some(msg) = msgs.next() {
            return Ok(msg?.to_owned());
        }
    }
    let when = if rest.is_empty() { "without a message" } else { "in the middle of a message" };
    Err(io::Error::new(ErrorKind::UnexpectedEof, format!("the peer closed the connection {when}")))
}

/// Reads until at least one message is complete, and returns all complete messages.
///
/// Blocks on a blocking socket. Returns an iterator without items if only empty messages arrived. Bytes
/// after the last complete message stay in `rest`, for the next call. `None` means that the peer has shut
/// down its sending side; `rest` then contains the unfinished message, if any. The items are those of
/// [`parse_recvd_data`], protocol errors included.
///
/// # Errors
///
/// Any error of the socket. On a non-blocking socket, this includes `WouldBlock`, which means that nothing
/// more has arrived for now. No bytes are lost, and `rest` frees the memory that it does not need.
///
/// ```
/// use tincanchat::{RecvBuf, recv_msgs};
///
/// let mut received = &b"one\0two\0thr"[..]; // stands for a socket
/// let mut rest = RecvBuf::new();
/// let msgs: Vec<_> = recv_msgs(&mut received, &mut rest)?.unwrap().map(Result::unwrap).collect();
/// assert_eq!(msgs, ["one", "two"]);
/// assert!(recv_msgs(&mut received, &mut rest)?.is_none());
/// assert_eq!(rest.len(), 3);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn recv_msgs<'a>(sock: &mut impl Read, rest: &'a mut RecvBuf) -> io::Result<Option<Msgs<'a>>> {
    rest.shrink();
    while !rest.has_msg() {
        match sock.read(rest.spare()) {
            Ok(0) => return Ok(None),
            Ok(n) => rest.has_read(n),
            // A signal came during the read.
            Err(err) if err.kind() == ErrorKind::Interrupted => {}
            Err(err) => {
                rest.release();
                return Err(err);
            }
        }
    }
    Ok(Some(parse_recvd_data(rest)))
}

/// Calls `call` again for as long as a signal interrupts it.
///
/// # Errors
///
/// Any error of the call except `Interrupted`.
///
/// ```
/// use std::io::{Error, ErrorKind};
/// use tincanchat::retry_interrupted;
///
/// let mut results = [Err(ErrorKind::Interrupted), Ok(5)].into_iter();
/// let read = || results.next().expect("two calls").map_err(Error::from);
/// assert_eq!(retry_interrupted(read)?, 5);
/// # Ok::<(), Error>(())
/// ```
pub fn retry_interrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(err) if err.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Reads and discards input until the peer shuts down its sending side or the connection fails.
///
/// ```
/// let mut received = &b"not read by anyone"[..]; // stands for a socket
/// tincanchat::discard_input(&mut received);
/// assert!(received.is_empty());
/// ```
#[inline(never)]
pub fn discard_input(sock: &mut impl Read) {
    // Inlined, the buffer would take up space in the caller's stack frame all the time.
    let mut discarded = [0; 4096];
    // A failed connection has no more input either.
    while retry_interrupted(|| sock.read(&mut discarded)).is_ok_and(|n| n > 0) {}
}

/// A blocking socket with timeouts: std's `TcpStream`, or a socket with the same methods for another kind
/// of thread, such as green threads.
///
/// After the timeout, a call fails with `WouldBlock` or, on Windows, `TimedOut`.
pub trait TimedSock {
    /// Sets how long a read may block from now on.
    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()>;
    /// Sets how long a write may block from now on.
    fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()>;
    /// Shuts down one direction, or both.
    fn shutdown(&self, how: Shutdown) -> io::Result<()>;
}

impl TimedSock for TcpStream {
    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.set_read_timeout(timeout)
    }

    fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.set_write_timeout(timeout)
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.shutdown(how)
    }
}

/// Closes a connection on which one message has been received and answered.
///
/// If the peer has sent more than that message, closes the connection as [`lingering_close`] does;
/// otherwise closes it without waiting.
///
/// ```
/// use std::io::{Read, Write};
/// use std::net::{TcpListener, TcpStream};
/// use tincanchat::{close_answered, recv_msg, send_msg};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let mut client = TcpStream::connect(listener.local_addr()?)?;
/// client.write_all(b"hello\0and more")?;
///
/// let (mut sock, _) = listener.accept()?;
/// let msg = recv_msg(&mut sock)?;
/// send_msg(&mut sock, &msg)?;
/// close_answered(sock);
///
/// let mut answer = String::new();
/// client.read_to_string(&mut answer)?;
/// assert_eq!(answer, "hello\0");
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn close_answered(mut sock: TcpStream) {
    // read_exact tries again when a signal interrupts it.
    let has_more = sock.set_nonblocking(true).is_ok() && sock.read_exact(&mut [0]).is_ok();
    if has_more && sock.set_nonblocking(false).is_ok() {
        lingering_close(&sock);
    }
}

/// Ends a connection whose peer may still be sending; blocks for up to [`LINGER`].
///
/// Shuts down the sending side, so that the peer reads the end of the stream after the last byte. Then
/// reads and discards input until the peer closes its side too, or the time is up. Closing a socket with
/// unread input would send a reset, which can destroy the last bytes sent (RFC 2525, section 2.17;
/// `docs/src/protocol.md` shows it). Changes the socket's read timeout.
///
/// ```
/// use std::io::{Read, Write};
/// use std::net::{Shutdown, TcpListener, TcpStream};
/// use tincanchat::{lingering_close, send_msg};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let mut client = TcpStream::connect(listener.local_addr()?)?;
/// client.write_all(b"bytes that the server does not read")?;
/// client.shutdown(Shutdown::Write)?;
///
/// let (mut sock, _) = listener.accept()?;
/// send_msg(&mut sock, "bye")?;
/// lingering_close(&sock);
/// drop(sock);
///
/// let mut received = String::new();
/// client.read_to_string(&mut received)?;
/// assert_eq!(received, "bye\0");
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn lingering_close<S: TimedSock>(mut sock: &S)
where
    for<'a> &'a S: Read,
{
    let deadline = Instant::now() + LINGER;
    let mut discarded = [0; 4096];
    let mut is_open = sock.shutdown(Shutdown::Write).is_ok();
    while is_open {
        let left = deadline.saturating_duration_since(Instant::now());
        is_open = !left.is_zero()
            && sock.set_read_timeout(Some(left)).is_ok()
            && match sock.read(&mut discarded) {
                Ok(n) => n > 0,
                Err(err) => err.kind() == ErrorKind::Interrupted,
            };
    }
}

/// Sends `server: full` and closes the connection as [`lingering_close`] does; blocks for up to twice
/// [`LINGER`].
///
/// Ignores errors: if a client does not receive the reply, that is not the server's problem.
///
/// ```
/// use std::net::{Shutdown, TcpListener, TcpStream};
/// use tincanchat::{recv_reply, refuse};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let mut client = TcpStream::connect(listener.local_addr()?)?;
/// client.shutdown(Shutdown::Write)?;
///
/// let (sock, _) = listener.accept()?;
/// refuse(&sock);
///
/// assert_eq!(recv_reply(&mut client)?, "server: full");
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn refuse<S: TimedSock>(mut sock: &S)
where
    for<'a> &'a S: Read + Write,
{
    if sock.set_write_timeout(Some(LINGER)).is_ok() && sock.write_all(SERVER_FULL).is_ok() {
        lingering_close(sock);
    }
}
