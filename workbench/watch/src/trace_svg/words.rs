//! Writes the notes, names and titles of the picture of a trace.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::boxes::{MAX_ROWS, Share, SpanBox, add_share, sorted};
use super::layout::{Drawn, DrawnLane};
use crate::numbers::{counted, grouped, rounded, shown_duration};
use crate::page::MAX_LANES;
use crate::trace::{LaneId, TraceLane};
use crate::wrap::{truncate, wrap};

/// The maximum number of notes that are written out.
const MAX_NOTES: usize = 8;

/// The width of a name on the left of the lanes, in characters.
const NAME: usize = 19;

impl Drawn<'_> {
    /// Returns the notes that a reader of the picture needs.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if !self.rest.is_empty() {
            let spans = self.rest.iter().map(|lane| lane.spans.len()).sum();
            notes.push(format!(
                "{} left out, with {}: only the first {MAX_LANES} lanes are drawn.",
                counted(self.rest.len(), "more lane"),
                counted(spans, "span")
            ));
        }
        let spans = self.lanes.iter().flat_map(|lane| &lane.lane.spans);
        let deep = spans.filter(|span| span.depth >= MAX_ROWS).count();
        if deep > 0 {
            notes.push(format!(
                "{} left out: only {MAX_ROWS} levels of spans inside spans are drawn.",
                counted(deep, "span")
            ));
        }
        if self.has_several() {
            notes.push(format!(
                "A box with a strip stands for several spans, each shorter than {}. It has the colour of \
                 the name that takes the most time.",
                rounded(self.resolution)
            ));
        }
        for note in self.trace.notes.iter().take(MAX_NOTES) {
            notes.push(format!("Note at {}: {}", shown_duration(note.at), note.text));
        }
        let more = self.trace.notes.len().saturating_sub(MAX_NOTES);
        if more > 0 {
            notes.push(format!("{} not written out here.", counted(more, "more note")));
        }
        let unmarked = self.trace.notes.len() - self.marked_notes().count();
        if unmarked > 0 {
            notes.push(format!("{} not marked by a line.", counted(unmarked, "note")));
        }
        notes
    }

    /// Returns a description for readers who cannot see the picture: the number and the time of each lane's spans.
    pub(super) fn description(&self) -> String {
        let mut text = format!("{}.", rounded(self.to.saturating_sub(self.from)));
        for DrawnLane { lane, .. } in &self.lanes {
            let _ = write!(text, " {}: {}.", self.full_name(lane), self.shares(lane));
        }
        text
    }

    /// Returns the name and the numbers of a lane.
    pub(super) fn full_name(&self, lane: &TraceLane) -> String {
        let numbers = self.numbers(lane);
        match &lane.name {
            Some(name) => format!("{name} ({numbers})"),
            None => numbers,
        }
    }

    /// Returns the number of a lane's thread, and of its process if there are several.
    fn numbers(&self, lane: &TraceLane) -> String {
        let LaneId { process, thread } = lane.id;
        if self.has_several_processes {
            format!("pid {process}, tid {thread}")
        } else {
            format!("tid {thread}")
        }
    }

    /// Returns the name and the numbers of a lane in two lines.
    pub(super) fn short_name(&self, lane: &TraceLane) -> (String, String) {
        let mut lines = wrap(lane.name.as_deref().unwrap_or("(no name)"), NAME).into_iter();
        let first = lines.next().unwrap_or_default();
        let rest = lines.collect::<Vec<_>>().join(" ");
        let numbers = self.numbers(lane);
        let second = if rest.is_empty() { numbers } else { format!("{rest} · {numbers}") };
        (first, truncate(&second, NAME + 2))
    }

    /// Returns the names of a lane's spans, with their numbers and times.
    pub(super) fn shares(&self, lane: &TraceLane) -> String {
        let mut shares = BTreeMap::new();
        for span in &lane.spans {
            add_share(&mut shares, span);
        }
        self.shown_shares(&shares)
    }

    /// Returns names with the number and the time of their spans, such as `read 12 (1.5 s), write 10 (3 ms)`.
    fn shown_shares(&self, shares: &BTreeMap<usize, Share>) -> String {
        /// With more names, a title would fill the screen.
        const MAX_NAMES: usize = 10;
        let mut shown = Vec::new();
        for (name, Share { count, time }) in sorted(shares).into_iter().take(MAX_NAMES) {
            shown.push(format!(
                "{} {} ({})",
                self.name(name),
                grouped(count),
                shown_duration(time)
            ));
        }
        if shares.len() > MAX_NAMES {
            shown.push(counted(shares.len() - MAX_NAMES, "other name"));
        }
        shown.join(", ")
    }

    /// Returns the text on a box.
    pub(super) fn label(&self, span_box: &SpanBox) -> String {
        let count = span_box.count();
        match span_box.spans.keys().next() {
            Some(name) if count == 1 => self.name(*name).to_owned(),
            Some(name) if span_box.spans.len() == 1 => {
                format!("{} × {}", grouped(count), self.name(*name))
            }
            _ => counted(count, "span"),
        }
    }

    /// Returns the text that is shown when the mouse pointer is on a box.
    pub(super) fn title(&self, span_box: &SpanBox) -> String {
        let label = self.label(span_box);
        let from = shown_duration(span_box.from);
        let took = shown_duration(span_box.to.saturating_sub(span_box.from));
        if !span_box.has_ended {
            format!("{label}: from {from}, still going on after {took}")
        } else if span_box.count() == 1 {
            format!("{label}: from {from}, took {took}")
        } else {
            let shares = self.shown_shares(&span_box.spans);
            format!("{label}: from {from}, within {took}: {shares}")
        }
    }
}
