//! What does a connection cost?

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::Tongue;
use super::figures::Latencies;
use super::load::{connect, raise_descriptor_limit};
use super::process::{Process, own_cpu_seconds};
use super::words::{self, Claim};
use super::{Case, Chart, Column, Experiment, Figures, Form, Outcome, Plan, Target, Trade, Unit};
use probe::tls::{self, Tls};

/// The server whose cost is taken off the others'.
const BASELINE: &str = "echo-uni";

/// The case in which a client that says nothing came first.
const BESIDE_SILENT: &str = "beside a silent one";

/// Connect, one message there, one back, close: the table of Stevens' "UNIX Network Programming".
pub const CONNECTIONS: Experiment = Experiment {
    id: "connections",
    title: "Connections",
    question: "What does a connection cost, beyond what it costs the server that serves one client \
               at a time?",
    columns: &[
        Column { head: "sessions/s", figure: "sessions_per_s", unit: Unit::PerSecond },
        Column { head: "CPU each", figure: "server_cpu_us_per_session", unit: Unit::Micros },
        Column { head: "beyond echo-uni", figure: "beyond_baseline_us", unit: Unit::Micros },
        Column { head: "server", figure: "server_cpu_percent", unit: Unit::Percent },
        Column { head: "generator", figure: "generator_cpu_percent", unit: Unit::Percent },
    ],
    charts: &[
        Chart {
            title: "Processor time for a session",
            axis: "the server's processor time",
            unit: Unit::Micros,
            is_log: false,
            form: Form::Bars("server_cpu_us_per_session"),
        },
        Chart {
            title: "Sessions a second",
            axis: "sessions a second",
            unit: Unit::PerSecond,
            is_log: false,
            form: Form::Bars("sessions_per_s"),
        },
    ],
    see,
    cases,
    setting,
    unsuited,
    measure,
    conclude,
};

const MULTI_AGAINST_UNI: Claim = Claim {
    servers: ["echo-multi", "echo-uni"],
    figure: "server_cpu_us_per_session",
    unit: Unit::Micros,
    what: "A session costs",
    than: "as much processor time as",
    why: "the difference is a thread that starts and ends for each client",
};

fn see(outcome: &Outcome) -> String {
    let claim = MULTI_AGAINST_UNI.tell(outcome);
    let general = "Look at the processor time for a session: what is beyond that of echo-uni, which \
                   does nothing but accept, read, write and close, is the price of serving several \
                   at a time.";
    let figure = "server_cpu_us_per_session";
    let more =
        words::extremes(outcome, figure, Unit::Micros, "Of all servers it costs", "as much as");
    // Of two servers the first sentence has said it.
    let is_new = claim.is_none() || outcome.servers().len() > 2;
    let more = more.filter(|_| is_new).or_else(|| generator(outcome));
    let yours = words::yours(outcome, figure, Unit::Micros, "takes", "echo-uni");
    words::sentences(claim, general, [more, stalled(outcome)], yours)
}

/// Who answers nobody while a client says nothing.
fn stalled(outcome: &Outcome) -> Option<String> {
    let cases = outcome.cases().into_iter();
    let all = cases.flat_map(|case| words::ranked(outcome, case, "stalled"));
    let mut such: Vec<&str> = words::names(&all.collect::<Vec<_>>());
    such.dedup();
    let (list, s) = (words::list(&such), words::s(&such));
    (!such.is_empty())
        .then(|| format!("While a client that came first says nothing, {list} answer{s} nobody."))
}

/// Why sessions a second are not the whole truth.
fn generator(outcome: &Outcome) -> Option<String> {
    let case = words::fullest_case(outcome, "generator_cpu_percent")?;
    let found = words::ranked(outcome, case, "generator_cpu_percent");
    let most = found.last().filter(|found| found.median() >= 90.0)?;
    Some(format!(
        "Sessions a second say less: with {} the generator used {} of a core, so that it may be \
         what they measure.",
        most.server,
        Unit::Percent.show(most.median())
    ))
}

