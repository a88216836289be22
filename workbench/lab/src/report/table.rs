//! The result of an experiment as a table for a terminal.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use unicode_width::UnicodeWidthStr as _;

use super::super::case::Case;
use super::super::experiment::Column;
use super::super::measurement::Measurement;
use super::super::origin::Origin;
use super::super::results::ExperimentResult;
use super::super::units::InOneUnit;
use super::remarks::{Kind, remarks};

pub const BOLD: Style = Style::new().bold();
pub const DIM: Style = Style::new().dimmed();
pub const BAD: Style = AnsiColor::Red.on_default().bold();

/// The blanks between two columns.
pub const GAP: usize = 2;

/// The length of a line of prose; longer lines are hard to read.
const PROSE: usize = 100;

/// Returns the figures of one experiment as text, with escape sequences that an `anstream` writes or
/// removes: for each case a line for each server, and below it the remarks. In a narrow terminal the spreads
/// are left out, from the right; in an even narrower one, columns continue below.
#[must_use]
pub fn table(result: &ExperimentResult, width: usize) -> String {
    let experiment = result.experiment;
    let mut text = format!("{BOLD}{}{BOLD:#}\n", experiment.title);
    text += &paragraph(experiment.question, width, "");
    text += &dimmed(&paragraph(&result.setting, width, ""));
    let grid = Grid::new(result);
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
    text += &write_remarks(result, width);
    text.push('\n');
    text + &dimmed(&paragraph(
        &format!("{} {}", experiment.look_at, experiment.prediction),
        width,
        "",
    ))
}

/// The cells of the table.
struct Grid<'a> {
    columns: &'static [Column],
    rows: Vec<(&'a Measurement, Vec<Cell>)>,
    cases: Vec<&'a Case>,
    name_width: usize,
}

struct Cell {
    median: String,
    spread: String,
}

impl<'a> Grid<'a> {
    fn new(result: &'a ExperimentResult) -> Self {
        let columns = result.experiment.columns;
        let is_shown = |row: &&Measurement| result.has_figures(&row.server);
        let shown: Vec<&Measurement> = result.measurements.iter().filter(is_shown).collect();
        let unit = |column: &Column| {
            column.unit.column(shown.iter().filter_map(|row| row.median(column.figure)))
        };
        let units: Vec<InOneUnit> = columns.iter().map(unit).collect();
        let cells = |row: &Measurement| {
            columns.iter().zip(&units).map(|(column, unit)| Cell::new(row, column, *unit)).collect()
        };
        let rows: Vec<_> = shown.iter().map(|row| (*row, cells(row))).collect();
        let names = rows.iter().map(|(row, _)| row.server.width() + 2);
        let name_width = names.max().unwrap_or(0).max("1,000 clients".len());
        Self { columns, rows, cases: result.cases(), name_width }
    }

    /// Explains the numbers in the cells.
    fn legend(&self, width: usize) -> String {
        let runs = self.rows.iter().map(|(row, _)| row.runs.len()).max().unwrap_or(0);
        let has_spread = |full: bool| {
            let shown = self.fitting(0, width);
            shown.iter().enumerate().any(|(i, it)| *it == full && self.parts(i).1 > 0)
        };
        match (runs, has_spread(true), has_spread(false)) {
            (0 | 1, ..) => String::new(),
            (_, true, false) => {
                format!("Medians of {runs} runs; ± is the distance of the furthest run.")
            }
            (_, true, true) => format!(
                "Medians of {runs} runs; ± is the distance of the furthest run, shown for more columns \
                 in a wider terminal."
            ),
            (_, false, true) => {
                format!(
                    "Medians of {runs} runs; a wider terminal shows how far the runs are apart."
                )
            }
            (_, false, false) => format!("Medians of {runs} runs, which all found the same."),
        }
    }

    /// Returns the columns from `first` on that fit, at least one, and whether each has its spread.
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

