//! All connections of one run, and the loop that reads them.
//!
//! The loop reads up to one buffer at a time, into a buffer that all connections share. `deliveries.rs`
//! checks the bytes.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use memchr::memmem;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::super::figures::Figures;
use super::super::process::Process;
use super::super::protocol::Protocol;
use super::connection::{Connection, TIMEOUT, connect_with_tls, raise_descriptor_limit};
use super::counters::{Counters, Received};
use super::deliveries::{DeliveryCheck, copies};
use super::message::{MIN_TEXT, MessageFormat, text_of};
use super::schedule::{DelayRecorder, Schedule};
use super::sender::Sender;
use super::stream_check::Faults;
use probe::tls::TlsSettings;

/// The size of the read buffer. Large, so that a busy connection needs few system calls; small enough
/// for the second-level cache, in which the bytes are compared.
const READ_SIZE: usize = 256 * 1024;

/// The largest number of senders: their number has three digits in a message.
const MAX_SENDERS: usize = 1000;

/// The highest message number. The first messages of the senders count down from it, so that they are
/// not mistaken for measured messages; no run reaches it.
const HIGHEST_NUMBER: u64 = 999_999_999;

/// The clients that connect to a server.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// The address of the server.
    pub addr: SocketAddr,
    /// The protocol.
    pub protocol: Protocol,
    /// How many clients receive.
    pub clients: usize,
    /// How many clients send. They are among the receiving clients, or additional connections, as the
    /// protocol requires.
    pub senders: usize,
    /// Bytes of a message, with its ending.
    pub size: usize,
}

/// All connections of one run.
pub struct LoadGenerator {
    poll: Poll,
    events: Events,
    buf: Vec<u8>,
    /// The TLS settings, and the text that the last read has brought inside TLS.
    tls: Option<TlsSettings>,
    plain: Vec<u8>,
    protocol: Protocol,
    /// The first `readers` connections receive. Connections that only send stand after them.
    conns: Vec<Connection>,
    readers: usize,
    senders: Vec<Sender>,
    /// The last `last_len` bytes that each reader has received, until the check of deliveries begins.
    last: Vec<Vec<u8>>,
    last_len: usize,
    deliveries: Option<DeliveryCheck>,
    received: Received,
}

impl LoadGenerator {
    /// Connects all clients, and waits until each client receives the messages of each sender.
    pub fn connect_all(load: Load) -> Result<Self> {
        let Load { addr, protocol, clients, senders, size } = load;
        ensure!(
            clients > 0 && senders > 0,
            "there must be a client that sends and one that receives"
        );
        let most = clients.min(MAX_SENDERS);
        ensure!(senders <= most, "{senders} senders are too many: {most} can send");
        let text_len = size.saturating_sub(protocol.ending().len());
        ensure!(text_len >= MIN_TEXT, "a message of {size} bytes is too short for its number");
        let mut generator = Self::connect_receivers(load)?;
        if let Some(greeting) = protocol.sender_greeting() {
            for _ in 0..senders {
                generator.connect(addr, greeting)?;
            }
        }
        // The last clients send: a server that accepts one client after the other knows the others by
        // then.
        let first = generator.conns.len() - senders;
        generator.senders =
            (0..senders).map(|id| Sender::new(protocol, id, first + id, text_len)).collect();
        let heads = (0..senders).map(|id| generator.wait_for_first_message(id, text_len));
        let heads = heads.collect::<Result<_>>()?;
        let (ending, keepalive) = (protocol.ending(), protocol.keepalive());
        let format = MessageFormat { heads, text_len, ending, keepalive };
        generator.deliveries = Some(DeliveryCheck::new(clients, format));
        generator.received = Received::default();
        Ok(generator)
    }

