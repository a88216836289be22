//! What does a client cost that sends nothing?

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::super::case::Case;
use super::super::experiment::{Chart, Column, Experiment, LoadOption, Mark, Settings};
use super::super::figures::Figures;
use super::super::load::{LoadGenerator, TIMEOUT};
use super::super::measured_server::MeasuredServer;
use super::super::process::Process;
use super::super::protocol::Protocol;
use super::super::units::Unit;

/// Memory, threads and descriptors for idle clients.
pub const IDLE: Experiment = Experiment {
    id: "idle",
    title: "Idle clients",
    question: "What does a client cost that sends nothing?",
    look_at: "Look at the memory for one client, and at how the number of threads changes with the \
              number of clients.",
    prediction: "A server that starts threads for each client pays for their stacks, so its threads \
                 and its memory grow with the clients; a server that keeps its clients in a table \
                 pays for one entry each, and its number of threads stays the same.",
    columns: &[
        Column { head: "a client", figure: "bytes_per_client", unit: Unit::Bytes },
        Column { head: "resident", figure: "resident_bytes", unit: Unit::Bytes },
        Column { head: "threads", figure: "threads", unit: Unit::Count },
        Column { head: "descriptors", figure: "descriptors", unit: Unit::Count },
        Column { head: "message to all", figure: "broadcast_to_all_us", unit: Unit::Micros },
    ],
    charts: &[
        Chart {
            title: "Memory for one client",
            axis: "resident bytes",
            unit: Unit::Bytes,
            is_log: true,
            marks: &[Mark { figure: "bytes_per_client", name: "" }],
        },
        Chart {
            title: "Threads of the server",
            axis: "threads",
            unit: Unit::Count,
            is_log: true,
            marks: &[Mark { figure: "threads", name: "" }],
        },
    ],
    options: &[LoadOption::Clients],
    needs_process: true,
    cases: |settings| settings.client_cases(&[10, 100, 1000, 10_000], &[10, 100, 1000]),
    setting,
    unsuited,
    measure,
    conclude: |_| {},
};

fn setting(_settings: &Settings) -> String {
    "Clients connect and send nothing. The memory for one client is the memory that the kernel counts \
     as resident, minus the memory before the first client, divided by the number of clients. At the \
     end one client sends one message to all."
        .to_owned()
}

fn unsuited(protocol: Protocol, _case: &Case) -> Option<&'static str> {
    (!protocol.is_chat()).then_some("an echo server closes each connection")
}

#[expect(clippy::cast_precision_loss, reason = "counts and bytes, far below 2^52")]
fn measure(server: &MeasuredServer, case: &Case, _settings: &Settings) -> Result<Figures> {
    let process = server.process()?;
    wait_until_quiet(process)?;
    let (resident_before, descriptors_before) = (process.resident_bytes()?, process.descriptors()?);
    let start = Instant::now();
    let clients = case.client_count();
    let mut generator = LoadGenerator::connect_receivers(server.load(clients, 1, 64)?)?;
    let connected = start.elapsed();
    // Waits until all clients are accepted, and until nothing changes any more.
    let mut before = (0, 0, 0);
    let start = Instant::now();
    loop {
        let now = (process.descriptors()?, process.threads()?, process.resident_bytes()?);
        let has_all = now.0 >= descriptors_before + clients as u64;
        if now == before && has_all && generator.waiting_for_answer() == 0 {
            break;
        }
        let taken = now.0.saturating_sub(descriptors_before);
        ensure!(start.elapsed() < TIMEOUT, "the server took {taken} of {clients} clients");
        let disconnected = generator.read_and_count_disconnected()?;
        ensure!(disconnected == 0, "the server disconnected {disconnected} of {clients} clients");
        before = now;
        thread::sleep(Duration::from_millis(100));
    }
    let (descriptors, threads, resident) = before;
    let mut figures = Figures::default();
    figures.add("resident_bytes_before", resident_before as f64);
    figures.add("resident_bytes", resident as f64);
    figures.add("bytes_per_client", (resident as f64 - resident_before as f64) / clients as f64);
    figures.add("threads", threads as f64);
    figures.add("descriptors", descriptors as f64);
    figures.add("connect_all_ms", connected.as_secs_f64() * 1e3);
    let (time, missed) = generator.send_one_to_all(server.addr)?;
    figures.add("broadcast_to_all_us", time.as_secs_f64() * 1e6);
    if missed > 0 {
        figures.faults.push(format!("{missed} clients did not receive the message to all"));
    }
    figures.add("resident_bytes_after_broadcast", process.resident_bytes()? as f64);
    Ok(figures)
}

/// Waits until the server does nothing and its descriptors stay the same, but not longer than [`TIMEOUT`]. A server
/// that was measured before may still close the connections of its earlier clients.
fn wait_until_quiet(process: Process) -> Result<()> {
    let start = Instant::now();
    let mut before = None;
    while start.elapsed() < TIMEOUT {
        let now = process.descriptors()?;
        if before == Some(now) && !process.is_busy() {
            break;
        }
        before = Some(now);
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
