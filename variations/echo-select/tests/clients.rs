//! `multiconn-client`, `echo-once-client` and `echo-once-server`, started as programs.
// A panic fails the test, as it should.
#![allow(clippy::unwrap_used)]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use check::Needs;
use probe::client_process::{expect_eof, wait_until_readable};
use probe::port::Port;
use probe::server::{Exited, Launch};
use probe::{TIMEOUT, read_once};

const MULTICONN: &str = env!("CARGO_BIN_EXE_multiconn-client");
const ONCE: &str = env!("CARGO_BIN_EXE_echo-once-client");
const SENT: &[u8] = b"Message 1 from client.Message 2 from client.";

fn run(program: &str, args: &[&str]) -> Exited {
    // An error is one line, even if a backtrace is requested.
    Launch::new(program, &[]).args(args).env("RUST_BACKTRACE", "1").run_to_end().unwrap()
}

fn multiconn(addr: SocketAddr, args: &[&str]) -> Exited {
    let (host, port) = (addr.ip().to_string(), addr.port().to_string());
    run(MULTICONN, &[&[host.as_str(), &port], args].concat())
}

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

fn accept(listener: &TcpListener) -> TcpStream {
    let (sock, _) = listener.accept().unwrap();
    sock.set_read_timeout(Some(TIMEOUT)).unwrap();
    sock
}

/// Reads everything that a connection of `multiconn-client` sends.
fn read_all(mut sock: &TcpStream) {
    let mut bytes = [0; SENT.len()];
    sock.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, SENT);
}

#[track_caller]
fn assert_failed(ended: &Exited, reason: &str) {
    assert_eq!(ended.status.code(), Some(1), "{ended}");
    assert!(matches!(&ended.stderr[..], [line] if line.contains(reason)), "{ended}");
}

#[track_caller]
fn assert_printed(ended: &Exited, line: &str) {
    assert!(ended.stdout.iter().any(|it| it == line), "no `{line}`: {ended}");
}

#[test]
fn all_connections_are_open_at_once() {
    const MANY: usize = 30;
    let (listener, addr) = listen();
    let server = thread::spawn(move || {
        let socks: Vec<_> = (0..MANY).map(|_| accept(&listener)).collect();
        // After all connections have sent everything, the last one gets its echo first.
        socks.iter().for_each(read_all);
        for mut sock in socks.into_iter().rev() {
            sock.write_all(SENT).unwrap();
            expect_eof(&mut sock, "the client closes when it has its echo");
        }
    });
    let ended = multiconn(addr, &[&MANY.to_string()]);
    assert_eq!(ended.status.code(), Some(0), "{ended}");
    assert!(ended.stderr.is_empty(), "{ended}");
    assert_printed(&ended, "Connection 30: sent Message 1 from client.");
    assert_printed(&ended, "Connection 30: sent Message 2 from client.");
    assert_printed(&ended, "Connection 30: closing");
    server.join().unwrap();
}

#[test]
fn an_echo_may_arrive_in_pieces() {
    let (listener, addr) = listen();
    let server = thread::spawn(move || {
        let mut sock = accept(&listener);
        read_all(&sock);
        sock.set_nodelay(true).unwrap();
        for byte in SENT {
            sock.write_all(&[*byte]).unwrap();
        }
        expect_eof(&mut sock, "the client must have closed");
    });
    assert_eq!(multiconn(addr, &["1"]).status.code(), Some(0));
    server.join().unwrap();
}

#[test]
fn a_connection_that_receives_too_little_fails_and_the_others_go_on() {
    let (listener, addr) = listen();
    thread::spawn(move || {
        let mut socks: Vec<_> = (0..3).map(|_| accept(&listener)).collect();
        socks.iter().for_each(read_all);
        socks[1].write_all(&SENT[..SENT.len() - 1]).unwrap();
        socks.remove(1);
        for mut sock in socks {
            sock.write_all(SENT).unwrap();
        }
    });
    let ended = multiconn(addr, &["3"]);
    assert_failed(&ended, "1 of 3 connections did not receive the whole echo");
    let why = "the server closed the connection after 43 of 44 bytes";
    assert_eq!(ended.stdout.iter().filter(|line| line.contains(why)).count(), 1, "{ended}");
    assert_eq!(ended.stdout.iter().filter(|line| line.ends_with("closing")).count(), 2, "{ended}");
}

#[test]
fn a_reset_is_a_failure() {
    let (listener, addr) = listen();
    thread::spawn(move || {
        // Closing a socket with unread input sends a reset.
        while let Ok((sock, _)) = listener.accept() {
            wait_until_readable(&sock);
        }
    });
    let ended = multiconn(addr, &["4"]);
    assert_failed(&ended, "4 of 4 connections");
    for failure in ended.stdout.iter().filter(|line| line.contains("failed")) {
        assert!(failure.ends_with(": the server has reset the connection"), "{ended}");
    }
}

#[test]
fn a_reset_of_the_greeting_is_reported_in_words() {
    let (listener, addr) = listen();
    thread::spawn(move || {
        let sock = accept(&listener);
        // Closing a socket with unread input sends a reset.
        wait_until_readable(&sock);
    });
    let ended = run(ONCE, &["--port", &addr.port().to_string()]);
    assert_failed(&ended, "cannot receive the echo: the server has reset the connection");
}

#[test]
fn an_ipv6_address_may_have_brackets() {
    if !Needs::Ipv6.met() {
        eprintln!("skipped: this machine has no IPv6 on the loopback interface");
        return;
    }
    let listener = TcpListener::bind("[::1]:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    thread::spawn(move || {
        for sock in listener.incoming() {
            let mut sock = sock.unwrap();
            thread::spawn(move || std::io::copy(&mut sock.try_clone().unwrap(), &mut sock));
        }
    });
    for ended in [run(MULTICONN, &["[::1]", &port, "3"]), run(ONCE, &["[::1]", "--port", &port])] {
        assert_eq!(ended.status.code(), Some(0), "{ended}");
    }
}

