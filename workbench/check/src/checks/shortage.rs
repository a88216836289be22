//! Checks that a server survives a lack of threads, and of address space.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::check::own_check;
use crate::log_events::is_warning;
use crate::profile::{SEVERAL_STAGES, STAGES};
use crate::{Bench, Check, Needs, Profile, Serves, Theme};
use probe::server::{Launch, Server};
use probe::wire::{Client, Received};
use probe::{TIMEOUT, fail, wait_until};

pub(crate) const ROWS: &[Check] = &[
    #[cfg(unix)]
    own_check(
        "limits-threads-at-start",
        Theme::Limits,
        STAGES,
        few_threads_at_start,
        "§1: 1 with a one-line reason on stderr when it cannot start (no thread can be made), or \
         it serves.",
    )
    .non_stages(Serves::OneAtATime)
    .needs(Needs::OtherUser),
    #[cfg(unix)]
    own_check(
        "limits-threads",
        Theme::Limits,
        SEVERAL_STAGES,
        threads_run_out,
        "§1: for what went wrong the address, what was being done, and why; at most 10 lines a \
         second, with a count of the lines left out.",
    )
    .non_stages(Serves::Many)
    .needs(Needs::OtherUser),
    #[cfg(unix)]
    own_check(
        "limits-address-space",
        Theme::Limits,
        SEVERAL_STAGES,
        little_address_space,
        "§1: One client's failure is that client's alone: where there is no memory for another \
         client, the server and every other client go on.",
    )
    .non_stages(Serves::Many)
    .needs(Needs::AddressSpace),
];

/// More threads than any server here needs, not counting those that run tasks.
const MAX_SERVER_THREADS: u64 = 6;

/// How many clients connect when no thread is left for another.
const CROWD: usize = 300;

/// How many clients connect to a server with little address space, and how much it has, in MiB.
const CLIENTS: usize = 150;
const ADDRESS_SPACES: [u64; 6] = [40, 60, 90, 140, 220, 400];

/// Returns a user ID that no other process uses, because the limit counts all threads of a user.
fn new_user() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const FIRST: u32 = 1_000_000_000;
    /// How many processes have user IDs of their own, and how many IDs each process has.
    const PROCESSES: u32 = 250_000;
    const EACH: u32 = 10_000;
    let process = std::process::id() % PROCESSES;
    FIRST + process * EACH + NEXT.fetch_add(1, Ordering::Relaxed) % EACH
}

fn most_threads() -> Result<u64> {
    let processors = std::thread::available_parallelism()?.get();
    Ok(MAX_SERVER_THREADS + u64::try_from(processors)?)
}

/// Checks that a server with few threads either says why it cannot start, or continues when clients
/// connect.
pub(super) fn few_threads_at_start(bench: &Bench) -> Result<()> {
    for limit in 1..=most_threads()? {
        let launch = bench.launch_with_args(&["--port", "0"])?.process_limit(limit, new_user());
        let did = format!("started the server as a user that may have {limit} threads");
        bench.set_step(did.clone());
        match start(bench, launch)? {
            None => {}
            Some(mut server) => {
                bench.set_step(format!("{did}; then 3 clients connected"));
                // A runtime may start a thread only for the first client, and the server may then crash.
                for _ in 0..3 {
                    let mut client = Client::connect(server.addr())?;
                    client.try_send(HELLO);
                    close(&mut client)?;
                }
                server.expect_running(&did)?;
            }
        }
    }
    Ok(())
}

/// Starts the server; returns `None` if it says why it cannot start.
fn start(bench: &Bench, launch: Launch) -> Result<Option<Server>> {
    let ended = match bench.start_or_exit(launch)? {
        Ok(server) => return Ok(Some(server)),
        Err(ended) => ended,
    };
    let reasons = ended.stderr.iter().filter(|line| line.starts_with("Error: ")).count();
    if ended.status.code() == Some(1) && ended.stdout.is_empty() && reasons == 1 {
        return Ok(None);
    }
    let expected = "`Listening on ADDR`, or exit code 1 and one line `Error: ` with the reason";
    fail(bench.step().unwrap_or_default(), expected, ended)
}

