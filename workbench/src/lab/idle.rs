//! What does a client cost that says nothing?

use anyhow::{Result, bail};

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

fn cases(_plan: Plan) -> Vec<Case> {
    Vec::new()
}

fn setting(_plan: Plan) -> String {
    String::new()
}

fn unsuited(_trade: Trade, _case: &Case) -> Option<&'static str> {
    None
}

fn measure(_target: &Target, _case: &Case, _plan: Plan) -> Result<Figures> {
    bail!("to be written")
}
