//! The trace: whole however the server ends, and telling what each thread or task did.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::{fs, thread};

use anyhow::Result;
use serde_json::Value;
use tempfile::TempDir;

use super::command_line::refuses_to_start;
use super::outputs::goes_on;
use crate::check::ours;
use crate::log_events as events;
use crate::profile::STAGES;
use crate::{Bench, Check, Profile, Theme};
use probe::server::{Server, Signal};
use probe::wire::{Client, Received};
use probe::{TIMEOUT, fail, wait_until};

pub(crate) const ROWS: &[Check] = &[
    #[cfg(unix)]
    ours(
        "trace-tells-all",
        Theme::Trace,
        STAGES,
        tells_all,
        "§1: `--trace FILE`: spans of what each thread or task does, complete after SIGINT or SIGTERM.",
    ),
    #[cfg(unix)]
    ours(
        "trace-waiting",
        Theme::Trace,
        &[Profile::ChatThreads, Profile::ChatAsync],
        waiting_shows,
        "§1: `--trace FILE`: a lane for each thread or task, and its waiting shows.",
    ),
    #[cfg(unix)]
    ours(
        "trace-one-at-a-time",
        Theme::Trace,
        &[Profile::EchoUni],
        one_after_the_other,
        "§1: `--trace FILE`. §2: One client at a time.",
    ),
    #[cfg(unix)]
    ours(
        "trace-killed",
        Theme::Trace,
        STAGES,
        killed,
        "§1: `--trace FILE`: opens even when the server is killed.",
    ),
    #[cfg(unix)]
    ours(
        "trace-no-such-folder",
        Theme::Trace,
        STAGES,
        no_such_folder,
        "§1: 1 with a one-line reason on stderr when it cannot start (the trace cannot be made).",
    ),
    #[cfg(unix)]
    ours(
        "trace-two-servers",
        Theme::Trace,
        STAGES,
        two_servers,
        "§1: 1 with a one-line reason on stderr when it cannot start (another server's trace).",
    ),
    #[cfg(unix)]
    ours(
        "trace-something-else",
        Theme::Trace,
        STAGES,
        something_else,
        "§1: 1 with a one-line reason on stderr when it cannot start (it is no trace).",
    ),
    #[cfg(target_os = "linux")]
    ours(
        "trace-disk-full",
        Theme::Trace,
        STAGES,
        disk_full,
        "§1: a full disk never stops or stalls a server.",
    ),
    #[cfg(unix)]
    ours(
        "trace-fifo",
        Theme::Trace,
        STAGES,
        fifo,
        "§1: 1 with a one-line reason on stderr when it cannot start (the trace is no file).",
    ),
    #[cfg(unix)]
    ours(
        "trace-loop-rests",
        Theme::Trace,
        &[Profile::ChatPoll],
        loop_rests,
        "§1: never spin the processor; and `--trace FILE` would show it.",
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
        let server = bench.start(&["--trace", &path_in(&folder)])?;
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

/// What a trace tells.
#[derive(Debug, Default)]
struct Trace {
    lanes: BTreeMap<u64, String>,
    spans: Vec<Span>,
}

#[derive(Debug)]
struct Span {
    lane: u64,
    name: String,
    /// What it lies in, from the outermost.
    within: Vec<String>,
    begin: u64,
    /// None if it was not over when the server was killed.
    end: Option<u64>,
}

impl Trace {
    fn parse(text: &str) -> Result<Self> {
        // The array is never closed: viewers accept that, and so a server may be killed at any time.
        let events = text.trim_end().trim_end_matches(',');
        let events: Vec<Value> = match serde_json::from_str(&format!("{events}]")) {
            Ok(events) => events,
            Err(err) => {
                let end = text.chars().rev().take(200).collect::<Vec<_>>();
                let end = end.iter().rev().collect::<String>();
                return fail("read the trace", "a JSON array", format!("{err}; it ends {end:?}"));
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

    /// In a lane, spans lie within one another or beside one another, and no two marks are at the
    /// same time, where a viewer could not tell.
    fn nest(&mut self, lane: u64, marks: &[(u64, Mark, String)]) -> Result<()> {
        let mut open: Vec<usize> = Vec::new();
        let mut last = None;
        for (at, mark, name) in marks {
            if last.replace(*at) == Some(*at) {
                return fail("read the trace", "one mark at a time", format!("two at {at} ns"));
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
                        let got = format!("in lane {lane}, `{name}` ends within {top:?}");
                        return fail("read the trace", "spans within one another", got);
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

    /// All spans of this name in a lane that lie directly in one of the other name; in none, if it
    /// is empty.
    fn spans(&self, lane: &str, within: &str, name: &str) -> Result<Vec<&Span>> {
        let id = self.lane(lane)?;
        let is_it = |span: &&Span| {
            let directly = span.within.last().map_or("", String::as_str);
            span.lane == id && span.name == name && directly == within
        };
        let spans: Vec<_> = self.spans.iter().filter(is_it).collect();
        if spans.is_empty() {
            let names: Vec<_> = self.spans.iter().filter(|span| span.lane == id).collect();
            let expected = format!("`{name}` within `{within}` in the lane `{lane}`");
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

/// Of a number of microseconds with three decimals.
fn nanos(micros: &Value) -> u64 {
    let text = micros.to_string();
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    format!("{whole}{part:0<3}").parse().unwrap_or(u64::MAX)
}

/// The spans that a client must have left: the lane, the span in which it lies, its name.
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

/// Clients come, talk and leave, and one stays; then the trace has to tell all of it.
pub(super) fn tells_all(bench: &Bench) -> Result<()> {
    for signal in [Signal::TERM, Signal::INT] {
        let traced = Traced::start(bench)?;
        let mut addrs = Vec::new();
        for text in ["one", "two", "three"] {
            let mut client = Client::connect(traced.server.addr())?;
            bench.exchange_amid_others(&mut client, text)?;
            addrs.push(client.addr());
        }
        let stays = bench.known_client(&traced.server)?;
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

/// While one client is silent, its read goes on, whatever becomes of the others.
pub(super) fn waiting_shows(bench: &Bench) -> Result<()> {
    let traced = Traced::start(bench)?;
    let mut silent = bench.known_client(&traced.server)?;
    let mut other = Client::connect(traced.server.addr())?;
    bench.exchange_amid_others(&mut other, "meanwhile")?;
    bench.exchange_amid_others(&mut silent, "at last")?;
    let (silent, other) = (recv_lane(silent.addr()), recv_lane(other.addr()));
    let trace = traced.end(Signal::TERM)?;
    let (within, answer) = match bench.profile() {
        Profile::EchoMulti => ("client", "write"),
        _ => ("", "broadcast"),
    };
    let answered = trace.spans(&other, within, answer)?[0];
    let reads = trace.spans(&silent, within, "read")?;
    if reads.iter().any(|read| read.begin < answered.begin && answered.end < read.end) {
        return Ok(());
    }
    let got = format!("{reads:?}, {answered:?}");
    fail("let one client wait while another talked", "a read around that", got)
}

/// In echo-uni, the next accept comes only after the silent client's read.
pub(super) fn one_after_the_other(bench: &Bench) -> Result<()> {
    let traced = Traced::start(bench)?;
    let mut first = bench.known_client(&traced.server)?;
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
    fail("let the first wait", "an accept after its read", format!("{reads:?}, {accepts:?}"))
}

/// Killed amid traffic, at a different moment each time.
pub(super) fn killed(bench: &Bench) -> Result<()> {
    for round in 1..=4 {
        let mut traced = Traced::start(bench)?;
        let path = path_in(&traced.folder);
        let (server, addr) = (&traced.server, traced.server.addr());
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(move || while talk(addr).is_ok() {});
            }
            let enough = 300 * round + bench.chance(1000);
            let told = || Ok(fs::read_to_string(&path)?.matches("\"ph\"").count() > enough);
            let has_grown = wait_until(TIMEOUT, told);
            server.signal(Signal::KILL)?;
            match has_grown? {
                true => Ok(()),
                false => fail("talked and talked", "the trace to grow", "it did not"),
            }
        })?;
        traced.server.wait(TIMEOUT)?;
        let trace = traced.read()?;
        trace.spans("main", "", "accept")?;
        let all = trace.spans.len();
        if all < 100 {
            return fail("killed a server amid traffic", "its spans", format!("{all} of them"));
        }
    }
    Ok(())
}

/// A client that comes, talks and leaves.
fn talk(server: SocketAddr) -> Result<()> {
    let mut client = Client::connect(server)?;
    for _ in 0..10 {
        client.send_msg("talking")?;
        if !matches!(client.recv(TIMEOUT)?, Received::Msg(_)) {
            break;
        }
    }
    Ok(())
}

/// A file that cannot be made is a reason not to start.
pub(super) fn no_such_folder(bench: &Bench) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let missing = folder.path().join("no-such-folder").join("trace.json").display().to_string();
    for path in [missing, folder.path().display().to_string()] {
        refuses_to_start(&bench.launch(&["--port", "0", "--trace", &path]), &path)?;
    }
    Ok(())
}

/// A second server leaves the trace of the first alone, also when the file has been replaced by a
/// bigger one.
pub(super) fn two_servers(bench: &Bench) -> Result<()> {
    let traced = Traced::start(bench)?;
    let path = path_in(&traced.folder);
    let reason = format!("cannot write the trace {path}: another server is writing it");
    let second = bench.launch(&["--port", "0", "--trace", &path]);
    refuses_to_start(&second, &reason)?;
    let size = || fs::metadata(&path).map(|about| about.len());
    let small = size()?;
    let has_grown = wait_until(TIMEOUT, || {
        bench.expect_works(&traced.server)?;
        Ok(size()? > small)
    })?;
    anyhow::ensure!(has_grown, "the trace does not grow");
    refuses_to_start(&second, &reason)?;
    bench.expect_works(&traced.server)?;
    traced.end(Signal::TERM)?.spans("main", "", "accept").map(drop)
}

/// An earlier trace is replaced; anything else is not.
pub(super) fn something_else(bench: &Bench) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = path_in(&folder);
    let reason = format!("cannot write the trace {path}: there is something else in it");
    let launch = bench.launch(&["--port", "0", "--trace", &path]);
    for text in ["import socket\n", "[\n{\"name\": \"somebody\"}\n]\n"] {
        fs::write(&path, text)?;
        refuses_to_start(&launch, &reason)?;
        let left = fs::read_to_string(&path)?;
        if left != text {
            return fail("traced into another file", format!("{text:?} in it"), left);
        }
    }
    fs::write(&path, "")?;
    for signal in [Signal::TERM, Signal::KILL, Signal::TERM] {
        let mut server = bench.start(&["--trace", &path])?;
        bench.expect_works(&server)?;
        server.signal(signal)?;
        server.wait(TIMEOUT)?;
        let text = fs::read_to_string(&path)?;
        Trace::parse(&text)?;
        let processes = text.matches("\"process_name\"").count();
        if processes != 1 {
            return fail("traced into an old trace", "one process", format!("{processes}"));
        }
    }
    Ok(())
}

/// So many messages that no pipe holds their spans.
const MANY: usize = 10_000;

#[cfg(target_os = "linux")]
pub(super) fn disk_full(bench: &Bench) -> Result<()> {
    let server = bench.start(&["--trace", "/dev/full"])?;
    server.wait_for_log("that the trace cannot be written", |line| {
        line.contains("/dev/full") && line.contains("WARN")
    })?;
    goes_on(bench, server, MANY)
}

/// A FIFO would make the server wait for its reader.
pub(super) fn fifo(bench: &Bench) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = path_in(&folder);
    let made = std::process::Command::new("mkfifo").arg(Path::new(&path)).status()?;
    anyhow::ensure!(made.success(), "mkfifo {path}: {made}");
    let reason = format!("cannot write the trace {path}: it is a FIFO");
    refuses_to_start(&bench.launch(&["--port", "0", "--trace", &path]), &reason)
}

/// While a client that broke the protocol is waited for to close, the loop rests.
pub(super) fn loop_rests(bench: &Bench) -> Result<()> {
    let traced = Traced::start(bench)?;
    let mut bad = Client::connect(traced.server.addr())?;
    bad.send(b"\xff\0")?;
    events::wait_for(&traced.server, &events::left(bad.addr()))?;
    let trace = traced.end(Signal::TERM)?;
    let polls = trace.spans("main", "", "poll")?.len();
    if polls < 100 {
        return Ok(());
    }
    fail("broke the protocol, and stayed", "a turn for each event", format!("{polls} turns"))
}
