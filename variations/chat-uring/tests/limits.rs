//! What buffers that are given away cost, and what keeps that bounded, with a ring and without:
//! `cargo test -p chat-uring --test limits`.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use tincanchat::{QUEUE_BYTES, QUEUE_CEILING, READ_TURN};
use workbench::server::{Launch, Server};
use workbench::wire::Client;
use workbench::{PATIENCE, wait_until};

/// Runs a test on what the system has, and on readiness.
fn on_both(args: &[&str], test: impl Fn(&Server)) {
    for driver in [&[][..], &["--poll"]] {
        let server = Launch::new(env!("CARGO_BIN_EXE_chat-uring"), &[]).args(driver);
        test(&server.args(args).start().unwrap());
    }
}

fn join(mut client: Client) -> Client {
    client.say("I am here").unwrap();
    hear(&mut client, "I am here");
    client
}

/// Waits until a client hears what it has said, whatever others say before that.
fn hear(client: &mut Client, text: &str) {
    let relay = format!("{}: {text}", client.addr());
    while client.frame().unwrap() != relay.as_bytes() {}
}

fn resident(server: &Server) -> u64 {
    server.figures().unwrap().resident
}

/// What the header says that it is bad at. A task with an empty buffer needs some memory, too, but
/// less: chat-async, which has the same tasks, is far from twice the room.
#[test]
fn who_says_nothing_has_a_buffer_in_a_read() {
    const CLIENTS: u64 = 500;
    const ROOM: u64 = 2 * 1024;
    on_both(&[], |server| {
        let _talker = join(Client::connect(server.addr()).unwrap());
        let before = resident(server);
        let _silent: Vec<_> =
            (0..CLIENTS).map(|_| Client::connect(server.addr()).unwrap()).collect();
        let is_big = || Ok(resident(server) - before > CLIENTS * 2 * ROOM);
        assert!(wait_until(PATIENCE, is_big).unwrap(), "{} bytes", resident(server) - before);
    });
}

/// Much room is for as long as there is much to read.
#[test]
fn who_has_said_much_has_no_more_than_that() {
    const CLIENTS: u64 = 25;
    on_both(&[], |server| {
        let mut before = 0;
        let mut clients = Vec::new();
        for i in 0..CLIENTS {
            let mut client = join(Client::connect(server.addr()).unwrap());
            // Empty messages, which nobody gets: to fill the largest buffer more than once.
            client.send(&[&vec![0; 3 * READ_TURN], &b"done\0unfinished"[..]].concat()).unwrap();
            hear(&mut client, "done");
            clients.push(client);
            if i == 0 {
                before = resident(server);
            }
        }
        let grown = resident(server) - before;
        assert!(grown < CLIENTS * READ_TURN as u64 / 2, "{grown} bytes");
    });
}

/// One message for all is in memory once, whoever has not taken it yet.
#[test]
fn nobody_has_a_copy_of_what_waits() {
    const CLIENTS: u64 = 100;
    on_both(&[], |server| {
        let mut talker = join(Client::connect(server.addr()).unwrap());
        let _silent: Vec<_> =
            (0..CLIENTS).map(|_| join(Client::connect_narrow(server.addr()).unwrap())).collect();
        let before = resident(server);
        // As much as may wait for one client. A narrow connection takes a part of it.
        let texts = (0..QUEUE_BYTES / 17_000).map(|i| format!("{i:016000}"));
        for text in texts {
            talker.say(&text).unwrap();
            hear(&mut talker, &text);
        }
        let grown = resident(server) - before;
        assert!(grown < CLIENTS * QUEUE_BYTES as u64 / 10, "{grown} bytes");
        assert_eq!(server.log().count(|line| line.contains("does not keep up")), 0);
    });
}

/// Nothing says that the kernel has no room for a write, which is only not complete; the queue of one
/// who does not read ends all the same, long before its ceiling.
#[test]
fn a_write_on_its_way_does_not_let_the_queue_grow() {
    on_both(&["-q"], |server| {
        let silent = Client::connect_narrow(server.addr()).unwrap();
        let mut talker = join(Client::connect(server.addr()).unwrap());
        let what = format!("{}: sending: the client does not keep up: ", silent.addr());
        // So little that the ceiling is not reached before the kernel has refused it for a second.
        let text = "x".repeat(100);
        while server.log().count(|line| line.contains(&what)) == 0 {
            talker.say(&text).unwrap();
            hear(&mut talker, &text);
        }
        let line = server.wait_for_log(&what, |line| line.contains(&what)).unwrap();
        let (_, numbers) = line.split_once(&what).unwrap();
        let queued: usize = numbers.split(' ').next().unwrap().parse().unwrap();
        assert!(queued < QUEUE_CEILING / 2, "{line}");
    });
}
