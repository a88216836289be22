//! How long does a client wait for its own words?

use anyhow::{Result, bail};

use super::words::{self, Claim, Found};
use super::{Case, Chart, Column, Experiment, Figures, Form, Outcome, Plan, Target, Trade, Unit};

/// From sending a message to receiving one's own copy.
pub const ROUNDTRIP: Experiment = Experiment {
    id: "roundtrip",
    title: "Round trip",
    question: "How long after it has sent a message does a client have its own copy?",
    columns: &[
        Column { head: "p50", figure: "p50_us", unit: Unit::Micros },
        Column { head: "p90", figure: "p90_us", unit: Unit::Micros },
        Column { head: "p99", figure: "p99_us", unit: Unit::Micros },
        Column { head: "p99.9", figure: "p999_us", unit: Unit::Micros },
        Column { head: "CPU each", figure: "server_cpu_us_per_trip", unit: Unit::Micros },
        Column { head: "generator", figure: "generator_cpu_percent", unit: Unit::Percent },
    ],
    charts: &[Chart {
        title: "Round trip, p50 to p99.9",
        axis: "time",
        unit: Unit::Micros,
        is_log: true,
        form: Form::Strips(super::show::PERCENTILES),
    }],
    see,
    cases,
    setting,
    unsuited,
    measure,
};

const THREADS_AGAINST_POLL: Claim = Claim {
    servers: ["chat-threads", "chat-poll"],
    figure: "p50_us",
    unit: Unit::Micros,
    what: "The middle one of all round trips takes",
    than: "as long as",
    why: "each copy goes through a queue to another thread, which has to be woken, where one loop \
          writes it in the turn in which it has read the message",
};

fn see(outcome: &Outcome) -> String {
    let claim = THREADS_AGAINST_POLL.tell(outcome);
    let general = "Look at the left end of each strip for the usual trip and at its right end for \
                   the slowest in a thousand: each thread that has to be woken on the way adds to \
                   both.";
    let yours = words::yours(outcome, "p50_us", Unit::Micros, "has a p50 of", "chat-poll");
    words::sentences(claim, general, [longest(outcome)], yours)
}

/// Whose slowest trips are furthest from its usual ones.
fn longest(outcome: &Outcome) -> Option<String> {
    let case = words::fullest_case(outcome, "p999_us")?;
    let tail = |found: &Found<'_>| Some(found.median() / found.row.median("p50_us")?);
    let found = words::ranked(outcome, case, "p999_us");
    let tails = found.iter().filter_map(|found| Some((found.server, tail(found)?)));
    let (server, ratio) =
        tails.filter(|(_, ratio)| ratio.is_finite()).max_by(|a, b| a.1.total_cmp(&b.1))?;
    Some(format!(
        "The strip is longest for {server}: its slowest trip in a thousand takes {} as long as \
         the middle one ({}).",
        words::times(ratio),
        case.label
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
