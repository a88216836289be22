//! The methods of a client that require certain bytes or a certain end, and return a failure otherwise.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::client::Client;
use super::received::{Received, prep_msg};
use crate::{Description, Failure, fail_timeout};

/// How long a client waits for the end of a connection on which bytes still arrive.
const MAX_TIME_TO_END: Duration = Duration::from_mins(1);

/// How many bytes more than the expected bytes a failure shows.
const EXTRA_BYTES_SHOWN: usize = 64;

impl Client {
    /// Receives the next message. Returns a failure if anything else comes.
    pub fn recv_msg(&mut self) -> Result<Vec<u8>> {
        match self.recv(self.timeout())? {
            Received::Msg(frame) => Ok(frame),
            other => Err(self.failure(Description::text("a message"), other)),
        }
    }

    /// Receives this message. Returns a failure if anything else comes.
    pub fn expect_msg(&mut self, text: &str) -> Result<()> {
        let received = self.recv(self.timeout())?;
        if received == Received::Msg(text.as_bytes().to_vec()) {
            return Ok(());
        }
        Err(self.failure(Description::bytes(prep_msg(text), ""), received))
    }

    /// Waits for the end of the stream, in good order. Returns a failure if bytes come before it.
    pub fn expect_eof(&mut self) -> Result<()> {
        let received = self.recv(self.timeout())?;
        if received == Received::Eof && self.pending().is_empty() {
            self.note_missing_close_notify();
            return Ok(());
        }
        Err(self
            .failure(Description::text("the end of the stream and nothing before it"), received))
    }

    /// Waits for the end of the connection, in good order or with a reset. Returns a failure if a message
    /// comes before it.
    pub fn expect_closed(&mut self) -> Result<()> {
        match self.recv(self.timeout())? {
            Received::Eof | Received::Reset => Ok(()),
            other => Err(self.failure(Description::text("the end of the connection"), other)),
        }
    }

    /// Returns the failure of a client that received something else than expected. The failure also shows the bytes
    /// of a message that is not complete.
    #[must_use]
    pub fn failure(&self, expected: Description, received: Received) -> anyhow::Error {
        let is_timeout = received == Received::Timeout;
        if is_timeout {
            self.note("(nothing came)");
        }
        let got = match (received, self.pending()) {
            (Received::Msg(frame), _) => Description::bytes([&frame[..], &[0]].concat(), ""),
            (Received::Timeout, []) => {
                Description::text(format!("nothing for {:.1} s", self.timeout().as_secs_f64()))
            }
            (end, []) => Description::text(end),
            (end, rest) => Description::bytes(rest.to_vec(), format!("no ␀, and then {end}")),
        };
        self.failure_in_parts(expected, got, is_timeout)
    }

    /// Receives exactly `len` bytes.
    pub fn recv_bytes(&mut self, len: usize) -> Result<Vec<u8>> {
        self.recv_when(&format!("{len} bytes"), |bytes| (bytes.len() >= len).then_some(len))
    }

    /// Receives a line, and returns it with its LF.
    pub fn recv_line(&mut self) -> Result<Vec<u8>> {
        self.recv_when("a line", |bytes| memchr::memchr(b'\n', bytes).map(|at| at + 1))
    }

    /// Receives a unit of a protocol. `len` gets the bytes so far, and returns the unit's length as soon as the unit is
    /// complete. The failure describes the unit as `what`.
    pub fn recv_when(
        &mut self,
        what: &str,
        len: impl Fn(&[u8]) -> Option<usize>,
    ) -> Result<Vec<u8>> {
        let deadline = Instant::now() + self.timeout();
        loop {
            if let Some(len) = len(self.pending()) {
                return Ok(self.take_pending(len));
            }
            if let Some(end) = self.read_until(deadline)? {
                return Err(self.bytes_failure(Description::text(what), &end));
            }
        }
    }

