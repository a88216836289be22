//! Compiles the C programs that are measured for comparison.
//!
//! Their sources are part of this program, so that it can compile them on a machine that has a C compiler
//! and no workspace.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::installed::installed;

/// The C compiler.
const COMPILER: &str = "cc";

/// A C program.
#[derive(Clone, Copy, Debug)]
pub struct CProgram {
    /// The name of the program, and of its source without `.c`.
    pub name: &'static str,
    /// The source.
    source: &'static str,
}

/// Relays everything that a client sends to all clients: one thread, epoll, nothing else.
pub const BROADCAST: CProgram = CProgram {
    name: "broadcast",
    source: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/baselines/broadcast.c")),
};

/// Accepts a client, sends its message back, closes: one client at a time, four system calls each.
pub const ACCEPT: CProgram = CProgram {
    name: "accept",
    source: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/baselines/accept.c")),
};

impl CProgram {
    /// Compiles the program in a folder, unless it has been compiled already. Returns its path, or the
    /// reason why it cannot be compiled.
    pub fn compile(&self, folder: &Path) -> Result<PathBuf, String> {
        if !cfg!(target_os = "linux") {
            return Err("it needs Linux".to_owned());
        }
        let compiler = installed(COMPILER).ok_or("there is no C compiler (cc)")?;
        let program = folder.join(self.name);
        if program.exists() {
            return Ok(program);
        }
        let source = folder.join(format!("{}.c", self.name));
        fs::write(&source, self.source)
            .map_err(|err| format!("cannot write {}: {err}", source.display()))?;
        let mut command = Command::new(compiler);
        command.arg("-O2").arg("-o").arg(&program).arg(&source).stdin(Stdio::null());
        let output = command.output().map_err(|err| format!("cannot run cc: {err}"))?;
        if output.status.success() {
            return Ok(program);
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        let first = errors.lines().find(|line| line.contains("error")).unwrap_or_default();
        Err(format!("cc could not compile it ({}) {first}", output.status).trim_end().to_owned())
    }
}
