//! What does a room notice of one who never reads?

use anyhow::{Result, bail};

use super::{Case, Chart, Column, Experiment, Figures, Form, Outcome, Plan, Target, Trade, Unit};

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
