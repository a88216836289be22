//! Tests what the server runs on, and what its log says about it: `cargo test -p chat-uring --test driver`.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::fs;

use probe::server::{Launch, Server};
use probe::wire::Client;

const URING: &str = "Runs on io_uring";
const POLL: &str = "Runs on readiness, without io_uring";

/// Starts a server and checks that two clients can talk on it. Returns the server, and the line of its log
/// that says what it runs on.
fn start(args: &[&str]) -> (Server, String) {
    let server = Launch::new(env!("CARGO_BIN_EXE_chat-uring"), &[]).args(args).start().unwrap();
    let mut ann = Client::connect(server.addr()).unwrap();
    let mut bob = Client::connect(server.addr()).unwrap();
    bob.send_msg("I am here").unwrap();
    bob.expect_msg(&format!("{}: I am here", bob.addr())).unwrap();
    ann.send_msg("hello").unwrap();
    bob.expect_msg(&format!("{}: hello", ann.addr())).unwrap();
    let line = server.wait_for_log("a start", |line| line.contains("Runs on")).unwrap();
    (server, line)
}

/// Reports whether one of the descriptors of the server is an `io_uring`.
fn has_ring(server: &Server) -> bool {
    let folder = format!("/proc/{}/fd", server.pid().unwrap());
    fs::read_dir(folder).unwrap().any(|entry| {
        let target = fs::read_link(entry.unwrap().path());
        target.is_ok_and(|target| target.to_string_lossy().contains("[io_uring]"))
    })
}

#[test]
fn the_log_says_what_the_server_runs_on() {
    let (server, line) = start(&[]);
    // In many containers the kernel does not allow an io_uring.
    let expected = if has_ring(&server) { URING } else { POLL };
    assert!(line.ends_with(expected), "{line}");
}

#[test]
fn with_poll_the_server_makes_no_ring() {
    let (server, line) = start(&["--poll"]);
    assert!(line.ends_with(POLL), "{line}");
    assert!(!has_ring(&server));
}
