//! The report as text: a table of the themes, and remarks on each submission.

use std::fmt::Write as _;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::outcome::{
    Ended, GradedSubmission, Grades, Outcome, WeightedCheck, first_line, not_run,
};
use super::weights::points;

/// The blanks between two columns.
const GAP: usize = 2;

/// The smallest width of the names, in columns of the terminal.
const MIN_NAME_WIDTH: usize = 12;

/// A column of the table: the two lines of its heading, and its cells.
struct Column {
    heading: [String; 2],
    cells: Vec<String>,
}

impl Column {
    fn width(&self) -> usize {
        self.heading.iter().chain(&self.cells).map(|text| text.width()).max().unwrap_or_default()
    }
}

/// Returns the report for a terminal with this number of columns.
pub fn report(grades: &Grades, width: usize) -> String {
    let mut text = table(grades, width);
    for row in &grades.rows {
        text += &remarks(row, grades, width);
    }
    text.push('\n');
    for note in &grades.notes {
        text += &wrapped("note: ", note, width);
    }
    let perfect =
        grades.rows.iter().filter(|row| grades.items.iter().all(|item| row.has_passed(item.check)));
    let checks = if grades.items.len() == 1 { "the check" } else { "all checks" };
    let perfect = perfect.count();
    let all = grades.rows.len();
    let profile = &grades.profile;
    let _ = writeln!(text, "Submissions that passed {checks} of {profile}: {perfect} of {all}.");
    text
}

fn table(grades: &Grades, width: usize) -> String {
    let columns: Vec<_> = columns(grades);
    let other_width: usize = columns.iter().map(|column| GAP + column.width()).sum();
    let names = grades.rows.iter().map(|row| row.submission.name.width());
    let longest = names.max().unwrap_or_default().max("submission".len());
    let name_width = longest.min(width.saturating_sub(other_width).max(MIN_NAME_WIDTH));
    let mut text = String::new();
    for (nth, first) in ["", "submission"].into_iter().enumerate() {
        text += &line(first, name_width, columns.iter().map(|it| (&*it.heading[nth], it.width())));
    }
    for (nth, row) in grades.rows.iter().enumerate() {
        let name = &row.submission.name;
        text += &line(name, name_width, columns.iter().map(|it| (&*it.cells[nth], it.width())));
    }
    // If no heading has two lines, the first line is empty.
    text.trim_start_matches('\n').to_owned()
}

/// Returns a column for each theme, and one for the points.
fn columns(grades: &Grades) -> Vec<Column> {
    let theme = |(theme, items): (check::Theme, &[WeightedCheck])| {
        let cell = |row: &GradedSubmission| {
            let passed = items.iter().filter(|item| row.has_passed(item.check)).count();
            format!("{passed}/{}", items.len())
        };
        Column {
            heading: split_heading(&theme.to_string()),
            cells: grades.rows.iter().map(cell).collect(),
        }
    };
    let most = points(grades.max_points());
    let sum = |row: &GradedSubmission| format!("{}/{most}", points(row.points(&grades.items)));
    let points =
        Column { heading: split_heading("points"), cells: grades.rows.iter().map(sum).collect() };
    grades.themes().map(theme).chain([points]).collect()
}

/// Breaks a heading of two words.
fn split_heading(heading: &str) -> [String; 2] {
    let (first, second) = heading.split_once(' ').unwrap_or(("", heading));
    [first.to_owned(), second.to_owned()]
}

fn line<'a>(
    name: &str,
    name_width: usize,
    cells: impl Iterator<Item = (&'a str, usize)>,
) -> String {
    let mut line = fit(name, name_width);
    for (cell, width) in cells {
        let _ = write!(line, "{:blank$}{cell}", "", blank = GAP + width - cell.width());
    }
    line.truncate(line.trim_end().len());
    line + "\n"
}

/// Shortens a name to this number of columns, or pads it with blanks.
fn fit(name: &str, columns: usize) -> String {
    let mut shown = name.to_owned();
    if name.width() > columns {
        let mut used = 1;
        let fits = |ch: &char| {
            used += ch.width().unwrap_or_default();
            used <= columns
        };
        shown = name.chars().take_while(fits).chain(['…']).collect();
    }
    let blank = columns.saturating_sub(shown.width());
    shown + &" ".repeat(blank)
}

/// Returns the remarks on a submission; an empty text if there is nothing to say.
fn remarks(row: &GradedSubmission, grades: &Grades, width: usize) -> String {
    let mut text = String::new();
    let mut remark = |label: &str, body: &str| {
        text += &wrapped(&format!("  {label:<11} "), body, width);
    };
    if let Some((label, why)) = row.ended.as_ref().map(Ended::kind_and_reason) {
        remark(label, &short_reason(why));
    }
    for WeightedCheck { check, .. } in &grades.items {
        match row.outcome(check) {
            Outcome::Failed { .. } => remark("failed", &format!("{}: {}", check.id, check.title)),
            Outcome::Undecided(why) => remark("undecided", &format!("{}: {why}", check.id)),
            Outcome::Passed | Outcome::NotRun(_) => {}
        }
    }
    let reasons = row.not_run(&grades.items);
    if row.ended.is_none() && !reasons.is_empty() {
        // The page of `--html` says which failure each check depends on.
        let ids: Vec<_> = reasons.into_iter().flat_map(|(_, ids)| ids).collect();
        remark("not run", &format!("{} (easier checks did not pass)", ids.join(", ")));
    } else {
        for (why, ids) in reasons {
            remark("not run", &format!("{} ({why})", not_run(&ids, why)));
        }
    }
    for note in &row.notes {
        remark("note", note);
    }
    if text.is_empty() { text } else { format!("\n{}\n{text}", row.submission.name) }
}

/// Returns the first line of a reason, and the last line that the server has printed.
fn short_reason(why: &str) -> String {
    let first = first_line(why);
    let printed = |line: &&str| line.starts_with("stderr| ") || line.starts_with("stdout| ");
    match why.lines().rfind(printed) {
        Some(last) => format!("{first}; its last line: {}", last["stderr| ".len()..].trim()),
        None => first.to_owned(),
    }
}

/// Breaks a text into lines, with the label before the first.
fn wrapped(label: &str, text: &str, width: usize) -> String {
    let indent = label.width();
    let lines = watch::wrap(text, width.saturating_sub(indent).max(20));
    let mut shown = String::new();
    for (nth, line) in lines.iter().enumerate() {
        let label = if nth == 0 { label } else { "" };
        let _ = writeln!(shown, "{label:<indent$}{line}");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_ends_with_an_ellipsis() {
        assert_eq!(fit("anna", 6), "anna  ");
        assert_eq!(fit("annabella", 6), "annab…");
        assert_eq!(fit("日本語です", 6), "日本… ");
    }

    #[test]
    fn a_reason_says_what_the_server_printed_last() {
        let why = "it has ended\nThe last lines that it printed:\nstderr| Trace\nstderr| NameError";
        assert_eq!(short_reason(why), "it has ended; its last line: NameError");
    }
}