/// Bytes that every protocol here answers, or ends a connection for.
const HELLO: &[u8] = b"hello\0\r\n\r\n";

/// Half-closes a connection, which the server may have closed already, and expects the server's end
/// of it.
fn close(client: &mut Client) -> Result<()> {
    if client.half_close().is_ok() {
        client.recv_bytes_to_end()?;
    }
    Ok(())
}

/// Checks that the log reports a client for which no thread (or process) can be started, and that
/// the server continues.
pub(super) fn threads_run_out(bench: &Bench) -> Result<()> {
    let did = format!("{CROWD} clients connected when no thread could be started for them");
    let mut server = start_with_log(bench)?;
    bench.set_step(did.clone());
    let begin = Instant::now();
    let mut clients: Vec<_> =
        (0..CROWD).map(|_| Client::connect(server.addr())).collect::<Result<_>>()?;
    let came = || Ok(server.log().count(|line| line.contains("Connection from ")) == CROWD);
    if !wait_until(TIMEOUT, came)? {
        return fail(did, format!("{CROWD} lines `Connection from ADDR`"), server.log());
    }
    let most = 11 * (begin.elapsed().as_secs() + 2);
    let log = server.log().so_far();
    let warnings: Vec<_> = log.iter().filter(|line| is_warning(line)).collect();
    if warnings.len() as u64 > most {
        return fail(did, format!("at most {most} warnings"), format!("{warnings:#?}"));
    }
    let addrs: Vec<_> = clients.iter().map(|client| client.addr().to_string()).collect();
    let names_client = |line: &str| {
        addrs.iter().any(|addr| line.contains(addr)) && line.contains("cannot start a ")
    };
    // EAGAIN, of clone(2).
    let is_about_thread = |line: &str| line.contains("os error 11)");
    if let Some(bad) = warnings.iter().find(|line| is_about_thread(line) && !names_client(line)) {
        return fail(did, "warnings `cannot start a …` with the address of a client", bad);
    }
    // A server with tasks keeps all its clients: they need no threads.
    let mut closed = 0;
    for client in &mut clients {
        closed +=
            usize::from(matches!(client.recv(Duration::ZERO)?, Received::Eof | Received::Reset));
    }
    let has_threads = matches!(bench.profile(), Profile::EchoMulti | Profile::ChatThreads)
        || bench.own_server().is_some_and(|it| it.process_per_client);
    if (closed > 0 || has_threads) && !warnings.iter().any(|line| names_client(line)) {
        let got =
            format!("no such warning, and {closed} connections closed; the log:\n{}", server.log());
        return fail(did, "a warning `cannot start a …` with the address of a client", got);
    }
    drop(clients);
    server.expect_running("let the threads run out")
}

/// Starts the server with a limit of one thread more than it needs to start: that thread writes the
/// log.
fn start_with_log(bench: &Bench) -> Result<Server> {
    let most = most_threads()?;
    for limit in 1..=most {
        let launch = bench.launch_with_args(&["--port", "0"])?;
        if start(bench, launch.clone().process_limit(limit, new_user()))?.is_some() {
            return bench.start_with_own_args(launch.process_limit(limit + 1, new_user()));
        }
    }
    fail(
        format!("started the server as a user that may have up to {most} threads"),
        "`Listening on ADDR`",
        "it did not start",
    )
}

/// Checks that clients are served or refused, and that the server continues, however little address
/// space it has.
pub(super) fn little_address_space(bench: &Bench) -> Result<()> {
    for mib in ADDRESS_SPACES {
        let did =
            format!("{CLIENTS} clients connected to a server with {mib} MiB of address space");
        bench.set_step(did.clone());
        let launch = bench.launch_with_args(&["--port", "0"])?.address_space_limit(mib << 20);
        let Some(mut server) = start(bench, launch)? else { continue };
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            let mut client = Client::connect(server.addr())?;
            client.try_send(HELLO);
            clients.push(client);
        }
        for client in &mut clients {
            close(client)?;
        }
        server.expect_running(&did)?;
    }
    Ok(())
}
