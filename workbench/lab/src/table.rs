//! An outcome as a table for a terminal.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use unicode_width::UnicodeWidthStr as _;

use super::remarks::{Kind, is_absent, is_faulty, remarks};
use super::units::InOneUnit;
use super::{Case, Column, Origin, Outcome, Row};

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const BAD: Style = AnsiColor::Red.on_default().bold();

/// Between two columns.
const GAP: usize = 2;

/// Longer lines of prose are hard to read.
const PROSE: usize = 100;

/// One experiment's figures, as text with escape sequences for an [`anstream`] to write or strip:
/// for each case a line for each server, below it what has to be said besides. Where the terminal
/// is narrow the spreads are left out, from the right; where it is narrower still, the columns go
/// on below.
#[must_use]
pub fn table(outcome: &Outcome, width: usize) -> String {
    let experiment = outcome.experiment;
    let mut text = format!("{BOLD}{}{BOLD:#}\n", experiment.title);
    text += &paragraph(experiment.question, width, "");
    if !outcome.setting.is_empty() {
        text += &dimmed(&paragraph(&outcome.setting, width, ""));
    }
    let grid = Grid::new(outcome);
    text += &dimmed(&paragraph(&grid.legend(width), width, ""));
    if grid.rows.is_empty() {
        text += "\nNo server was measured.\n";
    }
    let mut rest = experiment.columns.len();
    while rest > 0 && !grid.rows.is_empty() {
        let first = experiment.columns.len() - rest;
        let shown = grid.fitting(first, width);
        text.push('\n');
        text += &grid.write(first, &shown);
        rest -= shown.len();
    }
    text + &told(outcome, width)
}

/// What stands in each row and column, with and without its spread.
struct Grid<'a> {
    columns: &'static [Column],
    rows: Vec<(&'a Row, Vec<Cell>)>,
    cases: Vec<&'a Case>,
    name_width: usize,
}

struct Cell {
    median: String,
    spread: String,
}

impl<'a> Grid<'a> {
    fn new(outcome: &'a Outcome) -> Self {
        let columns = outcome.experiment.columns;
        let is_shown = |row: &&Row| !is_absent(outcome, &row.server);
        let shown: Vec<&Row> = outcome.rows.iter().filter(is_shown).collect();
        let units: Vec<InOneUnit> = columns.iter().map(|it| it.in_one_unit(&shown)).collect();
        let cells = |row: &Row| {
            columns.iter().zip(&units).map(|(column, unit)| Cell::new(row, column, *unit)).collect()
        };
        let rows: Vec<_> = shown.iter().map(|row| (*row, cells(row))).collect();
        let names = rows.iter().map(|(row, _)| row.server.width() + 2);
        let name_width = names.max().unwrap_or(0).max("1,000 clients".len());
        Self { columns, rows, cases: outcome.cases(), name_width }
    }

    /// What the numbers are, as far as that is not told above them.
    fn legend(&self, width: usize) -> String {
        let runs = self.rows.iter().map(|(row, _)| row.runs.len()).max().unwrap_or(0);
        let has_spread = |full: bool| {
            let shown = self.fitting(0, width);
            shown.iter().enumerate().any(|(i, it)| *it == full && self.parts(i).1 > 0)
        };
        match (runs, has_spread(true), has_spread(false)) {
            (0 | 1, ..) => String::new(),
            (_, true, false) => format!("Medians of {runs} runs; ± is how far the furthest is."),
            (_, true, true) => format!(
                "Medians of {runs} runs; ± is how far the furthest is, for more columns in a wider \
                 terminal."
            ),
            (_, false, true) => {
                format!("Medians of {runs} runs; a wider terminal shows how far these are apart.")
            }
            (_, false, false) => format!("Medians of {runs} runs, which all found the same."),
        }
    }

