//! Checks that each client receives each message once and in order, at the cost of comparing bytes.
//!
//! A message is what one client sends. Each client of a chat receives a copy of it; a delivery is the
//! arrival of one copy. Copies are counted here, lost or delivered.
//!
//! All clients of a chat receive the same bytes. So only the bytes of the client that is ahead of all
//! others are parsed, message by message, and kept. The bytes of the other clients are compared with
//! them, which costs very little. A client that receives different bytes is parsed separately from
//! there on.

use std::collections::VecDeque;
use std::time::Instant;

use super::super::figures::Figures;
use super::message::MessageFormat;
use super::schedule::DelayRecorder;
use super::stream_check::{Faults, StreamCheck};

/// A message of the common stream.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Its end in the stream.
    end: u64,
    /// Its sender and its number, if a client has sent it.
    message: Option<(usize, u64)>,
}

impl Entry {
    /// Raises the next number of its sender above the number of this message.
    fn pass(&self, next: &mut [u64]) {
        if let Some((sender, number)) = self.message {
            next[sender] = next[sender].max(number + 1);
        }
    }
}

/// How much one client has received.
#[derive(Debug)]
struct Reader {
    /// How many bytes of the common stream the client has received.
    at: u64,
    /// How many messages the client has received.
    received: u64,
    /// The check of its own stream, if it received other bytes than the other clients.
    own: Option<Box<StreamCheck>>,
    /// Whether the server has disconnected the client.
    is_gone: bool,
}

/// The check of all deliveries of one run.
#[derive(Debug)]
pub struct DeliveryCheck {
    format: MessageFormat,
    readers: Vec<Reader>,
    /// The common stream from `base` on.
    stream: Vec<u8>,
    base: u64,
    /// The end of the last whole message in the stream.
    parsed: u64,
    /// The whole messages in `stream`.
    entries: VecDeque<Entry>,
    /// How many messages of the common stream came before `entries`.
    first: u64,
    /// The number of the next message of each sender at the start of `entries`.
    next: Vec<u64>,
    common: StreamCheck,
    /// Records how late each delivery is, if that is wanted.
    pub delays: Option<DelayRecorder>,
}

/// The result of the check.
#[derive(Debug, Default)]
pub struct DeliveryResult {
    /// The faults of all clients together.
    pub faults: Faults,
    /// How many clients received other bytes than the client that was ahead of all others: the same messages
    /// in another order, or faults.
    pub other_orders: usize,
    /// One of the forged messages, if there are any.
    pub sample: Option<String>,
}

impl DeliveryResult {
    /// Adds the counts to the figures, and a fault for each count that is not zero.
    #[expect(clippy::cast_precision_loss, reason = "counts of copies, far below 2^52")]
    pub fn add_to(&self, figures: &mut Figures) {
        let faults = self.faults;
        let counts = [
            ("lost", faults.lost, ["was lost", "were lost"]),
            ("twice", faults.twice, ["came twice", "came twice"]),
            ("out_of_order", faults.out_of_order, ["came out of order", "came out of order"]),
            ("forged", faults.forged, ["came of a message that no client had sent"; 2]),
        ];
        for (name, count, [one, many]) in counts {
            figures.add(name, count as f64);
            if count > 0 {
                let sample = self.sample.as_ref().filter(|_| name == "forged");
                let sample =
                    sample.map_or_else(String::new, |sample| format!(", such as {sample}"));
                let what = if count == 1 { one } else { many };
                figures.faults.push(format!("{} {what}{sample}", copies(count)));
            }
        }
        figures.add("undelivered", (faults.lost + faults.pending) as f64);
        figures.add("clients_with_another_order", self.other_orders as f64);
    }
}

/// Writes a number of copies: `1 copy`, `20 copies`.
#[must_use]
pub fn copies(count: u64) -> String {
    if count == 1 { "1 copy".to_owned() } else { format!("{count} copies") }
}

/// Twice this number of bytes of the common stream are kept; then the bytes that all clients have are
/// dropped.
const KEPT: usize = 1 << 20;

impl DeliveryCheck {
    /// Begins the check of this number of clients.
    #[must_use]
    pub fn new(readers: usize, format: MessageFormat) -> Self {
        let next = vec![0; format.heads.len()];
        let common = StreamCheck::new(next.clone());
        let reader = |_| Reader { at: 0, received: 0, own: None, is_gone: false };
        Self {
            format,
            readers: (0..readers).map(reader).collect(),
            stream: Vec::with_capacity(2 * KEPT),
            base: 0,
            parsed: 0,
            entries: VecDeque::new(),
            first: 0,
            next,
            common,
            delays: None,
        }
    }

    /// Returns the number of messages that a client has received.
    #[must_use]
    pub fn received_by(&self, reader: usize) -> u64 {
        self.readers[reader].received
    }

