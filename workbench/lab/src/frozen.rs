//! What does a room notice of one who never reads?

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::Result;
use socket2::{Domain, Socket, Type};

use super::Series;
use super::accounts::{Clock, Schedule};
use super::figures::Latencies;
use super::load::{PATIENCE, Room};
use super::process::Process;
use super::words::{self, Found, Ratio};
use super::{
    Case, Chart, Column, Experiment, Figures, Form, Origin, Outcome, Plan, Row, Spread, Target,
    Trade, Unit,
};
use probe::tls;

/// How many send, in turns.
const SENDERS: usize = 10;

/// Bytes of a message.
const SIZE: usize = 1024;

/// Messages a second.
const RATE: f64 = 2000.0;

const CALM: [&str; 3] = ["calm_p50_us", "calm_p99_us", "calm_max_us"];
const FROZEN_NAMES: [&str; 3] = ["frozen_p50_us", "frozen_p99_us", "frozen_max_us"];

/// One client stops reading; the others talk on.
pub const FROZEN: Experiment = Experiment {
    id: "frozen",
    title: "The frozen room",
    question: "What do the others notice, and what does memory do, when one client never reads?",
    columns: &[
        Column { head: "p99 without", figure: "calm_p99_us", unit: Unit::Micros },
        Column { head: "p99 with", figure: "frozen_p99_us", unit: Unit::Micros },
        Column { head: "longest with", figure: "frozen_max_us", unit: Unit::Micros },
        Column { head: "memory grew", figure: "peak_growth_bytes", unit: Unit::Bytes },
        Column { head: "dropped after", figure: "dropped_after_s", unit: Unit::Seconds },
        Column { head: "copies not come", figure: "undelivered", unit: Unit::Count },
    ],
    charts: &[
        Chart {
            title: "What the healthy clients notice, p99",
            axis: "from due to delivered",
            unit: Unit::Micros,
            is_log: true,
            form: Form::Strips(&[("calm_p99_us", "without"), ("frozen_p99_us", "with")]),
        },
        Chart {
            title: "Memory of the server",
            axis: "growth in bytes",
            unit: Unit::Bytes,
            is_log: false,
            form: Form::Course {
                series: "growth_bytes_over_s",
                mark: Some(("dropped_after_s", "dropped")),
            },
        },
    ],
    see,
    cases,
    setting,
    unsuited,
    measure,
    conclude,
};

/// From here on the others notice.
const NOTICED: f64 = 2.0;

fn see(outcome: &Outcome) -> String {
    let general = "Look at the distance between the two marks of a strip: it is what the healthy \
                   clients notice of the one that never reads, and nothing if what that one does \
                   not take waits in a queue of its own.";
    let case = words::fullest_case(outcome, "frozen_p99_us");
    let stopped = case.and_then(|case| stopped(outcome, case));
    let noticed = case.and_then(|case| noticed(outcome, case));
    let memory = case.and_then(|case| memory(outcome, case));
    let yours = words::yours(
        outcome,
        "frozen_p99_us",
        Unit::Micros,
        "makes the healthy ones wait, at p99,",
        "chat-poll",
    );
    // Where a room has stopped, how late the rest came says nothing.
    let is_stopped = |row: &Row| row.origin == Origin::Mine && undelivered(row) > 0.0;
    let yours = yours.filter(|_| !outcome.rows.iter().any(is_stopped));
    let (first, noticed) = if stopped.is_some() { (stopped, noticed) } else { (noticed, None) };
    words::sentences(first, general, [noticed, memory], yours)
}

/// Whether the one that never reads has stopped the room: copies had not come at the end.
fn has_stopped(found: &Found<'_>) -> bool {
    undelivered(found.row) > 0.0
}

fn undelivered(row: &Row) -> f64 {
    row.median("undelivered").unwrap_or_default()
}

/// In which rooms the healthy ones did not get all.
fn stopped(outcome: &Outcome, case: &Case) -> Option<String> {
    let all = words::ranked(outcome, case, "frozen_p99_us");
    let stopped: Vec<_> = all.into_iter().filter(has_stopped).collect();
    let counts = stopped.iter().map(|found| undelivered(found.row));
    let most = Unit::Count.show(counts.reduce(f64::max)?);
    Some(format!(
        "With {} one client that never reads stops the room: up to {most} copies had not come to the \
         healthy ones a second after the end.",
        words::list(&words::names(&stopped))
    ))
}

