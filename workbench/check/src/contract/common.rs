//! What every server of this project keeps, whatever it speaks: section 1 of the wire contracts, as a
//! table of checks.
//!
//! A crate's `tests/contract.rs`, with `harness = false` in its `Cargo.toml`, says how to talk to its
//! servers, and that is all:
//!
//! ```no_run
//! use crate::contract::common::{self, Speech};
//! use probe::wire::Client;
//!
//! fn one_line(client: &mut Client) -> anyhow::Result<()> {
//!     client.send(b"hello\n")?;
//!     client.expect_bytes(b"You said: hello\n")
//! }
//!
//! # let program = "echo-framework";
//! let server = Speech::new(program, 8800, one_line).text(|text| format!("{text}\n").into_bytes());
//! common::run(&[server]);
//! ```
//!
//! with `env!("CARGO_BIN_EXE_echo-framework")` as the program. The arguments are those of `cargo
//! test`: part of a check's name runs that check alone. What a server promises besides, in its own
//! protocol, is for tests of its own.

use std::path::Path;

use anyhow::Result;
use libtest_mimic::{Arguments, Trial};

use super::events::{self, came, is_warning, left};
#[cfg(target_os = "linux")]
use super::interrupted;
use super::log::{controls, is_forbidden};
use super::table::row;
use super::{AT_ONCE, cli, limits, log, memory, outlets, rules, survival, trial};
#[cfg(unix)]
use super::{exhaustion, shortage, stopping};
use crate::survival as ladder;
use crate::{Asked, Bench, Check, LADDER, Needs, Profile, Subject};
use probe::fail;
use probe::server::Server;
use probe::tls::Tls;
use probe::wire::{Client, Heard};

/// How many clients a server serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Serves {
    /// One, and then it ends.
    One,
    /// One after the other.
    OneAtATime,
    /// Any number at a time.
    Many,
}

/// Connects clients to a server.
pub type Connect = fn(&Server) -> Result<Vec<Client>>;

/// How to talk to a server of this project, and what kind of server it is.
#[derive(Clone, Copy, Debug)]
pub struct Speech {
    /// The server's program.
    pub program: &'static str,
    /// The port that it listens on unless told otherwise.
    pub default_port: u16,
    /// Arguments of every start, before those of the check.
    pub args: &'static [&'static str],
    /// Says something and must get the right answer, whatever others have said before. A client that
    /// stays does it several times; what it has to know from one time to the next, it
    /// [remembers](Client::remember).
    pub exchange: fn(&mut Client) -> Result<()>,
    /// Whether an exchange ends the connection. The exchange itself looks whether it does.
    pub once: bool,
    /// How many clients it serves.
    pub serves: Serves,
    /// Whether each client has a process, so that clients cost the server no descriptors.
    pub has_processes: bool,
    /// The bytes that a client sends so that a text comes into the log, as it is but for what is
    /// escaped.
    pub text: Option<fn(&str) -> Vec<u8>>,
    /// What the server tells a client for which it has no place, before it closes.
    pub full: &'static [u8],
    /// What a client for which there is no place says, so that the server turns it away at once.
    pub knock: &'static [u8],
    /// An unfinished message, as long as the protocol lets it be; none where each read is answered.
    pub unfinished: Option<fn() -> Vec<u8>>,
    /// Clients for which the server, asked to end, waits as long as it may.
    pub held_by: Option<Connect>,
    /// As what it has to climb the ladder, too.
    pub profile: Option<Profile>,
    /// How the clients of the ladder speak TLS with it, if they do.
    pub tls: Option<&'static Tls>,
}

impl Speech {
    /// A server of many clients, who stay after an exchange.
    #[must_use]
    pub const fn new(
        program: &'static str,
        default_port: u16,
        exchange: fn(&mut Client) -> Result<()>,
    ) -> Self {
        Self {
            program,
            default_port,
            args: &[],
            exchange,
            once: false,
            serves: Serves::Many,
            has_processes: false,
            text: None,
            full: b"",
            knock: b"",
            unfinished: None,
            held_by: None,
            profile: None,
            tls: None,
        }
    }

