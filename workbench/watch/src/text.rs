//! Lanes as lines of text: a letter and a colour for what each thread did.

use std::fmt::Write as _;
use std::time::Duration;

use anstyle::Style;
use unicode_width::UnicodeWidthStr as _;

use crate::lanes::{Cell, Lane, Lanes};
use crate::legend::Seen;
use crate::numbers::{grouped, nice, shown_time};
use crate::state::State;
use crate::wrap::{end_of, fit, fit_to};

/// Which time a picture shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// All, from the beginning to the end.
    All,
    /// The last, with so much time a column; the newest is on the right.
    Last(Duration),
}

/// How a picture is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// The time that it shows.
    pub span: Span,
    /// Its columns.
    pub width: usize,
    /// At most so many lanes; those that are left are counted.
    pub rows: usize,
}

/// A picture of lanes, in lines with colours.
#[derive(Clone, Debug, Default)]
pub struct Picture {
    /// A line for each lane, one for those that had no room, and the times below.
    pub lanes: Vec<String>,
    /// What is to be explained.
    pub seen: Seen,
}

const DIM: Style = Style::new().dimmed();

/// The columns below which what a thread does now is not told in words, too.
const ROOM_FOR_WORDS: usize = 72;

const WORDS: usize = 18;

/// The columns below which it is not told with whom a thread talked, and how many that takes at most.
const ROOM_FOR_PEERS: usize = 60;

const PEER: usize = 14;

/// Where everything is in a line.
struct Layout {
    name: usize,
    id: usize,
    peer: usize,
    parts: usize,
    words: bool,
}

impl Layout {
    fn of(frame: &Frame, lanes: &[&Lane]) -> Self {
        const LEAST: usize = 10;
        let longest = if frame.width < 60 { 8 } else { 15 };
        let name = lanes.iter().map(|lane| lane.name.width()).max().unwrap_or(0).min(longest);
        let mut id = lanes.iter().map(|lane| lane.id.to_string().len()).max().unwrap_or(0);
        if frame.width < name + id + 3 + LEAST {
            id = 0;
        }
        let words = frame.span != Span::All && frame.width >= ROOM_FOR_WORDS;
        // The words tell it, too.
        let peers = lanes.iter().filter_map(|lane| lane.peer.as_deref()).map(str::width);
        let has_room = !words && frame.width >= ROOM_FOR_PEERS;
        let peer = if has_room { peers.max().unwrap_or(0).min(PEER) } else { 0 };
        let column = |width: usize| if width > 0 { width + 1 } else { 0 };
        let taken = name + 1 + column(id) + column(peer) + if words { 1 + WORDS } else { 0 };
        Self { name, id, peer, parts: frame.width.saturating_sub(taken).max(LEAST), words }
    }

    fn label(&self, name: &str, id: &str, peer: &str) -> String {
        let mut label = fit(name, self.name) + " ";
        if self.id > 0 {
            let _ = write!(label, "{id:>0$} ", self.id);
        }
        if self.peer > 0 {
            label += &fit(&end_of(peer, self.peer), self.peer);
            label.push(' ');
        }
        label
    }
}

/// The part of the time that is shown, and in how many columns; those before it are blank.
#[derive(Clone, Copy)]
struct Window {
    from: Duration,
    to: Duration,
    parts: u32,
    blank: usize,
}

