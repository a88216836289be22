use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Write};

use bytes::Bytes;

/// The most batches in one write. `IOV_MAX` on Linux is 1,024 (writev(2)); 64 are enough to fill a packet.
const SLICES: usize = 64;

/// The bytes that are waiting to be sent to one client: a queue of batches, and how much of the first one
/// the kernel has already accepted.
///
/// Every client's buffer holds the same [`Bytes`], not a copy: a batch is one allocation, however many
/// clients it is sent to.
///
/// ```
/// use tincanchat::SendBuf;
///
/// let mut send_buf = SendBuf::new();
/// send_buf.push("one\0".into());
/// send_buf.push("two\0".into());
///
/// let mut sock = [0; 6]; // stands for a socket with room for six bytes
/// assert_eq!(send_buf.write_to(&mut &mut sock[..])?, 6);
/// assert_eq!(&sock, b"one\0tw");
///
/// let mut sock = Vec::new();
/// assert_eq!(send_buf.write_to(&mut sock)?, 2);
/// assert_eq!(sock, b"o\0");
/// assert!(send_buf.is_empty());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct SendBuf {
    batches: VecDeque<Bytes>,
    /// How many bytes of the first batch have been written; always fewer than the batch has.
    written: usize,
}

impl SendBuf {
    /// Returns an empty buffer, which uses no memory on the heap yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reports whether all bytes have been written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Appends a batch, unless it is empty.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use tincanchat::SendBuf;
    ///
    /// let batch = Bytes::from("one\0");
    /// let mut clients = [SendBuf::new(), SendBuf::new()];
    /// for send_buf in &mut clients {
    ///     send_buf.push(batch.clone()); // the same bytes, not a copy
    /// }
    /// assert!(clients.iter().all(|send_buf| !send_buf.is_empty()));
    /// ```
    pub fn push(&mut self, batch: Bytes) {
        if !batch.is_empty() {
            self.batches.push_back(batch);
        }
    }

    /// Writes up to 64 batches to `sock` with one call, removes the bytes that it accepted from the buffer,
    /// and returns their number. Returns 0 only if the buffer is empty.
    ///
    /// # Errors
    ///
    /// Any error of the write, in which case nothing is removed. `Interrupted` is not returned: the write
    /// is tried again. `WriteZero` if the write reports that it accepted no bytes.
    ///
    /// ```
    /// use tincanchat::SendBuf;
    ///
    /// let mut send_buf = SendBuf::new();
    /// send_buf.extend(["one\0".into(), "two\0".into()]);
    /// let mut sock = Vec::new(); // stands for a socket, which accepts everything
    /// assert_eq!(send_buf.write_to(&mut sock)?, 8);
    /// assert_eq!(sock, b"one\0two\0");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn write_to(&mut self, sock: &mut impl Write) -> io::Result<usize> {
        self.write_with(|slices| {
            loop {
                match sock.write_vectored(slices) {
                    Err(err) if err.kind() == ErrorKind::Interrupted => {}
                    result => return result,
                }
            }
        })
    }

    /// Does the same as [`write_to`](Self::write_to), with any vectored write.
    pub(crate) fn write_with(
        &mut self,
        write: impl FnOnce(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if self.batches.is_empty() {
            return Ok(0);
        }
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = self.batches.len().min(SLICES);
        for (slice, batch) in slices.iter_mut().zip(&self.batches) {
            *slice = IoSlice::new(batch);
        }
        slices[0].advance(self.written);
        match write(&slices[..count])? {
            0 => Err(ErrorKind::WriteZero.into()),
            n => {
                self.remove(n);
                Ok(n)
            }
        }
    }

    fn remove(&mut self, n: usize) {
        self.written += n;
        while let Some(first) = self.batches.front() {
            if self.written < first.len() {
                return;
            }
            self.written -= first.len();
            self.batches.pop_front();
        }
        // Everything has been written: an idle client needs no room for a long queue.
        self.batches.shrink_to(4);
    }
}

impl Extend<Bytes> for SendBuf {
    fn extend<I: IntoIterator<Item = Bytes>>(&mut self, batches: I) {
        for batch in batches {
            self.push(batch);
        }
    }
}
