//! What has to be said about a result in addition to its figures: faults, missing figures, notes.

use super::super::case::Case;
use super::super::measurement::Measurement;
use super::super::results::ExperimentResult;

/// The kind of a remark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The figures must not be trusted.
    Fault,
    /// There are no figures.
    NotMeasured,
    /// There are figures, and something to know about them.
    Note,
}

/// A sentence, and the servers and cases to which it applies.
#[derive(Clone, Debug, PartialEq)]
pub struct Remark {
    /// The kind.
    pub kind: Kind,
    /// `echo-uni, echo-multi`, or `chat-threads (1,000 clients)`.
    pub servers: String,
    /// The sentence.
    pub text: String,
}

/// Returns all remarks, faults first. A sentence that applies to several servers or cases occurs once.
pub fn remarks(result: &ExperimentResult) -> Vec<Remark> {
    let mut found: Vec<(Kind, String, Vec<&Measurement>)> = Vec::new();
    for measurement in &result.measurements {
        for (kind, text) in of_one(measurement) {
            match found.iter_mut().find(|(other, known, _)| *other == kind && *known == text) {
                Some((.., measurements)) => measurements.push(measurement),
                None => found.push((kind, text, vec![measurement])),
            }
        }
    }
    let order = [Kind::Fault, Kind::NotMeasured, Kind::Note];
    let of_kind = |kind| found.iter().filter(move |(it, ..)| *it == kind);
    let remark = |(kind, text, measurements): &(Kind, String, Vec<&Measurement>)| Remark {
        kind: *kind,
        servers: servers(result, measurements),
        text: text.clone(),
    };
    order.into_iter().flat_map(of_kind).map(remark).collect()
}

fn of_one(measurement: &Measurement) -> Vec<(Kind, String)> {
    let mut remarks = Vec::new();
    let mut faults: Vec<&str> = Vec::new();
    for fault in measurement.runs.iter().flat_map(|run| &run.faults) {
        if !faults.contains(&fault.as_str()) {
            faults.push(fault);
        }
    }
    for fault in faults {
        remarks.push((Kind::Fault, with_runs(measurement, fault)));
    }
    if let Some(failure) = &measurement.failure {
        let prefix = if measurement.runs.is_empty() { "not measured: " } else { "" };
        remarks.push((Kind::Fault, format!("{prefix}{failure}")));
    }
    if let Some(why) = &measurement.not_measured {
        remarks.push((Kind::NotMeasured, format!("not measured: {why}")));
    } else if measurement.runs.is_empty() && measurement.failure.is_none() {
        remarks.push((Kind::NotMeasured, "not measured".to_owned()));
    }
    if let Some(note) = &measurement.note {
        remarks.push((Kind::Note, note.clone()));
    }
    remarks
}

/// Adds in how many runs the fault occurred, if there was more than one run.
fn with_runs(measurement: &Measurement, fault: &str) -> String {
    let runs = &measurement.runs;
    let count = runs.iter().filter(|run| run.faults.iter().any(|it| it == fault)).count();
    match runs.len() {
        1 => fault.to_owned(),
        all => format!("{fault} (in {count} of {all} runs)"),
    }
}

/// Writes the names of the servers, each with its cases unless these are all its cases.
fn servers(result: &ExperimentResult, measurements: &[&Measurement]) -> String {
    let mut servers: Vec<(&str, Vec<&Case>)> = Vec::new();
    for measurement in measurements {
        match servers.iter_mut().find(|(server, _)| *server == measurement.server) {
            Some((_, cases)) => cases.push(&measurement.case),
            None => servers.push((&measurement.server, vec![&measurement.case])),
        }
    }
    let names = servers.iter().map(|(server, cases)| {
        let all = result.measurements.iter().filter(|it| it.server == *server).count();
        let labels: Vec<&str> = cases.iter().map(|case| case.label.as_str()).collect();
        match all == cases.len() {
            true => (*server).to_owned(),
            false => format!("{server} ({})", labels.join("; ")),
        }
    });
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::super::sample;
    use super::*;

    #[test]
    fn a_remark_about_several_servers_occurs_once_and_faults_come_first() {
        let remarks = remarks(&sample::result("idle"));
        let lines: Vec<String> =
            remarks.iter().map(|it| format!("{:?} {}: {}", it.kind, it.servers, it.text)).collect();
        assert_eq!(
            lines,
            [
                "Fault mine (1,000 clients): 3 clients were closed by the server (in 1 of 3 runs)",
                "NotMeasured echo-uni, echo-multi: not measured: answers one message and closes",
                "NotMeasured ncat (1,000 clients): not measured: takes 990 clients at most",
                "Note redis: each sender has a connection of its own",
            ]
        );
    }

    #[test]
    fn only_servers_without_any_figures_are_left_out() {
        let result = sample::result("idle");
        assert!(!result.has_figures("echo-uni"));
        assert!(result.has_figures("ncat"));
    }
}
