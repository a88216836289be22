//! What does a client cost that says nothing?

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::load::{PATIENCE, Room};
use super::words::{self, Claim};
use super::{Case, Chart, Column, Experiment, Figures, Form, Outcome, Plan, Target, Trade, Unit};

/// Memory, threads and descriptors for idle clients.
pub const IDLE: Experiment = Experiment {
    id: "idle",
    title: "Idle clients",
    question: "What does a client cost that says nothing?",
    columns: &[
        Column { head: "a client", figure: "bytes_per_client", unit: Unit::Bytes },
        Column { head: "resident", figure: "resident_bytes", unit: Unit::Bytes },
        Column { head: "threads", figure: "threads", unit: Unit::Count },
        Column { head: "descriptors", figure: "descriptors", unit: Unit::Count },
        Column { head: "word to all", figure: "broadcast_to_all_us", unit: Unit::Micros },
    ],
    charts: &[
        Chart {
            title: "Memory of the server",
            axis: "resident bytes",
            unit: Unit::Bytes,
            is_log: true,
            form: Form::Lines("resident_bytes"),
        },
        Chart {
            title: "Threads of the server",
            axis: "threads",
            unit: Unit::Count,
            is_log: true,
            form: Form::Lines("threads"),
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
    figure: "bytes_per_client",
    unit: Unit::Bytes,
    what: "An idle client costs",
    than: "as much as",
    why: "two threads, each with a stack, against an entry in a table",
};

fn see(outcome: &Outcome) -> String {
    let claim = THREADS_AGAINST_POLL.tell(outcome);
    let more = match claim {
        Some(_) => threads(outcome),
        None => words::extremes(
            outcome,
            "bytes_per_client",
            Unit::Bytes,
            "An idle client costs",
            "as much as",
        ),
    };
    let general = "Look at the slope: a server that gives each client threads of its own pays for \
                   their stacks, one that keeps its clients in a table for an entry each.";
    let yours = words::yours(outcome, "bytes_per_client", Unit::Bytes, "needs", "chat-poll");
    words::sentences(claim, general, [more], yours)
}

/// What the other chart has to do with it.
fn threads(outcome: &Outcome) -> Option<String> {
    let servers = ["chat-threads", "chat-poll"];
    let case = words::last_case(outcome, &servers, "threads")?;
    let [many, few] = servers.map(|server| words::find(outcome, server, case, "threads"));
    let (many, few) = (many?.median(), few?.median());
    let (many_shown, few_shown) = (Unit::Count.show(many), Unit::Count.show(few));
    (many > few).then(|| {
        format!(
            "Compare the two charts: with {} chat-threads has {many_shown} threads and chat-poll \
             has {few_shown}.",
            case.label
        )
    })
}

fn cases(plan: Plan) -> Vec<Case> {
    let all: &[u32] = if plan.is_quick { &[10, 100, 1000] } else { &[10, 100, 1000, 10_000] };
    all.iter().map(|n| Case::clients(*n)).collect()
}

fn setting(_plan: Plan) -> String {
    "Clients connect and say nothing. Memory is what the kernel counts as resident, less what the \
     server had before. At the end one of them says a word to all."
        .to_owned()
}

fn unsuited(trade: Trade, _case: &Case) -> Option<&'static str> {
    (trade == Trade::Echo).then_some("an echo server keeps nobody")
}

#[expect(clippy::cast_precision_loss, reason = "counts and bytes, far below 2^52")]
fn measure(target: &Target, case: &Case, _plan: Plan) -> Result<Figures> {
    let server = target.process;
    let (resident_before, descriptors_before) = (server.resident_bytes()?, server.descriptors()?);
    let start = Instant::now();
    let clients = case.count();
    let crowd = target.crowd(clients, 1, 64)?;
    let mut room = Room::listeners(crowd)?;
    let connected = start.elapsed();
    // All accepted, and whatever is started for each client has come to rest.
    let mut before = (0, 0, 0);
    let start = Instant::now();
    loop {
        let now = (server.descriptors()?, server.threads()?, server.resident_bytes()?);
        let are_there = now.0 >= descriptors_before + clients as u64;
        if now == before && are_there && room.unwelcomed(crowd.tongue) == 0 {
            break;
        }
        let taken = now.0.saturating_sub(descriptors_before);
        ensure!(start.elapsed() < PATIENCE, "the server took {taken} of {clients} clients");
        let away = room.turned_away()?;
        ensure!(away == 0, "the server turned {away} of {clients} clients away");
        before = now;
        std::thread::sleep(Duration::from_millis(100));
    }
    let (descriptors, threads, resident) = before;
    let mut figures = Figures::default();
    figures.add("resident_bytes_before", resident_before as f64);
    figures.add("resident_bytes", resident as f64);
    figures.add("bytes_per_client", (resident as f64 - resident_before as f64) / clients as f64);
    figures.add("threads", threads as f64);
    figures.add("descriptors", descriptors as f64);
    figures.add("connect_all_ms", connected.as_secs_f64() * 1e3);
    let (spread, deaf) = room.tell_all(crowd)?;
    figures.add("broadcast_to_all_us", spread.as_secs_f64() * 1e6);
    if deaf > 0 {
        figures.faults.push(format!("{deaf} clients did not get the word to all"));
    }
    figures.add("resident_bytes_after_broadcast", server.resident_bytes()? as f64);
    Ok(figures)
}
