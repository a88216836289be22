use std::time::{Duration, Instant};

use anyhow::Result;

use super::client::Client;
use super::heard::{Heard, framed};
use crate::tape::Step;
use crate::{Failure, Said, fail_late};

impl Client {
    /// Gives the next message; anything else is a failure.
    pub fn frame(&mut self) -> Result<Vec<u8>> {
        match self.hear(self.patience)? {
            Heard::Frame(frame) => Ok(frame),
            other => Err(self.failure(Said::words("a message"), other)),
        }
    }

    /// The next thing heard must be this message.
    pub fn expect(&mut self, text: &str) -> Result<()> {
        let heard = self.hear(self.patience)?;
        if heard == Heard::Frame(text.as_bytes().to_vec()) {
            return Ok(());
        }
        Err(self.failure(Said::bytes(framed(text), ""), heard))
    }

    /// The stream must end here, in good order and with nothing more in it.
    pub fn expect_eof(&mut self) -> Result<()> {
        let heard = self.hear(self.patience)?;
        if heard == Heard::Eof && self.unfinished().is_empty() {
            if let Some(tls) = self.tls.as_ref().filter(|it| !it.session.is_notified()) {
                tls.session.was_cut_off();
            }
            return Ok(());
        }
        Err(self.failure(Said::words("the end of the stream and nothing before it"), heard))
    }

    /// The connection must end here, in whatever way, with no message before.
    pub fn expect_closed(&mut self) -> Result<()> {
        match self.hear(self.patience)? {
            Heard::Eof | Heard::Reset => Ok(()),
            other => Err(self.failure(Said::words("the end of the connection"), other)),
        }
    }

    /// A failure of what this client heard, with the bytes that came without their zero byte.
    #[must_use]
    pub fn failure(&self, expected: Said, heard: Heard) -> anyhow::Error {
        let is_late = heard == Heard::Silence;
        if is_late {
            self.record(Step::Note, b"(nothing came)");
        }
        let left = self.unfinished();
        let got = match heard {
            Heard::Frame(frame) => Said::bytes([&frame[..], &[0]].concat(), ""),
            Heard::Silence if left.is_empty() => {
                Said::words(format!("nothing for {:.1} s", self.patience.as_secs_f64()))
            }
            ending if left.is_empty() => Said::words(ending),
            ending => Said::bytes(left.to_vec(), format!("no ␀, and then {ending}")),
        };
        self.failed(expected, got, is_late)
    }

    /// Gives the next bytes, so many; anything else is a failure.
    pub fn take(&mut self, len: usize) -> Result<Vec<u8>> {
        self.take_when(&format!("{len} bytes"), |bytes| (bytes.len() >= len).then_some(len))
    }

    /// Gives the next line, its LF included.
    pub fn line(&mut self) -> Result<Vec<u8>> {
        self.take_when("a line", |bytes| memchr::memchr(b'\n', bytes).map(|at| at + 1))
    }

    /// Gives the next bytes as soon as `len` says how many they are; `what` names them in a failure.
    pub fn take_when(
        &mut self,
        what: &str,
        len: impl Fn(&[u8]) -> Option<usize>,
    ) -> Result<Vec<u8>> {
        let until = Instant::now() + self.patience;
        loop {
            if let Some(len) = len(self.unfinished()) {
                return Ok(self.take_bytes(len));
            }
            let left = until.saturating_duration_since(Instant::now());
            match self.read(left.max(Duration::from_millis(1)))? {
                Heard::Silence if !left.is_zero() => {}
                Heard::Frame(_) => {}
                ending => return Err(self.raw_failure(Said::words(what), &ending)),
            }
        }
    }

    /// The next bytes must be these.
    pub fn expect_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.expect_one_of(&[bytes])
    }

    /// The next bytes must be one of these; a failure names the first that they were like longest.
    pub fn expect_one_of(&mut self, right: &[&[u8]]) -> Result<()> {
        let until = Instant::now() + self.patience;
        loop {
            let came = self.unfinished();
            if let Some(bytes) = right.iter().find(|bytes| came.starts_with(bytes)) {
                self.take_bytes(bytes.len());
                return Ok(());
            }
            let alike = |bytes: &[u8]| bytes.iter().zip(came).take_while(|(a, b)| a == b).count();
            let most = right.iter().map(|bytes| alike(bytes)).max().unwrap_or_default();
            let nearest = right.iter().find(|bytes| alike(bytes) == most).map_or(&[][..], |it| it);
            let expected = || Said::bytes(nearest.to_vec(), "");
            if most < came.len() {
                let got = came[..came.len().min(nearest.len() + 64)].to_vec();
                return Err(self.failed(expected(), Said::bytes(got, ""), false));
            }
            let left = until.saturating_duration_since(Instant::now());
            match self.read(left.max(Duration::from_millis(1)))? {
                Heard::Silence if !left.is_zero() => {}
                Heard::Frame(_) => {}
                ending => return Err(self.raw_failure(expected(), &ending)),
            }
        }
    }

    /// Reads to the end of the connection: all bytes, and how it ended.
    pub fn bytes_to_end(&mut self) -> Result<(Vec<u8>, Heard)> {
        let mut until = Instant::now() + self.patience;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.read(left.max(Duration::from_millis(1)))? {
                Heard::Silence if !left.is_zero() => {}
                Heard::Frame(_) => until = Instant::now() + self.patience,
                Heard::Silence => {
                    return Err(self.raw_failure(Said::words("an end"), &Heard::Silence));
                }
                ending => return Ok((self.take_bytes(self.unfinished().len()), ending)),
            }
        }
    }

    /// A failure where the bytes have no ␀ to end them.
    fn raw_failure(&self, expected: Said, ending: &Heard) -> anyhow::Error {
        let got = match self.unfinished() {
            [] => Said::words(ending),
            left => Said::bytes(left.to_vec(), format!("and then {ending}")),
        };
        self.failed(expected, got, *ending == Heard::Silence)
    }

    fn failed(&self, expected: Said, got: Said, is_late: bool) -> anyhow::Error {
        Failure { did: self.transcript(), expected, got, is_late, likely: None }.into()
    }

    /// Reads to the end of the connection: all messages, and how it ended.
    pub fn rest(&mut self) -> Result<(Vec<Vec<u8>>, Heard)> {
        let mut frames = Vec::new();
        loop {
            match self.hear(self.patience)? {
                Heard::Frame(frame) => frames.push(frame),
                Heard::Silence => return fail_late(self.transcript(), "an end", "nothing more"),
                ending => return Ok((frames, ending)),
            }
        }
    }
}
