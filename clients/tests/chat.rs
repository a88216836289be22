//! Tests of `chat-client` with pipes for stdin and stdout, each against a server that the test itself
//! starts.
// In a test, a panic reports what went wrong.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use check::Needs;
use probe::client_process::{
    ClientExit, ClientProcess, STEP_TIMEOUT, TestServer, assert_failed, expect_eof, read_lines,
    recv_msg, remaining_lines, reset, wait_until_readable,
};
use probe::port::Port;
use probe::server::pipe_without_reader;

const PROGRAM: &str = env!("CARGO_BIN_EXE_chat-client");

const CLOSED: &str = "Error: Connection to server closed";

#[test]
fn it_prints_what_arrives_and_sends_what_is_typed() {
    let server = TestServer::accepting(1);
    let mut client = ClientProcess::start(PROGRAM, server.port, &["localhost"]);
    let mut sock = server.accept();
    // The first message comes in two pieces; the second piece also contains an empty message and two more
    // messages.
    sock.write_all(b"127.0.0.1:50312: w\xc3").unwrap();
    sock.write_all(b"\xb6rld\0\0('127.0.0.1', 50313): one\0server: two\0").unwrap();
    client.expect_line("127.0.0.1:50312: wörld");
    client.expect_line("('127.0.0.1', 50313): one");
    client.expect_line("server: two");
    client.write_stdin("hello\n\nfrom a pipe\r\n");
    assert_eq!(recv_msg(&sock), "hello");
    assert_eq!(recv_msg(&sock), "from a pipe");
    client.write_stdin("q\nnot this\n");
    expect_eof(&mut sock, "the client must have shut down its sending side");
    drop(sock);
    assert_eq!(client.wait(), ClientExit { code: Some(0), stdout: vec![], stderr: vec![] });
}

#[test]
fn it_prints_the_answers_before_it_exits() {
    let server = TestServer::accepting(1);
    let mut client = ClientProcess::start(PROGRAM, server.port, &[]);
    client.write_stdin("one\ntwo");
    client.close_stdin();
    let mut sock = server.accept();
    assert_eq!(recv_msg(&sock), "one");
    assert_eq!(recv_msg(&sock), "two");
    expect_eof(&mut sock, "the client must have shut down its sending side");
    sock.write_all(b"a: one\0a: two\0").unwrap();
    drop(sock);
    let stdout = vec!["a: one".to_owned(), "a: two".to_owned()];
    assert_eq!(client.wait(), ClientExit { code: Some(0), stdout, stderr: vec![] });
}

/// The chapter's Python servers drop a client that shuts down its sending side, together with the
/// messages that are queued for it. So the client must not shut it down right after the last line.
#[test]
fn it_gives_the_server_time_to_answer_before_it_shuts_down_its_sending_side() {
    let server = TestServer::accepting(1);
    let mut client = ClientProcess::start(PROGRAM, server.port, &[]);
    client.write_stdin("hello\n");
    let mut sock = server.accept();
    assert_eq!(recv_msg(&sock), "hello");
    let start = Instant::now();
    client.close_stdin();
    expect_eof(&mut sock, "the client must have shut down its sending side");
    assert!(start.elapsed() > Duration::from_millis(150), "{:?}", start.elapsed());
}

#[test]
fn it_does_not_wait_long_for_a_server_that_never_closes() {
    let server = TestServer::accepting(1);
    let mut client = ClientProcess::start(PROGRAM, server.port, &[]);
    client.close_stdin();
    let _sock = server.accept();
    let start = Instant::now();
    assert_eq!(client.wait(), ClientExit { code: Some(0), stdout: vec![], stderr: vec![] });
    assert!(start.elapsed() < STEP_TIMEOUT / 2, "{:?}", start.elapsed());
}

