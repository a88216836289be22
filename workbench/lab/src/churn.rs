//! Does anything stay behind when clients come and go?

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{Shutdown as Half, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use socket2::SockRef;

use super::load::{PATIENCE, connect_inside, raise_descriptor_limit};
use super::outcome::grouped;
use super::process::Process;
use super::words;
use super::{Case, Chart, Column, Experiment, Figures, Form, Outcome, Plan, Target, Trade, Unit};

/// Visitors at a time.
const AT_ONCE: usize = 50;

/// How long threads and descriptors may take to go.
const SETTLING: Duration = Duration::from_secs(2);

/// Thousands of clients connect and leave, half of them with a reset.
pub const CHURN: Experiment = Experiment {
    id: "churn",
    title: "Churn",
    question: "When thousands of clients have come and gone, half of them with a reset, what stays \
               behind?",
    columns: &[
        Column { head: "visits/s", figure: "visits_per_s", unit: Unit::PerSecond },
        Column { head: "descriptors", figure: "descriptors_left", unit: Unit::Count },
        Column { head: "threads", figure: "threads_left", unit: Unit::Count },
        Column { head: "memory", figure: "resident_left_bytes", unit: Unit::Bytes },
    ],
    charts: &[Chart {
        title: "Memory that stayed",
        axis: "resident bytes more than before",
        unit: Unit::Bytes,
        is_log: false,
        form: Form::Bars("resident_left_bytes"),
    }],
    see,
    cases,
    setting,
    unsuited,
    measure,
    conclude: |_| {},
};

fn see(outcome: &Outcome) -> String {
    let general = "Look for descriptors and threads first: one that stays for each visit is a leak, \
                   and ends the server some day.";
    let case = words::fullest_case(outcome, "resident_left_bytes");
    let left = case.and_then(|case| left(outcome, case));
    let memory = case.and_then(|case| memory(outcome, case));
    let yours =
        words::yours(outcome, "resident_left_bytes", Unit::Bytes, "has grown by", "chat-poll");
    words::sentences(left, general, [memory], yours)
}

/// Who has more descriptors or threads than before.
fn left(outcome: &Outcome, case: &Case) -> Option<String> {
    let (mut clean, mut leaky) = (Vec::new(), Vec::new());
    for found in words::ranked(outcome, case, "descriptors_left") {
        let threads = found.row.median("threads_left").unwrap_or(0.0);
        if found.median() <= 0.0 && threads <= 0.0 {
            clean.push(found.server);
            continue;
        }
        let kept = [(found.median(), "descriptors"), (threads, "threads")];
        let kept = kept.into_iter().filter(|(count, _)| *count > 0.0);
        let kept: Vec<String> =
            kept.map(|(count, what)| format!("{} {what}", Unit::Count.show(count))).collect();
        leaky.push(format!("{} has {} more than before", found.server, kept.join(" and ")));
    }
    match (clean.is_empty(), leaky.is_empty()) {
        (true, true) => None,
        (_, false) => Some(format!(
            "{}: what stays when all clients have gone is a leak, unless it stays the same with \
             twice as many visits.",
            leaky.join("; ")
        )),
        (_, true) => Some(format!(
            "Of all visits no descriptor and no thread stays with {}: each that leaves, by a reset \
             too, is taken off the books at once.",
            words::list(&clean)
        )),
    }
}

/// Who grew most; and what that does not mean.
fn memory(outcome: &Outcome, case: &Case) -> Option<String> {
    let found = words::ranked(outcome, case, "resident_left_bytes");
    let most = found.last()?;
    if most.median() <= 0.0 {
        return Some("No server takes more memory than before.".to_owned());
    }
    let names = words::list(&words::names(&words::largest(&found)));
    let half = most.row.median("resident_second_half_bytes").map(|half| match half > 0.0 {
        true => {
            format!(", of which the second half of the visits added {}", Unit::Bytes.show(half))
        }
        false => ", of which the second half of the visits added nothing".to_owned(),
    });
    Some(format!(
        "Most memory stays with {names}, up to {}{}: what an allocator keeps for the next clients \
         is no leak, what every round adds is.",
        Unit::Bytes.show(most.median()),
        half.unwrap_or_default()
    ))
}

fn cases(plan: Plan) -> Vec<Case> {
    let visits = if plan.is_quick { 2000 } else { 10_000 };
    vec![Case { label: format!("{} visits", grouped(visits)), at: f64::from(visits) }]
}

fn setting(_plan: Plan) -> String {
    format!(
        "Clients connect and leave, {AT_ONCE} at a time, every second one with a reset, the others \
         by closing. What stays is what there is more than before the first, when all have gone; of \
         memory, also what the second half of them added, which an allocator's reserve does not \
         explain."
    )
}

fn unsuited(_trade: Trade, _case: &Case) -> Option<&'static str> {
    None
}

