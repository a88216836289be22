//! Draws lanes as lines of text: a letter and a colour for each state of a thread.

use std::fmt::Write as _;
use std::time::Duration;

use anstyle::Style;
use unicode_width::UnicodeWidthStr as _;

use crate::lanes::{Cell, Lane, Lanes};
use crate::legend::Legend;
use crate::numbers::{axis_label, axis_step, grouped};
use crate::state::State;
use crate::wrap::{pad, truncate, truncate_start};

/// The time that a drawing shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// The whole time, from the beginning to the end.
    All,
    /// The most recent part, with this much time in each column. The newest column is on the right.
    Last(Duration),
}

/// The part of the lanes that is drawn.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// The time that the drawing shows.
    pub span: Span,
    /// The width of the drawing, in columns.
    pub width: usize,
    /// The maximum number of lanes. Other lanes are only counted.
    pub rows: usize,
}

/// Lanes as lines of text, with colours.
#[derive(Clone, Debug, Default)]
pub struct Drawing {
    /// A line for each lane, a line that counts the lanes that are not drawn, and the times.
    pub lines: Vec<String>,
    /// The meaning of the letters.
    pub legend: Legend,
}

const DIM: Style = Style::new().dimmed();

/// The width from which on a live drawing also describes the state of each thread in words.
const MIN_WIDTH_FOR_WORDS: usize = 72;

/// The width of these words.
const WORDS: usize = 18;

/// The width from which on a drawing shows the peer of each thread.
const MIN_WIDTH_FOR_PEERS: usize = 60;

/// The maximum width of a peer.
const PEER: usize = 14;

/// The widths of the parts of a line.
struct Layout {
    name: usize,
    id: usize,
    peer: usize,
    /// The columns of the lane itself.
    cells: usize,
    has_words: bool,
}

impl Layout {
    fn new(view: &View, lanes: &[&Lane]) -> Self {
        const MIN_CELLS: usize = 10;
        let longest = if view.width < 60 { 8 } else { 15 };
        let name = lanes.iter().map(|lane| lane.name.width()).max().unwrap_or(0).min(longest);
        let mut id = lanes.iter().map(|lane| lane.id.to_string().len()).max().unwrap_or(0);
        if view.width < name + id + 3 + MIN_CELLS {
            id = 0;
        }
        let has_words = view.span != Span::All && view.width >= MIN_WIDTH_FOR_WORDS;
        // The words contain the peer, too.
        let peers = lanes.iter().filter_map(|lane| lane.peer.as_deref()).map(str::width);
        let has_peers = !has_words && view.width >= MIN_WIDTH_FOR_PEERS;
        let peer = if has_peers { peers.max().unwrap_or(0).min(PEER) } else { 0 };
        let column = |width: usize| if width > 0 { width + 1 } else { 0 };
        let taken = name + 1 + column(id) + column(peer) + if has_words { 1 + WORDS } else { 0 };
        Self { name, id, peer, cells: view.width.saturating_sub(taken).max(MIN_CELLS), has_words }
    }

    fn label(&self, name: &str, id: &str, peer: &str) -> String {
        let mut label = pad(name, self.name) + " ";
        if self.id > 0 {
            let _ = write!(label, "{id:>0$} ", self.id);
        }
        if self.peer > 0 {
            label += &pad(&truncate_start(peer, self.peer), self.peer);
            label.push(' ');
        }
        label
    }
}

/// The time that is shown, and the number of its columns. The columns before it are blank.
#[derive(Clone, Copy)]
struct Window {
    from: Duration,
    to: Duration,
    parts: u32,
    blank: usize,
}

impl Window {
    fn new(span: Span, lanes: &Lanes, columns: usize) -> Self {
        let count = u32::try_from(columns).unwrap_or(u32::MAX);
        match span {
            Span::All => {
                let to = lanes.last_seen().max(Duration::from_millis(1));
                Self { from: Duration::ZERO, to, parts: count, blank: 0 }
            }
            Span::Last(column) => {
                let column = column.max(Duration::from_millis(1));
                let passed = lanes.now().as_nanos().div_ceil(column.as_nanos());
                let passed = u32::try_from(passed).unwrap_or(u32::MAX).max(1);
                let parts = passed.min(count);
                let from = column.saturating_mul(passed - parts);
                let to = from + column * parts;
                Self { from, to, parts, blank: usize::try_from(count - parts).unwrap_or(0) }
            }
        }
    }
}

