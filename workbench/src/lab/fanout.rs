//! How much does a server relay?

use anyhow::{Result, bail};

use super::{Case, Chart, Column, Experiment, Figures, Form, Outcome, Plan, Target, Trade, Unit};

/// A few send as fast as the slowest reader reads, all receive, every delivery is accounted for.
pub const FANOUT: Experiment = Experiment {
    id: "fanout",
    title: "Fan-out",
    question: "How many messages a second does the server deliver, and what does one cost?",
    columns: &[
        Column { head: "deliveries/s", figure: "deliveries_per_s", unit: Unit::PerSecond },
        Column { head: "CPU each", figure: "server_cpu_us_per_delivery", unit: Unit::Micros },
        Column { head: "server", figure: "server_cpu_percent", unit: Unit::Percent },
        Column { head: "generator", figure: "generator_cpu_percent", unit: Unit::Percent },
        Column { head: "lost", figure: "lost", unit: Unit::Count },
        Column { head: "twice", figure: "twice", unit: Unit::Count },
        Column { head: "out of order", figure: "out_of_order", unit: Unit::Count },
    ],
    charts: &[
        Chart {
            title: "Deliveries a second",
            axis: "deliveries a second",
            unit: Unit::PerSecond,
            is_log: false,
            form: Form::Bars("deliveries_per_s"),
        },
        Chart {
            title: "Processor time for a delivery",
            axis: "the server's processor time",
            unit: Unit::Micros,
            is_log: true,
            form: Form::Bars("server_cpu_us_per_delivery"),
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
