//! Builds, finds and starts the servers of this project, for `tour` and `lab`.

use std::env::{self, consts::EXE_SUFFIX};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use anyhow::{Context as _, Result, bail};
use probe::server::{self, Launch, Server};

/// The programs of this project's servers, which are in the folder of this program.
pub struct ServerPrograms {
    folder: PathBuf,
}

impl ServerPrograms {
    /// Builds these servers, or uses the existing programs if there is no cargo.
    pub fn build(names: &[&str]) -> Result<Self> {
        let folder = own_folder()?;
        if let Some(target) = target(&folder) {
            // The servers are built with the profile of this program.
            let profile = match folder.file_name() {
                Some(name) if name != "debug" => name,
                _ => "dev".as_ref(),
            };
            build(target, profile, names)?;
        }
        let programs = Self { folder };
        match names.iter().find(|name| !programs.program(name).exists()) {
            None => Ok(programs),
            Some(name) => bail!(
                "there is no {name} in {}; `cargo tincan` builds it, in a clone of Tin Can Chat",
                programs.folder.display()
            ),
        }
    }

    /// Uses the existing programs, without building them.
    pub fn existing() -> Result<Self> {
        Ok(Self { folder: own_folder()? })
    }

    /// Returns the path of a server's program.
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}{EXE_SUFFIX}"))
    }

    /// Starts a server on a port that the system picks.
    pub fn start(&self, name: &str) -> Result<Server> {
        dies_with_us(Launch::new(self.program(name), &[])).start()
    }
}

/// Returns the folder of this program.
pub fn own_folder() -> Result<PathBuf> {
    let own = env::current_exe().context("cannot find the path of this program")?;
    Ok(own.parent().context("this program is not in a folder")?.to_owned())
}

/// Returns the workspace in which this program was built, if it still exists.
pub fn workspace() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2)?;
    root.join("Cargo.toml").exists().then(|| root.to_owned())
}

/// Returns the target folder of cargo if `folder` is one of its folders for programs, such as `target/debug`, and
/// the workspace still exists.
pub fn target(folder: &Path) -> Option<&Path> {
    workspace()?;
    folder.parent().filter(|_| is_written_by_cargo(folder))
}

/// Builds the programs of these packages. Does nothing if cargo cannot be started.
pub fn build(target: &Path, profile: &OsStr, packages: &[&str]) -> Result<()> {
    let root = workspace().context("the workspace does not exist any more")?;
    let mut command = probe::cargo();
    command.args(["build", "--bins", "--manifest-path"]).arg(root.join("Cargo.toml"));
    command.arg("--target-dir").arg(target).arg("--profile").arg(profile);
    command.args(packages.iter().flat_map(|name| ["-p", name])).stdin(Stdio::null());
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let Ok(mut child) = server::start_tracked(|| Ok(command.spawn()?), std::process::Child::id)
    else {
        return Ok(());
    };
    let status = child.wait();
    server::untrack(child.id());
    if status?.success() { Ok(()) } else { bail!("cannot build the servers") }
}

/// Reports whether the folder contains cargo's records of the programs that it has built.
fn is_written_by_cargo(folder: &Path) -> bool {
    folder.join(".fingerprint").is_dir()
}

/// Changes how a server is started, so that the kernel kills it when this program ends, even by SIGKILL (Linux).
///
/// A process must itself ask the kernel for this, and a server does not. So the process that is started is this
/// program once more, as `child-of`: it asks the kernel, and then becomes the server by exec.
pub fn dies_with_us(launch: Launch) -> Launch {
    if !cfg!(target_os = "linux") {
        return launch;
    }
    let own = std::process::id().to_string();
    launch.with_wrapper(&["/proc/self/exe", "child-of", &own, "--"])
}

/// Starts a program that ends when another process does (`tour` and `lab` start servers with it)
#[derive(clap::Args)]
pub struct ChildOf {
    /// The process that starts the program
    parent: i32,
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Becomes a program that is killed when its parent ends.
#[cfg(target_os = "linux")]
pub fn become_child(args: &ChildOf) -> Result<ExitCode> {
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;

    use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // The parent may have ended before that.
    if Pid::as_raw(getppid()) != args.parent {
        return Ok(ExitCode::FAILURE);
    }
    let (program, words) = args.command.split_first().context("there is no program")?;
    let err = Command::new(program).args(words).exec();
    Err(err).with_context(|| format!("cannot start {}", program.display()))
}

#[cfg(not(target_os = "linux"))]
pub fn become_child(args: &ChildOf) -> Result<ExitCode> {
    bail!(
        "cannot start {} as a child of {}: this needs Linux",
        args.command[0].display(),
        args.parent
    )
}
