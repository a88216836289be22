//! Runs the checks on the server without `io_uring`: `cargo test -p chat-uring --test readiness`.
#![cfg_attr(unix, allow(clippy::unwrap_used))]

/// The checks cannot add an argument to the program that they start, so a script adds `--poll`.
#[cfg(unix)]
fn main() {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use check::Profile;

    let program = env!("CARGO_BIN_EXE_chat-uring").replace('\'', r"'\''");
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("chat-uring");
    fs::write(&script, format!("#!/bin/sh\nexec '{program}' --poll \"$@\"\n")).unwrap();
    fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
    check::test_stage(Profile::ChatAsync, script.to_str().unwrap())
}

#[cfg(not(unix))]
fn main() {}
