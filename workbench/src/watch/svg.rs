//! Lanes as an SVG file that stands by itself: light and dark, wide and narrow.
//!
//! Without a `viewBox`: that would make letters smaller where the window is narrow. The bars are as
//! wide as there is room; what has to be broken into lines is there twice, for either kind of window;
//! and the bars, which begin where the longest name ends, are placed for three.

use std::fmt::Write as _;
use std::time::Duration;

use super::lanes::{Cell, Lane, Lanes};
use super::state::State;
use super::text::{Span, end_of, nice, shown_seconds, summary, wrap};
use crate::markup::escape;

/// What a picture says above its lanes.
#[derive(Clone, Debug)]
pub struct About {
    /// What it shows.
    pub title: String,
    /// The circumstances, a paragraph each.
    pub lines: Vec<String>,
    /// What could not be seen.
    pub notes: Vec<String>,
}

/// The most lanes that are drawn; the rest is counted.
const LANES: usize = 64;

/// How many characters of the other end of a connection have room beside a thread's number.
const PEER: usize = 10;

/// Of how many parts the bar of a lane is made.
const PARTS: u32 = 300;

/// How much is left beside everything, how far lanes and lines are apart, how high a bar is.
const MARGIN: usize = 12;
const LANE: usize = 30;
const LINE: usize = 17;
const BAR: usize = 18;

/// What depends on how wide the window is.
struct Layout {
    class: &'static str,
    title: Vec<String>,
    lines: Vec<String>,
    notes: Vec<String>,
    /// Entries of the legend beside each other, and how wide each is.
    columns: usize,
    column: usize,
    entries: usize,
}

impl Layout {
    fn head(&self) -> usize {
        MARGIN + 22 * self.title.len() + LINE * self.lines.len() + 10
    }

    fn legend(&self) -> usize {
        self.entries.div_ceil(self.columns) * 24
    }

    fn height(&self, lanes: usize) -> usize {
        self.head() + lanes * LANE + 34 + self.legend() + 6 + LINE * self.notes.len() + MARGIN
    }

    fn entry(&self, nth: usize) -> (usize, usize) {
        (MARGIN + nth % self.columns * self.column, nth / self.columns * 24)
    }
}

/// What the lanes hold that are drawn.
struct Drawn<'a> {
    lanes: Vec<(&'a Lane, Vec<Option<Cell>>)>,
    rest: Vec<&'a Lane>,
    to: Duration,
    states: Vec<State>,
    ran: bool,
}

impl<'a> Drawn<'a> {
    fn of(lanes: &'a Lanes) -> Self {
        let to = lanes.last_seen().max(Duration::from_millis(1));
        let (first, rest) = lanes.all().split_at(lanes.all().len().min(LANES));
        let first: Vec<_> =
            first.iter().map(|lane| (lane, lane.cells(Duration::ZERO, to, PARTS))).collect();
        let cells = || first.iter().flat_map(|(_, cells)| cells.iter().flatten());
        let states =
            State::ALL.into_iter().filter(|state| cells().any(|cell| cell.state == *state));
        let (states, ran) = (states.collect(), cells().any(|cell| cell.ran));
        Self { rest: rest.iter().collect(), to, states, ran, lanes: first }
    }

    fn layout(&self, about: &About, class: &'static str) -> Layout {
        let (title, text, columns, column) =
            if class == "wide" { (90, 135, 5, 184) } else { (36, 50, 2, 164) };
        let rest = (!self.rest.is_empty()).then(|| summary(&self.rest, Span::All, false));
        let ran = self.ran.then(|| RAN_HERE.to_owned());
        let states = self.states.iter().filter_map(|it| it.note().map(str::to_owned));
        let notes = rest.into_iter().chain(ran).chain(states).chain(about.notes.iter().cloned());
        Layout {
            class,
            title: wrap(&about.title, title),
            lines: about.lines.iter().flat_map(|it| wrap(it, text)).collect(),
            notes: notes.flat_map(|it| wrap(&it, text)).collect(),
            columns,
            column,
            entries: self.states.len() + usize::from(self.ran),
        }
    }
}

