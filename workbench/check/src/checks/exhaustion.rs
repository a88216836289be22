//! Running out of descriptors, and coming back.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::check::ours;
use crate::log_events::{self as events, is_warning};
use crate::profile::SEVERAL_STAGES;
use crate::{Bench, Check, Serves, Theme};
use probe::server::Server;
use probe::wire::Client;
use probe::{TIMEOUT, fail, wait_until};

pub(crate) const ROWS: &[Check] = &[
    #[cfg(unix)]
    ours(
        "limits-descriptors",
        Theme::Limits,
        SEVERAL_STAGES,
        run_out_and_come_back,
        "\
    §1: `accept` errors never end a server, and never spin the processor: out of file \
    descriptors, it waits and goes on accepting once some are free.",
    )
    .others(Serves::Many),
];

/// The descriptors that the server gets, and the clients that want one each.
const DESCRIPTORS: u64 = 100;
const CROWD: usize = 150;

pub(super) fn run_out_and_come_back(bench: &Bench) -> Result<()> {
    #[cfg(target_os = "linux")]
    if bench.own().is_some_and(|it| it.has_processes) {
        return limit_sinks_and_rises(bench);
    }
    let launch = bench.launch(&["--max-clients", "2000"]).descriptor_limit(DESCRIPTORS);
    let mut server = bench.run(launch)?;
    let mut inside = Vec::new();
    for _ in 0..3 {
        inside.push(bench.known_client(&server)?);
    }
    let before = warnings(&server);
    let crowd: Vec<_> =
        (0..CROWD).map(|_| Client::connect(server.addr())).collect::<Result<_>>()?;
    let told = || Ok(warnings(&server) > before);
    if !wait_until(TIMEOUT, told)? {
        let expected = "a warning that there are no descriptors left";
        return fail(format!("{CROWD} clients, {DESCRIPTORS} descriptors"), expected, server.log());
    }
    inside_goes_on(bench, &mut inside)?;
    stays_calm(&server)?;
    inside_goes_on(bench, &mut inside)?;
    drop(crowd);
    bench.expect_works(&server)?;
    inside_goes_on(bench, &mut inside)?;
    server.expect_running("let descriptors run out and come back")
}

/// The same for a server whose clients cost it no descriptors, because each has a process: the limit
/// sinks to what the server has open, and rises again. Whoever came meanwhile has waited, and is served.
#[cfg(target_os = "linux")]
fn limit_sinks_and_rises(bench: &Bench) -> Result<()> {
    let mut server = bench.start(&[])?;
    let mut inside = Vec::new();
    for _ in 0..2 {
        inside.push(bench.known_client(&server)?);
    }
    let (all, mut waiting) = first_that_waits(bench, &server)?;
    inside_goes_on(bench, &mut inside)?;
    stays_calm(&server)?;
    set_descriptors(&server, Some(all))?;
    bench.exchange_amid_others(&mut waiting, "waited")?;
    inside_goes_on(bench, &mut inside)?;
    server.expect_running("let descriptors run out and come back")
}

/// Lets clients come when there is no descriptor left, until one has to wait; gives the limit that was.
#[cfg(target_os = "linux")]
fn first_that_waits(bench: &Bench, server: &Server) -> Result<(u64, Client)> {
    const TRIES: usize = 20;
    let before = warnings(server);
    let all = set_descriptors(server, None)?;
    let mut let_in = Vec::new();
    for _ in 0..TRIES {
        // One that the server had open for a moment may have become free since.
        set_descriptors(server, None)?;
        let client = bench.connect(server)?;
        let came = events::came(client.addr());
        let is_decided = || warnings(server) > before || events::count(server.log(), &came) > 0;
        wait_until(TIMEOUT, || Ok(is_decided()))?;
        if warnings(server) > before {
            return Ok((all, client));
        }
        let_in.push(client);
    }
    let expected = "a warning that there are no descriptors left";
    fail("let clients come when no descriptor was left", expected, server.log())
}

/// Sets how many descriptors a running server may have, without one to none more; gives what it was.
#[cfg(target_os = "linux")]
fn set_descriptors(server: &Server, limit: Option<u64>) -> Result<u64> {
    use anyhow::Context as _;
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    const MOST_OPEN: u64 = 1000;
    let number = server.pid().context("the server runs elsewhere")?;
    let is_open = |fd: &u64| std::fs::symlink_metadata(format!("/proc/{number}/fd/{fd}")).is_ok();
    // accept takes the lowest number that is free; what has a higher one stays open.
    let lowest_free = (0..MOST_OPEN).find(|fd| !is_open(fd)).unwrap_or(MOST_OPEN);
    let pid = i32::try_from(number).ok().and_then(Pid::from_raw);
    // A limit of its own for the server, under the maximum that it has from this process.
    let maximum = rustix::process::getrlimit(Resource::Nofile).maximum;
    let wanted = Rlimit { current: Some(limit.unwrap_or(lowest_free)), maximum };
    let before = prlimit(pid, Resource::Nofile, wanted).context("could not set a limit")?;
    before.current.context("the server had no limit of descriptors")
}

fn warnings(server: &Server) -> usize {
    server.log().count(is_warning)
}

/// Somebody who came before is served.
fn inside_goes_on(bench: &Bench, inside: &mut Vec<Client>) -> Result<()> {
    bench.exchange_amid_others(&mut inside.remove(0), "still served")
}

/// For two seconds the server must hardly use the processor and hardly log anything.
fn stays_calm(server: &Server) -> Result<()> {
    const WATCHED: Duration = Duration::from_secs(2);
    let cpu = || server.usage().map_or(Duration::ZERO, |figures| figures.cpu);
    let (begin, cpu_before, lines_before) = (Instant::now(), cpu(), warnings(server));
    // Nothing is waited for: this is the time that is measured.
    std::thread::sleep(WATCHED);
    let (cpu, lines) = (cpu().saturating_sub(cpu_before), warnings(server) - lines_before);
    let did = format!("watched a server without descriptors for {:?}", begin.elapsed());
    let most = 2 + 2 * usize::try_from(begin.elapsed().as_secs())?;
    if cpu > WATCHED / 4 {
        return fail(
            did,
            format!("less than {:?} of processor time", WATCHED / 4),
            format!("{cpu:?}"),
        );
    }
    if lines > most {
        return fail(did, format!("at most {most} warnings"), format!("{lines}\n{}", server.log()));
    }
    Ok(())
}
