//! What does a connection cost?

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::super::case::Case;
use super::super::experiment::{Chart, Column, Experiment, LoadOption, Mark, Settings};
use super::super::figures::{Figures, Latencies};
use super::super::load::{connect, raise_descriptor_limit};
use super::super::measured_server::MeasuredServer;
use super::super::measurement::{Measurement, add_comparison};
use super::super::process::own_cpu_seconds;
use super::super::protocol::Protocol;
use super::super::units::Unit;
use probe::tls::{self, TlsSettings};

/// The server whose cost is subtracted from the cost of the others.
const BASELINE: &str = "echo-uni";

/// The case in which a client that sends nothing has connected first. `.ci/lab-gate` reads this label.
pub const BESIDE_SILENT: &str = "beside a silent client";

/// Connect, one message there, one back, close: the table of Stevens' "UNIX Network Programming".
pub const CONNECTIONS: Experiment = Experiment {
    id: "connections",
    title: "Connections",
    question: "What does a connection cost, compared with a server that serves one client at a time?",
    look_at: "Look at the processor time for one session, and at whether any session ends while a \
              silent client is connected.",
    prediction: "echo-uni only accepts, reads, writes and closes, so a session costs little, but one \
                 silent client stops all others; a thread for each client costs its start and its end, \
                 and a silent client does not stop the others.",
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
            marks: &[Mark { figure: "server_cpu_us_per_session", name: "" }],
        },
        Chart {
            title: "Sessions a second",
            axis: "sessions a second",
            unit: Unit::PerSecond,
            is_log: false,
            marks: &[Mark { figure: "sessions_per_s", name: "" }],
        },
    ],
    options: &[LoadOption::AtOnce, LoadOption::Seconds],
    needs_process: false,
    cases,
    setting,
    unsuited,
    measure,
    conclude,
};

fn cases(settings: &Settings) -> Vec<Case> {
    let default: &[u32] = if settings.is_quick { &[1, 10] } else { &[1, 10, 100] };
    let numbers = settings.at_once.as_deref().unwrap_or(default);
    let beside = Case { label: BESIDE_SILENT.to_owned(), value: 0.0, clients: 2 };
    // A given number of sessions is measured alone.
    let beside = settings.at_once.is_none().then_some(beside);
    let case = |n: &u32| Case { label: format!("{n} at once"), value: f64::from(*n), clients: *n };
    beside.into_iter().chain(numbers.iter().map(case)).collect()
}

fn setting(_settings: &Settings) -> String {
    format!(
        "A session is: connect, send a message of {} bytes, wait until it comes back, close. Each case \
         keeps a number of sessions open at any time. Chat servers are measured with one session at a \
         time, because with more they would relay each message to the other sessions too. In one case \
         a client that sends nothing has connected first. The column \u{201c}beyond {BASELINE}\u{201d} \
         is the server's processor time minus that of {BASELINE} in the same case.",
        MESSAGE.len()
    )
}

fn unsuited(protocol: Protocol, case: &Case) -> Option<&'static str> {
    match protocol {
        Protocol::Echo => None,
        // The case beside a silent client has one session at a time, too.
        _ if protocol.is_tin_can() && case.value <= 1.0 => None,
        _ if protocol.is_tin_can() => Some("a chat would relay each message to all sessions"),
        _ => Some("it does not send a message back to its sender"),
    }
}

fn measure(server: &MeasuredServer, case: &Case, settings: &Settings) -> Result<Figures> {
    let silent = (case.label == BESIDE_SILENT).then(|| connect(server.addr)).transpose()?;
    let at_once = if silent.is_some() { 1 } else { case.client_count() };
    let time = settings.time(Duration::from_millis(600));
    let mut figures = run_sessions(server, at_once, time)?;
    if figures.get("sessions_per_s") == Some(0.0) {
        match silent {
            // Not a fault: a server that serves one client at a time has this limit.
            Some(_) => figures.add("stalled", 1.0),
            None => figures.faults.push(format!("no session ended within {time:?}")),
        }
    }
    Ok(figures)
}

fn conclude(measurements: &mut [Measurement]) {
    let cost = "server_cpu_us_per_session";
    let beyond = |own: f64, baseline: f64| own - baseline;
    add_comparison(measurements, BASELINE, cost, "beyond_baseline_us", beyond);
    for measurement in measurements {
        if measurement.runs.iter().any(|run| run.get("stalled").is_some()) {
            measurement.add_note("answered no other client while the silent client was connected");
        }
    }
}

/// The message of each session.
const MESSAGE: &[u8] = b"A tin can, and a string.\0";

