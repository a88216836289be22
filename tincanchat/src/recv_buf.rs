use std::iter::FusedIterator;

use memchr::memchr;

use crate::frame::NUL;
use crate::{FrameError, MAX_MSG_LEN, MAX_RELAY_LEN, READ_TURN};

/// The size of the first read of a connection, in bytes.
const FIRST_READ: usize = 2 * 1024;

/// The bytes that have been received on one connection but do not form a complete message yet, and the
/// space for the next read.
///
/// Programs call it `rest`: it is the rest of the bytes read, after the last complete message. It is empty,
/// and uses no memory on the heap, when no message is unfinished and [`release`](Self::release) has been
/// called. The size of a read grows with the amount that the peer sends, from 2 KiB to [`READ_TURN`], and
/// shrinks again. Each byte is searched for the zero byte only once, and moved at most once.
#[derive(Debug)]
pub struct RecvBuf {
    /// `buf[start..end]` has been received but not yet returned as messages; the space after it is free.
    buf: Vec<u8>,
    start: usize,
    end: usize,
    /// `buf[start..searched]` contains no zero byte.
    searched: usize,
    /// The size of the next read.
    read_size: usize,
    /// The longest message, in bytes.
    limit: usize,
    /// How many bytes have been received in total.
    received: u64,
}

impl RecvBuf {
    /// Returns an empty buffer for messages of up to [`MAX_MSG_LEN`] bytes, for a server.
    ///
    /// ```
    /// use tincanchat::{FrameError, MAX_MSG_LEN, RecvBuf, parse_recvd_data};
    ///
    /// let mut rest = RecvBuf::new();
    /// rest.extend(&[b'x'; MAX_MSG_LEN]); // its zero byte may still arrive
    /// assert_eq!(parse_recvd_data(&mut rest).next(), None);
    /// rest.extend(b"x");
    /// let too_long = FrameError::TooLong { limit: MAX_MSG_LEN };
    /// assert_eq!(parse_recvd_data(&mut rest).next(), Some(Err(too_long)));
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::with_limit(MAX_MSG_LEN)
    }

    /// Returns an empty buffer for messages of up to [`MAX_RELAY_LEN`] bytes, for a client.
    ///
    /// ```
    /// use tincanchat::{MAX_MSG_LEN, RecvBuf, parse_recvd_data};
    ///
    /// // The longest message as a server relays it, after its sender's address.
    /// let relayed = format!("127.0.0.1:50312: {}", "x".repeat(MAX_MSG_LEN));
    /// let mut rest = RecvBuf::for_client();
    /// rest.extend(relayed.as_bytes());
    /// rest.extend(b"\0");
    /// assert_eq!(parse_recvd_data(&mut rest).next(), Some(Ok(&*relayed)));
    /// ```
    #[must_use]
    pub fn for_client() -> Self {
        Self::with_limit(MAX_RELAY_LEN)
    }

    fn with_limit(limit: usize) -> Self {
        RecvBuf {
            buf: Vec::new(),
            start: 0,
            end: 0,
            searched: 0,
            read_size: FIRST_READ,
            limit,
            received: 0,
        }
    }

    /// Returns how many bytes have been received but not yet returned as messages.
    ///
    /// ```
    /// use tincanchat::{RecvBuf, parse_recvd_data};
    ///
    /// let mut rest = RecvBuf::new();
    /// rest.extend("one\0twö".as_bytes());
    /// assert_eq!(rest.len(), 8); // bytes: the ö is two of them
    /// assert_eq!(parse_recvd_data(&mut rest).next(), Some(Ok("one")));
    /// assert_eq!(rest.len(), 4);
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Reports whether every byte received has been returned as part of a message.
    ///
    /// ```
    /// use tincanchat::{RecvBuf, parse_recvd_data};
    ///
    /// let mut rest = RecvBuf::new();
    /// rest.extend(b"one\0");
    /// assert!(!rest.is_empty()); // it contains a complete message
    /// assert_eq!(parse_recvd_data(&mut rest).next(), Some(Ok("one")));
    /// assert!(rest.is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Returns how many bytes have been received on this connection in total.
    ///
    /// ```
    /// use tincanchat::{RecvBuf, recv_msgs};
    ///
    /// let mut rest = RecvBuf::new();
    /// recv_msgs(&mut &b"one\0tw"[..], &mut rest)?;
    /// assert_eq!(rest.total_received(), 6);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn total_received(&self) -> u64 {
        self.received
    }

    /// Appends bytes that have been received.
    ///
    /// ```
    /// use tincanchat::{RecvBuf, parse_recvd_data};
    ///
    /// let mut rest = RecvBuf::new();
    /// rest.extend(b"w\xc3"); // the read ended in the middle of the ö
    /// assert_eq!(parse_recvd_data(&mut rest).next(), None);
    /// rest.extend(b"\xb6rld\0");
    /// assert_eq!(parse_recvd_data(&mut rest).next(), Some(Ok("wörld")));
    /// ```
    pub fn extend(&mut self, bytes: &[u8]) {
        let mut bytes = bytes;
        while !bytes.is_empty() {
            let spare = self.spare();
            let n = spare.len().min(bytes.len());
            spare[..n].copy_from_slice(&bytes[..n]);
            self.has_read(n);
            bytes = &bytes[n..];
        }
    }

    /// Returns the space for the next read, after which [`has_read`](Self::has_read) must be called.
    pub(crate) fn spare(&mut self) -> &mut [u8] {
        self.compact();
        if self.end + self.read_size > self.buf.len() {
            self.buf.resize(self.end + self.read_size, 0);
        }
        &mut self.buf[self.end..]
    }

    /// Adds the `n` bytes that a read has put into the space, and adapts the size of the next read.
    pub(crate) fn has_read(&mut self, n: usize) {
        if n == self.buf.len() - self.end {
            self.read_size = (self.read_size * 4).min(READ_TURN);
        } else if n < self.read_size / 8 {
            self.read_size = (self.read_size / 4).max(FIRST_READ);
        }
        self.end += n;
        self.received += n as u64;
    }

    /// Frees the memory that is not needed until the next bytes arrive: everything except an unfinished
    /// message and the space for a small read.
    ///
    /// ```
    /// use tincanchat::{RecvBuf, parse_recvd_data};
    ///
    /// let mut rest = RecvBuf::new();
    /// rest.extend(&[b"much\0".repeat(10_000), b"litt".to_vec()].concat());
    /// while let Some(msg) = parse_recvd_data(&mut rest).next() {
    ///     msg?;
    /// }
    /// rest.release(); // before a wait that may be long
    /// rest.extend(b"le\0");
    /// assert_eq!(parse_recvd_data(&mut rest).next(), Some(Ok("little")));
    /// # Ok::<(), tincanchat::FrameError>(())
    /// ```
    pub fn release(&mut self) {
        self.compact();
        if self.buf.len() - self.end > FIRST_READ {
            self.buf.truncate(self.end);
        }
        if self.is_empty() {
            self.buf.clear();
        }
        self.buf.shrink_to_fit();
    }

    fn compact(&mut self) {
        if self.start > 0 {
            self.buf.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.searched -= self.start;
            self.start = 0;
        }
    }

    /// Frees memory before a blocking read, if the client now sends less than before.
    pub(crate) fn shrink(&mut self) {
        if self.is_empty() && self.buf.len() > 2 * self.read_size {
            self.release();
        }
    }

    /// Reports whether the end of a message has arrived, even of an empty one: whether [`parse_recvd_data`]
    /// would return a message or an error, or has just skipped an empty message.
    pub(crate) fn has_msg(&mut self) -> bool {
        let before = self.start;
        !matches!(parse_recvd_data(self).find_end(), Ok(None)) || self.start > before
    }
}

