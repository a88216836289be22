//! The load generator: many clients in one thread, cheap enough not to be what is measured.
//!
//! It reads with large reads into one shared buffer and counts the bytes that end a message;
//! nothing is split or compared unless a check is asked for. What it sends is *closed-loop*: a new
//! message leaves only when every reader is within a window of what was sent before, so that no
//! server is asked to queue more than its slowest reader's window, and a faster server is simply
//! given more.
//!
//! Each experiment returns [`Figures`]: numbers whose names carry their units, and what was wrong.

#![expect(
    clippy::cast_precision_loss,
    reason = "counts of messages and bytes become ratios; 52 bits are enough for those"
)]

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream as StdTcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::Figures;

/// What one read can bring. Large, so that a busy connection costs few system calls; small enough
/// to stay in the second-level cache, from where the counting reads it again.
const READ_SIZE: usize = 256 * 1024;

/// How long a connect or a silent server is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// The shortest message that has room for its sender and its number.
pub const MIN_SIZE: usize = 16;

/// Descriptors that an experiment needs besides one for each client.
const OTHER_DESCRIPTORS: u64 = 32;

/// A process, seen through `/proc`.
#[derive(Debug, Clone)]
pub struct Process {
    dir: PathBuf,
}

impl Process {
    /// The process with that id.
    #[must_use]
    pub fn new(pid: u32) -> Self {
        Self { dir: PathBuf::from(format!("/proc/{pid}")) }
    }

    fn read(&self, file: &str) -> Result<String> {
        let path = self.dir.join(file);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    fn field_kib(&self, file: &str, name: &str) -> Result<u64> {
        let text = self.read(file)?;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|rest| rest.split_whitespace().next());
        number
            .and_then(|number| number.parse().ok())
            .with_context(|| format!("no {name} in {file}"))
    }

    /// Processor time so far, all threads, user and system.
    pub fn cpu_seconds(&self) -> Result<f64> {
        let stat = self.read("stat")?;
        // The name in parentheses may hold blanks: count from behind it.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let ticks =
            |n| fields.split_whitespace().nth(n).and_then(|field| field.parse::<f64>().ok());
        let (user, system) = ticks(11).zip(ticks(12)).context("no times in /proc/PID/stat")?;
        // The kernel tells user space of 100 ticks a second, whatever it counts itself.
        Ok((user + system) / 100.0)
    }

    /// Memory in use. `smaps_rollup` counts; `status` only estimates, by up to 64 pages a thread.
    pub fn rss_kib(&self) -> Result<u64> {
        self.field_kib("smaps_rollup", "Rss:").or_else(|_| self.field_kib("status", "VmRSS:"))
    }

    /// Threads now.
    pub fn threads(&self) -> Result<u64> {
        self.field_kib("status", "Threads:")
    }

    /// Open descriptors now.
    pub fn descriptors(&self) -> Result<u64> {
        let dir = self.dir.join("fd");
        let entries =
            fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))?;
        Ok(entries.count() as u64)
    }
}

/// How many bytes of `data` are `marker`.
///
/// Counts in bytes, and sums up before one can overflow: the compiler makes 16 or more comparisons
/// at a time of that, which is several times faster than finding each marker.
fn count(data: &[u8], marker: u8) -> u64 {
    data.chunks(192)
        .map(|chunk| u64::from(chunk.iter().fold(0_u8, |n, byte| n + u8::from(*byte == marker))))
        .sum()
}

/// The two languages that fan-out speaks.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Wire {
    /// Text and a zero byte; whoever is connected gets everything.
    TinCan,
    /// RESP: subscribers get everything, and publishers have connections of their own.
    Redis,
}

impl Wire {
    /// The byte that is in each delivery once, and nowhere else.
    fn marker(self) -> u8 {
        match self {
            Self::TinCan => 0,
            Self::Redis => b'*',
        }
    }
}

/// One connection of ours.
struct Conn {
    stream: TcpStream,
    /// Deliveries so far.
    received: u64,
    closed: bool,
}

/// All connections of one experiment, and the one loop that reads them.
struct Room {
    poll: Poll,
    events: Events,
    buf: Vec<u8>,
    conns: Vec<Conn>,
    /// The first so many connections are counted; behind them come Redis' publishers.
    readers: usize,
    marker: u8,
    checker: Option<Checker>,
    bytes: u64,
    frames: u64,
    reads: u64,
}