    /// The same, started with these arguments.
    #[must_use]
    pub const fn args(mut self, args: &'static [&'static str]) -> Self {
        self.args = args;
        self
    }

    /// The same, but each exchange ends its connection.
    #[must_use]
    pub const fn once(mut self) -> Self {
        self.once = true;
        self
    }

    /// The same for so many clients.
    #[must_use]
    pub const fn serves(mut self, serves: Serves) -> Self {
        self.serves = serves;
        self
    }

    /// The same with a process for each client.
    #[must_use]
    pub const fn has_processes(mut self) -> Self {
        self.has_processes = true;
        self
    }

    /// The same, and these bytes bring a text into the log.
    #[must_use]
    pub const fn text(mut self, bytes: fn(&str) -> Vec<u8>) -> Self {
        self.text = Some(bytes);
        self
    }

    /// The same, and this is what a client is told for which there is no place.
    #[must_use]
    pub const fn full(mut self, told: &'static [u8]) -> Self {
        self.full = told;
        self
    }

    /// The same, and whoever says this where there is no place is turned away at once.
    #[must_use]
    pub const fn knock(mut self, said: &'static [u8]) -> Self {
        self.knock = said;
        self
    }

    /// The same, and these bytes are the longest message that the server still takes for unfinished.
    #[must_use]
    pub const fn unfinished(mut self, bytes: fn() -> Vec<u8>) -> Self {
        self.unfinished = Some(bytes);
        self
    }

    /// The same, and for these clients the server waits at its end, as long as it may.
    #[must_use]
    pub const fn held_by(mut self, clients: Connect) -> Self {
        self.held_by = Some(clients);
        self
    }

    /// The same, which also has to pass what `tincan check` asks of this profile.
    #[must_use]
    pub const fn climbs_as(mut self, profile: Profile) -> Self {
        self.profile = Some(profile);
        self
    }

    /// The same, where the clients of the ladder are inside TLS.
    #[must_use]
    pub const fn inside(mut self, tls: &'static Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// The program and its arguments, to tell several servers apart.
    fn name(&self) -> String {
        let program = Path::new(self.program).file_stem().unwrap_or_default();
        let words = std::iter::once(program.to_string_lossy().into_owned());
        words.chain(self.args.iter().map(ToString::to_string)).collect::<Vec<_>>().join(" ")
    }
}

/// Runs all checks of the table against each server, and ends this process with the result.
///
/// With one server, a check's name is its id; with several, the server's is in front.
pub fn run(servers: &[Speech]) -> ! {
    let mut args = Arguments::from_args();
    args.test_threads.get_or_insert(AT_ONCE);
    // One check has a thousand clients; if the limit stays low, that check says so.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let trials = servers.iter().flat_map(|speech| {
        let rows = TABLE.iter().filter(|row| {
            speech.serves >= row.least && (speech.unfinished.is_some() || !row.unfinished)
        });
        let subject = Subject::of(*speech);
        let rows = rows.map(move |row| (&row.check, subject.clone()));
        rows.chain(climb(*speech)).map(|(check, subject)| {
            named_trial(check, subject, (servers.len() > 1).then(|| speech.name()))
        })
    });
    libtest_mimic::run(&args, trials.collect()).exit()
}

/// What the ladder asks of it, said as the ladder says it.
fn climb(speech: Speech) -> impl Iterator<Item = (&'static Check, Subject)> {
    speech.profile.into_iter().flat_map(move |profile| {
        let tls = speech.tls.cloned();
        let subject = Subject { profile, speech: None, tls, ..Subject::of(speech) };
        let rows = LADDER.iter().filter(move |check| check.asked(profile) != Asked::Nothing);
        rows.map(move |check| (check, subject.clone()))
    })
}

fn named_trial(check: &'static Check, subject: Subject, server: Option<String>) -> Trial {
    let id = check.id;
    trial(server.map_or_else(|| id.to_owned(), |it| format!("{it}: {id}")), check, subject)
}

/// A check, and the servers that have to pass it.
#[derive(Debug)]
struct Row {
    least: Serves,
    /// Whether it is for servers that know unfinished messages alone.
    unfinished: bool,
    check: Check,
}

const fn one(id: &'static str, run: fn(&Bench) -> Result<()>, rule: &'static str) -> Row {
    let check = row(id, &[Profile::Own], run, rule);
    Row { least: Serves::One, unfinished: false, check }
}

const fn each(id: &'static str, run: fn(&Bench) -> Result<()>, rule: &'static str) -> Row {
    Row { least: Serves::OneAtATime, ..one(id, run, rule) }
}

const fn many(id: &'static str, run: fn(&Bench) -> Result<()>, rule: &'static str) -> Row {
    Row { least: Serves::Many, ..one(id, run, rule) }
}

impl Row {
    const fn of_unfinished(mut self) -> Self {
        self.unfinished = true;
        self
    }

    const fn needs(mut self, needs: Needs) -> Self {
        self.check.needs = needs;
        self
    }
}

