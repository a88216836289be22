//! A client that sends numbered messages, all of one size.

use std::io::ErrorKind;
use std::ops::Range;

use super::super::protocol::Protocol;
use super::connection::Connection;
use super::message::{DIGITS, text_of};

pub(super) struct Sender {
    /// The number of its connection.
    pub conn: usize,
    /// How many messages were made so far, sent or not.
    pub sent: u64,
    /// The next message with the bytes around it. Its digits are counted up in place.
    message: Vec<u8>,
    digits: Range<usize>,
    /// The bytes that the connection has not yet taken: see [`Connection::write`].
    unsent: Vec<u8>,
}

impl Sender {
    pub fn new(protocol: Protocol, id: usize, conn: usize, text_len: usize) -> Self {
        let (before, after) = protocol.sent_around(text_len);
        let digits = before.len() + DIGITS.start..before.len() + DIGITS.end;
        let message = format!("{before}{}{after}", text_of(id, 0, text_len)).into_bytes();
        Self { conn, sent: 0, message, digits, unsent: Vec::new() }
    }

    /// Reports whether the connection has taken all messages. With TLS, some of them may still wait in its
    /// session.
    pub fn is_idle(&self) -> bool {
        self.unsent.is_empty()
    }

    /// Makes the next `n` messages.
    pub fn add_messages(&mut self, n: u64) {
        for _ in 0..n {
            self.unsent.extend_from_slice(&self.message);
            for digit in self.message[self.digits.clone()].iter_mut().rev() {
                if *digit < b'9' {
                    *digit += 1;
                    break;
                }
                *digit = b'0';
            }
        }
        self.sent += n;
    }

    /// Sends as much as the kernel takes.
    pub fn flush(&mut self, conn: &mut Connection) {
        while !self.unsent.is_empty() || conn.has_unsent() {
            match conn.write(&self.unsent) {
                Ok(n) => drop(self.unsent.drain(..n)),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                // The kernel takes no more now: the next call of `flush` tries again. Any other error ends the
                // stream, which the next read finds.
                Err(_) => break,
            }
        }
    }
}
