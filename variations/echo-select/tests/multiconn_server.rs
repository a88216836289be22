//! `multiconn-server` and the bytes of its connections.
// A panic fails the test, as it should.
#![allow(clippy::unwrap_used)]

use std::io::{ErrorKind, Read as _, Write as _};
use std::time::Duration;

use probe::server::{Launch, Server};
use probe::sockdiag::unread_bytes;
use probe::wire::{Client, Received};
use probe::{TIMEOUT, wait_until};

fn start() -> Server {
    Launch::new(env!("CARGO_BIN_EXE_multiconn-server"), &[]).start().unwrap()
}

fn connect(server: &Server) -> Client {
    Client::connect(server.addr()).unwrap()
}

fn exchange(client: &mut Client, bytes: &[u8]) {
    client.send(bytes).unwrap();
    client.expect_bytes(bytes).unwrap();
}

/// Returns bytes in which no two neighbouring kilobytes are equal.
fn varied(len: usize) -> Vec<u8> {
    (0u32..).flat_map(u32::to_le_bytes).take(len).collect()
}

#[test]
fn the_echo_has_the_same_bytes_whatever_they_are() {
    let server = start();
    let mut client = connect(&server);
    let all: Vec<u8> = (0..=255).collect();
    exchange(&mut client, &all);
    exchange(&mut client, b"no line end and no zero byte");
    for byte in "an ö in two reads".bytes() {
        exchange(&mut client, &[byte]);
    }
    exchange(&mut client, &varied(50_000));
}

#[test]
fn it_echoes_until_the_client_ends_its_sending_side() {
    let server = start();
    for len in [0, 1, 100_000] {
        // The kernel has room for about half of the longest echo; the rest waits in the server's queue.
        let mut client = Client::connect_with_small_buffers(server.addr()).unwrap();
        let bytes = varied(len);
        client.send(&bytes).unwrap();
        client.half_close().unwrap();
        let unread = || unread_bytes(server.addr(), client.addr()).unwrap_or(0);
        assert!(wait_until(TIMEOUT, || Ok(unread() == 0)).unwrap(), "{} bytes unread", unread());
        let (echoed, ending) = client.recv_bytes_to_end().unwrap();
        assert!(echoed == bytes, "{} of {len} bytes came back", echoed.len());
        assert_eq!(ending, Received::Eof);
        let gone = format!("Client {} disconnected", client.addr());
        server.wait_for_log(&gone, |line| line.ends_with(&gone)).unwrap();
    }
}

/// Sends without reading until neither server nor kernel accepts more; returns how many bytes were sent.
fn send_until_refused(client: &mut Client, bytes: &[u8]) -> usize {
    let mut sent = 0;
    loop {
        match client.write(&bytes[sent..bytes.len().min(sent + 4096)]) {
            Ok(0) => return sent,
            Ok(n) => sent += n,
            Err(err) if matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return sent;
            }
            // With a timeout set, Linux interrupts the call when this process is stopped and continued.
            Err(err) if err.kind() == ErrorKind::Interrupted => {}
            Err(err) => panic!("after {sent} bytes: {err}"),
        }
    }
}

/// More bytes than the kernel buffers in both directions.
const FLOOD: usize = 32 * 1024 * 1024;

/// How long a write must block before the client counts as blocked. On a busy machine, this may be too
/// short; then the test only sends less.
const STUCK: Duration = Duration::from_millis(300);

