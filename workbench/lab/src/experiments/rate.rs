//! How late are copies when messages are sent at a rate that the server does not choose?

use std::time::{Duration, Instant};

use anyhow::Result;

use super::super::case::{Case, grouped};
use super::super::experiment::{Chart, Column, Experiment, LoadOption, PERCENTILES, Settings};
use super::super::figures::Figures;
use super::super::load::{DelayRecorder, LoadGenerator, Schedule};
use super::super::measured_server::MeasuredServer;
use super::super::protocol::Protocol;
use super::super::units::Unit;

/// Clients that send in turns, and bytes of a message, unless the command line says otherwise.
const SENDERS: usize = 10;
const SIZE: usize = 64;

/// Latency in an open loop: messages are due at fixed times, and their delay counts from then.
pub const RATE: Experiment = Experiment {
    id: "rate",
    title: "Latency at a given rate",
    question: "How late are copies when messages are sent at a rate that the server does not choose?",
    look_at: "Look at how p50 and p99.9 change from one rate to the next.",
    prediction: "A server that has time left delivers as fast as before, whatever the rate; near its \
                 limit, messages wait for those sent earlier, which shows in the slowest copies first, \
                 and first with the server that needs most processor time for a copy.",
    columns: &[
        Column { head: "p50", figure: "p50_us", unit: Unit::Micros },
        Column { head: "p90", figure: "p90_us", unit: Unit::Micros },
        Column { head: "p99", figure: "p99_us", unit: Unit::Micros },
        Column { head: "p99.9", figure: "p999_us", unit: Unit::Micros },
        Column { head: "server", figure: "server_cpu_percent", unit: Unit::Percent },
        Column { head: "generator", figure: "generator_busy_percent", unit: Unit::Percent },
        Column { head: "undelivered", figure: "undelivered", unit: Unit::Count },
    ],
    charts: &[Chart {
        title: "From the time a message was due to its delivery, p50 to p99.9",
        axis: "time",
        unit: Unit::Micros,
        is_log: true,
        marks: PERCENTILES,
    }],
    options: &[LoadOption::Senders, LoadOption::Size, LoadOption::Seconds],
    needs_process: false,
    cases,
    setting,
    unsuited,
    measure,
    conclude: |_| {},
};

fn clients(settings: &Settings) -> u32 {
    if settings.is_quick { 20 } else { 100 }
}

fn senders(settings: &Settings) -> usize {
    settings.senders.unwrap_or(SENDERS)
}

fn size(settings: &Settings) -> usize {
    settings.size.unwrap_or(SIZE)
}

fn cases(settings: &Settings) -> Vec<Case> {
    let rates: &[u32] = if settings.is_quick { &[500] } else { &[200, 2000] };
    let case = |rate: &u32| Case {
        label: format!("{} messages/s", grouped(*rate)),
        value: f64::from(*rate),
        clients: clients(settings),
    };
    rates.iter().map(case).collect()
}

fn setting(settings: &Settings) -> String {
    format!(
        "{} clients, {} of which send in turns, messages of {} bytes, each at its time whether or not \
         the last one has arrived (an open loop). Each client receives a copy of each message. The \
         delay of a copy counts from the time its message was due, so the time that a sender had to \
         wait is part of it. A copy that has not come two seconds after the end counts as undelivered, \
         with the delay that it has by then.",
        clients(settings),
        senders(settings),
        size(settings)
    )
}

fn unsuited(protocol: Protocol, _case: &Case) -> Option<&'static str> {
    (!protocol.is_chat()).then_some("an echo server does not relay messages")
}

fn measure(server: &MeasuredServer, case: &Case, settings: &Settings) -> Result<Figures> {
    let load = server.load(case.client_count(), senders(settings), size(settings))?;
    let mut generator = LoadGenerator::connect_all(load)?;
    let start = Instant::now();
    let schedule = Schedule { start, interval: Duration::from_secs_f64(1.0 / case.value) };
    generator.set_delays(DelayRecorder::new(schedule, start)?);
    let before = generator.counters(server.process);
    let until = start + settings.time(Duration::from_millis(800));
    let longest_delay = generator.send_open_loop(schedule, until, || Ok(()))?;
    let after = generator.counters(server.process);
    generator.wait_for_copies(Duration::from_secs(2))?;
    let mut figures = Figures::default();
    if let Some(delays) = generator.finish(&mut figures) {
        delays.into_delays().add_to(&mut figures);
    }
    after.add_since(&before, &mut figures);
    figures.add("generator_late_max_us", longest_delay.as_secs_f64() * 1e6);
    Ok(figures)
}