    /// From this column on, those that fit, and whether each has its spread: at least one.
    fn fitting(&self, first: usize, width: usize) -> Vec<bool> {
        let room = width.saturating_sub(self.name_width);
        let wide = |shown: &[bool]| -> usize {
            shown.iter().enumerate().map(|(i, full)| GAP + self.width(first + i, *full)).sum()
        };
        let mut shown = vec![true; self.columns.len() - first];
        while wide(&shown) > room {
            match shown.iter().rposition(|full| *full) {
                Some(last) => shown[last] = false,
                None if shown.len() > 1 => shown.truncate(shown.len() - 1),
                None => break,
            }
        }
        shown
    }

    /// A column's width, with or without the spreads.
    fn width(&self, column: usize, full: bool) -> usize {
        let head = self.columns[column].head;
        let head = head.split(' ').map(str::width).max().unwrap_or(0);
        let (median, spread) = self.parts(column);
        head.max(median + if full && spread > 0 { spread + 1 } else { 0 })
    }

    /// The widths of its medians and of its spreads.
    fn parts(&self, column: usize) -> (usize, usize) {
        let widest = |of: fn(&Cell) -> &str| {
            self.rows.iter().map(|(_, cells)| of(&cells[column]).width()).max().unwrap_or(0)
        };
        (widest(|cell| &cell.median), widest(|cell| &cell.spread))
    }

    fn write(&self, first: usize, shown: &[bool]) -> String {
        let mut text = self.heads(first, shown);
        for case in &self.cases {
            let rows: Vec<_> = self.rows.iter().filter(|(row, _)| row.case == **case).collect();
            if rows.is_empty() {
                continue;
            }
            let _ = writeln!(text, "{DIM}{}{DIM:#}", case.label);
            for (row, cells) in rows {
                text += &self.line(row, cells, first, shown);
            }
        }
        text
    }

    /// What stands above the columns, in as many lines as the longest has words to break at.
    fn heads(&self, first: usize, shown: &[bool]) -> String {
        let heads: Vec<Vec<&str>> = shown
            .iter()
            .enumerate()
            .map(|(i, full)| {
                let head = self.columns[first + i].head;
                let fits = head.width() <= self.width(first + i, *full);
                if fits { vec![head] } else { head.split(' ').collect() }
            })
            .collect();
        let height = heads.iter().map(Vec::len).max().unwrap_or(0);
        let mut text = String::new();
        for line in 0..height {
            let mut heading = " ".repeat(self.name_width);
            for (i, words) in heads.iter().enumerate() {
                let word = (line + words.len()).checked_sub(height).map_or("", |nth| words[nth]);
                heading += &" ".repeat(GAP);
                heading += &right(word, self.width(first + i, shown[i]));
            }
            let _ = writeln!(text, "{DIM}{}{DIM:#}", heading.trim_end());
        }
        text
    }

    fn line(&self, row: &Row, cells: &[Cell], first: usize, shown: &[bool]) -> String {
        let style = if row.origin == Origin::Mine { BOLD } else { Style::new() };
        let mut line = format!("  {style}{}{style:#}", row.server);
        if row.runs.is_empty() {
            let _ = writeln!(line, "  {DIM}not measured{DIM:#}");
            return line;
        }
        if is_faulty(row) {
            let _ = write!(line, " {BAD}!{BAD:#}");
        }
        let used = 2 + row.server.width() + if is_faulty(row) { 2 } else { 0 };
        line += &" ".repeat(self.name_width.saturating_sub(used));
        for (i, full) in shown.iter().enumerate() {
            let cell = &cells[first + i];
            let (_, spread) = self.parts(first + i);
            let wide = self.width(first + i, *full);
            let spread = if *full && spread > 0 { spread + 1 } else { 0 };
            line += &" ".repeat(GAP);
            line += &right(&cell.median, wide - spread);
            if spread > 0 {
                let _ = write!(line, "{DIM}{}{DIM:#}", right(&cell.spread, spread));
            }
        }
        line.push('\n');
        line
    }
}

