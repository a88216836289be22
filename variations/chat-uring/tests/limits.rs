//! Tests the cost of buffers that the kernel owns, and the bounds of this cost, with `io_uring` and without
//! it: `cargo test -p chat-uring --test limits`.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use probe::server::{Launch, Server};
use probe::wire::Client;
use probe::{TIMEOUT, wait_until};
use tincanchat::{QUEUE_BYTES, QUEUE_BYTES_HARD, READ_TURN};

/// Runs a test on a server that uses what the system offers, and on a server that uses readiness.
fn on_both(args: &[&str], test: impl Fn(&Server)) {
    for driver in [&[][..], &["--poll"]] {
        let server = Launch::new(env!("CARGO_BIN_EXE_chat-uring"), &[]).args(driver);
        test(&server.args(args).start().unwrap());
    }
}

/// Waits until the server has accepted a client.
fn join(mut client: Client) -> Client {
    client.send_msg("I am here").unwrap();
    expect_own(&mut client, "I am here");
    client
}

/// Waits until a client gets a message that it has sent itself, and skips the messages before it.
fn expect_own(client: &mut Client, text: &str) {
    let relayed = format!("{}: {text}", client.addr());
    while client.recv_msg().unwrap() != relayed.as_bytes() {}
}

/// Returns the resident memory of the server, in bytes.
fn resident(server: &Server) -> u64 {
    server.usage().unwrap().resident_bytes
}

/// Returns how much the resident memory has grown. It may also have shrunk: the server gives memory back some
/// time after it was used.
fn grown_since(server: &Server, before: u64) -> u64 {
    resident(server).saturating_sub(before)
}

/// Tests the limit that the header of `main.rs` states. A task without a buffer needs memory, too, but less
/// than twice the size of the buffer. chat-async, which has the same tasks, shows this.
#[test]
fn a_silent_client_has_a_buffer_in_a_read() {
    const CLIENTS: u64 = 500;
    const SMALL_READ: u64 = 2 * 1024;
    on_both(&[], |server| {
        let _first = join(Client::connect(server.addr()).unwrap());
        let before = resident(server);
        let _silent: Vec<_> =
            (0..CLIENTS).map(|_| Client::connect(server.addr()).unwrap()).collect();
        let has_grown = || Ok(grown_since(server, before) > CLIENTS * 2 * SMALL_READ);
        assert!(wait_until(TIMEOUT, has_grown).unwrap(), "{} bytes", grown_since(server, before));
    });
}

/// A large buffer exists only while there is a lot to read.
#[test]
fn a_client_that_has_sent_much_has_no_large_buffer_afterwards() {
    const CLIENTS: u64 = 25;
    on_both(&[], |server| {
        let mut after_first = 0;
        let mut clients = Vec::new();
        for i in 0..CLIENTS {
            let mut client = join(Client::connect(server.addr()).unwrap());
            // Empty messages, which are not relayed, fill the largest buffer more than once.
            client.send(&[&vec![0; 3 * READ_TURN], &b"done\0unfinished"[..]].concat()).unwrap();
            expect_own(&mut client, "done");
            clients.push(client);
            if i == 0 {
                after_first = resident(server);
            }
        }
        let grown = grown_since(server, after_first);
        assert!(grown < CLIENTS * READ_TURN as u64 / 2, "{grown} bytes");
    });
}

/// A message is in memory only once, for however many clients it is queued.
#[test]
fn queued_messages_are_not_copied_for_each_client() {
    const CLIENTS: u64 = 100;
    on_both(&[], |server| {
        let mut sender = join(Client::connect(server.addr()).unwrap());
        let _silent: Vec<_> = (0..CLIENTS)
            .map(|_| join(Client::connect_with_small_buffers(server.addr()).unwrap()))
            .collect();
        let before = resident(server);
        // As many bytes as may be queued for one client. The small buffers of a narrow connection take some
        // of them.
        let texts = (0..QUEUE_BYTES / 17_000).map(|i| format!("{i:016000}"));
        for text in texts {
            sender.send_msg(&text).unwrap();
            expect_own(&mut sender, &text);
        }
        let grown = grown_since(server, before);
        assert!(grown < CLIENTS * QUEUE_BYTES as u64 / 10, "{grown} bytes");
        assert_eq!(server.log().count(|line| line.contains("does not keep up")), 0);
    });
}

/// The kernel does not report that it has no space for a write: the write just stays incomplete. Still, a
/// client that does not read is disconnected long before its queue reaches the hard limit.
#[test]
fn a_write_that_is_not_complete_does_not_let_the_queue_grow() {
    on_both(&["-q"], |server| {
        let silent = Client::connect_with_small_buffers(server.addr()).unwrap();
        let mut sender = join(Client::connect(server.addr()).unwrap());
        let reason = format!("{}: the client does not keep up: ", silent.addr());
        // The text is short, so that a write has been incomplete for a second before the queue reaches the
        // hard limit.
        let text = "x".repeat(100);
        while server.log().count(|line| line.contains(&reason)) == 0 {
            sender.send_msg(&text).unwrap();
            expect_own(&mut sender, &text);
        }
        let line = server.wait_for_log(&reason, |line| line.contains(&reason)).unwrap();
        let (_, numbers) = line.split_once(&reason).unwrap();
        let queued: usize = numbers.split(' ').next().unwrap().parse().unwrap();
        assert!(queued < QUEUE_BYTES_HARD / 2, "{line}");
    });
}
