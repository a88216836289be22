use std::io;

use bytes::Bytes;
use memchr::memchr;

use crate::MAX_MSG_LEN;

/// The byte that ends each message on the wire.
pub(crate) const NUL: u8 = 0;

/// A message that breaks the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The text to be sent contains a zero byte, so it would arrive as two messages.
    #[error("the text contains a zero byte, at byte {at}")]
    InnerNul {
        /// The offset of the first zero byte, in bytes.
        at: usize,
    },
    /// The message is longer than the limit.
    ///
    /// It is not always known how much longer: the rest of the message may never arrive.
    #[error("the message is longer than {limit} bytes")]
    TooLong {
        /// The maximum length of a message in bytes, without its zero byte.
        limit: usize,
    },
    /// The message is not UTF-8 (RFC 3629).
    #[error("the message is not UTF-8: invalid at byte {valid_up_to} of {len}")]
    NotUtf8 {
        /// The length of the message in bytes, without its zero byte.
        len: usize,
        /// The offset of the first byte that is not part of a valid character.
        valid_up_to: usize,
    },
}

/// Wraps the [`FrameError`] in an I/O error of the kind `InvalidData`.
impl From<FrameError> for io::Error {
    fn from(err: FrameError) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, err)
    }
}

/// Returns a message as it goes over the wire: its text, then one zero byte.
///
/// # Errors
///
/// [`FrameError::InnerNul`] if the text contains a zero byte, which would make it two messages;
/// [`FrameError::TooLong`] if it has more than [`MAX_MSG_LEN`] bytes, which no server accepts.
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

/// Appends a message with a prefix to a batch: the prefix, the text and one zero byte.
///
/// The message must be one that [`parse_recvd_data`](crate::parse_recvd_data) has returned, so that it
/// contains no zero byte and is not too long. For all the messages that it has read together, a server
/// formats the sender's prefix, `ADDR: `, only once, and sends them as one batch.
///
/// ```
/// use tincanchat::append_msg;
///
/// let mut batch = Vec::new();
/// append_msg(&mut batch, "[::1]:4040: ", "hello");
/// append_msg(&mut batch, "[::1]:4040: ", "world");
/// assert_eq!(batch, b"[::1]:4040: hello\0[::1]:4040: world\0");
/// ```
pub fn append_msg(batch: &mut Vec<u8>, prefix: &str, msg: &str) {
    batch.reserve(prefix.len() + msg.len() + 1);
    batch.extend_from_slice(prefix.as_bytes());
    batch.extend_from_slice(msg.as_bytes());
    batch.push(NUL);
}

/// Returns the frame that tells a client how its message broke the protocol: `server: ` and the error.
///
/// ```
/// use tincanchat::{FrameError, error_reply};
///
/// let reply = error_reply(&FrameError::TooLong { limit: 16_384 });
/// assert_eq!(reply, "server: the message is longer than 16384 bytes\0");
/// ```
#[must_use]
pub fn error_reply(err: &FrameError) -> Bytes {
    Bytes::from(format!("server: {err}\0"))
}
