//! Draws lanes as an SVG file.

use std::fmt::Write as _;
use std::time::Duration;

use crate::lanes::{Cell, Lane, Lanes};
use crate::page::{BAR_HEIGHT, Caption, Colour, Entry, LANE_HEIGHT, MARGIN, MAX_LANES, Page, axis};
use crate::state::State;
use crate::text::{Span, summary};
use crate::wrap::truncate_start;
use probe::markup::escape;

/// The maximum number of characters of a peer, which is shown beside a thread's number.
const PEER: usize = 10;

/// The number of parts into which the bar of a lane is divided.
const PARTS: u32 = 300;

/// The lanes that are drawn, with their contents.
struct Drawn<'a> {
    lanes: Vec<(&'a Lane, Vec<Option<Cell>>)>,
    /// The lanes that are only counted.
    rest: Vec<&'a Lane>,
    to: Duration,
    states: Vec<State>,
    /// Whether a thread ran in between.
    ran: bool,
}

impl<'a> Drawn<'a> {
    fn new(lanes: &'a Lanes) -> Self {
        let to = lanes.last_seen().max(Duration::from_millis(1));
        let (first, rest) = lanes.all().split_at(lanes.all().len().min(MAX_LANES));
        let first: Vec<_> =
            first.iter().map(|lane| (lane, lane.cells(Duration::ZERO, to, PARTS))).collect();
        let cells = || first.iter().flat_map(|(_, cells)| cells.iter().flatten());
        let states =
            State::ALL.into_iter().filter(|state| cells().any(|cell| cell.state == *state));
        let (states, ran) = (states.collect(), cells().any(|cell| cell.ran_briefly));
        Self { rest: rest.iter().collect(), to, states, ran, lanes: first }
    }

    /// Returns the notes that a reader of the lanes needs.
    fn notes(&self) -> Vec<String> {
        let rest = (!self.rest.is_empty()).then(|| summary(&self.rest, Span::All, false));
        let ran = self.ran.then(|| STRIP.to_owned());
        let states = self.states.iter().filter_map(|it| it.note().map(str::to_owned));
        rest.into_iter().chain(ran).chain(states).collect()
    }
}

/// Explains the strip below a bar.
const STRIP: &str =
    "Ran in between: the thread waited, but ran now and then, too briefly to be seen running.";

/// Draws lanes as an SVG file.
#[must_use]
pub fn svg(lanes: &Lanes, caption: &Caption) -> String {
    let drawn = Drawn::new(lanes);
    let height = drawn.lanes.len() * LANE_HEIGHT;
    let page = Page {
        caption,
        description: description(&drawn),
        width: 960,
        colours: drawn.states.iter().map(|state| colour(*state)).collect(),
        style: "",
        legend: legend(&drawn),
        notes: drawn.notes(),
        names: names(&drawn),
        lanes: axis(Duration::ZERO, drawn.to, height) + &bars(&drawn),
        height,
    };
    page.svg()
}

/// Returns a description for readers who cannot see the picture: the share of each state in the time of each thread.
fn description(drawn: &Drawn<'_>) -> String {
    let mut text = format!("{:.1} seconds.", drawn.to.as_secs_f64());
    for (lane, _) in &drawn.lanes {
        let _ = write!(text, " {}: {}.", full_name(lane), shares(lane));
    }
    text
}

/// Returns the name, the number and the peer of a thread.
fn full_name(lane: &Lane) -> String {
    let peer = lane.peer.iter().map(|it| format!(" {it}"));
    format!("{} {}", lane.name, lane.id) + &peer.collect::<String>()
}

/// Returns the states of a thread, each with its share of the time in percent.
fn shares(lane: &Lane) -> String {
    let all = lane.shares();
    let whole: Duration = all.iter().map(|(_, time)| *time).sum();
    let share = |time: Duration| 100.0 * time.as_secs_f64() / whole.as_secs_f64().max(1e-9);
    let shares: Vec<_> =
        all.into_iter().map(|(state, time)| format!("{state} {:.0} %", share(time))).collect();
    shares.join(", ")
}

fn colour(state: State) -> Colour {
    Colour { class: class(state), fill: state.fill(), text: state.letter_colour() }
}

