//! Does anything stay behind when clients come and go?

use anyhow::{Result, bail};

use super::words;
use super::{Case, Chart, Column, Experiment, Figures, Form, Outcome, Plan, Target, Trade, Unit};

/// Thousands of clients connect and leave, half of them with a reset.
pub const CHURN: Experiment = Experiment {
    id: "churn",
    title: "Churn",
    question: "When thousands of clients have come and gone, half of them with a reset, what stays \
               behind?",
    columns: &[
        Column { head: "visits/s", figure: "visits_per_s", unit: Unit::PerSecond },
        Column { head: "descriptors", figure: "descriptors_left", unit: Unit::Count },
        Column { head: "threads", figure: "threads_left", unit: Unit::Count },
        Column { head: "memory", figure: "resident_left_bytes", unit: Unit::Bytes },
    ],
    charts: &[Chart {
        title: "Memory that stayed",
        axis: "resident bytes more than before",
        unit: Unit::Bytes,
        is_log: false,
        form: Form::Bars("resident_left_bytes"),
    }],
    see,
    cases,
    setting,
    unsuited,
    measure,
};

fn see(outcome: &Outcome) -> String {
    let general = "Look for descriptors and threads first: one that stays for each visit is a leak, \
                   and ends the server some day.";
    let case = words::fullest_case(outcome, "resident_left_bytes");
    let left = case.and_then(|case| left(outcome, case));
    let memory = case.and_then(|case| memory(outcome, case));
    let yours =
        words::yours(outcome, "resident_left_bytes", Unit::Bytes, "has grown by", "chat-poll");
    words::sentences(left, general, [memory], yours)
}

/// Who has more descriptors or threads than before.
fn left(outcome: &Outcome, case: &Case) -> Option<String> {
    let (mut clean, mut leaky) = (Vec::new(), Vec::new());
    for found in words::ranked(outcome, case, "descriptors_left") {
        let threads = found.row.median("threads_left").unwrap_or(0.0);
        if found.median() <= 0.0 && threads <= 0.0 {
            clean.push(found.server);
            continue;
        }
        let kept = [(found.median(), "descriptors"), (threads, "threads")];
        let kept = kept.into_iter().filter(|(count, _)| *count > 0.0);
        let kept: Vec<String> =
            kept.map(|(count, what)| format!("{} {what}", Unit::Count.show(count))).collect();
        leaky.push(format!("{} has {} more than before", found.server, kept.join(" and ")));
    }
    match (clean.is_empty(), leaky.is_empty()) {
        (true, true) => None,
        (_, false) => Some(format!(
            "{}: what stays when all clients have gone is a leak, unless it stays the same with \
             twice as many visits.",
            leaky.join("; ")
        )),
        (_, true) => Some(format!(
            "Of all visits no descriptor and no thread stays with {}: each that leaves, by a reset \
             too, is taken off the books at once.",
            words::list(&clean)
        )),
    }
}

/// Who grew most; and what that does not mean.
fn memory(outcome: &Outcome, case: &Case) -> Option<String> {
    let found = words::ranked(outcome, case, "resident_left_bytes");
    let most = found.last()?;
    if most.median() <= 0.0 {
        return Some("No server takes more memory than before.".to_owned());
    }
    let names = words::list(&words::names(&words::largest(&found)));
    let half = most.row.median("resident_second_half_bytes").map(|half| match half > 0.0 {
        true => {
            format!(", of which the second half of the visits added {}", Unit::Bytes.show(half))
        }
        false => ", of which the second half of the visits added nothing".to_owned(),
    });
    Some(format!(
        "Most memory stays with {names}, up to {}{}: what an allocator keeps for the next clients \
         is no leak, what every round adds is.",
        Unit::Bytes.show(most.median()),
        half.unwrap_or_default()
    ))
}

fn cases(_plan: Plan) -> Vec<Case> {
    Vec::new()
}

fn setting(_plan: Plan) -> String {
    String::new()
}

fn unsuited(_trade: Trade, _case: &Case) -> Option<&'static str> {
    None
}

fn measure(_target: &Target, _case: &Case, _plan: Plan) -> Result<Figures> {
    bail!("to be written")
}
