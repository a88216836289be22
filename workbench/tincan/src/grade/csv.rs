//! The report as CSV, for spreadsheets.

use anyhow::{Context, Result};
use csv::Writer;

use super::outcome::Grades;
use super::weights::points;

/// Returns a row for each submission, and a column for each check.
pub fn as_csv(grades: &Grades) -> Result<Vec<u8>> {
    let mut writer = Writer::from_writer(Vec::new());
    let ids = grades.items.iter().map(|item| item.check.id);
    writer
        .write_record(["submission", "points", "max_points", "remarks"].into_iter().chain(ids))?;
    let max = points(grades.max_points());
    for row in &grades.rows {
        let outcomes = grades.items.iter().map(|item| row.outcome(item.check).name().to_owned());
        let first = [
            without_formula(&row.submission.name),
            points(row.points(&grades.items)),
            max.clone(),
            without_formula(&row.remarks(&grades.items)),
        ];
        writer.write_record(first.into_iter().chain(outcomes))?;
    }
    writer.into_inner().context("writing CSV")
}

/// Puts an apostrophe before a text that a spreadsheet would treat as a formula: the students choose the names of the
/// folders.
fn without_formula(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        format!("'{text}")
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_formula_is_shown_as_text() {
        assert_eq!(without_formula("=1+1"), "'=1+1");
        assert_eq!(without_formula("anna=x"), "anna=x");
    }
}
