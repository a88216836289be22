//! What the picture of a trace holds, and where.

use std::time::Duration;

use super::boxes::{Bar, bars};
use super::colours::{Look, looks};
use crate::page::{BAR, LANE, LANES};
use crate::trace::{Trace, TraceLane};

pub(super) const BARS: f64 = 0.8 * 1200.0;

/// The most boxes that are drawn: a browser is slow with more. If there are more, spans are put
/// together that are wider than a pixel.
const BOXES: usize = 12_000;

/// The least time of a picture, so that each moment has a place in it.
const LEAST: Duration = Duration::from_micros(1);

/// How far the rows of a lane are apart, and how much is left above and below them.
pub(super) const ROW: usize = BAR + 1;

pub(super) const PADDING: usize = 6;

/// A lane of the picture.
pub(super) struct DrawnLane<'a> {
    pub(super) lane: &'a TraceLane,
    pub(super) bars: Vec<Bar>,
    /// Its distance from the first lane, and its height, in pixels.
    pub(super) y: usize,
    pub(super) height: usize,
}

/// What the picture holds.
pub(super) struct Drawn<'a> {
    pub(super) trace: &'a Trace,
    pub(super) lanes: Vec<DrawnLane<'a>>,
    /// The lanes that have no room.
    pub(super) rest: &'a [TraceLane],
    pub(super) from: Duration,
    pub(super) to: Duration,
    /// Spans that are shorter are put together.
    pub(super) grain: Duration,
    pub(super) height: usize,
    /// The names that have a colour of their own, in the order in which they come.
    pub(super) looks: Vec<Look>,
    /// Whether a name has one, by its place among the names of the trace.
    pub(super) has_look: Vec<bool>,
    /// How many names are drawn that have none.
    pub(super) without_look: usize,
}

impl<'a> Drawn<'a> {
    pub(super) fn of(trace: &'a Trace) -> Self {
        // A trace begins at zero. One that another program has made may count from any time.
        let is_far = trace.first > trace.last.saturating_sub(trace.first);
        let from = if is_far { trace.first } else { Duration::ZERO };
        let to = trace.last.max(from.saturating_add(LEAST));
        let (first, rest) = trace.lanes.split_at(trace.lanes.len().min(LANES));
        let whole = to.saturating_sub(from);
        let mut grain = whole.div_f64(BARS);
        let all_bars = |grain| first.iter().map(|lane| bars(lane, grain)).collect::<Vec<_>>();
        let mut all = all_bars(grain);
        while all.iter().map(Vec::len).sum::<usize>() > BOXES && grain < whole {
            grain = grain.saturating_mul(2);
            all = all_bars(grain);
        }
        let mut lanes = Vec::new();
        let mut y = 0;
        for (lane, bars) in first.iter().zip(all) {
            let rows = bars.iter().map(|bar| bar.row + 1).max().unwrap_or(1);
            let height = (2 * PADDING + rows * ROW).max(LANE);
            lanes.push(DrawnLane { lane, bars, y, height });
            y += height;
        }
        let names = drawn_names(trace, &lanes);
        let looks = looks(trace, &names);
        let mut has_look = vec![false; trace.names.len()];
        for look in &looks {
            has_look[look.name] = true;
        }
        let without_look = names.len() - looks.len();
        Self { trace, lanes, rest, from, to, grain, height: y, looks, has_look, without_look }
    }

    pub(super) fn name(&self, name: usize) -> &'a str {
        &self.trace.names[name]
    }

    pub(super) fn all_bars(&self) -> impl Iterator<Item = &Bar> {
        self.lanes.iter().flat_map(|lane| &lane.bars)
    }

    /// Whether a box stands for more than one span.
    pub(super) fn has_several(&self) -> bool {
        self.all_bars().any(|bar| bar.count() > 1)
    }
}

/// Returns the names of the spans that are drawn, in the order in which they come.
fn drawn_names(trace: &Trace, lanes: &[DrawnLane<'_>]) -> Vec<usize> {
    let mut first: Vec<Option<Duration>> = vec![None; trace.names.len()];
    for bar in lanes.iter().flat_map(|lane| &lane.bars) {
        for name in bar.spans.keys() {
            first[*name] = Some(first[*name].map_or(bar.from, |known| known.min(bar.from)));
        }
    }
    let mut names: Vec<_> = (0..first.len()).filter(|name| first[*name].is_some()).collect();
    names.sort_by_key(|name| first[*name]);
    names
}
