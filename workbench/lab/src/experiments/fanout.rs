//! How many copies of messages does a server deliver?

use std::time::Duration;

use anyhow::Result;

use super::super::case::Case;
use super::super::experiment::{Chart, Column, Experiment, LoadOption, Mark, Settings};
use super::super::figures::Figures;
use super::super::load::{COPY_TIMEOUT, LoadGenerator};
use super::super::measured_server::MeasuredServer;
use super::super::measurement::{Measurement, add_comparison};
use super::super::protocol::Protocol;
use super::super::units::Unit;

/// Clients that send, bytes of a message, and bytes that a sender may be ahead of the slowest reader,
/// unless the command line says otherwise.
const SENDERS: usize = 10;
const SIZE: usize = 64;
const WINDOW: usize = 4096;

/// The peer whose processor time is the unit of the column "times c-broadcast".
const BASELINE: &str = "c-broadcast";

/// A few clients send as fast as the slowest client reads, all receive, and every copy is checked.
pub const FANOUT: Experiment = Experiment {
    id: "fanout",
    title: "Fan-out",
    question: "How many copies a second does the server deliver, and what does one cost?",
    look_at: "Look at the processor time for one copy first: the deliveries a second show the limit of a \
              server only where it used all of its cores, and not where the generator did.",
    prediction: "A copy costs little where a server writes many messages with one call, and more with \
                 every lock and every thread that has to be woken, so the difference between one loop \
                 and two threads for each client grows with the number of clients.",
    columns: &[
        Column { head: "deliveries/s", figure: "deliveries_per_s", unit: Unit::PerSecond },
        Column { head: "CPU each", figure: "server_cpu_us_per_delivery", unit: Unit::Micros },
        Column { head: "times c-broadcast", figure: "cpu_times_baseline", unit: Unit::Count },
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
            marks: &[Mark { figure: "deliveries_per_s", name: "" }],
        },
        Chart {
            title: "Processor time for a delivery",
            axis: "the server's processor time",
            unit: Unit::Micros,
            is_log: true,
            marks: &[Mark { figure: "server_cpu_us_per_delivery", name: "" }],
        },
    ],
    options: &[
        LoadOption::Clients,
        LoadOption::Senders,
        LoadOption::Size,
        LoadOption::Seconds,
        LoadOption::WarmUp,
        LoadOption::Window,
    ],
    needs_process: false,
    cases: |settings| settings.client_cases(&[10, 100, 1000], &[10, 1000]),
    setting,
    unsuited,
    measure,
    conclude,
};

/// The messages that a sender may be ahead of the slowest reader.
fn window(settings: &Settings) -> usize {
    (settings.window.unwrap_or(WINDOW) / size(settings)).max(1)
}

fn size(settings: &Settings) -> usize {
    settings.size.unwrap_or(SIZE).max(1)
}

fn senders(settings: &Settings) -> usize {
    settings.senders.unwrap_or(SENDERS)
}

fn setting(settings: &Settings) -> String {
    format!(
        "{} senders, messages of {} bytes, each sender at most {} messages ahead of the slowest reader \
         (a closed loop: a faster server receives more messages). A delivery is the arrival of one \
         copy: each client receives a copy of each message. The unit of the column \u{201c}times \
         {BASELINE}\u{201d} is the processor time of a C program that only relays.",
        senders(settings),
        size(settings),
        window(settings)
    )
}

fn unsuited(protocol: Protocol, _case: &Case) -> Option<&'static str> {
    (!protocol.is_chat()).then_some("an echo server does not relay messages")
}

fn measure(server: &MeasuredServer, case: &Case, settings: &Settings) -> Result<Figures> {
    let load = server.load(case.client_count(), senders(settings), size(settings))?;
    let window = window(settings) as u64;
    let mut generator = LoadGenerator::connect_all(load)?;
    let mut figures = Figures::default();
    let warm_up = settings.warm_up.unwrap_or(Duration::from_millis(150));
    generator.send_closed_loop(window, warm_up)?;
    let before = generator.counters(server.process);
    generator.send_closed_loop(window, settings.time(Duration::from_millis(600)))?;
    generator.counters(server.process).add_since(&before, &mut figures);
    generator.wait_for_copies(COPY_TIMEOUT)?;
    generator.finish_after(COPY_TIMEOUT, &mut figures);
    Ok(figures)
}

fn conclude(measurements: &mut [Measurement]) {
    let cost = "server_cpu_us_per_delivery";
    add_comparison(measurements, BASELINE, cost, "cpu_times_baseline", |own, baseline| {
        own / baseline
    });
}
