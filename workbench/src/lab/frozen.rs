//! What does a room notice of one who never reads?

use anyhow::{Result, bail};

use super::words::{self, Found, Ratio};
use super::{
    Case, Chart, Column, Experiment, Figures, Form, Outcome, Plan, Spread, Target, Trade, Unit,
};

/// One client stops reading; the others talk on.
pub const FROZEN: Experiment = Experiment {
    id: "frozen",
    title: "The frozen room",
    question: "What do the others notice, and what does memory do, when one client never reads?",
    columns: &[
        Column { head: "p99 without", figure: "calm_p99_us", unit: Unit::Micros },
        Column { head: "p99 with", figure: "frozen_p99_us", unit: Unit::Micros },
        Column { head: "longest with", figure: "frozen_max_us", unit: Unit::Micros },
        Column { head: "memory grew", figure: "peak_growth_bytes", unit: Unit::Bytes },
        Column { head: "dropped after", figure: "dropped_after_s", unit: Unit::Seconds },
        Column { head: "late at end", figure: "undelivered", unit: Unit::Count },
    ],
    charts: &[
        Chart {
            title: "What the healthy clients notice, p99",
            axis: "from due to delivered",
            unit: Unit::Micros,
            is_log: true,
            form: Form::Strips(&[("calm_p99_us", "without"), ("frozen_p99_us", "with")]),
        },
        Chart {
            title: "Memory of the server",
            axis: "growth in bytes",
            unit: Unit::Bytes,
            is_log: false,
            form: Form::Course {
                series: "growth_bytes_over_s",
                mark: Some(("dropped_after_s", "dropped")),
            },
        },
    ],
    see,
    cases,
    setting,
    unsuited,
    measure,
};

/// From here on the others notice.
const NOTICED: f64 = 2.0;

fn see(outcome: &Outcome) -> String {
    let general = "Look at the distance between the two marks of a strip: it is what the healthy \
                   clients notice of the one that never reads, and nothing if what that one does \
                   not take waits in a queue of its own.";
    let case = words::fullest_case(outcome, "frozen_p99_us");
    let noticed = case.and_then(|case| noticed(outcome, case));
    let memory = case.and_then(|case| memory(outcome, case));
    let yours = words::yours(
        outcome,
        "frozen_p99_us",
        Unit::Micros,
        "makes the healthy ones wait, at p99,",
        "chat-poll",
    );
    words::sentences(noticed, general, [memory], yours)
}

/// Whose healthy clients wait longer, and whose do not.
fn noticed(outcome: &Outcome, case: &Case) -> Option<String> {
    let (mut calm, mut late, mut most) = (Vec::new(), Vec::new(), 1.0_f64);
    for with in words::ranked(outcome, case, "frozen_p99_us") {
        let Some(without) = words::find(outcome, with.server, case, "calm_p99_us") else {
            continue;
        };
        let ratio = with.median() / without.median();
        match Ratio::of(with.spread, without.spread) {
            Some(_) if ratio < NOTICED => calm.push(with.server),
            Some(Ratio::More(_)) => {
                late.push(with.server);
                most = most.max(ratio);
            }
            // The runs differ too much to tell.
            _ => {}
        }
    }
    let ours = ["chat-threads", "chat-poll", "chat-async"].iter().any(|it| calm.contains(it));
    let held = format!(
        "With {} the healthy clients hardly notice the one that never reads (p99 less than twice \
         as long as without it){}",
        words::list(&calm),
        if ours {
            ": in our servers what it does not take waits in a queue of its own"
        } else {
            ""
        }
    );
    let up_to = if late.len() > 1 { "up to " } else { "" };
    let waits =
        format!("with {} they wait {up_to}{} as long", words::list(&late), words::times(most));
    match (calm.is_empty(), late.is_empty()) {
        (false, true) => Some(format!("{held}.")),
        (false, false) => Some(format!("{held}; {waits}.")),
        (true, false) => Some(format!(
            "One client that never reads holds up the healthy ones: {waits} as without it, at p99."
        )),
        (true, true) => None,
    }
}

/// Who gives up on the silent one, when, and how much memory that took.
fn memory(outcome: &Outcome, case: &Case) -> Option<String> {
    let all = words::ranked(outcome, case, "frozen_p99_us");
    let (gave_up, kept): (Vec<Found<'_>>, Vec<Found<'_>>) =
        all.into_iter().partition(|found| found.row.median("dropped_after_s").is_some());
    let grew = |found: &[Found<'_>]| {
        let growths = found.iter().filter_map(|found| found.row.median("peak_growth_bytes"));
        growths.reduce(f64::max).map(|most| Unit::Bytes.show(most.max(0.0)))
    };
    let mut parts = Vec::new();
    if !gave_up.is_empty() {
        let times = Spread::of(gave_up.iter().filter_map(|it| it.row.median("dropped_after_s")))?;
        let after = Unit::Seconds.show_range(times.min, times.max).replace("..", " to ");
        let after = if gave_up.len() > 1 { after } else { Unit::Seconds.show(times.median) };
        let names = words::names(&gave_up);
        let (drop, s) = (words::list(&names), words::s(&names));
        parts.push(format!(
            "{drop} drop{s} it after {after} and grow{s} by at most {}",
            grew(&gave_up)?
        ));
    }
    if !kept.is_empty() {
        let names = words::names(&kept);
        let (keep, s) = (words::list(&names), words::s(&names));
        parts.push(format!("{keep} keep{s} it to the end and grow{s} by up to {}", grew(&kept)?));
    }
    (!parts.is_empty()).then(|| format!("{}.", parts.join("; ")))
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
