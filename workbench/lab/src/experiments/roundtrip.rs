//! How long does a client wait for its own message?

use std::time::{Duration, Instant};

use anyhow::Result;

use super::super::case::Case;
use super::super::experiment::{Chart, Column, Experiment, LoadOption, PERCENTILES, Settings};
use super::super::figures::{Figures, Latencies};
use super::super::load::{COPY_TIMEOUT, LoadGenerator};
use super::super::measured_server::MeasuredServer;
use super::super::protocol::Protocol;
use super::super::units::Unit;

/// Bytes of a message, unless the command line says otherwise.
const SIZE: usize = 64;

/// The time from sending a message to receiving its own copy.
pub const ROUNDTRIP: Experiment = Experiment {
    id: "roundtrip",
    title: "Round trip",
    question: "How long after sending a message does a client receive its own copy?",
    look_at: "Look at p50 for the usual round trip, and at p99.9 for the slowest in a thousand.",
    prediction: "Each thread that has to be woken between receiving and sending makes a round trip \
                 longer, so a server with one loop should be fastest with one client; among many \
                 clients, every server also has to write the other copies.",
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
        marks: PERCENTILES,
    }],
    options: &[LoadOption::Clients, LoadOption::Size, LoadOption::Seconds],
    needs_process: false,
    cases: |settings| settings.client_cases(&[1, 50, 100], &[1, 50]),
    setting,
    unsuited,
    measure,
    conclude: |_| {},
};

fn size(settings: &Settings) -> usize {
    settings.size.unwrap_or(SIZE)
}

fn setting(settings: &Settings) -> String {
    format!(
        "One client sends a message of {} bytes, and the next one when all clients have received it. \
         The other clients send nothing.",
        size(settings)
    )
}

fn unsuited(protocol: Protocol, _case: &Case) -> Option<&'static str> {
    match protocol {
        Protocol::Echo => Some("an echo server closes the connection after one answer"),
        Protocol::Lines => Some("it does not send a message back to its sender"),
        _ => None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of round trips, far below 2^52")]
fn measure(server: &MeasuredServer, case: &Case, settings: &Settings) -> Result<Figures> {
    let load = server.load(case.client_count(), 1, size(settings))?;
    let mut generator = LoadGenerator::connect_all(load)?;
    // The last client sends. Where senders have connections of their own, it is the last to receive.
    let own = load.clients - 1;
    let mut trips = Latencies::new()?;
    let mut begun = Instant::now();
    // The first one is not measured: a server does some work only once.
    let mut is_complete = round_trip(&mut generator, own)?.is_some();
    let before = generator.counters(server.process);
    let until = Instant::now() + settings.time(Duration::from_millis(600));
    while is_complete && Instant::now() < until {
        begun = Instant::now();
        match round_trip(&mut generator, own)? {
            Some(time) => trips.record(time),
            None => is_complete = false,
        }
    }
    // Less than the usual time if the server has disconnected a client.
    let waited = begun.elapsed();
    let after = generator.counters(server.process);
    let mut figures = Figures::default();
    // If a copy did not come, each of these figures would lack the time that it took.
    if is_complete {
        trips.add_to(&mut figures);
        let (seconds, server_cpu) = after.since(&before);
        figures.add("round_trips_per_s", trips.count() as f64 / seconds);
        if let Some(cpu) = server_cpu {
            figures.add("server_cpu_us_per_trip", cpu * 1e6 / trips.count() as f64);
        }
        after.add_since(&before, &mut figures);
    }
    generator.finish_after(waited, &mut figures);
    Ok(figures)
}

/// Sends one message, and waits until all clients have received it. Returns the time until the sender
/// had its copy. Returns `None` if a copy does not come, or the server disconnects a client.
fn round_trip(generator: &mut LoadGenerator, own: usize) -> Result<Option<Duration>> {
    let start = Instant::now();
    generator.send(0, 1);
    let sent = generator.sent();
    let mut time = None;
    while generator.received_by_all() < sent {
        generator.wait_and_read(Duration::from_millis(100))?;
        if time.is_none() && generator.received_by(own) == sent {
            time = Some(start.elapsed());
        }
        if generator.disconnected() > 0 || start.elapsed() > COPY_TIMEOUT {
            return Ok(None);
        }
    }
    Ok(Some(time.unwrap_or_else(|| start.elapsed())))
}
