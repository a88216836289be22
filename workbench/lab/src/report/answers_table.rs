//! The answers as a table for a terminal: one screen.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr as _;

use super::super::answers::{Answers, Cell, Mark, Row, Sign};
use super::super::origin::Origin;
use super::super::results::Results;
use super::table::{BAD, BOLD, DIM, GAP, dimmed, paragraph, right, wrapped};

/// The heading.
pub const QUESTION: &str = "Which design for which need?";

/// The names of rows have at least this width. Where less is left, columns continue below.
const NAMES: usize = 21;

/// The blanks before the name of a row that is not the first of its need.
const INDENT: &str = "  ";

/// Returns the answers as text, with escape sequences that an `anstream` writes or removes. Returns an empty text if
/// no need was measured.
///
/// Where one table does not fit, servers of other kinds have a table of their own below.
#[must_use]
pub fn answers_table(results: &Results, width: usize) -> String {
    let answers = Answers::find(results);
    if answers.rows.is_empty() {
        return String::new();
    }
    let grid = Grid::new(&answers);
    let mut text = String::new();
    for (nth, block) in grid.blocks(width).iter().enumerate() {
        let title = if nth == 0 { QUESTION } else { "" };
        text += &grid.write(block, title, width);
    }
    let signs = answers.signs().into_iter().map(|it| format!("{} {}", it.symbol(), it.meaning()));
    let signs = signs.collect::<Vec<_>>().join("; ");
    if !signs.is_empty() {
        text += &dimmed(&paragraph(&format!("{signs}."), width, ""));
    }
    text + &dimmed(&paragraph(&answers.caveats.join(" "), width, ""))
}

/// The cells as they are printed.
struct Grid<'a> {
    answers: &'a Answers<'a>,
    /// For each row, the text of each cell.
    texts: Vec<Vec<String>>,
    /// The width of each column.
    widths: Vec<usize>,
}

/// Some of the rows with some of the columns.
struct Block {
    rows: Vec<usize>,
    columns: Vec<usize>,
}

