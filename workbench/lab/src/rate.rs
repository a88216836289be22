//! How late are copies when messages come at a rate that the server does not choose?

use std::time::{Duration, Instant};

use anyhow::Result;

use super::accounts::{Clock, Schedule};
use super::load::{Reading, Room};
use super::outcome::grouped;
use super::words::{self, Claim, Ratio};
use super::{Case, Chart, Column, Experiment, Figures, Form, Outcome, Plan, Target, Trade, Unit};

/// How many send, in turns.
const SENDERS: usize = 10;

/// Bytes of a message.
const SIZE: usize = 64;

/// Latency in an open loop: messages are due at fixed times, and are late from then on.
pub const RATE: Experiment = Experiment {
    id: "rate",
    title: "Latency at a given rate",
    question: "How late are copies when messages come at a rate that the server does not choose?",
    columns: &[
        Column { head: "p50", figure: "p50_us", unit: Unit::Micros },
        Column { head: "p90", figure: "p90_us", unit: Unit::Micros },
        Column { head: "p99", figure: "p99_us", unit: Unit::Micros },
        Column { head: "p99.9", figure: "p999_us", unit: Unit::Micros },
        Column { head: "server", figure: "server_cpu_percent", unit: Unit::Percent },
        Column { head: "generator", figure: "generator_busy_percent", unit: Unit::Percent },
        Column { head: "copies not come", figure: "undelivered", unit: Unit::Count },
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
    conclude: |_| {},
};

const THREADS_AGAINST_POLL: Claim = Claim {
    servers: ["chat-threads", "chat-poll"],
    figure: "p99_us",
    unit: Unit::Micros,
    what: "The slowest copy in a hundred takes",
    than: "as long as",
    why: "each message wakes threads, which wait for their turn on the processor, where one loop \
          goes on with what is there",
};

/// From so many times on a latency has grown.
const GROWN: f64 = 3.0;

fn see(outcome: &Outcome) -> String {
    let claim = THREADS_AGAINST_POLL.tell(outcome);
    let general = "Look at how the right ends move from one rate to the next: as long as a server \
                   has time left they stay, and near its limit messages wait for those before \
                   them.";
    let behind = behind(outcome);
    let yours = words::yours(outcome, "p99_us", Unit::Micros, "has a p99 of", "chat-poll");
    words::sentences(claim, general, [growth(outcome, behind.is_some()), behind], yours)
}

/// Whose latency grows most from the lowest rate to the highest; that none grows says something only
/// if nobody is behind.
fn growth(outcome: &Outcome, is_behind: bool) -> Option<String> {
    let cases = outcome.cases();
    let (first, last) = (cases.first()?, cases.last().filter(|_| cases.len() > 1)?);
    let grown = words::ranked(outcome, last, "p99_us").into_iter().filter_map(|found| {
        let before = words::find(outcome, found.server, first, "p99_us")?;
        let is_clear = matches!(Ratio::of(found.spread, before.spread)?, Ratio::More(_));
        Some((found.server, found.median() / before.median(), is_clear))
    });
    let (server, ratio, is_clear) = grown.max_by(|a, b| a.1.total_cmp(&b.1))?;
    let (from, to) = (&first.label, &last.label);
    match ratio {
        GROWN.. if is_clear => Some(format!(
            "From {from} to {to} p99 grows most for {server}, to {} what it was: near a server’s \
             limit messages wait for those before them.",
            words::times(ratio)
        )),
        ..GROWN if !is_behind => Some(format!(
            "From {from} to {to} no p99 grows to three times what it was: none of these rates is \
             near a limit."
        )),
        _ => None,
    }
}

/// Who could not keep up.
fn behind(outcome: &Outcome) -> Option<String> {
    let case = *outcome.cases().last()?;
    let found = words::ranked(outcome, case, "undelivered");
    let late: Vec<&str> =
        found.iter().filter(|found| found.median() > 0.0).map(|found| found.server).collect();
    (!late.is_empty()).then(|| {
        format!(
            "At {} {} did not keep up: copies were missing at the end.",
            case.label,
            words::list(&late)
        )
    })
}

fn cases(plan: Plan) -> Vec<Case> {
    let all: &[u32] = if plan.is_quick { &[500] } else { &[200, 2000] };
    all.iter()
        .map(|n| Case { label: format!("{} messages/s", grouped(*n)), at: f64::from(*n) })
        .collect()
}

fn setting(plan: Plan) -> String {
    format!(
        "{} clients, {SENDERS} of which send in turns, messages of {SIZE} bytes, each at its time \
         whether or not the last has arrived (an open loop). Each client gets a copy of each message; a \
         copy is late from the moment its message was due: time that a sender had to wait counts. A \
         copy that has not come two seconds after the end counts as not come, and as that late.",
        clients(plan)
    )
}

fn unsuited(trade: Trade, _case: &Case) -> Option<&'static str> {
    (trade == Trade::Echo).then_some("an echo server relays to nobody")
}

fn clients(plan: Plan) -> usize {
    if plan.is_quick { 20 } else { 100 }
}

fn measure(target: &Target, case: &Case, plan: Plan) -> Result<Figures> {
    let mut room = Room::open(target.crowd(clients(plan), SENDERS, SIZE)?)?;
    let start = Instant::now();
    let schedule = Schedule { start, interval: Duration::from_secs_f64(1.0 / case.at) };
    room.set_clock(Clock::new(schedule, start)?);
    let before = Reading::take(&room, Some(target.process));
    let until = start + plan.time(Duration::from_millis(800));
    let late = room.keep_time(schedule, until, || Ok(()))?;
    let after = Reading::take(&room, Some(target.process));
    room.catch_up(Duration::from_secs(2))?;
    let mut figures = Figures::default();
    if let Some(clock) = room.settle(&mut figures) {
        clock.into_latencies().tell(&mut figures);
    }
    after.compare(&before, &mut figures);
    figures.add("generator_late_max_us", late.as_secs_f64() * 1e6);
    Ok(figures)
}