    /// Connects the clients that receive.
    pub fn connect_receivers(load: Load) -> Result<Self> {
        let mut generator = Self {
            poll: Poll::new().context("cannot create a poll")?,
            events: Events::with_capacity(4096),
            buf: vec![0; READ_SIZE],
            tls: load.protocol.tls()?,
            plain: Vec::new(),
            protocol: load.protocol,
            conns: Vec::new(),
            readers: load.clients,
            senders: Vec::new(),
            last: vec![Vec::new(); load.clients],
            // Room for a message with the bytes before it.
            last_len: load.size + 4096,
            deliveries: None,
            received: Received::default(),
        };
        raise_descriptor_limit((load.clients + load.senders) as u64)?;
        let (start, mut pause) = (Instant::now(), Duration::ZERO);
        for nth in 0..load.clients {
            let begun = Instant::now();
            generator.connect(load.addr, load.protocol.receiver_greeting())?;
            // The backlog was full, and the kernel tried again after a second: connect more slowly.
            if begun.elapsed() > Duration::from_millis(500) {
                pause = (pause * 2).clamp(Duration::from_micros(500), Duration::from_millis(5));
            }
            thread::sleep(pause);
            let (connected, all) = (nth + 1, load.clients);
            let limit = 2 * TIMEOUT;
            ensure!(
                start.elapsed() < limit,
                "{connected} of {all} clients could connect within {limit:?}"
            );
        }
        Ok(generator)
    }

    /// Connects one client and sends `first` before anything else.
    fn connect(&mut self, addr: SocketAddr, first: &[u8]) -> Result<()> {
        let nth = self.conns.len();
        let (stream, tls) = connect_with_tls(addr, self.tls.as_ref())
            .and_then(|(mut stream, tls)| {
                stream.write_all(first)?;
                stream.set_nonblocking(true)?;
                Ok((stream, tls))
            })
            .with_context(|| format!("cannot connect client {nth} to {addr}"))?;
        let mut stream = TcpStream::from_std(stream);
        // Not registered for writing: a loop that sends many messages calls `flush` again and again, which
        // sends the bytes that did not fit before.
        self.poll
            .registry()
            .register(&mut stream, Token(nth), Interest::READABLE)
            .context("cannot register a connection")?;
        self.conns.push(Connection { stream, is_closed: false, tls });
        Ok(())
    }

    /// Sends messages of one sender until all clients have received one. Returns the bytes that the
    /// server puts before the texts of this sender.
    ///
    /// A connection may be established before the server has accepted it. A server that is still busy
    /// accepting would not relay to such a client, and the client would seem to have lost messages.
    fn wait_for_first_message(&mut self, sender: usize, text_len: usize) -> Result<Vec<u8>> {
        let protocol = self.protocol;
        let start = Instant::now();
        let mut number = HIGHEST_NUMBER;
        let mut due = start;
        let text = loop {
            if Instant::now() >= due {
                number -= 1;
                let (before, after) = protocol.sent_around(text_len);
                let text = text_of(sender, number, text_len);
                let conn = &mut self.conns[self.senders[sender].conn];
                conn.write_all_at_once(format!("{before}{text}{after}").as_bytes())?;
                due = Instant::now() + Duration::from_millis(500);
            }
            self.wait_and_read(Duration::from_millis(10))?;
            let text = [text_of(sender, number, text_len).as_bytes(), protocol.ending()].concat();
            let waiting = self.last.iter().filter(|last| !last.ends_with(&text)).count();
            if waiting == 0 {
                break text;
            }
            let (lost, all) = (self.disconnected(), self.readers);
            ensure!(lost == 0, "the server took {} of {all} clients", all - lost);
            ensure!(start.elapsed() < TIMEOUT, "{waiting} of {all} clients received no message");
        };
        if let Some(head) = protocol.received_before(text_len) {
            return Ok(head.into_bytes());
        }
        let before = &self.last[0][..self.last[0].len() - text.len()];
        let begin = before.iter().rposition(|byte| protocol.ending().contains(byte));
        Ok(before[begin.map_or(0, |at| at + 1)..].to_vec())
    }

