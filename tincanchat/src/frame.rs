use std::io;

use memchr::memchr;

use crate::{MAX_MSG_LEN, MAX_RELAY_LEN, READ_TURN};

/// What ends a message on the wire.
const NUL: u8 = 0;

/// The room made for a read from a client of which nothing is known yet, in bytes.
const FIRST_READ: usize = 2 * 1024;

/// What can be wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A text to be sent has a zero byte in it, so it would arrive as two messages.
    #[error("the text has a zero byte in it, at byte {at}")]
    InnerNul {
        /// The offset of the first zero byte, in bytes.
        at: usize,
    },
    /// A message goes on after its longest permitted length.
    ///
    /// How much longer it is does not matter, and is not always known: the rest need never come.
    #[error("the message is longer than {limit} bytes")]
    TooLong {
        /// The most bytes that a message may have here, without its zero byte.
        limit: usize,
    },
    /// A message is not UTF-8 (RFC 3629).
    #[error("the message is not UTF-8: of its {len} bytes, {valid_up_to} make sense")]
    NotUtf8 {
        /// The length of the message in bytes, without its zero byte.
        len: usize,
        /// The offset of the first byte that fits no character, in bytes.
        valid_up_to: usize,
    },
}

/// An I/O error of the kind `InvalidData`, with the [`FrameError`] inside.
impl From<FrameError> for io::Error {
    fn from(err: FrameError) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, err)
    }
}

/// Gives the bytes that stand for a message on the wire: its text, then one zero byte.
///
/// # Errors
///
/// [`FrameError::InnerNul`] if the text has a zero byte in it, which would make it two messages;
/// [`FrameError::TooLong`] if it has more than [`MAX_MSG_LEN`] bytes, which no server would take.
///
/// ```
/// use tincanchat::{FrameError, prep_msg};
///
/// assert_eq!(prep_msg("hé"), Ok(b"h\xc3\xa9\0".to_vec()));
/// assert_eq!(prep_msg("a\0b"), Err(FrameError::InnerNul { at: 1 }));
/// ```
pub fn prep_msg(msg: &str) -> Result<Vec<u8>, FrameError> {
    if let Some(at) = memchr(NUL, msg.as_bytes()) {
        return Err(FrameError::InnerNul { at });
    }
    if msg.len() > MAX_MSG_LEN {
        return Err(FrameError::TooLong { limit: MAX_MSG_LEN });
    }
    let mut frame = Vec::with_capacity(msg.len() + 1);
    append_msg(&mut frame, "", msg);
    Ok(frame)
}

/// Appends a message, with a prefix, to bytes that are to be sent.
///
/// Takes a message as [`parse_recvd_data`] gives it: without a zero byte and not over-long. A
/// server relays many messages of one sender: the prefix, `ADDR: `, is formatted once for all of
/// them, and the bytes of all go out together.
///
/// ```
/// use tincanchat::append_msg;
///
/// let mut frames = Vec::new();
/// append_msg(&mut frames, "[::1]:4040: ", "hello");
/// append_msg(&mut frames, "[::1]:4040: ", "world");
/// assert_eq!(frames, b"[::1]:4040: hello\0[::1]:4040: world\0");
/// ```
pub fn append_msg(frames: &mut Vec<u8>, prefix: &str, msg: &str) {
    frames.reserve(prefix.len() + msg.len() + 1);
    frames.extend_from_slice(prefix.as_bytes());
    frames.extend_from_slice(msg.as_bytes());
    frames.push(NUL);
}

/// The bytes received of one connection that do not make a whole message yet, and the room to
/// receive more.
///
/// What is left after the last whole message waits here for the next read: the *rest* of
/// `docs/src/protocol.md`. It holds the unfinished message and one read, and nothing at all while
/// there is neither; the room for a read grows with what the peer sends, from 2 KiB to
/// [`READ_TURN`]. No byte is looked at twice in the search for the zero byte, and each is moved at
/// most once.
#[derive(Debug)]
pub struct Rest {
    /// `buf[start..end]` has been received and not been given out; behind `end` there is room.
    buf: Vec<u8>,
    start: usize,
    end: usize,
    /// There is no zero byte in `buf[start..scanned]`.
    scanned: usize,
    room: usize,
    limit: usize,
}

