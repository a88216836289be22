//! Makes the boxes of a lane: one for each span, but one box for several short spans beside each other.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::trace::{TraceLane, TraceSpan};

/// The maximum number of rows of a lane. Deeper spans are only counted.
pub(super) const MAX_ROWS: usize = 12;

/// A span, or several spans that are too short to be drawn separately.
#[derive(Debug)]
pub(super) struct SpanBox {
    pub(super) row: usize,
    pub(super) from: Duration,
    pub(super) to: Duration,
    pub(super) has_ended: bool,
    /// For each name, the number of its spans and the time that they take together.
    pub(super) spans: BTreeMap<usize, Share>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Share {
    pub(super) count: usize,
    pub(super) time: Duration,
}

impl SpanBox {
    fn new(span: &TraceSpan) -> Self {
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

/// Returns the shares, the one with the most time first.
pub(super) fn sorted(shares: &BTreeMap<usize, Share>) -> Vec<(usize, Share)> {
    let mut sorted: Vec<_> = shares.iter().map(|(name, share)| (*name, *share)).collect();
    sorted.sort_by_key(|(_, share)| std::cmp::Reverse((share.time, share.count)));
    sorted
}

/// Returns the boxes of a lane. Spans shorter than `resolution` share a box with other such spans in the same
/// row that are less than `resolution` away.
pub(super) fn boxes(lane: &TraceLane, resolution: Duration) -> Vec<SpanBox> {
    let mut boxes: Vec<SpanBox> = Vec::new();
    // The index of the last box of each row, if it can take another span.
    let mut open = [None; MAX_ROWS];
    for span in lane.spans.iter().filter(|span| span.depth < MAX_ROWS) {
        let is_short = span.has_ended && span.took() < resolution;
        let last = &mut open[span.depth];
        match last.map(|index: usize| &mut boxes[index]) {
            Some(span_box) if is_short && span.from.saturating_sub(span_box.to) < resolution => {
                span_box.add(span);
            }
            _ => {
                *last = is_short.then_some(boxes.len());
                boxes.push(SpanBox::new(span));
            }
        }
    }
    boxes
}
