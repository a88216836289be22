//! What `multiconn-server` does with the bytes of its connections.
// In a test that is what should happen when something fails.
#![allow(clippy::unwrap_used)]

use std::io::{ErrorKind, Read as _, Write as _};
use std::time::Duration;

use workbench::server::{Launch, Server};
use workbench::sockdiag::unread_bytes;
use workbench::wire::{Client, Heard};
use workbench::{PATIENCE, wait_until};

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

/// Bytes of which no two neighbouring kilobytes are alike.
fn varied(len: usize) -> Vec<u8> {
    (0u32..).flat_map(u32::to_le_bytes).take(len).collect()
}

#[test]
fn any_bytes_come_back_as_they_are() {
    let server = start();
    let mut client = connect(&server);
    let all: Vec<u8> = (0..=255).collect();
    exchange(&mut client, &all);
    exchange(&mut client, b"no end of a line, and no zero byte");
    for byte in "a ö in two reads".bytes() {
        exchange(&mut client, &[byte]);
    }
    exchange(&mut client, &varied(50_000));
}

#[test]
fn it_echoes_until_the_peer_closes() {
    let server = start();
    for len in [0, 1, 100_000] {
        // Of the longest, about half has room on the way back; the rest waits in the server.
        let mut client = Client::connect_narrow(server.addr()).unwrap();
        let bytes = varied(len);
        client.send(&bytes).unwrap();
        client.half_close().unwrap();
        let unread = || unread_bytes(server.addr(), client.addr()).unwrap_or(0);
        assert!(wait_until(PATIENCE, || Ok(unread() == 0)).unwrap(), "{} bytes unread", unread());
        let (echoed, ending) = client.bytes_to_end().unwrap();
        assert!(echoed == bytes, "{} of {len} bytes came back", echoed.len());
        assert_eq!(ending, Heard::Eof);
        let gone = format!("Client {} disconnected", client.addr());
        server.wait_for_log(&gone, |line| line.ends_with(&gone)).unwrap();
    }
}

/// What a client sent that takes nothing: as much as the server, and the buffers on the way, took.
fn stuff(client: &mut Client, bytes: &[u8]) -> usize {
    let mut sent = 0;
    loop {
        match client.write(&bytes[sent..bytes.len().min(sent + 4096)]) {
            Ok(0) => return sent,
            Ok(n) => sent += n,
            Err(err) if matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return sent;
            }
            Err(err) => panic!("after {sent} bytes: {err}"),
        }
    }
}

/// More than the kernel keeps on the way there and back.
const FLOOD: usize = 32 * 1024 * 1024;

/// As long as nothing moves for that time, a sender is stuck; on a busy machine it may seem to be so
/// sooner, which is no harm.
const STUCK: Duration = Duration::from_millis(300);

#[test]
fn it_reads_no_more_from_a_peer_that_does_not_read() {
    let server = start();
    let mut other = connect(&server);
    exchange(&mut other, b"before");
    let before = server.figures();
    let mut client = Client::connect_narrow(server.addr()).unwrap().patient(STUCK);
    let bytes = varied(FLOOD);
    let sent = stuff(&mut client, &bytes);
    assert!(sent < FLOOD, "all {sent} bytes were taken, though none was read");
    if let Some((before, after)) = before.zip(server.figures()) {
        let more = after.resident.saturating_sub(before.resident);
        assert!(more < 2 * 1024 * 1024, "it needs {more} bytes more");
        let cpu = server.figures().unwrap().cpu;
        exchange(&mut other, b"nobody waits for the one that does not read");
        let busy = server.figures().unwrap().cpu.saturating_sub(cpu);
        assert!(busy < Duration::from_secs(1), "{busy:?} of the processor for one exchange");
    }
    exchange(&mut other, b"still there");
    // Once it reads, all comes back, and what it sends after that.
    client.widen().unwrap();
    let mut client = client.patient(PATIENCE);
    client.half_close().unwrap();
    let mut echoed = Vec::new();
    client.read_to_end(&mut echoed).unwrap();
    assert!(echoed == bytes[..sent], "{} of {sent} bytes came back", echoed.len());
    exchange(&mut other, b"after");
}

#[test]
fn a_long_stream_comes_back_through_a_narrow_connection() {
    let server = start();
    // Little fits in, so that the server can seldom write all that it has.
    let mut client = Client::connect_narrow(server.addr()).unwrap();
    let bytes = varied(3_000_000);
    let (mut sent, mut echoed) = (0, 0);
    for chunk in bytes.chunks(20_000) {
        client.send(chunk).unwrap();
        sent += chunk.len();
        // Always behind, but not by more than has room on the way.
        if sent - echoed > 100_000 {
            let mut back = vec![0; 35_000];
            client.read_exact(&mut back).unwrap();
            assert!(back == bytes[echoed..echoed + back.len()], "wrong after {echoed} bytes");
            echoed += back.len();
        }
    }
    client.half_close().unwrap();
    let (rest, ending) = client.bytes_to_end().unwrap();
    assert!(rest == bytes[echoed..], "wrong after {echoed} bytes");
    assert_eq!(ending, Heard::Eof);
}

#[test]
fn one_that_resets_amid_its_echo_takes_nobody_along() {
    let server = start();
    let mut other = connect(&server);
    exchange(&mut other, b"before");
    let mut client = Client::connect_narrow(server.addr()).unwrap().patient(STUCK);
    stuff(&mut client, &varied(FLOOD));
    let addr = client.addr();
    client.reset().unwrap();
    let gone = format!("Client {addr} disconnected");
    server.wait_for_log(&gone, |line| line.ends_with(&gone)).unwrap();
    let told = format!("{addr}: ");
    server.wait_for_log("why", |line| line.contains("WARN") && line.contains(&told)).unwrap();
    exchange(&mut other, b"after");
}

#[test]
fn one_thread_serves_them_all() {
    const MANY: usize = 300;
    let server = start();
    let mut clients: Vec<_> = (0..MANY).map(|_| connect(&server)).collect();
    // Each sends before any gets its answer.
    for (i, client) in clients.iter_mut().enumerate() {
        client.send(format!("{i}\n").as_bytes()).unwrap();
    }
    for (i, client) in clients.iter_mut().enumerate().rev() {
        client.expect_bytes(format!("{i}\n").as_bytes()).unwrap();
    }
    if let Some(figures) = server.figures() {
        assert!(figures.threads <= 2, "one for the clients and one for the log: {figures:?}");
    }
}

#[test]
fn the_log_shows_the_start_of_what_came() {
    let server = start();
    let mut client = connect(&server);
    exchange(&mut client, "wörld".as_bytes());
    let text = format!("{}: wörld", client.addr());
    server.wait_for_log(&text, |line| line.ends_with(&text)).unwrap();
    exchange(&mut client, "x".repeat(10_000).as_bytes());
    let text = format!("{}: {}…", client.addr(), "x".repeat(200));
    server.wait_for_log("200 letters", |line| line.ends_with(&text)).unwrap();
}
