//! The load generator: many clients in one thread, cheap enough not to be what is measured.
//!
//! It reads with large reads into one shared buffer, and leaves what was read to accounts, which
//! compare it with what another client got: see `accounts.rs`.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream as StdTcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use memchr::memmem;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::accounts::{Accounts, Balance, Clock, DIGITS, MIN_TEXT, Schedule, Shape, text_of};
use super::process::{Process, own_cpu_seconds};
use super::{Figures, Tongue};
use probe::tls::{Session, Tls};

/// What one read can bring. Large, so that a busy connection costs few system calls; small enough
/// to stay in the second-level cache, from where it is compared.
const READ_SIZE: usize = 256 * 1024;

/// How long a connect or a silent server is waited for.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Descriptors that an experiment needs besides one for each client.
const OTHER_DESCRIPTORS: u64 = 64;

/// The most senders that have names.
pub const MAX_SENDERS: usize = 1000;

/// The number of the message that makes the senders known; no run comes so far.
const GREETING: u64 = 999_999_999;

impl Tongue {
    /// What a listener says first.
    pub(super) fn listener_hello(self) -> &'static [u8] {
        match self {
            Self::TinCan | Self::TinCanInTls | Self::Lines => b"",
            Self::Redis => b"*2\r\n$9\r\nSUBSCRIBE\r\n$4\r\nroom\r\n",
            Self::Nats => b"CONNECT {\"verbose\":false}\r\nSUB room 1\r\nPING\r\n",
        }
    }

    /// What a listener has been told when it is one.
    fn welcome(self) -> &'static [u8] {
        match self {
            Self::TinCan | Self::TinCanInTls | Self::Lines => b"",
            Self::Redis => b":1\r\n",
            Self::Nats => b"PONG\r\n",
        }
    }

    /// What a sender says first, if senders have connections of their own.
    fn sender_hello(self) -> Option<&'static [u8]> {
        match self {
            Self::TinCan | Self::TinCanInTls => None,
            Self::Lines | Self::Redis => Some(b""),
            Self::Nats => Some(b"CONNECT {\"verbose\":false}\r\n"),
        }
    }

    /// What stands before and behind a text of so many bytes when it is sent.
    fn envelope(self, len: usize) -> (String, &'static str) {
        match self {
            Self::TinCan | Self::TinCanInTls => (String::new(), "\0"),
            Self::Lines => (String::new(), "\n"),
            Self::Redis => (format!("*3\r\n$7\r\nPUBLISH\r\n$4\r\nroom\r\n${len}\r\n"), "\r\n"),
            Self::Nats => (format!("PUB room {len}\r\n"), "\r\n"),
        }
    }

    /// What stands behind a text when it arrives.
    fn tail(self) -> &'static [u8] {
        self.envelope(0).1.as_bytes()
    }

    /// What the server may say between two messages: no run is so long that it needs an answer.
    fn aside(self) -> &'static [u8] {
        if self == Self::Nats { b"PING\r\n" } else { b"" }
    }

    /// What stands before a text of so many bytes when it arrives, if that does not depend on who
    /// sent it.
    fn head(self, len: usize) -> Option<String> {
        match self {
            Self::TinCan | Self::TinCanInTls | Self::Lines => None,
            Self::Redis => Some(format!("*3\r\n$7\r\nmessage\r\n$4\r\nroom\r\n${len}\r\n")),
            Self::Nats => Some(format!("MSG room 1 {len}\r\n")),
        }
    }
}

/// One connection of ours.
struct Conn {
    stream: TcpStream,
    closed: bool,
    tls: Option<Box<Session>>,
}

impl Conn {
    /// Sends as much as there is room for.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.stream.write(bytes) };
        tls.flush(&mut self.stream)?;
        let len = tls.put(bytes)?;
        // What does not go now is tried again before anything else.
        match tls.flush(&mut self.stream) {
            Err(e) if e.kind() != ErrorKind::WouldBlock => Err(e),
            _ => Ok(len),
        }
    }

    /// Whether the kernel has not taken all that was written.
    fn has_unsent(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.has_to_flush())
    }
}

