//! Checks that the trace is complete however the server ends, and shows what each thread or task
//! did.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::{fs, thread};

use anyhow::Result;
use serde_json::Value;
use tempfile::TempDir;

use super::command_line::refuses_to_start;
#[cfg(target_os = "linux")]
use super::outputs::serve_and_stop;
use crate::check::own_check;
use crate::log_events as events;
use crate::profile::STAGES;
use crate::{Bench, Check, Profile, Theme};
use probe::server::{Server, Signal};
use probe::wire::{Client, Received};
use probe::{TIMEOUT, fail, wait_until};

pub(crate) const ROWS: &[Check] = &[
    #[cfg(unix)]
    own_check(
        "trace-tells-all",
        Theme::Trace,
        STAGES,
        all_spans,
        "§1: `--trace FILE`: the spans of each thread or task; the file is complete after SIGINT or SIGTERM.",
    ),
    #[cfg(unix)]
    own_check(
        "trace-waiting",
        Theme::Trace,
        &[Profile::ChatThreads, Profile::ChatAsync],
        waiting_is_shown,
        "§1: `--trace FILE`: a lane for each thread or task, which shows when it waits.",
    ),
    #[cfg(unix)]
    own_check(
        "trace-one-at-a-time",
        Theme::Trace,
        &[Profile::EchoUni],
        one_after_the_other,
        "§1: `--trace FILE`. §2: One client at a time.",
    ),
    #[cfg(unix)]
    own_check(
        "trace-killed",
        Theme::Trace,
        STAGES,
        killed,
        "§1: `--trace FILE`: opens even when the server is killed.",
    ),
    #[cfg(unix)]
    own_check(
        "trace-no-such-folder",
        Theme::Trace,
        STAGES,
        no_such_folder,
        "§1: 1 with a one-line reason on stderr when it cannot start (the trace cannot be made).",
    ),
    #[cfg(unix)]
    own_check(
        "trace-two-servers",
        Theme::Trace,
        STAGES,
        two_servers,
        "§1: 1 with a one-line reason on stderr when it cannot start (another server's trace).",
    ),
    #[cfg(unix)]
    own_check(
        "trace-something-else",
        Theme::Trace,
        STAGES,
        other_file_kept,
        "§1: 1 with a one-line reason on stderr when it cannot start (the file is not a trace).",
    ),
    #[cfg(target_os = "linux")]
    own_check(
        "trace-disk-full",
        Theme::Trace,
        STAGES,
        disk_full,
        "§1: a full disk never stops or stalls a server.",
    ),
    #[cfg(unix)]
    own_check(
        "trace-fifo",
        Theme::Trace,
        STAGES,
        fifo,
        "§1: 1 with a one-line reason on stderr when it cannot start (the file is a FIFO).",
    ),
    #[cfg(unix)]
    own_check(
        "trace-loop-rests",
        Theme::Trace,
        &[Profile::ChatPoll],
        loop_is_idle,
        "§1: a server never spins the processor; `--trace FILE` would show it.",
    ),
];

/// A server with a trace in a folder of its own.
struct Traced {
    server: Server,
    folder: TempDir,
}

impl Traced {
    fn start(bench: &Bench) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let server = bench.start_with_args(&["--trace", &path_in(&folder)])?;
        Ok(Traced { server, folder })
    }

    fn end(mut self, signal: Signal) -> Result<Trace> {
        self.server.signal(signal)?;
        self.server.expect_exit(&format!("traced a server and sent {signal:?}"))?;
        self.read()
    }

    fn read(&self) -> Result<Trace> {
        Trace::parse(&fs::read_to_string(path_in(&self.folder))?)
    }
}

fn path_in(folder: &TempDir) -> String {
    folder.path().join("trace.json").display().to_string()
}

/// The lanes and spans of a trace.
#[derive(Debug, Default)]
struct Trace {
    lanes: BTreeMap<u64, String>,
    spans: Vec<Span>,
}

#[derive(Debug)]
struct Span {
    lane: u64,
    name: String,
    /// The names of the spans around it, from the outermost.
    within: Vec<String>,
    begin: u64,
    /// `None` if the span had not ended when the server was killed.
    end: Option<u64>,
}

