//! The report as a page: one HTML file that needs no network, no script and no other file.

use std::fmt::Write as _;

use probe::markup::escape;

use super::outcome::{ENDED_DURING, GradedSubmission, Grades, Outcome, WeightedCheck, not_run};
use super::weights::points;
use crate::output_file;

const STYLE: &str = include_str!("page.css");

/// The beginning of every page: by it, an earlier page is recognized.
const START: &str = "<!DOCTYPE html>\n<!-- tincan grade -->\n";

/// The file of `--html`.
pub const PAGE: output_file::Kind =
    output_file::Kind { start: START, name: "a page of tincan grade", option: "--html" };

/// Returns the whole page.
pub fn page(grades: &Grades) -> String {
    let profile = escape(&grades.profile);
    let mut html = format!(
        "{START}<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>Grades: {profile}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <header>\n<h1>Grades: {profile}</h1>\n<p>{}</p>\n",
        summary(grades)
    );
    for note in &grades.notes {
        let _ = writeln!(html, "<p>{}</p>", escape(note));
    }
    html += "</header>\n<main>\n";
    html += &table(grades);
    for (nth, row) in grades.rows.iter().enumerate() {
        html += &section(nth, row, grades);
    }
    html + "</main>\n</body>\n</html>\n"
}

fn summary(grades: &Grades) -> String {
    format!(
        "Submissions: {}. Checks: {}. Points: {}. Each submission was started with <code>{}</code>.",
        grades.rows.len(),
        grades.items.len(),
        points(grades.max_points()),
        escape(&grades.command)
    )
}

/// Returns the table: a row for each submission, a column for each check.
fn table(grades: &Grades) -> String {
    let mut html = "<div class=\"wide\">\n<table>\n<thead>\n<tr><td></td><td></td>".to_owned();
    for (theme, items) in grades.themes() {
        let _ = write!(html, "<th class=\"theme\" colspan=\"{}\">{theme}</th>", items.len());
    }
    html += "</tr>\n<tr><th class=\"name\">submission</th><th class=\"points\">points</th>";
    for (_, items) in grades.themes() {
        for (nth, WeightedCheck { check, weight }) in items.iter().enumerate() {
            let first = if nth == 0 { " first" } else { "" };
            let title = format!("{}; points: {}", check.title, points(*weight));
            let (id, title) = (check.id, escape(&title));
            let _ =
                write!(html, "<th class=\"id{first}\" title=\"{title}\"><span>{id}</span></th>");
        }
    }
    html += "</tr>\n</thead>\n<tbody>\n";
    for (nth, row) in grades.rows.iter().enumerate() {
        html += &table_row(nth, row, grades);
    }
    html + "</tbody>\n</table>\n</div>\n\
            <p class=\"legend\">✓ passed, ✗ failed, ? undecided, ■ the run ended during this check, · not run. \
            ✗ and ? are links to the details below.</p>\n"
}

fn table_row(nth: usize, row: &GradedSubmission, grades: &Grades) -> String {
    let name = escape(&row.submission.name);
    let mut html = format!(
        "<tr><th class=\"name\"><a href=\"#s{nth}\">{name}</a>{}</th><td class=\"points\">{}</td>",
        row.ended
            .as_ref()
            .map(|it| format!(" <i>{}</i>", it.kind_and_reason().0))
            .unwrap_or_default(),
        points(row.points(&grades.items))
    );
    for (_, items) in grades.themes() {
        for (place, WeightedCheck { check, .. }) in items.iter().enumerate() {
            let outcome = row.outcome(check);
            let (class, sign) = match outcome {
                Outcome::Passed => ("passed", "✓".to_owned()),
                Outcome::Failed { .. } => {
                    ("failed", format!("<a href=\"#s{nth}-{}\">✗</a>", check.id))
                }
                Outcome::Undecided(_) => {
                    ("undecided", format!("<a href=\"#s{nth}-{}\">?</a>", check.id))
                }
                Outcome::NotRun(why) if why == ENDED_DURING => ("ended", "■".to_owned()),
                Outcome::NotRun(_) => ("not-run", "·".to_owned()),
            };
            let first = if place == 0 { " first" } else { "" };
            let title = format!("{name}, {}: {}", check.id, outcome.name());
            let _ = write!(html, "<td class=\"{class}{first}\" title=\"{title}\">{sign}</td>");
        }
    }
    html + "</tr>\n"
}

/// Returns the section of one submission.
fn section(nth: usize, row: &GradedSubmission, grades: &Grades) -> String {
    let mut html = format!(
        "<section id=\"s{nth}\">\n<h2>{}</h2>\n<p>{} of {} points in {:.0} s.</p>\n",
        escape(&row.submission.name),
        points(row.points(&grades.items)),
        points(grades.max_points()),
        row.took.as_secs_f64()
    );
    if let Some(ended) = &row.ended {
        let _ = writeln!(html, "<pre class=\"ended\">{}</pre>", escape(&ended.to_string()));
    }
    for WeightedCheck { check, .. } in &grades.items {
        let id = check.id;
        let _ = match row.outcome(check) {
            Outcome::Failed { text, .. } => writeln!(
                html,
                "<details open id=\"s{nth}-{id}\"><summary>{id}: {}</summary>\n<pre>{}</pre></details>",
                escape(check.title),
                escape(text.trim_end())
            ),
            Outcome::Undecided(why) => {
                writeln!(
                    html,
                    "<p id=\"s{nth}-{id}\"><b>{id}</b> could not decide: {}</p>",
                    escape(why)
                )
            }
            Outcome::Passed | Outcome::NotRun(_) => Ok(()),
        };
    }
    for (why, ids) in row.not_run(&grades.items) {
        let _ = writeln!(html, "<p>Not run: {} ({}).</p>", not_run(&ids, why), escape(why));
    }
    for note in &row.notes {
        let _ = writeln!(html, "<p>Note: {}</p>", escape(note));
    }
    html + "</section>\n"
}
