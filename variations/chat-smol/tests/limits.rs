//! Observes the limit that the header of `main.rs` states, as far as a client can: a few threads run all
//! the tasks, so the same number of long computations would stop every task.
//!
//! `cargo test -p chat-smol --test limits`
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::thread::available_parallelism;

use probe::server::{Launch, Server};
use probe::wire::Client;

#[derive(Debug, PartialEq)]
struct Threads {
    /// The threads that run tasks.
    executor: usize,
    all: usize,
}

fn count_threads(server: &Server) -> Threads {
    let mut threads = Threads { executor: 0, all: 0 };
    for entry in fs::read_dir(format!("/proc/{}/task", server.pid().unwrap())).unwrap() {
        let name = fs::read_to_string(entry.unwrap().path().join("comm")).unwrap();
        threads.all += 1;
        if name.trim_end() == "executor" {
            threads.executor += 1;
        }
    }
    threads
}

/// Connects a client, and waits until the server has relayed a message from it.
fn join(server: &Server) -> Client {
    let mut client = Client::connect(server.addr()).unwrap();
    client.send_msg("here").unwrap();
    client.expect_msg(&format!("{}: here", client.addr())).unwrap();
    client
}

#[test]
fn the_number_of_threads_does_not_depend_on_the_number_of_clients() {
    let server = Launch::new(env!("CARGO_BIN_EXE_chat-smol"), &[]).start().unwrap();
    let first = join(&server);
    server.wait_for_log("the message", |line| line.ends_with(": here")).unwrap();
    let before = count_threads(&server);
    assert_eq!(before.executor, available_parallelism().unwrap().get());

    let others: Vec<_> = (0..50).map(|_| join(&server)).collect();
    assert_eq!(count_threads(&server), before);
    drop(others);
    drop(first);
}
