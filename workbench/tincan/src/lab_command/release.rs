use std::env::{self, consts::EXE_SUFFIX};
use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use lab::Stage;

use super::{BUILT, LOAD_BEFORE};
use crate::stages;

/// Has a release build of this program do it instead, if this is none.
///
/// `cargo tincan` is a debug build, and as the load generator it would be what is measured. The
/// alternatives were tried. To optimize the workbench in `[profile.dev]` takes half of the seconds,
/// but takes them from everybody who builds it for a test, after each change, and is not what the
/// stages are built with. One cargo for all, as here, has the parts that both need built once, and
/// all processors busy until the end.
pub fn instead(servers: &[&Stage], load_before: Option<f64>) -> Result<Option<ExitCode>> {
    if !cfg!(debug_assertions) {
        return Ok(None);
    }
    let folder = stages::own_folder()?;
    let Some(target) = stages::target(&folder) else {
        bail!(
            "this is a debug build, which would measure itself; \
             in the workspace, `cargo tincan lab` makes a better one"
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
    become_it(command.args(words))
        .with_context(|| format!("could not start {}", program.display()))
        .map(Some)
}

#[cfg(unix)]
fn become_it(command: &mut Command) -> Result<ExitCode> {
    Err(std::os::unix::process::CommandExt::exec(command).into())
}

#[cfg(not(unix))]
fn become_it(command: &mut Command) -> Result<ExitCode> {
    let code = command.status()?.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(1)))
}
