//! The connection of one client.

use std::io::ErrorKind;
use std::mem;
use std::time::Instant;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use mio::net::TcpStream;
use serverkit::{Permit, log_disconnect, trace};
use tincanchat::{Closing, DRAIN, QueueLimit, SendBuf};
use tracing::debug;

use crate::{LineBuf, RateLimit};

pub(crate) struct Client {
    pub(crate) sock: TcpStream,
    pub(crate) permit: Permit,
    pub(crate) lines: LineBuf,
    pub(crate) rate_limit: RateLimit,
    /// What is queued for the client.
    send_buf: SendBuf,
    limit: QueueLimit,
    /// When the kernel reported that the client will send nothing more. There may still be input to read.
    pub(crate) read_closed_at: Option<Instant>,
    /// `None` while the client is connected.
    disconnect: Option<Disconnect>,
    /// Whether the chat knows the client: `on_disconnect` has not been called yet.
    pub(crate) is_in_chat: bool,
}

struct Disconnect {
    closing: Closing,
    reason: Result<()>,
}

impl Client {
    pub(crate) fn new(sock: TcpStream, permit: Permit) -> Self {
        Client {
            sock,
            permit,
            lines: LineBuf::default(),
            rate_limit: RateLimit::default(),
            send_buf: SendBuf::new(),
            limit: QueueLimit::new(),
            read_closed_at: None,
            disconnect: None,
            is_in_chat: true,
        }
    }

    /// Reports whether the client is still connected: its connection is not being closed.
    pub(crate) fn is_connected(&self) -> bool {
        self.disconnect.is_none()
    }

    /// Adds bytes to the client's queue.
    ///
    /// The queue has a limit, so that a client that stops reading cannot fill the memory. A client is too
    /// slow if its queue has more than 256 KiB or 1,024 entries and the kernel has refused every write for
    /// 1 s, if the kernel has refused a byte for 10 s, or as soon as the queue has more than 8 MiB. A
    /// client that is too slow is disconnected.
    pub(crate) fn queue(&mut self, bytes: Bytes) {
        match self.limit.add(bytes.len()) {
            Ok(()) => self.send_buf.push(bytes),
            Err(slow) => self.start_closing(Err(slow.into())),
        }
    }

    /// Starts to close the connection: nothing more is read from it. What is queued is still sent, unless
    /// the reason is an error. If the connection is already being closed because of an error, that error is
    /// still the reason.
    pub(crate) fn start_closing(&mut self, reason: Result<()>) {
        let closing = if reason.is_ok() { Closing::start() } else { Closing::at_once() };
        let reason = match self.disconnect.take() {
            Some(earlier) if earlier.reason.is_err() => earlier.reason,
            _ => reason,
        };
        self.disconnect = Some(Disconnect { closing, reason });
    }

    /// Takes the next step of closing, if the connection is being closed; reports whether the socket can be
    /// closed.
    ///
    /// What is queued is sent first, for up to 3 s. Then the client reads the end of the stream, and has
    /// 500 ms to close its side. Until then its input is read and discarded: closing with unread input
    /// would send a reset, which can destroy the last line.
    pub(crate) fn advance_closing(&mut self) -> bool {
        if self.is_in_chat {
            return false; // `on_disconnect` comes first
        }
        let has_sent_all = self.send_buf.is_empty();
        match &mut self.disconnect {
            Some(disconnect) => disconnect.closing.advance(&mut self.sock, has_sent_all),
            None => false,
        }
    }

    /// Logs that the client has disconnected, and why.
    pub(crate) fn log_disconnect(&mut self) {
        if let Some(disconnect) = &mut self.disconnect {
            let reason = mem::replace(&mut disconnect.reason, Ok(()));
            log_disconnect(self.permit.addr(), reason);
        }
    }

    /// Reports whether the client shut down its sending side at least 3 s ago.
    ///
    /// # Errors
    ///
    /// The error of the connection, for example if the client has reset it.
    pub(crate) fn has_left(&self) -> Result<bool> {
        let Some(at) = self.read_closed_at else {
            return Ok(false);
        };
        match self.sock.take_error()? {
            Some(err) => Err(err).context("receiving"),
            None => Ok(at.elapsed() >= DRAIN),
        }
    }

    /// Reads once. Reports whether something has arrived.
    pub(crate) fn receive(&mut self) -> Result<bool> {
        match trace("read", || self.lines.read_from(&mut self.sock)) {
            // The client has shut down its sending side. What is queued for it is still sent.
            Ok(0) => {
                let unfinished = self.lines.unfinished_len();
                if unfinished > 0 {
                    let addr = self.permit.addr();
                    debug!("{addr}: {unfinished} bytes of an unfinished line dropped");
                }
                self.start_closing(Ok(()));
                return Ok(false);
            }
            Ok(n) => self.rate_limit.add_bytes(n),
            // Nothing has arrived. There will be an event when something does.
            Err(err) if err.kind() == ErrorKind::WouldBlock => return Ok(false),
            // The client has reset the connection.
            Err(err) => return Err(err).context("receiving"),
        }
        let telnet_answer = self.lines.take_telnet_answer();
        if !telnet_answer.is_empty() {
            self.queue(telnet_answer.into());
        }
        Ok(true)
    }

    /// Writes what is queued, until all of it is sent or the kernel accepts no more.
    pub(crate) fn handle_client_send(&mut self) -> Result<()> {
        while !self.send_buf.is_empty() {
            match trace("write", || self.send_buf.write_to(&mut self.sock)) {
                Ok(n) => self.limit.sent(n),
                // The client reads slowly. There will be an event when the kernel accepts more.
                Err(err) if err.kind() == ErrorKind::WouldBlock => {
                    self.limit.blocked()?;
                    return Ok(());
                }
                // The client has closed or reset the connection.
                Err(err) => return Err(err).context("sending"),
            }
        }
        Ok(())
    }
}