#[test]
fn silence_is_a_failure_after_the_timeout() {
    let (listener, addr) = listen();
    let server = thread::spawn(move || (accept(&listener), accept(&listener), listener));
    let ended = multiconn(addr, &["2", "--timeout", "1"]);
    assert_failed(&ended, "2 of 2 connections");
    assert_printed(&ended, "Nothing has happened for 1 s");
    server.join().unwrap();
}

#[test]
fn without_a_server_the_error_is_one_line() {
    let reserved = Port::reserve().unwrap();
    let port = reserved.to_string();
    let why = format!("cannot connect to 127.0.0.1 port {port}: Connection refused");
    for ended in
        [run(MULTICONN, &["127.0.0.1", &port, "3"]), run(ONCE, &["127.0.0.1", "--port", &port])]
    {
        assert_failed(&ended, &why);
        assert!(ended.stdout.is_empty(), "{ended}");
    }
}

#[test]
fn control_characters_of_an_echo_are_escaped() {
    let (listener, addr) = listen();
    thread::spawn(move || {
        for _ in 0..2 {
            let mut sock = accept(&listener);
            wait_until_readable(&sock);
            let _ = sock.write_all(&b"\x1b[2Jgone\nover\xc2\x9b".repeat(4)[..SENT.len()]);
            let _ = read_once(&mut sock, &mut [0; 100]);
        }
    });
    let port = addr.port().to_string();
    for ended in [multiconn(addr, &["1"]), run(ONCE, &["--port", &port])] {
        assert!(ended.stdout.iter().any(|it| it.contains(r"\u{1b}[2Jgone\nov")), "{ended}");
        assert!(!ended.stdout.concat().contains(|ch: char| ch.is_control()), "{ended}");
    }
}

#[test]
fn echo_once_server_ends_after_one_client() {
    let server = Launch::new(env!("CARGO_BIN_EXE_echo-once-server"), &[]);
    let mut server = server.start().unwrap();
    let addr = server.addr();
    let ended = run(ONCE, &["--port", &addr.port().to_string()]);
    assert_eq!(
        (ended.status.code(), &ended.stdout[..]),
        (Some(0), &["Received: Hello, world".to_owned()][..])
    );
    assert!(ended.stderr.is_empty(), "{ended}");
    server.expect_exit("served one client").unwrap();
    let (stdout, log) = server.output_lines().unwrap();
    assert_eq!(stdout, [format!("Listening on {addr}")]);
    let events = ["Connection from ", ": Hello, world", " disconnected"];
    assert_eq!(log.len(), events.len(), "{log:#?}");
    assert!(log.iter().zip(events).all(|(line, event)| line.contains(event)), "{log:#?}");
}

#[test]
fn echo_once_server_echoes_until_the_client_ends_its_sending_side() {
    let server = Launch::new(env!("CARGO_BIN_EXE_echo-once-server"), &[]);
    let mut server = server.start().unwrap();
    let mut client = probe::wire::Client::connect(server.addr()).unwrap();
    let bytes: Vec<u8> = (0..=255).collect();
    for _ in 0..10 {
        client.send(&bytes.repeat(20)).unwrap();
        client.expect_bytes(&bytes.repeat(20)).unwrap();
    }
    client.half_close().unwrap();
    client.expect_eof().unwrap();
    server.expect_exit("the client has closed").unwrap();
}

#[test]
fn echo_once_server_ends_without_a_failure_after_a_reset() {
    let server = Launch::new(env!("CARGO_BIN_EXE_echo-once-server"), &[]);
    let mut server = server.start().unwrap();
    let mut client = probe::wire::Client::connect(server.addr()).unwrap();
    client.send(b"hello").unwrap();
    client.expect_bytes(b"hello").unwrap();
    client.reset().unwrap();
    server.expect_exit("the client has reset the connection").unwrap();
}

#[test]
fn an_incomplete_echo_of_the_greeting_is_a_failure() {
    for answer in [&b""[..], b"Hello"] {
        let (listener, addr) = listen();
        thread::spawn(move || {
            let mut sock = accept(&listener);
            sock.read_exact(&mut [0; 12]).unwrap();
            sock.write_all(answer).unwrap();
        });
        let ended = run(ONCE, &["--port", &addr.port().to_string()]);
        let received = answer.len();
        let why = format!("the server closed the connection after {received} of 12 bytes");
        assert_failed(&ended, &why);
    }
}

#[test]
fn help_and_usage_errors() {
    for program in [MULTICONN, ONCE] {
        let help = run(program, &["--help"]);
        assert_eq!(help.status.code(), Some(0), "{help}");
        assert!(help.stdout.iter().any(|line| line == "Examples:"), "{help}");
        let version = run(program, &["--version"]);
        assert_eq!((version.status.code(), version.stdout.len()), (Some(0), 1), "{version}");
        let wrong = run(program, &["--no-such-flag"]);
        assert_eq!((wrong.status.code(), wrong.stdout.len()), (Some(2), 0), "{wrong}");
    }
    let wrong: [&[&str]; 6] = [
        &[],
        &["localhost"],
        &["localhost", "65432"],
        &["localhost", "65536", "1"],
        &["localhost", "65432", "0"],
        &["localhost", "65432", "many"],
    ];
    for args in wrong {
        let ended = run(MULTICONN, args);
        assert_eq!((ended.status.code(), ended.stdout.len()), (Some(2), 0), "{ended}");
    }
}