    /// Returns the width of a column, with or without the spreads.
    fn width(&self, column: usize, full: bool) -> usize {
        let head = self.columns[column].head;
        let head = head.split(' ').map(str::width).max().unwrap_or(0);
        let (median, spread) = self.parts(column);
        head.max(median + if full && spread > 0 { spread + 1 } else { 0 })
    }

    /// Returns the widths of the medians and of the spreads in a column.
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

    /// Writes the headings. A heading that is wider than its column has a line for each word.
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

    fn line(&self, row: &Measurement, cells: &[Cell], first: usize, shown: &[bool]) -> String {
        let style = if row.origin == Origin::User { BOLD } else { Style::new() };
        let mut line = format!("  {style}{}{style:#}", row.server);
        if row.runs.is_empty() {
            let _ = writeln!(line, "  {DIM}not measured{DIM:#}");
            return line;
        }
        if row.is_faulty() {
            let _ = write!(line, " {BAD}!{BAD:#}");
        }
        let used = 2 + row.server.width() + if row.is_faulty() { 2 } else { 0 };
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
    fn new(row: &Measurement, column: &Column, unit: InOneUnit) -> Self {
        let Some(spread) = row.spread(column.figure) else {
            let median = if row.runs.is_empty() { "" } else { "-" };
            return Self { median: median.to_owned(), spread: String::new() };
        };
        let shown = unit.show_spread(spread, row.runs.len());
        Self { median: unit.show(spread.median), spread: shown.unwrap_or_default() }
    }
}

/// Writes the remarks below the table.
fn write_remarks(result: &ExperimentResult, width: usize) -> String {
    let mut text = String::new();
    for remark in remarks(result) {
        let (label, style) = match remark.kind {
            Kind::Fault => ("fault", BAD),
            Kind::NotMeasured => ("", DIM),
            Kind::Note => ("note", DIM),
        };
        let is_plain = label.is_empty();
        let label = if is_plain { String::new() } else { format!("{label}: ") };
        let all = paragraph(&format!("{label}{}: {}", remark.servers, remark.text), width, "  ");
        text += &match remark.kind {
            Kind::Fault => all.replacen(&label, &format!("{style}{label}{style:#}"), 1),
            _ => dimmed(&all),
        };
    }
    if text.is_empty() { text } else { format!("\n{text}") }
}

/// Breaks prose into lines that are easy to read. All lines but the first begin with the indent.
pub fn paragraph(words: &str, width: usize, indent: &str) -> String {
    wrapped(words, width.clamp(20, PROSE), indent)
}

/// Breaks words into lines of this width. All lines but the first begin with the indent.
pub fn wrapped(words: &str, width: usize, indent: &str) -> String {
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

pub fn dimmed(text: &str) -> String {
    if text.trim().is_empty() {
        return String::new();
    }
    format!("{DIM}{}{DIM:#}\n", text.trim_end_matches('\n'))
}

pub fn right(text: &str, width: usize) -> String {
    " ".repeat(width.saturating_sub(text.width())) + text
}

#[cfg(test)]
mod tests {
    use super::super::super::experiments::EXPERIMENTS;
    use super::super::super::sample;
    use super::*;

    fn plain(id: &str, width: usize) -> String {
        anstream::adapter::strip_str(&table(&sample::result(id), width)).to_string()
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
        assert!(
            text.contains("Medians of 3 runs; ± is the distance of the furthest run.\n"),
            "{text}"
        );
        assert!(!text.contains("echo-uni  "), "a server without figures has no line:\n{text}");
    }

    #[test]
    fn a_result_without_servers_says_so() {
        let mut result = sample::result("idle");
        result.measurements.clear();
        let text = anstream::adapter::strip_str(&table(&result, 80)).to_string();
        assert!(text.contains("\nNo server was measured.\n"), "{text}");
    }

    #[test]
    fn tables_fit() {
        for id in EXPERIMENTS.iter().map(|experiment| experiment.id) {
            for width in [40, 60, 80, 100, 120, 200] {
                let text = plain(id, width);
                let widest = text.lines().map(str::width).max().unwrap();
                assert!(widest <= width, "{id} is {widest} wide at {width}:\n{text}");
            }
        }
    }
}