/// Of each check: its name, how it is done, and the rule in section 1. `one` is for all servers, `each`
/// for those that serve more than one client, `many` for those that serve them at the same time.
const TABLE: &[Row] = &[
    one("cli-port-zero", cli::port_zero, "§1: `0` lets the system pick."),
    one("cli-port-given", cli::port_given, "§1: `--port PORT`."),
    one("cli-port-default", cli::port_default, "§1: default per program."),
    one(
        "cli-host-default",
        cli::host_default,
        "§1: Default `127.0.0.1`: nobody outside this machine gets in unless asked.",
    ),
    each("cli-host-any-v4", cli::host_any_v4, "§1: `0.0.0.0` or `::` opens it."),
    each("cli-host-any-v6", cli::host_any_v6, "§1: `::` takes IPv4 clients too.")
        .needs(Needs::Ipv6),
    one(
        "cli-host-v6",
        cli::host_v6_loopback,
        "§1: interface to listen on: an IPv4 or IPv6 address. `ADDR` is a socket address as Rust \
         prints it: `[::1]:50312`.",
    )
    .needs(Needs::Ipv6),
    one("cli-host-name", cli::host_name, "§1: interface to listen on: … or a host name."),
    one(
        "cli-host-unknown",
        cli::host_unknown,
        "§1: 1 with a one-line reason on stderr when it cannot start (no such host).",
    ),
    one(
        "cli-port-taken",
        cli::port_taken,
        "§1: 1 with a one-line reason on stderr when it cannot start (port taken).",
    ),
    one(
        "cli-no-permission",
        cli::no_permission,
        "§1: 1 with a one-line reason on stderr when it cannot start (no permission).",
    )
    .needs(Needs::LowPorts),
    one("cli-usage", cli::usage_errors, "§1: exit code 2 for a usage error."),
    one("cli-help", cli::help, "§1: `--help` on every binary, with an example under \"Examples\"."),
    one("cli-version", cli::version, "§1: `--version` on every binary."),
    #[cfg(unix)]
    each(
        "cli-stdout",
        cli::stdout_is_one_line,
        "§1: stdout: exactly one line, `Listening on ADDR`, flushed once connections are accepted.",
    ),
    #[cfg(unix)]
    one("stop-idle", stopping::idle, "§1: exit code 0 after SIGINT or SIGTERM."),
    #[cfg(unix)]
    one(
        "stop-silent-clients",
        stopping::with_silent_clients,
        "§1: SIGINT, SIGTERM: then close every connection and exit 0; no longer than needed.",
    ),
    #[cfg(unix)]
    each(
        "stop-port-free",
        stopping::port_is_free,
        "§1: SIGINT, SIGTERM: stop accepting; a server can be started on the port again at once.",
    ),
    #[cfg(unix)]
    one(
        "stop-unfinished",
        stopping::unfinished_frame_holds_nothing,
        "§1: SIGINT, SIGTERM: no longer than needed; an unfinished message needs nothing.",
    ),
    #[cfg(unix)]
    one(
        "stop-conversation",
        stopping::amid_a_conversation,
        "§1: SIGINT, SIGTERM: for at most 3 s, whatever the clients go on saying.",
    ),
    #[cfg(unix)]
    many(
        "stop-rests",
        stopping::rests_meanwhile,
        "§1: SIGINT, SIGTERM: then close every connection; the processor is nobody's meanwhile.",
    )
    .needs(Needs::Figures),
    #[cfg(unix)]
    one("stop-two-signals", stopping::two_signals, "§1: A second signal ends it at once."),
    many(
        "limits-full",
        limits::echo_is_full,
        "§1: a connection past the limit is closed at once, a warning is logged, and the clients \
         already there notice nothing.",
    ),
    many(
        "limits-refusals-counted",
        limits::refusals_are_counted,
        "§1: Nor does the log ever stall a server: refused connections cost at most 10 lines a \
         second, with a count of those left out.",
    ),
    #[cfg(unix)]
    many("limits-descriptors", exhaustion::run_out_and_come_back, rules::LIMITS_DESCRIPTORS),
    #[cfg(unix)]
    each("limits-threads-at-start", shortage::few_threads_at_start, rules::LIMITS_THREADS_AT_START)
        .needs(Needs::OtherUser),
    #[cfg(unix)]
    many("limits-threads", shortage::no_thread_for_many, rules::LIMITS_THREADS)
        .needs(Needs::OtherUser),
    #[cfg(unix)]
    many("limits-address-space", shortage::little_address_space, rules::LIMITS_ADDRESS_SPACE)
        .needs(Needs::AddressSpace),
    #[cfg(unix)]
    each("limits-burst", survival::burst_of_connections, rules::LIMITS_BURST),
    each("survive-resets", survival::reset_by_many, rules::SURVIVE_RESETS),
    #[cfg(unix)]
    each(
        "survive-reset-in-backlog",
        survival::reset_before_accept,
        rules::SURVIVE_RESET_IN_BACKLOG,
    ),
    each("survive-garbage", garbage, rules::SURVIVE_GARBAGE),
    each(
        "survive-left-amid",
        ladder::left_amid,
        "§1: however it leaves, amid a message too, the server goes on, and rests.",
    )
    .needs(Needs::Figures),
    each(
        "survive-thousand",
        ladder::thousand_cycles,
        "§1: One client's failure is that client's alone: a thousand, however they leave, leave no \
         descriptor, thread, process or memory behind.",
    )
    .needs(Needs::Figures),
    #[cfg(target_os = "linux")]
    one("survive-interrupted", interrupted::retried, rules::SURVIVE_INTERRUPTED)
        .needs(Needs::Interrupts),
    many("survive-crowds", memory::comes_back, rules::SURVIVE_CROWDS)
        .of_unfinished()
        .needs(Needs::Figures),
    #[cfg(unix)]
    each("survive-stdout-closed", outlets::stdout_closed, rules::SURVIVE_STDOUT_CLOSED),
    #[cfg(target_os = "linux")]
    each("survive-stdout-full", outlets::stdout_full, rules::SURVIVE_STDOUT_FULL),
    #[cfg(unix)]
    each("survive-stderr-closed", outlets::stderr_closed, rules::SURVIVE_STDERR_CLOSED),
    each("survive-stderr-unread", outlets::stderr_unread, rules::SURVIVE_STDERR_UNREAD),
    #[cfg(target_os = "linux")]
    each("survive-disk-full", outlets::disk_full, rules::SURVIVE_DISK_FULL),
    each(
        "log-lines",
        comes_and_goes,
        "§1: one line an event: `Connection from ADDR`, `Client ADDR disconnected`.",
    ),
    each("log-escapes", controls_escaped, rules::LOG_ESCAPES),
    each("log-not-forged", events_not_forged, rules::LOG_NOT_FORGED),
    many("log-quiet", quiet, rules::LOG_QUIET),
    each("log-rust-log", log::rust_log, rules::LOG_RUST_LOG),
    each("log-rust-log-mistyped", log::rust_log_mistyped, rules::LOG_RUST_LOG_MISTYPED),
];