impl Window {
    fn of(span: Span, lanes: &Lanes, parts: usize) -> Self {
        let count = u32::try_from(parts).unwrap_or(u32::MAX);
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
pub fn picture(lanes: &Lanes, frame: &Frame) -> Picture {
    // How wide the names are decides what is shown, and what is shown how wide the names are: all
    // that there are now or may be shown decide.
    let window = Window::of(frame.span, lanes, frame.width);
    let there: Vec<_> =
        lanes.all().iter().filter(|it| it.lives || it.was_there(window.from, window.to)).collect();
    let (shown, rest) = chosen(&there, frame);
    let layout = Layout::of(frame, &shown);
    let window = Window::of(frame.span, lanes, layout.parts);
    let mut seen = Seen::default();
    let mut drawn: Vec<_> =
        shown.iter().map(|lane| row(lane, &layout, window, &mut seen)).collect();
    if !rest.is_empty() {
        drawn.push(fit_to(&summary(&rest, frame.span, drawn.is_empty()), frame.width));
    }
    if !drawn.is_empty() {
        drawn.push(axis(&layout, window, frame.span));
    }
    Picture { lanes: drawn, seen }
}

/// Which lanes have room, and which are only counted.
fn chosen<'a>(there: &[&'a Lane], frame: &Frame) -> (Vec<&'a Lane>, Vec<&'a Lane>) {
    if there.len() <= frame.rows {
        return (there.to_vec(), Vec::new());
    }
    // Now, those that live count before those that have ended; of all the time, the first ones do.
    let living = there.iter().filter(|lane| lane.lives).count();
    let mut left_living = if frame.span == Span::All { 0 } else { living.min(frame.rows) };
    let mut left_others = frame.rows - left_living;
    there.iter().partition(|lane| {
        let left =
            if lane.lives && frame.span != Span::All { &mut left_living } else { &mut left_others };
        let has_room = *left > 0;
        *left = left.saturating_sub(1);
        has_room
    })
}

