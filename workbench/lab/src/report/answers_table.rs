//! The answers as a table for a terminal: one screen.

use std::fmt::Write as _;

use anstyle::Style;
use unicode_width::UnicodeWidthStr as _;

use super::super::answers::{Answers, Cell, Row, Sign};
use super::super::origin::Origin;
use super::super::results::Results;
use super::table::{BAD, BOLD, DIM, GAP, dimmed, paragraph, right, wrapped};

/// The heading.
pub const HEADING: &str = "Which design suits which need?";

/// The names of rows have at least this width. Where less is left, some columns are printed in a further table.
const MIN_LABEL_WIDTH: usize = 21;

/// The blanks before the name of a row that is not the first of its need.
const INDENT: &str = "  ";

/// Returns the answers as text, with escape sequences that an `anstream` writes or removes. If no need was measured,
/// returns only the warnings.
///
/// If one table does not fit, a new table begins at each row that has servers that the table above does not have.
/// Columns that still do not fit are printed in further tables below.
#[must_use]
pub fn answers_table(results: &Results, width: usize) -> String {
    let answers = Answers::find(results);
    if answers.rows.is_empty() {
        let warnings = answers.warnings.join(" ");
        return if warnings.is_empty() { warnings } else { paragraph(&warnings, width, "") };
    }
    let grid = Grid::new(&answers);
    let mut text = String::new();
    for (nth, block) in grid.blocks(width).iter().enumerate() {
        let title = if nth == 0 { Some(HEADING) } else { None };
        text += &grid.write(block, title, width);
    }
    if !answers.warnings.is_empty() {
        text += &paragraph(&answers.warnings.join(" "), width, "");
    }
    text + &dimmed(&paragraph(&explanations(&answers), width, ""))
}