/// What no protocol here knows, one way or another.
const GARBAGE: [&[u8]; 8] = [
    b"\xff\xfe\0",
    &[0x80; 100_000],
    &[0; 100_000],
    &[b'a'; 100_000],
    &[b'\n'; 100_000],
    b"\0\0\0\xff",
    b"\x7f\xff\xff\xff\xff\xff\xff\xff",
    b"GET / HTTP/1.1\r\n\r\n\x16\x03\x01\x02\0\x01\0\x01\xfc",
];

fn garbage(bench: &Bench) -> Result<()> {
    let mut server = bench.start(&[])?;
    let mut witness = None;
    if !bench.one_at_a_time() {
        witness = Some(bench.known_client(&server)?);
    }
    for garbage in GARBAGE {
        for leaves in [Leaves::AtOnce, Leaves::Gently, Leaves::ByReset] {
            let mut client = Client::connect(server.addr())?;
            client.send_regardless(garbage);
            match leaves {
                Leaves::AtOnce => drop(client),
                Leaves::ByReset => client.reset()?,
                // The server may have closed already.
                Leaves::Gently => _ = client.half_close().and_then(|()| client.bytes_to_end()),
            }
        }
        bench.expect_works(&server)?;
    }
    server.expect_alive("sent garbage")?;
    events::expect_all_left_but(&server, witness.iter().len())?;
    match witness {
        Some(mut witness) => bench.exchange_amid_others(&mut witness, "undisturbed"),
        None => Ok(()),
    }
}

#[derive(Clone, Copy, Debug)]
enum Leaves {
    AtOnce,
    Gently,
    ByReset,
}

/// What a server logs of a client besides is its own affair.
fn comes_and_goes(bench: &Bench) -> Result<()> {
    let server = bench.start(&[])?;
    let mut client = Client::connect(server.addr())?;
    bench.exchange(&mut client, "one message")?;
    let addr = client.addr();
    drop(client);
    events::wait_for(&server, &left(addr))?;
    let log = server.log().so_far();
    let about: Vec<_> = log.iter().filter(|line| line.contains(&addr.to_string())).collect();
    let is =
        |line: Option<&&String>, event: &str| line.is_some_and(|it| events::reports(it, event));
    let counts = [came(addr), left(addr)].map(|event| events::count(server.log(), &event));
    if is(about.first(), &came(addr)) && is(about.last(), &left(addr)) && counts == [1, 1] {
        return Ok(());
    }
    let expected = format!("lines from `{}` to `{}`", came(addr), left(addr));
    fail("served one client", expected, format!("{about:#?}"))
}

