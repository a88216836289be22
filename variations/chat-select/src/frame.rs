//! Frames: four bytes of length, the highest first, and so many bytes of UTF-8 text.

use std::io::{self, Read};

use thiserror::Error;
use tincanchat::MAX_MSG_LEN;

/// The bytes of a length.
const HEAD: usize = size_of::<u32>();

/// The longest name, in bytes: it stands in front of each message, so it multiplies what is sent.
pub const MAX_NAME_LEN: usize = 255;

/// The longest text that a client has to take: a message with its sender's name and address.
pub const MAX_RELAY_LEN: usize = MAX_MSG_LEN + 2 * MAX_NAME_LEN;

/// What a peer has got wrong.
#[derive(Debug, Error)]
pub enum Wrong {
    #[error("a frame of {len} bytes announced, {limit} allowed")]
    TooLong { len: usize, limit: usize },
    #[error("the text is not UTF-8: byte {valid_up_to} of {len} is wrong")]
    NotUtf8 { len: usize, valid_up_to: usize },
    #[error("the first frame has to be \"NAME: \" and a name of 1 to {MAX_NAME_LEN} bytes")]
    NoName,
}

/// Appends the frame of a text.
pub fn append_frame(frames: &mut Vec<u8>, text: &str) {
    // What is sent is a bounded text with a bounded prefix.
    let len = u32::try_from(text.len()).unwrap_or(u32::MAX);
    frames.extend_from_slice(&len.to_be_bytes());
    frames.extend_from_slice(text.as_bytes());
}

/// The frame of a text.
pub fn frame(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD + text.len());
    append_frame(&mut bytes, text);
    bytes
}

/// What has been received and is no whole frame yet.
#[derive(Default)]
pub struct Rest(Vec<u8>);

impl Rest {
    /// Receives once; gives how many bytes came.
    pub fn recv(&mut self, sock: &mut impl Read) -> io::Result<usize> {
        let mut chunk = [0; 16 * 1024];
        let n = tincanchat::span("read").over(sock.read(&mut chunk))?;
        self.0.extend_from_slice(&chunk[..n]);
        Ok(n)
    }

    /// Takes out the texts of all whole frames; an empty one is ignored. With them comes what is wrong
    /// with the first that is wrong: those before it still count.
    pub fn take_texts(&mut self, limit: usize) -> (Vec<String>, Result<(), Wrong>) {
        let (mut texts, mut taken) = (Vec::new(), 0);
        let wrong = loop {
            match first_frame(&self.0[taken..], limit) {
                Ok(None) => break Ok(()),
                Err(wrong) => break Err(wrong),
                Ok(Some(text)) => {
                    taken += HEAD + text.len();
                    texts.push(text.to_owned());
                }
            }
        };
        self.0.drain(..taken);
        self.0.shrink_to(HEAD + limit);
        texts.retain(|text| !text.is_empty());
        (texts, wrong)
    }
}

/// The text of the frame that the bytes begin with, if they hold all of it.
fn first_frame(bytes: &[u8], limit: usize) -> Result<Option<&str>, Wrong> {
    let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() else { return Ok(None) };
    let len = usize::try_from(u32::from_be_bytes(*head)).unwrap_or(usize::MAX);
    // Before a byte of it has come, let alone memory been set aside for it.
    if len > limit {
        return Err(Wrong::TooLong { len, limit });
    }
    let Some(text) = rest.get(..len) else { return Ok(None) };
    match str::from_utf8(text) {
        Ok(text) => Ok(Some(text)),
        Err(err) => Err(Wrong::NotUtf8 { len, valid_up_to: err.valid_up_to() }),
    }
}
