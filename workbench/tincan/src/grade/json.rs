//! The report as JSON.

use serde_json::{Map, Value, json};

use super::outcome::{GradedSubmission, Grades, Outcome, WeightedCheck};

/// Returns all results as one object.
pub fn as_json(grades: &Grades) -> Value {
    let checks = grades.items.iter().map(|WeightedCheck { check, weight }| {
        json!({
            "id": check.id,
            "theme": check.theme.to_string(),
            "title": check.title,
            "rule": check.rule,
            "weight": weight,
        })
    });
    json!({
        "profile": grades.profile,
        "command": grades.command,
        "max_points": grades.max_points(),
        "notes": grades.notes,
        "checks": checks.collect::<Vec<_>>(),
        "submissions": grades.rows.iter().map(|row| row_as_json(row, grades)).collect::<Vec<_>>(),
    })
}

fn row_as_json(row: &GradedSubmission, grades: &Grades) -> Value {
    let outcomes = grades.items.iter().map(|item| {
        let outcome = row.outcome(item.check);
        let mut entry = json!({ "outcome": outcome.name() });
        match outcome {
            Outcome::Passed => {}
            Outcome::Failed { got, text } => {
                entry["got"] = json!(got);
                entry["text"] = json!(text);
            }
            Outcome::Undecided(why) | Outcome::NotRun(why) => entry["why"] = json!(why),
        }
        (item.check.id.to_owned(), entry)
    });
    json!({
        "name": row.submission.name,
        "folder": row.submission.folder.to_string_lossy(),
        "points": row.points(&grades.items),
        "seconds": row.took.as_secs_f64(),
        "ended": row.ended.as_ref().map(ToString::to_string),
        "notes": row.notes,
        "checks": outcomes.collect::<Map<_, _>>(),
    })
}