/// Explains the signs and the designs, and says what a reader has to know: all in one paragraph, to save lines.
fn explanations(answers: &Answers<'_>) -> String {
    let mut sentences: Vec<String> = Vec::new();
    let signs: Vec<String> = answers
        .signs()
        .into_iter()
        .map(|sign| format!("{} {}", sign.symbol(), sign.meaning()))
        .collect();
    if !signs.is_empty() {
        sentences.push(format!("{}.", signs.join("; ")));
    }
    sentences.extend(answers.designs.clone());
    sentences.extend_from_slice(&answers.caveats);
    sentences.join(" ")
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
        let mut texts: Vec<Vec<String>> = Vec::new();
        for row in &answers.rows {
            let unit = row.unit();
            let text = |cell: &Option<Cell>| {
                let Some(cell) = cell else { return "-".to_owned() };
                let symbol = cell.sign.map_or("", Sign::symbol);
                format!("{symbol}{}", cell.number(unit))
            };
            texts.push(row.cells.iter().map(text).collect());
        }
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
        let labels =
            self.answers.rows.iter().map(|row| indented_label(row).width()).max().unwrap_or(0);
        if labels + self.width(&all.columns) <= width {
            return vec![all];
        }
        let blocks = self.split_rows();
        blocks.iter().flat_map(|block| self.split_columns(block, width)).collect()
    }

    /// Divides the rows where a row has figures of servers that the rows before do not have.
    fn split_rows(&self) -> Vec<Block> {
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
    fn split_columns(&self, block: &Block, width: usize) -> Vec<Block> {
        let room = width.saturating_sub(MIN_LABEL_WIDTH);
        let mut parts: Vec<Vec<usize>> = Vec::new();
        for column in &block.columns {
            match parts.last_mut() {
                Some(part) if self.width(part) + self.width(&[*column]) <= room => {
                    part.push(*column);
                }
                _ => parts.push(vec![*column]),
            }
        }
        let has_cell = |row: usize, columns: &[usize]| {
            columns.iter().any(|column| self.answers.rows[row].cells[*column].is_some())
        };
        let mut blocks: Vec<Block> = Vec::new();
        for columns in parts {
            let rows = block.rows.iter().copied().filter(|row| has_cell(*row, &columns)).collect();
            blocks.push(Block { rows, columns });
        }
        blocks
    }

    /// Returns the width of some columns with their gaps.
    fn width(&self, columns: &[usize]) -> usize {
        columns.iter().map(|nth| GAP + self.widths[*nth]).sum()
    }

    /// Writes a block. Without a title, the name of its first row begins in the place of the title, to save a line.
    fn write(&self, block: &Block, title: Option<&str>, width: usize) -> String {
        let labels = block.rows.iter().map(|nth| indented_label(&self.answers.rows[*nth]).width());
        let widest = labels.max().unwrap_or(0).max(title.unwrap_or_default().width());
        let room = width.saturating_sub(self.width(&block.columns));
        let label_width = widest.min(room).max(MIN_LABEL_WIDTH);
        let mut labels: Vec<String> = Vec::new();
        for nth in &block.rows {
            let row = &self.answers.rows[*nth];
            labels.push(lines(&row.label(), label_width, indent(row)));
        }
        let mut head = title.map(|title| lines(title, label_width, "")).unwrap_or_default();
        let style = if title.is_some() { BOLD } else { Style::new() };
        if title.is_none()
            && let Some(first) = labels.first_mut()
            && let Some((begin, rest)) = first.split_once('\n')
        {
            begin.clone_into(&mut head);
            *first = rest.to_owned();
        }
        let mut text = self.write_head(block, &head, style, label_width);
        for (nth, label) in block.rows.iter().zip(&labels) {
            text += &self.write_row(*nth, label, &block.columns, label_width);
        }
        text
    }

    /// Writes the lines of the title, and the names of the servers.
    fn write_head(&self, block: &Block, title: &str, style: Style, label_width: usize) -> String {
        let blanks = " ".repeat(label_width.saturating_sub(last_width(title)));
        let mut text = format!("{style}{title}{style:#}{blanks}");
        for column in &block.columns {
            let server = self.answers.servers[*column];
            let style = if server.origin == Origin::User { BOLD } else { DIM };
            let gap = GAP + self.widths[*column] - server.name.width();
            let _ = write!(text, "{}{style}{}{style:#}", " ".repeat(gap), server.name);
        }
        text.push('\n');
        text
    }

    /// Writes a row, whose name may have several lines.
    fn write_row(&self, nth: usize, label: &str, columns: &[usize], label_width: usize) -> String {
        let mut text = label.to_owned();
        text += &" ".repeat(label_width.saturating_sub(last_width(label)));
        for column in columns {
            text += &" ".repeat(GAP);
            text += &self.write_cell(nth, *column);
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
        text
    }

    /// Writes a cell, as wide as its column.
    fn write_cell(&self, row: usize, column: usize) -> String {
        let text = right(&self.texts[row][column], self.widths[column]);
        let style = match self.answers.rows[row].cells[column] {
            None => DIM,
            Some(Cell { sign: Some(Sign::Fault), .. }) => BAD,
            Some(Cell { sign: Some(Sign::Best), .. }) => BOLD,
            Some(_) => return text,
        };
        format!("{style}{text}{style:#}")
    }
}

fn indent(row: &Row<'_>) -> &'static str {
    if row.is_first { "" } else { INDENT }
}

/// Returns the name of a row with its indent.
fn indented_label(row: &Row<'_>) -> String {
    format!("{}{}", indent(row), row.label())
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
    use super::super::super::case::Case;
    use super::super::super::measurement::Measurement;
    use super::super::super::sample;
    use super::*;

    const STAGES: [&str; 5] = ["echo-uni", "echo-multi", "chat-threads", "chat-poll", "chat-async"];

    fn plain(results: &Results, width: usize) -> String {
        anstream::adapter::strip_str(&answers_table(results, width)).to_string()
    }

    /// Returns the results of the stages as `--quick` finds them, on a busy machine with a long name, with a fault, and
    /// with two servers that are as fast as each other.
    fn longest() -> Results {
        let mut results = sample::only(&STAGES);
        results.is_quick = true;
        results.machine.processor = "Intel(R) Xeon(R) Platinum 8370C CPU @ 2.80GHz".to_owned();
        for measurement in &mut results.experiments[0].measurements {
            if measurement.case.clients == 1000 {
                measurement.case = Case::clients(5000);
            }
        }
        for result in &mut results.experiments {
            let is_poll = |it: &&Measurement| it.server == "chat-poll";
            let poll: Vec<Measurement> =
                result.measurements.iter().filter(is_poll).cloned().collect();
            let others = result.measurements.iter_mut().filter(|it| it.server == "chat-async");
            for (measurement, as_fast) in others.zip(poll) {
                measurement.runs = as_fast.runs;
            }
        }
        let failed = results.experiments[0].measurements.iter_mut();
        for measurement in failed.filter(|it| it.server == "chat-threads") {
            measurement.failure = Some("run 3 of 3 failed".to_owned());
        }
        results
    }

    #[test]
    fn the_answers_of_the_stages_fit_on_one_screen() {
        for (width, height, server_cores) in [(80, 24, 1), (80, 24, 3), (120, 24, 1), (120, 24, 3)]
        {
            let mut results = longest();
            results.server_cores = server_cores;
            let text = plain(&results, width);
            // One more line says how long it took, and one is for the prompt.
            assert!(text.lines().count() + 2 <= height, "{width}:\n{text}");
            for sign in Sign::ALL {
                let meaning = format!("{} {}", sign.symbol(), sign.meaning());
                let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
                assert!(words.contains(&meaning), "{meaning}:\n{text}");
            }
        }
    }

    #[test]
    fn warnings_come_before_all_other_sentences() {
        let text = plain(&longest(), 80);
        let place = |sentence: &str| text.find(sentence).unwrap_or_else(|| panic!("{text}"));
        let busy = place(
            "\nOther programs used 7 % of the processors. Faults: see the table “Idle clients”.\n",
        );
        assert!(place("echo-uni") < busy && busy < place("\n* best; "), "{text}");
        assert!(busy < place("echo-uni: one client at a time; "), "{text}");
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
        assert_eq!(words("With a silent client"), "0 ≥1.22 M ≥0.89 M ≥1.44 M ≥1.26 M ≥0.64 M");
        assert!(
            text.contains("\n* best; ≥ possibly limited by the load generator; ! fault."),
            "{text}"
        );
    }

    #[test]
    fn a_server_that_failed_has_a_sign_without_a_number() {
        let mut results = sample::only(&STAGES);
        for measurement in &mut results.experiments[0].measurements {
            if measurement.server == "chat-async" {
                measurement.runs.clear();
                measurement.failure = Some("run 1 of 3 failed".to_owned());
            }
        }
        let text = plain(&results, 120);
        let line = text.lines().find(|line| line.starts_with("1,000 idle clients"));
        assert!(line.is_some_and(|line| line.ends_with(" !")), "{text}");
    }

    #[test]
    fn without_answers_there_are_only_warnings() {
        let mut results = sample::results();
        results.experiments.retain(|it| it.experiment.id == "churn");
        assert_eq!(answers_table(&results, 80), "Other programs used 7 % of the processors.\n");
        results.machine.others_percent = None;
        assert_eq!(answers_table(&results, 80), "");
    }
}
