//! Accepting in turns; and receiving and sending with buffers that are given away: what
//! `tincanchat::asynchronous` does with borrowed ones.

use std::future::{Future as _, poll_fn};
use std::io::{self, ErrorKind};
use std::mem;
use std::net::{Shutdown as Half, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use anyhow::Result;
use compio::buf::{BufResult, IoVectoredBuf};
use compio::io::{AsyncRead as _, AsyncWrite as _};
use compio::net::{TcpListener, TcpStream};
use compio::time;
use rustix::io::ioctl_fionread;
use socket2::SockRef;
use tincanchat::{Frame, LINGER, Msgs, QueueGauge, READ_TURN, Rest, SERVER_FULL, parse_recvd_data};

/// The room for a read that may have to wait, in bytes.
const ROOM: usize = 2 * 1024;

/// How many reads at a time may have more room; the others make do with [`ROOM`].
const WIDE_READS: usize = 64;

thread_local! {
    /// There is a clone of it for each wide read on its way.
    static WIDE: Rc<()> = Rc::default();
}

/// How many bytes are offered in one write at most. The kernel may keep a write until all of it has
/// been taken, and what nobody is told of is no sign of life.
const OFFER: usize = 64 * 1024;

/// After how long a write that is still on its way has been refused: the kernel, when it was told of
/// it, did at once what could be done at once.
const AT_ONCE: Duration = Duration::from_millis(1);

/// How long it may then stay on its way before the gauge is asked again.
const WRITE_TICK: Duration = Duration::from_millis(250);

/// The most connections that are accepted in a row before the other tasks get a turn.
///
/// With 1, a client that has already connected might miss the next message. More would keep the clients
/// waiting: a turn of the runtime is 61 tasks, and each client needs about ten until it has left.
const ACCEPT_TURN: usize = 4;

/// Accepts clients, and now and then lets the other tasks go first.
pub struct Acceptor {
    listener: TcpListener,
    /// How many connections have been accepted without a wait between them.
    in_a_row: usize,
}

impl Acceptor {
    pub fn new(listener: std::net::TcpListener) -> io::Result<Self> {
        Ok(Acceptor { listener: TcpListener::from_std(listener)?, in_a_row: 0 })
    }

    /// Waits for a client. Without `io_uring`, an accept that does not have to wait is done at once, and so
    /// is the next one: as long as clients keep coming, nothing else would be done.
    pub async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        if self.in_a_row == ACCEPT_TURN {
            self.in_a_row = 0;
            yield_now().await;
        }
        let mut accepting = pin!(self.listener.accept());
        let mut has_waited = false;
        let accepted = poll_fn(|cx| {
            let accepted = accepting.as_mut().poll(cx);
            has_waited |= accepted.is_pending();
            accepted
        })
        .await;
        self.in_a_row = if has_waited { 0 } else { self.in_a_row + 1 };
        accepted
    }
}

/// Receives once, and gives the messages that have come to their end; none when the client leaves.
///
/// The kernel has the buffer while it waits, perhaps for hours, so it is a small one. `has_more` says
/// whether the last read was filled: then the next may have more room, if it need not wait.
pub async fn recv_msgs<'a>(
    mut sock: &TcpStream,
    rest: &'a mut Rest,
    has_more: &mut bool,
) -> io::Result<Option<Msgs<'a>>> {
    rest.release(); // it needs no memory for reading, besides the buffer
    let (room, _wide) = if *has_more { wide_room(sock) } else { (ROOM, None) };
    loop {
        let span = tincanchat::span("read");
        let BufResult(read, buf) = sock.read(Vec::with_capacity(room)).await;
        drop(span.of_bytes(buf.len()));
        match read {
            Ok(0) => return Ok(None),
            Ok(n) => *has_more = n >= room,
            Err(err) if is_to_be_tried_again(&err) => continue,
            Err(err) => return Err(err),
        }
        rest.extend(&buf);
        return Ok(Some(parse_recvd_data(rest)));
    }
}