impl Default for RecvBuf {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns the complete messages that have been received, and leaves the unfinished one in `rest`.
///
/// The messages borrow their text from `rest`; nothing is copied. Messages that the caller does not take
/// from the iterator stay in `rest` for the next call. Empty messages are skipped.
///
/// ```
/// use tincanchat::{RecvBuf, parse_recvd_data};
///
/// let mut rest = RecvBuf::new();
/// rest.extend(b"one\0\0two\0thr");
/// let msgs: Vec<_> = parse_recvd_data(&mut rest).map(Result::unwrap).collect();
/// assert_eq!(msgs, ["one", "two"]);
/// assert_eq!(rest.len(), 3);
/// ```
pub fn parse_recvd_data(rest: &mut RecvBuf) -> Msgs<'_> {
    Msgs {
        data: &rest.buf[..rest.end],
        start: &mut rest.start,
        searched: &mut rest.searched,
        limit: rest.limit,
        has_failed: false,
    }
}

/// The messages in a [`RecvBuf`], from [`parse_recvd_data`].
///
/// Returns the messages in the order received. In place of a message that is too long or not UTF-8, returns
/// a [`FrameError`] as the last item: the client is to be disconnected.
#[derive(Debug)]
pub struct Msgs<'a> {
    data: &'a [u8],
    start: &'a mut usize,
    searched: &'a mut usize,
    limit: usize,
    has_failed: bool,
}