    /// Receives these bytes. Returns a failure at the first byte that differs.
    pub fn expect_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.expect_one_of(&[bytes])
    }

    /// Receives one of these sequences of bytes. The failure shows the sequence whose beginning matches the most bytes.
    pub fn expect_one_of(&mut self, expected: &[&[u8]]) -> Result<()> {
        let deadline = Instant::now() + self.timeout();
        loop {
            let came = self.pending();
            if let Some(bytes) = expected.iter().find(|bytes| came.starts_with(bytes)) {
                self.take_pending(bytes.len());
                return Ok(());
            }
            let matching =
                |bytes: &[u8]| bytes.iter().zip(came).take_while(|(a, b)| a == b).count();
            let longest = expected.iter().map(|bytes| matching(bytes)).max().unwrap_or_default();
            let nearest = expected.iter().find(|bytes| matching(bytes) == longest);
            let nearest = nearest.map_or(&[][..], |bytes| bytes);
            let expected = Description::bytes(nearest.to_vec(), "");
            if longest < came.len() {
                let got = came[..came.len().min(nearest.len() + EXTRA_BYTES_SHOWN)].to_vec();
                return Err(self.failure_in_parts(expected, Description::bytes(got, ""), false));
            }
            if let Some(end) = self.read_until(deadline)? {
                return Err(self.bytes_failure(expected, &end));
            }
        }
    }

    /// Receives all bytes to the end of the connection, and returns them and how the connection ended.
    /// Returns a failure if nothing more comes, but the connection does not end, and if bytes still arrive after
    /// a minute.
    pub fn recv_bytes_to_end(&mut self) -> Result<(Vec<u8>, Received)> {
        let mut bytes = Vec::new();
        let limit = Instant::now() + MAX_TIME_TO_END;
        loop {
            let outcome = self.read_until(Instant::now() + self.timeout())?;
            bytes.append(&mut self.take_pending(self.pending().len()));
            match outcome {
                None if Instant::now() < limit => {}
                None | Some(Received::Timeout) => {
                    let got = got_bytes(&bytes, &Received::Timeout);
                    return Err(self.failure_in_parts(Description::text("an end"), got, true));
                }
                Some(end) => return Ok((bytes, end)),
            }
        }
    }

    /// Receives all messages to the end of the connection, and returns them and how the connection ended.
    /// Returns a failure if nothing more comes, but the connection does not end, and if bytes still arrive after
    /// a minute.
    pub fn recv_msgs_to_end(&mut self) -> Result<(Vec<Vec<u8>>, Received)> {
        let mut frames = Vec::new();
        let limit = Instant::now() + MAX_TIME_TO_END;
        loop {
            match self.recv(self.timeout())? {
                Received::Msg(frame) if Instant::now() < limit => frames.push(frame),
                Received::Msg(_) => {
                    let got = format!("more messages after {} s", MAX_TIME_TO_END.as_secs());
                    return fail_timeout(self.transcript(), "an end", got);
                }
                Received::Timeout => {
                    return fail_timeout(self.transcript(), "an end", "nothing more");
                }
                end => return Ok((frames, end)),
            }
        }
    }

    /// Returns a failure of a client that expected bytes without a zero byte to end them.
    fn bytes_failure(&self, expected: Description, end: &Received) -> anyhow::Error {
        let got = got_bytes(self.pending(), end);
        self.failure_in_parts(expected, got, *end == Received::Timeout)
    }

    fn failure_in_parts(
        &self,
        expected: Description,
        got: Description,
        is_timeout: bool,
    ) -> anyhow::Error {
        Failure { did: self.transcript(), expected, got, is_timeout, likely_cause: None }.into()
    }
}

/// Describes bytes that came, and why no more came.
fn got_bytes(bytes: &[u8], end: &Received) -> Description {
    match bytes {
        [] => Description::text(end),
        bytes => Description::bytes(bytes.to_vec(), format!("and then {end}")),
    }
}
