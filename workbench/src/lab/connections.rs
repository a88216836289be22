//! What does a connection cost?

use anyhow::{Result, bail};

use super::words::{self, Claim};
use super::{Case, Chart, Column, Experiment, Figures, Form, Outcome, Plan, Target, Trade, Unit};

/// Connect, one message there, one back, close: the table of Stevens' "UNIX Network Programming".
pub const CONNECTIONS: Experiment = Experiment {
    id: "connections",
    title: "Connections",
    question: "What does a connection cost, beyond what it costs the server that serves one client \
               at a time?",
    columns: &[
        Column { head: "sessions/s", figure: "sessions_per_s", unit: Unit::PerSecond },
        Column { head: "CPU each", figure: "server_cpu_us_per_session", unit: Unit::Micros },
        Column { head: "beyond echo-uni", figure: "beyond_baseline_us", unit: Unit::Micros },
        Column { head: "server", figure: "server_cpu_percent", unit: Unit::Percent },
        Column { head: "generator", figure: "generator_cpu_percent", unit: Unit::Percent },
    ],
    charts: &[
        Chart {
            title: "Processor time for a session",
            axis: "the server's processor time",
            unit: Unit::Micros,
            is_log: false,
            form: Form::Bars("server_cpu_us_per_session"),
        },
        Chart {
            title: "Sessions a second",
            axis: "sessions a second",
            unit: Unit::PerSecond,
            is_log: false,
            form: Form::Bars("sessions_per_s"),
        },
    ],
    see,
    cases,
    setting,
    unsuited,
    measure,
};

const MULTI_AGAINST_UNI: Claim = Claim {
    servers: ["echo-multi", "echo-uni"],
    figure: "server_cpu_us_per_session",
    unit: Unit::Micros,
    what: "A session costs",
    than: "as much processor time as",
    why: "the difference is a thread that starts and ends for each client",
};

fn see(outcome: &Outcome) -> String {
    let claim = MULTI_AGAINST_UNI.tell(outcome);
    let general = "Look at the processor time for a session: what is beyond that of echo-uni, which \
                   does nothing but accept, read, write and close, is the price of serving several \
                   at a time.";
    let figure = "server_cpu_us_per_session";
    let more =
        words::extremes(outcome, figure, Unit::Micros, "Of all servers it costs", "as much as");
    // Of two servers the first sentence has said it.
    let is_new = claim.is_none() || outcome.servers().len() > 2;
    let more = more.filter(|_| is_new).or_else(|| generator(outcome));
    let yours = words::yours(outcome, figure, Unit::Micros, "takes", "echo-uni");
    words::sentences(claim, general, [more, stalled(outcome)], yours)
}

/// Who answers nobody while a client says nothing.
fn stalled(outcome: &Outcome) -> Option<String> {
    let cases = outcome.cases().into_iter();
    let all = cases.flat_map(|case| words::ranked(outcome, case, "stalled"));
    let mut such: Vec<&str> = words::names(&all.collect::<Vec<_>>());
    such.dedup();
    let (list, s) = (words::list(&such), words::s(&such));
    (!such.is_empty())
        .then(|| format!("While a client that came first says nothing, {list} answer{s} nobody."))
}

/// Why sessions a second are not the whole truth.
fn generator(outcome: &Outcome) -> Option<String> {
    let case = words::fullest_case(outcome, "generator_cpu_percent")?;
    let found = words::ranked(outcome, case, "generator_cpu_percent");
    let most = found.last().filter(|found| found.median() >= 90.0)?;
    Some(format!(
        "Sessions a second say less: with {} the generator used {} of a core, so that it may be \
         what they measure.",
        most.server,
        Unit::Percent.show(most.median())
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
