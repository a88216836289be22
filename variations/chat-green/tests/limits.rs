//! Observes the limit that the header of `main.rs` states: `cargo test -p chat-green --test limits`.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use probe::procfs;
use probe::server::{Launch, Server};
use probe::wire::Client;
use probe::{TIMEOUT, wait_until};

const CLIENTS: usize = 100;

/// Counts the stacks of the server: the mappings that are readable, writable, and as large as a stack.
fn stacks(server: &Server) -> usize {
    let maps = procfs::read(format!("/proc/{}/maps", server.pid().unwrap())).unwrap();
    let is_stack = |line: &&str| {
        let (range, rights) = line.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let start = usize::from_str_radix(start, 16).unwrap();
        let end = usize::from_str_radix(end, 16).unwrap();
        rights.starts_with("rw-p") && end - start == tincanchat::STACK_SIZE
    };
    maps.lines().filter(is_stack).count()
}

fn threads(server: &Server) -> u64 {
    server.usage().unwrap().threads
}

/// Waits until the server has this many stacks.
fn expect_stacks(server: &Server, expected: usize) {
    let mut last = 0;
    let is_reached = wait_until(TIMEOUT, || {
        last = stacks(server);
        Ok(last == expected)
    });
    assert!(is_reached.unwrap(), "{last} stacks, not {expected}");
}

#[test]
fn each_client_takes_two_stacks_and_no_thread_of_the_system() {
    let server = Launch::new(env!("CARGO_BIN_EXE_chat-green"), &[]).start().unwrap();
    let mut first = Client::connect(server.addr()).unwrap();
    first.send_msg("here").unwrap();
    first.expect_msg(&format!("{}: here", first.addr())).unwrap();
    server.wait_for_log("the message", |line| line.ends_with(": here")).unwrap();
    let stacks_before = stacks(&server);
    let threads_before = threads(&server);
    let connect = |_| Client::connect(server.addr()).unwrap();
    let clients: Vec<_> = (0..CLIENTS).map(connect).collect();
    expect_stacks(&server, stacks_before + 2 * CLIENTS);
    // On a busy machine, a thread of the start may still have run before.
    assert!(threads(&server) <= threads_before, "all clients take turns in one thread");
    drop(clients);
    expect_stacks(&server, stacks_before);
}
