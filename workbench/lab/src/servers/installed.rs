//! Finds installed programs.

use std::env::{self, consts::EXE_SUFFIX};
use std::path::{Path, PathBuf};

/// Finds a program by its name. Servers may be in a folder that is only in root's `PATH`.
pub fn installed(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&path).collect();
    folders.extend(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    let program = format!("{name}{EXE_SUFFIX}");
    folders.into_iter().map(|folder| folder.join(&program)).find(|path| is_program(path))
}

#[cfg(unix)]
fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path)
        .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_program(path: &Path) -> bool {
    path.is_file()
}