impl Trace {
    fn parse(text: &str) -> Result<Self> {
        // The array is never closed: viewers accept that, so a server may be killed at any time.
        let events = text.trim_end().trim_end_matches(',');
        let events: Vec<Value> = match serde_json::from_str(&format!("{events}]")) {
            Ok(events) => events,
            Err(err) => {
                let end = text.chars().rev().take(200).collect::<Vec<_>>();
                let end = end.iter().rev().collect::<String>();
                return fail(
                    "read the trace",
                    "a JSON array",
                    format!("{err}; the file ends with {end:?}"),
                );
            }
        };
        let mut trace = Trace::default();
        let mut marks: BTreeMap<u64, Vec<(u64, Mark, String)>> = BTreeMap::new();
        for event in &events {
            let name = event["name"].as_str().unwrap_or_default().to_owned();
            let lane = event["tid"].as_u64().unwrap_or_default();
            let at = nanos(&event["ts"]);
            let marks = marks.entry(lane).or_default();
            match event["ph"].as_str() {
                Some("X") => {
                    marks.push((at, Mark::Begin, name.clone()));
                    marks.push((at + nanos(&event["dur"]), Mark::End, name));
                }
                Some("B") => marks.push((at, Mark::Begin, name)),
                Some("E") => marks.push((at, Mark::End, name)),
                Some("M") if name == "thread_name" => {
                    let name = event["args"]["name"].as_str().unwrap_or_default();
                    trace.lanes.insert(lane, name.to_owned());
                }
                _ => {}
            }
        }
        for (lane, mut marks) in marks {
            marks.sort();
            trace.nest(lane, &marks)?;
        }
        Ok(trace)
    }

    /// Finds the spans of a lane. Of two spans, one must lie within the other, or they must not
    /// overlap; and no two marks may be at the same time, because a viewer could not tell their
    /// order.
    fn nest(&mut self, lane: u64, marks: &[(u64, Mark, String)]) -> Result<()> {
        let mut open: Vec<usize> = Vec::new();
        let mut last = None;
        for (at, mark, name) in marks {
            if last.replace(*at) == Some(*at) {
                return fail(
                    "read the trace",
                    "at most one mark at any time in a lane",
                    format!("two marks at {at} ns"),
                );
            }
            match mark {
                Mark::Begin => {
                    let within = open.iter().map(|&at| self.spans[at].name.clone()).collect();
                    open.push(self.spans.len());
                    let (name, begin, end) = (name.clone(), *at, None);
                    self.spans.push(Span { lane, name, within, begin, end });
                }
                Mark::End => match open.pop() {
                    Some(top) if self.spans[top].name == *name => self.spans[top].end = Some(*at),
                    top => {
                        let top = top.map(|top| &self.spans[top]);
                        let got = format!("in lane {lane}, `{name}` ends inside {top:?}");
                        return fail(
                            "read the trace",
                            "spans of a lane that lie within one another",
                            got,
                        );
                    }
                },
            }
        }
        Ok(())
    }

    fn lane(&self, name: &str) -> Result<u64> {
        let mut found = self.lanes.iter().filter(|(_, it)| *it == name);
        match (found.next(), found.next()) {
            (Some((lane, _)), None) => Ok(*lane),
            _ => fail("read the trace", format!("one lane `{name}`"), format!("{:?}", self.lanes)),
        }
    }

