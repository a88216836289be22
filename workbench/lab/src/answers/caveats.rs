//! What a reader has to know about the answers, in sentences.

use super::super::case::grouped;
use super::super::machine::Machine;
use super::super::results::Results;
use super::super::servers::ClientLimit;
use super::super::units::Unit;
use super::{Answers, Cell, MANY_CLIENTS, NEEDS, Row};

/// Returns the sentences for these answers.
pub fn caveats(answers: &Answers<'_>, results: &Results) -> Vec<String> {
    let has_row = |figure: &str| answers.rows.iter().find(|row| row.figure.name == figure);
    let mut caveats = vec![how_measured(results)];
    if let Some(interruption) = &results.interruption {
        caveats.push(interruption.clone());
    }
    if let Some(row) = has_row("server_cores_used") {
        caveats.push(cores_used(answers, row));
    }
    if let Some(row) = has_row("bytes_for_5000_clients") {
        caveats.push(format!(
            "The memory of {} clients is scaled up from {}.",
            grouped(MANY_CLIENTS),
            grouped(row.case.clients)
        ));
        let limits = answers.servers.iter().filter_map(|it| Some((&it.name, it.limit?)));
        caveats.extend(limits.filter_map(|(name, limit)| client_limit(name, limit)));
    }
    caveats.extend(not_measured(results));
    caveats
}

/// Says on which machine, and how often.
fn how_measured(results: &Results) -> String {
    let Machine { processor, cores, load_before, load_after, others_percent, .. } =
        &results.machine;
    let at_most = if results.interruption.is_some() { "at most " } else { "" };
    let runs = match (results.runs, results.is_quick) {
        (0 | 1, _) => "One run each, so nothing shows how far the figures vary".to_owned(),
        (runs, true) => format!("Medians of {at_most}{runs} short runs"),
        (runs, false) => format!("Medians of {at_most}{runs} runs"),
    };
    let cores = if *cores == 1 { "one core".to_owned() } else { format!("{cores} cores") };
    let load =
        |load: &Option<f64>| load.map_or_else(|| "not known".to_owned(), |it| format!("{it:.1}"));
    let others = others_percent
        .map(|it| format!("; other programs used {} of the cores", Unit::Percent.show(it)));
    format!(
        "{runs}, on {cores} of {processor}, over loopback; load {} before, {} after{}.",
        load(load_before),
        load(load_after),
        others.unwrap_or_default()
    )
}

/// Says which servers used more than one core.
fn cores_used(answers: &Answers<'_>, row: &Row<'_>) -> String {
    /// The clocks of processor time and of time are read one after the other.
    const MORE_THAN_ONE: f64 = 1.05;
    if row.cores == 1 {
        return "Each server had one core, so nothing shows whether a second one would help."
            .to_owned();
    }
    let used_more = |cell: &Cell| cell.spread.median > MORE_THAN_ONE;
    let cells = answers.servers.iter().zip(&row.cells);
    let names = cells.filter(|(_, cell)| cell.as_ref().is_some_and(used_more));
    let names: Vec<&str> = names.map(|(server, _)| server.name.as_str()).collect();
    match &names[..] {
        [] => "No server used more than one core.".to_owned(),
        names => format!("More than one core was used only by {}.", names.join(", ")),
    }
}

/// Says how a server takes the many clients, if it does not by default.
fn client_limit(name: &str, limit: ClientLimit) -> Option<String> {
    if limit.clients < MANY_CLIENTS {
        return Some(format!("{name} takes {} clients at most.", grouped(limit.clients)));
    }
    let default = limit.default.filter(|default| *default < MANY_CLIENTS as usize)?;
    let default = Unit::Count.show(f64::from(u32::try_from(default).unwrap_or(u32::MAX)));
    Some(format!(
        "{name} takes {default} clients unless --max-clients allows more ({} at most).",
        grouped(limit.clients)
    ))
}

/// Says which needs were not measured, and which command measures them.
fn not_measured(results: &Results) -> Option<String> {
    let was_measured = |id: &str| results.experiments.iter().any(|it| it.experiment.id == id);
    // As it was called: `cargo tincan`, or the path of the program.
    let called = results.again.split_once(" lab").map_or("tincan", |(called, _)| called);
    let missing = NEEDS.iter().filter(|need| !was_measured(need.experiment)).map(|need| {
        let (first, rest) = need.name.split_at(1);
        format!("{}{rest} ({called} lab {})", first.to_lowercase(), need.experiment)
    });
    let missing = missing.collect::<Vec<_>>().join(", ");
    (!missing.is_empty()).then(|| format!("Not measured in this run: {missing}."))
}
