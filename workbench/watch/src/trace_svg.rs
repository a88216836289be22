//! Draws a trace as an SVG file: a lane for each thread or task, a box for each span.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::page::{About, BAR, Colour, Entry, LANE, LANES, MARGIN, Page, axis};
use super::state::State;
use super::text::{counted, fit_to, grouped, rounded, shown_duration, wrap};
use super::trace::{LaneId, Trace, TraceLane, TraceNote, TraceSpan};
use probe::markup::escape;

/// The width of the picture and of its bars in pixels, where the window has so much room.
const WIDTH: usize = 1200;
const BARS: f64 = 0.8 * 1200.0;

/// A pixel in percent of the width of the bars.
const PIXEL: f64 = 100.0 / BARS;

/// The width of the narrowest box, in pixels.
const NARROWEST: f64 = 1.5;

/// The most boxes that are drawn: a browser is slow with more. If there are more, spans are put
/// together that are wider than a pixel.
const BOXES: usize = 12_000;

/// The least time of a picture, so that each moment has a place in it.
const LEAST: Duration = Duration::from_micros(1);

/// The most rows of a lane; spans that lie deeper are counted.
const ROWS: usize = 12;

/// How far the rows of a lane are apart, and how much is left above and below them.
const ROW: usize = BAR + 1;
const PADDING: usize = 6;

/// Where the strip is in a box that stands for several spans, and how high.
const STRIP: usize = 3;
const STRIP_Y: usize = BAR - STRIP;

/// The most notes that are written out, and the most that are marked.
const NOTES: usize = 8;
const MARKS: usize = 200;

/// How many characters have room on the left of the lanes, and in an entry of the legend.
const NAME: usize = 19;
const ENTRY: usize = 18;

/// How wide a letter on a box is, in pixels, and how much is left beside a text.
const LETTER: f64 = 6.7;
const BESIDE: f64 = 8.0;

/// Spans that the stages have, in the colours that a watch has for the same.
const KNOWN: &[(&str, &str, &str)] = &[
    ("accept", State::Accept.fill(), State::Accept.ink()),
    ("read", State::Read.fill(), State::Read.ink()),
    ("write", State::Write.fill(), State::Write.ink()),
    ("poll", State::Poll.fill(), State::Poll.ink()),
    ("lock", State::Lock.fill(), State::Lock.ink()),
    ("broadcast", "#009e73", "#fff"),
    ("client", "#d3d7dc", "#111"),
    ("split", "#f0e442", "#111"),
    ("close", "#b07d4f", "#111"),
];

/// For spans of other names, in the order in which they come.
const OTHERS: &[(&str, &str)] = &[
    ("#a3c4bc", "#111"),
    ("#c9b8e8", "#111"),
    ("#4d7ea8", "#fff"),
    ("#f4a6a6", "#111"),
    ("#8c6bb1", "#fff"),
    ("#b5bd4c", "#111"),
    ("#7fd1d8", "#111"),
    ("#a33b5c", "#fff"),
];

/// For all further names together.
const REST: (&str, &str) = ("#6b7178", "#fff");
const REST_CLASS: &str = "rest";