/// What lanes that have no room do, in a line: "12 more: read 10, ended 2"; of all the time, what
/// each did most.
#[must_use]
pub fn summary(rest: &[&Lane], span: Span, are_all: bool) -> String {
    let does = |lane: &Lane| match span {
        Span::All => lane.shares().first().map(|(state, _)| *state),
        Span::Last(_) => lane.state().filter(|_| lane.lives),
    };
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for lane in rest {
        let name = does(lane).map_or("ended", State::name);
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

fn row(lane: &Lane, layout: &Layout, window: Window, seen: &mut Seen) -> String {
    let mut drawn =
        layout.label(&lane.name, &lane.id.to_string(), lane.peer.as_deref().unwrap_or_default());
    drawn += &" ".repeat(window.blank);
    let cells = lane.cells(window.from, window.to, window.parts);
    for run in cells.chunk_by(|a, b| a == b) {
        match run[0] {
            None => drawn += &" ".repeat(run.len()),
            Some(cell) => {
                if !seen.states.contains(&cell.state) {
                    seen.states.push(cell.state);
                }
                seen.ran |= cell.ran;
                let style = cell.state.style();
                let style = if cell.ran { style.bold().underline() } else { style };
                let letters = letter(cell).to_string().repeat(run.len());
                let _ = write!(drawn, "{style}{letters}{style:#}");
            }
        }
    }
    if layout.words {
        let words = match (lane.lives, lane.detail.as_str(), lane.state()) {
            (false, ..) => "ended",
            (true, "", Some(state)) => state.name(),
            (true, detail, _) => detail,
        };
        let _ = write!(drawn, " {DIM}{}{DIM:#}", fit_to(words, WORDS));
    }
    // A line that ends in blanks is longer than it looks.
    drawn.truncate(drawn.trim_end().len());
    drawn
}

/// A capital where the thread ran in between.
fn letter(cell: Cell) -> char {
    let letter = cell.state.letter();
    if cell.ran { letter.to_ascii_uppercase() } else { letter }
}

/// The times below the lanes.
fn axis(layout: &Layout, window: Window, span: Span) -> String {
    const APART: f64 = 9.0;
    let each = (window.to.saturating_sub(window.from) / window.parts.max(1)).as_secs_f64();
    let step = nice(each * APART);
    let columns = usize::try_from(window.parts).unwrap_or(0);
    let seconds = |n: usize| f64::from(u32::try_from(n).unwrap_or(u32::MAX)) * step;
    let mut line: Vec<char> = vec![' '; layout.parts];
    for n in 0.. {
        // Rounded, so that a tick does not fall into the column before its own.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let column = (seconds(n) / each + 1e-6) as usize;
        if column >= columns {
            break;
        }
        match span {
            Span::All => put(&mut line, column, &format!("╵{}", shown_time(seconds(n), step))),
            Span::Last(_) => {
                let end = layout.parts - 1 - column;
                let label = if n == 0 {
                    "now╵".to_owned()
                } else {
                    format!("-{}╵", shown_time(seconds(n), step))
                };
                put(&mut line, (end + 1).saturating_sub(label.chars().count()), &label);
            }
        }
    }
    let line: String = line.into_iter().collect();
    format!("{}{DIM}{}{DIM:#}", layout.label("", "", ""), line.trim_end())
}

/// Puts a label into a line, if it has room there.
fn put(line: &mut [char], at: usize, label: &str) {
    let len = label.chars().count();
    let Some(room) = line.get_mut(at..at + len) else { return };
    if room.iter().all(|ch| *ch == ' ') {
        for (place, ch) in room.iter_mut().zip(label.chars()) {
            *place = ch;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(state: State) -> Cell {
        Cell { state, ran: false }
    }

    /// So many threads that read for a second.
    fn reading(threads: u32) -> Lanes {
        let mut lanes = Lanes::default();
        let keys: Vec<_> = (0..threads).map(|i| lanes.begin(i + 1)).collect();
        for key in &keys {
            lanes.describe(*key, "reader", String::new());
        }
        for tenth in 1..=10 {
            let at = Duration::from_millis(100 * tenth);
            for key in &keys {
                lanes.add(*key, at, cell(State::Read));
            }
            lanes.looked(at);
        }
        lanes
    }

    fn text(lanes: &Lanes, frame: &Frame) -> Vec<String> {
        let picture = picture(lanes, frame);
        let legend = picture.seen.legend(frame.width);
        let both = picture.lanes.iter().chain(&legend);
        both.map(|line| anstream::adapter::strip_str(line).to_string()).collect()
    }

    #[test]
    fn all_the_time_fills_the_width() {
        let frame = Frame { span: Span::All, width: 30, rows: 5 };
        let lines = text(&reading(1), &frame);
        assert_eq!(lines[0], format!("reader 1 {}", "r".repeat(21)));
        assert_eq!(lines[1], "         ╵0.0 s    ╵0.5 s");
        assert_eq!(lines[2], "r read");
    }

    #[test]
    fn the_other_end_of_a_connection_is_told() {
        let mut lanes = reading(2);
        lanes.connect(0, ":46582".to_owned());
        let frame = Frame { span: Span::All, width: 60, rows: 5 };
        let drawn = text(&lanes, &frame);
        assert_eq!(drawn[0], format!("reader 1 :46582 {}", "r".repeat(44)));
        assert_eq!(drawn[1], format!("reader 2        {}", "r".repeat(44)));
        lanes.connect(1, "192.168.100.200:46582".to_owned());
        let drawn = text(&lanes, &frame);
        assert_eq!(drawn[1], format!("reader 2 …100.200:46582 {}", "r".repeat(36)));
        let narrow = text(&lanes, &Frame { width: 59, ..frame });
        assert_eq!(narrow[0], format!("reader 1 {}", "r".repeat(50)));
    }

    #[test]
    fn the_newest_is_on_the_right() {
        let frame = Frame { span: Span::Last(Duration::from_millis(100)), width: 40, rows: 5 };
        let lines = text(&reading(1), &frame);
        assert_eq!(lines[0], format!("reader 1 {}{}", " ".repeat(21), "r".repeat(10)));
        assert!(lines[1].ends_with("now╵"), "{lines:?}");
    }

    #[test]
    fn lanes_without_room_are_counted() {
        let frame = Frame { span: Span::All, width: 60, rows: 2 };
        let lines = text(&reading(2000), &frame);
        assert_eq!(lines.len(), 5);
        assert_eq!(lines[2], "1,998 more, most of the time: read 1,998");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in 20..120 {
            for span in [Span::All, Span::Last(Duration::from_millis(50))] {
                let frame = Frame { span, width, rows: 3 };
                for line in text(&reading(12), &frame) {
                    assert!(line.width() <= width, "{width}: {line}");
                }
            }
        }
    }
}
