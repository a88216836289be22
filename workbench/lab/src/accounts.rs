//! Every delivery accounted for, at the price of a comparison of bytes.
//!
//! A message is what one client sends. Each client of a chat gets a copy of it; a delivery is the arrival
//! of one copy. What is counted here, lost or delivered, is copies.
//!
//! All clients of a chat get the same bytes. So whoever is ahead of all others has its bytes looked
//! into, message by message, and kept; what the others get is compared with that, which costs next
//! to nothing. Only a client that gets something else has its own messages looked into from there.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use anyhow::Result;
use memchr::memchr;

use super::figures::Latencies;

/// Ends each text, and is nowhere else in what a server sends.
pub const MARKER: u8 = b'#';

/// The text of a message: who sent it, its number, and as much as makes up the length in bytes.
#[must_use]
pub fn text_of(sender: usize, number: u64, len: usize) -> String {
    let head = format!("{sender:03} {number:09} ");
    format!("{head:x<width$}#", width = len - 1)
}

/// The shortest text that has room for its sender and its number.
pub const MIN_TEXT: usize = 15;

/// Where the number of a message is in its text.
pub const DIGITS: std::ops::Range<usize> = 4..13;

/// When messages are due: one after the other, the senders in turns.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// When the first is due.
    pub start: Instant,
    /// From one to the next.
    pub interval: Duration,
}

impl Schedule {
    /// When that message is due.
    #[must_use]
    pub fn due(&self, nth: u64) -> Instant {
        let nanos = u64::try_from(self.interval.as_nanos()).unwrap_or(u64::MAX);
        self.start + Duration::from_nanos(nanos.saturating_mul(nth))
    }
}

/// How late deliveries are, measured from when they were due and not from when they were sent: a
/// sender that had to wait makes its message late.
#[derive(Debug)]
pub struct Clock {
    schedule: Schedule,
    from: Instant,
    late: Latencies,
}

impl Clock {
    /// A clock for such a schedule. Of copies that never come, it counts those that are due from
    /// `from` on.
    pub fn new(schedule: Schedule, from: Instant) -> Result<Self> {
        Ok(Self { schedule, from, late: Latencies::new()? })
    }

    /// How late they were.
    #[must_use]
    pub fn into_latencies(self) -> Latencies {
        self.late
    }

    fn record(&mut self, nth: u64, now: Instant) {
        self.late.record(now.saturating_duration_since(self.schedule.due(nth)));
    }

    /// Records a missing copy with the delay that it has so far.
    fn record_missing(&mut self, nth: u64, now: Instant) {
        if self.schedule.due(nth) >= self.from {
            self.record(nth, now);
        }
    }
}

/// What a message looks like when it arrives.
#[derive(Debug)]
pub struct Shape {
    /// What stands before the text, for each sender.
    pub heads: Vec<Vec<u8>>,
    /// Bytes of the text.
    pub text_len: usize,
    /// What stands behind it.
    pub tail: &'static [u8],
    /// What a server may say to one client between two messages, and is not looked at.
    pub aside: &'static [u8],
}

impl Shape {
    /// The sender and the number of a whole message.
    fn parse(&self, frame: &[u8]) -> Option<(usize, u64)> {
        let frame = frame.strip_suffix(self.tail)?;
        let is_aside = !self.aside.is_empty() && frame.starts_with(self.aside);
        let frame = if is_aside { &frame[self.aside.len()..] } else { frame };
        let (head, text) = frame.split_at_checked(frame.len().checked_sub(self.text_len)?)?;
        let sender = usize::try_from(number(text.get(..3)?)?).ok()?;
        let number = number(text.get(DIGITS)?)?;
        (self.heads.get(sender)? == head).then_some((sender, number))
    }

    /// Cuts the first whole message off.
    fn cut<'a>(&self, bytes: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        bytes.split_at_checked(memchr(MARKER, bytes)? + 1 + self.tail.len())
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |sum, digit| {
        digit.is_ascii_digit().then(|| sum * 10 + u64::from(digit - b'0'))
    })
}