const STYLE: &str = r"
.box { stroke: #fff; stroke-width: 0.7; }
.strip { fill: #111; }
.open { stroke: #1c1e21; stroke-width: 1.5; stroke-dasharray: 2 2; fill: none; }
.mark { stroke: #c5221f; stroke-width: 1.5; stroke-dasharray: 6 3; }
@media (prefers-color-scheme: dark) {
.box { stroke: #17191c; }
.open { stroke: #f1f3f4; }
.mark { stroke: #f28b82; }
}
";

/// Draws a trace as an SVG file: a lane for each thread or task, and in it a box for each span, below
/// the span around it.
///
/// The picture has at most 64 lanes, those that begin first, and at most 12,000 boxes: spans that are
/// narrower than a pixel, or than some pixels if there are so many, are put together. What is left out
/// is counted in the notes below the legend.
#[must_use]
pub fn trace_svg(trace: &Trace, about: &About) -> String {
    let drawn = Drawn::of(trace);
    let page = Page {
        about,
        description: drawn.description(),
        width: WIDTH,
        colours: drawn.colours(),
        style: STYLE,
        legend: drawn.legend(),
        notes: drawn.notes(),
        names: drawn.names(),
        bars: drawn.bars(),
        height: drawn.height,
    };
    page.svg()
}

/// A span, or several that are too short to be drawn one by one.
#[derive(Debug)]
struct Bar {
    row: usize,
    from: Duration,
    to: Duration,
    has_ended: bool,
    /// How many spans of which name, and how much time they take together.
    spans: BTreeMap<usize, Share>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Share {
    count: usize,
    time: Duration,
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

    fn count(&self) -> usize {
        self.spans.values().map(|share| share.count).sum()
    }
}

fn add_share(shares: &mut BTreeMap<usize, Share>, span: &TraceSpan) {
    let share = shares.entry(span.name).or_default();
    share.count += 1;
    share.time += span.took();
}

/// Returns the shares, the greatest first; of equal ones, the first.
fn sorted(shares: &BTreeMap<usize, Share>) -> Vec<(usize, Share)> {
    let mut sorted: Vec<_> = shares.iter().map(|(name, share)| (*name, *share)).collect();
    sorted.sort_by_key(|(_, share)| std::cmp::Reverse((share.time, share.count)));
    sorted
}

/// Returns the boxes of a lane. Spans shorter than `grain` become one box with those around them that
/// are as short, in the same row and less than `grain` away.
fn bars(lane: &TraceLane, grain: Duration) -> Vec<Bar> {
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

/// A lane of the picture.
struct DrawnLane<'a> {
    lane: &'a TraceLane,
    bars: Vec<Bar>,
    /// Its distance from the first lane, and its height, in pixels.
    y: usize,
    height: usize,
}

/// The colour of a name.
struct Look {
    name: usize,
    fill: &'static str,
    ink: &'static str,
}

/// What the picture holds.
struct Drawn<'a> {
    trace: &'a Trace,
    lanes: Vec<DrawnLane<'a>>,
    /// The lanes that have no room.
    rest: &'a [TraceLane],
    from: Duration,
    to: Duration,
    /// Spans that are shorter are put together.
    grain: Duration,
    height: usize,
    /// The names that have a colour of their own, in the order in which they come.
    looks: Vec<Look>,
    /// Whether a name has one, by its place among the names of the trace.
    has_look: Vec<bool>,
    /// How many names are drawn that have none.
    without_look: usize,
}

impl<'a> Drawn<'a> {
    fn of(trace: &'a Trace) -> Self {
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

    fn name(&self, name: usize) -> &'a str {
        &self.trace.names[name]
    }

    /// Returns the class of a name, for the style.
    fn class(&self, name: usize) -> String {
        if self.has_look[name] { format!("n{name}") } else { REST_CLASS.to_owned() }
    }

    fn colours(&self) -> Vec<Colour> {
        let mut colours = Vec::new();
        for Look { name, fill, ink } in &self.looks {
            colours.push(Colour { class: self.class(*name), fill, ink });
        }
        let (fill, ink) = REST;
        colours.push(Colour { class: REST_CLASS.to_owned(), fill, ink });
        colours
    }

    fn all_bars(&self) -> impl Iterator<Item = &Bar> {
        self.lanes.iter().flat_map(|lane| &lane.bars)
    }

    /// Whether a box stands for more than one span.
    fn has_several(&self) -> bool {
        self.all_bars().any(|bar| bar.count() > 1)
    }

    fn legend(&self) -> Vec<Entry> {
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

    /// Returns what a reader of the picture has to know, a paragraph each.
    fn notes(&self) -> Vec<String> {
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
    fn description(&self) -> String {
        let mut text = format!("{}.", rounded(self.to.saturating_sub(self.from)));
        for DrawnLane { lane, .. } in &self.lanes {
            let _ = write!(text, " {}: {}.", self.called(lane), self.shares(lane));
        }
        text
    }

    /// Returns the name and the numbers of a lane.
    fn called(&self, lane: &TraceLane) -> String {
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
    fn short_name(&self, lane: &TraceLane) -> (String, String) {
        let mut lines = wrap(lane.name.as_deref().unwrap_or("(no name)"), NAME).into_iter();
        let first = lines.next().unwrap_or_default();
        let rest = lines.collect::<Vec<_>>().join(" ");
        let numbers = self.numbers(lane);
        let second = if rest.is_empty() { numbers } else { format!("{rest} · {numbers}") };
        (first, fit_to(&second, NAME + 2))
    }

    fn shares(&self, lane: &TraceLane) -> String {
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

    fn names(&self) -> String {
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

    fn bars(&self) -> String {
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

    fn label(&self, bar: &Bar) -> String {
        let count = bar.count();
        match bar.spans.keys().next() {
            Some(name) if count == 1 => self.name(*name).to_owned(),
            Some(name) if bar.spans.len() == 1 => {
                format!("{} × {}", grouped(count), self.name(*name))
            }
            _ => counted(count, "span"),
        }
    }

    fn title(&self, bar: &Bar) -> String {
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

/// Returns the colours of names, as far as there are any.
fn looks(trace: &Trace, names: &[usize]) -> Vec<Look> {
    let mut others = OTHERS.iter();
    let mut looks = Vec::new();
    for name in names {
        let known = KNOWN.iter().find(|(known, ..)| *known == trace.names[*name]);
        let colours = known.map(|(_, fill, ink)| (*fill, *ink));
        if let Some((fill, ink)) = colours.or_else(|| others.next().copied()) {
            looks.push(Look { name: *name, fill, ink });
        }
    }
    looks
}

/// Returns what shows that a span goes on: its edges, dashed, beyond its right end at `x`.
fn open_end(x: &str, y: usize) -> String {
    let low = BAR - 1;
    format!(
        "<svg class=\"open\" x=\"{x}\" y=\"{y}\" width=\"10\" height=\"{BAR}\">\
         <path d=\"M0 1H9M0 {low}H9\"/></svg>"
    )
}