impl Room {
    fn new(readers: usize, marker: u8) -> Result<Self> {
        Ok(Self {
            poll: Poll::new().context("cannot create a poll")?,
            events: Events::with_capacity(4096),
            buf: vec![0; READ_SIZE],
            conns: Vec::with_capacity(readers),
            readers,
            marker,
            checker: None,
            bytes: 0,
            frames: 0,
            reads: 0,
        })
    }

    /// Connects one client and sends `first`, what it has to say before anything else.
    fn connect(&mut self, addr: SocketAddr, first: &[u8]) -> Result<()> {
        let nth = self.conns.len();
        let stream = StdTcpStream::connect_timeout(&addr, PATIENCE)
            .and_then(|mut stream| {
                stream.set_nodelay(true)?;
                stream.write_all(first)?;
                stream.set_nonblocking(true)?;
                Ok(stream)
            })
            .with_context(|| format!("cannot connect client {nth} to {addr}"))?;
        let mut stream = TcpStream::from_std(stream);
        // Never woken for writing: what did not fit is tried again in the next turn, and there is
        // always a next turn, because deliveries are still under way then.
        self.poll
            .registry()
            .register(&mut stream, Token(nth), Interest::READABLE)
            .context("cannot watch a connection")?;
        self.conns.push(Conn { stream, received: 0, closed: false });
        Ok(())
    }

    /// Waits for at most `timeout` and reads all that has come. Tells whether anything had.
    fn turn(&mut self, timeout: Duration) -> Result<bool> {
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(e) if e.kind() == ErrorKind::Interrupted => return Ok(false),
            other => other.context("cannot wait for events")?,
        }
        for event in &self.events {
            let nth = event.token().0;
            let conn = &mut self.conns[nth];
            // A read that did not fill the buffer has emptied the connection: no second read to be
            // told so. Only behind the end of the stream is there something more to learn.
            while !conn.closed {
                let n = match conn.stream.read(&mut self.buf) {
                    Ok(n) => n,
                    Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                    Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                    Err(_) => 0,
                };
                self.reads += 1;
                conn.closed = n == 0;
                if nth < self.readers {
                    let frames = count(&self.buf[..n], self.marker);
                    conn.received += frames;
                    self.frames += frames;
                    self.bytes += n as u64;
                    if let Some(checker) = &mut self.checker {
                        checker.feed(nth, &self.buf[..n]);
                    }
                }
                if n < self.buf.len() && !event.is_read_closed() {
                    break;
                }
            }
        }
        Ok(!self.events.is_empty())
    }

    /// What every reader that is still there has received at least.
    fn least(&self) -> u64 {
        let there = self.conns[..self.readers].iter().filter(|conn| !conn.closed);
        there.map(|conn| conn.received).min().unwrap_or(u64::MAX)
    }

    /// How many readers the server has disconnected.
    fn lost(&self) -> usize {
        self.conns[..self.readers].iter().filter(|conn| conn.closed).count()
    }

    /// Reads until every reader has got something, having `ask` make the server send it.
    ///
    /// Connected is not accepted: a server that is still busy accepting would not count a client
    /// among those to relay to, and that client would seem to have lost messages.
    fn gather(&mut self, mut ask: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        let start = Instant::now();
        let mut asked = None::<Instant>;
        while self.least() == 0 {
            if asked.is_none_or(|when| when.elapsed() > Duration::from_millis(500)) {
                ask(self)?;
                asked = Some(Instant::now());
            }
            self.turn(Duration::from_millis(10))?;
            let got = self.conns[..self.readers].iter().filter(|conn| conn.received > 0).count();
            ensure!(self.lost() == 0, "the server disconnected {} clients at once", self.lost());
            ensure!(
                start.elapsed() < PATIENCE,
                "only {got} of {} clients got anything",
                self.readers
            );
        }
        while self.turn(Duration::from_millis(100))? {}
        for conn in &mut self.conns {
            conn.received = 0;
        }
        Ok(())
    }
}

/// Sends `bytes`, which are few, whole or not at all.
fn send_whole(conn: &mut Conn, bytes: &[u8]) -> Result<()> {
    let n = conn.stream.write(bytes).context("cannot send")?;
    ensure!(n == bytes.len(), "cannot send {} bytes at once", bytes.len());
    Ok(())
}

