//! Builds, finds and starts the stages.

use std::env::{self, consts::EXE_SUFFIX};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, bail};
use workbench::server::{self, Launch, Server};

/// The stages' programs, which are where this one is.
pub struct Stages {
    folder: PathBuf,
}

impl Stages {
    /// Builds these stages if there is a cargo, and takes what is there if there is none.
    pub fn ready(names: &[&str]) -> Result<Self> {
        let own = env::current_exe().context("could not find out where this program is")?;
        let folder = own.parent().context("this program is in no folder")?.to_owned();
        build(&folder, names)?;
        let stages = Self { folder };
        let missing: Vec<_> = names.iter().filter(|name| !stages.program(name).exists()).collect();
        match missing.first() {
            None => Ok(stages),
            Some(name) => bail!(
                "there is no {name} in {}; in the workspace, `cargo tincan tour` builds it",
                stages.folder.display()
            ),
        }
    }

    fn program(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}{EXE_SUFFIX}"))
    }

    /// Starts a stage on a port that the system picks.
    pub fn start(&self, name: &str) -> Result<Server> {
        launch(self.program(name)).start()
    }
}

/// How this program was built tells how to build the others.
fn build(folder: &Path, names: &[&str]) -> Result<()> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
    let Some(target) = folder.parent().filter(|_| is_cargos(folder) && manifest.exists()) else {
        return Ok(());
    };
    let profile = match folder.file_name() {
        Some(name) if name != "debug" => name,
        _ => "dev".as_ref(),
    };
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--bins", "--manifest-path"]).arg(manifest);
    command.arg("--target-dir").arg(target).arg("--profile").arg(profile);
    command.args(names.iter().flat_map(|name| ["-p", name])).stdin(Stdio::null());
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let Ok(mut child) = server::enter(|| Ok(command.spawn()?), std::process::Child::id) else {
        return Ok(());
    };
    let status = child.wait();
    server::strike(child.id());
    if status?.success() { Ok(()) } else { bail!("the stages could not be built") }
}

/// Whether cargo keeps its records of what it has built in the folder.
fn is_cargos(folder: &Path) -> bool {
    folder.join(".fingerprint").is_dir()
}

/// On Linux the kernel ends the server when this program dies, be it by SIGKILL. Whoever wants that
/// must say so after the fork and before the exec, so this program is started once more to do it.
fn launch(program: PathBuf) -> Launch {
    if cfg!(target_os = "linux") {
        let own = ["tour", "--child-of", &std::process::id().to_string(), "--"].map(OsString::from);
        return Launch::new("/proc/self/exe", &[&own[..], &[program.into()]].concat());
    }
    Launch::new(program, &[])
}

/// Becomes a program that is killed when its parent dies.
#[cfg(target_os = "linux")]
pub fn become_child(parent: i32, command: &[OsString]) -> Result<ExitCode> {
    use std::os::unix::process::CommandExt as _;

    use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have died before that.
    if Pid::as_raw(getppid()) != parent {
        return Ok(ExitCode::FAILURE);
    }
    let (program, args) = command.split_first().context("no program is named")?;
    let err = Command::new(program).args(args).exec();
    Err(err).with_context(|| format!("could not start {}", program.display()))
}

#[cfg(not(target_os = "linux"))]
pub fn become_child(_parent: i32, _command: &[OsString]) -> Result<ExitCode> {
    bail!("--child-of needs Linux")
}

/// The threads of a server but for those that every stage has for its log and for signals; `None` if
/// the system does not tell.
pub fn threads(server: &Server) -> Option<u64> {
    const HELPERS: [&str; 2] = ["log", "signals"];
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid()?)).ok()?;
    let names = tasks.map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    // A thread that ends while it is looked at is none.
    let count = names.flatten().filter(|name| !HELPERS.contains(&name.trim_end())).count();
    u64::try_from(count).ok()
}
