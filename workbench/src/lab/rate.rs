//! How late are messages when they come at a rate that the server does not choose?

use anyhow::{Result, bail};

use super::{Case, Chart, Column, Experiment, Figures, Form, Outcome, Plan, Target, Trade, Unit};

/// Latency in an open loop: messages are due at fixed times, and are late from then on.
pub const RATE: Experiment = Experiment {
    id: "rate",
    title: "Latency at a given rate",
    question: "How late are messages when they come at a rate that the server does not choose?",
    columns: &[
        Column { head: "p50", figure: "p50_us", unit: Unit::Micros },
        Column { head: "p90", figure: "p90_us", unit: Unit::Micros },
        Column { head: "p99", figure: "p99_us", unit: Unit::Micros },
        Column { head: "p99.9", figure: "p999_us", unit: Unit::Micros },
        Column { head: "server", figure: "server_cpu_percent", unit: Unit::Percent },
        Column { head: "generator", figure: "generator_busy_percent", unit: Unit::Percent },
        Column { head: "late at end", figure: "undelivered", unit: Unit::Count },
    ],
    charts: &[Chart {
        title: "From the moment a message was due to its delivery, p50 to p99.9",
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