impl<'a> Grid<'a> {
    fn new(answers: &'a Answers<'a>) -> Self {
        let texts = |row: &Row<'_>| -> Vec<String> {
            let unit = row.unit();
            let text = |cell: &Option<Cell>| {
                let Some(cell) = cell else { return "-".to_owned() };
                let sign = cell.sign().map_or("", Sign::symbol);
                format!("{sign}{}", cell.number(unit))
            };
            row.cells.iter().map(text).collect()
        };
        let texts: Vec<Vec<String>> = answers.rows.iter().map(texts).collect();
        let width = |nth: usize| {
            let cells = texts.iter().map(|row| row[nth].width());
            cells.max().unwrap_or(0).max(answers.servers[nth].name.width())
        };
        let widths = (0..answers.servers.len()).map(width).collect();
        Self { answers, texts, widths }
    }

    /// Returns the blocks, which are printed one below the other.
    fn blocks(&self, width: usize) -> Vec<Block> {
        let all = Block {
            rows: (0..self.answers.rows.len()).collect(),
            columns: (0..self.answers.servers.len()).collect(),
        };
        let names = self.answers.rows.iter().map(|row| name(row).width()).max().unwrap_or(0);
        if names + self.width(&all.columns) <= width {
            return vec![all];
        }
        let blocks = self.by_servers();
        blocks.iter().flat_map(|block| self.fitting(block, width)).collect()
    }

    /// Divides the rows where a row has figures of servers that the rows before do not have.
    fn by_servers(&self) -> Vec<Block> {
        let rows = &self.answers.rows;
        let mut blocks: Vec<Block> = Vec::new();
        for (nth, row) in rows.iter().enumerate() {
            let same = || rows.iter().filter(|it| it.need.experiment == row.need.experiment);
            let columns: Vec<usize> = (0..self.answers.servers.len())
                .filter(|column| same().any(|it| it.cells[*column].is_some()))
                .collect();
            match blocks.last_mut() {
                Some(last) if columns.iter().all(|it| last.columns.contains(it)) => {
                    last.rows.push(nth);
                }
                _ => blocks.push(Block { rows: vec![nth], columns }),
            }
        }
        blocks
    }

    /// Divides the columns of a block so that each part fits.
    fn fitting(&self, block: &Block, width: usize) -> Vec<Block> {
        let mut parts: Vec<Vec<usize>> = Vec::new();
        for column in &block.columns {
            match parts.last_mut() {
                Some(part) if NAMES + self.width(part) + self.width(&[*column]) <= width => {
                    part.push(*column);
                }
                _ => parts.push(vec![*column]),
            }
        }
        let has_cell = |row: usize, columns: &[usize]| {
            columns.iter().any(|column| self.answers.rows[row].cells[*column].is_some())
        };
        let block = |columns: Vec<usize>| {
            let rows = block.rows.iter().copied().filter(|row| has_cell(*row, &columns));
            Block { rows: rows.collect(), columns }
        };
        parts.into_iter().map(block).collect()
    }

    /// Returns the width of some columns with their gaps.
    fn width(&self, columns: &[usize]) -> usize {
        columns.iter().map(|nth| GAP + self.widths[*nth]).sum()
    }

    fn write(&self, block: &Block, title: &str, width: usize) -> String {
        let rows = || block.rows.iter().map(|nth| (*nth, &self.answers.rows[*nth]));
        let widest = rows().map(|(_, row)| name(row).width()).chain([title.width()]).max();
        let names = widest.unwrap_or(0).min(width.saturating_sub(self.width(&block.columns)));
        let names = names.max(NAMES);
        let mut text = lines(title, names, "");
        let used = last_width(&text);
        text = format!("{BOLD}{text}{BOLD:#}{}", " ".repeat(names - used.min(names)));
        for column in &block.columns {
            let server = self.answers.servers[*column];
            let style = if server.origin == Origin::User { BOLD } else { DIM };
            let gap = GAP + self.widths[*column] - server.name.width();
            let _ = write!(text, "{}{style}{}{style:#}", " ".repeat(gap), server.name);
        }
        text.push('\n');
        for (nth, row) in rows() {
            let indent = if row.is_first() { "" } else { INDENT };
            let written = lines(&row.label(), names, indent);
            text += &written;
            text += &" ".repeat(names - last_width(&written).min(names));
            for column in &block.columns {
                text += &" ".repeat(GAP);
                text += &self.cell(nth, *column);
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        text
    }

    /// Writes a cell, as wide as its column.
    fn cell(&self, row: usize, column: usize) -> String {
        let text = right(&self.texts[row][column], self.widths[column]);
        let style = match &self.answers.rows[row].cells[column] {
            None => DIM,
            Some(cell) if cell.is_faulty => BAD,
            Some(cell) if cell.mark == Mark::Best => BOLD,
            Some(_) => return text,
        };
        format!("{style}{text}{style:#}")
    }
}

/// Returns the name of a row with its indent.
fn name(row: &Row<'_>) -> String {
    let indent = if row.is_first() { "" } else { INDENT };
    format!("{indent}{}", row.label())
}

/// Breaks a name into lines that all begin with the indent. The last one does not end with a line break.
fn lines(name: &str, width: usize, indent: &str) -> String {
    let text = wrapped(name, width.saturating_sub(indent.len()), "");
    let lines = text.trim_end().lines().map(|line| format!("{indent}{line}"));
    lines.collect::<Vec<_>>().join("\n")
}

fn last_width(text: &str) -> usize {
    text.lines().last().map_or(0, str::width)
}

#[cfg(test)]
mod tests {
    use super::super::super::sample;
    use super::*;

    fn plain(results: &Results, width: usize) -> String {
        anstream::adapter::strip_str(&answers_table(results, width)).to_string()
    }

    #[test]
    fn the_answers_of_the_stages_fit_on_one_screen() {
        let stages = ["echo-uni", "echo-multi", "chat-threads", "chat-poll", "chat-async"];
        for (width, height) in [(80, 24), (120, 24)] {
            let text = plain(&sample::only(&stages), width);
            // Two more lines say how long it took, and one is for the prompt.
            assert!(text.lines().count() + 3 <= height, "{width}:\n{text}");
        }
    }

    #[test]
    fn the_answers_fit_into_any_width() {
        for width in [40, 60, 80, 100, 120, 200] {
            let text = plain(&sample::results(), width);
            let widest = text.lines().map(str::width).max().unwrap();
            assert!(widest <= width, "it is {widest} wide at {width}:\n{text}");
        }
    }

    #[test]
    fn one_table_is_divided_where_it_does_not_fit() {
        let heads = |width| {
            let text = plain(&sample::results(), width);
            let is_head = |line: &&str| line.trim_end().ends_with("mine");
            text.lines().filter(is_head).map(|line| line.contains("echo-uni")).collect::<Vec<_>>()
        };
        assert_eq!(heads(120), [true]);
        assert_eq!(heads(100), [false, true]);
    }

    #[test]
    fn cells_have_signs_and_numbers() {
        let text = plain(&sample::results(), 120);
        let line = |start: &str| {
            text.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{text}"))
        };
        let words = |start: &str| {
            line(start)[start.len()..].split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            words("1,000 idle clients: memory each"),
            "- - 22.4 KiB *0.43 KiB 0.56 KiB !22.4 KiB"
        );
        assert_eq!(
            words("  beside a silent one"),
            "0 =≥1.22 M =≥0.89 M *≥1.44 M =≥1.26 M =≥0.64 M"
        );
        assert!(text.contains("\n* best; "), "{text}");
    }

    #[test]
    fn nothing_is_written_without_answers() {
        let mut results = sample::results();
        results.experiments.retain(|it| it.experiment.id == "churn");
        assert_eq!(answers_table(&results, 80), "");
    }
}
