//! What does a connection cost?

use anyhow::{Result, bail};

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