/// Whose healthy clients wait longer, and whose do not.
fn noticed(outcome: &Outcome, case: &Case) -> Option<String> {
    let (mut calm, mut late, mut most) = (Vec::new(), Vec::new(), 1.0_f64);
    let all = words::ranked(outcome, case, "frozen_p99_us");
    for with in all.into_iter().filter(|found| !has_stopped(found)) {
        let Some(without) = words::find(outcome, with.server, case, "calm_p99_us") else {
            continue;
        };
        let ratio = with.median() / without.median();
        match Ratio::of(with.spread, without.spread) {
            Some(_) if ratio < NOTICED => calm.push(with.server),
            Some(Ratio::More(_)) => {
                late.push(with.server);
                most = most.max(ratio);
            }
            // The runs differ too much to tell.
            _ => {}
        }
    }
    let ours = ["chat-threads", "chat-poll", "chat-async"].iter().any(|it| calm.contains(it));
    let held = format!(
        "With {} the healthy clients hardly notice the one that never reads (p99 less than twice \
         as long as without it){}",
        words::list(&calm),
        if ours {
            ": in our servers what it does not take waits in a queue of its own"
        } else {
            ""
        }
    );
    let up_to = if late.len() > 1 { "up to " } else { "" };
    let waits =
        format!("with {} they wait {up_to}{} as long", words::list(&late), words::times(most));
    match (calm.is_empty(), late.is_empty()) {
        (false, true) => Some(format!("{held}.")),
        (false, false) => Some(format!("{held}; {waits}.")),
        (true, false) => Some(format!(
            "One client that never reads holds up the healthy ones: {waits} as without it, at p99."
        )),
        (true, true) => None,
    }
}

/// Who gives up on the silent one, when, and how much memory that took.
fn memory(outcome: &Outcome, case: &Case) -> Option<String> {
    let all = words::ranked(outcome, case, "frozen_p99_us");
    let dropped_in = |found: &Found<'_>| drops(found.row);
    let (gave_up, kept): (Vec<Found<'_>>, Vec<Found<'_>>) = all
        .into_iter()
        // Of those that drop it in some runs, a note tells; a room that has stopped takes no memory.
        .filter(|found| [0, found.row.runs.len()].contains(&dropped_in(found)))
        .filter(|found| !has_stopped(found))
        .partition(|found| dropped_in(found) > 0);
    let grew = |found: &[Found<'_>]| {
        let growths = found.iter().filter_map(|found| found.row.median("peak_growth_bytes"));
        growths.reduce(f64::max).map(|most| Unit::Bytes.show(most.max(0.0)))
    };
    let mut parts = Vec::new();
    if !gave_up.is_empty() {
        let times = Spread::of(gave_up.iter().filter_map(|it| it.row.median("dropped_after_s")))?;
        let [first, last] = [times.min, times.max].map(|time| Unit::Seconds.show(time));
        let after = if first == last { first } else { format!("{first} to {last}") };
        let names = words::names(&gave_up);
        let (drop, s) = (words::list(&names), words::s(&names));
        parts.push(format!(
            "{drop} drop{s} it after {after} and grow{s} by at most {}",
            grew(&gave_up)?
        ));
    }
    if !kept.is_empty() {
        let names = words::names(&kept);
        let (keep, s) = (words::list(&names), words::s(&names));
        parts.push(format!("{keep} keep{s} it to the end and grow{s} by up to {}", grew(&kept)?));
    }
    (!parts.is_empty()).then(|| format!("{}.", parts.join("; ")))
}

/// In how many runs the silent one was dropped.
fn drops(row: &Row) -> usize {
    row.runs.iter().filter(|run| run.get("dropped_after_s").is_some()).count()
}

/// Notes where the silent one was dropped in some of the runs alone.
fn conclude(outcome: &mut Outcome) {
    for row in &mut outcome.rows {
        let (drops, runs) = (drops(row), row.runs.len());
        if drops > 0 && drops < runs {
            row.add_note(format!("dropped the silent client in {drops} of {runs} runs"));
        }
    }
}

fn cases(_plan: Plan) -> Vec<Case> {
    vec![Case::clients(20)]
}

fn setting(plan: Plan) -> String {
    format!(
        "{RATE} messages of {SIZE} bytes a second (an open loop) from {SENDERS} senders; after {:.1} \
         s one more client comes and never reads, for {:.1} s. A copy that has not come to one of the \
         others a second after that counts as not come.",
        calm(plan).as_secs_f64(),
        frozen(plan).as_secs_f64()
    )
}

fn calm(plan: Plan) -> Duration {
    plan.time(Duration::from_millis(500))
}

fn frozen(plan: Plan) -> Duration {
    // By then the kernel's buffers have long been full, and the server has had to decide.
    Duration::from_millis(if plan.is_quick { 2200 } else { 2400 })
}