#[test]
fn it_does_not_read_from_a_client_that_does_not_read() {
    let server = start();
    let mut other = connect(&server);
    exchange(&mut other, b"before");
    let before = server.usage();
    let mut client = Client::connect_with_small_buffers(server.addr()).unwrap().with_timeout(STUCK);
    let bytes = varied(FLOOD);
    let sent = send_until_refused(&mut client, &bytes);
    assert!(sent < FLOOD, "the server accepted all {sent} bytes of a client that does not read");
    if let Some((before, after)) = before.zip(server.usage()) {
        let more = after.resident_bytes.saturating_sub(before.resident_bytes);
        assert!(more < 2 * 1024 * 1024, "the server takes {more} bytes more");
        let cpu = server.usage().unwrap().cpu;
        exchange(&mut other, b"the others do not wait");
        let busy = server.usage().unwrap().cpu.saturating_sub(cpu);
        assert!(busy < Duration::from_secs(1), "{busy:?} of processor time for one exchange");
    }
    exchange(&mut other, b"still there");
    // When the client reads, it gets the whole echo.
    client.enlarge_recv_buffer().unwrap();
    let mut client = client.with_timeout(TIMEOUT);
    client.half_close().unwrap();
    let mut echoed = Vec::new();
    client.read_to_end(&mut echoed).unwrap();
    assert!(echoed == bytes[..sent], "{} of {sent} bytes came back", echoed.len());
    exchange(&mut other, b"after");
}

#[test]
fn a_long_stream_comes_back_through_a_narrow_connection() {
    let server = start();
    // The buffers are small, so that the server can seldom write its whole queue at once.
    let mut client = Client::connect_with_small_buffers(server.addr()).unwrap();
    let bytes = varied(3_000_000);
    let mut sent = 0;
    let mut echoed = 0;
    for chunk in bytes.chunks(20_000) {
        client.send(chunk).unwrap();
        sent += chunk.len();
        // The client reads late, but early enough that its own writes do not block.
        if sent - echoed > 100_000 {
            let mut echo = vec![0; 35_000];
            client.read_exact(&mut echo).unwrap();
            assert!(echo == bytes[echoed..echoed + echo.len()], "wrong after {echoed} bytes");
            echoed += echo.len();
        }
    }
    client.half_close().unwrap();
    let (rest, ending) = client.recv_bytes_to_end().unwrap();
    assert!(rest == bytes[echoed..], "wrong after {echoed} bytes");
    assert_eq!(ending, Received::Eof);
}

#[test]
fn a_reset_in_the_middle_of_an_echo_concerns_no_other_client() {
    let server = start();
    let mut other = connect(&server);
    exchange(&mut other, b"before");
    let mut client = Client::connect_with_small_buffers(server.addr()).unwrap().with_timeout(STUCK);
    send_until_refused(&mut client, &varied(FLOOD));
    let addr = client.addr();
    client.reset().unwrap();
    let gone = format!("Client {addr} disconnected");
    server.wait_for_log(&gone, |line| line.ends_with(&gone)).unwrap();
    let prefix = format!("{addr}: ");
    let is_reason = |line: &str| line.contains("WARN") && line.contains(&prefix);
    server.wait_for_log("the reason", is_reason).unwrap();
    exchange(&mut other, b"after");
}

#[test]
fn one_thread_serves_all_clients() {
    const MANY: usize = 300;
    let server = start();
    let mut clients: Vec<_> = (0..MANY).map(|_| connect(&server)).collect();
    // All of them send before the first one reads its echo.
    for (i, client) in clients.iter_mut().enumerate() {
        client.send(format!("{i}\n").as_bytes()).unwrap();
    }
    for (i, client) in clients.iter_mut().enumerate().rev() {
        client.expect_bytes(format!("{i}\n").as_bytes()).unwrap();
    }
    if let Some(figures) = server.usage() {
        assert!(
            figures.threads <= 2,
            "more than a thread for the clients and one for the log: {figures:?}"
        );
    }
}

#[test]
fn the_log_shows_the_first_200_bytes_of_a_read() {
    let server = start();
    let mut client = connect(&server);
    exchange(&mut client, "wörld".as_bytes());
    let text = format!("{}: wörld", client.addr());
    server.wait_for_log(&text, |line| line.ends_with(&text)).unwrap();
    exchange(&mut client, "x".repeat(10_000).as_bytes());
    let text = format!("{}: {}…", client.addr(), "x".repeat(200));
    server.wait_for_log("200 letters", |line| line.ends_with(&text)).unwrap();
}