/// What was wrong with what one client got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wrong {
    /// Copies that never came, although a later message of the same sender did.
    pub lost: u64,
    /// Copies that came again.
    pub twice: u64,
    /// Copies that came after a later message of the same sender.
    pub out_of_order: u64,
    /// Copies of messages that nobody had sent.
    pub forged: u64,
    /// Copies that had not arrived when counting stopped, with no later copy from the same sender either.
    pub late: u64,
}

impl Wrong {
    fn add(&mut self, other: Self) {
        self.lost += other.lost;
        self.twice += other.twice;
        self.out_of_order += other.out_of_order;
        self.forged += other.forged;
        self.late += other.late;
    }
}

/// The messages of one stream of bytes, counted.
#[derive(Clone, Debug)]
struct Ledger {
    /// For each sender the number that has to come next.
    next: Vec<u64>,
    /// What was skipped and may still come.
    missing: BTreeSet<(usize, u64)>,
    wrong: Wrong,
    sample: Option<Vec<u8>>,
    half: Vec<u8>,
}

impl Ledger {
    fn new(next: Vec<u64>) -> Self {
        let (missing, wrong) = (BTreeSet::new(), Wrong::default());
        Self { next, missing, wrong, sample: None, half: Vec::new() }
    }

    /// Enters a whole message. Gives its sender and number if somebody has sent it.
    fn enter(&mut self, frame: &[u8], shape: &Shape) -> Option<(usize, u64)> {
        let Some((sender, number)) = shape.parse(frame) else {
            self.wrong.forged += 1;
            self.sample.get_or_insert_with(|| frame.to_vec());
            return None;
        };
        let next = &mut self.next[sender];
        if number >= *next {
            self.wrong.lost += number - *next;
            // Enough to tell what comes late from what comes twice; not without bound.
            self.missing.extend((*next..number).take(10_000).map(|number| (sender, number)));
            *next = number + 1;
        } else if self.missing.remove(&(sender, number)) {
            self.wrong.lost -= 1;
            self.wrong.out_of_order += 1;
        } else {
            self.wrong.twice += 1;
        }
        Some((sender, number))
    }

    fn feed(&mut self, data: &[u8], shape: &Shape, mut delivered: impl FnMut(usize, u64)) {
        let mut bytes = std::mem::take(&mut self.half);
        bytes.extend_from_slice(data);
        let mut rest = &bytes[..];
        while let Some((frame, behind)) = shape.cut(rest) {
            if let Some((sender, number)) = self.enter(frame, shape) {
                delivered(sender, number);
            }
            rest = behind;
        }
        self.half = rest.to_vec();
    }

    /// What was wrong when each sender had sent so many.
    fn close(mut self, sent: &[u64]) -> Wrong {
        for (next, sent) in self.next.iter().zip(sent) {
            self.wrong.late += sent.saturating_sub(*next);
        }
        self.wrong
    }
}

/// A message of the common stream.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Where it ends in the stream.
    end: u64,
    /// Its sender and number, if somebody has sent it.
    message: Option<(usize, u64)>,
}

impl Entry {
    /// Counts it among those that have come.
    fn pass(&self, next: &mut [u64]) {
        if let Some((sender, number)) = self.message {
            next[sender] = next[sender].max(number + 1);
        }
    }
}

/// How far a client is.
#[derive(Debug)]
struct Reader {
    /// Bytes of the common stream that it has.
    at: u64,
    /// Messages that it has.
    received: u64,
    /// Its own ledger, if it got something else than the others.
    own: Option<Box<Ledger>>,
    is_gone: bool,
}