/// All but the line ends: in many protocols these end a text.
fn in_one_line() -> String {
    controls().replace(['\n', '\r'], "")
}

fn controls_escaped(bench: &Bench) -> Result<()> {
    let server = bench.run(bench.launch(&["-v"]))?;
    for garbage in [controls().into_bytes(), [b"\x1b[2J\xff", controls().as_bytes()].concat()] {
        let mut client = Client::connect(server.addr())?;
        client.send_regardless(&garbage);
        let addr = client.addr();
        drop(client);
        events::wait_for(&server, &left(addr))?;
    }
    if let Some(bytes) = bench.speech().and_then(|it| it.text) {
        let text = format!("begin {} end", in_one_line());
        let addr = said(&server, &bytes(&text))?.to_string();
        let is_it = |line: &str| {
            let (_, shown) = line.split_once("begin").unwrap_or_default();
            line.contains(&addr) && shown.contains("end") && shown.contains('\t')
        };
        server.wait_for_log(&format!("{addr}, `begin`, a tab and `end` in one line"), is_it)?;
    }
    match server.log().so_far().iter().find(|line| line.contains(is_forbidden)) {
        Some(bad) => {
            let did = "sent all control characters";
            fail(did, "none but a tab in the log", format!("{bad:?}"))
        }
        None => Ok(()),
    }
}

/// A client sends bytes, takes what comes, and is known to have left; gives its address.
fn said(server: &Server, bytes: &[u8]) -> Result<std::net::SocketAddr> {
    let mut client = Client::connect(server.addr())?;
    client.send(bytes)?;
    // A server may have ended the connection already.
    let _ = client.half_close().and_then(|()| client.bytes_to_end());
    let addr = client.addr();
    drop(client);
    events::wait_for(server, &left(addr))?;
    Ok(addr)
}

fn events_not_forged(bench: &Bench) -> Result<()> {
    // RFC 5737 keeps this address free of machines.
    const FORGED: &str = "Client 203.0.113.9:99 disconnected";
    let server = bench.start(&["-v"])?;
    let as_it_is: fn(&str) -> Vec<u8> = |text| text.as_bytes().to_vec();
    let bytes = bench.speech().and_then(|it| it.text).unwrap_or(as_it_is);
    for end in ["\n", "\r\n", "\r", "\u{85}", "\u{2028}"] {
        said(&server, &bytes(&format!("innocent{end}{FORGED}{end}")))?;
        if server.log().count(|line| line.trim() == FORGED) > 0 {
            return fail(format!("said {FORGED:?} after {end:?}"), "no such line", server.log());
        }
    }
    Ok(())
}

fn quiet(bench: &Bench) -> Result<()> {
    let limit = ["--max-clients", "1"];
    no_events(&bench.run(bench.launch(&limit).args(&["-q"]))?, "-q")?;
    no_events(&bench.run(bench.launch(&limit).env("RUST_LOG", "warn"))?, "RUST_LOG=warn")
}

/// That a refusal is told shows that this is a quiet log and not a dead one.
fn no_events(server: &Server, with: &str) -> Result<()> {
    let inside = Client::connect(server.addr())?;
    let mut refused = Client::connect(server.addr())?;
    if !matches!(refused.bytes_to_end()?.1, Heard::Eof | Heard::Reset) {
        return fail(refused.transcript(), "to be refused", "a place");
    }
    let addr = refused.addr().to_string();
    server.wait_for_log("a warning about the refusal", |line| {
        is_warning(line) && line.contains(&addr)
    })?;
    let addr = inside.addr().to_string();
    match server.log().count(|line| line.contains(&addr) || line.contains("Connection from")) {
        0 => Ok(()),
        n => fail(format!("came and spoke, with {with}"), "no lines for that", n),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_check_has_an_id_of_its_own_and_cites_section_1() {
        let mut ids: HashSet<_> = LADDER.iter().map(|check| check.id).collect();
        for row in TABLE {
            assert!(ids.insert(row.check.id), "{} twice", row.check.id);
            assert!(row.check.rule.starts_with("§1: "), "{}: {}", row.check.id, row.check.rule);
        }
    }
}