/// One who sends: numbered messages, all of one size.
struct Sender {
    conn: usize,
    /// The next message as it goes out; its nine digits are counted up in place.
    message: Vec<u8>,
    digits: usize,
    sent: u64,
    /// Made, and not yet taken by the kernel.
    out: Vec<u8>,
}

impl Sender {
    fn new(wire: Wire, id: usize, conn: usize, size: usize) -> Self {
        let (head, tail) = match wire {
            Wire::TinCan => (String::new(), "\0"),
            Wire::Redis => {
                (format!("*3\r\n$7\r\nPUBLISH\r\n$4\r\nroom\r\n${}\r\n", size - 1), "\r\n")
            }
        };
        let text = text_of(id, 0, size);
        let message = format!("{head}{text}{tail}").into_bytes();
        Self { conn, message, digits: head.len() + 5, sent: 0, out: Vec::new() }
    }

    fn make(&mut self, n: u64) {
        for _ in 0..n {
            self.out.extend_from_slice(&self.message);
            for digit in self.message[self.digits..self.digits + 9].iter_mut().rev() {
                if *digit < b'9' {
                    *digit += 1;
                    break;
                }
                *digit = b'0';
            }
        }
        self.sent += n;
    }

    fn flush(&mut self, conn: &mut Conn) {
        while !self.out.is_empty() {
            match conn.stream.write(&self.out) {
                Ok(n) => drop(self.out.drain(..n)),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                // The next turn tries again; an error shows as the end of the stream in reading.
                Err(_) => break,
            }
        }
    }
}

/// The text of a message, one byte shorter than the message.
fn text_of(id: usize, number: u64, size: usize) -> String {
    format!("{:x<width$}", format!("s{id:03} {number:09} "), width = size - 1)
}

/// Looks into every message that every client gets.
struct Checker {
    text_len: usize,
    /// What has to be before each sender's text: its address, or nothing.
    prefixes: Vec<String>,
    /// For each client, the beginning of a message whose end has not come.
    halves: Vec<Vec<u8>>,
    /// For each client and sender, the number that has to come next.
    next: Vec<u64>,
    /// For each client, a digest of who was heard in which order.
    orders: Vec<u64>,
    faults: Vec<String>,
}

impl Checker {
    fn new(clients: usize, prefixes: Vec<String>, size: usize) -> Self {
        Self {
            text_len: size - 1,
            next: vec![0; clients * prefixes.len()],
            prefixes,
            halves: vec![Vec::new(); clients],
            orders: vec![0; clients],
            faults: Vec::new(),
        }
    }

    fn feed(&mut self, client: usize, data: &[u8]) {
        let mut half = std::mem::take(&mut self.halves[client]);
        for piece in data.split_inclusive(|byte| *byte == 0) {
            half.extend_from_slice(piece);
            if half.pop_if(|byte| *byte == 0).is_some() {
                self.hear(client, &half);
                half.clear();
            }
        }
        self.halves[client] = half;
    }

    fn hear(&mut self, client: usize, frame: &[u8]) {
        let frame = String::from_utf8_lossy(frame);
        let Some((id, number)) = self.parse(&frame) else {
            return self.fault(format!("client {client} got what nobody sent: {frame:?}"));
        };
        let place = client * self.prefixes.len() + id;
        let due = self.next[place];
        if number != due {
            let what = if number > due { "loss" } else { "a duplicate, or a changed order" };
            self.fault(format!("{what}: client {client}, sender {id}: {number} instead of {due}"));
        }
        self.next[place] = number + 1;
        let digest = &mut self.orders[client];
        *digest = (*digest ^ id as u64).wrapping_mul(0x0000_0100_0000_01b3).wrapping_add(1);
    }

    fn parse(&self, frame: &str) -> Option<(usize, u64)> {
        let (prefix, text) = frame.split_at_checked(frame.len().checked_sub(self.text_len)?)?;
        let id: usize = text.get(1..4)?.parse().ok()?;
        let number = text.get(5..14)?.parse().ok()?;
        let whole =
            *self.prefixes.get(id)? == prefix && text == text_of(id, number, text.len() + 1);
        whole.then_some((id, number))
    }

    /// After everything has come: has everybody heard the same?
    fn finish(mut self) -> Vec<String> {
        if self.orders.iter().any(|order| *order != self.orders[0]) {
            self.fault("not all clients saw one order".into());
        }
        self.faults
    }

