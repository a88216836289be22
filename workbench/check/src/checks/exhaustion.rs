//! Checks that a server survives a lack of descriptors and accepts clients again afterwards.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::check::own_check;
#[cfg(target_os = "linux")]
use crate::log_events as events;
use crate::log_events::is_warning;
use crate::profile::SEVERAL_STAGES;
use crate::{Bench, Check, Serves, Theme};
use probe::server::Server;
use probe::wire::Client;
use probe::{TIMEOUT, fail, wait_until};

pub(crate) const ROWS: &[Check] = &[
    #[cfg(unix)]
    own_check(
        "limits-descriptors",
        Theme::Limits,
        SEVERAL_STAGES,
        run_out_and_come_back,
        "§1: `accept` errors never end a server, and never spin the processor: out of file \
         descriptors, it waits and goes on accepting once some are free.",
    )
    .non_stages(Serves::Many),
];

/// How many descriptors the server gets, and how many clients then connect.
const DESCRIPTORS: u64 = 100;
const CROWD: usize = 150;

pub(super) fn run_out_and_come_back(bench: &Bench) -> Result<()> {
    #[cfg(target_os = "linux")]
    if bench.own_server().is_some_and(|it| it.process_per_client) {
        return lower_and_raise_limit(bench);
    }
    let launch = bench.launch_with_args(&["--max-clients", "2000"])?.descriptor_limit(DESCRIPTORS);
    let mut server = bench.start_launch(launch)?;
    let mut connected = Vec::new();
    for _ in 0..3 {
        connected.push(bench.connect_accepted(&server)?);
    }
    let before = warnings(&server);
    let crowd: Vec<_> =
        (0..CROWD).map(|_| Client::connect(server.addr())).collect::<Result<_>>()?;
    let has_warned = || Ok(warnings(&server) > before);
    if !wait_until(TIMEOUT, has_warned)? {
        let expected = "a warning that no descriptors are left";
        return fail(
            format!(
                "connected {CROWD} clients to a server that may have {DESCRIPTORS} descriptors"
            ),
            expected,
            server.log(),
        );
    }
    expect_still_served(bench, &mut connected)?;
    expect_idle(&server)?;
    expect_still_served(bench, &mut connected)?;
    drop(crowd);
    bench.expect_new_client_served(&server)?;
    expect_still_served(bench, &mut connected)?;
    server.expect_running("let the descriptors run out and become free again")
}

/// Checks the same for a server whose clients cost it no descriptors, because each has a process:
/// lowers the limit to the number that the server has open, and raises it again. A client that
/// connects in between waits, and is then served.
#[cfg(target_os = "linux")]
fn lower_and_raise_limit(bench: &Bench) -> Result<()> {
    let mut server = bench.start_with_args(&[])?;
    let mut connected = Vec::new();
    for _ in 0..2 {
        connected.push(bench.connect_accepted(&server)?);
    }
    let (all, mut waiting) = first_that_waits(bench, &server)?;
    expect_still_served(bench, &mut connected)?;
    expect_idle(&server)?;
    set_descriptors(&server, Some(all))?;
    bench.exchange_skipping_all(&mut waiting, "waited")?;
    expect_still_served(bench, &mut connected)?;
    server.expect_running("let the descriptors run out and become free again")
}

/// Connects clients to a server without free descriptors, until one has to wait; returns the limit
/// before, and that client.
#[cfg(target_os = "linux")]
fn first_that_waits(bench: &Bench, server: &Server) -> Result<(u64, Client)> {
    const TRIES: usize = 20;
    let before = warnings(server);
    let all = set_descriptors(server, None)?;
    let mut accepted = Vec::new();
    for _ in 0..TRIES {
        // A descriptor that the server had open for a moment may be free by now.
        set_descriptors(server, None)?;
        let client = bench.connect(server)?;
        let came = events::connected_line(client.addr());
        let is_decided = || warnings(server) > before || events::count(server.log(), &came) > 0;
        wait_until(TIMEOUT, || Ok(is_decided()))?;
        if warnings(server) > before {
            return Ok((all, client));
        }
        accepted.push(client);
    }
    let expected = "a warning that no descriptors are left";
    fail("connected clients when no descriptor was left", expected, server.log())
}

/// Limits the descriptors of a running server, to the number that it has open if `limit` is `None`;
/// returns the limit before.
#[cfg(target_os = "linux")]
fn set_descriptors(server: &Server, limit: Option<u64>) -> Result<u64> {
    use anyhow::Context as _;
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    const MAX_OPEN: u64 = 1000;
    let number = server.pid().context("the server was not started by this check")?;
    let is_open = |fd: &u64| std::fs::symlink_metadata(format!("/proc/{number}/fd/{fd}")).is_ok();
    // accept takes the lowest free number; descriptors with higher numbers stay open.
    let lowest_free = (0..MAX_OPEN).find(|fd| !is_open(fd)).unwrap_or(MAX_OPEN);
    let pid = i32::try_from(number).ok().and_then(Pid::from_raw);
    // Only the server gets this limit, below the maximum that it has from this process.
    let maximum = rustix::process::getrlimit(Resource::Nofile).maximum;
    let wanted = Rlimit { current: Some(limit.unwrap_or(lowest_free)), maximum };
    let before =
        prlimit(pid, Resource::Nofile, wanted).context("cannot set a limit of descriptors")?;
    before.current.context("the server had no limit of descriptors")
}

fn warnings(server: &Server) -> usize {
    server.log().count(is_warning)
}

/// Expects that a client that connected before is served, and lets it leave.
fn expect_still_served(bench: &Bench, connected: &mut Vec<Client>) -> Result<()> {
    bench.exchange_skipping_all(&mut connected.remove(0), "still served")
}

/// Expects that for 2 s the server hardly uses the processor and hardly logs anything.
fn expect_idle(server: &Server) -> Result<()> {
    const WATCHED: Duration = Duration::from_secs(2);
    let cpu = || server.usage().map_or(Duration::ZERO, |figures| figures.cpu);
    let (begin, cpu_before, lines_before) = (Instant::now(), cpu(), warnings(server));
    // This sleep waits for nothing: it is the time that is measured.
    std::thread::sleep(WATCHED);
    let (cpu, lines) = (cpu().saturating_sub(cpu_before), warnings(server) - lines_before);
    let did = format!("watched a server without free descriptors for {:?}", begin.elapsed());
    let most = 2 + 2 * usize::try_from(begin.elapsed().as_secs())?;
    if cpu > WATCHED / 4 {
        return fail(
            did,
            format!("less than {:?} of processor time", WATCHED / 4),
            format!("{cpu:?}"),
        );
    }
    if lines > most {
        return fail(
            did,
            format!("at most {most} warnings"),
            format!("{lines} warnings in the log:\n{}", server.log()),
        );
    }
    Ok(())
}
