//! Receiving and sending with buffers that are given away: what `tincanchat::asynchronous` does with
//! borrowed ones.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::mem;
use std::net::Shutdown as Half;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use anyhow::Result;
use compio::buf::{BufResult, IntoInner as _, IoVectoredBuf as _};
use compio::io::{AsyncRead as _, AsyncWrite as _};
use compio::net::TcpStream;
use compio::time;
use socket2::SockRef;
use tincanchat::{Frame, LINGER, Msgs, QueueGauge, READ_TURN, Rest, SERVER_FULL, parse_recvd_data};

/// The room for a read of a client that says little, in bytes.
const ROOM: usize = 2 * 1024;

/// How long a write may be on its way before the gauge is asked whether the client is worth it.
const WRITE_TICK: Duration = Duration::from_millis(250);

/// Receives once, and gives the messages that have come to their end; none when the client leaves.
///
/// The kernel has the buffer while it waits, perhaps for hours; `buf` is empty meanwhile, and stays so
/// if this is cancelled.
pub async fn recv_msgs<'a>(
    mut sock: &TcpStream,
    rest: &'a mut Rest,
    buf: &mut Vec<u8>,
) -> io::Result<Option<Msgs<'a>>> {
    if rest.is_empty() {
        *rest = Rest::new(); // needs no memory, besides the buffer
    }
    loop {
        let span = tincanchat::span("read");
        let BufResult(read, filled) = sock.read(emptied(mem::take(buf))).await;
        drop(span.of_bytes(filled.len()));
        match read {
            Ok(0) => return Ok(None),
            Ok(_) => rest.extend(&filled),
            Err(err) if err.kind() == ErrorKind::Interrupted => continue,
            Err(err) => return Err(err),
        }
        *buf = filled;
        return Ok(Some(parse_recvd_data(rest)));
    }
}

/// Sends frames. They are shared with other clients' writes; the kernel reads them where they are.
pub async fn send_frames(
    mut sock: &TcpStream,
    mut frames: Vec<Frame>,
    gauge: &QueueGauge,
) -> io::Result<()> {
    gauge.name_lane();
    let (mut sent, all) = (0, frames.total_len());
    let _span = tincanchat::span("write").of_bytes(all);
    while sent < all {
        let mut write = pin!(sock.write_vectored(frames.slice(sent)));
        let BufResult(taken, back) = loop {
            match time::timeout(WRITE_TICK, write.as_mut()).await {
                Ok(complete) => break complete,
                // Given up, the write is cancelled, and has the frames until that is confirmed.
                Err(_) => gauge.refused()?,
            }
        };
        match taken {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(n) => {
                gauge.took(n);
                sent += n;
            }
            Err(err) if err.kind() == ErrorKind::Interrupted => {}
            Err(err) => return gauge.check().map_err(io::Error::from).and(Err(err)),
        }
        frames = back.into_inner();
    }
    Ok(())
}

/// Ends a connection whose peer may still be sending: reads on for a moment, so that no reset eats
/// what was sent last.
pub async fn close_gently(mut sock: &TcpStream) {
    if SockRef::from(sock).shutdown(Half::Write).is_err() {
        return;
    }
    let _span = tincanchat::span("close");
    let reading = async {
        let mut buf = Vec::with_capacity(ROOM);
        while let BufResult(Ok(1..), filled) = sock.read(buf).await {
            buf = emptied(filled);
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

/// Makes room for the next read: more for a client that has filled it, less for one that has become
/// quieter.
fn emptied(mut buf: Vec<u8>) -> Vec<u8> {
    let (len, room) = (buf.len(), buf.capacity());
    if room < ROOM {
        return Vec::with_capacity(ROOM);
    }
    if len == room && room < READ_TURN {
        return Vec::with_capacity(READ_TURN.min(4 * room));
    }
    if len < room / 8 && room > ROOM {
        return Vec::with_capacity(ROOM.max(room / 4));
    }
    buf.clear();
    buf
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
