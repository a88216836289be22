//! The boxes of a lane: spans, of which the shortest are put together.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::trace::{TraceLane, TraceSpan};

/// The most rows of a lane; spans that lie deeper are counted.
pub(super) const ROWS: usize = 12;

/// A span, or several that are too short to be drawn one by one.
#[derive(Debug)]
pub(super) struct Bar {
    pub(super) row: usize,
    pub(super) from: Duration,
    pub(super) to: Duration,
    pub(super) has_ended: bool,
    /// How many spans of which name, and how much time they take together.
    pub(super) spans: BTreeMap<usize, Share>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Share {
    pub(super) count: usize,
    pub(super) time: Duration,
}

impl Bar {
    fn of(span: &TraceSpan) -> Self {
        let TraceSpan { name, from, to, has_ended, depth } = *span;
        let share = Share { count: 1, time: span.took() };
        Self { row: depth, from, to, has_ended, spans: BTreeMap::from([(name, share)]) }
    }

    fn add(&mut self, span: &TraceSpan) {
        self.to = self.to.max(span.to);
        add_share(&mut self.spans, span);
    }

    pub(super) fn count(&self) -> usize {
        self.spans.values().map(|share| share.count).sum()
    }
}

pub(super) fn add_share(shares: &mut BTreeMap<usize, Share>, span: &TraceSpan) {
    let share = shares.entry(span.name).or_default();
    share.count += 1;
    share.time += span.took();
}

/// Returns the shares, the greatest first; of equal ones, the first.
pub(super) fn sorted(shares: &BTreeMap<usize, Share>) -> Vec<(usize, Share)> {
    let mut sorted: Vec<_> = shares.iter().map(|(name, share)| (*name, *share)).collect();
    sorted.sort_by_key(|(_, share)| std::cmp::Reverse((share.time, share.count)));
    sorted
}

/// Returns the boxes of a lane. Spans shorter than `grain` become one box with those around them that
/// are as short, in the same row and less than `grain` away.
pub(super) fn bars(lane: &TraceLane, grain: Duration) -> Vec<Bar> {
    let mut bars: Vec<Bar> = Vec::new();
    // The last box of each row, if it may still grow.
    let mut growing = [None; ROWS];
    for span in lane.spans.iter().filter(|span| span.depth < ROWS) {
        let is_short = span.has_ended && span.took() < grain;
        let last = &mut growing[span.depth];
        match last.map(|place: usize| &mut bars[place]) {
            Some(bar) if is_short && span.from.saturating_sub(bar.to) < grain => bar.add(span),
            _ => {
                *last = is_short.then_some(bars.len());
                bars.push(Bar::of(span));
            }
        }
    }
    bars
}
