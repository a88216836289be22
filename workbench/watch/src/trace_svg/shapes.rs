//! Draws the names, boxes and notes of a trace as SVG, with their colours and the legend.

use std::fmt::Write as _;
use std::time::Duration;

use super::boxes::{SpanBox, sorted};
use super::colours::{NameColour, REST, REST_CLASS};
use super::layout::{Drawn, DrawnLane, LANES_WIDTH, PADDING, ROW_HEIGHT};
use crate::numbers::{counted, shown_duration};
use crate::page::{BAR_HEIGHT, Colour, Entry, MARGIN, axis};
use crate::trace::TraceNote;
use crate::wrap::truncate;
use probe::markup::escape;

/// The width of a pixel, in percent of the width of the lanes.
const PIXEL: f64 = 100.0 / LANES_WIDTH;

/// The minimum width of a box, in pixels.
const MIN_WIDTH: f64 = 1.5;

/// The height of the strip in a box that stands for several spans, in pixels.
const STRIP: usize = 3;

/// The position of the strip in its box.
const STRIP_Y: usize = BAR_HEIGHT - STRIP;

/// The maximum number of notes that are marked.
const MAX_MARKS: usize = 200;

/// The width of a name in the legend, in characters.
const ENTRY: usize = 18;

/// The width of a letter on a box, in pixels.
const LETTER: f64 = 6.7;

/// The space beside a text on a box, in pixels.
const BESIDE: f64 = 8.0;

