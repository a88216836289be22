//! What the picture of a trace says in words.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::boxes::{Bar, ROWS, Share, add_share, sorted};
use super::layout::{Drawn, DrawnLane};
use crate::numbers::{counted, grouped, rounded, shown_duration};
use crate::page::LANES;
use crate::trace::{LaneId, TraceLane};
use crate::wrap::{fit_to, wrap};

/// The most notes that are written out, and the most that are marked.
const NOTES: usize = 8;

/// How many characters have room on the left of the lanes, and in an entry of the legend.
const NAME: usize = 19;

impl Drawn<'_> {
    /// Returns what a reader of the picture has to know, a paragraph each.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if !self.rest.is_empty() {
            let spans = self.rest.iter().map(|lane| lane.spans.len()).sum();
            notes.push(format!(
                "{} with {} are left out: only the first {LANES} lanes are drawn.",
                counted(self.rest.len(), "more lane"),
                counted(spans, "span")
            ));
        }
        let spans = self.lanes.iter().flat_map(|lane| &lane.lane.spans);
        let deep = spans.filter(|span| span.depth >= ROWS).count();
        if deep > 0 {
            notes.push(format!(
                "{} left out: only {ROWS} spans are drawn within one another.",
                counted(deep, "span")
            ));
        }
        if self.has_several() {
            notes.push(format!(
                "A box with a strip stands for several spans, each shorter than {}. Its colour is that \
                 of the name that takes the most time.",
                rounded(self.grain)
            ));
        }
        for note in self.trace.notes.iter().take(NOTES) {
            notes.push(format!("Note at {}: {}", shown_duration(note.at), note.text));
        }
        let more = self.trace.notes.len().saturating_sub(NOTES);
        if more > 0 {
            notes.push(format!("{} not written out here.", counted(more, "more note")));
        }
        notes
    }

    /// Returns the same for readers who do not see it: how long each lane did what.
    pub(super) fn description(&self) -> String {
        let mut text = format!("{}.", rounded(self.to.saturating_sub(self.from)));
        for DrawnLane { lane, .. } in &self.lanes {
            let _ = write!(text, " {}: {}.", self.called(lane), self.shares(lane));
        }
        text
    }

    /// Returns the name and the numbers of a lane.
    pub(super) fn called(&self, lane: &TraceLane) -> String {
        let numbers = self.numbers(lane);
        match &lane.name {
            Some(name) => format!("{name} ({numbers})"),
            None => numbers,
        }
    }

    fn numbers(&self, lane: &TraceLane) -> String {
        let LaneId { process, thread } = lane.id;
        let first = self.trace.lanes.first().map(|lane| lane.id.process);
        if self.trace.lanes.iter().all(|lane| Some(lane.id.process) == first) {
            format!("tid {thread}")
        } else {
            format!("pid {process}, tid {thread}")
        }
    }

    /// Returns the name of a lane in two lines, as there is room for: its numbers are in the second.
    pub(super) fn short_name(&self, lane: &TraceLane) -> (String, String) {
        let mut lines = wrap(lane.name.as_deref().unwrap_or("(no name)"), NAME).into_iter();
        let first = lines.next().unwrap_or_default();
        let rest = lines.collect::<Vec<_>>().join(" ");
        let numbers = self.numbers(lane);
        let second = if rest.is_empty() { numbers } else { format!("{rest} · {numbers}") };
        (first, fit_to(&second, NAME + 2))
    }

    pub(super) fn shares(&self, lane: &TraceLane) -> String {
        let mut shares = BTreeMap::new();
        for span in &lane.spans {
            add_share(&mut shares, span);
        }
        self.shown_shares(&shares)
    }

    /// Returns names with their number and time, such as `read 12 (1.5 s), write 10 (3 ms)`.
    fn shown_shares(&self, shares: &BTreeMap<usize, Share>) -> String {
        /// More would fill the screen.
        const NAMES: usize = 10;
        let mut shown = Vec::new();
        for (name, Share { count, time }) in sorted(shares).into_iter().take(NAMES) {
            shown.push(format!(
                "{} {} ({})",
                self.name(name),
                grouped(count),
                shown_duration(time)
            ));
        }
        if shares.len() > NAMES {
            shown.push(counted(shares.len() - NAMES, "other name"));
        }
        shown.join(", ")
    }

    pub(super) fn label(&self, bar: &Bar) -> String {
        let count = bar.count();
        match bar.spans.keys().next() {
            Some(name) if count == 1 => self.name(*name).to_owned(),
            Some(name) if bar.spans.len() == 1 => {
                format!("{} × {}", grouped(count), self.name(*name))
            }
            _ => counted(count, "span"),
        }
    }

    pub(super) fn title(&self, bar: &Bar) -> String {
        let label = self.label(bar);
        let from = shown_duration(bar.from);
        let took = shown_duration(bar.to.saturating_sub(bar.from));
        if !bar.has_ended {
            format!("{label}: from {from}, still going on after {took}")
        } else if bar.count() == 1 {
            format!("{label}: from {from}, took {took}")
        } else {
            let shares = self.shown_shares(&bar.spans);
            format!("{label}: from {from}, within {took}: {shares}")
        }
    }
}
