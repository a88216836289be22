//! Becomes a release build, if this is a debug build.

use std::env::{self, consts::EXE_SUFFIX};
use std::ffi::{OsStr, OsString};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use lab::ProjectServer;

use crate::stages;

/// Options that a debug build passes to the release build. They stand before all others.
const BUILT: &str = "--built";
pub const LOAD_BEFORE: &str = "--load-before";

/// Reports whether a word is one of these options.
pub fn is_added(word: &OsStr) -> bool {
    word == BUILT || word == LOAD_BEFORE
}

/// Builds this program and the servers in release mode and runs the built program, if this one is a debug build.
/// Returns `None` if this is a release build.
///
/// `cargo tincan` is a debug build, and so slow that it would measure its own speed as a load generator. With
/// the workbench optimized in `[profile.dev]`, the first build took half as long, but each build for a test
/// took longer, and the stages were still not optimized. One call of cargo builds the common parts once and
/// keeps all processors busy until the end.
pub fn run_release_build(
    servers: &[&ProjectServer],
    load_before: Option<f64>,
) -> Result<Option<ExitCode>> {
    if !cfg!(debug_assertions) {
        return Ok(None);
    }
    let folder = stages::own_folder()?;
    let Some(target) = stages::target(&folder) else {
        bail!(
            "this is a debug build, which is too slow as a load generator; `cargo tincan lab`, in a \
             clone of Tin Can Chat, makes a release build"
        );
    };
    eprintln!("Builds the servers and the load generator, if they have changed.");
    let servers = servers.iter().map(|server| server.name);
    let packages: Vec<_> = ["tincan"].into_iter().chain(servers).collect();
    stages::build(target, "release".as_ref(), &packages)?;
    let program = target.join("release").join(format!("tincan{EXE_SUFFIX}"));
    let mut command = Command::new(&program);
    command.args(["lab", BUILT]);
    if let Some(load) = load_before {
        command.args([LOAD_BEFORE, &load.to_string()]);
    }
    let words: Vec<OsString> = env::args_os().skip(2).collect();
    replace_process(command.args(words))
        .with_context(|| format!("could not start {}", program.display()))
        .map(Some)
}

#[cfg(unix)]
fn replace_process(command: &mut Command) -> Result<ExitCode> {
    Err(std::os::unix::process::CommandExt::exec(command).into())
}

#[cfg(not(unix))]
fn replace_process(command: &mut Command) -> Result<ExitCode> {
    let code = command.status()?.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(1)))
}
