//! How much does a server relay?

use std::time::Duration;

use anyhow::Result;

use super::load::{Crowd, PATIENCE, Reading, Room};
use super::process::Process;
use super::{Case, Chart, Column, Experiment, Figures, Form, Outcome, Plan, Target, Trade, Unit};

/// How many send.
const SENDERS: usize = 10;

/// Bytes of a message.
const SIZE: usize = 64;

/// Messages that a sender may be ahead.
const WINDOW: u64 = 64;

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
    conclude: |_| {},
};

fn see(_outcome: &Outcome) -> String {
    String::new()
}

fn cases(plan: Plan) -> Vec<Case> {
    let all: &[u32] = if plan.is_quick { &[10, 100] } else { &[10, 100, 1000] };
    all.iter().map(|n| Case::clients(*n)).collect()
}

fn setting(_plan: Plan) -> String {
    format!(
        "{SENDERS} senders, messages of {SIZE} bytes, each sender at most {WINDOW} messages ahead of \
         the slowest reader (a closed loop: a faster server is given more)."
    )
}

fn unsuited(trade: Trade, _case: &Case) -> Option<&'static str> {
    (trade == Trade::Echo).then_some("an echo server relays to nobody")
}

fn measure(target: &Target, case: &Case, plan: Plan) -> Result<Figures> {
    let crowd = target.crowd(case.count(), SENDERS, SIZE)?;
    let (time, warm_up) = (plan.time(Duration::from_millis(900)), Duration::from_millis(200));
    run(crowd, WINDOW, warm_up, time, Some(target.process))
}

/// Sends for a while, and measures after the warm-up.
pub fn run(
    crowd: Crowd,
    window: u64,
    warm_up: Duration,
    time: Duration,
    server: Option<Process>,
) -> Result<Figures> {
    let mut room = Room::open(crowd)?;
    let mut figures = Figures::default();
    room.keep_sending(window, warm_up)?;
    let before = Reading::take(&room, server);
    room.keep_sending(window, time)?;
    Reading::take(&room, server).compare(&before, &mut figures);
    room.catch_up(PATIENCE / 2)?;
    room.settle(&mut figures);
    let late = figures.get("undelivered").unwrap_or_default();
    if late > 0.0 {
        figures.faults.push(format!("{late} messages did not come within {:?}", PATIENCE / 2));
    }
    Ok(figures)
}