    /// Waits until bytes arrive, for at most `timeout`, and reads all of them. Reports whether any arrived.
    pub fn wait_and_read(&mut self, timeout: Duration) -> Result<bool> {
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(e) if e.kind() == ErrorKind::Interrupted => return Ok(false),
            other => other.context("cannot wait for events")?,
        }
        if self.events.is_empty() {
            return Ok(false);
        }
        let begun = Instant::now();
        for event in &self.events {
            let nth = event.token().0;
            let Some(conn) = self.conns.get_mut(nth) else { continue };
            // A read that did not fill the buffer has emptied the socket, so a second read would only
            // report that. Only at the end of the stream can a further read find something.
            while !conn.is_closed {
                let n = match conn.stream.read(&mut self.buf) {
                    Ok(n) => n,
                    Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                    Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                    // The server has reset the connection.
                    Err(_) => 0,
                };
                self.received.reads += 1;
                conn.is_closed = n == 0;
                if nth < self.readers {
                    let mut data = &self.buf[..n];
                    if let Some(tls) = &mut conn.tls {
                        self.plain.clear();
                        // Bytes that are not TLS end the connection.
                        conn.is_closed |= tls.decrypt(data, &mut self.plain).is_err();
                        data = &self.plain;
                    }
                    self.received.bytes += data.len() as u64;
                    if let Some(deliveries) = &mut self.deliveries {
                        self.received.messages += deliveries.add(nth, data, Instant::now());
                        if conn.is_closed {
                            deliveries.leave(nth);
                        }
                    } else {
                        let last = &mut self.last[nth];
                        last.extend_from_slice(data);
                        let old = last.len().saturating_sub(self.last_len);
                        last.drain(..old);
                    }
                }
                if n < self.buf.len() && !event.is_read_closed() {
                    break;
                }
            }
        }
        self.received.busy += begun.elapsed();
        Ok(true)
    }

    /// Returns the counters at this moment, with the processor time of the server's process.
    #[must_use]
    pub fn counters(&self, server: Option<Process>) -> Counters {
        Counters::read(self.received, server)
    }

    /// Returns how many messages every connected client has received at least.
    #[must_use]
    pub fn received_by_all(&self) -> u64 {
        self.deliveries.as_ref().map_or(0, DeliveryCheck::received_by_all)
    }

    /// Returns the number of messages that one client has received.
    #[must_use]
    pub fn received_by(&self, reader: usize) -> u64 {
        self.deliveries.as_ref().map_or(0, |deliveries| deliveries.received_by(reader))
    }

    /// Returns how many receiving clients the server has disconnected.
    #[must_use]
    pub fn disconnected(&self) -> usize {
        self.conns[..self.readers].iter().filter(|conn| conn.is_closed).count()
    }

    /// Reads all bytes that have arrived. Returns the number of clients that the server has disconnected.
    pub fn read_and_count_disconnected(&mut self) -> Result<usize> {
        while self.wait_and_read(Duration::ZERO)? {}
        Ok(self.disconnected())
    }

    /// Returns how many clients still wait for the server's answer to their greeting.
    #[must_use]
    pub fn waiting_for_answer(&self) -> usize {
        let answer = self.protocol.greeting_answer();
        let has_answer = |last: &&Vec<u8>| memmem::find(last, answer).is_some();
        self.last.iter().filter(|last| !has_answer(last)).count()
    }

    /// Returns how many messages were sent.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.senders.iter().map(|sender| sender.sent).sum()
    }

    /// Sends one message to all clients. Returns the time until the last client had it, and how many
    /// clients did not receive it in time.
    pub fn send_one_to_all(&mut self, addr: SocketAddr) -> Result<(Duration, usize)> {
        if let Some(greeting) = self.protocol.sender_greeting() {
            self.connect(addr, greeting)?;
        }
        let (before, after) = self.protocol.sent_around(MIN_TEXT);
        let text = text_of(0, 0, MIN_TEXT) + after;
        let start = Instant::now();
        let sender = self.conns.last_mut().context("there is no client that could send")?;
        sender.write_all_at_once(format!("{before}{text}").as_bytes())?;
        loop {
            let waiting = self.last.iter().filter(|last| !last.ends_with(text.as_bytes())).count();
            if waiting == 0 || start.elapsed() > TIMEOUT {
                return Ok((start.elapsed(), waiting));
            }
            self.wait_and_read(Duration::from_millis(20))?;
        }
    }

    /// Sends the next `n` messages of one sender. Bytes that the kernel does not take are sent later.
    pub fn send(&mut self, sender: usize, n: u64) {
        let begun = Instant::now();
        let sender = &mut self.senders[sender];
        sender.add_messages(n);
        sender.flush(&mut self.conns[sender.conn]);
        self.received.busy += begun.elapsed();
    }

    /// Sends the bytes that the kernel has not yet taken.
    pub fn flush(&mut self) {
        for sender in &mut self.senders {
            sender.flush(&mut self.conns[sender.conn]);
        }
    }

    /// Sends for a time as fast as the slowest client receives, with each sender at most `window`
    /// messages ahead of it.
    pub fn send_closed_loop(&mut self, window: u64, time: Duration) -> Result<()> {
        let start = Instant::now();
        let mut progress = start;
        while start.elapsed() < time {
            // Each sender may have sent an equal share of the messages that the slowest client has
            // received, and one window more. So no sender gets ahead of the others by more than the
            // window, and no client falls behind by more than all windows. Half a window is sent at a
            // time: single messages would measure how fast the generator writes.
            let received = self.received_by_all().min(u64::MAX / 2);
            let due = received / self.senders.len() as u64 + window;
            for sender in &mut self.senders {
                if sender.is_idle() && due >= sender.sent + window.div_ceil(2) {
                    sender.add_messages(due - sender.sent);
                }
                sender.flush(&mut self.conns[sender.conn]);
            }
            if self.wait_and_read(Duration::from_millis(100))? {
                progress = Instant::now();
            }
            ensure!(self.disconnected() < self.readers, "the server disconnected all clients");
            ensure!(progress.elapsed() < TIMEOUT, "no copy was delivered for {TIMEOUT:?}");
        }
        Ok(())
    }

    /// Sends the messages of a schedule at their times, whether or not copies arrive, until the next
    /// one is due after `until`. Calls `between` between two messages.
    ///
    /// Returns the longest delay that the generator itself has caused.
    pub fn send_open_loop(
        &mut self,
        schedule: Schedule,
        until: Instant,
        mut between: impl FnMut() -> Result<()>,
    ) -> Result<Duration> {
        let mut longest = Duration::ZERO;
        let senders = self.senders.len() as u64;
        loop {
            let nth = self.sent();
            let (due, now) = (schedule.due(nth), Instant::now());
            if due >= until {
                return Ok(longest);
            }
            if now >= due {
                longest = longest.max(now - due);
                self.send(usize::try_from(nth % senders)?, 1);
                // Copies that have come are read before the next message is sent, as independent
                // clients would do.
                self.wait_and_read(Duration::ZERO)?;
                continue;
            }
            self.flush();
            // The kernel's timeout counts milliseconds, so the last two are spent without it.
            let wait = (due - now).saturating_sub(Duration::from_millis(2));
            self.wait_and_read(Duration::from_millis(u64::try_from(wait.as_millis())?))?;
            ensure!(self.disconnected() < self.readers, "the server disconnected all clients");
            between()?;
        }
    }

    /// Reads until all clients have all messages, or until nothing has arrived for `patience`.
    pub fn wait_for_copies(&mut self, patience: Duration) -> Result<()> {
        let mut progress = Instant::now();
        while self.received_by_all() < self.sent() && progress.elapsed() < patience {
            self.flush();
            if self.wait_and_read(Duration::from_millis(20))? {
                progress = Instant::now();
            }
        }
        Ok(())
    }

    /// Records the delay of each copy from now on.
    pub fn set_delays(&mut self, delays: DelayRecorder) {
        if let Some(deliveries) = &mut self.deliveries {
            deliveries.delays = Some(delays);
        }
    }

    /// Ends the recording of delays, and returns them.
    pub fn take_delays(&mut self) -> Option<DelayRecorder> {
        self.deliveries.as_mut().and_then(|deliveries| deliveries.delays.take())
    }

    /// Ends the check of deliveries, and adds its counts and faults to the figures. Returns the delays
    /// that were recorded.
    pub fn finish(&mut self, figures: &mut Figures) -> Option<DelayRecorder> {
        self.end_check(figures).1
    }

    /// Does the same after a wait for all copies: a copy that has not come by now is a fault.
    pub fn finish_after(&mut self, waited: Duration, figures: &mut Figures) {
        let (Faults { pending, .. }, _) = self.end_check(figures);
        if pending > 0 {
            figures.faults.push(format!("{} had not come after {waited:.1?}", copies(pending)));
        }
    }

    fn end_check(&mut self, figures: &mut Figures) -> (Faults, Option<DelayRecorder>) {
        let sent: Vec<u64> = self.senders.iter().map(|sender| sender.sent).collect();
        let Some(deliveries) = self.deliveries.take() else { return (Faults::default(), None) };
        let (result, delays) = deliveries.finish(&sent, Instant::now());
        result.add_to(figures);
        let orders = result.other_orders;
        if orders > 0 && self.protocol.has_one_order() && figures.faults.is_empty() {
            figures
                .faults
                .push(format!("{orders} clients received another order than the other clients"));
        }
        if self.disconnected() > 0 {
            figures.faults.push(format!("the server disconnected {} clients", self.disconnected()));
        }
        (result.faults, delays)
    }
}