impl Msgs<'_> {
    /// Finds the zero byte of the first message that is not empty, if it has arrived.
    ///
    /// A message is too long as soon as one byte more than the limit has arrived, with or without a zero
    /// byte after it. So the result does not depend on how the network has split the bytes.
    fn find_end(&mut self) -> Result<Option<usize>, FrameError> {
        loop {
            let found = memchr(NUL, &self.data[*self.searched..]).map(|at| *self.searched + at);
            *self.searched = found.unwrap_or(self.data.len());
            if *self.searched - *self.start > self.limit {
                return Err(FrameError::TooLong { limit: self.limit });
            }
            if found != Some(*self.start) {
                return Ok(found);
            }
            self.skip_to(*self.start + 1);
        }
    }

    fn skip_to(&mut self, next: usize) {
        *self.start = next;
        *self.searched = next;
    }
}

impl<'a> Iterator for Msgs<'a> {
    type Item = Result<&'a str, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_failed {
            return None;
        }
        let msg = self.find_end().transpose()?.and_then(|end| {
            let bytes = &self.data[*self.start..end];
            self.skip_to(end + 1);
            str::from_utf8(bytes).map_err(|err| FrameError::NotUtf8 {
                len: bytes.len(),
                valid_up_to: err.valid_up_to(),
            })
        });
        self.has_failed = msg.is_err();
        Some(msg)
    }
}

impl FusedIterator for Msgs<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    /// The most memory that a buffer may use: twice the size of an unfinished message and one read, because
    /// a `Vec` grows by doubling.
    const BOUND: usize = 2 * (MAX_MSG_LEN + READ_TURN);

    fn receive(rest: &mut RecvBuf, bytes: &[u8]) -> Result<usize, FrameError> {
        rest.extend(bytes);
        parse_recvd_data(rest).try_fold(0, |count, msg| msg.map(|_| count + 1))
    }

    #[test]
    fn memory_is_bounded_by_an_unfinished_message_and_one_read() {
        for size in [1, 100, 5000, MAX_MSG_LEN] {
            let bytes: Vec<u8> = [vec![b'x'; size], vec![0]].concat().repeat(400_000 / size);
            for read in [1000, READ_TURN] {
                let mut rest = RecvBuf::new();
                for part in bytes.chunks(read) {
                    receive(&mut rest, part).unwrap();
                    assert!(rest.buf.capacity() <= BOUND, "{} bytes held", rest.buf.capacity());
                }
            }
        }
    }

    #[test]
    fn a_message_without_end_is_an_error_before_it_fills_the_memory() {
        let mut rest = RecvBuf::new();
        let err = (0..100).find_map(|_| receive(&mut rest, &[b'x'; 1000]).err());
        assert_eq!(err, Some(FrameError::TooLong { limit: MAX_MSG_LEN }));
        assert!(rest.buf.capacity() <= BOUND);
    }

    #[test]
    fn no_byte_is_searched_twice() {
        let mut rest = RecvBuf::new();
        for len in 1..1000 {
            let before = rest.searched;
            assert_eq!(receive(&mut rest, b"x"), Ok(0));
            assert_eq!((before, rest.searched), (len - 1, len));
        }
    }

    #[test]
    fn no_memory_is_kept_for_a_peer_that_is_silent() {
        let mut rest = RecvBuf::new();
        assert_eq!(receive(&mut rest, b"one\0"), Ok(1));
        rest.release();
        assert_eq!(rest.buf.capacity(), 0);

        assert_eq!(receive(&mut rest, b"on"), Ok(0));
        rest.release();
        assert_eq!(receive(&mut rest, b"e\0"), Ok(1));
    }

    #[test]
    fn little_memory_is_kept_for_an_unfinished_message_after_much_input() {
        let mut rest = RecvBuf::new();
        for _ in 0..3 {
            assert_eq!(receive(&mut rest, &vec![0; READ_TURN]), Ok(0));
        }
        assert_eq!(receive(&mut rest, b"on"), Ok(0));
        rest.release();
        assert!(rest.buf.capacity() <= 2 + FIRST_READ, "{} bytes held", rest.buf.capacity());
        assert_eq!(receive(&mut rest, b"e\0"), Ok(1));
    }

    #[test]
    fn the_read_size_grows_with_the_input_and_shrinks_again() {
        let mut rest = RecvBuf::new();
        assert_eq!(rest.spare().len(), FIRST_READ);
        for _ in 0..5 {
            let n = rest.spare().len();
            rest.has_read(n);
            rest.start = rest.end;
            rest.searched = rest.end;
        }
        assert_eq!(rest.read_size, READ_TURN);
        for _ in 0..5 {
            receive(&mut rest, b"x\0").unwrap();
        }
        rest.shrink();
        assert_eq!(rest.read_size, FIRST_READ);
        assert_eq!(rest.buf.capacity(), 0);
    }
}
