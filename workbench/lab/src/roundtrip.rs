//! How long does a client wait for its own words?

use std::time::{Duration, Instant};

use anyhow::Result;

use super::Tongue;
use super::figures::Latencies;
use super::load::{PATIENCE, Reading, Room};
use super::words::{self, Claim, Found};
use super::{Case, Chart, Column, Experiment, Figures, Form, Outcome, Plan, Target, Trade, Unit};

/// Bytes of a message.
const SIZE: usize = 64;

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
    conclude: |_| {},
};

const THREADS_AGAINST_POLL: Claim = Claim {
    servers: ["chat-threads", "chat-poll"],
    figure: "p50_us",
    unit: Unit::Micros,
    what: "The middle one of all round trips takes",
    than: "as long as",
    why: "each copy goes through a queue to another thread, which has to be woken, where one loop \
          writes it in the turn in which it has read the message",
};

fn see(outcome: &Outcome) -> String {
    let claim = THREADS_AGAINST_POLL.tell(outcome);
    let general = "Look at the left end of each strip for the usual trip and at its right end for \
                   the slowest in a thousand: each thread that has to be woken on the way adds to \
                   both.";
    let yours = words::yours(outcome, "p50_us", Unit::Micros, "has a p50 of", "chat-poll");
    words::sentences(claim, general, [longest(outcome)], yours)
}

/// Whose slowest trips are furthest from its usual ones.
fn longest(outcome: &Outcome) -> Option<String> {
    let case = words::fullest_case(outcome, "p999_us")?;
    let tail = |found: &Found<'_>| Some(found.median() / found.row.median("p50_us")?);
    let found = words::ranked(outcome, case, "p999_us");
    let tails = found.iter().filter_map(|found| Some((found.server, tail(found)?)));
    let (server, ratio) =
        tails.filter(|(_, ratio)| ratio.is_finite()).max_by(|a, b| a.1.total_cmp(&b.1))?;
    Some(format!(
        "The strip is longest for {server}: its slowest trip in a thousand takes {} as long as \
         the middle one ({}).",
        words::times(ratio),
        case.label
    ))
}

fn cases(plan: Plan) -> Vec<Case> {
    let crowd = if plan.is_quick { 20 } else { 100 };
    vec![
        Case { label: "alone".to_owned(), at: 1.0 },
        Case { label: format!("crowd of {crowd}"), at: f64::from(crowd) },
    ]
}

fn setting(_plan: Plan) -> String {
    format!(
        "One client sends a message of {SIZE} bytes, and the next when everybody has the last. The \
         crowd receives and says nothing."
    )
}

fn unsuited(trade: Trade, _case: &Case) -> Option<&'static str> {
    match trade {
        Trade::Echo => Some("an echo server ends the conversation after one answer"),
        Trade::Chat(Tongue::Lines) => Some("it sends nobody his own words"),
        Trade::Chat(_) => None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of trips, far below 2^52")]
fn measure(target: &Target, case: &Case, plan: Plan) -> Result<Figures> {
    let crowd = target.crowd(case.count(), 1, SIZE)?;
    let mut room = Room::open(crowd)?;
    // Who sends is also who waits; where senders have connections of their own, it is the last.
    let own = crowd.clients - 1;
    let mut trips = Latencies::new()?;
    let mut begun = Instant::now();
    let mut goes_on = trip(&mut room, own)?.is_some(); // work that is done only once is done here
    let before = Reading::take(&room, Some(target.process));
    let until = Instant::now() + plan.time(Duration::from_millis(600));
    while goes_on && Instant::now() < until {
        begun = Instant::now();
        match trip(&mut room, own)? {
            Some(time) => trips.record(time),
            None => goes_on = false,
        }
    }
    // Less than the patience where the server has disconnected a client, because nobody waits then.
    let waited = begun.elapsed();
    let after = Reading::take(&room, Some(target.process));
    let mut figures = Figures::default();
    // If a copy did not come, the time that it would have taken is missing in each of these figures.
    if goes_on {
        trips.tell(&mut figures);
        let (seconds, server_cpu) = after.since(&before);
        figures.add("round_trips_per_s", trips.count() as f64 / seconds);
        if let Some(cpu) = server_cpu {
            figures.add("server_cpu_us_per_trip", cpu * 1e6 / trips.count() as f64);
        }
        after.compare(&before, &mut figures);
    }
    room.settle_after(waited, &mut figures);
    Ok(figures)
}

/// Sends one message, and waits until everybody has it. Returns when the sender had it; nothing if a
/// copy does not come, or the server disconnects a client.
fn trip(room: &mut Room, own: usize) -> Result<Option<Duration>> {
    let start = Instant::now();
    room.send(0, 1);
    let sent = room.sent();
    let mut there = None;
    while room.least() < sent {
        room.turn(Duration::from_millis(100))?;
        if there.is_none() && room.received(own) == sent {
            there = Some(start.elapsed());
        }
        if room.lost() > 0 || start.elapsed() > PATIENCE {
            return Ok(None);
        }
    }
    Ok(Some(there.unwrap_or_else(|| start.elapsed())))
}
