//! Made-up results, for tests.

use super::case::{Case, grouped};
use super::experiment::Experiment;
use super::experiments::{BESIDE_SILENT, EXPERIMENTS};
use super::figures::{Figures, Series};
use super::machine::Machine;
use super::measurement::Measurement;
use super::origin::Origin;
use super::results::{ExperimentResult, ListedServer, Results};
use super::servers::ClientLimit;

type Server = (&'static str, Origin, f64);

/// Names, origins, and how much slower than the fastest each server is.
const SERVERS: &[Server] = &[
    ("echo-uni", Origin::Project, 0.8),
    ("echo-multi", Origin::Project, 1.4),
    ("chat-threads", Origin::Project, 2.6),
    ("chat-poll", Origin::Project, 1.0),
    ("chat-async", Origin::Project, 1.3),
    ("mine", Origin::User, 5.0),
    ("ncat", Origin::Peer, 21.0),
    ("redis", Origin::Peer, 2.2),
    ("nats", Origin::Peer, 3.4),
];

/// Returns everything that can be in a report, with faults and missing figures.
pub fn results() -> Results {
    let command = |name: &str| match name {
        "mine" => "python3 'my server.py' --title '<b>&\"' {port}".to_owned(),
        _ => format!("{name} --port 0 -q"),
    };
    let limit = |name: &str| {
        let (clients, default) = match name {
            "chat-threads" => (7500, 1024),
            "chat-poll" | "chat-async" => (12_000, 10_000),
            _ => return None,
        };
        Some(ClientLimit { clients, why: "it was started with this limit", default: Some(default) })
    };
    let listed = |(name, origin, _): &Server| ListedServer {
        name: (*name).into(),
        origin: *origin,
        command: command(name),
        limit: limit(name),
    };
    Results {
        began: "2026-11-21 09:29 UTC".into(),
        seconds: 412.0,
        machine: machine(),
        runs: 3,
        is_quick: false,
        cores: "The server ran on core 0, the generator on core 1.".into(),
        server_cores: 1,
        command: "cargo tincan lab".into(),
        again: "cargo tincan lab --mine \"python3 'my server.py' {port}\"".into(),
        servers: SERVERS.iter().map(listed).collect(),
        left_out: vec!["nats was left out of churn: it does not answer.".into()],
        interruption: None,
        experiments: EXPERIMENTS.iter().map(|it| experiment_result(it)).collect(),
    }
}

/// Returns the results of these servers only.
pub fn only(names: &[&str]) -> Results {
    let mut results = results();
    results.servers.retain(|server| names.contains(&server.name.as_str()));
    for result in &mut results.experiments {
        result.measurements.retain(|it| names.contains(&it.server.as_str()));
    }
    results
}

/// Returns the result of one experiment.
pub fn result(id: &str) -> ExperimentResult {
    results().experiments.into_iter().find(|result| result.experiment.id == id).unwrap()
}

fn machine() -> Machine {
    Machine {
        processor: "Example Processor <7> 3.1 GHz".into(),
        cores: 2,
        memory_bytes: Some(8_589_934_592),
        system: "Linux 6.1.0 x86_64".into(),
        limits: vec![("descriptors", "1,048,576".into()), ("threads", "31,204".into())],
        load_before: Some(0.31),
        load_after: Some(1.84),
        others_percent: Some(7.3),
    }
}

fn experiment_result(experiment: &'static Experiment) -> ExperimentResult {
    let mut measurements = Vec::new();
    for server in SERVERS {
        for case in cases(experiment.id) {
            measurements.push(measurement(experiment.id, server, case));
        }
    }
    let setting = "64-byte messages, 10 senders, 5 s for each run after 1 s of warming up.".into();
    ExperimentResult { experiment, setting, measurements }
}

fn cases(id: &str) -> Vec<Case> {
    let case = |n: u32, unit: &str| Case {
        label: format!("{} {unit}", grouped(n)),
        value: f64::from(n),
        clients: n,
    };
    match id {
        "idle" | "fanout" => [10, 100, 1000].map(Case::clients).into(),
        "roundtrip" => [1, 100].map(Case::clients).into(),
        "rate" => [1000, 5000, 20_000].map(|at| case(at, "messages/s")).into(),
        "slow-consumer" => vec![Case::clients(50)],
        "connections" => {
            let silent = Case { label: BESIDE_SILENT.into(), value: 0.0, clients: 2 };
            vec![silent, case(1, "at once"), case(8, "at once")]
        }
        _ => vec![case(10_000, "visits")],
    }
}

fn measurement(id: &str, server: &Server, case: Case) -> Measurement {
    let (name, origin, _) = *server;
    let is_echo = name.starts_with("echo");
    let not_measured = match (name, id) {
        _ if is_echo && id != "connections" => Some("answers one message and closes"),
        ("ncat", "idle") if case.value > 100.0 => Some("takes 990 clients at most"),
        _ => None,
    };
    let note = (name == "redis").then_some("each sender has a connection of its own");
    let mut runs: Vec<Figures> = (0..3)
        .filter(|_| not_measured.is_none())
        .map(|nth| run(id, server, case.value, f64::from(nth)))
        .collect();
    if name == "mine" && case.value >= 1000.0 && id == "idle" {
        runs[1].faults.push("3 clients were closed by the server".into());
    }
    let (server, failure) = (name.into(), None);
    let (not_measured, note) = (not_measured.map(str::to_owned), note.map(str::to_owned));
    Measurement { server, origin, case, runs, failure, not_measured, note }
}

fn run(id: &str, server: &Server, at: f64, nth: f64) -> Figures {
    let (name, _, slow) = *server;
    let variation = 1.0 + (nth - 1.0) * 0.03 * slow.sqrt();
    let slow = slow * variation;
    let mut figures = Figures::default();
    let mut add = |name, value| figures.add(name, value);
    match id {
        "idle" => idle(&mut add, name, slow, variation, at),
        "roundtrip" | "rate" => latencies(&mut add, id, slow, at),
        "fanout" => {
            add("deliveries_per_s", 1.4e6 / slow * (1.0 - (at - 100.0).abs() / 2e3));
            add("server_cpu_us_per_delivery", 0.7 * slow);
            add("cpu_times_baseline", 1.2 * slow);
            add("server_cpu_percent", 97.0);
            add("generator_cpu_percent", 97.0 / slow);
            for name in ["lost", "twice", "out_of_order"] {
                add(name, 0.0);
            }
        }
        "slow-consumer" => {
            slow_consumer(&mut add, name, slow);
            figures.series.push(growth(name, slow));
        }
        "connections" if name == "echo-uni" && at <= 0.0 => {
            add("sessions_per_s", 0.0);
            add("stalled", 1.0);
        }
        "connections" => {
            add("sessions_per_s", 24_000.0 / slow.sqrt());
            add("server_cpu_us_per_session", 31.0 * slow.sqrt());
            add("beyond_baseline_us", 31.0 * slow.sqrt() - 27.7);
            add("server_cpu_percent", 71.0);
            add("generator_cpu_percent", 93.0);
        }
        _ => {
            add("visits_per_s", 9_000.0 / slow.sqrt());
            add("descriptors_left", if name == "mine" { 14.0 } else { 0.0 });
            add("threads_left", 0.0);
            add("resident_left_bytes", 90_000.0 * (slow - 1.2));
            add("resident_second_half_bytes", 8_000.0 * (slow - 1.2));
        }
    }
    figures
}

fn idle(add: &mut impl FnMut(&'static str, f64), name: &str, slow: f64, variation: f64, at: f64) {
    let has_threads = name == "chat-threads" || name == "mine";
    let each = if has_threads { 22_900.0 * variation } else { 440.0 * slow };
    add("bytes_per_client", each);
    add("resident_bytes_before", 2.4e6 * slow.min(6.0));
    add("resident_bytes", 2.4e6 * slow.min(6.0) + each * at);
    add("threads", if has_threads { 2.0 * at + 1.0 } else { 1.0 });
    add("descriptors", at + 9.0);
    add("broadcast_to_all_us", at * 2.1 * slow);
}

fn latencies(add: &mut impl FnMut(&'static str, f64), id: &str, slow: f64, at: f64) {
    let busy = if id == "rate" { 1.0 + (at / 2e4 * slow / 2.0).powi(4) } else { 1.0 };
    let p50 = 38.0 * slow * busy;
    add("p50_us", p50);
    add("p90_us", p50 * 1.4);
    add("p99_us", p50 * 2.3 * slow.sqrt());
    add("p999_us", p50 * 5.0 * slow.sqrt());
    if id == "rate" {
        add("server_cpu_percent", (at / 900.0 * slow).min(100.0));
        add("generator_busy_percent", 22.0);
        add("undelivered", if busy > 50.0 { 812.0 } else { 0.0 });
    } else {
        add("server_cpu_us_per_trip", 9.0 * slow);
        add("generator_cpu_percent", 40.0);
    }
}

fn slow_consumer(add: &mut impl FnMut(&'static str, f64), name: &str, slow: f64) {
    let keeps = name == "ncat" || name == "mine";
    add("without_p99_us", 80.0 * slow);
    add("with_p99_us", if keeps { 90_000.0 * slow } else { 88.0 * slow });
    add("with_max_us", if keeps { 4e6 } else { 900.0 * slow });
    add("peak_growth_bytes", if keeps { 6.1e6 * slow } else { 310_000.0 * slow });
    if !keeps {
        add("dropped_after_s", 1.1 * slow);
    }
    add("undelivered", if keeps { 1_204.0 } else { 0.0 });
}

fn growth(name: &str, slow: f64) -> Series {
    let keeps = name == "ncat" || name == "mine";
    let value = |at: f64| match keeps {
        true => at * 0.4e6 * slow.min(7.0),
        false => (at * 290_000.0).min(310_000.0 * slow),
    };
    let points = (0..60).map(|tenth| f64::from(tenth) / 4.0).map(|at| (at, value(at)));
    Series { name: "growth_bytes_over_s", points: points.collect() }
}
