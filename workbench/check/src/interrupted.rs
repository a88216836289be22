//! A library that interrupts the system calls of a program.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// Compiles the library that interrupts system calls, in this folder, and returns its path: the value of
/// `LD_PRELOAD` for a program.
///
/// # Errors
///
/// Returns an error if the compiler, `cc`, is not installed or fails.
pub fn library(folder: &Path) -> Result<String> {
    let source = folder.join("interrupted.c");
    let library = folder.join("interrupted.so");
    fs::write(&source, include_str!("interrupted.c"))?;
    let mut compiler = Command::new("cc");
    compiler.args(["-O2", "-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl");
    let done = compiler.output().context("running cc")?;
    ensure!(done.status.success(), "cc failed:\n{}", String::from_utf8_lossy(&done.stderr));
    Ok(library.to_str().context("the path of the library is not UTF-8")?.to_owned())
}

/// Checks that a process has loaded the library: a statically linked program does not load it, and would pass
/// although nothing was tested.
///
/// # Errors
///
/// Returns an error if the process has not loaded it.
pub fn expect_loaded(pid: u32, library: &str) -> Result<()> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    ensure!(maps.contains(library), "process {pid} has not loaded {library}");
    Ok(())
}