#[test]
fn a_line_that_cannot_be_sent_is_reported_and_the_next_is_sent() {
    let server = TestServer::accepting(1);
    let mut client = ClientProcess::start(PROGRAM, server.port, &[]);
    client.write_stdin("a\0b\ncaf\u{e9}\n");
    client.write_stdin(b"caf\xe9\n");
    client.write_stdin(["x".repeat(16 * 1024 + 1).as_str(), "\nfine\n"].concat());
    client.close_stdin();
    let mut sock = server.accept();
    assert_eq!(recv_msg(&sock), "café");
    assert_eq!(recv_msg(&sock), "fine");
    expect_eof(&mut sock, "the client must send nothing more");
    drop(sock);
    let stderr = [
        "Not sent: the text contains a zero byte, at byte 1",
        "Not sent: not valid UTF-8",
        "Not sent: the message is longer than 16384 bytes",
    ];
    let stderr = stderr.map(str::to_owned).to_vec();
    assert_eq!(client.wait(), ClientExit { code: Some(0), stdout: vec![], stderr });
}

#[test]
fn the_longest_relayed_message_is_printed() {
    let server = TestServer::accepting(1);
    let client = ClientProcess::start(PROGRAM, server.port, &[]);
    let longest = format!("[fe80::1%eth0]:50312: {}", "x".repeat(16 * 1024));
    server.accept().write_all(&[longest.as_bytes(), b"\0"].concat()).unwrap();
    client.expect_line(&longest);
}

#[test]
fn it_is_an_error_when_the_server_goes_away() {
    for (last_bytes, message) in [
        (&b"goodbye\0"[..], CLOSED),
        (b"goodbye\0half a", "Error: Connection to server closed in the middle of a message"),
        (
            b"goodbye\0caf\xe9\0",
            "Error: the server does not speak our protocol: the message is not UTF-8: invalid at byte 3 of 4",
        ),
    ] {
        let server = TestServer::accepting(1);
        // The client's stdin is open and silent; the client must not wait for it.
        let client = ClientProcess::start(PROGRAM, server.port, &[]);
        server.accept().write_all(last_bytes).unwrap();
        let end = client.wait();
        assert_failed(&end, message);
        assert_eq!(end.stdout, ["goodbye"]);
    }
}

/// A server that closes the connection before the client shuts down its sending side has gone away, even
/// if the client's input has ended by then. A TLS server does so with a client that does not speak TLS;
/// some TLS servers send an alert first.
#[test]
fn a_server_that_closes_first_has_gone_away_even_if_the_input_has_ended() {
    for (last_bytes, message) in [
        (&b"a: hello\0"[..], CLOSED),
        (b"", "Error: Connection to server closed without an answer: does it want --tls?"),
        (b"\x15\x03\x03\0\x02\x02\x0a", "Error: the server speaks TLS: try --tls"),
    ] {
        let server = TestServer::accepting(1);
        let mut client = ClientProcess::start(PROGRAM, server.port, &[]);
        client.write_stdin("hello\n");
        let mut sock = server.accept();
        assert_eq!(recv_msg(&sock), "hello");
        // Soon after the end of its input, the client shuts down its sending side. The server must close first.
        client.pause();
        client.close_stdin();
        sock.write_all(last_bytes).unwrap();
        drop(sock);
        client.resume();
        assert_failed(&client.wait(), message);
    }
}

#[test]
fn an_endless_message_is_an_error() {
    let server = TestServer::accepting(1);
    let client = ClientProcess::start(PROGRAM, server.port, &[]);
    let mut sock = server.accept();
    sock.write_all("x".repeat(20_000).as_bytes()).unwrap();
    assert_failed(&client.wait(), "the message is longer than 16448 bytes");
}

#[test]
fn a_reset_is_an_error() {
    let server = TestServer::accepting(1);
    let mut client = ClientProcess::start(PROGRAM, server.port, &[]);
    let sock = server.accept();
    client.write_stdin("hello\n");
    // Closing a connection with unread bytes sends a reset.
    wait_until_readable(&sock);
    drop(sock);
    assert_failed(&client.wait(), CLOSED);
}

#[test]
fn a_reset_is_explained() {
    let server = TestServer::accepting(1);
    let client = ClientProcess::start(PROGRAM, server.port, &[]);
    reset(server.accept());
    let stderr = vec![format!("{CLOSED}: the server has reset the connection")];
    assert_eq!(client.wait(), ClientExit { code: Some(1), stdout: vec![], stderr });
}

