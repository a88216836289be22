//! Builds, finds and starts servers, for the tour and the laboratory.

use std::env::{self, consts::EXE_SUFFIX};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, bail};
use probe::server::{self, Launch, Server};

/// The stages' programs, which are where this one is.
pub struct Stages {
    folder: PathBuf,
}

impl Stages {
    /// Builds these stages if there is a cargo, and takes what is there if there is none.
    pub fn ready(names: &[&str]) -> Result<Self> {
        let folder = own_folder()?;
        if let Some(target) = target(&folder) {
            // How this program was built tells how to build the others.
            let profile = match folder.file_name() {
                Some(name) if name != "debug" => name,
                _ => "dev".as_ref(),
            };
            build(target, profile, names)?;
        }
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

    /// Takes what is there.
    pub fn here() -> Result<Self> {
        Ok(Self { folder: own_folder()? })
    }

    /// Where the program of a stage is.
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}{EXE_SUFFIX}"))
    }

    /// Starts a stage on a port that the system picks.
    pub fn start(&self, name: &str) -> Result<Server> {
        dies_with_us(Launch::new(self.program(name), &[])).start()
    }
}

/// The folder that this program is in.
pub fn own_folder() -> Result<PathBuf> {
    let own = env::current_exe().context("could not find out where this program is")?;
    Ok(own.parent().context("this program is in no folder")?.to_owned())
}

/// The workspace, if it is still where this program was built.
pub fn workspace() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2)?;
    root.join("Cargo.toml").exists().then(|| root.to_owned())
}

/// Cargo's target folder, if cargo has put its programs into this folder, and could do so again.
pub fn target(folder: &Path) -> Option<&Path> {
    workspace()?;
    folder.parent().filter(|_| is_cargos(folder))
}

/// Builds the programs of these packages; without a cargo, does nothing.
pub fn build(target: &Path, profile: &OsStr, packages: &[&str]) -> Result<()> {
    let root = workspace().context("the workspace is gone")?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--bins", "--manifest-path"]).arg(root.join("Cargo.toml"));
    command.arg("--target-dir").arg(target).arg("--profile").arg(profile);
    command.args(packages.iter().flat_map(|name| ["-p", name])).stdin(Stdio::null());
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
pub fn dies_with_us(launch: Launch) -> Launch {
    if !cfg!(target_os = "linux") {
        return launch;
    }
    let own = std::process::id().to_string();
    launch.through(&["/proc/self/exe", "child-of", &own, "--"])
}

/// Starts a program that ends when this process does.
#[derive(clap::Args)]
pub struct ChildOf {
    /// The process that starts it
    parent: i32,
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Becomes a program that is killed when its parent dies.
#[cfg(target_os = "linux")]
pub fn become_child(args: &ChildOf) -> Result<ExitCode> {
    use std::os::unix::process::CommandExt as _;

    use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have died before that.
    if Pid::as_raw(getppid()) != args.parent {
        return Ok(ExitCode::FAILURE);
    }
    let (program, words) = args.command.split_first().context("no program is named")?;
    let err = Command::new(program).args(words).exec();
    Err(err).with_context(|| format!("could not start {}", program.display()))
}

#[cfg(not(target_os = "linux"))]
pub fn become_child(args: &ChildOf) -> Result<ExitCode> {
    bail!("{} cannot be a child of {}: that needs Linux", args.command[0].display(), args.parent)
}
