//! What do the other clients notice when one client never reads?

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::Result;
use socket2::{Domain, Socket, Type};

use super::super::case::{Case, grouped};
use super::super::experiment::{Chart, Column, Experiment, LoadOption, Mark, Settings};
use super::super::figures::{Figures, Latencies, Series};
use super::super::load::{DelayRecorder, LoadGenerator, Schedule, TIMEOUT};
use super::super::measured_server::MeasuredServer;
use super::super::measurement::Measurement;
use super::super::process::Process;
use super::super::protocol::Protocol;
use super::super::units::Unit;
use probe::tls;

/// Clients that send in turns, and bytes of a message, unless the command line says otherwise.
const SENDERS: usize = 10;
const SIZE: usize = 1024;

/// Messages a second.
const RATE: u32 = 2000;

/// The delays of the other clients before the slow consumer connects, and while it is there.
const WITHOUT: [&str; 3] = ["without_p50_us", "without_p99_us", "without_max_us"];
const WITH: [&str; 3] = ["with_p50_us", "with_p99_us", "with_max_us"];

/// One client stops reading, and the others go on.
pub const SLOW_CONSUMER: Experiment = Experiment {
    id: "slow-consumer",
    title: "A slow consumer",
    question: "What do the other clients notice, and how does memory grow, when one client never \
               reads?",
    look_at: "Look at the difference between p99 without and with the slow consumer, which is what the \
              other clients notice, and at the memory that the server needs until it disconnects the \
              slow consumer, if it does.",
    prediction: "Where a server queues messages for each client separately, the other clients notice \
                 nothing, and memory grows up to a limit at which the server disconnects the slow \
                 consumer; a server that writes to it directly stops for all clients.",
    columns: &[
        Column { head: "p99 without", figure: "without_p99_us", unit: Unit::Micros },
        Column { head: "p99 with", figure: "with_p99_us", unit: Unit::Micros },
        Column { head: "longest with", figure: "with_max_us", unit: Unit::Micros },
        Column { head: "memory grew", figure: "peak_growth_bytes", unit: Unit::Bytes },
        Column { head: "dropped after", figure: "dropped_after_s", unit: Unit::Seconds },
        Column { head: "undelivered", figure: "undelivered", unit: Unit::Count },
    ],
    charts: &[
        Chart {
            title: "Delay of the other clients, p99",
            axis: "from due to delivered",
            unit: Unit::Micros,
            is_log: true,
            marks: &[
                Mark { figure: "without_p99_us", name: "without" },
                Mark { figure: "with_p99_us", name: "with" },
            ],
        },
        Chart {
            title: "Memory that the server needed for it",
            axis: "largest growth in resident bytes",
            unit: Unit::Bytes,
            is_log: false,
            marks: &[Mark { figure: "peak_growth_bytes", name: "" }],
        },
    ],
    options: &[LoadOption::Clients, LoadOption::Senders, LoadOption::Size],
    needs_process: true,
    cases: |settings| settings.client_cases(&[20], &[20]),
    setting,
    unsuited,
    measure,
    conclude,
};

fn senders(settings: &Settings) -> usize {
    settings.senders.unwrap_or(SENDERS)
}

fn size(settings: &Settings) -> usize {
    settings.size.unwrap_or(SIZE)
}

/// The time before the slow consumer connects.
fn time_without(settings: &Settings) -> Duration {
    settings.shortened(Duration::from_millis(500))
}

/// The time with it. By its end the kernel's buffers have long been full, and the server has had to
/// decide what to do.
fn time_with(settings: &Settings) -> Duration {
    Duration::from_millis(if settings.is_quick { 2200 } else { 2400 })
}

fn setting(settings: &Settings) -> String {
    format!(
        "{} messages of {} bytes a second (an open loop) from {} senders. After {:.1} s one more \
         client connects, which never reads, for {:.1} s. A copy that has not come to one of the other \
         clients a second after that counts as undelivered.",
        grouped(RATE),
        size(settings),
        senders(settings),
        time_without(settings).as_secs_f64(),
        time_with(settings).as_secs_f64()
    )
}

fn unsuited(protocol: Protocol, _case: &Case) -> Option<&'static str> {
    (!protocol.is_chat()).then_some("an echo server does not relay messages")
}

