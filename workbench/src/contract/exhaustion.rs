//! Running out of descriptors, and coming back.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::events::is_warning;
use crate::check::Bench;
use crate::server::Server;
use crate::wire::Client;
use crate::{PATIENCE, fail, wait_until};

/// The descriptors that the server gets, and the clients that want one each.
const DESCRIPTORS: u64 = 100;
const CROWD: usize = 150;

pub(super) fn run_out_and_come_back(bench: &Bench) -> Result<()> {
    let launch = bench.launch(&["--max-clients", "2000"]).descriptors(DESCRIPTORS);
    let mut server = bench.run(launch)?;
    let mut inside = Vec::new();
    for _ in 0..3 {
        inside.push(bench.known_client(&server)?);
    }
    let before = warnings(&server);
    let crowd: Vec<_> =
        (0..CROWD).map(|_| Client::connect(server.addr())).collect::<Result<_>>()?;
    let told = || Ok(warnings(&server) > before);
    if !wait_until(PATIENCE, told)? {
        let expected = "a warning that there are no descriptors left";
        return fail(format!("{CROWD} clients, {DESCRIPTORS} descriptors"), expected, server.log());
    }
    inside_goes_on(bench, &mut inside)?;
    stays_calm(&server)?;
    inside_goes_on(bench, &mut inside)?;
    drop(crowd);
    bench.expect_works(&server)?;
    inside_goes_on(bench, &mut inside)?;
    server.expect_alive("let descriptors run out and come back")
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
    let cpu = || server.figures().map_or(Duration::ZERO, |figures| figures.cpu);
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