    fn fault(&mut self, fault: String) {
        // The first few tell; after one loss, everything that follows may be wrong.
        if self.faults.len() < 10 {
            self.faults.push(fault);
        }
    }
}

/// Fan-out: a few clients send, all get everything.
#[derive(Debug, Clone)]
pub struct Fanout {
    /// The server.
    pub addr: SocketAddr,
    /// Clients that receive.
    pub clients: usize,
    /// How many send: some of the clients, with Redis so many more.
    pub senders: usize,
    /// Bytes of a message, its zero byte included.
    pub size: usize,
    /// How long to measure, after the warm-up.
    pub time: Duration,
    /// How long to send before measuring.
    pub warm_up: Duration,
    /// Bytes that each sender may be ahead of the slowest reader.
    pub window: usize,
    /// The server's process, for its processor time and memory.
    pub pid: Option<u32>,
    /// Whether to look into each message: order, loss, duplicates. Costs speed.
    pub check: bool,
    /// Whether the server relays messages as they are, without the sender's address.
    pub raw: bool,
}

impl Fanout {
    /// Runs it against a tin-can chat.
    pub fn run(&self) -> Result<Figures> {
        self.ensure_sane()?;
        let mut room = Room::new(self.clients, Wire::TinCan.marker())?;
        for _ in 0..self.clients {
            room.connect(self.addr, b"")?;
        }
        // The last to connect asks: by then the others are known to a server that accepts in turn.
        room.gather(|room| send_whole(&mut room.conns[self.clients - 1], b"Hello?\0"))?;
        if self.check {
            let prefix = |conn: &Conn| Ok(format!("{}: ", conn.stream.local_addr()?));
            let mut prefixes = vec![String::new(); self.senders];
            if !self.raw {
                let senders = room.conns[..self.senders].iter();
                prefixes = senders.map(prefix).collect::<io::Result<_>>()?;
            }
            room.checker = Some(Checker::new(self.clients, prefixes, self.size));
        }
        self.measure(room, Wire::TinCan, 0)
    }

    /// Runs it against Redis: the clients subscribe to one channel, the senders publish.
    pub fn run_redis(&self) -> Result<Figures> {
        self.ensure_sane()?;
        ensure!(!self.check, "what Redis delivers cannot be checked");
        let mut room = Room::new(self.clients, Wire::Redis.marker())?;
        for _ in 0..self.clients {
            room.connect(self.addr, b"*2\r\n$9\r\nSUBSCRIBE\r\n$4\r\nroom\r\n")?;
        }
        // Each is told that it has subscribed, and needs no asking.
        room.gather(|_| Ok(()))?;
        for _ in 0..self.senders {
            room.connect(self.addr, b"")?;
        }
        self.measure(room, Wire::Redis, self.clients)
    }

    fn ensure_sane(&self) -> Result<()> {
        ensure!(self.clients > 0 && self.senders > 0, "somebody has to send, somebody to listen");
        ensure!(self.senders <= self.clients, "no more senders than clients");
        ensure!(self.senders <= 1000, "no more than 1000 senders have names");
        ensure!(self.size >= MIN_SIZE, "a message has at least {MIN_SIZE} bytes");
        raise_descriptor_limit((self.clients + self.senders) as u64)
    }

    fn measure(&self, mut room: Room, wire: Wire, first_sender: usize) -> Result<Figures> {
        let mut senders: Vec<Sender> = (0..self.senders)
            .map(|id| Sender::new(wire, id, first_sender + id, self.size))
            .collect();
        let mut figures = Figures::default();

        self.keep_sending(&mut room, &mut senders, self.warm_up)?;
        let before = Reading::take(&room, self.pid)?;
        self.keep_sending(&mut room, &mut senders, self.time)?;
        let after = Reading::take(&room, self.pid)?;
        after.compare(&before, &mut figures);
        if let Some(pid) = self.pid {
            let server = Process::new(pid);
            figures.add("server_rss_kib", server.rss_kib()? as f64);
            figures.add("server_threads", server.threads()? as f64);
        }

        let sent: u64 = senders.iter().map(|sender| sender.sent).sum();
        let mut progress = Instant::now();
        while room.least() < sent && progress.elapsed() < PATIENCE / 2 {
            for sender in &mut senders {
                sender.flush(&mut room.conns[sender.conn]);
            }
            if room.turn(Duration::from_millis(100))? {
                progress = Instant::now();
            }
        }
        if room.lost() > 0 {
            figures.faults.push(format!("the server disconnected {} clients", room.lost()));
        }
        let there = room.conns[..room.readers].iter().filter(|conn| !conn.closed);
        let wrong = there.filter(|conn| conn.received != sent).count();
        if wrong > 0 {
            figures
                .faults
                .push(format!("{wrong} clients did not get {sent} messages, all that were sent"));
        }
        if let Some(checker) = room.checker.take() {
            figures.faults.extend(checker.finish());
        }
        Ok(figures)
    }