/// Who connects.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    /// The server.
    pub addr: SocketAddr,
    /// What it speaks.
    pub tongue: Tongue,
    /// Clients that receive.
    pub clients: usize,
    /// How many send: some of the clients, or so many more, as the language wants it.
    pub senders: usize,
    /// Bytes of a message, its ending included.
    pub size: usize,
}

/// All connections of one run, and the one loop that reads them.
pub struct Room {
    poll: Poll,
    events: Events,
    buf: Vec<u8>,
    /// How to speak TLS, and what the last read has brought in it.
    tls: Option<Tls>,
    plain: Vec<u8>,
    conns: Vec<Conn>,
    /// The first so many connections receive; behind them come senders that only send.
    readers: usize,
    senders: Vec<Sender>,
    /// What each reader has got last, as long as there are no accounts.
    last: Vec<Vec<u8>>,
    accounts: Option<Accounts>,
    /// Whether the server owes all its clients one order.
    has_one_order: bool,
    totals: Totals,
}

/// What has been read so far.
#[derive(Clone, Copy, Default)]
struct Totals {
    bytes: u64,
    frames: u64,
    reads: u64,
    /// Time in which this thread had something to do.
    busy: Duration,
}

impl Room {
    /// Connects everybody, and waits until everybody hears every sender.
    pub fn open(crowd: Crowd) -> Result<Self> {
        let Crowd { addr, tongue, clients, senders, size } = crowd;
        ensure!(clients > 0 && senders > 0, "somebody has to send, somebody to listen");
        ensure!(senders <= clients.min(MAX_SENDERS), "too many senders: {senders}");
        let text_len = size - tongue.tail().len();
        ensure!(text_len >= MIN_TEXT, "a message of {size} bytes has no room for its number");
        let mut room = Self::listeners(crowd)?;
        if let Some(hello) = tongue.sender_hello() {
            for _ in 0..senders {
                room.connect(addr, hello)?;
            }
        }
        // The last ones send: by then the others are known to a server that accepts in turn.
        let from = room.conns.len() - senders;
        room.senders =
            (0..senders).map(|id| Sender::new(tongue, id, from + id, text_len)).collect();
        let heads = (0..senders).map(|id| room.introduce(tongue, id, text_len));
        let heads = heads.collect::<Result<_>>()?;
        let (tail, aside) = (tongue.tail(), tongue.aside());
        let shape = Shape { heads, text_len, tail, aside };
        room.accounts = Some(Accounts::new(clients, shape));
        room.totals = Totals::default();
        Ok(room)
    }

    /// Connects those who receive.
    pub fn listeners(crowd: Crowd) -> Result<Self> {
        let mut room = Self {
            poll: Poll::new().context("cannot create a poll")?,
            events: Events::with_capacity(4096),
            buf: vec![0; READ_SIZE],
            tls: crowd.tongue.tls()?,
            plain: Vec::new(),
            conns: Vec::new(),
            readers: 0,
            senders: Vec::new(),
            last: vec![Vec::new(); crowd.clients],
            accounts: None,
            has_one_order: matches!(crowd.tongue, Tongue::TinCan | Tongue::TinCanInTls),
            totals: Totals::default(),
        };
        raise_descriptor_limit((crowd.clients + crowd.senders) as u64)?;
        room.readers = crowd.clients;
        let (start, mut pause) = (Instant::now(), Duration::ZERO);
        for nth in 0..crowd.clients {
            let begun = Instant::now();
            room.connect(crowd.addr, crowd.tongue.listener_hello())?;
            // Its backlog was full, and the kernel tried again after a second: ask more slowly.
            if begun.elapsed() > Duration::from_millis(500) {
                pause = (pause * 2).clamp(Duration::from_micros(500), Duration::from_millis(5));
            }
            thread::sleep(pause);
            let (taken, all) = (nth + 1, crowd.clients);
            let is_in_time = start.elapsed() < 2 * PATIENCE;
            ensure!(is_in_time, "{taken} of {all} clients could connect within {:?}", 2 * PATIENCE);
        }
        Ok(room)
    }

    /// How many the server has turned away so far.
    pub fn turned_away(&mut self) -> Result<usize> {
        while self.turn(Duration::ZERO)? {}
        Ok(self.lost())
    }

