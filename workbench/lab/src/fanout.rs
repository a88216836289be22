//! How much does a server relay?

use std::time::Duration;

use anyhow::Result;

use super::load::{Crowd, PATIENCE, Reading, Room};
use super::process::Process;
use super::words::{self, Claim};
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
    question: "How many copies a second does the server deliver, and what does one cost?",
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

const THREADS_AGAINST_POLL: Claim = Claim {
    servers: ["chat-threads", "chat-poll"],
    figure: "server_cpu_us_per_delivery",
    unit: Unit::Micros,
    what: "A delivery costs",
    than: "as much processor time as",
    why: "a lock, and a thread to wake for each client that has something to get, against one loop \
          that appends to queues and writes each once in a turn",
};

fn see(outcome: &Outcome) -> String {
    let claim = THREADS_AGAINST_POLL.tell(outcome);
    let general = "Look at the processor time for one delivery: it falls where a server takes many \
                   messages at once and writes them in one call, and rises with every thread that \
                   has to be woken.";
    let yours = words::yours(outcome, "deliveries_per_s", Unit::PerSecond, "delivers", "chat-poll");
    // Of one server the sentence before has said it.
    let yours = yours.filter(|_| outcome.servers().len() > 1);
    words::sentences(claim, general, [fastest(outcome)], yours)
}

/// Who delivers most, and whether the generator could have asked for more.
fn fastest(outcome: &Outcome) -> Option<String> {
    let case = words::fullest_case(outcome, "deliveries_per_s")?;
    let found = words::ranked(outcome, case, "deliveries_per_s");
    let best = found.last()?;
    let most = Unit::PerSecond.say(best.median());
    let (server, label) = (best.server, &case.label);
    let busy = |figure| best.row.median(figure);
    let limit = match (busy("server_cpu_percent"), busy("generator_cpu_percent")) {
        (Some(own), Some(generator)) if own < 90.0 && generator >= 90.0 => format!(
            "; there the generator was the limit ({} of a core, the server {}), so it may do more",
            Unit::Percent.show(generator),
            Unit::Percent.show(own)
        ),
        _ => String::new(),
    };
    let most_of_all = words::names(&words::largest(&found));
    Some(match (found.len(), most_of_all.as_slice()) {
        (1, _) => format!("{server} delivers {most} ({label}){limit}."),
        (_, [_]) => format!("Most is delivered by {server}, {most} ({label}){limit}."),
        (_, all) => format!(
            "Most is delivered by {}, with no clear difference: up to {most} ({label}){limit}.",
            words::list(all)
        ),
    })
}

fn cases(plan: Plan) -> Vec<Case> {
    let all: &[u32] = if plan.is_quick { &[10, 100] } else { &[10, 100, 1000] };
    all.iter().map(|n| Case::clients(*n)).collect()
}

fn setting(_plan: Plan) -> String {
    format!(
        "{SENDERS} senders, messages of {SIZE} bytes, each sender at most {WINDOW} messages ahead of \
         the slowest reader (a closed loop: a faster server is given more). A delivery is the arrival \
         of one copy: each client gets a copy of each message."
    )
}

fn unsuited(trade: Trade, _case: &Case) -> Option<&'static str> {
    (trade == Trade::Echo).then_some("an echo server relays to nobody")
}

fn measure(target: &Target, case: &Case, plan: Plan) -> Result<Figures> {
    let crowd = target.crowd(case.count(), SENDERS, SIZE)?;
    let (time, warm_up) = (plan.time(Duration::from_millis(600)), Duration::from_millis(150));
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
    room.settle_after(PATIENCE / 2, &mut figures);
    Ok(figures)
}