    /// Returns the spans of this name in a lane that lie directly in a span of the name `within`,
    /// or in no span if that is empty.
    fn spans(&self, lane: &str, within: &str, name: &str) -> Result<Vec<&Span>> {
        let id = self.lane(lane)?;
        let is_it = |span: &&Span| {
            let directly = span.within.last().map_or("", String::as_str);
            span.lane == id && span.name == name && directly == within
        };
        let spans: Vec<_> = self.spans.iter().filter(is_it).collect();
        if spans.is_empty() {
            let names: Vec<_> = self.spans.iter().filter(|span| span.lane == id).collect();
            let expected = format!("a span `{name}` within `{within}` in the lane `{lane}`");
            return fail("read the trace", expected, format!("{names:#?}"));
        }
        Ok(spans)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Mark {
    Begin,
    End,
}

/// Returns the nanoseconds in a number of microseconds with three decimals.
fn nanos(micros: &Value) -> u64 {
    let text = micros.to_string();
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    format!("{whole}{part:0<3}").parse().unwrap_or(u64::MAX)
}

/// Returns the spans that a client must leave in the trace: the lane, the span around it, its name.
fn spans_of(profile: Profile, client: SocketAddr) -> Vec<(String, &'static str, &'static str)> {
    let recv = recv_lane(client);
    let send = format!("send {}", client.port());
    let spans: &[(&str, &str, &str)] = match profile {
        Profile::EchoUni => {
            &[("main", "", "client"), ("main", "client", "read"), ("main", "client", "write")]
        }
        Profile::EchoMulti => {
            &[(&recv, "", "client"), (&recv, "client", "read"), (&recv, "client", "write")]
        }
        Profile::ChatPoll => &[
            ("main", "", "poll"),
            ("main", "", "read"),
            ("main", "", "broadcast"),
            ("main", "", "write"),
        ],
        _ => &[
            (&recv, "", "read"),
            (&recv, "", "broadcast"),
            (&recv, "broadcast", "lock"),
            (&send, "", "client"),
            (&send, "client", "write"),
        ],
    };
    spans.iter().map(|(lane, within, name)| ((*lane).to_owned(), *within, *name)).collect()
}

fn recv_lane(client: SocketAddr) -> String {
    format!("recv {}", client.port())
}

/// Checks that the trace shows every client that connected, sent a message and left, while one
/// client stays.
pub(super) fn all_spans(bench: &Bench) -> Result<()> {
    for signal in [Signal::TERM, Signal::INT] {
        let traced = Traced::start(bench)?;
        let mut addrs = Vec::new();
        for text in ["one", "two", "three"] {
            let mut client = Client::connect(traced.server.addr())?;
            bench.exchange_skipping_all(&mut client, text)?;
            addrs.push(client.addr());
        }
        let stays = bench.connect_accepted(&traced.server)?;
        let trace = traced.end(signal)?;
        drop(stays);
        trace.spans("main", "", "accept")?;
        for addr in addrs {
            for (lane, within, name) in spans_of(bench.profile(), addr) {
                trace.spans(&lane, within, name)?;
            }
        }
    }
    Ok(())
}

/// Checks that a read of a silent client's thread or task lasts while another client is served.
pub(super) fn waiting_is_shown(bench: &Bench) -> Result<()> {
    /// How many clients are served, one after the other: on a busy machine, the silent client's thread may
    /// begin to read only after the first of them have been served.
    const OTHERS: usize = 5;
    let traced = Traced::start(bench)?;
    let mut silent = bench.connect_accepted(&traced.server)?;
    let mut others = Vec::new();
    for _ in 0..OTHERS {
        let mut other = Client::connect(traced.server.addr())?;
        bench.exchange_skipping_all(&mut other, "meanwhile")?;
        others.push(recv_lane(other.addr()));
    }
    bench.exchange_skipping_all(&mut silent, "at last")?;
    let silent = recv_lane(silent.addr());
    let trace = traced.end(Signal::TERM)?;
    let (within, answer) = match bench.profile() {
        Profile::EchoMulti => ("client", "write"),
        _ => ("", "broadcast"),
    };
    let reads = trace.spans(&silent, within, "read")?;
    let mut answers = Vec::new();
    for other in &others {
        let answered = trace.spans(other, within, answer)?[0];
        if reads.iter().any(|read| read.begin < answered.begin && answered.end < read.end) {
            return Ok(());
        }
        answers.push(answered);
    }
    let got = format!("{reads:?}, {answers:?}");
    fail(
        "left one client silent while others sent messages",
        "a read of the silent client that lasts while the other is served",
        got,
    )
}

/// Checks that echo-uni accepts the next client only after it has read from the silent one.
pub(super) fn one_after_the_other(bench: &Bench) -> Result<()> {
    let traced = Traced::start(bench)?;
    let mut first = bench.connect_accepted(&traced.server)?;
    let mut second = Client::connect(traced.server.addr())?;
    second.send_msg("I was waiting")?;
    bench.exchange(&mut first, "at last")?;
    bench.expect_answer(&mut second, "I was waiting")?;
    let trace = traced.end(Signal::TERM)?;
    let reads = trace.spans("main", "client", "read")?;
    let accepts = trace.spans("main", "", "accept")?;
    if accepts.len() >= 2 && reads[0].end < Some(accepts[1].begin) {
        return Ok(());
    }
    fail(
        "left the first client silent while a second one waited",
        "the second accept after the first client's read",
        format!("{reads:?}, {accepts:?}"),
    )
}

/// Checks that the trace of a server that is killed while clients send, at a different moment each
/// time, can be read.
pub(super) fn killed(bench: &Bench) -> Result<()> {
    for round in 1..=4 {
        let mut traced = Traced::start(bench)?;
        let path = path_in(&traced.folder);
        let (server, addr) = (&traced.server, traced.server.addr());
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(move || while exchange_messages(addr).is_ok() {});
            }
            let enough = 300 * round + bench.random_below(1000);
            let has_enough = || Ok(fs::read_to_string(&path)?.matches("\"ph\"").count() > enough);
            let has_grown = wait_until(TIMEOUT, has_enough);
            server.signal(Signal::KILL)?;
            match has_grown? {
                true => Ok(()),
                false => fail(
                    "sent messages without a pause",
                    "a trace that grows",
                    "it did not grow enough",
                ),
            }
        })?;
        traced.server.wait(TIMEOUT)?;
        let trace = traced.read()?;
        trace.spans("main", "", "accept")?;
        let all = trace.spans.len();
        if all < 100 {
            return fail(
                "killed a server while clients were sending",
                "at least 100 spans in the trace",
                format!("{all} spans"),
            );
        }
    }
    Ok(())
}