    /// How many have not been told yet that they listen, where listeners are told.
    #[must_use]
    pub fn unwelcomed(&self, tongue: Tongue) -> usize {
        let welcome = tongue.welcome();
        let is_told = |last: &&Vec<u8>| memmem::find(last, welcome).is_some();
        self.last.iter().filter(|last| !is_told(last)).count()
    }

    /// Says one word to all who listen. Gives how long it took until the last had it, and how many
    /// did not get it in time.
    pub fn tell_all(&mut self, crowd: Crowd) -> Result<(Duration, usize)> {
        if let Some(hello) = crowd.tongue.sender_hello() {
            self.connect(crowd.addr, hello)?;
        }
        let (head, tail) = crowd.tongue.envelope(MIN_TEXT);
        let text = text_of(0, 0, MIN_TEXT) + tail;
        let start = Instant::now();
        let sender = self.conns.last_mut().context("nobody is there to send")?;
        send_whole(sender, format!("{head}{text}").as_bytes())?;
        loop {
            let deaf = self.last.iter().filter(|last| !last.ends_with(text.as_bytes())).count();
            if deaf == 0 || start.elapsed() > PATIENCE {
                return Ok((start.elapsed(), deaf));
            }
            self.turn(Duration::from_millis(20))?;
        }
    }

    /// Connects one client and sends `first`, what it has to say before anything else.
    fn connect(&mut self, addr: SocketAddr, first: &[u8]) -> Result<()> {
        let nth = self.conns.len();
        let (stream, tls) = connect_inside(addr, self.tls.as_ref())
            .and_then(|(mut stream, tls)| {
                stream.write_all(first)?;
                stream.set_nonblocking(true)?;
                Ok((stream, tls))
            })
            .with_context(|| format!("cannot connect client {nth} to {addr}"))?;
        let mut stream = TcpStream::from_std(stream);
        // Never woken for writing: what did not fit is tried again in the next turn, and there is
        // always a next turn, because deliveries are still under way then.
        self.poll
            .registry()
            .register(&mut stream, Token(nth), Interest::READABLE)
            .context("cannot watch a connection")?;
        self.conns.push(Conn { stream, closed: false, tls });
        Ok(())
    }

    /// Has a sender say something until everybody has heard it. Gives what stands before its texts.
    ///
    /// Connected is not accepted: a server that is still busy accepting would not count a client
    /// among those to relay to, and that client would seem to have lost messages.
    fn introduce(&mut self, tongue: Tongue, sender: usize, text_len: usize) -> Result<Vec<u8>> {
        let start = Instant::now();
        let mut number = GREETING;
        let mut due = start;
        let text = loop {
            if Instant::now() >= due {
                number -= 1;
                let (head, tail) = tongue.envelope(text_len);
                let text = text_of(sender, number, text_len);
                let conn = &mut self.conns[self.senders[sender].conn];
                send_whole(conn, format!("{head}{text}{tail}").as_bytes())?;
                due = Instant::now() + Duration::from_millis(500);
            }
            self.turn(Duration::from_millis(10))?;
            let text = [text_of(sender, number, text_len).as_bytes(), tongue.tail()].concat();
            let deaf = self.last.iter().filter(|last| !last.ends_with(&text)).count();
            if deaf == 0 {
                break text;
            }
            let lost = self.lost();
            ensure!(
                lost == 0,
                "the server took {} of {} clients",
                self.readers - lost,
                self.readers
            );
            ensure!(start.elapsed() < PATIENCE, "{deaf} of {} clients heard nothing", self.readers);
        };
        if let Some(head) = tongue.head(text_len) {
            return Ok(head.into_bytes());
        }
        let before = &self.last[0][..self.last[0].len() - text.len()];
        let begin = before.iter().rposition(|byte| tongue.tail().contains(byte));
        Ok(before[begin.map_or(0, |at| at + 1)..].to_vec())
    }