fn unsuited(trade: Trade, _case: &Case) -> Option<&'static str> {
    (trade == Trade::Echo).then_some("an echo server relays to nobody")
}

fn measure(target: &Target, case: &Case, plan: Plan) -> Result<Figures> {
    let mut room = Room::open(target.crowd(case.count(), SENDERS, SIZE)?)?;
    let start = Instant::now();
    let schedule = Schedule { start, interval: Duration::from_secs_f64(1.0 / RATE) };
    let mut figures = Figures::default();
    room.set_clock(Clock::new(schedule, start)?);
    let mut watch = Watch::new(target.process, start)?;
    room.keep_time(schedule, start + calm(plan), || watch.look())?;
    if let Some(clock) = room.take_clock() {
        tell(&clock.into_latencies(), &mut figures, CALM);
    }

    room.set_clock(Clock::new(schedule, start + calm(plan))?);
    let _never_reads = freeze(target)?;
    watch.freeze(Instant::now());
    room.keep_time(schedule, start + calm(plan) + frozen(plan), || watch.look())?;
    room.catch_up(Duration::from_secs(1))?;
    if let Some(clock) = room.settle(&mut figures) {
        tell(&clock.into_latencies(), &mut figures, FROZEN_NAMES);
    }
    watch.tell(&mut figures);
    Ok(figures)
}

/// A client that never reads, with as little room for what it is sent as the system allows.
fn freeze(target: &Target) -> Result<Socket> {
    let mut socket = Socket::new(Domain::for_address(target.addr), Type::STREAM, None)?;
    socket.set_recv_buffer_size(4096)?;
    socket.connect_timeout(&target.addr.into(), PATIENCE)?;
    if let Some(tls) = target.tls()? {
        socket.set_read_timeout(Some(PATIENCE))?;
        tls::Session::shake(&tls, &mut socket)?;
    }
    // A few bytes, which it has room for.
    (&socket).write_all(target.listener_hello())?;
    Ok(socket)
}

fn tell(late: &Latencies, figures: &mut Figures, names: [&'static str; 3]) {
    for (name, part) in names.into_iter().zip([0.5, 0.99, 1.0]) {
        figures.add(name, late.quantile_us(part));
    }
}

/// Looks at the server many times a second.
struct Watch {
    server: Process,
    start: Instant,
    due: Instant,
    /// Descriptors before the silent client came.
    descriptors: u64,
    frozen_at: Option<Instant>,
    was_taken: bool,
    dropped_at: Option<Instant>,
    resident: Vec<(f64, f64)>,
}

impl Watch {
    fn new(server: Process, start: Instant) -> Result<Self> {
        let descriptors = server.descriptors()?;
        Ok(Self {
            server,
            start,
            due: start,
            descriptors,
            frozen_at: None,
            was_taken: false,
            dropped_at: None,
            resident: Vec::new(),
        })
    }

    fn freeze(&mut self, now: Instant) {
        self.frozen_at = Some(now);
    }

    #[expect(clippy::cast_precision_loss, reason = "bytes of memory, far below 2^52")]
    fn look(&mut self) -> Result<()> {
        let now = Instant::now();
        if now < self.due {
            return Ok(());
        }
        self.due = now + Duration::from_millis(50);
        let resident = self.server.resident_bytes_about()? as f64;
        self.resident.push(((now - self.start).as_secs_f64(), resident));
        if self.frozen_at.is_some() && self.dropped_at.is_none() {
            let descriptors = self.server.descriptors()?;
            // It was there, and is gone.
            self.was_taken |= descriptors > self.descriptors;
            if self.was_taken && descriptors <= self.descriptors {
                self.dropped_at = Some(now);
            }
        }
        Ok(())
    }

    fn tell(self, figures: &mut Figures) {
        let frozen_at = self.frozen_at.map_or(0.0, |at| (at - self.start).as_secs_f64());
        let calm = self.resident.iter().filter(|(at, _)| *at < frozen_at);
        let before = calm.map(|(_, bytes)| *bytes).fold(0.0, f64::max);
        // Less than before is no growth.
        let growth = |bytes: f64| (bytes - before).max(0.0);
        let growth = self.resident.iter().map(|(at, bytes)| (at - frozen_at, growth(*bytes)));
        let points: Vec<_> = growth.collect();
        let peak = points.iter().filter(|(at, _)| *at >= 0.0).map(|(_, bytes)| *bytes);
        figures.add("peak_growth_bytes", peak.fold(0.0, f64::max));
        if let Some((at, from)) = self.dropped_at.zip(self.frozen_at) {
            figures.add("dropped_after_s", (at - from).as_secs_f64());
        }
        figures.series.push(Series { name: "growth_bytes_over_s", points });
    }
}
