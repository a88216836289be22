//! The same as the blocking functions, for async code: where those block, these wait.
//!
//! Written against the traits of `futures_io` alone, so they work on any runtime whose sockets
//! implement them; a runtime's clock, where one is needed, is an argument.

use std::future::{Future, poll_fn};
use std::io;
use std::net::Shutdown;
#[cfg(unix)]
use std::os::fd::AsFd as AsSock;
#[cfg(windows)]
use std::os::windows::io::AsSocket as AsSock;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_io::{AsyncRead, AsyncWrite};
use socket2::SockRef;

#[cfg(feature = "cli")]
use crate::cli::{Seat, log_end};
use crate::trace::{TaskLane, span};
use crate::{Frames, LINGER, Msgs, QueueGauge, Rest, SERVER_FULL, parse_recvd_data};

/// Receives until there is at least one whole message, and gives all that are there: as
/// [`recv_msgs`](crate::recv_msgs), but waits where that one blocks.
///
/// While it waits, `rest` keeps no memory but for an unfinished message. May be cancelled: what has
/// been received is in `rest`.
///
/// # Errors
///
/// Those of the socket.
///
/// ```
/// use tincanchat::Rest;
/// use tincanchat::asynchronous::recv_msgs;
///
/// # async_std::task::block_on(async {
/// let mut received = &b"one\0two\0thr"[..]; // stands for a socket
/// let mut rest = Rest::new();
/// let msgs = recv_msgs(&mut received, &mut rest).await?.expect("two messages");
/// assert_eq!(msgs.collect::<Result<Vec<_>, _>>()?, ["one", "two"]);
/// assert!(recv_msgs(&mut received, &mut rest).await?.is_none());
/// # Ok::<(), std::io::Error>(())
/// # }).unwrap();
/// ```
pub async fn recv_msgs<'a>(
    sock: &mut (impl AsyncRead + Unpin),
    rest: &'a mut Rest,
) -> io::Result<Option<Msgs<'a>>> {
    while !rest.has_msg() {
        let span = span("read");
        let read = poll_fn(|cx| poll_read(Pin::new(sock), rest, cx)).await;
        span.has_result(&read);
        match read {
            Ok(0) => return Ok(None),
            Ok(n) => rest.has_read(n),
            Err(err) => return Err(err),
        }
    }
    Ok(Some(parse_recvd_data(rest)))
}

fn poll_read(
    mut sock: Pin<&mut impl AsyncRead>,
    rest: &mut Rest,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let read = retry_interrupted(|| sock.as_mut().poll_read(cx, rest.room_to_read()));
    if !matches!(read, Poll::Ready(Ok(_))) {
        rest.release();
    }
    read
}