impl Rest {
    /// An empty rest for messages of up to [`MAX_MSG_LEN`] bytes: what a server receives.
    ///
    /// ```
    /// use tincanchat::{FrameError, MAX_MSG_LEN, Rest, parse_recvd_data};
    ///
    /// let mut rest = Rest::new();
    /// rest.extend(&[b'x'; MAX_MSG_LEN]); // its zero byte may come yet
    /// assert_eq!(parse_recvd_data(&mut rest).next(), None);
    /// rest.extend(b"x");
    /// let too_long = FrameError::TooLong { limit: MAX_MSG_LEN };
    /// assert_eq!(parse_recvd_data(&mut rest).next(), Some(Err(too_long)));
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::with_limit(MAX_MSG_LEN)
    }

    /// An empty rest for messages of up to [`MAX_RELAY_LEN`] bytes: what a client receives.
    ///
    /// ```
    /// use tincanchat::{MAX_MSG_LEN, Rest, parse_recvd_data};
    ///
    /// // The longest message, as a server relays it: with its sender's address in front.
    /// let relayed = format!("127.0.0.1:50312: {}", "x".repeat(MAX_MSG_LEN));
    /// let mut rest = Rest::for_client();
    /// rest.extend(relayed.as_bytes());
    /// rest.extend(b"\0");
    /// assert_eq!(parse_recvd_data(&mut rest).next(), Some(Ok(&*relayed)));
    /// ```
    #[must_use]
    pub fn for_client() -> Self {
        Self::with_limit(MAX_RELAY_LEN)
    }

    fn with_limit(limit: usize) -> Self {
        Rest { buf: Vec::new(), start: 0, end: 0, scanned: 0, room: FIRST_READ, limit }
    }

    /// How many bytes have been received and not been given out.
    ///
    /// ```
    /// use tincanchat::{Rest, parse_recvd_data};
    ///
    /// let mut rest = Rest::new();
    /// rest.extend("one\0twö".as_bytes());
    /// assert_eq!(rest.len(), 8); // bytes: the ö is two of them
    /// assert_eq!(parse_recvd_data(&mut rest).next(), Some(Ok("one")));
    /// assert_eq!(rest.len(), 4);
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether all that was received has been given out.
    ///
    /// ```
    /// use tincanchat::{Rest, parse_recvd_data};
    ///
    /// let mut rest = Rest::new();
    /// rest.extend(b"one\0");
    /// assert!(!rest.is_empty()); // a whole message, which nobody has taken yet
    /// assert_eq!(parse_recvd_data(&mut rest).next(), Some(Ok("one")));
    /// assert!(rest.is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Adds bytes that were received.
    ///
    /// ```
    /// use tincanchat::{Rest, parse_recvd_data};
    ///
    /// let mut rest = Rest::new();
    /// rest.extend(b"w\xc3"); // a read has cut the ö in two
    /// assert_eq!(parse_recvd_data(&mut rest).next(), None);
    /// rest.extend(b"\xb6rld\0");
    /// assert_eq!(parse_recvd_data(&mut rest).next(), Some(Ok("wörld")));
    /// ```
    pub fn extend(&mut self, bytes: &[u8]) {
        let mut bytes = bytes;
        while !bytes.is_empty() {
            let room = self.room_to_read();
            let n = room.len().min(bytes.len());
            room[..n].copy_from_slice(&bytes[..n]);
            self.has_read(n);
            bytes = &bytes[n..];
        }
    }

    /// Gives the room for the next read; [`has_read`](Self::has_read) must follow.
    pub(crate) fn room_to_read(&mut self) -> &mut [u8] {
        self.compact();
        if self.end + self.room > self.buf.len() {
            self.buf.resize(self.end + self.room, 0);
        }
        &mut self.buf[self.end..]
    }

    /// Counts in the bytes that a read has put into the room, and fits the room to their number.
    pub(crate) fn has_read(&mut self, n: usize) {
        if n == self.buf.len() - self.end {
            self.room = (self.room * 4).min(READ_TURN);
        } else if n < self.room / 8 {
            self.room = (self.room / 4).max(FIRST_READ);
        }
        self.end += n;
    }

    /// Gives memory back that is not needed while nothing arrives: all but what an unfinished message
    /// takes, and the room for a small read.
    ///
    /// ```
    /// use tincanchat::{Rest, parse_recvd_data};
    ///
    /// let mut rest = Rest::new();
    /// rest.extend(&[b"much\0".repeat(10_000), b"litt".to_vec()].concat());
    /// while let Some(msg) = parse_recvd_data(&mut rest).next() {
    ///     msg?;
    /// }
    /// rest.release(); // a long wait may follow
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
            self.scanned -= self.start;
            self.start = 0;
        }
    }

    /// Gives memory back to a client that has become quieter, for the time that a blocking read
    /// takes.
    pub(crate) fn shrink(&mut self) {
        if self.is_empty() && self.buf.len() > 2 * self.room {
            self.release();
        }
    }

    /// Whether [`parse_recvd_data`] would give a message or an error, or there were empty messages:
    /// something has come to its end.
    pub(crate) fn has_msg(&mut self) -> bool {
        let before = self.start;
        !matches!(parse_recvd_data(self).find_end(), Ok(None)) || self.start > before
    }
}

impl Default for Rest {
    fn default() -> Self {
        Self::new()
    }
}

/// Takes the whole messages off the front of what was received; the unfinished one stays.
///
/// The messages borrow the text from `rest`: nothing is copied. Those that the caller does not ask
/// for stay in `rest` for the next call. Empty messages are left out.
///
/// ```
/// use tincanchat::{Rest, parse_recvd_data};
///
/// let mut rest = Rest::new();
/// rest.extend(b"one\0\0two\0thr");
/// let msgs: Vec<_> = parse_recvd_data(&mut rest).map(Result::unwrap).collect();
/// assert_eq!(msgs, ["one", "two"]);
/// assert_eq!(rest.len(), 3);
/// ```
pub fn parse_recvd_data(rest: &mut Rest) -> Msgs<'_> {
    Msgs {
        data: &rest.buf[..rest.end],
        start: &mut rest.start,
        scanned: &mut rest.scanned,
        limit: rest.limit,
        failed: false,
    }
}

