//! What a reader has to know about the answers, in sentences.

use super::super::case::grouped;
use super::super::origin::Origin;
use super::super::results::{ListedServer, Results};
use super::super::servers::{ClientLimit, PROJECT_SERVERS};
use super::super::text::shortened;
use super::super::units::Unit;
use super::{Answers, MANY_CLIENTS, NEEDS, Row, Sign};

/// The longest name of a processor. The page has the whole name.
const PROCESSOR_LEN: usize = 32;

/// Returns the sentences that a reader has to know before any figure: other programs, faults, an interruption.
pub fn warnings(results: &Results) -> Vec<String> {
    let mut warnings = Vec::new();
    if results.machine.was_busy() {
        let percent = results.machine.others_percent.unwrap_or_default();
        warnings.push(format!("Other programs used {percent:.0} % of the processors."));
    }
    let faulty = results.experiments.iter().filter(|result| result.has_faults());
    let faulty: Vec<String> =
        faulty.map(|result| format!("“{}”", result.experiment.title)).collect();
    match &faulty[..] {
        [] => {}
        [only] => warnings.push(format!("Faults: see the table {only}.")),
        several => warnings.push(format!("Faults: see the tables {}.", several.join(", "))),
    }
    warnings.extend(results.interruption.clone());
    warnings
}

/// Says in one sentence how each server of this project is built: `chat-poll: one loop over readiness; …`. Returns
/// `None` if there is no such server.
pub fn designs(servers: &[&ListedServer]) -> Option<String> {
    let mut designs: Vec<String> = Vec::new();
    for server in servers.iter().filter(|it| it.origin == Origin::Project) {
        if let Some(known) = PROJECT_SERVERS.iter().find(|it| it.name == server.name) {
            designs.push(format!("{}: {}", known.name, known.design));
        }
    }
    (!designs.is_empty()).then(|| format!("{}.", designs.join("; ")))
}

/// Returns the sentences for these answers.
pub fn sentences(answers: &Answers<'_>, results: &Results) -> Vec<String> {
    let find_row = |figure: &str| answers.rows.iter().find(|row| row.figure.name == figure);
    let mut sentences = vec![how_measured(results)];
    if results.server_cores == 1 {
        sentences.push(
            "Each server had one core: what it can do with several was not measured.".to_owned(),
        );
    }
    if let Some(row) = find_row("server_cores_used") {
        sentences.push(cores_used(answers, row));
    }
    if answers.rows.iter().any(|row| row.figure.unit == Unit::Bytes) {
        sentences.push("Memory does not include the kernel's memory for sockets.".to_owned());
    }
    if find_row("bytes_for_5000_clients").is_some() {
        for server in &answers.servers {
            sentences.extend(server.limit.and_then(|limit| client_limit(&server.name, limit)));
        }
    }
    sentences.extend(not_measured(answers, results));
    sentences
}

/// Says how often, and on which processor.
fn how_measured(results: &Results) -> String {
    let at_most = if results.interruption.is_some() { "at most " } else { "" };
    let runs = match (results.runs, results.is_quick) {
        (0 | 1, _) => "One run each, so the variation is not known".to_owned(),
        (runs, true) => format!("Medians of {at_most}{runs} short runs"),
        (runs, false) => format!("Medians of {at_most}{runs} runs"),
    };
    format!("{runs}. Processor: {}.", shortened(&results.machine.processor, PROCESSOR_LEN))
}

/// Says which servers used more than one core.
fn cores_used(answers: &Answers<'_>, row: &Row<'_>) -> String {
    /// The clocks of processor time and of time are read one after the other.
    const MORE_THAN_ONE: f64 = 1.05;
    let mut names: Vec<&str> = Vec::new();
    for (server, cell) in answers.servers.iter().zip(&row.cells) {
        let trusted = cell.filter(|cell| cell.sign != Some(Sign::Fault));
        let spread = trusted.and_then(|cell| cell.spread);
        if spread.is_some_and(|spread| spread.median > MORE_THAN_ONE) {
            names.push(&server.name);
        }
    }
    match &names[..] {
        [] => "No server used more than one core.".to_owned(),
        names => format!("Only {} used more than one core.", names.join(", ")),
    }
}

/// Says how a server accepts the many clients, if it does not by default.
fn client_limit(name: &str, limit: ClientLimit) -> Option<String> {
    let default = u32::try_from(limit.default?).ok()?;
    (default < MANY_CLIENTS).then(|| {
        format!(
            "{name} accepts {} clients, and up to {} with --max-clients.",
            grouped(default),
            grouped(limit.clients)
        )
    })
}

/// Says which needs have no row, and which command measures them: for each experiment, its first need.
fn not_measured(answers: &Answers<'_>, results: &Results) -> Option<String> {
    let mut seen: Vec<&str> = answers.rows.iter().map(|row| row.need.experiment).collect();
    let mut missing: Vec<String> = Vec::new();
    for need in NEEDS {
        if seen.contains(&need.experiment) {
            continue;
        }
        seen.push(need.experiment);
        let (first, rest) = need.name.split_at(1);
        let name = format!("{}{rest}", first.to_lowercase());
        missing.push(format!("{name} ({} {})", results.command, need.experiment));
    }
    (!missing.is_empty()).then(|| format!("Not measured in this run: {}.", missing.join(", ")))
}