    fn keep_sending(&self, room: &mut Room, senders: &mut [Sender], time: Duration) -> Result<()> {
        let window = (self.window / self.size).max(1) as u64;
        let start = Instant::now();
        let mut progress = start;
        while start.elapsed() < time {
            // The senders share what the slowest reader has received, in equal parts: nobody gets
            // ahead of the others by more than the window, and nobody is read too late by more
            // than all windows. Half a window at a time: a message at a time would measure how
            // fast this generator writes.
            let due = room.least().min(u64::MAX / 2) / senders.len() as u64 + window;
            for sender in &mut *senders {
                if sender.out.is_empty() && due >= sender.sent + window.div_ceil(2) {
                    sender.make(due - sender.sent);
                }
                sender.flush(&mut room.conns[sender.conn]);
            }
            if room.turn(Duration::from_millis(100))? {
                progress = Instant::now();
            }
            ensure!(room.lost() < room.readers, "the server disconnected all clients");
            if progress.elapsed() > PATIENCE {
                bail!("nothing was delivered for {PATIENCE:?}, and not all that was sent had been");
            }
        }
        Ok(())
    }
}

/// What the counters say at one moment.
struct Reading {
    when: Instant,
    frames: u64,
    bytes: u64,
    reads: u64,
    own_cpu: f64,
    server_cpu: Option<f64>,
}

impl Reading {
    fn take(room: &Room, pid: Option<u32>) -> Result<Self> {
        Ok(Self {
            when: Instant::now(),
            frames: room.frames,
            bytes: room.bytes,
            reads: room.reads,
            own_cpu: Process::new(std::process::id()).cpu_seconds()?,
            server_cpu: pid.map(|pid| Process::new(pid).cpu_seconds()).transpose()?,
        })
    }

    fn compare(&self, before: &Self, figures: &mut Figures) {
        let seconds = (self.when - before.when).as_secs_f64();
        let frames = (self.frames - before.frames) as f64;
        let bytes = (self.bytes - before.bytes) as f64;
        figures.add("deliveries_per_s", frames / seconds);
        figures.add("megabytes_per_s", bytes / seconds / 1e6);
        figures.add("bytes_per_read", bytes / (self.reads - before.reads).max(1) as f64);
        figures.add("generator_cpu_percent", (self.own_cpu - before.own_cpu) / seconds * 100.0);
        if let Some(cpu) = self.server_cpu.zip(before.server_cpu).map(|(now, then)| now - then) {
            figures.add("server_cpu_percent", cpu / seconds * 100.0);
            figures.add("server_ns_per_delivery", cpu * 1e9 / frames.max(1.0));
        }
    }
}

/// Many clients that say nothing: what does one cost, and how long until all have one message?
#[derive(Debug, Clone)]
pub struct Idle {
    /// The server.
    pub addr: SocketAddr,
    /// How many connect.
    pub clients: usize,
    /// The server's process.
    pub pid: u32,
}