/// The messages in a [`Rest`], from [`parse_recvd_data`].
///
/// Gives the messages in the order received. At a message that is too long or not UTF-8 it gives a
/// [`FrameError`], and nothing after it: where the next message would begin cannot be trusted.
#[derive(Debug)]
pub struct Msgs<'a> {
    data: &'a [u8],
    start: &'a mut usize,
    scanned: &'a mut usize,
    limit: usize,
    failed: bool,
}

impl Msgs<'_> {
    /// Finds the end of the first message that is not empty, or finds that it is too long.
    ///
    /// What it says does not depend on how the bytes were cut: a message is too long as soon as its
    /// first byte too many is there, whether or not a zero byte follows.
    fn find_end(&mut self) -> Result<Option<usize>, FrameError> {
        loop {
            let found = memchr(NUL, &self.data[*self.scanned..]).map(|at| *self.scanned + at);
            *self.scanned = found.unwrap_or(self.data.len());
            if *self.scanned - *self.start > self.limit {
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
        *self.scanned = next;
    }
}

impl<'a> Iterator for Msgs<'a> {
    type Item = Result<&'a str, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
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
        self.failed = msg.is_err();
        Some(msg)
    }
}

impl std::iter::FusedIterator for Msgs<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    /// The most memory that there may be: an unfinished message and one read, and the slack of a
    /// buffer that grows by doubling.
    const BOUND: usize = 2 * (MAX_MSG_LEN + READ_TURN);

    fn receive(rest: &mut Rest, bytes: &[u8]) -> Result<usize, FrameError> {
        rest.extend(bytes);
        parse_recvd_data(rest).try_fold(0, |count, msg| msg.map(|_| count + 1))
    }

    #[test]
    fn memory_is_bounded_by_an_unfinished_message_and_one_read() {
        for size in [1, 100, 5000, MAX_MSG_LEN] {
            let bytes: Vec<u8> = [vec![b'x'; size], vec![0]].concat().repeat(400_000 / size);
            for read in [1000, READ_TURN] {
                let mut rest = Rest::new();
                for part in bytes.chunks(read) {
                    receive(&mut rest, part).unwrap();
                    assert!(rest.buf.capacity() <= BOUND, "{} bytes held", rest.buf.capacity());
                }
            }
        }
    }

    #[test]
    fn a_message_without_end_is_given_up_before_it_fills_the_memory() {
        let mut rest = Rest::new();
        let err = (0..100).find_map(|_| receive(&mut rest, &[b'x'; 1000]).err());
        assert_eq!(err, Some(FrameError::TooLong { limit: MAX_MSG_LEN }));
        assert!(rest.buf.capacity() <= BOUND);
    }

    #[test]
    fn no_byte_is_searched_twice() {
        let mut rest = Rest::new();
        for len in 1..1000 {
            let before = rest.scanned;
            assert_eq!(receive(&mut rest, b"x"), Ok(0));
            assert_eq!((before, rest.scanned), (len - 1, len));
        }
    }

    #[test]
    fn nothing_is_kept_for_a_peer_that_says_nothing() {
        let mut rest = Rest::new();
        assert_eq!(receive(&mut rest, b"one\0"), Ok(1));
        rest.release();
        assert_eq!(rest.buf.capacity(), 0);

        assert_eq!(receive(&mut rest, b"on"), Ok(0));
        rest.release();
        assert_eq!(receive(&mut rest, b"e\0"), Ok(1));
    }

    #[test]
    fn little_is_kept_for_an_unfinished_message_after_much() {
        let mut rest = Rest::new();
        for _ in 0..3 {
            assert_eq!(receive(&mut rest, &vec![0; READ_TURN]), Ok(0));
        }
        assert_eq!(receive(&mut rest, b"on"), Ok(0));
        rest.release();
        assert!(rest.buf.capacity() <= 2 + FIRST_READ, "{} bytes held", rest.buf.capacity());
        assert_eq!(receive(&mut rest, b"e\0"), Ok(1));
    }

    #[test]
    fn the_room_grows_with_what_comes_and_shrinks_again() {
        let mut rest = Rest::new();
        assert_eq!(rest.room_to_read().len(), FIRST_READ);
        for _ in 0..5 {
            let n = rest.room_to_read().len();
            rest.has_read(n);
            rest.start = rest.end;
            rest.scanned = rest.end;
        }
        assert_eq!(rest.room, READ_TURN);
        for _ in 0..5 {
            receive(&mut rest, b"x\0").unwrap();
        }
        rest.shrink();
        assert_eq!(rest.room, FIRST_READ);
        assert_eq!(rest.buf.capacity(), 0);
    }
}
