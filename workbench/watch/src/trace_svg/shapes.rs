//! Draws the boxes and marks of a trace, with their colours.

use std::fmt::Write as _;
use std::time::Duration;

use super::boxes::{Bar, sorted};
use super::colours::{Look, REST, REST_CLASS};
use super::layout::{BARS, Drawn, DrawnLane, PADDING, ROW};
use crate::numbers::{counted, shown_duration};
use crate::page::{BAR, Colour, Entry, MARGIN, axis};
use crate::trace::TraceNote;
use crate::wrap::fit_to;
use probe::markup::escape;

/// A pixel in percent of the width of the bars.
const PIXEL: f64 = 100.0 / BARS;

/// The width of the narrowest box, in pixels.
const NARROWEST: f64 = 1.5;

/// Where the strip is in a box that stands for several spans, and how high.
const STRIP: usize = 3;

const STRIP_Y: usize = BAR - STRIP;

const MARKS: usize = 200;

const ENTRY: usize = 18;

/// How wide a letter on a box is, in pixels, and how much is left beside a text.
const LETTER: f64 = 6.7;

const BESIDE: f64 = 8.0;

impl Drawn<'_> {
    /// Returns the class of a name, for the style.
    fn class(&self, name: usize) -> String {
        if self.has_look[name] { format!("n{name}") } else { REST_CLASS.to_owned() }
    }

    pub(super) fn colours(&self) -> Vec<Colour> {
        let mut colours = Vec::new();
        for Look { name, fill, ink } in &self.looks {
            colours.push(Colour { class: self.class(*name), fill, ink });
        }
        let (fill, ink) = REST;
        colours.push(Colour { class: REST_CLASS.to_owned(), fill, ink });
        colours
    }

    pub(super) fn legend(&self) -> Vec<Entry> {
        let filled =
            |class: &str| format!("<rect class=\"{class}\" width=\"20\" height=\"{BAR}\"/>");
        let mut entries = Vec::new();
        for look in &self.looks {
            let name = fit_to(self.name(look.name), ENTRY);
            entries.push(Entry { swatch: filled(&self.class(look.name)), name });
        }
        if self.without_look > 0 {
            let name = counted(self.without_look, "other name");
            entries.push(Entry { swatch: filled(REST_CLASS), name });
        }
        if self.has_several() {
            let strip =
                format!("<rect class=\"strip\" y=\"{STRIP_Y}\" width=\"20\" height=\"{STRIP}\"/>");
            entries
                .push(Entry { swatch: filled("free") + &strip, name: "several spans".to_owned() });
        }
        if self.all_bars().any(|bar| !bar.has_ended) {
            let swatch = format!(
                "<rect class=\"free\" width=\"11\" height=\"{BAR}\"/>{}",
                open_end("11", 0)
            );
            entries.push(Entry { swatch, name: "has not ended".to_owned() });
        }
        if !self.trace.notes.is_empty() {
            let swatch = format!("<line class=\"mark\" x1=\"10\" x2=\"10\" y2=\"{BAR}\"/>");
            entries.push(Entry { swatch, name: "note".to_owned() });
        }
        entries
    }

    pub(super) fn names(&self) -> String {
        let mut text = String::new();
        for DrawnLane { lane, y, .. } in &self.lanes {
            let title = escape(&format!("{}: {}", self.called(lane), self.shares(lane)));
            let (first, second) = self.short_name(lane);
            let _ = writeln!(
                text,
                "<g><title>{title}</title>\
                 <text class=\"name\" x=\"{MARGIN}\" y=\"{}\">{}</text>\
                 <text class=\"id\" x=\"{MARGIN}\" y=\"{}\">{}</text></g>",
                y + 14,
                escape(&first),
                y + 26,
                escape(&second)
            );
        }
        text
    }

    pub(super) fn bars(&self) -> String {
        let mut text = axis(self.from, self.to, self.height);
        for DrawnLane { bars, y, .. } in &self.lanes {
            if *y > 0 {
                let _ = writeln!(text, "<line class=\"grid\" x2=\"100%\" y1=\"{y}\" y2=\"{y}\"/>");
            }
            // The narrow ones come last, or else their neighbours would cover them.
            let (narrow, wide): (Vec<_>, Vec<_>) = bars.iter().partition(|bar| self.is_narrow(bar));
            for bar in wide.into_iter().chain(narrow) {
                text += &self.bar(bar, y + PADDING + bar.row * ROW);
            }
        }
        for note in self.trace.notes.iter().take(MARKS) {
            text += &self.mark(note);
        }
        text
    }

    /// Returns where a moment is, in percent of the width.
    fn x(&self, at: Duration) -> f64 {
        let whole = self.to.saturating_sub(self.from).as_secs_f64();
        100.0 * at.saturating_sub(self.from).as_secs_f64() / whole
    }

    /// Whether a box is too narrow for an edge around it.
    fn is_narrow(&self, bar: &Bar) -> bool {
        const LEAST_WIDTH: f64 = 5.0;
        self.x(bar.to) - self.x(bar.from) < LEAST_WIDTH * PIXEL
    }

    fn bar(&self, bar: &Bar, y: usize) -> String {
        let x = self.x(bar.from).min(100.0 - NARROWEST * PIXEL);
        let width = self.x(bar.to) - x;
        // In pixels, so that it can be seen where the window is narrow, too.
        let shown_width =
            if width < NARROWEST * PIXEL { NARROWEST.to_string() } else { format!("{width:.3}%") };
        let shares = sorted(&bar.spans);
        let class = shares.first().map_or_else(String::new, |(name, _)| self.class(*name));
        let edge = if self.is_narrow(bar) { "" } else { " box" };
        let title = escape(&self.title(bar));
        // A picture within the picture, so that a label does not stick out where the window is narrow.
        let mut text = format!(
            "<svg x=\"{x:.3}%\" y=\"{y}\" width=\"{shown_width}\" height=\"{BAR}\"><title>{title}</title>\
             <rect class=\"{class}{edge}\" width=\"100%\" height=\"100%\"/>"
        );
        if bar.count() > 1 {
            let _ = write!(
                text,
                "<rect class=\"strip\" y=\"{STRIP_Y}\" width=\"100%\" height=\"{STRIP}\"/>"
            );
        }
        let label = self.label(bar);
        let letters = f64::from(u32::try_from(label.chars().count()).unwrap_or(u32::MAX));
        if LETTER * letters + BESIDE <= width / PIXEL {
            let label = escape(&label);
            let _ =
                write!(text, "<text class=\"letter on-{class}\" x=\"4\" y=\"12\">{label}</text>");
        }
        text += "</svg>\n";
        if !bar.has_ended {
            text += &open_end("100%", y);
            text.push('\n');
        }
        text
    }

    /// Returns the mark of a note: in its lane, or across all lanes if it is about none of them.
    fn mark(&self, note: &TraceNote) -> String {
        let lane = self.lanes.iter().find(|lane| lane.lane.id == note.lane);
        let (top, bottom) = lane.map_or((0, self.height), |lane| (lane.y, lane.y + lane.height));
        let x = self.x(note.at);
        let title = escape(&format!("{} (a note at {})", note.text, shown_duration(note.at)));
        format!(
            "<line class=\"mark\" x1=\"{x:.3}%\" x2=\"{x:.3}%\" y1=\"{top}\" y2=\"{bottom}\">\
             <title>{title}</title></line>\n"
        )
    }
}

/// Returns what shows that a span goes on: its edges, dashed, beyond its right end at `x`.
fn open_end(x: &str, y: usize) -> String {
    let low = BAR - 1;
    format!(
        "<svg class=\"open\" x=\"{x}\" y=\"{y}\" width=\"10\" height=\"{BAR}\">\
         <path d=\"M0 1H9M0 {low}H9\"/></svg>"
    )
}
