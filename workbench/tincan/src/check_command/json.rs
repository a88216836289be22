use std::time::Duration;

use check::{Check, Finding, Invocation, Outcome, Report, failure_text, plain};
use probe::Description;
use serde_json::{Value, json};

/// Returns a report as JSON.
pub fn as_json(report: &Report, call: &Invocation) -> Value {
    let rows =
        report.rows.iter().map(|(check, outcome, took)| row_as_json(check, outcome, *took, call));
    json!({
        "profile": call.profile.to_string(),
        "target": call.target,
        "seed": call.seed,
        "round_trip_seconds": report.round_trip.map(|it| it.as_secs_f64()),
        "seconds": report.took.as_secs_f64(),
        "exit_code": report.exit_code(),
        "notes": report.notes,
        "checks": rows.collect::<Vec<_>>(),
    })
}

/// Returns a check with its result as JSON.
pub fn row_as_json(check: &Check, outcome: &Outcome, took: Duration, call: &Invocation) -> Value {
    let mut row = json!({
        "id": check.id,
        "theme": check.theme.to_string(),
        "title": check.title,
        "rule": check.rule,
        "asked": check.requirement(call.profile).to_string(),
        "outcome": outcome_name(outcome),
        "seconds": took.as_secs_f64(),
    });
    match outcome {
        Outcome::Passed => {}
        Outcome::Undecided(why) | Outcome::NotRun(why) => row["why"] = json!(why),
        Outcome::NotApplicable(why) => row["why"] = json!(why),
        Outcome::Failed(finding) => row["failure"] = finding_as_json(check, finding, call),
    }
    row
}

/// Returns the same with only a part of a failure: a server may have sent many MiB, and `grade` reads the rows of a whole
/// class.
pub fn short_row_as_json(
    check: &Check,
    outcome: &Outcome,
    took: Duration,
    call: &Invocation,
) -> Value {
    let mut row = row_as_json(check, outcome, took, call);
    if let Some(failure) = row.get_mut("failure") {
        *failure = json!({ "got": { "text": failure["got"]["text"] }, "text": failure["text"] });
    }
    row
}

fn finding_as_json(check: &Check, finding: &Finding, call: &Invocation) -> Value {
    let described = |it: &Description| {
        let hex = it.bytes.as_ref().map(|bytes| hex(bytes));
        json!({ "text": it.to_string(), "hex": hex })
    };
    json!({
        "did": finding.failure.did,
        "expected": described(&finding.failure.expected),
        "got": described(&finding.failure.got),
        "hints": check.hints.iter().take(call.hints.into()).collect::<Vec<_>>(),
        "read": call.where_to_read(check.page),
        "again": call.rerun_command_for(check.id),
        "text": plain(&failure_text(check, finding, call)),
        "picture": finding.client_steps,
        "threads": finding.thread_chart,
        "output": finding.output,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|it| char::from_digit(it.into(), 16))
        .collect()
}

fn outcome_name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "passed",
        Outcome::Failed(_) => "failed",
        Outcome::Undecided(_) => "undecided",
        Outcome::NotRun(_) => "not tried",
        Outcome::NotApplicable(_) => "not asked",
    }
}