/// What the strip below a bar means.
const RAN_HERE: &str = "Ran in between: the thread waited, but ran now and then, too briefly to be \
                        seen running.";

/// How each drawing begins, and nothing else does.
pub const SVG_BEGINS: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"watch\" ";

/// Draws lanes as an SVG file.
#[must_use]
pub fn svg(lanes: &Lanes, about: &About) -> String {
    let drawn = Drawn::of(lanes);
    let (wide, narrow) = (drawn.layout(about, "wide"), drawn.layout(about, "narrow"));
    let count = drawn.lanes.len();
    let height = wide.height(count);
    let mut text = format!(
        "{SVG_BEGINS}width=\"960\" \
         height=\"{height}\" role=\"img\" aria-labelledby=\"title desc\">\n\
         <title id=\"title\">{}</title>\n<desc id=\"desc\">{}</desc>\n",
        escape(&about.title),
        escape(&described(&drawn))
    );
    text += &style(&drawn, &wide, &narrow);
    text += "<rect class=\"page\" width=\"100%\" height=\"100%\"/>\n";
    for layout in [&wide, &narrow] {
        let _ = writeln!(text, "<g class=\"{}\">", layout.class);
        let y = lines(&mut text, "title", &layout.title, MARGIN + 16, 22);
        lines(&mut text, "text", &layout.lines, y - 4, LINE);
        text += "</g>\n";
    }
    let _ = writeln!(text, "<g class=\"body\" transform=\"translate(0,{})\">", wide.head());
    text += &body(&drawn);
    let _ = writeln!(text, "<g transform=\"translate(0,{})\">", count * LANE + 34);
    text += &legend(&drawn, &wide);
    for layout in [&wide, &narrow] {
        let _ = writeln!(text, "<g class=\"{}\">", layout.class);
        lines(&mut text, "text", &layout.notes, layout.legend() + 6 + 12, LINE);
        text += "</g>\n";
    }
    text + "</g>\n</g>\n</svg>\n"
}

/// The same for those who do not see it: what each thread did most.
fn described(drawn: &Drawn<'_>) -> String {
    let mut text = format!("{:.1} seconds.", drawn.to.as_secs_f64());
    for (lane, _) in &drawn.lanes {
        let _ = write!(text, " {}: {}.", called(lane), shares(lane));
    }
    text
}

/// A thread, and with whom it talked.
fn called(lane: &Lane) -> String {
    let peer = lane.peer.iter().map(|it| format!(" {it}"));
    format!("{} {}", lane.name, lane.id) + &peer.collect::<String>()
}

fn shares(lane: &Lane) -> String {
    let all = lane.shares();
    let whole: Duration = all.iter().map(|(_, time)| *time).sum();
    let share = |time: Duration| 100.0 * time.as_secs_f64() / whole.as_secs_f64().max(1e-9);
    let shares: Vec<_> =
        all.into_iter().map(|(state, time)| format!("{state} {:.0} %", share(time))).collect();
    shares.join(", ")
}