    /// Returns how many messages every connected client has received at least; `u64::MAX` if no client is
    /// connected.
    #[must_use]
    pub fn received_by_all(&self) -> u64 {
        let there = self.readers.iter().filter(|reader| !reader.is_gone);
        there.map(|reader| reader.received).min().unwrap_or(u64::MAX)
    }

    /// Stops waiting for a client.
    pub fn leave(&mut self, reader: usize) {
        self.readers[reader].is_gone = true;
    }

    /// Adds the bytes that a client has just received. Returns how many messages they complete.
    pub fn add(&mut self, reader: usize, data: &[u8], now: Instant) -> u64 {
        let before = self.readers[reader].received;
        if self.readers[reader].own.is_none() {
            self.compare(reader, data, now);
        } else {
            self.add_own(reader, data, now);
        }
        if self.stream.len() > 2 * KEPT {
            self.drop_common();
        }
        self.readers[reader].received - before
    }

    fn compare(&mut self, reader: usize, data: &[u8], now: Instant) {
        let at = self.readers[reader].at;
        let known = &self.stream[usize_of(at - self.base)..];
        let (same, ahead) = data.split_at(known.len().min(data.len()));
        if *same != known[..same.len()] {
            self.separate(reader);
            return self.add_own(reader, data, now);
        }
        if !ahead.is_empty() {
            self.stream.extend_from_slice(ahead);
            self.parse_common();
        }
        let reader = &mut self.readers[reader];
        reader.at = at + data.len() as u64;
        let from = usize_of(reader.received - self.first);
        match &mut self.delays {
            None => {
                // Only the count is wanted: a binary search, because a read can bring thousands.
                let end = self.entries.partition_point(|entry| entry.end <= reader.at);
                reader.received = self.first + end as u64;
            }
            Some(delays) => {
                let senders = self.format.heads.len() as u64;
                let news = self.entries.range(from..);
                for entry in news.take_while(|entry| entry.end <= reader.at) {
                    if let Some((sender, number)) = entry.message {
                        delays.record(number * senders + sender as u64, now);
                    }
                    reader.received += 1;
                }
            }
        }
    }

    /// Parses the messages that have become whole at the end of the common stream.
    fn parse_common(&mut self) {
        let mut rest = &self.stream[usize_of(self.parsed - self.base)..];
        while let Some((bytes, after)) = self.format.split_first(rest) {
            self.parsed += bytes.len() as u64;
            let message = self.common.count(bytes, &self.format);
            self.entries.push_back(Entry { end: self.parsed, message });
            rest = after;
        }
    }

    /// Gives a client a check of its own, which begins in the state of the common one at the client's place.
    fn separate(&mut self, reader: usize) {
        let Reader { at, received, .. } = self.readers[reader];
        let mut own = StreamCheck::new(self.next.clone());
        let mut begun = self.base;
        for entry in self.entries.range(..usize_of(received - self.first)) {
            entry.pass(&mut own.next);
            begun = entry.end;
        }
        let partial = usize_of(begun - self.base)..usize_of(at - self.base);
        own.partial = self.stream[partial].to_vec();
        self.readers[reader].own = Some(Box::new(own));
    }

    fn add_own(&mut self, reader: usize, data: &[u8], now: Instant) {
        let senders = self.format.heads.len() as u64;
        let Reader { own: Some(own), received, .. } = &mut self.readers[reader] else { return };
        own.add(data, &self.format, |sender, number| {
            *received += 1;
            if let Some(delays) = &mut self.delays {
                delays.record(number * senders + sender as u64, now);
            }
        });
    }

    /// Drops the bytes of the common stream that all clients have.
    fn drop_common(&mut self) {
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

    /// Ends the check. `sent` is the number of messages that each sender has sent. A copy that has not come is
    /// recorded with the delay that it has now.
    #[must_use]
    pub fn finish(mut self, sent: &[u64], now: Instant) -> (DeliveryResult, Option<DelayRecorder>) {
        let senders = sent.len() as u64;
        let mut result = DeliveryResult::default();
        for nth in 0..self.readers.len() {
            if self.readers[nth].own.is_some() {
                result.other_orders += 1;
            } else if self.readers[nth].at < self.parsed {
                self.separate(nth);
            }
        }
        for reader in self.readers.into_iter().filter(|reader| !reader.is_gone) {
            let own = reader.own.map_or_else(|| self.common.clone(), |own| *own);
            if let Some(delays) = &mut self.delays {
                let pending = own.next.iter().zip(sent).enumerate();
                let pending = pending.flat_map(|(sender, (next, sent))| {
                    (*next..*sent).map(move |number| (sender, number))
                });
                for (sender, number) in pending.chain(own.skipped.iter().copied()) {
                    delays.record_undelivered(number * senders + sender as u64, now);
                }
            }
            if let Some(sample) = &own.sample {
                result.sample.get_or_insert_with(|| sample.escape_ascii().to_string());
            }
            result.faults.add(own.finish(sent));
        }
        (result, self.delays)
    }
}

/// Converts a place in the kept bytes, which are in memory, so that it fits.
fn usize_of(place: u64) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::message::text_of;
    use super::*;