/// Polls again when a signal has interrupted the call.
///
/// A runtime tries again when a socket would block, but returns `Interrupted` like any other error.
///
/// ```
/// use std::io::{Error, ErrorKind};
/// use std::task::Poll;
/// use tincanchat::asynchronous::retry_interrupted;
///
/// let mut answers = [Err(ErrorKind::Interrupted), Ok(5)].into_iter();
/// let mut read = || Poll::Ready(answers.next().expect("two calls").map_err(Error::from));
/// assert!(matches!(retry_interrupted(&mut read), Poll::Ready(Ok(5))));
/// ```
pub fn retry_interrupted<T>(mut poll: impl FnMut() -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
    loop {
        match poll() {
            Poll::Ready(Err(err)) if err.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// How long the kernel may refuse everything before the gauge is asked whether the client is still
/// worth it.
const WRITE_TICK: Duration = Duration::from_millis(250);

/// Sends queued frames, many of them in one write: as [`send_frames`](crate::send_frames), but
/// waits where that one blocks.
///
/// `sleep` is the runtime's way to wait for a time; it is asked only while the kernel takes
/// nothing.
///
/// # Errors
///
/// [`SlowConsumer`](crate::SlowConsumer), as an error of the kind `TimedOut`, when
/// [`QueueGauge::check`] says so; and those of the socket.
///
/// ```
/// use async_std::task;
/// use tincanchat::{Frames, QueueGauge, asynchronous::send_frames};
///
/// # task::block_on(async {
/// let gauge = QueueGauge::new();
/// let mut frames = Frames::new();
/// gauge.queue(4).unwrap();
/// frames.push(b"one\0"[..].into());
/// let mut sock = Vec::new(); // stands for a socket
/// send_frames(&mut sock, &mut frames, &gauge, task::sleep).await?;
/// assert_eq!(sock, b"one\0");
/// # Ok::<(), std::io::Error>(())
/// # }).unwrap();
/// ```
pub async fn send_frames<S: Future>(
    sock: &mut (impl AsyncWrite + Unpin),
    frames: &mut Frames,
    gauge: &QueueGauge,
    sleep: impl Fn(Duration) -> S,
) -> io::Result<()> {
    gauge.name_lane();
    if frames.is_empty() {
        return Ok(());
    }
    let (span, mut sent) = (span("write"), 0);
    let mut tick = None;
    poll_fn(|cx| {
        while !frames.is_empty() {
            match poll_write(Pin::new(sock), frames, cx) {
                Poll::Ready(Ok(n)) => {
                    gauge.took(n);
                    sent += n;
                    span.has_bytes(sent);
                }
                Poll::Ready(Err(err)) => {
                    gauge.check()?;
                    return Poll::Ready(Err(err));
                }
                Poll::Pending => {
                    gauge.refused()?;
                    let timer = tick.get_or_insert_with(|| Box::pin(sleep(WRITE_TICK)));
                    ready!(timer.as_mut().poll(cx));
                    tick = None;
                }
            }
        }
        Poll::Ready(Ok(()))
    })
    .await
}

fn poll_write(
    mut sock: Pin<&mut impl AsyncWrite>,
    frames: &mut Frames,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let write = |slices: &[io::IoSlice<'_>]| {
        let written = retry_interrupted(|| sock.as_mut().poll_write_vectored(cx, slices));
        match written {
            Poll::Ready(result) => result,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    };
    match frames.write_with(usize::MAX, write) {
        Err(err) if err.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        result => Poll::Ready(result),
    }
}

/// How long a closing task that was woken for nothing stays away from its socket.
///
/// Another task may still wait to read from it; a socket wakes only one, and the other as it takes its
/// place: the two would wake each other without end.
const DRAIN_PAUSE: Duration = Duration::from_millis(10);

/// Ends a connection whose peer may still be sending: as [`close_gently`](crate::close_gently), but
/// waits where that one blocks, for [`LINGER`] at most by the runtime's `sleep`.
///
/// ```
/// use async_std::net::{TcpListener, TcpStream};
/// use async_std::prelude::*;
/// use async_std::task;
/// use tincanchat::asynchronous::close_gently;
///
/// # task::block_on(async {
/// let listener = TcpListener::bind("127.0.0.1:0").await?;
/// let mut client = TcpStream::connect(listener.local_addr()?).await?;
/// client.write_all(b"much that nobody reads").await?;
/// client.shutdown(std::net::Shutdown::Write)?;
///
/// let (mut sock, _) = listener.accept().await?;
/// sock.write_all(b"bye\0").await?;
/// close_gently(&sock, task::sleep).await;
///
/// let mut last_words = String::new();
/// client.read_to_string(&mut last_words).await?;
/// assert_eq!(last_words, "bye\0");
/// # Ok::<(), std::io::Error>(())
/// # }).unwrap();
/// ```
pub async fn close_gently<S, T>(mut sock: &S, sleep: impl Fn(Duration) -> T)
where
    S: AsSock,
    for<'a> &'a S: AsyncRead,
    T: Future,
{
    if SockRef::from(sock).shutdown(Shutdown::Write).is_err() {
        return;
    }
    let _span = span("close");
    let mut time_is_up = pin!(sleep(LINGER));
    let (mut pause, mut in_vain) = (None::<Pin<Box<T>>>, false);
    poll_fn(|cx| {
        // Here and not outside, where it would make every waiting task bigger.
        let mut thrown_away = [0; 4096];
        while time_is_up.as_mut().poll(cx).is_pending() {
            if let Some(pause) = &mut pause {
                ready!(pause.as_mut().poll(cx));
            }
            pause = None;
            match retry_interrupted(|| Pin::new(&mut sock).poll_read(cx, &mut thrown_away)) {
                Poll::Pending if in_vain => pause = Some(Box::pin(sleep(DRAIN_PAUSE))),
                Poll::Pending => {
                    in_vain = true;
                    return Poll::Pending;
                }
                Poll::Ready(Ok(n)) if n > 0 => in_vain = false,
                Poll::Ready(_) => break,
            }
        }
        Poll::Ready(())
    })
    .await;
}

/// Tells a client that the server is full, and closes so that the client can read it: as
/// [`turn_away`](crate::turn_away).
///
/// ```
/// use async_std::net::{TcpListener, TcpStream};
/// use async_std::prelude::*;
/// use async_std::task;
/// use tincanchat::{SERVER_FULL, asynchronous::turn_away};
///
/// # task::block_on(async {
/// let listener = TcpListener::bind("127.0.0.1:0").await?;
/// let mut client = TcpStream::connect(listener.local_addr()?).await?;
/// client.shutdown(std::net::Shutdown::Write)?;
///
/// let (sock, _) = listener.accept().await?; // for which there is no place
/// turn_away(&sock, task::sleep).await;
/// drop(sock);
///
/// let mut received = Vec::new();
/// client.read_to_end(&mut received).await?;
/// assert_eq!(received, SERVER_FULL);
/// # Ok::<(), std::io::Error>(())
/// # })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub async fn turn_away<S, T>(mut sock: &S, sleep: impl Fn(Duration) -> T)
where
    S: AsSock,
    for<'a> &'a S: AsyncRead + AsyncWrite,
    T: Future,
{
    let telling = async {
        let (mut frames, gauge) = (Frames::new(), QueueGauge::new());
        frames.push(SERVER_FULL.into());
        let is_queued = gauge.queue(SERVER_FULL.len()).is_ok();
        gauge.close();
        if is_queued && send_frames(&mut sock, &mut frames, &gauge, &sleep).await.is_ok() {
            close_gently(sock, &sleep).await;
        }
    };
    in_lane(TaskLane::named(|| "turned away".to_owned()), telling).await;
}

/// A lane of its own in the trace, for what is neither a thread nor a future of this module, but goes
/// on for a while now and then, such as a green thread.
///
/// ```
/// use tincanchat::asynchronous::Lane;
///
/// let mut lane = Lane::default();
/// assert_eq!(lane.over(|| 42), 42); // its spans go into the lane
/// ```
#[derive(Debug, Default)]
pub struct Lane(TaskLane);

impl Lane {
    /// Runs a piece of it: whatever is traced meanwhile is traced in its lane.
    pub fn over<T>(&mut self, run: impl FnOnce() -> T) -> T {
        let _entered = self.0.enter();
        run()
    }
}

/// Gives the task that accepts clients a lane of its own in the trace, `main`, whatever thread runs it.
///
/// ```
/// use async_std::task;
/// use tincanchat::asynchronous::in_main_lane;
///
/// assert_eq!(task::block_on(task::spawn(in_main_lane(async { 42 }))), 42);
/// ```
pub fn in_main_lane<F: Future>(future: F) -> impl Future<Output = F::Output> {
    in_lane(TaskLane::named(|| "main".to_owned()), future)
}

/// Polls a future in a lane of the trace.
fn in_lane<F: Future>(mut lane: TaskLane, future: F) -> impl Future<Output = F::Output> {
    let mut future = Box::pin(future);
    poll_fn(move |cx| {
        let _entered = lane.enter();
        future.as_mut().poll(cx)
    })
}

/// Runs something for one client, and turns a panic in it into an error: as
/// [`caught`](crate::cli::caught).
///
/// # Errors
///
/// Those of `handler`, and its panic.
///
/// ```
/// use tincanchat::asynchronous::caught;
///
/// # async_std::task::block_on(async {
/// assert_eq!(caught(async { Ok(42) }).await.unwrap(), 42);
/// assert!(caught::<()>(async { panic!("of this client only") }).await.is_err());
/// # });
/// ```
#[cfg(feature = "cli")]
pub fn caught<T>(
    handler: impl Future<Output = anyhow::Result<T>>,
) -> impl Future<Output = anyhow::Result<T>> {
    caught_in(TaskLane::default(), handler)
}

#[cfg(feature = "cli")]
fn caught_in<T>(
    mut lane: TaskLane,
    handler: impl Future<Output = anyhow::Result<T>>,
) -> impl Future<Output = anyhow::Result<T>> {
    // In a box of its own: an async fn would keep room for it twice, as argument and as variable.
    let mut handler = Box::pin(handler);
    // After a panic the handler is not polled again, only dropped.
    poll_fn(move |cx| {
        let _entered = lane.enter();
        match crate::cli::caught(|| Ok(handler.as_mut().poll(cx))) {
            Ok(poll) => poll,
            Err(panic) => Poll::Ready(Err(panic)),
        }
    })
}

/// Runs the handler of one client, and keeps to that client whatever becomes of it: as
/// [`contain`](crate::cli::contain).
///
/// ```
/// use async_std::task;
/// use tincanchat::{asynchronous::contain, cli::Door};
///
/// # task::block_on(async {
/// let addr = "127.0.0.1:50312".parse().unwrap();
/// let mut door = Door::new(1);
/// let (_, _, seat) = door.admit(Ok(("a socket", addr))).expect("a seat is free");
/// contain(seat, async { panic!("of this client only") }).await;
/// assert!(door.is_empty());
/// # });
/// ```
#[cfg(feature = "cli")]
pub fn contain(
    seat: Seat,
    handler: impl Future<Output = anyhow::Result<()>>,
) -> impl Future<Output = ()> {
    let end = caught_in(TaskLane::of_client(seat.addr()), handler);
    async move { log_end(&seat, end.await) }
}
