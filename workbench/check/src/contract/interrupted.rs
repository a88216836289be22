//! System calls that a signal interrupts.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::common::Serves;
use super::{echo, framing, leaving, limits, slow, stopping, survival, trace};
use crate::Bench;
use probe::fail;

/// Lets every other system call of the server fail with `EINTR`.
///
/// No client may notice, whether new, connected, refused, slow or being closed gently; nor may a reader
/// of the log.
pub(super) fn retried(bench: &Bench) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let library = library(folder.path())?;
    bench.preload(&library);
    serves(bench, &library)?;
    let serves = bench.speech().map(|it| it.serves);
    if serves == Some(Serves::One) {
        return Ok(());
    }
    survival::reset_by_many(bench)?;
    stopping::with_silent_clients(bench)?;
    match bench.speech() {
        Some(speech) if speech.serves == Serves::Many => limits::echo_is_full(bench)?,
        Some(_) => {}
        None => trace::tells_all(bench)?,
    }
    if bench.profile().is_echo() {
        echo::rest_ignored(bench)?;
    }
    if bench.profile().is_chat() {
        limits::chat_is_full(bench)?;
        framing::reason_survives_a_talker(bench)?;
        leaving::half_close_delivers(bench)?;
        leaving::half_closed_non_reader(bench)?;
        slow::late_reader_kept(bench)?;
    }
    Ok(())
}

/// Compiles the library that interrupts system calls, in this folder, and returns its path: the value
/// of `LD_PRELOAD` for a program.
///
/// # Errors
///
/// The compiler, `cc`, is not there or fails.
pub fn library(folder: &Path) -> Result<String> {
    let source = folder.join("interrupted.c");
    let library = folder.join("interrupted.so");
    fs::write(&source, include_str!("interrupted.c"))?;
    let mut compiler = Command::new("cc");
    compiler.args(["-O2", "-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl");
    let done = compiler.output().context("running cc")?;
    ensure!(done.status.success(), "cc says:\n{}", String::from_utf8_lossy(&done.stderr));
    Ok(library.to_str().context("a path in UTF-8")?.to_owned())
}

fn serves(bench: &Bench, library: &str) -> Result<()> {
    let mut server = bench.start(&["-v"])?;
    expect_loaded(server.pid().context("the server runs elsewhere")?, library)?;
    if bench.speech().is_some_and(|it| it.serves == Serves::One) {
        bench.expect_works(&server)?;
    } else {
        let exchange_ends = bench.speech().is_some_and(|it| it.once) || bench.profile().is_echo();
        let stays = !bench.one_at_a_time() && !exchange_ends;
        let mut staying = Vec::new();
        for _ in 0..5 {
            let mut client = bench.connect(&server)?;
            bench.exchange_amid_others(&mut client, "I am here")?;
            staying.extend(stays.then_some(client));
            for client in &mut staying {
                bench.exchange_amid_others(client, "I am still here")?;
            }
        }
        drop(staying);
        server.signal(probe::server::Signal::TERM)?;
    }
    server.expect_exit("served it while its system calls were interrupted")?;
    match server.log().count(|line| line.to_lowercase().contains("interrupted")) {
        0 => Ok(()),
        _ => fail(
            "interrupted every other call of each function, in each thread",
            "not a word about that",
            server.log(),
        ),
    }
}

/// Checks that a process has loaded the library, because a program that is linked statically loads none
/// and would pass without a test.
///
/// # Errors
///
/// It has not.
pub fn expect_loaded(pid: u32, library: &str) -> Result<()> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    ensure!(maps.contains(library), "process {pid} has not loaded {library}");
    Ok(())
}