#[test]
fn an_ipv6_address_may_have_brackets() {
    if !Needs::Ipv6.met() {
        eprintln!("skipped: this machine has no IPv6 on the loopback interface");
        return;
    }
    for host in ["::1", "[::1]"] {
        let server = TestServer::accepting_on("::1", 1);
        let mut client = ClientProcess::start(PROGRAM, server.port, &[host]);
        client.write_stdin("hello\n");
        assert_eq!(recv_msg(&server.accept()), "hello");
    }
}

#[test]
fn it_waits_for_a_server_that_does_not_read_and_drops_nothing() {
    let server = TestServer::accepting(1);
    let mut client = ClientProcess::start(PROGRAM, server.port, &[]);
    let mut sock = server.accept();
    let line = "x".repeat(16 * 1024);
    let count = 1000;
    let mut stdin = client.stdin.take().unwrap();
    let typed = line.clone() + "\n";
    let (sender, progress) = mpsc::channel();
    thread::spawn(move || {
        for _ in 0..count {
            stdin.write_all(typed.as_bytes()).unwrap();
            sender.send(()).unwrap();
        }
    });
    // Waits until all buffers between the test and the server are full: they cannot hold 16 MiB.
    while progress.recv_timeout(Duration::from_millis(500)).is_ok() {}
    // Messages that arrive are printed nevertheless.
    sock.write_all(b"still here\0").unwrap();
    client.expect_line("still here");
    let mut received = vec![0; (line.len() + 1) * count];
    sock.read_exact(&mut received).unwrap();
    assert!(
        received
            .chunks(line.len() + 1)
            .all(|frame| frame.strip_suffix(b"\0") == Some(line.as_bytes()))
    );
}

#[test]
fn without_a_server_it_prints_one_line_and_exits_with_1() {
    let reserved = Port::reserve().unwrap();
    let port = reserved.number();
    let end = ClientProcess::start(PROGRAM, port, &[]).wait();
    assert_failed(&end, &format!("cannot connect to 127.0.0.1 port {port}: Connection refused"));
}

#[test]
fn control_characters_are_escaped_and_a_pipe_gets_no_colours() {
    let server = TestServer::accepting(1);
    let client = ClientProcess::start(PROGRAM, server.port, &[]);
    server
        .accept()
        .write_all("127.0.0.1:50312: \x1b[2Jgone\nover\u{202e}\u{2028}\0".as_bytes())
        .unwrap();
    client.expect_line(r"127.0.0.1:50312: \u{1b}[2Jgone\nover\u{202e}\u{2028}");
}

#[test]
fn a_closed_stdout_ends_it_without_an_error() {
    let server = TestServer::accepting(1);
    let mut client = Command::new(PROGRAM)
        .args(["--port", &server.port.to_string()])
        .stdin(Stdio::piped())
        .stdout(pipe_without_reader().unwrap())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut sock = server.accept();
    sock.write_all(b"one\0").unwrap();
    assert_eq!(remaining_lines(&read_lines(client.stderr.take().unwrap())), [""; 0]);
    assert_eq!(client.wait().unwrap().code(), Some(0));
}

#[test]
fn help_and_usage_errors() {
    let run = |args: &[&str]| Command::new(PROGRAM).args(args).output().unwrap();
    let help = run(&["--help"]);
    assert!(help.status.success());
    assert!(String::from_utf8(help.stdout).unwrap().contains("Examples:\n  chat-client"));
    let version = run(&["--version"]);
    assert!(version.status.success());
    assert!(version.stdout.starts_with(b"chat-client "), "{version:?}");
    for args in [&["--port", "x"][..], &["--port", "65536"], &["a", "b"], &["-x"]] {
        let run = run(args);
        assert_eq!(run.status.code(), Some(2), "{run:?}");
        assert!(run.stdout.is_empty(), "{run:?}");
    }
}