/// Returns the CSS class of a state.
fn class(state: State) -> String {
    match state.letter() {
        '#' => "run".to_owned(),
        letter => format!("s-{letter}"),
    }
}

fn bars(drawn: &Drawn<'_>) -> String {
    let mut text = String::new();
    for (nth, (lane, cells)) in drawn.lanes.iter().enumerate() {
        let (full_name, shares) = (escape(&full_name(lane)), shares(lane));
        let _ = writeln!(text, "<g><title>{full_name}: {shares}</title>");
        text += &bar(cells, nth * LANE_HEIGHT + (LANE_HEIGHT - BAR_HEIGHT) / 2);
        text += "</g>\n";
    }
    text
}

/// Draws the names on the left of the lanes.
fn names(drawn: &Drawn<'_>) -> String {
    let mut text = String::new();
    for (nth, (lane, _)) in drawn.lanes.iter().enumerate() {
        let y = nth * LANE_HEIGHT;
        let (name, full_name, shares) =
            (escape(&lane.name), escape(&full_name(lane)), shares(lane));
        let peer = lane.peer.iter().map(|it| format!(" {}", truncate_start(it, PEER)));
        let id = lane.id.to_string() + &peer.collect::<String>();
        let _ = writeln!(
            text,
            "<g><title>{full_name}: {shares}</title>\
             <text class=\"name\" x=\"{MARGIN}\" y=\"{}\">{name}</text>\
             <text class=\"id\" x=\"{MARGIN}\" y=\"{}\">{id}</text></g>",
            y + 12,
            y + 24
        );
    }
    text
}

/// Draws one lane: a rectangle for each state, and a strip below wherever the thread ran in between.
fn bar(cells: &[Option<Cell>], y: usize) -> String {
    /// The minimum width of a rectangle with a letter, in percent of the lane.
    const MIN_WIDTH: f64 = 4.5;
    let mut text = String::new();
    let mut at = 0.0;
    for run in cells.chunk_by(|a, b| a.map(|it| it.state) == b.map(|it| it.state)) {
        let (x, width) = (at, percent(run.len()));
        at += width;
        let Some(Cell { state, .. }) = run[0] else { continue };
        let class = class(state);
        // Slightly wider, so that no gap is visible between two rectangles.
        let wider = (width + 0.04).min(100.0 - x);
        let _ = writeln!(
            text,
            "<rect class=\"{class}\" x=\"{x:.2}%\" y=\"{y}\" width=\"{wider:.2}%\" height=\"{BAR_HEIGHT}\"/>"
        );
        if width >= MIN_WIDTH {
            let ran = run.iter().flatten().any(|cell| cell.ran_briefly);
            let letter = state.letter();
            let letter = if ran { letter.to_ascii_uppercase() } else { letter };
            let _ = writeln!(
                text,
                "<text class=\"letter on-{class}\" x=\"{x:.2}%\" dx=\"4\" y=\"{}\">{letter}</text>",
                y + 12
            );
        }
    }
    text + &strips(cells, y + BAR_HEIGHT - 3)
}

/// Draws the strips that show where a thread ran in between.
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
    cell.is_some_and(|cell| cell.ran_briefly)
}

fn percent(parts: usize) -> f64 {
    100.0 * f64::from(u32::try_from(parts).unwrap_or(PARTS)) / f64::from(PARTS)
}

fn legend(drawn: &Drawn<'_>) -> Vec<Entry> {
    let mut entries = Vec::new();
    for state in &drawn.states {
        let (class, letter) = (class(*state), state.letter());
        let swatch = format!(
            "<rect class=\"{class}\" width=\"20\" height=\"{BAR_HEIGHT}\"/>\
             <text class=\"letter on-{class}\" x=\"10\" y=\"13\" text-anchor=\"middle\">{letter}</text>"
        );
        entries.push(Entry { swatch, name: state.name().to_owned() });
    }
    if drawn.ran {
        let swatch = format!(
            "<rect class=\"free\" width=\"20\" height=\"{BAR_HEIGHT}\"/>\
             <line class=\"ran\" x1=\"3\" x2=\"17\" y1=\"{0}\" y2=\"{0}\"/>",
            BAR_HEIGHT - 3
        );
        entries.push(Entry { swatch, name: "ran in between".to_owned() });
    }
    entries
}
