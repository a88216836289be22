use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::client::Client;
use super::heard::Heard;
use crate::tape::Step;
use crate::tls::{self, Session, Tls};
use crate::{Failure, Said};

/// What is between the socket of a client and its bytes.
#[derive(Debug)]
pub(super) struct Inside {
    pub(super) session: Session,
    /// How it has ended, if it has before the connection was seen to.
    pub(super) over: Option<Heard>,
    /// Whether there was no handshake before that.
    pub(super) is_unshaken: bool,
}

impl Client {
    /// Goes on inside TLS, after a handshake: what is sent and heard from now on is what TLS carries.
    ///
    /// That the server ends the connection instead is no failure yet: a server may be full.
    pub fn inside(mut self, tls: &Tls) -> Result<Self> {
        let session = Session::begin(tls)?;
        self.tls = Some(Box::new(Inside { session, over: None, is_unshaken: true }));
        let until = Instant::now() + self.patience;
        while self.tls.as_ref().is_some_and(|it| it.session.is_shaking()) {
            let left = until.saturating_duration_since(Instant::now());
            match self.read(left.max(Duration::from_millis(1)))? {
                Heard::Silence if left.is_zero() => return Err(self.unshaken(&Heard::Silence)),
                Heard::Eof | Heard::Reset => return Ok(self),
                _ => {}
            }
        }
        // The last of the handshake; if the server is gone already, that will be heard.
        let _ = self.flush_tls();
        if let Some(tls) = &mut self.tls {
            tls.is_unshaken = false;
            let version = tls.session.version();
            self.record(Step::Note, version.as_bytes());
        }
        Ok(self)
    }

    pub(super) fn is_unshaken(&self) -> bool {
        self.tls.as_ref().is_some_and(|it| it.is_unshaken)
    }

    /// A failure of the handshake.
    pub(super) fn unshaken(&self, got: &Heard) -> anyhow::Error {
        let is_late = *got == Heard::Silence;
        // Where it has answered before, this is another mistake.
        let likely = self.tls.as_ref().is_none_or(|it| !it.session.was_met()).then_some(NO_TLS);
        let expected = Said::words(HANDSHAKE);
        Failure { did: self.transcript(), expected, got: Said::words(got), is_late, likely }.into()
    }

    pub(super) fn write_out(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        if self.tls.is_none() {
            return self.stream.write_all(bytes);
        }
        while !bytes.is_empty() {
            bytes = &bytes[self.write_tls(bytes)?..];
        }
        Ok(())
    }

    /// Sends bytes inside TLS, as many as it takes at once.
    pub(super) fn write_tls(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.flush_tls()?; // what an earlier try has left
        let Some(tls) = &mut self.tls else { return Ok(0) };
        let len = tls.session.put(bytes)?;
        self.flush_tls()?;
        Ok(len)
    }

    pub(super) fn flush_tls(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        if tls.over.is_some() {
            return Err(ErrorKind::BrokenPipe.into());
        }
        tls.session.flush(&mut self.stream)
    }

    pub(super) fn read(&mut self, within: Duration) -> Result<Heard> {
        self.received.drain(..self.taken);
        self.taken = 0;
        if let Some(ending) = self.tls.as_ref().and_then(|it| it.over.clone()) {
            return Ok(ending);
        }
        if self.tls.as_ref().is_some_and(|it| it.session.is_shaking()) {
            // What cannot be sent any more will be heard.
            let _ = self.flush_tls();
        }
        self.stream.set_read_timeout(Some(within))?;
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => Ok(self.ended(Heard::Eof)),
            Ok(n) if self.tls.is_some() => self.read_tls(&chunk[..n]),
            Ok(n) => {
                self.record(Step::Got, &chunk[..n]);
                self.received.extend_from_slice(&chunk[..n]);
                Ok(Heard::Frame(Vec::new()))
            }
            Err(err) if is_timeout(&err) => Ok(Heard::Silence),
            Err(err) if is_reset(&err) => Ok(self.ended(Heard::Reset)),
            Err(err) => Err(err).context("could not read from the server"),
        }
    }

    /// Gives what has come inside TLS.
    pub(super) fn read_tls(&mut self, came: &[u8]) -> Result<Heard> {
        let Some(tls) = &mut self.tls else { return Ok(Heard::Silence) };
        let (before, was_notified) = (self.received.len(), tls.session.is_notified());
        let taken = tls.session.take_in(came, &mut self.received);
        let is_notified = tls.session.is_notified() && !was_notified;
        if self.received.len() > before {
            self.record(Step::Got, &self.received[before..]);
        }
        if is_notified {
            self.record(Step::Note, b"close_notify");
        }
        match taken {
            Ok(()) => Ok(Heard::Frame(Vec::new())),
            Err(rustls::Error::AlertReceived(alert)) if !self.is_unshaken() => {
                self.record(Step::Note, format!("the server's TLS alert: {alert:?}").as_bytes());
                Ok(self.ended(Heard::Reset))
            }
            Err(err) => {
                let _ = self.flush_tls(); // tells the server why
                Err(self.not_tls(came, &err))
            }
        }
    }

    /// A failure of TLS.
    pub(super) fn not_tls(&self, came: &[u8], err: &rustls::Error) -> anyhow::Error {
        let (expected, got, likely) = match err {
            rustls::Error::InvalidMessage(_) => {
                let likely = if self.is_unshaken() { PLAIN } else { BROKEN };
                ("TLS", Said::bytes(came.to_vec(), "which is not TLS"), likely)
            }
            rustls::Error::AlertReceived(alert) => {
                (HANDSHAKE, Said::words(format!("the TLS alert {alert:?}")), NO_COMMON_GROUND)
            }
            rustls::Error::InvalidCertificate(_) => (
                "the certificate of a server to trust",
                Said::words(tls::explained(err)),
                UNTRUSTED,
            ),
            _ => ("TLS", Said::words(err), BROKEN),
        };
        let (did, expected) = (self.transcript(), Said::words(expected));
        Failure { did, expected, got, is_late: false, likely: Some(likely) }.into()
    }

    pub(super) fn ended(&mut self, ending: Heard) -> Heard {
        let mut how = "";
        if let Some(tls) = &mut self.tls {
            tls.over = Some(ending.clone());
            // After close_notify nothing is missing, whatever ends the connection.
            if tls.session.is_notified() {
                tls.over = Some(Heard::Eof);
            } else if ending == Heard::Eof && !tls.is_unshaken {
                how = ", without close_notify";
            }
        }
        self.record(Step::Note, format!("{ending}{how}").as_bytes());
        self.tls.as_ref().and_then(|it| it.over.clone()).unwrap_or(ending)
    }
}

const HANDSHAKE: &str = "the server's part of a TLS handshake";
const NO_COMMON_GROUND: &str = "The server speaks TLS, but refuses this client: look at its versions (1.3 \
                                or 1.2 is needed), its certificate and its log.";
const NO_TLS: &str = "The server does not answer as one that speaks TLS does. If it speaks plaintext, \
                      check it without --tls.";
const PLAIN: &str = "The server speaks plaintext, not TLS: check it without --tls, or let it do a \
                     handshake on each connection that it accepts.";
const BROKEN: &str = "Something is sent past TLS, or two threads use one connection's TLS at the same \
                      time.";
const UNTRUSTED: &str = "The file of --ca is of another CA, or the certificate is of another server. \
                         Without --ca, any certificate is taken.";

pub(super) fn is_timeout(err: &io::Error) -> bool {
    matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

pub(super) fn is_reset(err: &io::Error) -> bool {
    matches!(
        err.kind(),
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe
    )
}
