//! Tests `tincan check` where it waits for ten seconds.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use std::process::{Command, Stdio};

#[test]
fn a_server_that_never_listens_is_given_up() {
    let output = Command::new(env!("CARGO_BIN_EXE_tincan"))
        .args(["check", "chat", "--", "sleep", "600"])
        .env_remove("PORT")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("does not listen on any port after 10 s")
    );
}