/// The accounts of one run.
#[derive(Debug)]
pub struct Accounts {
    shape: Shape,
    readers: Vec<Reader>,
    /// The common stream from `base` on.
    stream: Vec<u8>,
    base: u64,
    /// Where the first message ends whose end has not come.
    parsed: u64,
    /// The messages in it, from the `first`th on.
    entries: VecDeque<Entry>,
    first: u64,
    /// For each sender the number that came next where the first message begins.
    next: Vec<u64>,
    ledger: Ledger,
    /// How late each delivery is, if somebody wants to know.
    pub clock: Option<Clock>,
}

/// What the accounts say at the end.
#[derive(Debug, Default)]
pub struct Balance {
    /// Summed up over all clients.
    pub wrong: Wrong,
    /// Clients that saw the messages in another order than the first one did.
    pub other_orders: usize,
    /// Something that nobody had sent.
    pub sample: Option<String>,
}

/// The stream is cut when more than this has been read by all.
const KEPT: usize = 1 << 20;

impl Accounts {
    /// Opens the accounts of so many clients.
    #[must_use]
    pub fn new(readers: usize, shape: Shape) -> Self {
        let next = vec![0; shape.heads.len()];
        let ledger = Ledger::new(next.clone());
        let reader = |_| Reader { at: 0, received: 0, own: None, is_gone: false };
        Self {
            shape,
            readers: (0..readers).map(reader).collect(),
            stream: Vec::with_capacity(2 * KEPT),
            base: 0,
            parsed: 0,
            entries: VecDeque::new(),
            first: 0,
            next,
            ledger,
            clock: None,
        }
    }

    /// Messages that a client has received.
    #[must_use]
    pub fn received(&self, reader: usize) -> u64 {
        self.readers[reader].received
    }

    /// What every client that is still there has received at least.
    #[must_use]
    pub fn least(&self) -> u64 {
        let there = self.readers.iter().filter(|reader| !reader.is_gone);
        there.map(|reader| reader.received).min().unwrap_or(u64::MAX)
    }

    /// A client is not waited for any more.
    pub fn leave(&mut self, reader: usize) {
        self.readers[reader].is_gone = true;
    }

    /// Enters what a client has just read. Gives how many messages are complete by it.
    pub fn feed(&mut self, reader: usize, data: &[u8], now: Instant) -> u64 {
        let before = self.readers[reader].received;
        if self.readers[reader].own.is_none() {
            self.compare(reader, data, now);
        } else {
            self.feed_own(reader, data, now);
        }
        if self.stream.len() > 2 * KEPT {
            self.forget();
        }
        self.readers[reader].received - before
    }

    fn compare(&mut self, reader: usize, data: &[u8], now: Instant) {
        let at = self.readers[reader].at;
        let known = &self.stream[usize_of(at - self.base)..];
        let (same, ahead) = data.split_at(known.len().min(data.len()));
        if *same != known[..same.len()] {
            self.part(reader);
            return self.feed_own(reader, data, now);
        }
        if !ahead.is_empty() {
            self.stream.extend_from_slice(ahead);
            self.look_into();
        }
        let reader = &mut self.readers[reader];
        reader.at = at + data.len() as u64;
        let from = usize_of(reader.received - self.first);
        match &mut self.clock {
            None => {
                // Only how many: by halving, as a read can bring thousands.
                let end = self.entries.partition_point(|entry| entry.end <= reader.at);
                reader.received = self.first + end as u64;
            }
            Some(clock) => {
                let senders = self.shape.heads.len() as u64;
                let news = self.entries.range(from..);
                for entry in news.take_while(|entry| entry.end <= reader.at) {
                    if let Some((sender, number)) = entry.message {
                        clock.record(number * senders + sender as u64, now);
                    }
                    reader.received += 1;
                }
            }
        }
    }

    /// Looks into the messages that have become whole at the end of the stream.
    fn look_into(&mut self) {
        let mut rest = &self.stream[usize_of(self.parsed - self.base)..];
        while let Some((frame, behind)) = self.shape.cut(rest) {
            self.parsed += frame.len() as u64;
            let message = self.ledger.enter(frame, &self.shape);
            self.entries.push_back(Entry { end: self.parsed, message });
            rest = behind;
        }
    }