impl Cell {
    fn new(row: &Row, column: &Column, unit: InOneUnit) -> Self {
        let Some(spread) = row.spread(column.figure) else {
            let median = if row.runs.is_empty() { "" } else { "-" };
            return Self { median: median.to_owned(), spread: String::new() };
        };
        let shown = unit.show_spread(spread, row.runs.len());
        Self { median: unit.show(spread.median), spread: shown.unwrap_or_default() }
    }
}

/// The remarks, below the table.
fn told(outcome: &Outcome, width: usize) -> String {
    let mut text = String::new();
    for remark in remarks(outcome) {
        let (label, style) = match remark.kind {
            Kind::Fault => ("fault", BAD),
            Kind::Missing => ("", DIM),
            Kind::Note => ("note", DIM),
        };
        let is_plain = label.is_empty();
        let label = if is_plain { String::new() } else { format!("{label}: ") };
        let all = paragraph(&format!("{label}{}: {}", remark.whom, remark.text), width, "  ");
        text += &match remark.kind {
            Kind::Fault => all.replacen(&label, &format!("{style}{label}{style:#}"), 1),
            _ => dimmed(&all),
        };
    }
    if text.is_empty() { text } else { format!("\n{text}") }
}

/// Words in lines that fit; all but the first begin with the indent.
fn paragraph(words: &str, width: usize, indent: &str) -> String {
    let width = width.clamp(20, PROSE);
    let (mut text, mut line) = (String::new(), String::new());
    for word in words.split_whitespace() {
        if !line.trim().is_empty() && line.width() + 1 + word.width() > width {
            text = text + &line + "\n";
            indent.clone_into(&mut line);
            line += word;
            continue;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += word;
    }
    text + &line + "\n"
}

fn dimmed(text: &str) -> String {
    if text.trim().is_empty() {
        return String::new();
    }
    format!("{DIM}{}{DIM:#}\n", text.trim_end_matches('\n'))
}

fn right(text: &str, width: usize) -> String {
    " ".repeat(width.saturating_sub(text.width())) + text
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    fn plain(id: &str, width: usize) -> String {
        anstream::adapter::strip_str(&table(&sample::outcome(id), width)).to_string()
    }

    #[test]
    fn a_table_has_medians_spreads_gaps_and_faults() {
        let text = plain("idle", 90);
        let line = |start: &str| {
            let found = text.lines().rev().find(|line| line.trim_start().starts_with(start));
            found.unwrap_or_else(|| panic!("no line begins with {start}:\n{text}")).to_owned()
        };
        assert_eq!(
            line("chat-poll"),
            "  chat-poll     0.43 KiB  ±3 %  2.71 MiB  ±3 %        1        1,009   2,100 µs  ±3 %"
        );
        assert_eq!(line("ncat "), "ncat (1,000 clients): not measured: takes 990 clients at most");
        assert!(text.contains("\n  ncat  not measured\n"), "{text}");
        assert!(line("mine !").contains("22.4 KiB"));
        assert!(line("fault:").starts_with("fault: mine (1,000 clients): 3 clients were closed"));
        assert!(text.contains("Medians of 3 runs; ± is how far the furthest is.\n"), "{text}");
        assert!(!text.contains("echo-uni  "), "who was not measured at all has no line:\n{text}");
    }

    #[test]
    fn an_outcome_without_rows_says_so() {
        let mut outcome = sample::outcome("idle");
        outcome.rows.clear();
        let text = anstream::adapter::strip_str(&table(&outcome, 80)).to_string();
        assert!(text.ends_with("\nNo server was measured.\n"), "{text}");
    }

    #[test]
    fn tables_fit() {
        for id in ["idle", "roundtrip", "fanout", "rate", "frozen", "connections", "churn"] {
            for width in [40, 60, 80, 100, 120, 200] {
                let text = plain(id, width);
                let widest = text.lines().map(str::width).max().unwrap();
                assert!(widest <= width, "{id} is {widest} wide at {width}:\n{text}");
            }
        }
    }
}
