//! The report as CSV, for spreadsheets.

use anyhow::{Context, Result};
use csv::Writer;

use super::outcome::Grades;
use super::weights::points;

/// Returns a row for each submission, and a column for each check.
pub fn as_csv(grades: &Grades) -> Result<Vec<u8>> {
    let mut writer = Writer::from_writer(Vec::new());
    let ids = grades.items.iter().map(|item| item.check.id);
    writer.write_record(["submission", "points", "of", "remarks"].into_iter().chain(ids))?;
    let of = points(grades.most_points());
    for row in &grades.rows {
        let outcomes = grades.items.iter().map(|item| row.outcome(item.check).name().to_owned());
        let first = [
            text(&row.submission.name),
            points(row.points(&grades.items)),
            of.clone(),
            text(&row.remarks(&grades.items)),
        ];
        writer.write_record(first.into_iter().chain(outcomes))?;
    }
    writer.into_inner().context("writing CSV")
}

/// Marks a text that a spreadsheet would take for a formula. The names of folders come from the students.
fn text(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t']) { format!("'{text}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_formula_is_shown_as_text() {
        assert_eq!(text("=1+1"), "'=1+1");
        assert_eq!(text("anna=x"), "anna=x");
    }
}