/// Room for what is there already, so that the read will be complete at once, and leave to have it.
fn wide_room(sock: &TcpStream) -> (usize, Option<Rc<()>>) {
    let waiting = ioctl_fionread(sock).map_or(0, |n| usize::try_from(n).unwrap_or(READ_TURN));
    let wide = WIDE.with(|all| (Rc::strong_count(all) <= WIDE_READS).then(|| Rc::clone(all)));
    match wide {
        Some(wide) if waiting > ROOM => (waiting.min(READ_TURN), Some(wide)),
        _ => (ROOM, None),
    }
}

/// Frames that are shared with other clients' writes, and how many of their bytes have been sent. The
/// kernel reads the next ones where they are.
struct Offer {
    frames: Vec<Frame>,
    sent: usize,
}

impl IoVectoredBuf for Offer {
    fn iter_slice(&self) -> impl Iterator<Item = &[u8]> {
        let (mut skip, mut room) = (self.sent, OFFER);
        self.frames.iter().filter_map(move |frame| {
            let begin = skip.min(frame.len());
            let end = frame.len().min(begin + room);
            skip -= begin;
            room -= end - begin;
            (begin < end).then(|| &frame[begin..end])
        })
    }
}

/// Sends frames.
pub async fn send_frames(
    mut sock: &TcpStream,
    frames: Vec<Frame>,
    gauge: &QueueGauge,
) -> io::Result<()> {
    gauge.name_lane();
    let all: usize = frames.iter().map(|frame| frame.len()).sum();
    let mut offer = Offer { frames, sent: 0 };
    let _span = tincanchat::span("write").of_bytes(all);
    while offer.sent < all {
        let mut write = pin!(sock.write_vectored(offer));
        let mut tick = AT_ONCE;
        let BufResult(taken, back) = loop {
            match time::timeout(tick, write.as_mut()).await {
                Ok(complete) => break complete,
                // Given up, the write is cancelled, and has the frames until that is confirmed.
                Err(_) => gauge.refused()?,
            }
            tick = WRITE_TICK;
        };
        offer = back;
        match taken {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(n) => {
                gauge.took(n);
                offer.sent += n;
            }
            Err(err) if is_to_be_tried_again(&err) => {}
            Err(err) => return gauge.check().map_err(io::Error::from).and(Err(err)),
        }
    }
    Ok(())
}

/// Whether an error is none. On a busy machine the kernel may give up waiting: for a socket that it
/// has found ready too often, and empty or full each time, "would block" comes back.
fn is_to_be_tried_again(err: &io::Error) -> bool {
    matches!(err.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock)
}

/// Ends a connection whose peer may still be sending: reads on for a moment, so that no reset eats
/// what was sent last.
pub async fn close_gently(mut sock: &TcpStream) {
    if SockRef::from(sock).shutdown(Half::Write).is_err() {
        return;
    }
    let _span = tincanchat::span("close");
    let reading = async {
        loop {
            match sock.read(Vec::with_capacity(ROOM)).await.0 {
                Ok(1..) => {}
                Err(err) if is_to_be_tried_again(&err) => {}
                _ => break,
            }
            yield_now().await;
        }
    };
    // When the time is up, the last read is cancelled. Its buffer is freed when the kernel says so.
    let _ = time::timeout(LINGER, reading).await;
}

/// Tells a client that there is no place for it.
pub async fn turn_away(sock: &TcpStream) -> Result<()> {
    let gauge = QueueGauge::new();
    gauge.queue(SERVER_FULL.len())?;
    gauge.close();
    if send_frames(sock, vec![SERVER_FULL.into()], &gauge).await.is_ok() {
        close_gently(sock).await;
    }
    Ok(())
}

/// Lets others go on first. What is complete already is not waited for, so it must be asked for.
pub async fn yield_now() {
    let mut has_waited = false;
    poll_fn(|cx| {
        if mem::replace(&mut has_waited, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
