//! What remains when many clients have connected and left?

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use socket2::SockRef;

use super::super::case::{Case, grouped};
use super::super::experiment::{Chart, Column, Experiment, Mark, Settings};
use super::super::figures::Figures;
use super::super::load::{TIMEOUT, connect_with_tls, raise_descriptor_limit};
use super::super::measured_server::MeasuredServer;
use super::super::process::Process;
use super::super::units::Unit;

/// Clients at a time.
const AT_ONCE: u32 = 50;

/// How long threads and descriptors may take to disappear.
const SETTLING: Duration = Duration::from_secs(2);

/// Thousands of clients connect and leave, half of them with a reset.
pub const CHURN: Experiment = Experiment {
    id: "churn",
    title: "Churn",
    question: "When thousands of clients have connected and left, half of them with a reset, what \
               remains?",
    look_at: "Look at descriptors and threads first, then at the memory, of which \u{201c}second \
              half\u{201d} is the part that the second half of the clients has added.",
    prediction: "A server that forgets each client that leaves has no more descriptors and threads \
                 than before; an allocator keeps some memory for the next clients, but the second half \
                 of them should add almost nothing.",
    columns: &[
        Column { head: "visits/s", figure: "visits_per_s", unit: Unit::PerSecond },
        Column { head: "descriptors", figure: "descriptors_left", unit: Unit::Count },
        Column { head: "threads", figure: "threads_left", unit: Unit::Count },
        Column { head: "memory", figure: "resident_left_bytes", unit: Unit::Bytes },
        Column { head: "second half", figure: "resident_second_half_bytes", unit: Unit::Bytes },
    ],
    charts: &[Chart {
        title: "Memory that remained",
        axis: "resident bytes more than before",
        unit: Unit::Bytes,
        is_log: false,
        marks: &[Mark { figure: "resident_left_bytes", name: "" }],
    }],
    options: &[],
    needs_process: true,
    cases,
    setting,
    unsuited: |_, _| None,
    measure,
    conclude: |_| {},
};

fn cases(settings: &Settings) -> Vec<Case> {
    let visits = if settings.is_quick { 2000 } else { 10_000 };
    let label = format!("{} visits", grouped(visits));
    vec![Case { label, value: f64::from(visits), clients: AT_ONCE }]
}

fn setting(_settings: &Settings) -> String {
    format!(
        "Clients connect and leave, {AT_ONCE} at a time, every second one with a reset, the others by \
         closing. The table shows how many more descriptors and threads and how much more memory there \
         is than before the first client, when all have left."
    )
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts and bytes, far below 2^52"
)]
fn measure(server: &MeasuredServer, case: &Case, _settings: &Settings) -> Result<Figures> {
    let process = server.process()?;
    raise_descriptor_limit(AT_ONCE.into())?;
    let before = State::settled(process, None)?;
    let visits = case.value as usize;
    let start = Instant::now();
    connect_and_leave(server, visits / 2)?;
    let mut time = start.elapsed();
    let half = State::settled(process, Some(before))?;
    let start = Instant::now();
    connect_and_leave(server, visits - visits / 2)?;
    time += start.elapsed();
    let after = State::settled(process, Some(before))?;

    let mut figures = Figures::default();
    figures.add("visits_per_s", visits as f64 / time.as_secs_f64());
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

/// Connects this number of clients, and lets them leave.
///
/// A client that closes waits until the server has closed as well. By then the server has accepted all
/// clients before it, so that only a few ever wait to be accepted.
fn connect_and_leave(server: &MeasuredServer, visits: usize) -> Result<()> {
    let (mut leaving, tls) = (VecDeque::new(), server.tls()?);
    for nth in 0..visits {
        let (mut stream, session) = connect_with_tls(server.addr, tls.as_ref())
            .with_context(|| format!("visit {nth}: cannot connect"))?;
        if nth % 2 == 0 {
            // Closing sends a reset.
            SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        } else {
            if let Some(mut session) = session {
                session.close_notify();
                session.flush(&mut stream)?;
            }
            stream.shutdown(Shutdown::Write)?;
            leaving.push_back(stream);
        }
        if leaving.len() > AT_ONCE as usize / 2
            && let Some(stream) = leaving.pop_front()
        {
            wait_for_close(stream)?;
        }
    }
    leaving.into_iter().try_for_each(wait_for_close)
}

fn wait_for_close(mut stream: TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    match io::copy(&mut stream, &mut io::sink()) {
        Err(e) if e.kind() != ErrorKind::ConnectionReset => Err(e).with_context(|| {
            format!("the server did not close the connection of a client that left for {TIMEOUT:?}")
        }),
        _ => Ok(()),
    }
}

/// The resources of the server at one moment.
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

    /// Waits until nothing changes any more, and until there are no more descriptors and threads than
    /// at first, or until they had enough time.
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
