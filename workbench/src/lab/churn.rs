//! Does anything stay behind when clients come and go?

use anyhow::{Result, bail};

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