/// Draws lanes.
#[must_use]
pub fn draw(lanes: &Lanes, view: &View) -> Drawing {
    // The width of the names determines how much time is shown, and that determines which lanes, and so which
    // names, are shown. So the lanes are chosen as if there were no names.
    let window = Window::new(view.span, lanes, view.width);
    let candidates: Vec<_> = lanes
        .all()
        .iter()
        .filter(|lane| lane.is_alive || lane.existed(window.from, window.to))
        .collect();
    let (shown, rest) = choose(&candidates, view);
    let layout = Layout::new(view, &shown);
    let window = Window::new(view.span, lanes, layout.cells);
    let mut legend = Legend::default();
    let mut drawn: Vec<_> =
        shown.iter().map(|lane| row(lane, &layout, window, &mut legend)).collect();
    if !rest.is_empty() {
        drawn.push(truncate(&summary(&rest, view.span, drawn.is_empty()), view.width));
    }
    if !drawn.is_empty() {
        drawn.push(axis(&layout, window, view.span));
    }
    Drawing { lines: drawn, legend }
}

/// Divides lanes into the lanes that are drawn and the lanes that are only counted.
fn choose<'a>(lanes: &[&'a Lane], view: &View) -> (Vec<&'a Lane>, Vec<&'a Lane>) {
    if lanes.len() <= view.rows {
        return (lanes.to_vec(), Vec::new());
    }
    // A live view prefers threads that exist; a view of the whole time shows the oldest threads.
    let is_preferred = |lane: &Lane| lane.is_alive && view.span != Span::All;
    let preferred = lanes.iter().filter(|lane| is_preferred(lane)).count();
    let mut preferred_left = preferred.min(view.rows);
    let mut others_left = view.rows - preferred_left;
    lanes.iter().partition(|lane| {
        let left = if is_preferred(lane) { &mut preferred_left } else { &mut others_left };
        let is_drawn = *left > 0;
        *left = left.saturating_sub(1);
        is_drawn
    })
}

/// Counts the states of the threads whose lanes are not drawn, in one line: "12 more: read 10, ended 2". For the whole
/// time, it counts each thread in the state that took most of its time.
#[must_use]
pub fn summary(rest: &[&Lane], span: Span, are_all: bool) -> String {
    let state_of = |lane: &Lane| match span {
        Span::All => lane.shares().first().map(|(state, _)| *state),
        Span::Last(_) => lane.state().filter(|_| lane.is_alive),
    };
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for lane in rest {
        let name = match state_of(lane).map(State::name) {
            Some(name) => name,
            // A thread without a state is stopped.
            None if lane.is_alive => "stopped",
            None => "ended",
        };
        match counts.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            None => counts.push((name, 1)),
        }
    }
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let counts: Vec<_> =
        counts.into_iter().map(|(name, count)| format!("{name} {}", grouped(count))).collect();
    let more = if are_all { "threads" } else { "more" };
    let when = if span == Span::All { ", most of the time" } else { "" };
    format!("{} {more}{when}: {}", grouped(rest.len()), counts.join(", "))
}

/// Draws a lane, and adds its letters to the legend.
fn row(lane: &Lane, layout: &Layout, window: Window, legend: &mut Legend) -> String {
    let mut drawn =
        layout.label(&lane.name, &lane.id.to_string(), lane.peer.as_deref().unwrap_or_default());
    drawn += &" ".repeat(window.blank);
    let cells = lane.cells(window.from, window.to, window.parts);
    for run in cells.chunk_by(|a, b| a == b) {
        match run[0] {
            None => drawn += &" ".repeat(run.len()),
            Some(cell) => {
                if !legend.states.contains(&cell.state) {
                    legend.states.push(cell.state);
                }
                legend.has_capitals |= cell.ran_briefly;
                let style = cell.state.style();
                let style = if cell.ran_briefly { style.bold().underline() } else { style };
                let letters = letter(cell).to_string().repeat(run.len());
                let _ = write!(drawn, "{style}{letters}{style:#}");
            }
        }
    }
    if layout.has_words {
        let words = match (lane.is_alive, lane.detail.as_str(), lane.state()) {
            (false, ..) => "ended",
            (true, "", Some(state)) => state.name(),
            (true, detail, _) => detail,
        };
        let _ = write!(drawn, " {DIM}{}{DIM:#}", truncate(words, WORDS));
    }
    // Blanks at the end could make the line wider than the terminal.
    drawn.truncate(drawn.trim_end().len());
    drawn
}

/// Returns the letter of a cell: a capital if the thread ran in between.
fn letter(cell: Cell) -> char {
    let letter = cell.state.letter();
    if cell.ran_briefly { letter.to_ascii_uppercase() } else { letter }
}