/// Runs sessions for a time, `at_once` of them at any moment.
#[expect(clippy::cast_precision_loss, reason = "counts of sessions, far below 2^52")]
fn run_sessions(server: &MeasuredServer, at_once: usize, time: Duration) -> Result<Figures> {
    raise_descriptor_limit(at_once as u64)?;
    let (addr, tls) = (server.addr, server.tls()?);
    let mut poll = Poll::new().context("cannot create a poll")?;
    let mut events = Events::with_capacity(1024);
    let mut sessions = (0..at_once)
        .map(|nth| EchoSession::begin(addr, tls.as_ref(), &poll, nth).map(Some))
        .collect::<Result<Vec<_>>>()?;
    let (mut times, mut failed, mut last_failure) = (Latencies::new()?, 0_u64, "");
    let server_cpu = || server.process.and_then(|process| process.cpu_seconds().ok());
    let (start, own_before, server_before) = (Instant::now(), own_cpu_seconds(), server_cpu());
    while start.elapsed() < time {
        match poll.poll(&mut events, Some(Duration::from_millis(100))) {
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            other => other.context("cannot wait for events")?,
        }
        for event in &events {
            let nth = event.token().0;
            let Some(session) = &mut sessions[nth] else { continue };
            match session.advance() {
                State::Open => continue,
                State::Answered => times.record(session.begun.elapsed()),
                State::Failed(why) => (failed, last_failure) = (failed + 1, why),
            }
            // Closed before the next one connects, which would otherwise wait behind it.
            session.end();
            sessions[nth] = None;
            sessions[nth] = Some(EchoSession::begin(addr, tls.as_ref(), &poll, nth)?);
        }
        ensure!(failed < 1000 || times.count() > 0, "every session fails: {last_failure}");
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
        times.add_to(&mut figures);
    }
    if failed > 0 {
        figures.faults.push(format!("{failed} sessions failed, the last one: {last_failure}"));
    }
    Ok(figures)
}

/// A session that has not ended.
struct EchoSession {
    stream: TcpStream,
    tls: Option<Box<tls::TlsSession>>,
    is_sent: bool,
    answer: Vec<u8>,
    begun: Instant,
}

enum State {
    Open,
    Answered,
    Failed(&'static str),
}

impl EchoSession {
    fn begin(addr: SocketAddr, tls: Option<&TlsSettings>, poll: &Poll, nth: usize) -> Result<Self> {
        let begun = Instant::now();
        let stream =
            TcpStream::connect(addr).with_context(|| format!("cannot connect to {addr}"))?;
        let mut tls = tls.map(tls::TlsSession::new).transpose()?.map(Box::new);
        if let Some(tls) = &mut tls {
            // Sent when the handshake is complete.
            tls.encrypt(MESSAGE)?;
        }
        let mut session = Self { stream, tls, is_sent: false, answer: Vec::new(), begun };
        // On loopback the connection is usually established by now, so no event is needed to send.
        let interest = match session.send() {
            State::Open if session.is_sent => Interest::READABLE,
            _ => Interest::READABLE | Interest::WRITABLE,
        };
        poll.registry()
            .register(&mut session.stream, Token(nth), interest)
            .context("cannot register a connection")?;
        Ok(session)
    }

    /// Sends and receives as much as is possible now.
    fn advance(&mut self) -> State {
        if !self.is_sent {
            let state = self.send();
            if !self.is_sent {
                return state;
            }
        }
        let mut buf = [0; 1024];
        loop {
            match self.stream.read(&mut buf) {
                Ok(0) => return State::Failed("the server closed before it had answered"),
                Ok(n) => {
                    if !self.take_in(&buf[..n]) {
                        return State::Failed("the server's answer is not TLS");
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return State::Open,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                // The server has reset the connection.
                Err(_) => return State::Failed("the connection broke"),
            }
            if self.answer.ends_with(b"\0") {
                // A chat puts the sender's address before the message.
                let is_right = self.answer.ends_with(MESSAGE);
                let wrong = State::Failed("the answer was not the message");
                return if is_right { State::Answered } else { wrong };
            }
        }
    }

    fn send(&mut self) -> State {
        let sent = match &mut self.tls {
            None => self.stream.write(MESSAGE).map(drop),
            Some(tls) => tls.flush(&mut self.stream),
        };
        match sent {
            Ok(()) => self.is_sent = true,
            // The connection is not established yet.
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {}
            Err(_) => return State::Failed("the connection failed or broke"),
        }
        State::Open
    }

    /// Adds received bytes, and continues the handshake if there is one. Returns false if the bytes are
    /// not TLS.
    fn take_in(&mut self, received: &[u8]) -> bool {
        let Some(tls) = &mut self.tls else {
            self.answer.extend_from_slice(received);
            return true;
        };
        let taken = tls.decrypt(received, &mut self.answer);
        // A handshake is small enough for the socket's buffer; the next read finds a broken connection.
        let _ = tls.flush(&mut self.stream);
        taken.is_ok()
    }

    /// Announces the end, where the protocol has an announcement.
    fn end(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.close_notify();
            let _ = tls.flush(&mut self.stream);
        }
    }
}
