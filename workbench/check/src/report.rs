//! The report on a server, as text.

use std::fmt::Write as _;
use std::time::Duration;

use crate::style::{BAD, GOOD, UNSURE, WIDTH};
use crate::{Check, Invocation, Outcome, Report, Requirement};

/// A check with its result and its duration.
type Row = (Check, Outcome, Duration);

/// Returns a report as text, without the texts of the failures: [`run_checks`](crate::run_checks) passes each
/// failure to its caller when it happens.
#[must_use]
pub fn report_text(report: &Report, call: &Invocation) -> String {
    let mut text = String::new();
    for rows in report.rows.chunk_by(|(a, ..), (b, ..)| a.theme == b.theme) {
        text += &theme_lines(rows, call);
    }
    text.push('\n');
    for note in &report.notes {
        let _ = writeln!(text, "note: {note}");
    }
    text + &last_line(report, call)
}

/// Returns a line for a theme, and a line for each of its checks that failed, is undecided or was not run.
fn theme_lines(rows: &[Row], call: &Invocation) -> String {
    let theme = rows[0].0.theme;
    let passed = rows.iter().filter(|(_, it, _)| matches!(it, Outcome::Passed)).count();
    let all = rows.iter().filter(|(_, it, _)| !matches!(it, Outcome::NotApplicable(_))).count();
    let style = if passed == all { GOOD } else { UNSURE };
    let counts = format!("{passed:>2} of {all}");
    let mut text = format!("  {:<13}{style}{counts}{style:#}", theme.to_string());
    let limits = rows.iter().filter(|(check, it, _)| {
        matches!(it, Outcome::Passed) && check.requirement(call.profile) == Requirement::MustFail
    });
    for (check, ..) in limits {
        let _ = write!(text, "  ({} failed, as it must for this profile)", check.id);
    }
    text.push('\n');
    for (check, outcome, _) in rows {
        let id = check.id;
        let _ = match outcome {
            Outcome::Passed | Outcome::NotRun(_) | Outcome::NotApplicable(_) => Ok(()),
            Outcome::Failed(_) => writeln!(text, "    {BAD}failed{BAD:#}    {id}"),
            Outcome::Undecided(why) => {
                let lines = watch::wrap(&format!("{id}: {why}"), WIDTH);
                writeln!(text, "    {UNSURE}undecided{UNSURE:#} {}", lines.join("\n              "))
            }
        };
    }
    text + &not_run(rows)
}

/// Returns the checks that were not run, grouped by the reason.
fn not_run(rows: &[Row]) -> String {
    let mut reasons: Vec<((&str, &str), Vec<&str>)> = Vec::new();
    for (check, outcome, _) in rows {
        let reason = match outcome {
            Outcome::NotRun(why) => ("not run", why.as_str()),
            Outcome::NotApplicable(why) => ("not applicable", *why),
            _ => continue,
        };
        match reasons.iter_mut().find(|(it, _)| *it == reason) {
            Some((_, ids)) => ids.push(check.id),
            None => reasons.push((reason, vec![check.id])),
        }
    }
    let mut text = String::new();
    for ((label, why), ids) in reasons {
        for (i, line) in
            watch::wrap(&format!("{} ({why})", ids.join(", ")), WIDTH).iter().enumerate()
        {
            let label = if i == 0 { label } else { "" };
            let _ = writeln!(text, "    {label:<9} {line}");
        }
    }
    text
}

fn last_line(report: &Report, call: &Invocation) -> String {
    let all = report.rows.len() - report.count(|it| matches!(it, Outcome::NotApplicable(_)));
    let failed = report.count(|it| matches!(it, Outcome::Failed(_)));
    let passed = report.count(|it| matches!(it, Outcome::Passed));
    let checks = if all == 1 { "1 check".to_owned() } else { format!("{all} checks") };
    let result = match report.exit_code() {
        0 => format!("{GOOD}pass{GOOD:#}: {passed} of {checks}"),
        1 => format!("{BAD}FAIL{BAD:#}: {failed} of {checks} failed, {passed} passed,"),
        _ => format!("{UNSURE}undecided{UNSURE:#}: {passed} of {checks} passed"),
    };
    let millis = |time: Duration| time.as_secs_f64() * 1000.0;
    let trip = report.round_trip.map(|it| format!(", round trip {:.2} ms", millis(it)));
    let seconds = report.took.as_secs_f64();
    let Invocation { profile, seed, .. } = call;
    let trip = trip.unwrap_or_default();
    let mut text = format!("{result} of {profile} in {seconds:.1} s (seed {seed}{trip})\n");
    let mut easiest = report.rows.iter().filter(|(_, it, _)| matches!(it, Outcome::Failed(_)));
    if let (Some((check, ..)), true) = (easiest.next(), failed > 1) {
        let _ = writeln!(text, "Begin with the first: {}", call.rerun_command_for(check.id));
    }
    text
}