    /// Gives a client a ledger of its own, as the common one was where the client is.
    fn part(&mut self, reader: usize) {
        let Reader { at, received, .. } = self.readers[reader];
        let mut ledger = Ledger::new(self.next.clone());
        let mut begun = self.base;
        for entry in self.entries.range(..usize_of(received - self.first)) {
            entry.pass(&mut ledger.next);
            begun = entry.end;
        }
        let half = usize_of(begun - self.base)..usize_of(at - self.base);
        ledger.half = self.stream[half].to_vec();
        self.readers[reader].own = Some(Box::new(ledger));
    }

    fn feed_own(&mut self, reader: usize, data: &[u8], now: Instant) {
        let senders = self.shape.heads.len() as u64;
        let Reader { own: Some(ledger), received, .. } = &mut self.readers[reader] else { return };
        ledger.feed(data, &self.shape, |sender, number| {
            *received += 1;
            if let Some(clock) = &mut self.clock {
                clock.record(number * senders + sender as u64, now);
            }
        });
    }

    /// Forgets what all clients have.
    fn forget(&mut self) {
        let common = self.readers.iter().filter(|reader| reader.own.is_none() && !reader.is_gone);
        let Some(least) = common.map(|reader| reader.received).min() else { return };
        let gone = usize_of(least - self.first);
        let mut base = self.base;
        for entry in self.entries.drain(..gone) {
            entry.pass(&mut self.next);
            base = entry.end;
        }
        self.first += gone as u64;
        self.stream.drain(..usize_of(base - self.base));
        self.base = base;
    }

    /// Closes the accounts when each sender has sent so many. For the clock, what has not come until
    /// now is as late as it is now.
    #[must_use]
    pub fn close(mut self, sent: &[u64], now: Instant) -> (Balance, Option<Clock>) {
        let senders = sent.len() as u64;
        let mut balance = Balance::default();
        for nth in 0..self.readers.len() {
            if self.readers[nth].own.is_some() {
                balance.other_orders += 1;
            } else if self.readers[nth].at < self.parsed {
                self.part(nth);
            }
        }
        for reader in self.readers.into_iter().filter(|reader| !reader.is_gone) {
            let ledger = reader.own.map_or_else(|| self.ledger.clone(), |own| *own);
            if let Some(clock) = &mut self.clock {
                let late = ledger.next.iter().zip(sent).enumerate();
                let late = late.flat_map(|(sender, (next, sent))| {
                    (*next..*sent).map(move |number| (sender, number))
                });
                for (sender, number) in late.chain(ledger.missing.iter().copied()) {
                    clock.record_missing(number * senders + sender as u64, now);
                }
            }
            if let Some(sample) = &ledger.sample {
                balance.sample.get_or_insert_with(|| sample.escape_ascii().to_string());
            }
            balance.wrong.add(ledger.close(sent));
        }
        (balance, self.clock)
    }
}