impl Idle {
    /// Runs it against a tin-can chat.
    pub fn run(&self) -> Result<Figures> {
        ensure!(self.clients > 0, "somebody has to connect");
        raise_descriptor_limit(self.clients as u64)?;
        let server = Process::new(self.pid);
        let mut figures = Figures::default();
        let mut room = Room::new(self.clients, Wire::TinCan.marker())?;

        let (rss_before, descriptors_before) = (server.rss_kib()?, server.descriptors()?);
        let start = Instant::now();
        for _ in 0..self.clients {
            room.connect(self.addr, b"")?;
        }
        let connected = start.elapsed();
        // All accepted, and whatever is started for each client has come to rest.
        let mut before = (0, 0, 0);
        let start = Instant::now();
        loop {
            let now = (server.descriptors()?, server.threads()?, server.rss_kib()?);
            if now == before && now.0 >= descriptors_before + self.clients as u64 {
                break;
            }
            ensure!(start.elapsed() < PATIENCE, "the server has accepted {} descriptors", now.0);
            before = now;
            std::thread::sleep(Duration::from_millis(200));
        }
        let (descriptors, threads, rss) = before;
        figures.add("rss_before_kib", rss_before as f64);
        figures.add("rss_idle_kib", rss as f64);
        let growth = rss as f64 - rss_before as f64;
        figures.add("bytes_per_client", growth * 1024.0 / self.clients as f64);
        figures.add("threads", threads as f64);
        figures.add("descriptors", descriptors as f64);
        figures.add("connect_ms", connected.as_secs_f64() * 1e3);

        // Whatever a server says by way of a greeting is not the message.
        while room.turn(Duration::ZERO)? {}
        for conn in &mut room.conns {
            conn.received = 0;
        }
        let start = Instant::now();
        send_whole(&mut room.conns[0], b"Can everybody hear me?\0")?;
        while room.least() == 0 && start.elapsed() < PATIENCE {
            room.turn(Duration::from_millis(100))?;
        }
        figures.add("broadcast_to_all_ms", start.elapsed().as_secs_f64() * 1e3);
        let deaf = room.conns.iter().filter(|conn| conn.received == 0).count();
        if deaf > 0 {
            figures.faults.push(format!("{deaf} clients did not get the message"));
        }
        figures.add("rss_after_broadcast_kib", server.rss_kib()? as f64);
        Ok(figures)
    }
}

/// Short sessions with an echo server: connect, send a message, read the answer, close.
#[derive(Debug, Clone)]
pub struct Sessions {
    /// The server.
    pub addr: SocketAddr,
    /// Sessions in flight at any moment.
    pub at_once: usize,
    /// How long to go on.
    pub time: Duration,
    /// Whether the answer is `ADDR: message` and not the message itself.
    pub answer_prefix: bool,
    /// The server's process, for its processor time.
    pub pid: Option<u32>,
}

/// A session in flight.
struct Session {
    stream: TcpStream,
    sent: bool,
    answer: Vec<u8>,
}

/// How a session stands.
enum State {
    Open,
    Answered,
    Failed(&'static str),
}

impl Sessions {
    const MESSAGE: &[u8] = b"A tin can, and a string.\0";

    /// Runs it.
    pub fn run(&self) -> Result<Figures> {
        ensure!(self.at_once > 0, "somebody has to connect");
        raise_descriptor_limit(self.at_once as u64)?;
        let mut poll = Poll::new().context("cannot create a poll")?;
        let mut events = Events::with_capacity(1024);
        let mut sessions =
            (0..self.at_once).map(|nth| self.begin(&poll, nth)).collect::<Result<Vec<_>>>()?;
        let (mut answered, mut failed, mut last_failure) = (0_u64, 0_u64, "");

        let own = Process::new(std::process::id());
        let server = self.pid.map(Process::new);
        let own_cpu = own.cpu_seconds()?;
        let server_cpu = server.as_ref().map(Process::cpu_seconds).transpose()?;
        let start = Instant::now();
        while start.elapsed() < self.time {
            match poll.poll(&mut events, Some(Duration::from_millis(100))) {
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                other => other.context("cannot wait for events")?,
            }
            for event in &events {
                let nth = event.token().0;
                match self.go_on(&mut sessions[nth]) {
                    State::Open => continue,
                    State::Answered => answered += 1,
                    State::Failed(why) => (failed, last_failure) = (failed + 1, why),
                }
                sessions[nth] = self.begin(&poll, nth)?;
            }
        }
        let seconds = start.elapsed().as_secs_f64();

        let mut figures = Figures::default();
        figures.add("sessions_per_s", answered as f64 / seconds);
        figures.add("generator_cpu_percent", (own.cpu_seconds()? - own_cpu) / seconds * 100.0);
        if let Some((server, then)) = server.zip(server_cpu) {
            let cpu = server.cpu_seconds()? - then;
            figures.add("server_cpu_percent", cpu / seconds * 100.0);
            figures.add("server_us_per_session", cpu * 1e6 / (answered as f64).max(1.0));
        }
        if failed > 0 {
            figures.faults.push(format!("{failed} sessions failed, the last: {last_failure}"));
        }
        Ok(figures)
    }

