//! `data.json`, the results for programs: every run with every figure.

use serde_json::{Map, Value, json};

use super::super::answers::{Answers, Cell, Row, Sign};
use super::super::figures::{Figures, rounded};
use super::super::machine::Machine;
use super::super::measurement::Measurement;
use super::super::origin::Origin;
use super::super::results::{ExperimentResult, ListedServer, Results};

/// Rises when a program that reads the file has to change.
///
/// 2: the experiment `frozen` has become `slow-consumer`, and its figures `without_…` and `with_…`.
/// 3: an interruption is no longer in `left_out`, but in `interruption`; the reason why a server is not measured
/// is no longer in `note`, but in `not_measured`; `cpu_times_bare` has become `cpu_times_baseline`; the origins
/// `ours` and `mine` have become `project` and `user`.
const FORMAT: u64 = 3;

/// Returns all results as one JSON object. The names of figures end with their units.
#[must_use]
pub fn data(results: &Results) -> Value {
    let server = |server: &ListedServer| {
        object([
            ("name", json!(server.name)),
            ("origin", json!(origin(server.origin))),
            ("command", json!(server.command)),
        ])
    };
    object([
        ("format", json!(FORMAT)),
        ("began", json!(results.began)),
        ("took_s", number(results.seconds)),
        ("again", json!(results.again)),
        ("runs_asked_for", json!(results.runs)),
        ("quick", json!(results.is_quick)),
        ("has_faults", json!(results.has_faults())),
        ("machine", machine(&results.machine, &results.cores)),
        ("servers", results.servers.iter().map(server).collect()),
        ("answers", answers(results)),
        ("left_out", json!(results.left_out)),
        ("interruption", json!(results.interruption)),
        ("experiments", results.experiments.iter().map(experiment).collect()),
    ])
}

/// Returns the answers to an engineer's questions: a row for each figure, with a cell for each server.
fn answers(results: &Results) -> Value {
    let answers = Answers::find(results);
    let answer_row = |row: &Row<'_>| {
        let pairs = answers.servers.iter().zip(&row.cells);
        let cells = pairs.filter_map(|(server, cell)| Some(answer(&server.name, cell.as_ref()?)));
        object([
            ("need", json!(row.need.name)),
            ("row", json!(row.page_label())),
            ("experiment", json!(row.need.experiment)),
            ("case", json!(row.case.label)),
            ("figure", json!(row.figure.name)),
            ("cells", cells.collect()),
        ])
    };
    answers.rows.iter().map(answer_row).collect()
}

fn answer(server: &str, cell: &Cell) -> Value {
    let mark = match cell.sign {
        Some(Sign::Best) => Some("best"),
        Some(Sign::NoDifference) => Some("no difference measured"),
        Some(Sign::AtLeast | Sign::Fault) | None => None,
    };
    let median = cell.spread.map(|spread| number(spread.median));
    let min = cell.spread.map(|spread| number(spread.min));
    let max = cell.spread.map(|spread| number(spread.max));
    object([
        ("server", json!(server)),
        ("median", json!(median)),
        ("min", json!(min)),
        ("max", json!(max)),
        ("mark", json!(mark)),
        ("generator_may_be_limit", json!(cell.sign == Some(Sign::AtLeast))),
        ("is_faulty", json!(cell.sign == Some(Sign::Fault))),
    ])
}

fn machine(machine: &Machine, cores: &str) -> Value {
    let limits = machine.limits.iter().map(|(what, limit)| (*what, json!(limit)));
    object([
        ("processor", json!(machine.processor)),
        ("cores", json!(machine.cores)),
        ("memory_bytes", json!(machine.memory_bytes)),
        ("system", json!(machine.system)),
        ("limits", object(limits)),
        ("load_before", json!(machine.load_before)),
        ("load_after", json!(machine.load_after)),
        ("others_percent", json!(machine.others_percent)),
        ("was_busy", json!(machine.was_busy())),
        ("who_ran_where", json!(cores)),
    ])
}

fn experiment(result: &ExperimentResult) -> Value {
    object([
        ("id", json!(result.experiment.id)),
        ("title", json!(result.experiment.title)),
        ("question", json!(result.experiment.question)),
        ("setting", json!(result.setting)),
        ("rows", result.measurements.iter().map(row).collect()),
    ])
}

fn row(row: &Measurement) -> Value {
    object([
        ("server", json!(row.server)),
        ("origin", json!(origin(row.origin))),
        ("case", json!(row.case.label)),
        ("case_at", number(row.case.value)),
        ("failure", json!(row.failure)),
        ("not_measured", json!(row.not_measured)),
        ("note", json!(row.note)),
        ("summary", summary(row)),
        ("runs", row.runs.iter().map(|run| Value::Object(run.to_json())).collect()),
    ])
}

/// Returns the median and the extremes of each figure that any run has.
fn summary(row: &Measurement) -> Value {
    let mut names: Vec<&'static str> = Vec::new();
    for (name, _) in row.runs.iter().flat_map(Figures::iter) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let spread = |name: &'static str| {
        let spread = row.spread(name)?;
        let (median, min, max) = (number(spread.median), number(spread.min), number(spread.max));
        Some((name, object([("median", median), ("min", min), ("max", max)])))
    };
    object(names.into_iter().filter_map(spread))
}

fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Project => "project",
        Origin::User => "user",
        Origin::Peer => "peer",
    }
}

/// Returns null for a value that is not a number of JSON.
fn number(value: f64) -> Value {
    json!(rounded(value))
}

fn object(pairs: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    Value::Object(
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>(),
    )
}

#[cfg(test)]
mod tests {
    use super::super::super::sample;
    use super::*;

    #[test]
    fn every_run_and_every_figure_is_there() {
        let results = sample::results();
        let data = data(&results);
        assert_eq!(data["format"], 3);
        assert_eq!(data["servers"][5]["origin"], "user");
        assert_eq!(data["machine"]["was_busy"], true);
        let slow =
            data["experiments"].as_array().unwrap().iter().find(|it| it["id"] == "slow-consumer");
        let rows = slow.unwrap()["rows"].as_array().unwrap();
        let poll = rows.iter().find(|row| row["server"] == "chat-poll").unwrap();
        assert_eq!(poll["runs"].as_array().unwrap().len(), 3);
        let spread = &poll["summary"]["without_p99_us"];
        assert_eq!([&spread["min"], &spread["median"], &spread["max"]], [77.6, 80.0, 82.4]);
        assert_eq!(poll["runs"][0]["growth_bytes_over_s"].as_array().unwrap().len(), 60);
        let unmeasured = rows.iter().find(|row| row["server"] == "echo-uni").unwrap();
        assert_eq!(unmeasured["not_measured"], "answers one message and closes");
    }

    #[test]
    fn the_text_reads_back_and_its_keys_have_one_order() {
        let once = format!("{:#}", data(&sample::results()));
        let again = format!("{:#}", data(&sample::results()));
        assert_eq!(once, again);
        assert_eq!(serde_json::from_str::<Value>(&once).unwrap(), data(&sample::results()));
    }
}
