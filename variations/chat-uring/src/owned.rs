//! Reads, writes and accepts by completion. `tincanchat::asynchronous` borrows its buffers; here, the
//! kernel owns the buffer of an operation until the operation is complete.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::mem;
use std::net::{Shutdown, SocketAddr};
use std::pin::pin;

use bytes::Bytes;
use compio::buf::{BufResult, IoVectoredBuf};
use compio::io::{AsyncRead as _, AsyncWrite as _, AsyncWriteExt as _};
use compio::net::{TcpListener, TcpStream};
use compio::time::timeout;
use futures_lite::future::{poll_once, yield_now};
use rustix::io::ioctl_fionread;
use socket2::SockRef;
use tincanchat::{LINGER, Msgs, READ_TURN, RecvBuf, SERVER_FULL, parse_recvd_data};

/// The size of a read that may have to wait, in bytes: each silent client has a buffer of this size.
const SMALL_READ: usize = 2 * 1024;

/// The most reads larger than [`SMALL_READ`] at any one time.
const MAX_LARGE_READS: usize = 64;

/// The most bytes in one write.
///
/// The kernel may complete a write only when it has accepted all of its bytes. Until then, the server does
/// not learn that the client reads, so after a long write, a slow client would look like a client that does
/// not read at all.
const MAX_WRITE: usize = 64 * 1024;

/// The most batches in one write, as in `tincanchat::SendBuf`.
const SLICES: usize = 64;

/// The most connections that are accepted in a row without a wait.
///
/// With 1, a client that has already connected might miss the next message. With many more, the clients
/// would wait too long: the runtime runs up to 61 tasks between two turns of the accept loop, and each
/// client causes about ten such runs between joining and leaving.
const ACCEPT_TURN: usize = 4;

/// Accepts clients, and lets the other tasks run from time to time.
pub struct Acceptor {
    listener: TcpListener,
    /// How many connections have been accepted since the last wait.
    accepted_in_a_row: usize,
}

impl Acceptor {
    /// Returns an acceptor for a listener of std. Returns an error if the runtime cannot register it.
    pub fn new(listener: std::net::TcpListener) -> io::Result<Self> {
        Ok(Acceptor { listener: TcpListener::from_std(listener)?, accepted_in_a_row: 0 })
    }

    /// Waits until a client connects.
    ///
    /// Without `io_uring`, accepting a connection that is already waiting completes at once, so the task
    /// would never wait while clients keep connecting. The turns prevent this.
    pub async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        if self.accepted_in_a_row == ACCEPT_TURN {
            yield_now().await;
            self.accepted_in_a_row = 0;
        }
        let mut accept = pin!(self.listener.accept());
        if let Some(accepted) = poll_once(accept.as_mut()).await {
            self.accepted_in_a_row += 1;
            return accepted;
        }
        self.accepted_in_a_row = 0;
        accept.await
    }
}

/// The receiving side of a connection.
pub struct Reader<'a> {
    sock: &'a TcpStream,
    /// Whether the last read filled its buffer, so that there may be more to read.
    was_filled: bool,
}

impl<'a> Reader<'a> {
    /// Returns the receiving side of a connection from which nothing has been read.
    pub fn new(sock: &'a TcpStream) -> Self {
        Reader { sock, was_filled: false }
    }

    /// Reads once and returns the bytes; none if the client has shut down its sending side.
    async fn read(&mut self) -> io::Result<Vec<u8>> {
        loop {
            let large_read = if self.was_filled { LargeRead::start(self.sock) } else { None };
            let size = large_read.as_ref().map_or(SMALL_READ, |large_read| large_read.size);
            // The kernel owns the buffer during the read, which may last for hours.
            let BufResult(read, buf) = self.sock.read(Vec::with_capacity(size)).await;
            match read {
                Ok(n) => {
                    self.was_filled = n >= size;
                    return Ok(buf);
                }
                Err(err) if is_transient(&err) => {}
                Err(err) => return Err(err),
            }
        }
    }
}

thread_local! {
    static LARGE_READS: Cell<usize> = const { Cell::new(0) };
}

/// A read of bytes that have already arrived: it does not wait, so it may have a large buffer.
struct LargeRead {
    size: usize,
}

impl LargeRead {
    /// Prepares a read of the bytes that have arrived. Returns `None` if they fit into a small read, or if
    /// there are too many large reads already.
    fn start(sock: &TcpStream) -> Option<Self> {
        let arrived = usize::try_from(ioctl_fionread(sock).ok()?).ok()?;
        if arrived <= SMALL_READ || LARGE_READS.get() >= MAX_LARGE_READS {
            return None;
        }
        LARGE_READS.set(LARGE_READS.get() + 1);
        Some(LargeRead { size: arrived.min(READ_TURN) })
    }
}