/// Returns the line of times below the lanes.
fn axis(layout: &Layout, window: Window, span: Span) -> String {
    /// The minimum distance between two labels, in columns.
    const DISTANCE: f64 = 9.0;
    let each = (window.to.saturating_sub(window.from) / window.parts.max(1)).as_secs_f64();
    let step = axis_step(each * DISTANCE);
    let columns = usize::try_from(window.parts).unwrap_or(0);
    let seconds = |n: usize| f64::from(u32::try_from(n).unwrap_or(u32::MAX)) * step;
    let mut line: Vec<char> = vec![' '; layout.cells];
    for n in 0.. {
        // The addend keeps a rounding error from moving a label into the column before its own.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let column = (seconds(n) / each + 1e-6) as usize;
        if column >= columns {
            break;
        }
        match span {
            Span::All => put(&mut line, column, &format!("╵{}", axis_label(seconds(n), step))),
            Span::Last(_) => {
                let end = layout.cells - 1 - column;
                let label = if n == 0 {
                    "now╵".to_owned()
                } else {
                    format!("-{}╵", axis_label(seconds(n), step))
                };
                put(&mut line, (end + 1).saturating_sub(label.chars().count()), &label);
            }
        }
    }
    let line: String = line.into_iter().collect();
    format!("{}{DIM}{}{DIM:#}", layout.label("", "", ""), line.trim_end())
}

/// Writes a label into a line, if the line is blank there.
fn put(line: &mut [char], at: usize, label: &str) {
    let len = label.chars().count();
    let Some(space) = line.get_mut(at..at + len) else { return };
    if space.iter().all(|ch| *ch == ' ') {
        for (blank, ch) in space.iter_mut().zip(label.chars()) {
            *blank = ch;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(state: State) -> Cell {
        Cell { state, ran_briefly: false }
    }

    /// Returns the lanes of this number of threads, which read for a second.
    fn reading(threads: u32) -> Lanes {
        let mut lanes = Lanes::default();
        let keys: Vec<_> = (0..threads).map(|i| lanes.add_lane(i + 1)).collect();
        for key in &keys {
            lanes.describe(*key, "reader", String::new());
        }
        for tenth in 1..=10 {
            let at = Duration::from_millis(100 * tenth);
            for key in &keys {
                lanes.add(*key, at, cell(State::Read));
            }
            lanes.end_pass(at);
        }
        lanes
    }

    fn text(lanes: &Lanes, view: &View) -> Vec<String> {
        let drawing = draw(lanes, view);
        let letters = drawing.legend.letters(view.width);
        let both = drawing.lines.iter().chain(&letters);
        both.map(|line| anstream::adapter::strip_str(line).to_string()).collect()
    }

    #[test]
    fn all_the_time_fills_the_width() {
        let view = View { span: Span::All, width: 30, rows: 5 };
        let lines = text(&reading(1), &view);
        assert_eq!(lines[0], format!("reader 1 {}", "r".repeat(21)));
        assert_eq!(lines[1], "         ╵0.0 s    ╵0.5 s");
        assert_eq!(lines[2], "r read");
    }

    #[test]
    fn the_peer_of_a_connection_is_shown() {
        let mut lanes = reading(2);
        lanes.set_peer(0, ":46582".to_owned());
        let view = View { span: Span::All, width: 60, rows: 5 };
        let drawn = text(&lanes, &view);
        assert_eq!(drawn[0], format!("reader 1 :46582 {}", "r".repeat(44)));
        assert_eq!(drawn[1], format!("reader 2        {}", "r".repeat(44)));
        lanes.set_peer(1, "192.168.100.200:46582".to_owned());
        let drawn = text(&lanes, &view);
        assert_eq!(drawn[1], format!("reader 2 …100.200:46582 {}", "r".repeat(36)));
        let narrow = text(&lanes, &View { width: 59, ..view });
        assert_eq!(narrow[0], format!("reader 1 {}", "r".repeat(50)));
    }

    #[test]
    fn the_newest_is_on_the_right() {
        let view = View { span: Span::Last(Duration::from_millis(100)), width: 40, rows: 5 };
        let lines = text(&reading(1), &view);
        assert_eq!(lines[0], format!("reader 1 {}{}", " ".repeat(21), "r".repeat(10)));
        assert!(lines[1].ends_with("now╵"), "{lines:?}");
    }

    #[test]
    fn lanes_that_are_not_drawn_are_counted() {
        let view = View { span: Span::All, width: 60, rows: 2 };
        let lines = text(&reading(2000), &view);
        assert_eq!(lines.len(), 5);
        assert_eq!(lines[2], "1,998 more, most of the time: read 1,998");
    }

    #[test]
    fn a_thread_without_a_state_is_not_called_ended() {
        let mut lanes = reading(2);
        lanes.add_lane(3);
        lanes.end(0);
        let all: Vec<_> = lanes.all().iter().collect();
        let counted = summary(&all, Span::Last(Duration::from_secs(1)), true);
        assert_eq!(counted, "3 threads: ended 1, read 1, stopped 1");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in 20..120 {
            for span in [Span::All, Span::Last(Duration::from_millis(50))] {
                let view = View { span, width, rows: 3 };
                for line in text(&reading(12), &view) {
                    assert!(line.width() <= width, "{width}: {line}");
                }
            }
        }
    }
}
