//! Counts the messages in one stream of bytes: lost, doubled, out of order, forged.

use std::collections::BTreeSet;

use super::message::MessageFormat;

/// How many faults of each kind there were among the copies for one client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Copies that had not come when counting stopped, although a copy of a later message of the same sender had.
    pub lost: u64,
    /// Copies that came a second time.
    pub twice: u64,
    /// Copies that came after a later message of the same sender.
    pub out_of_order: u64,
    /// Copies of messages that no client had sent.
    pub forged: u64,
    /// Copies that had not come when counting stopped, and no copy of a later message of the same sender had.
    pub pending: u64,
}

impl Faults {
    /// Adds the faults of another client.
    pub fn add(&mut self, other: Self) {
        self.lost += other.lost;
        self.twice += other.twice;
        self.out_of_order += other.out_of_order;
        self.forged += other.forged;
        self.pending += other.pending;
    }
}

/// Counts the messages in one stream of bytes.
#[derive(Clone, Debug)]
pub struct StreamCheck {
    /// For each sender the number of the message that has to come next.
    pub next: Vec<u64>,
    /// The messages that have not come, although a later message of the same sender has. They count as lost unless
    /// they come later, out of order.
    pub skipped: BTreeSet<(usize, u64)>,
    faults: Faults,
    /// A message that no client had sent.
    pub sample: Option<Vec<u8>>,
    /// The beginning of a message whose end has not come.
    pub partial: Vec<u8>,
}

impl StreamCheck {
    /// Begins a check, with the number of the next message for each sender.
    pub fn new(next: Vec<u64>) -> Self {
        let (skipped, faults) = (BTreeSet::new(), Faults::default());
        Self { next, skipped, faults, sample: None, partial: Vec::new() }
    }

    /// Counts a whole message. Returns its sender and its number, if a client has sent it.
    pub fn count(&mut self, message: &[u8], format: &MessageFormat) -> Option<(usize, u64)> {
        let Some((sender, number)) = format.parse(message) else {
            self.faults.forged += 1;
            self.sample.get_or_insert_with(|| message.to_vec());
            return None;
        };
        let next = &mut self.next[sender];
        if number >= *next {
            self.faults.lost += number - *next;
            // Needed to tell a copy that is out of order from a second copy. At most 10,000 for each gap, because
            // memory is limited.
            self.skipped.extend((*next..number).take(10_000).map(|number| (sender, number)));
            *next = number + 1;
        } else if self.skipped.remove(&(sender, number)) {
            self.faults.lost -= 1;
            self.faults.out_of_order += 1;
        } else {
            self.faults.twice += 1;
        }
        Some((sender, number))
    }

    /// Adds received bytes. Calls `delivered` for each whole message.
    pub fn add(
        &mut self,
        data: &[u8],
        format: &MessageFormat,
        mut delivered: impl FnMut(usize, u64),
    ) {
        let mut bytes = std::mem::take(&mut self.partial);
        bytes.extend_from_slice(data);
        let mut rest = &bytes[..];
        while let Some((message, after)) = format.split_first(rest) {
            if let Some((sender, number)) = self.count(message, format) {
                delivered(sender, number);
            }
            rest = after;
        }
        self.partial = rest.to_vec();
    }

    /// Ends the check, and returns the faults. `sent` is the number of messages that each sender has sent.
    pub fn finish(mut self, sent: &[u64]) -> Faults {
        for (next, sent) in self.next.iter().zip(sent) {
            self.faults.pending += sent.saturating_sub(*next);
        }
        self.faults
    }
}
