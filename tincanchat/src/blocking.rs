//! Messages on sockets that block until there is something to do.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::trace::{name_lane, span};
use crate::{
    Frames, LINGER, Msgs, QueueGauge, Rest, SERVER_FULL, append_msg, parse_recvd_data, prep_msg,
};

/// Sends one message: blocks until the kernel has taken all of it.
///
/// # Errors
///
/// Those of [`prep_msg`], as an error of the kind `InvalidData`, with nothing sent; and those of
/// the socket: among them `BrokenPipe` and `ConnectionReset` when the peer has gone.
///
/// ```
/// let mut sent = Vec::new(); // stands for a socket
/// tincanchat::send_msg(&mut sent, "hello")?;
/// assert_eq!(sent, b"hello\0");
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn send_msg(sock: &mut impl Write, msg: &str) -> io::Result<()> {
    write_all(sock, &prep_msg(msg)?)
}

/// Sends one message with its sender's address in front, `ADDR: message`: blocks until the kernel
/// has taken all of it.
///
/// Takes a message as [`recv_msg`] gives it; it may be of any permitted length.
///
/// # Errors
///
/// Those of the socket.
///
/// ```
/// let mut sent = Vec::new(); // stands for a socket
/// tincanchat::relay_msg(&mut sent, "127.0.0.1:50312".parse().unwrap(), "hello")?;
/// assert_eq!(sent, b"127.0.0.1:50312: hello\0");
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn relay_msg(sock: &mut impl Write, addr: SocketAddr, msg: &str) -> io::Result<()> {
    let mut frame = Vec::new();
    append_msg(&mut frame, &format!("{addr}: "), msg);
    write_all(sock, &frame)
}

fn write_all(sock: &mut impl Write, frame: &[u8]) -> io::Result<()> {
    span("write").of_bytes(frame.len()).over(sock.write_all(frame))
}

/// Receives one message: blocks until all of it is there, and gives its text.
///
/// For connections with one message each way: what follows the message is not kept. Empty messages
/// before it are passed over.
///
/// # Errors
///
/// `UnexpectedEof` if the peer closes the connection before the end of a message; a
/// [`FrameError`](crate::FrameError), as an error of the kind `InvalidData`; and those of the
/// socket.
///
/// ```
/// let mut received = &b"hello\0"[..]; // stands for a socket
/// assert_eq!(tincanchat::recv_msg(&mut received)?, "hello");
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn recv_msg(sock: &mut impl Read) -> io::Result<String> {
    recv_one(sock, Rest::new())
}

/// Receives one message from a server: as [`recv_msg`], but it may have its sender's address in
/// front, and so be a little longer.
///
/// # Errors
///
/// Those of [`recv_msg`].
///
/// ```
/// let answer = format!("127.0.0.1:50312: {}\0", "x".repeat(tincanchat::MAX_MSG_LEN));
/// assert!(tincanchat::recv_msg(&mut answer.as_bytes()).is_err());
/// assert!(tincanchat::recv_answer(&mut answer.as_bytes()).is_ok());
/// ```
pub fn recv_answer(sock: &mut impl Read) -> io::Result<String> {
    recv_one(sock, Rest::for_client())
}

fn recv_one(sock: &mut impl Read, mut rest: Rest) -> io::Result<String> {
    while let Some(mut msgs) = recv_msgs(sock, &mut rest)? {
        if let Some(msg) = span("split").over(msgs.next()) {
            return Ok(msg?.to_owned());
        }
    }
    let when = if rest.is_empty() { "without a message" } else { "in the middle of a message" };
    Err(io::Error::new(ErrorKind::UnexpectedEof, format!("the peer closed the connection {when}")))
}