fn measure(server: &MeasuredServer, case: &Case, settings: &Settings) -> Result<Figures> {
    let load = server.load(case.client_count(), senders(settings), size(settings))?;
    let mut generator = LoadGenerator::connect_all(load)?;
    let start = Instant::now();
    let schedule = Schedule { start, interval: Duration::from_secs(1) / RATE };
    let (middle, end) =
        (start + time_without(settings), start + time_without(settings) + time_with(settings));
    let mut figures = Figures::default();
    generator.set_delays(DelayRecorder::new(schedule, start)?);
    let mut observer = Observer::new(server.process()?, start)?;
    generator.send_open_loop(schedule, middle, || observer.look())?;
    if let Some(delays) = generator.take_delays() {
        add_delays(&delays.into_delays(), &mut figures, WITHOUT);
    }

    generator.set_delays(DelayRecorder::new(schedule, middle)?);
    let _never_reads = connect_slow_consumer(server)?;
    observer.slow_consumer_connected(Instant::now());
    generator.send_open_loop(schedule, end, || observer.look())?;
    generator.wait_for_copies(Duration::from_secs(1))?;
    if let Some(delays) = generator.finish(&mut figures) {
        add_delays(&delays.into_delays(), &mut figures, WITH);
    }
    observer.add_to(&mut figures);
    Ok(figures)
}

/// Connects a client that never reads, with a receive buffer as small as the system allows.
fn connect_slow_consumer(server: &MeasuredServer) -> Result<Socket> {
    let mut socket = Socket::new(Domain::for_address(server.addr), Type::STREAM, None)?;
    socket.set_recv_buffer_size(4096)?;
    socket.connect_timeout(&server.addr.into(), TIMEOUT)?;
    if let Some(tls) = server.tls()? {
        socket.set_read_timeout(Some(TIMEOUT))?;
        tls::TlsSession::handshake(&tls, &mut socket)?;
    }
    // A few bytes, for which there is room.
    (&socket).write_all(server.protocol.receiver_greeting())?;
    Ok(socket)
}

fn add_delays(delays: &Latencies, figures: &mut Figures, names: [&'static str; 3]) {
    for (name, part) in names.into_iter().zip([0.5, 0.99, 1.0]) {
        figures.add(name, delays.quantile_us(part));
    }
}

/// Notes where the server disconnected the slow consumer in only some of the runs.
fn conclude(measurements: &mut [Measurement]) {
    for measurement in measurements {
        let dropped = |run: &&Figures| run.get("dropped_after_s").is_some();
        let (drops, runs) =
            (measurement.runs.iter().filter(dropped).count(), measurement.runs.len());
        if drops > 0 && drops < runs {
            measurement
                .add_note(format!("disconnected the slow consumer in {drops} of {runs} runs"));
        }
    }
}

/// Reads the server's memory and descriptors many times a second.
struct Observer {
    server: Process,
    start: Instant,
    due: Instant,
    /// Descriptors before the slow consumer connected.
    descriptors: u64,
    connected_at: Option<Instant>,
    was_accepted: bool,
    dropped_at: Option<Instant>,
    /// Seconds since the start, and the resident bytes then.
    resident: Vec<(f64, f64)>,
}

impl Observer {
    fn new(server: Process, start: Instant) -> Result<Self> {
        let descriptors = server.descriptors()?;
        Ok(Self {
            server,
            start,
            due: start,
            descriptors,
            connected_at: None,
            was_accepted: false,
            dropped_at: None,
            resident: Vec::new(),
        })
    }

    fn slow_consumer_connected(&mut self, now: Instant) {
        self.connected_at = Some(now);
    }

    #[expect(clippy::cast_precision_loss, reason = "bytes of memory, far below 2^52")]
    fn look(&mut self) -> Result<()> {
        let now = Instant::now();
        if now < self.due {
            return Ok(());
        }
        self.due = now + Duration::from_millis(50);
        let resident = self.server.resident_bytes_estimate()? as f64;
        self.resident.push(((now - self.start).as_secs_f64(), resident));
        if self.connected_at.is_some() && self.dropped_at.is_none() {
            let descriptors = self.server.descriptors()?;
            self.was_accepted |= descriptors > self.descriptors;
            if self.was_accepted && descriptors <= self.descriptors {
                self.dropped_at = Some(now);
            }
        }
        Ok(())
    }

    fn add_to(self, figures: &mut Figures) {
        let connected_at = self.connected_at.map_or(0.0, |at| (at - self.start).as_secs_f64());
        let without = self.resident.iter().filter(|(at, _)| *at < connected_at);
        let before = without.map(|(_, bytes)| *bytes).fold(0.0, f64::max);
        // Less memory than before is not a growth.
        let growth = |bytes: f64| (bytes - before).max(0.0);
        let growth = self.resident.iter().map(|(at, bytes)| (at - connected_at, growth(*bytes)));
        let points: Vec<_> = growth.collect();
        let with = points.iter().filter(|(at, _)| *at >= 0.0).map(|(_, bytes)| *bytes);
        figures.add("peak_growth_bytes", with.fold(0.0, f64::max));
        if let Some((at, from)) = self.dropped_at.zip(self.connected_at) {
            figures.add("dropped_after_s", (at - from).as_secs_f64());
        }
        figures.series.push(Series { name: "growth_bytes_over_s", points });
    }
}
