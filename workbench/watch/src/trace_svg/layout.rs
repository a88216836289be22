//! Determines the contents of the picture of a trace, and their positions.

use std::time::Duration;

use super::boxes::{SpanBox, boxes};
use super::colours::{NameColour, name_colours};
use crate::page::{BAR_HEIGHT, LANE_HEIGHT, LANES_BEGIN, LANES_END, MAX_LANES};
use crate::trace::{Trace, TraceLane};

/// The width of the picture in pixels, in a window that is wide enough.
pub(super) const WIDTH: usize = 1200;

/// The width of the lanes of such a picture, in pixels.
pub(super) const LANES_WIDTH: f64 = (LANES_END - LANES_BEGIN) / 100.0 * 1200.0;

/// The maximum number of boxes: with more, a browser is slow. If there would be more, spans that are wider
/// than a pixel share boxes, too.
const MAX_BOXES: usize = 12_000;

/// The minimum time that a picture shows: positions are fractions of this time, which must not be zero.
const MIN_TIME: Duration = Duration::from_micros(1);

/// The height of a row of a lane, in pixels.
pub(super) const ROW_HEIGHT: usize = BAR_HEIGHT + 1;

/// The space above the rows of a lane, and below them, in pixels.
pub(super) const PADDING: usize = 6;

/// A lane of the picture.
pub(super) struct DrawnLane<'a> {
    pub(super) lane: &'a TraceLane,
    pub(super) boxes: Vec<SpanBox>,
    /// The distance from the first lane, in pixels.
    pub(super) y: usize,
    /// The height, in pixels.
    pub(super) height: usize,
}

/// The contents of the picture.
pub(super) struct Drawn<'a> {
    pub(super) trace: &'a Trace,
    pub(super) lanes: Vec<DrawnLane<'a>>,
    /// The lanes that are only counted.
    pub(super) rest: &'a [TraceLane],
    pub(super) from: Duration,
    pub(super) to: Duration,
    /// Shorter spans share boxes.
    pub(super) resolution: Duration,
    pub(super) height: usize,
    /// The names that have a colour of their own, in the order in which they occur.
    pub(super) colours: Vec<NameColour>,
    /// For each name of the trace, whether it has a colour of its own.
    pub(super) has_colour: Vec<bool>,
    /// The number of drawn names that have no colour of their own.
    pub(super) without_colour: usize,
    pub(super) has_several_processes: bool,
}

impl<'a> Drawn<'a> {
    pub(super) fn new(trace: &'a Trace) -> Self {
        // Our servers count from zero. Other programs may count from any time.
        let is_far = trace.first > trace.last.saturating_sub(trace.first);
        let from = if is_far { trace.first } else { Duration::ZERO };
        let to = trace.last.max(from.saturating_add(MIN_TIME));
        let (first, rest) = trace.lanes.split_at(trace.lanes.len().min(MAX_LANES));
        let whole = to.saturating_sub(from);
        let mut resolution = whole.div_f64(LANES_WIDTH);
        let all_boxes =
            |resolution| first.iter().map(|lane| boxes(lane, resolution)).collect::<Vec<_>>();
        let mut all = all_boxes(resolution);
        while all.iter().map(Vec::len).sum::<usize>() > MAX_BOXES && resolution < whole {
            resolution = resolution.saturating_mul(2);
            all = all_boxes(resolution);
        }
        let mut lanes = Vec::new();
        let mut y = 0;
        for (lane, boxes) in first.iter().zip(all) {
            let rows = boxes.iter().map(|span_box| span_box.row + 1).max().unwrap_or(1);
            let height = (2 * PADDING + rows * ROW_HEIGHT).max(LANE_HEIGHT);
            lanes.push(DrawnLane { lane, boxes, y, height });
            y += height;
        }
        let names = drawn_names(trace, &lanes);
        let colours = name_colours(trace, &names);
        let mut has_colour = vec![false; trace.names.len()];
        for colour in &colours {
            has_colour[colour.name] = true;
        }
        let has_several_processes =
            trace.lanes.windows(2).any(|pair| pair[0].id.process != pair[1].id.process);
        let without_colour = names.len() - colours.len();
        Self {
            trace,
            lanes,
            rest,
            from,
            to,
            resolution,
            height: y,
            colours,
            has_colour,
            without_colour,
            has_several_processes,
        }
    }

    pub(super) fn name(&self, name: usize) -> &'a str {
        &self.trace.names[name]
    }

    pub(super) fn all_boxes(&self) -> impl Iterator<Item = &SpanBox> {
        self.lanes.iter().flat_map(|lane| &lane.boxes)
    }

    /// Reports whether a box stands for more than one span.
    pub(super) fn has_several(&self) -> bool {
        self.all_boxes().any(|span_box| span_box.count() > 1)
    }
}

/// Returns the names of the drawn spans, in the order in which they occur.
fn drawn_names(trace: &Trace, lanes: &[DrawnLane<'_>]) -> Vec<usize> {
    let mut first: Vec<Option<Duration>> = vec![None; trace.names.len()];
    for span_box in lanes.iter().flat_map(|lane| &lane.boxes) {
        for name in span_box.spans.keys() {
            first[*name] =
                Some(first[*name].map_or(span_box.from, |known| known.min(span_box.from)));
        }
    }
    let mut names: Vec<_> = (0..first.len()).filter(|name| first[*name].is_some()).collect();
    names.sort_by_key(|name| first[*name]);
    names
}
