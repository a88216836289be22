//! What the log says the server runs on: `cargo test -p chat-uring --test driver`.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use workbench::server::{Launch, Server};
use workbench::wire::Client;

const URING: &str = "Completion by io_uring";
const POLL: &str = "Completion made of readiness: no io_uring here, or not wanted";

/// Starts a server on which two clients can talk, and gives what its log says of completion.
fn driver(args: &[&str]) -> (Server, String) {
    let server = Launch::new(env!("CARGO_BIN_EXE_chat-uring"), &[]).args(args).start().unwrap();
    let mut ann = Client::connect(server.addr()).unwrap();
    let mut bob = Client::connect(server.addr()).unwrap();
    bob.say("I am here").unwrap();
    bob.expect(&format!("{}: I am here", bob.addr())).unwrap();
    ann.say("hello").unwrap();
    bob.expect(&format!("{}: hello", ann.addr())).unwrap();
    let line = server.wait_for_log("a start", |line| line.contains("Completion")).unwrap();
    (server, line)
}

/// Whether a ring of the process can be seen among its descriptors.
fn has_ring(server: &Server) -> bool {
    let folder = format!("/proc/{}/fd", server.pid().unwrap());
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let target = std::fs::read_link(entry.unwrap().path());
        target.is_ok_and(|target| target.to_string_lossy().contains("[io_uring]"))
    })
}

#[test]
fn the_log_says_what_it_runs_on() {
    let (server, said) = driver(&[]);
    // In many containers the kernel lets nobody have a ring.
    let wanted = if has_ring(&server) { URING } else { POLL };
    assert!(said.ends_with(wanted), "{said}");
}

#[test]
fn it_does_without_a_ring_if_told_so() {
    let (server, said) = driver(&["--poll"]);
    assert!(said.ends_with(POLL), "{said}");
    assert!(!has_ring(&server));
}
