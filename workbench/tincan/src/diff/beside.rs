//! Shows two texts beside each other.

use std::fmt::Write as _;

use anstyle::Style;

use super::lines::Comparison;
use super::paint::{Palette, Screen, visible};
use super::rows::{Row, rows};
use super::sides::Side;
use super::words::{self, Span};
use super::wrap_code::{Piece, wrap_code};

/// The width of the mark between the two texts, with a blank on each side.
const MIDDLE: usize = 3;

pub fn render(
    [old, new]: [&Side; 2],
    lines: &Comparison<'_>,
    context: usize,
    screen: &Screen,
) -> String {
    let digits = lines.old.len().max(lines.new.len()).to_string().len();
    let column = (screen.width - MIDDLE) / 2;
    let page = Page {
        lines,
        palette: &screen.palette,
        digits,
        text: column - digits - 1,
        column,
        width: screen.width,
    };
    let mut out = String::new();
    page.heading(&mut out, old, new);
    let mut shown = (0, 0);
    for hunk in lines.hunks(context) {
        let (Some(first), Some(last)) = (hunk.first(), hunk.last()) else {
            continue;
        };
        page.gap(&mut out, shown, first.old_range().start);
        for row in hunk.iter().flat_map(|op| rows(lines, op)) {
            page.row(&mut out, row);
        }
        shown = (last.old_range().end, last.new_range().end);
    }
    page.gap(&mut out, shown, lines.old.len());
    out
}

struct Page<'a> {
    lines: &'a Comparison<'a>,
    palette: &'a Palette,
    /// The width of a line number.
    digits: usize,
    /// The width of the text of a line.
    text: usize,
    /// The width of a line: its number, a blank and its text.
    column: usize,
    /// The width of the page.
    width: usize,
}

/// A line of one text: its number, and its text in rows that fit.
#[derive(Default)]
struct Cell {
    number: Option<usize>,
    rows: Vec<Vec<Piece>>,
    plain: Style,
    changed: Style,
}

impl Page<'_> {
    fn heading(&self, out: &mut String, old: &Side, new: &Side) {
        let style = self.palette.heading;
        let [old, new] = [old, new].map(|side| {
            let name = visible(&side.shown).into_owned();
            let rows = wrap_code(&words::plain(&name), self.text);
            Cell { number: None, rows, plain: style, changed: style }
        });
        self.cells(out, &old, ' ', &new);
        out.push('\n');
    }

    /// Writes one row in place of lines that are the same in both texts. A single line is shown itself: it
    /// takes one row, too.
    fn gap(&self, out: &mut String, (old, new): (usize, usize), until: usize) {
        let count = until - old;
        if count <= 1 {
            (0..count).for_each(|at| self.row(out, Row::Same(old + at, new + at)));
            return;
        }
        let place = self.palette.place;
        let mut text = format!("... {count} equal lines");
        let is_last = until == self.lines.old.len();
        if let Some(section) = self.lines.section(until).filter(|_| !is_last) {
            text = format!("{text} ... {section}");
        }
        let row = wrap_code(&words::plain(&text), self.width).swap_remove(0);
        let text: String = row.iter().map(|piece| piece.text.as_str()).collect();
        let _ = writeln!(out, "{place}{text}{place:#}");
    }

    fn row(&self, out: &mut String, row: Row) {
        let (old, new) = (&self.lines.old, &self.lines.new);
        match row {
            Row::Same(i, j) => {
                let [old, new] = [(i, old[i]), (j, new[j])].map(|(at, line)| self.same(at, line));
                self.cells(out, &old, ' ', &new);
            }
            Row::Counterparts(i, j) => {
                let [before, after] = words::emphasise(old[i], new[j]);
                self.cells(out, &self.removed(i, &before), '|', &self.added(j, &after));
            }
            Row::Replaced(i, j) => {
                let (before, after) = (words::plain(old[i]), words::plain(new[j]));
                self.cells(out, &self.removed(i, &before), '|', &self.added(j, &after));
            }
            Row::Removed(i) => {
                let before = self.removed(i, &words::plain(old[i]));
                self.cells(out, &before, '<', &Cell::default());
            }
            Row::Added(j) => {
                let after = self.added(j, &words::plain(new[j]));
                self.cells(out, &Cell::default(), '>', &after);
            }
        }
    }

    fn same(&self, at: usize, line: &str) -> Cell {
        let rows = wrap_code(&words::plain(line), self.text);
        Cell { number: Some(at + 1), rows, ..Cell::default() }
    }

    fn removed(&self, at: usize, spans: &[Span<'_>]) -> Cell {
        let Palette { removed: plain, removed_word: changed, .. } = *self.palette;
        Cell { number: Some(at + 1), rows: self.changed_rows(spans), plain, changed }
    }

    fn added(&self, at: usize, spans: &[Span<'_>]) -> Cell {
        let Palette { added: plain, added_word: changed, .. } = *self.palette;
        Cell { number: Some(at + 1), rows: self.changed_rows(spans), plain, changed }
    }

    fn changed_rows(&self, spans: &[Span<'_>]) -> Vec<Vec<Piece>> {
        let mut spans = spans.to_vec();
        if !spans.last().is_some_and(|last| last.text.ends_with('\n')) {
            spans.push(Span { text: " (no newline)", changed: true });
        }
        wrap_code(&spans, self.text)
    }

    /// Writes two lines beside each other, in as many rows as the longer one needs.
    fn cells(&self, out: &mut String, old: &Cell, mark: char, new: &Cell) {
        for at in 0..old.rows.len().max(new.rows.len()) {
            let mut row = String::new();
            let used = self.half(&mut row, old, at);
            let _ = write!(row, "{:1$} {mark} ", "", self.column - used);
            self.half(&mut row, new, at);
            out.push_str(row.trim_end());
            out.push('\n');
        }
    }

    /// Writes the row `at` of a line, and returns its width.
    fn half(&self, out: &mut String, cell: &Cell, at: usize) -> usize {
        let dim = self.palette.number;
        match cell.number.filter(|_| at == 0) {
            Some(number) => {
                let _ = write!(out, "{dim}{number:>digits$}{dim:#} ", digits = self.digits);
            }
            None => {
                let _ = write!(out, "{:1$} ", "", self.digits);
            }
        }
        let mut used = self.digits + 1;
        let pieces = cell.rows.get(at).map_or(&[][..], Vec::as_slice);
        for run in pieces.chunk_by(|a, b| a.changed == b.changed) {
            let style = if run[0].changed { cell.changed } else { cell.plain };
            let text: String = run.iter().map(|piece| piece.text.as_str()).collect();
            let _ = write!(out, "{style}{text}{style:#}");
            used += run.iter().map(|piece| piece.width).sum::<usize>();
        }
        used
    }
}