impl Drop for LargeRead {
    fn drop(&mut self) {
        LARGE_READS.set(LARGE_READS.get() - 1);
    }
}

/// Waits until something is received, and returns the messages that are now complete, perhaps none. Returns
/// `None` if the client has shut down its sending side.
pub async fn recv_msgs<'a>(
    reader: &mut Reader<'_>,
    rest: &'a mut RecvBuf,
) -> io::Result<Option<Msgs<'a>>> {
    rest.release(); // during the read it contains nothing except an unfinished message
    let received = reader.read().await?;
    if received.is_empty() {
        return Ok(None);
    }
    rest.extend(&received);
    Ok(Some(parse_recvd_data(rest)))
}

/// Reads and discards input until the client shuts down its sending side or the connection fails.
pub async fn discard_input(reader: &mut Reader<'_>) {
    while reader.read().await.is_ok_and(|received| !received.is_empty()) {
        yield_now().await; // the other tasks get a turn, even if this client never stops sending
    }
}

/// Batches on their way to one client, like `tincanchat::SendBuf`. A write takes the whole buffer, and
/// returns it when the write is complete.
///
/// The batches are not copied: the kernel reads the same memory for all clients.
#[derive(Default)]
pub struct SendBuf {
    batches: VecDeque<Bytes>,
    /// How many bytes of the first batch have been written; always fewer than it has.
    written: usize,
}

impl SendBuf {
    /// Returns an empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reports whether all bytes have been written.
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Appends a batch; ignores an empty one.
    pub fn push(&mut self, batch: Bytes) {
        if !batch.is_empty() {
            self.batches.push_back(batch);
        }
    }

    /// Removes the first `n` bytes, which have been written.
    fn remove(&mut self, n: usize) {
        self.written += n;
        while let Some(first) = self.batches.front() {
            if self.written < first.len() {
                return;
            }
            self.written -= first.len();
            self.batches.pop_front();
        }
        // Everything is written: an idle client needs no space for a long queue.
        self.batches.shrink_to(4);
    }
}

/// Tells compio what one write offers to the kernel: up to 64 batches, and up to 64 KiB.
impl IoVectoredBuf for SendBuf {
    fn iter_slice(&self) -> impl Iterator<Item = &[u8]> {
        let mut written = self.written;
        let mut space = MAX_WRITE;
        self.batches.iter().take(SLICES).map_while(move |batch| {
            let unwritten = &batch[mem::take(&mut written)..]; // only the first batch may be partly written
            let slice = &unwritten[..unwritten.len().min(space)];
            space -= slice.len();
            (!slice.is_empty()).then_some(slice)
        })
    }
}

/// Writes some of the batches. Returns how many bytes the kernel has accepted, and the buffer with the
/// rest.
///
/// If the future is dropped before it is complete, the write is cancelled. The kernel may still perform it
/// until it confirms that the write is cancelled, and the batches are freed only then.
pub async fn write_batches(
    mut sock: &TcpStream,
    mut send_buf: SendBuf,
) -> io::Result<(usize, SendBuf)> {
    loop {
        let BufResult(written, returned) = sock.write_vectored(send_buf).await;
        send_buf = returned;
        match written {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(n) => {
                send_buf.remove(n);
                return Ok((n, send_buf));
            }
            Err(err) if is_transient(&err) => {}
            Err(err) => return Err(err),
        }
    }
}

/// Reports whether an operation must be repeated: a signal came, or, on a busy machine, the kernel has
/// stopped waiting for the socket.
///
/// `io_uring` stops waiting for a socket that it has often found ready, and then empty or full again. The
/// operation then fails with "would block".
fn is_transient(err: &io::Error) -> bool {
    matches!(err.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock)
}

/// Sends `server: full` and closes the connection gently: shuts down the sending side, then discards input
/// until the client closes its side too. Waits for up to [`LINGER`].
pub async fn refuse(mut sock: &TcpStream) {
    let reply_and_linger = async {
        let BufResult(written, _) = sock.write_all(SERVER_FULL).await;
        if written.is_ok() {
            let _ = SockRef::from(sock).shutdown(Shutdown::Write); // an error after a reset
            discard_input(&mut Reader::new(sock)).await;
        }
    };
    let _ = timeout(LINGER, reply_and_linger).await;
}