/// The colours of a light page, and whatever does not depend on that.
const LIGHT: &str = r"
.watch { max-width: 100%; background: #fff; font-family: system-ui, sans-serif; }
.page { fill: #fff; }
.title { font-size: 15px; font-weight: 600; fill: #1c1e21; }
.text { font-size: 12.5px; fill: #3c4043; }
.name { font: 12px ui-monospace, monospace; fill: #1c1e21; }
.id, .time { font-size: 11px; fill: #5f6368; }
.grid { stroke: #dadce0; }
.free { fill: #c4c7cb; }
.letter { font: 600 11px ui-monospace, monospace; }
.ran { stroke: #111; stroke-width: 4; stroke-linecap: square; }
.narrow, .medium, .slim { display: none; }
";

const DARK: &str = r"@media (prefers-color-scheme: dark) {
.watch { background: #17191c; }
.page { fill: #17191c; }
.title, .name { fill: #f1f3f4; }
.text { fill: #d2d5d9; }
.id, .time { fill: #a8adb4; }
.grid { stroke: #3c4043; }
}
";

fn style(drawn: &Drawn<'_>, wide: &Layout, narrow: &Layout) -> String {
    let mut text = format!("<style>{LIGHT}");
    for state in &drawn.states {
        let (class, fill, ink) = (class(*state), state.fill(), state.ink());
        let _ = writeln!(text, ".{class} {{ fill: {fill}; }}\n.on-{class} {{ fill: {ink}; }}");
    }
    text += DARK;
    let count = drawn.lanes.len();
    text += "@media (max-width: 720px) {\n\
        .wide, .broad { display: none; }\n\
        .narrow, .medium { display: inline; }\n";
    let _ = writeln!(text, ".watch {{ height: {}px; }}", narrow.height(count));
    let _ = writeln!(text, ".body {{ transform: translate(0, {}px); }}", narrow.head());
    for nth in 0..wide.entries {
        let (x, y) = narrow.entry(nth);
        let _ = writeln!(text, "#k{nth} {{ transform: translate({x}px, {y}px); }}");
    }
    text += "}\n@media (max-width: 520px) {\n\
        .medium { display: none; }\n\
        .slim { display: inline; }\n";
    text + "}\n</style>\n"
}

/// What a state is called in the style.
fn class(state: State) -> String {
    match state.letter() {
        '#' => "run".to_owned(),
        letter => format!("s-{letter}"),
    }
}

/// Writes lines of text, and gives where the next would be.
fn lines(text: &mut String, class: &str, lines: &[String], first: usize, apart: usize) -> usize {
    let mut y = first;
    for line in lines {
        let line = escape(line);
        let _ = writeln!(text, "<text class=\"{class}\" x=\"{MARGIN}\" y=\"{y}\">{line}</text>");
        y += apart;
    }
    y
}

/// The lanes, with the times below.
fn body(drawn: &Drawn<'_>) -> String {
    let mut text = String::new();
    let bottom = drawn.lanes.len() * LANE;
    text += "<symbol id=\"bars\" overflow=\"visible\">\n";
    text += &axis(drawn, bottom);
    for (nth, (lane, cells)) in drawn.lanes.iter().enumerate() {
        let (called, shares) = (escape(&called(lane)), shares(lane));
        let _ = writeln!(text, "<g><title>{called}: {shares}</title>");
        text += &bar(cells, nth * LANE + (LANE - BAR) / 2);
        text += "</g>\n";
    }
    text += "</symbol>\n";
    for (nth, (lane, _)) in drawn.lanes.iter().enumerate() {
        let y = nth * LANE;
        let (name, called, shares) = (escape(&lane.name), escape(&called(lane)), shares(lane));
        let peer = lane.peer.iter().map(|it| format!(" {}", end_of(it, PEER)));
        let id = lane.id.to_string() + &peer.collect::<String>();
        let _ = writeln!(
            text,
            "<g><title>{called}: {shares}</title>\
             <text class=\"name\" x=\"{MARGIN}\" y=\"{}\">{name}</text>\
             <text class=\"id\" x=\"{MARGIN}\" y=\"{}\">{id}</text></g>",
            y + 12,
            y + 24
        );
    }
    for (class, left) in [("broad", 17.5), ("medium", 24.0), ("slim", 36.5)] {
        let width = 97.5 - left;
        let height = bottom + 34;
        let _ = writeln!(
            text,
            "<use class=\"{class}\" href=\"#bars\" x=\"{left}%\" width=\"{width}%\" \
             height=\"{height}\"/>"
        );
    }
    text
}

fn axis(drawn: &Drawn<'_>, bottom: usize) -> String {
    const TICKS: f64 = 5.0;
    let mut text = String::new();
    let end = drawn.to.as_secs_f64();
    let step = nice(end / TICKS);
    let ticks = (0u32..).map(|n| f64::from(n) * step).take_while(|at| *at <= end);
    for at in ticks {
        let x = 100.0 * at / end;
        let anchor = match x {
            x if x < 4.0 => "start",
            x if x > 92.0 => "end",
            _ => "middle",
        };
        let label = shown_seconds(at, step);
        let (foot, y) = (bottom + 4, bottom + 17);
        let _ = writeln!(
            text,
            "<line class=\"grid\" x1=\"{x:.2}%\" x2=\"{x:.2}%\" y2=\"{foot}\"/>\
             <text class=\"time\" x=\"{x:.2}%\" y=\"{y}\" text-anchor=\"{anchor}\">{label}</text>"
        );
    }
    text
}

/// One lane: a rectangle for each state, and a strip below where it ran in between.
fn bar(cells: &[Option<Cell>], y: usize) -> String {
    /// The least part of a lane, in percent, on which a letter has room.
    const ROOM: f64 = 4.5;
    let mut text = String::new();
    let mut at = 0.0;
    for run in cells.chunk_by(|a, b| a.map(|it| it.state) == b.map(|it| it.state)) {
        let (x, width) = (at, percent(run.len()));
        at += width;
        let Some(Cell { state, .. }) = run[0] else { continue };
        let class = class(state);
        // A hair wider, so that no gap is seen between neighbours.
        let wider = (width + 0.04).min(100.0 - x);
        let _ = writeln!(
            text,
            "<rect class=\"{class}\" x=\"{x:.2}%\" y=\"{y}\" width=\"{wider:.2}%\" height=\"{BAR}\"/>"
        );
        if width >= ROOM {
            let ran = run.iter().flatten().any(|cell| cell.ran);
            let letter = state.letter();
            let letter = if ran { letter.to_ascii_uppercase() } else { letter };
            let _ = writeln!(
                text,
                "<text class=\"letter on-{class}\" x=\"{x:.2}%\" dx=\"4\" y=\"{}\">{letter}</text>",
                y + 12
            );
        }
    }
    text + &strips(cells, y + BAR - 3)
}

/// A strip where a thread ran in between.
fn strips(cells: &[Option<Cell>], y: usize) -> String {
    let mut text = String::new();
    let mut at = 0.0;
    for run in cells.chunk_by(|a, b| has_run(*a) == has_run(*b)) {
        let (from, to) = (at, at + percent(run.len()));
        at = to;
        if has_run(run[0]) {
            let _ = writeln!(
                text,
                "<line class=\"ran\" x1=\"{from:.2}%\" x2=\"{to:.2}%\" y1=\"{y}\" y2=\"{y}\"/>"
            );
        }
    }
    text
}

fn has_run(cell: Option<Cell>) -> bool {
    cell.is_some_and(|cell| cell.ran)
}

fn percent(parts: usize) -> f64 {
    100.0 * f64::from(u32::try_from(parts).unwrap_or(PARTS)) / f64::from(PARTS)
}

fn legend(drawn: &Drawn<'_>, layout: &Layout) -> String {
    let mut text = String::new();
    let mut entry = |nth: usize, inside: &str, name: &str| {
        let (x, y) = layout.entry(nth);
        let _ = writeln!(
            text,
            "<g id=\"k{nth}\" transform=\"translate({x},{y})\">{inside}\
             <text class=\"text\" x=\"26\" y=\"13\">{name}</text></g>"
        );
    };
    for (nth, state) in drawn.states.iter().enumerate() {
        let (class, letter) = (class(*state), state.letter());
        let swatch = format!(
            "<rect class=\"{class}\" width=\"20\" height=\"{BAR}\"/>\
             <text class=\"letter on-{class}\" x=\"10\" y=\"13\" text-anchor=\"middle\">{letter}</text>"
        );
        entry(nth, &swatch, state.name());
    }
    if drawn.ran {
        let swatch = format!(
            "<rect class=\"free\" width=\"20\" height=\"{BAR}\"/>\
             <line class=\"ran\" x1=\"3\" x2=\"17\" y1=\"{0}\" y2=\"{0}\"/>",
            BAR - 3
        );
        entry(drawn.states.len(), &swatch, "ran in between");
    }
    text
}