fn cases(plan: Plan) -> Vec<Case> {
    let all: &[u32] = if plan.is_quick { &[1, 10] } else { &[1, 10, 100] };
    let beside = Case { label: BESIDE_SILENT.to_owned(), at: 0.0 };
    let sessions = all.iter().map(|n| Case { label: format!("{n} at once"), at: f64::from(*n) });
    std::iter::once(beside).chain(sessions).collect()
}

fn setting(_plan: Plan) -> String {
    "Connect, send a message of 25 bytes, wait for it to come back, close; so many sessions at any \
     moment. Chat servers, too, but one at a time: with more, each would relay to the others as \
     well. In one case a client that says nothing came first. What a session costs beyond the \
     baseline is the server's processor time less that of echo-uni in the same case."
        .to_owned()
}

fn unsuited(trade: Trade, case: &Case) -> Option<&'static str> {
    match trade {
        Trade::Echo => None,
        Trade::Chat(Tongue::TinCan | Tongue::TinCanInTls) if case.count() <= 1 => None,
        Trade::Chat(Tongue::TinCan | Tongue::TinCanInTls) => {
            Some("a chat would relay each to all the others")
        }
        Trade::Chat(_) => Some("it answers nobody with his own words"),
    }
}

fn measure(target: &Target, case: &Case, plan: Plan) -> Result<Figures> {
    let silent = (case.label == BESIDE_SILENT).then(|| connect(target.addr)).transpose()?;
    let at_once = case.count().max(1);
    let time = plan.time(Duration::from_millis(600));
    let (tls, server) = (target.tls()?, Some(target.process));
    let mut figures = run(target.addr, tls.as_ref(), at_once, time, server)?;
    if figures.get("sessions_per_s") == Some(0.0) {
        match silent {
            // Not a fault: it is what a server that serves one client at a time is known for.
            Some(_) => figures.add("stalled", 1.0),
            None => figures.faults.push(format!("no session was over within {time:?}")),
        }
    }
    Ok(figures)
}

/// Adds to each run what its sessions cost beyond those of the baseline, if that was measured.
pub fn conclude(outcome: &mut Outcome) {
    let cost = "server_cpu_us_per_session";
    let baselines: Vec<_> = outcome.rows.iter().filter(|row| row.server == BASELINE).collect();
    let baselines: Vec<_> =
        baselines.into_iter().map(|row| (row.case.clone(), row.median(cost))).collect();
    for row in outcome.rows.iter_mut().filter(|row| row.server != BASELINE) {
        let baseline = baselines.iter().find(|(case, _)| *case == row.case);
        let Some(baseline) = baseline.and_then(|(_, median)| *median) else { continue };
        for run in &mut row.runs {
            if let Some(own) = run.get(cost) {
                run.add("beyond_baseline_us", own - baseline);
            }
        }
    }
}

/// What each session sends.
const MESSAGE: &[u8] = b"A tin can, and a string.\0";

/// A session in flight.
struct Session {
    stream: TcpStream,
    tls: Option<Box<tls::Session>>,
    sent: bool,
    answer: Vec<u8>,
    begun: Instant,
}

