//! What the header of `main.rs` says the server is bad at: `cargo test -p chat-green --test limits`.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use workbench::procfs;
use workbench::server::{Launch, Server};
use workbench::wire::Client;
use workbench::{PATIENCE, wait_until};

const CLIENTS: usize = 100;

/// The stacks that are there: what can be written to, and is as large as one.
fn stacks(server: &Server) -> usize {
    let maps = procfs::read(format!("/proc/{}/maps", server.pid().unwrap())).unwrap();
    let is_stack = |line: &str| {
        let (range, rights) = line.split_once(' ')?;
        let (from, to) = range.split_once('-')?;
        let address = |text| usize::from_str_radix(text, 16).ok();
        let is_long = address(to)? - address(from)? == tincanchat::STACK_SIZE;
        (is_long && rights.starts_with("rw-p")).then_some(())
    };
    maps.lines().filter_map(is_stack).count()
}

fn threads(server: &Server) -> u64 {
    server.figures().unwrap().threads
}

/// Waits until there are so many stacks for clients.
fn expect_stacks(server: &Server, before: usize, count: usize) {
    let mut last = 0;
    let all_there = wait_until(PATIENCE, || {
        last = stacks(server);
        Ok(last == before + count)
    });
    assert!(all_there.unwrap(), "{last} stacks, {before} before: not {count} more");
}

#[test]
fn each_client_costs_two_stacks_and_no_thread_of_the_system() {
    let server = Launch::new(env!("CARGO_BIN_EXE_chat-green"), &[]).start().unwrap();
    let mut first = Client::connect(server.addr()).unwrap();
    first.say("here").unwrap();
    first.expect(&format!("{}: here", first.addr())).unwrap();
    server.wait_for_log("the message", |line| line.ends_with(": here")).unwrap();
    let before = (stacks(&server), threads(&server));
    let connect = |_| Client::connect(server.addr()).unwrap();
    let clients: Vec<_> = (0..CLIENTS).map(connect).collect();
    expect_stacks(&server, before.0, 2 * CLIENTS);
    assert_eq!(threads(&server), before.1, "all take turns in one thread");
    drop(clients);
    expect_stacks(&server, before.0, 0);
}
