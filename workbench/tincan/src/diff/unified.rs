//! Shows removed lines above added lines, in the format of patch(1).

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::Range;

use anstyle::Style;
use similar::DiffOp;

use super::lines::Comparison;
use super::paint::{Palette, Screen, visible};
use super::rows::{Row, rows};
use super::sides::Side;
use super::words::{self, Span};
use super::wrap_code::{Piece, wrap_code};

pub fn render(
    [old, new]: [&Side; 2],
    lines: &Comparison<'_>,
    context: usize,
    screen: &Screen,
    columns: Option<usize>,
) -> String {
    let is_raw = screen.is_read_by_program();
    let page = Page { lines, palette: &screen.palette, is_raw, columns };
    let b = page.palette.heading;
    let mut out = format!("{b}--- {}{b:#}\n{b}+++ {}{b:#}\n", file(old), file(new));
    for hunk in lines.hunks(context) {
        page.hunk(&mut out, &hunk);
    }
    out
}

/// Returns a file's name for a heading, with a tab at its end if it contains blanks.
fn file(side: &Side) -> String {
    let end = if side.shown.contains(' ') { "\t" } else { "" };
    format!("{}{end}", visible(&side.shown))
}

struct Page<'a> {
    lines: &'a Comparison<'a>,
    palette: &'a Palette,
    /// Whether control characters are not escaped.
    is_raw: bool,
    /// The width at which lines are wrapped, if they are.
    columns: Option<usize>,
}

impl Page<'_> {
    fn hunk(&self, out: &mut String, hunk: &[DiffOp]) {
        let (Some(first), Some(last)) = (hunk.first(), hunk.last()) else {
            return;
        };
        let old = first.old_range().start..last.old_range().end;
        let new = first.new_range().start..last.new_range().end;
        let place = self.palette.place;
        let _ = write!(out, "{place}@@ -{} +{} @@{place:#}", range(&old), range(&new));
        if let Some(section) = self.lines.section(old.start) {
            let section = self.text(section);
            let taken = 7 + range(&old).len() + range(&new).len();
            let rows = self
                .columns
                .map(|it| wrap_code(&words::plain(&section), it.saturating_sub(taken + 2)));
            match rows {
                Some(rows) if rows.len() > 1 => _ = write!(out, " {}", text(&rows[0])),
                _ => _ = write!(out, " {section}"),
            }
        }
        out.push('\n');
        for op in hunk {
            self.step(out, op);
        }
    }

    /// Writes the removed lines, and then the added lines.
    fn step(&self, out: &mut String, op: &DiffOp) {
        let (old, new) = (&self.lines.old, &self.lines.new);
        let (mut removed, mut added) = (Vec::new(), Vec::new());
        for row in rows(self.lines, op) {
            match row {
                Row::Same(i, _) => self.line(out, ' ', &words::plain(old[i]), |_| Style::new()),
                Row::Counterparts(i, j) => {
                    let [before, after] = words::emphasise(old[i], new[j]);
                    removed.push(before);
                    added.push(after);
                }
                Row::Replaced(i, j) => {
                    removed.push(words::plain(old[i]));
                    added.push(words::plain(new[j]));
                }
                Row::Removed(i) => removed.push(words::plain(old[i])),
                Row::Added(j) => added.push(words::plain(new[j])),
            }
        }
        for line in removed {
            self.line(out, '-', &line, |span| self.palette.removed(span));
        }
        for line in added {
            self.line(out, '+', &line, |span| self.palette.added(span));
        }
    }

    fn line(
        &self,
        out: &mut String,
        mark: char,
        spans: &[Span<'_>],
        style: impl Fn(Span<'_>) -> Style,
    ) {
        let whole = style(Span { text: "", changed: false });
        let rows = self.columns.map(|columns| wrap_code(spans, columns.saturating_sub(1)));
        if let Some(rows) = rows.filter(|rows| rows.len() > 1) {
            for (i, row) in rows.iter().enumerate() {
                let mark = if i == 0 { mark } else { ' ' };
                let _ = write!(out, "{whole}{mark}{whole:#}");
                for run in row.chunk_by(|a, b| a.changed == b.changed) {
                    let style = style(Span { text: "", changed: run[0].changed });
                    let _ = write!(out, "{style}{}{style:#}", text(run));
                }
                out.push('\n');
            }
            return;
        }
        let _ = write!(out, "{whole}{mark}{whole:#}");
        let mut has_end = false;
        for &span in spans {
            let text = span.text.strip_suffix('\n').unwrap_or(span.text);
            has_end = text.len() < span.text.len();
            if !text.is_empty() {
                let style = style(span);
                let _ = write!(out, "{style}{}{style:#}", self.text(text));
            }
        }
        out.push('\n');
        if !has_end {
            out.push_str("\\ No newline at end of file\n");
        }
    }

    fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if self.is_raw { Cow::Borrowed(text) } else { visible(text) }
    }
}

fn text(pieces: &[Piece]) -> String {
    pieces.iter().map(|piece| piece.text.as_str()).collect()
}

/// Returns the lines of a hunk as patch(1) counts them: from 1; an empty range has the number of the line
/// before it.
fn range(lines: &Range<usize>) -> String {
    match lines.len() {
        0 => format!("{},0", lines.start),
        1 => format!("{}", lines.start + 1),
        len => format!("{},{len}", lines.start + 1),
    }
}