/// Receives until there is at least one whole message, and gives all that are there.
///
/// Blocks on a blocking socket. Gives no message where there were only empty ones. What comes after
/// the last whole message stays in `rest`, for the next call. `None` means that the peer sends no
/// more; what `rest` holds then is a message that never got its zero byte. The messages come from
/// [`parse_recvd_data`], errors among them.
///
/// # Errors
///
/// Those of the socket. On a non-blocking one `WouldBlock` is one of them, and means that all that
/// was there has been read: nothing is lost by it, and `rest` gives back the memory it does not
/// need.
///
/// ```
/// use tincanchat::{Rest, recv_msgs};
///
/// let mut received = &b"one\0two\0thr"[..]; // stands for a socket
/// let mut rest = Rest::new();
/// let msgs: Vec<_> = recv_msgs(&mut received, &mut rest)?.unwrap().map(Result::unwrap).collect();
/// assert_eq!(msgs, ["one", "two"]);
/// assert!(recv_msgs(&mut received, &mut rest)?.is_none());
/// assert_eq!(rest.len(), 3);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn recv_msgs<'a>(sock: &mut impl Read, rest: &'a mut Rest) -> io::Result<Option<Msgs<'a>>> {
    rest.shrink();
    while !rest.has_msg() {
        match read(sock, rest.room_to_read()) {
            Ok(0) => return Ok(None),
            Ok(n) => rest.has_read(n),
            Err(err) if err.kind() == ErrorKind::Interrupted => {}
            Err(err) => {
                rest.release();
                return Err(err);
            }
        }
    }
    Ok(Some(parse_recvd_data(rest)))
}

/// Calls again when a signal has interrupted the call.
///
/// # Errors
///
/// Those of the call, except `Interrupted`.
///
/// ```
/// use std::io::{Error, ErrorKind};
/// use tincanchat::retry_interrupted;
///
/// let mut answers = [Err(ErrorKind::Interrupted), Ok(5)].into_iter();
/// let read = || answers.next().expect("two calls").map_err(Error::from);
/// assert_eq!(retry_interrupted(read)?, 5);
/// # Ok::<(), Error>(())
/// ```
pub fn retry_interrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(err) if err.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

fn read(sock: &mut impl Read, room: &mut [u8]) -> io::Result<usize> {
    let span = span("read");
    let read = sock.read(room);
    span.has_result(&read);
    read
}

/// A socket whose calls block, for as long as it is told at most: std's, and what stands in for it
/// where something else than a thread blocks.
///
/// When the time is over, the call fails with `WouldBlock` or `TimedOut`.
///
/// ```
/// use std::net::{Shutdown, TcpListener, TcpStream};
/// use tincanchat::Blocking;
///
/// fn says_nothing_more(sock: &impl Blocking) -> std::io::Result<()> {
///     sock.shutdown(Shutdown::Write)
/// }
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// says_nothing_more(&TcpStream::connect(listener.local_addr()?)?)?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Blocking {
    /// How long a read may block from now on.
    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()>;
    /// How long a write may block from now on.
    fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()>;
    /// Ends one direction, or both.
    fn shutdown(&self, half: Shutdown) -> io::Result<()>;
}

impl Blocking for TcpStream {
    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.set_read_timeout(timeout)
    }

    fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.set_write_timeout(timeout)
    }

    fn shutdown(&self, half: Shutdown) -> io::Result<()> {
        self.shutdown(half)
    }
}

/// How long one write may block before the gauge is asked whether the client is still worth it.
const WRITE_TICK: Duration = Duration::from_millis(50);

/// The most bytes offered to the kernel in one blocking write, so that progress shows.
const WRITE_SLICE: usize = 64 * 1024;

/// Sends queued frames, many of them in one write: blocks until the kernel has taken all of them,
/// or `gauge` gives the client up.
///
/// What the kernel has taken is taken out of `frames`. The socket's write timeout is changed.
///
/// # Errors
///
/// [`SlowConsumer`](crate::SlowConsumer), as an error of the kind `TimedOut`, when
/// [`QueueGauge::check`] says so; and those of the socket.
///
/// ```
/// use std::io::Read;
/// use std::net::{TcpListener, TcpStream};
/// use tincanchat::{Frames, QueueGauge, send_frames};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let mut client = TcpStream::connect(listener.local_addr()?)?;
/// let (sock, _) = listener.accept()?;
///
/// let gauge = QueueGauge::new();
/// let mut frames = Frames::new();
/// for frame in [b"one\0", b"two\0"] {
///     gauge.queue(frame.len()).unwrap();
///     frames.push(frame[..].into());
/// }
/// send_frames(&sock, &mut frames, &gauge)?;
/// assert!(frames.is_empty() && gauge.is_empty());
///
/// let mut received = [0; 8];
/// client.read_exact(&mut received)?;
/// assert_eq!(&received, b"one\0two\0");
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn send_frames<S: Blocking>(
    mut sock: &S,
    frames: &mut Frames,
    gauge: &QueueGauge,
) -> io::Result<()>
where
    for<'a> &'a S: Write,
{
    gauge.name_lane();
    if frames.is_empty() {
        return Ok(());
    }
    let (span, mut sent) = (span("write"), 0);
    sock.set_write_timeout(Some(WRITE_TICK))?;
    while !frames.is_empty() {
        gauge.check()?;
        match frames.offer_to(&mut sock, WRITE_SLICE) {
            Ok(n) => {
                gauge.took(n);
                sent += n;
                span.has_bytes(sent);
            }
            // The timeout passed, and the kernel took nothing; Windows has its own name for it.
            Err(err) if matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                gauge.refused()?;
            }
            Err(err) => {
                gauge.check()?;
                return Err(err);
            }
        }
    }
    Ok(())
}

