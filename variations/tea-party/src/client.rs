//! The connection of one client.

use std::io::ErrorKind;
use std::time::Instant;

use anyhow::{Context as _, Result};
use mio::net::TcpStream;
use tincanchat::cli::Seat;
use tincanchat::{DRAIN, Farewell, Frame, Frames, QueueGauge};
use tracing::debug;

use crate::{Lines, Pace};

/// One client: what it has said, what it is still to be told, and how it leaves.
pub(crate) struct Client {
    pub(crate) sock: TcpStream,
    pub(crate) seat: Seat,
    pub(crate) lines: Lines,
    pub(crate) pace: Pace,
    pub(crate) send_queue: Frames,
    gauge: QueueGauge,
    /// When the kernel said that no more will come after what is still to be read.
    pub(crate) ended: Option<Instant>,
    pub(crate) leaving: Option<(Farewell, Result<()>)>,
    /// Whether the chat has been told of it, and not of its end.
    pub(crate) is_known: bool,
}

impl Client {
    pub(crate) fn new(sock: TcpStream, seat: Seat) -> Self {
        Client {
            sock,
            seat,
            lines: Lines::default(),
            pace: Pace::default(),
            send_queue: Frames::new(),
            gauge: QueueGauge::new(),
            ended: None,
            leaving: None,
            is_known: true,
        }
    }

    /// Queues a frame. A client that does not keep up is cut off.
    pub(crate) fn queue(&mut self, frame: &Frame) {
        match self.gauge.queue(frame.len()) {
            Ok(()) => self.send_queue.push(Frame::clone(frame)),
            Err(slow) => self.handle_disconnect(Err(slow.into())),
        }
    }

    /// Receives no more. What is queued is still sent, unless the connection has failed.
    pub(crate) fn handle_disconnect(&mut self, end: Result<()>) {
        self.gauge.close();
        let farewell = if end.is_err() { Farewell::at_once() } else { Farewell::begin() };
        self.leaving = Some((farewell, end));
    }

    /// Whether nobody is there any more to say the rest at its pace.
    pub(crate) fn is_gone(&self) -> Result<bool> {
        let Some(ended) = self.ended else { return Ok(false) };
        match self.sock.take_error()? {
            Some(err) => Err(err).context("receiving"),
            None => Ok(ended.elapsed() >= DRAIN),
        }
    }

    /// Receives once, and says whether something came.
    pub(crate) fn handle_client_recv(&mut self) -> Result<bool> {
        match self.lines.read_from(&mut self.sock) {
            Err(err) if err.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(err) => return Err(err).context("receiving"),
            Ok(0) => {
                let (addr, rest) = (self.seat.addr(), self.lines.unfinished());
                if rest > 0 {
                    debug!("{addr}: {rest} bytes of an unfinished line dropped");
                }
                self.handle_disconnect(Ok(()));
                return Ok(false);
            }
            Ok(n) => self.pace.said_bytes(n),
        }
        let answer = self.lines.take_answer();
        if !answer.is_empty() {
            self.queue(&answer.into());
        }
        Ok(true)
    }

    /// Sends what is queued until the kernel takes no more.
    pub(crate) fn handle_client_send(&mut self) -> Result<()> {
        while !self.send_queue.is_empty() {
            match self.send_queue.write_to(&mut self.sock, usize::MAX) {
                Err(err) if err.kind() == ErrorKind::WouldBlock => {
                    return Ok(self.gauge.refused()?);
                }
                sent => self.gauge.took(sent.context("sending")?),
            }
        }
        Ok(())
    }
}