/// A place in what is kept, which is in memory and so fits.
fn usize_of(place: u64) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: usize = 24;

    fn message(sender: usize, number: u64) -> String {
        format!("{}: {}\0", ["a", "b"][sender], text_of(sender, number, LEN))
    }

    /// What two clients of two senders get, in pieces of so many bytes, and what each has sent.
    fn balance(got: [&[(usize, u64)]; 2], piece: usize, sent: [u64; 2]) -> Balance {
        let heads = vec![b"a: ".to_vec(), b"b: ".to_vec()];
        let mut accounts =
            Accounts::new(2, Shape { heads, text_len: LEN, tail: b"\0", aside: b"" });
        let bytes = got.map(|got| got.iter().map(|it| message(it.0, it.1)).collect::<String>());
        let pieces = bytes.iter().map(|bytes| bytes.as_bytes().chunks(piece).collect::<Vec<_>>());
        let pieces: Vec<_> = pieces.collect();
        for nth in 0..pieces[0].len().max(pieces[1].len()) {
            for (client, pieces) in pieces.iter().enumerate() {
                if let Some(piece) = pieces.get(nth) {
                    accounts.feed(client, piece, Instant::now());
                }
            }
        }
        for (client, got) in got.iter().enumerate() {
            assert_eq!(accounts.received(client), got.len() as u64);
        }
        accounts.close(&sent, Instant::now()).0
    }

    const RIGHT: &[(usize, u64)] = &[(0, 0), (1, 0), (0, 1), (1, 1), (0, 2)];

    #[test]
    fn what_is_right_in_any_pieces_is_right() {
        for piece in 1..100 {
            let balance = balance([RIGHT, RIGHT], piece, [3, 2]);
            assert_eq!((balance.wrong, balance.other_orders), (Wrong::default(), 0), "{piece}");
        }
    }

    #[test]
    fn each_fault_of_one_client_is_counted_as_what_it_is() {
        let cases: [(&[(usize, u64)], Wrong); 4] = [
            (&[(0, 0), (1, 0), (1, 1), (0, 2)], Wrong { lost: 1, ..Wrong::default() }),
            (
                &[(0, 0), (1, 0), (0, 1), (0, 1), (1, 1), (0, 2)],
                Wrong { twice: 1, ..Wrong::default() },
            ),
            (
                &[(0, 0), (1, 0), (0, 2), (1, 1), (0, 1)],
                Wrong { out_of_order: 1, ..Wrong::default() },
            ),
            (&[(0, 0), (1, 0), (0, 1), (1, 1)], Wrong { late: 1, ..Wrong::default() }),
        ];
        for (got, wrong) in cases {
            for piece in 1..100 {
                assert_eq!(balance([RIGHT, got], piece, [3, 2]).wrong, wrong, "{piece}");
                // Whose stream is taken as the common one makes no difference.
                assert_eq!(balance([got, RIGHT], piece, [3, 2]).wrong, wrong, "{piece}");
            }
        }
    }

    #[test]
    fn what_nobody_sent_is_forged() {
        let heads = vec![b"a: ".to_vec()];
        let mut accounts =
            Accounts::new(1, Shape { heads, text_len: LEN, tail: b"\0", aside: b"" });
        accounts.feed(0, format!("c: {}\0", text_of(0, 0, LEN)).as_bytes(), Instant::now());
        let (balance, _) = accounts.close(&[1], Instant::now());
        assert_eq!(balance.wrong, Wrong { forged: 1, late: 1, ..Wrong::default() });
        assert!(balance.sample.is_some_and(|sample| sample.starts_with("c: 000 ")));
    }

    #[test]
    fn two_orders_are_seen() {
        let other = &[(1, 0), (0, 0), (0, 1), (1, 1), (0, 2)];
        let balance = balance([RIGHT, other], 7, [3, 2]);
        assert_eq!((balance.wrong, balance.other_orders), (Wrong::default(), 1));
    }

    #[test]
    fn what_all_have_is_forgotten() {
        let heads = vec![b"a: ".to_vec()];
        let mut accounts =
            Accounts::new(2, Shape { heads, text_len: LEN, tail: b"\0", aside: b"" });
        for number in 0..200_000 {
            let message = format!("a: {}\0", text_of(0, number, LEN));
            let (begin, end) = message.as_bytes().split_at(5);
            for client in 0..2 {
                accounts.feed(client, begin, Instant::now());
                accounts.feed(client, end, Instant::now());
            }
            assert!(accounts.stream.len() <= 2 * KEPT + LEN * 2);
        }
        assert_eq!(accounts.least(), 200_000);
        let (balance, _) = accounts.close(&[200_000], Instant::now());
        assert_eq!(balance.wrong, Wrong::default());
    }
}