/// How a session stands.
enum State {
    Open,
    Answered,
    Failed(&'static str),
}

/// Sessions with a server, so many at once.
#[expect(clippy::cast_precision_loss, reason = "counts of sessions, far below 2^52")]
pub fn run(
    addr: SocketAddr,
    tls: Option<&Tls>,
    at_once: usize,
    time: Duration,
    server: Option<Process>,
) -> Result<Figures> {
    raise_descriptor_limit(at_once as u64)?;
    let mut poll = Poll::new().context("cannot create a poll")?;
    let mut events = Events::with_capacity(1024);
    let mut sessions = (0..at_once)
        .map(|nth| begin(addr, tls, &poll, nth).map(Some))
        .collect::<Result<Vec<_>>>()?;
    let (mut times, mut failed, mut last_failure) = (Latencies::new()?, 0_u64, "");
    let server_cpu = || server.and_then(|server| server.cpu_seconds().ok());
    let (start, own_before, server_before) = (Instant::now(), own_cpu_seconds(), server_cpu());
    while start.elapsed() < time {
        match poll.poll(&mut events, Some(Duration::from_millis(100))) {
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            other => other.context("cannot wait for events")?,
        }
        for event in &events {
            let nth = event.token().0;
            let Some(session) = &mut sessions[nth] else { continue };
            match go_on(session) {
                State::Open => continue,
                State::Answered => times.record(session.begun.elapsed()),
                State::Failed(why) => (failed, last_failure) = (failed + 1, why),
            }
            // Closed before the next connects: otherwise the next would be waiting already.
            session.end();
            sessions[nth] = None;
            sessions[nth] = Some(begin(addr, tls, &poll, nth)?);
        }
        ensure!(failed < 1000 || times.count() > 0, "no session succeeds: {last_failure}");
    }
    let seconds = start.elapsed().as_secs_f64();

    let mut figures = Figures::default();
    let answered = times.count() as f64;
    figures.add("sessions_per_s", answered / seconds);
    if let Some(cpu) = server_cpu().zip(server_before).map(|(now, then)| now - then) {
        if answered > 0.0 {
            figures.add("server_cpu_us_per_session", cpu * 1e6 / answered);
        }
        figures.add("server_cpu_percent", cpu / seconds * 100.0);
    }
    if let Some(cpu) = own_cpu_seconds().zip(own_before).map(|(now, then)| now - then) {
        figures.add("generator_cpu_percent", cpu / seconds * 100.0);
    }
    if times.count() > 0 {
        times.tell(&mut figures);
    }
    if failed > 0 {
        figures.faults.push(format!("{failed} sessions failed, the last: {last_failure}"));
    }
    Ok(figures)
}

fn begin(addr: SocketAddr, tls: Option<&Tls>, poll: &Poll, nth: usize) -> Result<Session> {
    let begun = Instant::now();
    let stream = TcpStream::connect(addr).with_context(|| format!("cannot connect to {addr}"))?;
    let mut tls = tls.map(tls::Session::begin).transpose()?.map(Box::new);
    if let Some(tls) = &mut tls {
        tls.put(MESSAGE)?; // to be sent when the handshake is done
    }
    let mut session = Session { stream, tls, sent: false, answer: Vec::new(), begun };
    // On loopback it is connected by now; then nobody needs to be woken to send.
    let interest = match session.send() {
        State::Open if session.sent => Interest::READABLE,
        _ => Interest::READABLE | Interest::WRITABLE,
    };
    let registry = poll.registry();
    registry
        .register(&mut session.stream, Token(nth), interest)
        .context("cannot watch a connection")?;
    Ok(session)
}

fn go_on(session: &mut Session) -> State {
    if !session.sent {
        let state = session.send();
        if !session.sent {
            return state;
        }
    }
    let mut buf = [0; 1024];
    loop {
        match session.stream.read(&mut buf) {
            Ok(0) => return State::Failed("the server closed before it had answered"),
            Ok(n) => {
                if !session.take_in(&buf[..n]) {
                    return State::Failed("what the server says is no TLS");
                }
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => return State::Open,
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(_) => return State::Failed("the connection broke"),
        }
        if session.answer.ends_with(b"\0") {
            // Before it, there may be the sender's address, however it is written.
            let is_right = session.answer.ends_with(MESSAGE);
            let wrong = State::Failed("the answer was not the message");
            return if is_right { State::Answered } else { wrong };
        }
    }
}

impl Session {
    fn send(&mut self) -> State {
        let sent = match &mut self.tls {
            None => self.stream.write(MESSAGE).map(drop),
            Some(tls) => tls.flush(&mut self.stream),
        };
        match sent {
            Ok(()) => self.sent = true,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {}
            Err(_) => return State::Failed("no connection, or not for long"),
        }
        State::Open
    }

    /// Takes in what has come, and goes on with the handshake, if there is one; false if it is wrong.
    fn take_in(&mut self, came: &[u8]) -> bool {
        let Some(tls) = &mut self.tls else {
            self.answer.extend_from_slice(came);
            return true;
        };
        let taken = tls.take_in(came, &mut self.answer);
        // So few bytes always find room; whoever is gone will be seen to be.
        let _ = tls.flush(&mut self.stream);
        taken.is_ok()
    }

    /// Says that it ends, where that is said.
    fn end(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.notify();
            let _ = tls.flush(&mut self.stream);
        }
    }
}
