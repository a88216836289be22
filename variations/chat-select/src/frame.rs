//! Frames: four bytes with the length of a message, big-endian, and the message in UTF-8.

use std::io::{self, Read};

use bytes::Bytes;
use thiserror::Error;
use tincanchat::{MAX_MSG_LEN, retry_interrupted};

/// How many bytes the length takes.
const LENGTH_BYTES: usize = size_of::<u32>();

/// The longest name, in bytes. The name is a part of every message that the others get, so a long name
/// would multiply the bytes that are sent.
pub const MAX_NAME_LEN: usize = 255;

/// The longest message that a client accepts, in bytes: a message with the name and the address of its
/// sender.
pub const MAX_RELAY_LEN: usize = MAX_MSG_LEN + 2 * MAX_NAME_LEN;

/// A message that breaks the protocol.
#[derive(Debug, Error)]
pub enum ProtocolError {
    /// A frame announces a longer message than is allowed.
    #[error("the frame announces {len} bytes, more than {limit}")]
    TooLong { len: usize, limit: usize },
    /// A message is not UTF-8.
    #[error("the message is not UTF-8: invalid at byte {valid_up_to} of {len}")]
    NotUtf8 { len: usize, valid_up_to: usize },
    /// A client's first message does not say its name.
    #[error("the first message must be \"NAME: \" and a name of 1 to {MAX_NAME_LEN} bytes")]
    NoName,
}

/// Appends the frame of a message to a batch.
pub fn append_frame(batch: &mut Vec<u8>, msg: &str) {
    // The length of every message is limited, far below the maximum of a u32.
    let len = u32::try_from(msg.len()).unwrap_or(u32::MAX);
    batch.extend_from_slice(&len.to_be_bytes());
    batch.extend_from_slice(msg.as_bytes());
}

/// Returns the frame of a message.
pub fn frame(msg: &str) -> Bytes {
    let mut frame = Vec::with_capacity(LENGTH_BYTES + msg.len());
    append_frame(&mut frame, msg);
    frame.into()
}

/// The bytes that have been received and not yet taken out as messages. After `take_msgs`, only an
/// unfinished frame is left.
pub struct RecvBuf {
    bytes: Vec<u8>,
    /// The longest message that is accepted, in bytes.
    limit: usize,
}

impl RecvBuf {
    /// Returns an empty buffer for messages of up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        RecvBuf { bytes: Vec::new(), limit }
    }

    /// Reads once, up to 16 KiB. Returns how many bytes were read; 0 means that the peer has ended its
    /// sending side.
    ///
    /// # Errors
    ///
    /// Those of the socket, except `Interrupted`.
    pub fn read_from(&mut self, sock: &mut impl Read) -> io::Result<usize> {
        let mut chunk = [0; 16 * 1024];
        let n = retry_interrupted(|| sock.read(&mut chunk))?;
        self.bytes.extend_from_slice(&chunk[..n]);
        Ok(n)
    }

    /// Takes out all complete messages, except empty ones. If there is an error, it is the last item:
    /// nothing after it can be read, because it is not known where the next frame begins.
    pub fn take_msgs(&mut self) -> Vec<Result<String, ProtocolError>> {
        let mut msgs = Vec::new();
        let mut taken = 0;
        loop {
            match first_msg(&self.bytes[taken..], self.limit) {
                Ok(Some(msg)) => {
                    taken += LENGTH_BYTES + msg.len();
                    if !msg.is_empty() {
                        msgs.push(Ok(msg.to_owned()));
                    }
                }
                // The remaining bytes are an unfinished frame.
                Ok(None) => break,
                Err(err) => {
                    msgs.push(Err(err));
                    break;
                }
            }
        }
        self.bytes.drain(..taken);
        self.bytes.shrink_to(LENGTH_BYTES + self.limit);
        msgs
    }
}

/// Returns the message of the frame with which the bytes begin, or `None` if the frame is not complete.
fn first_msg(bytes: &[u8], limit: usize) -> Result<Option<&str>, ProtocolError> {
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
        return Ok(None);
    };
    let len = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    // The length is checked before the message has arrived: a server that waited for a message of any
    // length would have to keep up to 4 GiB.
    if len > limit {
        return Err(ProtocolError::TooLong { len, limit });
    }
    let Some(msg) = rest.get(..len) else {
        return Ok(None);
    };
    match str::from_utf8(msg) {
        Ok(msg) => Ok(Some(msg)),
        Err(err) => Err(ProtocolError::NotUtf8 { len, valid_up_to: err.valid_up_to() }),
    }
}