    const LEN: usize = 24;

    fn message(sender: usize, number: u64) -> String {
        format!("{}: {}\0", ["a", "b"][sender], text_of(sender, number, LEN))
    }

    /// Returns the result where two clients receive these messages in pieces of `piece` bytes.
    fn result(got: [&[(usize, u64)]; 2], piece: usize, sent: [u64; 2]) -> DeliveryResult {
        let heads = vec![b"a: ".to_vec(), b"b: ".to_vec()];
        let mut check = DeliveryCheck::new(
            2,
            MessageFormat { heads, text_len: LEN, ending: b"\0", keepalive: b"" },
        );
        let bytes = got.map(|got| got.iter().map(|it| message(it.0, it.1)).collect::<String>());
        let pieces = bytes.iter().map(|bytes| bytes.as_bytes().chunks(piece).collect::<Vec<_>>());
        let pieces: Vec<_> = pieces.collect();
        for nth in 0..pieces[0].len().max(pieces[1].len()) {
            for (client, pieces) in pieces.iter().enumerate() {
                if let Some(piece) = pieces.get(nth) {
                    check.add(client, piece, Instant::now());
                }
            }
        }
        for (client, got) in got.iter().enumerate() {
            assert_eq!(check.received_by(client), got.len() as u64);
        }
        check.finish(&sent, Instant::now()).0
    }

    const RIGHT: &[(usize, u64)] = &[(0, 0), (1, 0), (0, 1), (1, 1), (0, 2)];

    #[test]
    fn the_right_messages_are_right_in_pieces_of_any_size() {
        for piece in 1..100 {
            let result = result([RIGHT, RIGHT], piece, [3, 2]);
            assert_eq!((result.faults, result.other_orders), (Faults::default(), 0), "{piece}");
        }
    }

    #[test]
    fn each_fault_of_one_client_is_counted() {
        let cases: [(&[(usize, u64)], Faults); 4] = [
            (&[(0, 0), (1, 0), (1, 1), (0, 2)], Faults { lost: 1, ..Faults::default() }),
            (
                &[(0, 0), (1, 0), (0, 1), (0, 1), (1, 1), (0, 2)],
                Faults { twice: 1, ..Faults::default() },
            ),
            (
                &[(0, 0), (1, 0), (0, 2), (1, 1), (0, 1)],
                Faults { out_of_order: 1, ..Faults::default() },
            ),
            (&[(0, 0), (1, 0), (0, 1), (1, 1)], Faults { pending: 1, ..Faults::default() }),
        ];
        for (got, faults) in cases {
            for piece in 1..100 {
                assert_eq!(result([RIGHT, got], piece, [3, 2]).faults, faults, "{piece}");
                // It makes no difference which client's stream becomes the common one.
                assert_eq!(result([got, RIGHT], piece, [3, 2]).faults, faults, "{piece}");
            }
        }
    }

    #[test]
    fn a_message_that_no_client_sent_is_forged() {
        let heads = vec![b"a: ".to_vec()];
        let mut check = DeliveryCheck::new(
            1,
            MessageFormat { heads, text_len: LEN, ending: b"\0", keepalive: b"" },
        );
        check.add(0, format!("c: {}\0", text_of(0, 0, LEN)).as_bytes(), Instant::now());
        let (result, _) = check.finish(&[1], Instant::now());
        assert_eq!(result.faults, Faults { forged: 1, pending: 1, ..Faults::default() });
        assert!(result.sample.is_some_and(|sample| sample.starts_with("c: 000 ")));
    }

    #[test]
    fn a_different_order_is_counted() {
        let other = &[(1, 0), (0, 0), (0, 1), (1, 1), (0, 2)];
        let result = result([RIGHT, other], 7, [3, 2]);
        assert_eq!((result.faults, result.other_orders), (Faults::default(), 1));
    }

    #[test]
    fn bytes_that_all_clients_have_are_dropped() {
        let heads = vec![b"a: ".to_vec()];
        let mut check = DeliveryCheck::new(
            2,
            MessageFormat { heads, text_len: LEN, ending: b"\0", keepalive: b"" },
        );
        for number in 0..200_000 {
            let message = format!("a: {}\0", text_of(0, number, LEN));
            let (begin, end) = message.as_bytes().split_at(5);
            for client in 0..2 {
                check.add(client, begin, Instant::now());
                check.add(client, end, Instant::now());
            }
            assert!(check.stream.len() <= 2 * KEPT + LEN * 2);
        }
        assert_eq!(check.received_by_all(), 200_000);
        let (result, _) = check.finish(&[200_000], Instant::now());
        assert_eq!(result.faults, Faults::default());
    }
}