/// Connects a client that sends ten messages, reads the answers, and leaves.
fn exchange_messages(server: SocketAddr) -> Result<()> {
    let mut client = Client::connect(server)?;
    for _ in 0..10 {
        client.send_msg("talking")?;
        if !matches!(client.recv(TIMEOUT)?, Received::Msg(_)) {
            break;
        }
    }
    Ok(())
}

/// Checks that a server does not start if the file of the trace cannot be created.
pub(super) fn no_such_folder(bench: &Bench) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let missing = folder.path().join("no-such-folder").join("trace.json").display().to_string();
    for path in [missing, folder.path().display().to_string()] {
        refuses_to_start(&bench.launch_with_args(&["--port", "0", "--trace", &path])?, &path)?;
    }
    Ok(())
}

/// Checks that a second server does not change the trace of a running one, even if the file has
/// grown in the meantime.
pub(super) fn two_servers(bench: &Bench) -> Result<()> {
    let traced = Traced::start(bench)?;
    let path = path_in(&traced.folder);
    let reason = format!("cannot write the trace {path}: another server is writing it");
    let second = bench.launch_with_args(&["--port", "0", "--trace", &path])?;
    refuses_to_start(&second, &reason)?;
    let size = || fs::metadata(&path).map(|about| about.len());
    let small = size()?;
    let has_grown = wait_until(TIMEOUT, || {
        bench.expect_new_client_served(&traced.server)?;
        Ok(size()? > small)
    })?;
    anyhow::ensure!(has_grown, "the trace does not grow");
    refuses_to_start(&second, &reason)?;
    bench.expect_new_client_served(&traced.server)?;
    traced.end(Signal::TERM)?.spans("main", "", "accept").map(drop)
}

/// Checks that a server replaces an earlier trace, but no other file.
pub(super) fn other_file_kept(bench: &Bench) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = path_in(&folder);
    let reason = format!("cannot write the trace {path}: there is something else in it");
    let launch = bench.launch_with_args(&["--port", "0", "--trace", &path])?;
    for text in ["import socket\n", "[\n{\"name\": \"somebody\"}\n]\n"] {
        fs::write(&path, text)?;
        refuses_to_start(&launch, &reason)?;
        let left = fs::read_to_string(&path)?;
        if left != text {
            return fail(
                "started a server with `--trace` and a file that is not a trace",
                format!("the file unchanged: {text:?}"),
                left,
            );
        }
    }
    fs::write(&path, "")?;
    for signal in [Signal::TERM, Signal::KILL, Signal::TERM] {
        let mut server = bench.start_with_args(&["--trace", &path])?;
        bench.expect_new_client_served(&server)?;
        server.signal(signal)?;
        server.wait(TIMEOUT)?;
        let text = fs::read_to_string(&path)?;
        Trace::parse(&text)?;
        let processes = text.matches("\"process_name\"").count();
        if processes != 1 {
            return fail(
                "started a server with `--trace` and an earlier trace",
                "one process in the trace",
                format!("{processes}"),
            );
        }
    }
    Ok(())
}

/// How many messages are enough to fill any pipe with their spans.
#[cfg(target_os = "linux")]
const MANY_MSGS: usize = 10_000;

#[cfg(target_os = "linux")]
pub(super) fn disk_full(bench: &Bench) -> Result<()> {
    let server = bench.start_with_args(&["--trace", "/dev/full"])?;
    server.wait_for_log("a warning that the trace cannot be written", |line| {
        line.contains("/dev/full") && line.contains("WARN")
    })?;
    serve_and_stop(bench, server, MANY_MSGS)
}

/// Checks that a server does not start with a FIFO as its trace, where it would wait for a reader.
pub(super) fn fifo(bench: &Bench) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = path_in(&folder);
    let made = std::process::Command::new("mkfifo").arg(Path::new(&path)).status()?;
    anyhow::ensure!(made.success(), "mkfifo {path}: {made}");
    let reason = format!("cannot write the trace {path}: it is a FIFO");
    refuses_to_start(&bench.launch_with_args(&["--port", "0", "--trace", &path])?, &reason)
}

/// Checks that the loop is idle while it waits until a client that broke the protocol closes its
/// connection.
pub(super) fn loop_is_idle(bench: &Bench) -> Result<()> {
    let traced = Traced::start(bench)?;
    let mut bad = Client::connect(traced.server.addr())?;
    bad.send(b"\xff\0")?;
    events::wait_for(&traced.server, &events::disconnected_line(bad.addr()))?;
    let trace = traced.end(Signal::TERM)?;
    let polls = trace.spans("main", "", "poll")?.len();
    if polls < 100 {
        return Ok(());
    }
    fail(
        "sent a message that is not UTF-8, and kept the connection open",
        "fewer than 100 turns of the loop",
        format!("{polls} turns"),
    )
}
