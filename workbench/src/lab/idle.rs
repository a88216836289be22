//! What does a client cost that says nothing?

use anyhow::{Result, bail};

use super::{Case, Chart, Column, Experiment, Figures, Form, Outcome, Plan, Target, Trade, Unit};

/// Memory, threads and descriptors for idle clients.
pub const IDLE: Experiment = Experiment {
    id: "idle",
    title: "Idle clients",
    question: "What does a client cost that says nothing?",
    columns: &[
        Column { head: "a client", figure: "bytes_per_client", unit: Unit::Bytes },
        Column { head: "resident", figure: "resident_bytes", unit: Unit::Bytes },
        Column { head: "threads", figure: "threads", unit: Unit::Count },
        Column { head: "descriptors", figure: "descriptors", unit: Unit::Count },
        Column { head: "word to all", figure: "broadcast_to_all_us", unit: Unit::Micros },
    ],
    charts: &[
        Chart {
            title: "Memory of the server",
            axis: "resident bytes",
            unit: Unit::Bytes,
            is_log: true,
            form: Form::Lines("resident_bytes"),
        },
        Chart {
            title: "Threads of the server",
            axis: "threads",
            unit: Unit::Count,
            is_log: true,
            form: Form::Lines("threads"),
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