/// Ends a connection on which all has been said.
///
/// If the peer has sent more than was asked for, that is read away first, as in [`close_gently`]:
/// a socket that is closed with unread bytes in it sends a reset (RFC 2525 section 2.17), and the
/// reset can overtake the answer. Otherwise nothing is waited for.
///
/// ```
/// use std::io::{Read, Write};
/// use std::net::{TcpListener, TcpStream};
/// use tincanchat::{hang_up, recv_msg, send_msg};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let mut client = TcpStream::connect(listener.local_addr()?)?;
/// client.write_all(b"hello\0and more")?;
///
/// let (mut sock, _) = listener.accept()?;
/// let msg = recv_msg(&mut sock)?;
/// send_msg(&mut sock, &msg)?;
/// hang_up(sock);
///
/// let mut answer = String::new();
/// client.read_to_string(&mut answer)?;
/// assert_eq!(answer, "hello\0");
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn hang_up(mut sock: TcpStream) {
    // read_exact reads again when a signal interrupts it.
    let has_more = sock.set_nonblocking(true).is_ok() && sock.read_exact(&mut [0]).is_ok();
    if has_more && sock.set_nonblocking(false).is_ok() {
        close_gently(&sock);
    }
}

/// Ends a connection whose peer may still be sending: blocks for [`LINGER`] at most.
///
/// Shuts down the sending side, so that the peer sees the end after the last byte; then reads on,
/// and throws away, until the peer closes as well or the time is over. Without the reading, closing
/// would send a reset that can eat what was sent last (RFC 2525 section 2.17; made to happen in
/// `docs/src/protocol.md`). The socket's read timeout is changed.
///
/// ```
/// use std::io::{Read, Write};
/// use std::net::{Shutdown, TcpListener, TcpStream};
/// use tincanchat::{close_gently, send_msg};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let mut client = TcpStream::connect(listener.local_addr()?)?;
/// client.write_all(b"much that nobody reads")?;
/// client.shutdown(Shutdown::Write)?;
///
/// let (mut sock, _) = listener.accept()?;
/// send_msg(&mut sock, "server: full")?;
/// close_gently(&sock);
///
/// let mut last_words = String::new();
/// client.read_to_string(&mut last_words)?;
/// assert_eq!(last_words, "server: full\0");
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn close_gently<S: Blocking>(mut sock: &S)
where
    for<'a> &'a S: Read,
{
    let _span = span("close");
    let deadline = Instant::now() + LINGER;
    let mut thrown_away = [0; 4096];
    let mut is_open = sock.shutdown(Shutdown::Write).is_ok();
    while is_open {
        let left = deadline.saturating_duration_since(Instant::now());
        is_open = !left.is_zero()
            && sock.set_read_timeout(Some(left)).is_ok()
            && match sock.read(&mut thrown_away) {
                Ok(n) => n > 0,
                Err(err) => err.kind() == ErrorKind::Interrupted,
            };
    }
}

/// Tells a client that the server is full, and closes so that the client can read it: blocks for
/// [`LINGER`] at most.
///
/// Whether the client hears it is its own affair, so there are no errors.
///
/// ```
/// use std::net::{Shutdown, TcpListener, TcpStream};
/// use tincanchat::{recv_answer, turn_away};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let mut client = TcpStream::connect(listener.local_addr()?)?;
/// client.shutdown(Shutdown::Write)?;
///
/// let (sock, _) = listener.accept()?; // for which there is no place
/// turn_away(&sock);
///
/// assert_eq!(recv_answer(&mut client)?, "server: full");
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn turn_away<S: Blocking>(mut sock: &S)
where
    for<'a> &'a S: Read + Write,
{
    name_lane(|| "turned away".to_owned());
    if sock.set_write_timeout(Some(LINGER)).is_ok() && write_all(&mut sock, SERVER_FULL).is_ok() {
        close_gently(sock);
    }
}
