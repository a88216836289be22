//! How long does a client wait for its own words?

use anyhow::{Result, bail};

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

fn see(_outcome: &Outcome) -> String {
    String::new()
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
