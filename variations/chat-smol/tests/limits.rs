//! The limit that the header of `main.rs` tells of, as far as it can be seen from outside: a few threads
//! run all the tasks, so as many long computations stop all. `cargo test -p chat-smol --test limits`.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::thread::available_parallelism;

use workbench::server::{Launch, Server};
use workbench::wire::Client;

/// How many threads run tasks, and how many threads there are.
fn threads(server: &Server) -> (usize, usize) {
    let folder = format!("/proc/{}/task", server.pid().unwrap());
    let name = |entry: fs::DirEntry| fs::read_to_string(entry.path().join("comm")).unwrap();
    let names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| name(entry.unwrap())).collect();
    (names.iter().filter(|name| name.trim_end() == "executor").count(), names.len())
}

#[test]
fn tasks_have_a_thread_for_each_processor_however_many_there_are() {
    let server = Launch::new(env!("CARGO_BIN_EXE_chat-smol"), &[]).start().unwrap();
    let join = || {
        let mut client = Client::connect(server.addr()).unwrap();
        client.say("here").unwrap();
        client.expect(&format!("{}: here", client.addr())).unwrap();
        client
    };
    let first = join();
    server.wait_for_log("the message", |line| line.ends_with(": here")).unwrap();
    let before = threads(&server);
    assert_eq!(before.0, available_parallelism().unwrap().get());
    let _others: Vec<_> = (0..50).map(|_| join()).collect();
    assert_eq!(threads(&server), before);
    drop(first);
}
