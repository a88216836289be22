//! Checks that a server retries system calls that a signal interrupts.

use anyhow::{Context as _, Result};

use super::{
    broken_connections, echo, half_close, limits, protocol_errors, queue_limits, stopping, trace,
};
use crate::check::own_check;
use crate::interrupted::{expect_loaded, library};
use crate::profile::{CHAT_STAGES, STAGES};
use crate::{Bench, Check, Needs, Serves, Theme};
use probe::fail;

pub(crate) const ROWS: &[Check] = &[
    #[cfg(target_os = "linux")]
    own_check(
        "survive-interrupted",
        Theme::Survival,
        STAGES,
        retried,
        "§1: An interrupted system call is retried.",
    )
    .non_stages(Serves::One)
    .needs(Needs::Interrupts),
    #[cfg(target_os = "linux")]
    own_check(
        "close-interrupted",
        Theme::Closing,
        CHAT_STAGES,
        retried_while_closing,
        "§1: An interrupted system call is retried: here while a client leaves, or reads late.",
    )
    .needs(Needs::Interrupts),
];

/// Lets every other system call of the server fail with `EINTR`.
///
/// No client may notice it, whether the client is new, connected or refused, and the log may not show it.
pub(super) fn retried(bench: &Bench) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let library = library(folder.path())?;
    bench.preload(&library);
    serve_interrupted(bench, &library)?;
    let serves = bench.own_server().map(|it| it.serves);
    if serves == Some(Serves::One) {
        return Ok(());
    }
    broken_connections::reset_by_many(bench)?;
    stopping::with_silent_clients(bench)?;
    match bench.own_server() {
        Some(own) if own.serves == Serves::Many => limits::echo_is_full(bench)?,
        Some(_) => {}
        None => trace::all_spans(bench)?,
    }
    if bench.profile().is_echo() {
        echo::rest_ignored(bench)?;
    }
    if bench.profile().is_chat() {
        limits::chat_is_full(bench)?;
        protocol_errors::reason_reaches_a_sender(bench)?;
    }
    Ok(())
}

/// Lets every other system call of the server fail with `EINTR` while clients are slow or in a lingering close.
pub(super) fn retried_while_closing(bench: &Bench) -> Result<()> {
    let folder = tempfile::tempdir()?;
    bench.preload(&library(folder.path())?);
    half_close::half_close_delivers(bench)?;
    half_close::half_closed_non_reader(bench)?;
    queue_limits::late_reader_kept(bench)
}

fn serve_interrupted(bench: &Bench, library: &str) -> Result<()> {
    let mut server = bench.start_with_args(&["-v"])?;
    expect_loaded(server.pid().context("the server runs elsewhere")?, library)?;
    if bench.own_server().is_some_and(|it| it.serves == Serves::One) {
        bench.expect_new_client_served(&server)?;
    } else {
        let stays = !bench.serves_one_at_a_time() && bench.stays_after_exchange();
        let mut staying = Vec::new();
        for _ in 0..5 {
            let mut client = bench.connect(&server)?;
            bench.exchange_skipping_all(&mut client, "I am here")?;
            staying.extend(stays.then_some(client));
            for client in &mut staying {
                bench.exchange_skipping_all(client, "I am still here")?;
            }
        }
        drop(staying);
        server.signal(probe::server::Signal::TERM)?;
    }
    server.expect_exit("served it while its system calls were interrupted")?;
    let is_about_it = |line: &str| line.to_lowercase().contains("interrupted");
    let lines = server.log().matching(is_about_it);
    if lines.is_empty() {
        return Ok(());
    }
    fail(
        "interrupted every other call of each system function, in each thread",
        "no log line that says `interrupted`",
        lines.join("\n"),
    )
}
