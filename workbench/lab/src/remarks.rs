//! What has to be told of an outcome besides its figures: faults, gaps, notes.

use super::{Case, Outcome, Row};

/// How grave it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The figures are not to be trusted.
    Fault,
    /// There are no figures.
    Missing,
    /// There are figures, and something to know of them.
    Note,
}

/// A sentence, and the servers and cases that it is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Remark {
    /// How grave it is.
    pub kind: Kind,
    /// `echo-uni, echo-multi`, or `chat-threads (1,000 clients)`.
    pub whom: String,
    /// What is to be said.
    pub text: String,
}

/// All remarks, the gravest first; what holds for several servers or cases is told once.
pub fn remarks(outcome: &Outcome) -> Vec<Remark> {
    let mut found: Vec<(Kind, String, Vec<&Row>)> = Vec::new();
    for (kind, text, row) in outcome.rows.iter().flat_map(of_row) {
        match found.iter_mut().find(|(same, told, _)| *same == kind && *told == text) {
            Some((_, _, rows)) => rows.push(row),
            None => found.push((kind, text, vec![row])),
        }
    }
    let in_order = [Kind::Fault, Kind::Missing, Kind::Note];
    let of_kind = |kind| found.iter().filter(move |(it, ..)| *it == kind);
    let sorted = in_order.into_iter().flat_map(of_kind);
    let remark = |(kind, text, rows): &(Kind, String, Vec<&Row>)| Remark {
        kind: *kind,
        whom: whom(outcome, rows),
        text: text.clone(),
    };
    sorted.map(remark).collect()
}

/// Servers that have no figures in any case: no chart has a place for them.
pub fn is_absent(outcome: &Outcome, server: &str) -> bool {
    outcome.rows.iter().filter(|row| row.server == server).all(|row| row.runs.is_empty())
}

/// Whether the figures of a row may be believed.
pub fn is_faulty(row: &Row) -> bool {
    row.faults().next().is_some()
}

fn of_row(row: &Row) -> Vec<(Kind, String, &Row)> {
    let mut remarks = Vec::new();
    let mut faults: Vec<&str> = Vec::new();
    for fault in row.runs.iter().flat_map(|run| &run.faults) {
        if !faults.contains(&fault.as_str()) {
            faults.push(fault);
        }
    }
    for fault in faults {
        remarks.push((Kind::Fault, with_runs(row, fault), row));
    }
    if let Some(failure) = &row.failure {
        let why = if row.runs.is_empty() { "not measured: " } else { "" };
        remarks.push((Kind::Fault, format!("{why}{failure}"), row));
    }
    match (&row.note, row.runs.is_empty()) {
        (Some(note), true) => {
            let why = note.strip_prefix("not measured: ").unwrap_or(note);
            remarks.push((Kind::Missing, format!("not measured: {why}"), row));
        }
        (None, true) if row.failure.is_some() => {}
        (None, true) => remarks.push((Kind::Missing, "not measured".to_owned(), row)),
        (Some(note), false) => remarks.push((Kind::Note, note.clone(), row)),
        (None, false) => {}
    }
    remarks
}

/// In how many runs, if not in the only one.
fn with_runs(row: &Row, fault: &str) -> String {
    let runs = row.runs.len();
    let such = row.runs.iter().filter(|run| run.faults.iter().any(|it| it == fault)).count();
    match runs {
        1 => fault.to_owned(),
        _ => format!("{fault} (in {such} of {runs} runs)"),
    }
}

fn whom(outcome: &Outcome, rows: &[&Row]) -> String {
    let mut servers: Vec<(&str, Vec<&Case>)> = Vec::new();
    for row in rows {
        match servers.iter_mut().find(|(server, _)| *server == row.server) {
            Some((_, cases)) => cases.push(&row.case),
            None => servers.push((&row.server, vec![&row.case])),
        }
    }
    let names = servers.iter().map(|(server, cases)| {
        let rows = outcome.rows.iter().filter(|row| row.server == *server).count();
        let labels: Vec<&str> = cases.iter().map(|case| case.label.as_str()).collect();
        match rows == cases.len() {
            true => (*server).to_owned(),
            false => format!("{server} ({})", labels.join("; ")),
        }
    });
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn what_holds_for_many_is_told_once_and_faults_come_first() {
        let told = remarks(&sample::outcome("idle"));
        let lines: Vec<String> =
            told.iter().map(|it| format!("{:?} {}: {}", it.kind, it.whom, it.text)).collect();
        assert_eq!(
            lines,
            [
                "Fault mine (1,000 clients): 3 clients were closed by the server (in 1 of 3 runs)",
                "Missing echo-uni, echo-multi: not measured: answers one message and closes",
                "Missing ncat (1,000 clients): not measured: takes 990 clients at most",
                "Note redis: each sender has a connection of its own",
            ]
        );
    }

    #[test]
    fn only_servers_without_any_figures_are_absent() {
        let outcome = sample::outcome("idle");
        assert!(is_absent(&outcome, "echo-uni"));
        assert!(!is_absent(&outcome, "ncat"));
    }
}