    fn begin(&self, poll: &Poll, nth: usize) -> Result<Session> {
        let stream = TcpStream::connect(self.addr)
            .with_context(|| format!("cannot connect to {}", self.addr))?;
        let mut session = Session { stream, sent: false, answer: Vec::new() };
        // On loopback it is connected by now; then nobody needs to be woken to send.
        let interest = match session.send() {
            State::Open if session.sent => Interest::READABLE,
            _ => Interest::READABLE | Interest::WRITABLE,
        };
        poll.registry()
            .register(&mut session.stream, Token(nth), interest)
            .context("cannot watch a connection")?;
        Ok(session)
    }

    fn go_on(&self, session: &mut Session) -> State {
        if !session.sent {
            let state = session.send();
            if !session.sent {
                return state;
            }
        }
        let mut buf = [0; 1024];
        loop {
            match session.stream.read(&mut buf) {
                Ok(0) => return State::Failed("the server closed before it had answered"),
                Ok(n) => session.answer.extend_from_slice(&buf[..n]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return State::Open,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return State::Failed("the connection broke"),
            }
            if session.answer.ends_with(b"\0") {
                return self.judge(&session.answer);
            }
        }
    }

    fn judge(&self, answer: &[u8]) -> State {
        let right = match answer.strip_suffix(Self::MESSAGE) {
            Some(prefix) if self.answer_prefix => prefix.ends_with(b": "),
            Some(prefix) => prefix.is_empty(),
            None => false,
        };
        if right { State::Answered } else { State::Failed("the answer was not the message") }
    }
}

impl Session {
    fn send(&mut self) -> State {
        match self.stream.write(Sessions::MESSAGE) {
            Ok(_) => self.sent = true,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {}
            Err(_) => return State::Failed("no connection, or not for long"),
        }
        State::Open
    }
}

/// Raises the soft limit of open descriptors to what so many clients need.
fn raise_descriptor_limit(clients: u64) -> Result<()> {
    let needed = clients + OTHER_DESCRIPTORS;
    let limit =
        rlimit::increase_nofile_limit(needed).context("cannot raise the descriptor limit")?;
    ensure!(limit >= needed, "{clients} clients need {needed} descriptors, the limit is {limit}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_markers_across_chunks() {
        let mut data = vec![b'x'; 1000];
        for place in [0, 191, 192, 255, 256, 999] {
            data[place] = 0;
        }
        assert_eq!(count(&data, 0), 6);
        assert_eq!(count(&vec![0; 1000], 0), 1000);
        assert_eq!(count(&[], 0), 0);
    }

    #[test]
    fn messages_have_their_size_and_count_up() {
        let mut sender = Sender::new(Wire::TinCan, 7, 0, 64);
        sender.make(101);
        assert_eq!(sender.out.len(), 101 * 64);
        let last = &sender.out[100 * 64..];
        assert_eq!(last, format!("{}\0", text_of(7, 100, 64)).as_bytes());
    }

    fn told(frames: &[&str]) -> Vec<String> {
        let mut checker = Checker::new(2, vec!["a: ".into(), "b: ".into()], 32);
        for client in 0..2 {
            for frame in frames {
                // In two pieces, as a read may bring it.
                checker.feed(client, &frame.as_bytes()[..5]);
                checker.feed(client, &frame.as_bytes()[5..]);
            }
        }
        checker.finish()
    }

    #[test]
    fn the_checker_sees_loss_duplicates_and_forgeries() {
        let frame = |from: &str, id, number| format!("{from}: {}\0", text_of(id, number, 32));
        let (a0, a1, b0) = (frame("a", 0, 0), frame("a", 0, 1), frame("b", 1, 0));
        assert_eq!(told(&[&a0, &b0, &a1]), [""; 0]);
        assert!(told(&[&a1])[0].contains("loss"));
        assert!(told(&[&a0, &a0])[0].contains("duplicate"));
        assert!(told(&[&frame("b", 0, 0)])[0].contains("nobody sent"));
    }

    #[test]
    fn the_checker_sees_two_orders() {
        let mut checker = Checker::new(2, vec![String::new(), String::new()], 32);
        for (client, ids) in [(0, [0, 1]), (1, [1, 0])] {
            for id in ids {
                checker.feed(client, format!("{}\0", text_of(id, 0, 32)).as_bytes());
            }
        }
        assert_eq!(checker.finish(), ["not all clients saw one order"]);
    }
}