    /// Waits for at most `timeout` and reads all that has come. Tells whether anything had.
    pub fn turn(&mut self, timeout: Duration) -> Result<bool> {
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
            // A read that did not fill the buffer has emptied the connection: no second read to be
            // told so. Only behind the end of the stream is there something more to learn.
            while !conn.closed {
                let n = match conn.stream.read(&mut self.buf) {
                    Ok(n) => n,
                    Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                    Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                    Err(_) => 0,
                };
                self.totals.reads += 1;
                conn.closed = n == 0;
                if nth < self.readers {
                    let mut data = &self.buf[..n];
                    if let Some(tls) = &mut conn.tls {
                        self.plain.clear();
                        // What is no TLS ends a connection as its end does.
                        conn.closed |= tls.take_in(data, &mut self.plain).is_err();
                        data = &self.plain;
                    }
                    self.totals.bytes += data.len() as u64;
                    if let Some(accounts) = &mut self.accounts {
                        self.totals.frames += accounts.feed(nth, data, Instant::now());
                        if conn.closed {
                            accounts.leave(nth);
                        }
                    } else {
                        let last = &mut self.last[nth];
                        last.extend_from_slice(data);
                        let old = last.len().saturating_sub(4096);
                        last.drain(..old);
                    }
                }
                if n < self.buf.len() && !event.is_read_closed() {
                    break;
                }
            }
        }
        self.totals.busy += begun.elapsed();
        Ok(true)
    }

    /// What every reader that is still there has received at least.
    #[must_use]
    pub fn least(&self) -> u64 {
        self.accounts.as_ref().map_or(0, Accounts::least)
    }

    /// What one reader has received.
    #[must_use]
    pub fn received(&self, reader: usize) -> u64 {
        self.accounts.as_ref().map_or(0, |accounts| accounts.received(reader))
    }

    /// How many readers the server has disconnected.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.conns[..self.readers].iter().filter(|conn| conn.closed).count()
    }

    /// All that has been sent so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.senders.iter().map(|sender| sender.sent).sum()
    }

    /// Has a sender send so many messages, or as soon as the kernel takes them.
    pub fn send(&mut self, sender: usize, n: u64) {
        let begun = Instant::now();
        let sender = &mut self.senders[sender];
        sender.make(n);
        sender.flush(&mut self.conns[sender.conn]);
        self.totals.busy += begun.elapsed();
    }

    /// Tries again to send what the kernel has not taken.
    pub fn flush(&mut self) {
        for sender in &mut self.senders {
            sender.flush(&mut self.conns[sender.conn]);
        }
    }

    /// Sends for so long as fast as the slowest reader reads, with each sender at most `window`
    /// messages ahead of it.
    pub fn keep_sending(&mut self, window: u64, time: Duration) -> Result<()> {
        let start = Instant::now();
        let mut progress = start;
        while start.elapsed() < time {
            // The senders share what the slowest reader has received, in equal parts: nobody gets
            // ahead of the others by more than the window, and nobody is read too late by more
            // than all windows. Half a window at a time: a message at a time would measure how
            // fast this generator writes.
            let due = self.least().min(u64::MAX / 2) / self.senders.len() as u64 + window;
            for sender in &mut self.senders {
                if sender.out.is_empty() && due >= sender.sent + window.div_ceil(2) {
                    sender.make(due - sender.sent);
                }
                sender.flush(&mut self.conns[sender.conn]);
            }
            if self.turn(Duration::from_millis(100))? {
                progress = Instant::now();
            }
            ensure!(self.lost() < self.readers, "the server disconnected all clients");
            ensure!(progress.elapsed() < PATIENCE, "nothing was delivered for {PATIENCE:?}");
        }
        Ok(())
    }

    /// Sends at the times that the schedule sets, whether or not anything arrives, all that are due
    /// before `until`. `meanwhile` is called between two.
    ///
    /// Gives how late the latest sending was that this generator itself was late with.
    pub fn keep_time(
        &mut self,
        schedule: Schedule,
        until: Instant,
        mut meanwhile: impl FnMut() -> Result<()>,
    ) -> Result<Duration> {
        let mut latest = Duration::ZERO;
        let senders = self.senders.len() as u64;
        loop {
            let nth = self.sent();
            let (due, now) = (schedule.due(nth), Instant::now());
            if due >= until {
                return Ok(latest);
            }
            if now >= due {
                latest = latest.max(now - due);
                self.send(usize::try_from(nth % senders)?, 1);
                // What has come meanwhile is read before more is sent: as in life.
                self.turn(Duration::ZERO)?;
                continue;
            }
            self.flush();
            // The kernel counts in milliseconds here: the last two are waited for without it.
            let wait = (due - now).saturating_sub(Duration::from_millis(2));
            self.turn(Duration::from_millis(u64::try_from(wait.as_millis())?))?;
            ensure!(self.lost() < self.readers, "the server disconnected all clients");
            meanwhile()?;
        }
    }

    /// Reads until everybody has everything, or until nothing has come for so long.
    pub fn catch_up(&mut self, patience: Duration) -> Result<()> {
        let mut progress = Instant::now();
        while self.least() < self.sent() && progress.elapsed() < patience {
            self.flush();
            if self.turn(Duration::from_millis(20))? {
                progress = Instant::now();
            }
        }
        Ok(())
    }

    /// From now on, notes how late every delivery is.
    pub fn set_clock(&mut self, clock: Clock) {
        if let Some(accounts) = &mut self.accounts {
            accounts.clock = Some(clock);
        }
    }

    /// Takes the clock back.
    pub fn take_clock(&mut self) -> Option<Clock> {
        self.accounts.as_mut().and_then(|accounts| accounts.clock.take())
    }

    /// Closes the accounts, and tells what was wrong. Gives the clock, too.
    pub fn settle(&mut self, figures: &mut Figures) -> Option<Clock> {
        let sent: Vec<u64> = self.senders.iter().map(|sender| sender.sent).collect();
        let accounts = self.accounts.take()?;
        let (balance, clock) = accounts.close(&sent, Instant::now());
        tell(&balance, figures);
        let orders = balance.other_orders;
        if orders > 0 && self.has_one_order && figures.faults.is_empty() {
            figures.faults.push(format!("{orders} clients saw another order than the others"));
        }
        if self.lost() > 0 {
            figures.faults.push(format!("the server disconnected {} clients", self.lost()));
        }
        clock
    }

    /// Closes the accounts after everything that was sent has been waited for: a copy that has not come
    /// by now is a fault.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "made of counts")]
    pub fn settle_after(&mut self, waited: Duration, figures: &mut Figures) {
        self.settle(figures);
        let count = |name| figures.get(name).unwrap_or_default();
        let late = (count("undelivered") - count("lost")) as u64;
        if late > 0 {
            figures.faults.push(format!("{} had not come after {waited:.1?}", copies(late)));
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of copies, far below 2^52")]
fn tell(balance: &Balance, figures: &mut Figures) {
    let wrong = balance.wrong;
    let counts = [
        ("lost", wrong.lost, ["was lost", "were lost"]),
        ("twice", wrong.twice, ["came twice", "came twice"]),
        ("out_of_order", wrong.out_of_order, ["came out of order", "came out of order"]),
        ("forged", wrong.forged, ["came of a message that nobody had sent"; 2]),
    ];
    for (name, count, [one, many]) in counts {
        figures.add(name, count as f64);
        if count > 0 {
            let sample = balance.sample.as_ref().filter(|_| name == "forged");
            let sample = sample.map_or_else(String::new, |sample| format!(", such as {sample}"));
            let what = if count == 1 { one } else { many };
            figures.faults.push(format!("{} {what}{sample}", copies(count)));
        }
    }
    figures.add("undelivered", (wrong.lost + wrong.late) as f64);
    figures.add("clients_with_another_order", balance.other_orders as f64);
}

/// Names a number of copies: `1 copy`, `20 copies`.
fn copies(count: u64) -> String {
    if count == 1 { "1 copy".to_owned() } else { format!("{count} copies") }
}

/// Connects to a server, which has to take it within [`PATIENCE`].
pub fn connect(addr: SocketAddr) -> io::Result<StdTcpStream> {
    let stream = StdTcpStream::connect_timeout(&addr, PATIENCE)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The same, and a handshake with a server inside TLS.
pub fn connect_inside(
    addr: SocketAddr,
    tls: Option<&Tls>,
) -> Result<(StdTcpStream, Option<Box<Session>>)> {
    let mut stream = connect(addr)?;
    let Some(tls) = tls else { return Ok((stream, None)) };
    stream.set_read_timeout(Some(PATIENCE))?;
    let session = Session::shake(tls, &mut stream)?;
    Ok((stream, Some(Box::new(session))))
}

/// Sends `bytes`, which are few, whole or not at all.
fn send_whole(conn: &mut Conn, bytes: &[u8]) -> Result<()> {
    let n = conn.write(bytes).context("cannot send")?;
    ensure!(n == bytes.len(), "cannot send {} bytes at once", bytes.len());
    Ok(())
}

/// One who sends: numbered messages, all of one size.
struct Sender {
    conn: usize,
    /// The next message as it goes out; its digits are counted up in place.
    message: Vec<u8>,
    digits: std::ops::Range<usize>,
    sent: u64,
    /// Made, and not yet taken by the kernel.
    out: Vec<u8>,
}

impl Sender {
    fn new(tongue: Tongue, id: usize, conn: usize, text_len: usize) -> Self {
        let (head, tail) = tongue.envelope(text_len);
        let digits = head.len() + DIGITS.start..head.len() + DIGITS.end;
        let message = format!("{head}{}{tail}", text_of(id, 0, text_len)).into_bytes();
        Self { conn, message, digits, sent: 0, out: Vec::new() }
    }

    fn make(&mut self, n: u64) {
        for _ in 0..n {
            self.out.extend_from_slice(&self.message);
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

    fn flush(&mut self, conn: &mut Conn) {
        while !self.out.is_empty() || conn.has_unsent() {
            match conn.write(&self.out) {
                Ok(n) => drop(self.out.drain(..n)),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                // The next turn tries again; an error shows as the end of the stream in reading.
                Err(_) => break,
            }
        }
    }
}

/// What the counters say at one moment.
pub struct Reading {
    when: Instant,
    totals: Totals,
    own_cpu: Option<f64>,
    server_cpu: Option<f64>,
}

impl Reading {
    /// Reads them.
    #[must_use]
    pub fn take(room: &Room, server: Option<Process>) -> Self {
        Self {
            when: Instant::now(),
            totals: room.totals,
            own_cpu: own_cpu_seconds(),
            server_cpu: server.and_then(|server| server.cpu_seconds().ok()),
        }
    }

    /// Adds what has happened since.
    #[expect(clippy::cast_precision_loss, reason = "counts of a few seconds, far below 2^52")]
    pub fn compare(&self, before: &Self, figures: &mut Figures) {
        let seconds = (self.when - before.when).as_secs_f64();
        let frames = (self.totals.frames - before.totals.frames) as f64;
        let bytes = (self.totals.bytes - before.totals.bytes) as f64;
        let reads = (self.totals.reads - before.totals.reads).max(1) as f64;
        figures.add("deliveries_per_s", frames / seconds);
        figures.add("megabytes_per_s", bytes / seconds / 1e6);
        figures.add("bytes_per_read", bytes / reads);
        if let Some(cpu) = self.server_cpu.zip(before.server_cpu).map(|(now, then)| now - then) {
            figures.add("server_cpu_percent", cpu / seconds * 100.0);
            figures.add("server_cpu_us_per_delivery", cpu * 1e6 / frames.max(1.0));
        }
        if let Some(cpu) = self.own_cpu.zip(before.own_cpu).map(|(now, then)| now - then) {
            figures.add("generator_cpu_percent", cpu / seconds * 100.0);
        }
        let busy = self.totals.busy.as_secs_f64() - before.totals.busy.as_secs_f64();
        figures.add("generator_busy_percent", busy / seconds * 100.0);
    }

    /// Seconds since an earlier one, and the server's processor time in them.
    #[must_use]
    pub fn since(&self, before: &Self) -> (f64, Option<f64>) {
        let cpu = self.server_cpu.zip(before.server_cpu).map(|(now, then)| now - then);
        ((self.when - before.when).as_secs_f64(), cpu)
    }
}

/// Raises the soft limit of open descriptors to what so many clients need.
pub fn raise_descriptor_limit(clients: u64) -> Result<()> {
    let needed = clients + OTHER_DESCRIPTORS;
    let limit =
        rlimit::increase_nofile_limit(needed).context("cannot raise the descriptor limit")?;
    ensure!(limit >= needed, "{clients} clients need {needed} descriptors, the limit is {limit}");
    Ok(())
}