impl Drawn<'_> {
    /// Returns the CSS class of a name.
    fn class(&self, name: usize) -> String {
        if self.has_colour[name] { format!("n{name}") } else { REST_CLASS.to_owned() }
    }

    pub(super) fn colours(&self) -> Vec<Colour> {
        let mut colours = Vec::new();
        for NameColour { name, fill, text } in &self.colours {
            colours.push(Colour { class: self.class(*name), fill, text });
        }
        let (fill, text) = REST;
        colours.push(Colour { class: REST_CLASS.to_owned(), fill, text });
        colours
    }

    pub(super) fn legend(&self) -> Vec<Entry> {
        let filled =
            |class: &str| format!("<rect class=\"{class}\" width=\"20\" height=\"{BAR_HEIGHT}\"/>");
        let mut entries = Vec::new();
        for colour in &self.colours {
            let name = truncate(self.name(colour.name), ENTRY);
            entries.push(Entry { swatch: filled(&self.class(colour.name)), name });
        }
        if self.without_colour > 0 {
            let name = counted(self.without_colour, "other name");
            entries.push(Entry { swatch: filled(REST_CLASS), name });
        }
        if self.has_several() {
            let strip =
                format!("<rect class=\"strip\" y=\"{STRIP_Y}\" width=\"20\" height=\"{STRIP}\"/>");
            entries
                .push(Entry { swatch: filled("free") + &strip, name: "several spans".to_owned() });
        }
        if self.all_boxes().any(|span_box| !span_box.has_ended) {
            let swatch = format!(
                "<rect class=\"free\" width=\"11\" height=\"{BAR_HEIGHT}\"/>{}",
                open_end("11", 0)
            );
            entries.push(Entry { swatch, name: "has not ended".to_owned() });
        }
        if !self.trace.notes.is_empty() {
            let swatch = format!("<line class=\"mark\" x1=\"10\" x2=\"10\" y2=\"{BAR_HEIGHT}\"/>");
            entries.push(Entry { swatch, name: "note".to_owned() });
        }
        entries
    }

    /// Draws the names on the left of the lanes.
    pub(super) fn draw_names(&self) -> String {
        let mut text = String::new();
        for DrawnLane { lane, y, .. } in &self.lanes {
            let title = escape(&format!("{}: {}", self.full_name(lane), self.shares(lane)));
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

    /// Draws the lanes, with their times and notes.
    pub(super) fn draw_lanes(&self) -> String {
        let mut text = axis(self.from, self.to, self.height);
        for DrawnLane { boxes, y, .. } in &self.lanes {
            if *y > 0 {
                let _ = writeln!(text, "<line class=\"grid\" x2=\"100%\" y1=\"{y}\" y2=\"{y}\"/>");
            }
            // The narrow boxes come last; otherwise the boxes beside them would cover them.
            let (narrow, wide): (Vec<_>, Vec<_>) =
                boxes.iter().partition(|span_box| self.is_narrow(span_box));
            for span_box in wide.into_iter().chain(narrow) {
                text += &self.draw_box(span_box, y + PADDING + span_box.row * ROW_HEIGHT);
            }
        }
        for note in self.marked_notes() {
            text += &self.draw_note(note);
        }
        text
    }

    /// Returns the position of a moment, in percent of the width.
    fn x(&self, at: Duration) -> f64 {
        let whole = self.to.saturating_sub(self.from).as_secs_f64();
        100.0 * at.saturating_sub(self.from).as_secs_f64() / whole
    }

    /// Reports whether a box is too narrow to have a border.
    fn is_narrow(&self, span_box: &SpanBox) -> bool {
        const BORDER_FROM: f64 = 5.0;
        self.x(span_box.to) - self.x(span_box.from) < BORDER_FROM * PIXEL
    }

    fn draw_box(&self, span_box: &SpanBox, y: usize) -> String {
        let x = self.x(span_box.from).min(100.0 - MIN_WIDTH * PIXEL);
        let width = self.x(span_box.to) - x;
        // In pixels, so that the box is visible in a narrow window, too.
        let shown_width =
            if width < MIN_WIDTH * PIXEL { MIN_WIDTH.to_string() } else { format!("{width:.3}%") };
        let shares = sorted(&span_box.spans);
        let class = shares.first().map_or_else(String::new, |(name, _)| self.class(*name));
        let edge = if self.is_narrow(span_box) { "" } else { " box" };
        let title = escape(&self.title(span_box));
        // An SVG element inside the picture clips the label if the window is narrow.
        let mut text = format!(
            "<svg x=\"{x:.3}%\" y=\"{y}\" width=\"{shown_width}\" height=\"{BAR_HEIGHT}\"><title>{title}</title>\
             <rect class=\"{class}{edge}\" width=\"100%\" height=\"100%\"/>"
        );
        if span_box.count() > 1 {
            let _ = write!(
                text,
                "<rect class=\"strip\" y=\"{STRIP_Y}\" width=\"100%\" height=\"{STRIP}\"/>"
            );
        }
        let label = self.label(span_box);
        let letters = f64::from(u32::try_from(label.chars().count()).unwrap_or(u32::MAX));
        if LETTER * letters + BESIDE <= width / PIXEL {
            let label = escape(&label);
            let _ =
                write!(text, "<text class=\"letter on-{class}\" x=\"4\" y=\"12\">{label}</text>");
        }
        text += "</svg>\n";
        if !span_box.has_ended {
            text += &open_end("100%", y);
            text.push('\n');
        }
        text
    }

    /// Returns the notes that are drawn as lines: not those of the lanes that are left out.
    pub(super) fn marked_notes(&self) -> impl Iterator<Item = &TraceNote> {
        let is_drawn = |note: &&TraceNote| self.rest.iter().all(|lane| lane.id != note.lane);
        self.trace.notes.iter().filter(is_drawn).take(MAX_MARKS)
    }

    /// Draws a note as a line across its lane, or across all lanes if the note belongs to no lane.
    fn draw_note(&self, note: &TraceNote) -> String {
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

/// Draws the right end, at `x`, of a span that has not ended: its edges continue as dashed lines.
fn open_end(x: &str, y: usize) -> String {
    let low = BAR_HEIGHT - 1;
    format!(
        "<svg class=\"open\" x=\"{x}\" y=\"{y}\" width=\"10\" height=\"{BAR_HEIGHT}\">\
         <path d=\"M0 1H9M0 {low}H9\"/></svg>"
    )
}