#[expect(clippy::cast_precision_loss, reason = "counts and bytes, far below 2^52")]
fn measure(target: &Target, case: &Case, _plan: Plan) -> Result<Figures> {
    raise_descriptor_limit(AT_ONCE as u64)?;
    let before = State::settled(target.process, None)?;
    let visits = case.count();
    let start = Instant::now();
    visit(target, visits / 2)?;
    let mut seconds = start.elapsed();
    let half = State::settled(target.process, Some(before))?;
    let start = Instant::now();
    visit(target, visits - visits / 2)?;
    seconds += start.elapsed();
    let after = State::settled(target.process, Some(before))?;

    let mut figures = Figures::default();
    figures.add("visits_per_s", visits as f64 / seconds.as_secs_f64());
    figures.add("descriptors_before", before.descriptors as f64);
    figures.add("descriptors_left", after.descriptors as f64 - before.descriptors as f64);
    figures.add("threads_before", before.threads as f64);
    figures.add("threads_left", after.threads as f64 - before.threads as f64);
    figures.add("resident_bytes_before", before.resident as f64);
    figures.add("resident_left_bytes", after.resident as f64 - before.resident as f64);
    figures.add("resident_second_half_bytes", after.resident as f64 - half.resident as f64);
    if after.descriptors > before.descriptors {
        let left = after.descriptors - before.descriptors;
        figures.faults.push(format!("{left} descriptors stayed open"));
    }
    Ok(figures)
}

/// Has so many clients connect and leave.
///
/// One that leaves in peace waits until the server has closed as well: by then the server has taken
/// all who came before, so that no more than a few are ever waiting to be accepted.
fn visit(target: &Target, visits: usize) -> Result<()> {
    let (mut leaving, tls) = (VecDeque::new(), target.tls()?);
    for nth in 0..visits {
        let (mut stream, session) = connect_inside(target.addr, tls.as_ref())
            .with_context(|| format!("visit {nth}: cannot connect"))?;
        if nth % 2 == 0 {
            SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        } else {
            if let Some(mut session) = session {
                session.notify();
                session.flush(&mut stream)?;
            }
            stream.shutdown(Half::Write)?;
            leaving.push_back(stream);
        }
        if leaving.len() > AT_ONCE / 2 {
            see_off(leaving.pop_front())?;
        }
    }
    leaving.into_iter().try_for_each(|stream| see_off(Some(stream)))
}

fn see_off(stream: Option<TcpStream>) -> Result<()> {
    let Some(mut stream) = stream else { return Ok(()) };
    stream.set_read_timeout(Some(PATIENCE))?;
    match io::copy(&mut stream, &mut io::sink()) {
        Err(e) if e.kind() != ErrorKind::ConnectionReset => {
            Err(e).with_context(|| format!("a visitor who left was not let go within {PATIENCE:?}"))
        }
        _ => Ok(()),
    }
}

/// What the server has at one moment.
#[derive(Clone, Copy, PartialEq)]
struct State {
    descriptors: u64,
    threads: u64,
    resident: u64,
}

impl State {
    fn now(server: Process) -> Result<Self> {
        Ok(Self {
            descriptors: server.descriptors()?,
            threads: server.threads()?,
            resident: server.resident_bytes()?,
        })
    }

    /// What it has when nothing changes any more, and descriptors and threads are no more than at
    /// first, or are not going to be.
    fn settled(server: Process, first: Option<Self>) -> Result<Self> {
        let start = Instant::now();
        let mut last = Self::now(server)?;
        loop {
            thread::sleep(Duration::from_millis(100));
            let now = Self::now(server)?;
            let is_back = first.is_none_or(|first| {
                now.descriptors <= first.descriptors && now.threads <= first.threads
            });
            if now == last && (is_back || start.elapsed() > SETTLING) {
                return Ok(now);
            }
            if start.elapsed() > 2 * SETTLING {
                return Ok(now);
            }
            last = now;
        }
    }
}
