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
use probe::{TIMEOUT, wait_until};

#[derive(Debug)]
struct Threads {
    /// The threads that run tasks.
    executor: usize,
    all: usize,
}

fn count_threads(server: &Server) -> Threads {
    let mut threads = Threads { executor: 0, all: 0 };
    for entry in fs::read_dir(format!("/proc/{}/task", server.pid().unwrap())).unwrap() {
        // A thread may end in the meantime.
        let Ok(name) = fs::read_to_string(entry.unwrap().path().join("comm")) else { continue };
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
    // A thread has its name only when it runs for the first time.
    let processors = available_parallelism().unwrap().get();
    let have_all_started = || Ok(count_threads(&server).executor == processors);
    assert!(wait_until(TIMEOUT, have_all_started).unwrap(), "{:?}", count_threads(&server));
    let before = count_threads(&server);

    let others: Vec<_> = (0..50).map(|_| join(&server)).collect();
    // The thread that has written to stdout may have ended in the meantime.
    let now = count_threads(&server);
    assert!(now.executor == before.executor && now.all <= before.all, "{before:?}, {now:?}");
    drop(others);
    drop(first);
}
