//! Tests of `echo-client`, each against a server that the test itself starts.
// In a test, a panic reports what went wrong.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use check::Needs;
use probe::client_process::{
    ClientExit, ClientProcess, TestServer, assert_failed, expect_eof, read_lines, recv_msg,
    remaining_lines, reset,
};
use probe::port::Port;
use probe::read_once;
use probe::server::pipe_without_reader;

const PROGRAM: &str = env!("CARGO_BIN_EXE_echo-client");

const QUESTION: &str = "Type message, enter to send, 'q' to quit";

fn expect_question(client: &ClientProcess, port: u16) {
    client.expect_line(&format!("Connected to 127.0.0.1:{port}"));
    client.expect_line(QUESTION);
}

fn expect_closed(client: &ClientProcess) {
    client.expect_line("Closed connection to server");
    client.expect_line("");
}

#[test]
fn the_dialogue_makes_a_new_connection_for_each_message() {
    let server = TestServer::accepting(3);
    let mut client = ClientProcess::start(PROGRAM, server.port, &[]);
    for msg in ["hello", "wörld 🐰"] {
        expect_question(&client, server.port);
        client.write_stdin(format!("{msg}\n"));
        client.expect_line(&format!("Sent message: {msg}"));
        let mut sock = server.accept();
        assert_eq!(recv_msg(&sock), msg);
        // Sends an empty message, and then the echo, in pieces of one byte.
        for byte in [b"\0", msg.as_bytes(), b"\0"].concat() {
            sock.write_all(&[byte]).unwrap();
        }
        client.expect_line(&format!("Received echo: {msg}"));
        expect_closed(&client);
        expect_eof(&mut sock, "the client must have closed");
    }
    expect_question(&client, server.port);
    client.write_stdin("q\n");
    expect_closed(&client);
    assert_eq!(client.wait(), ClientExit { code: Some(0), stdout: vec![], stderr: vec![] });
}

#[test]
fn it_holds_its_connection_while_the_user_thinks() {
    let server = TestServer::accepting(1);
    let client = ClientProcess::start(PROGRAM, server.port, &[]);
    let sock = server.accept();
    expect_question(&client, server.port);
    sock.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let read = read_once(&mut &sock, &mut [0]);
    assert!(read.is_err(), "the client must neither send nor close yet: {read:?}");
}

#[test]
fn the_end_of_input_quits() {
    let server = TestServer::accepting(1);
    let mut client = ClientProcess::start(PROGRAM, server.port, &[]);
    expect_question(&client, server.port);
    client.close_stdin();
    expect_closed(&client);
    assert_eq!(client.wait(), ClientExit { code: Some(0), stdout: vec![], stderr: vec![] });
}

#[test]
fn a_last_line_needs_no_line_feed() {
    let server = TestServer::accepting(2);
    let mut client = ClientProcess::start(PROGRAM, server.port, &[]);
    client.write_stdin("hello");
    client.close_stdin();
    let mut sock = server.accept();
    assert_eq!(recv_msg(&sock), "hello");
    sock.write_all(b"hello\0").unwrap();
    let end = client.wait();
    assert_eq!(end.code, Some(0));
    assert!(end.stdout.contains(&"Received echo: hello".to_owned()), "{end:?}");
}

#[test]
fn it_asks_again_after_a_line_that_cannot_be_sent() {
    let server = TestServer::accepting(2);
    let mut client = ClientProcess::start(PROGRAM, server.port, &[]);
    expect_question(&client, server.port);
    for (typed, answer) in [
        (b"a\0b".to_vec(), "Cannot send this: the text contains a zero byte, at byte 1"),
        (vec![b'x'; 16 * 1024 + 1], "Cannot send this: the message is longer than 16384 bytes"),
        (b"caf\xe9".to_vec(), "Cannot send this: not valid UTF-8"),
    ] {
        client.write_stdin([&typed[..], b"\n"].concat());
        client.expect_line(answer);
        client.expect_line(QUESTION);
    }
    client.write_stdin("\n");
    client.expect_line(QUESTION);
    client.write_stdin("fine\nq\n");
    client.expect_line("Sent message: fine");
    assert_eq!(recv_msg(&server.accept()), "fine");
}

#[test]
fn with_one_message_it_prints_only_the_echo() {
    let server = TestServer::accepting(1);
    let client = ClientProcess::start(PROGRAM, server.port, &["127.0.0.1", "-m", "hello"]);
    let mut sock = server.accept();
    assert_eq!(recv_msg(&sock), "hello");
    // The chapter's Python servers write the client's address like this.
    sock.write_all(b"('127.0.0.1', 50312): hello\0and more").unwrap();
    let stdout = vec!["('127.0.0.1', 50312): hello".to_owned()];
    assert_eq!(client.wait(), ClientExit { code: Some(0), stdout, stderr: vec![] });
}

#[test]
fn without_a_server_it_prints_one_line_and_exits_with_1() {
    let reserved = Port::reserve().unwrap();
    let port = reserved.number();
    let message = format!("cannot connect to 127.0.0.1 port {port}: Connection refused");
    for args in [&[][..], &["-m", "hello"]] {
        let end = ClientProcess::start(PROGRAM, port, args).wait();
        assert_failed(&end, &message);
        assert!(end.stdout.is_empty());
    }
}

#[test]
fn with_one_message_a_missing_echo_is_an_error() {
    for (answer, message) in [
        (&b""[..], "no echo: the peer closed the connection without a message"),
        (b"hel", "no echo: the peer closed the connection in the middle of a message"),
        (b"\xff\xfe\0", "no echo: the message is not UTF-8: invalid at byte 0 of 2"),
        ("x".repeat(20_000).as_bytes(), "no echo: the message is longer than 16448 bytes"),
    ] {
        let server = TestServer::accepting(1);
        let client = ClientProcess::start(PROGRAM, server.port, &["-m", "hello"]);
        let mut sock = server.accept();
        recv_msg(&sock);
        sock.write_all(answer).unwrap();
        drop(sock);
        let end = client.wait();
        assert_failed(&end, message);
        assert!(end.stdout.is_empty());
    }
}

#[test]
fn a_reset_is_explained() {
    let reason = "the server has reset the connection";
    let server = TestServer::accepting(1);
    let client = ClientProcess::start(PROGRAM, server.port, &["-m", "hello"]);
    let sock = server.accept();
    recv_msg(&sock);
    reset(sock);
    assert_failed(&client.wait(), &format!("no echo: {reason}"));

    // The dialogue connects before it asks, so the reset may come before the question.
    let server = TestServer::accepting(1);
    let client = ClientProcess::start(PROGRAM, server.port, &[]);
    reset(server.accept());
    expect_question(&client, server.port);

    let server = TestServer::accepting(1);
    let mut client = ClientProcess::start(PROGRAM, server.port, &[]);
    expect_question(&client, server.port);
    client.write_stdin("hello\n");
    client.expect_line("Sent message: hello");
    let sock = server.accept();
    recv_msg(&sock);
    reset(sock);
    client.expect_line(&format!("Received no echo: {reason}"));
}

#[test]
fn an_ipv6_address_may_have_brackets() {
    if !Needs::Ipv6.met() {
        eprintln!("skipped: this machine has no IPv6 on the loopback interface");
        return;
    }
    let server = TestServer::accepting_on("::1", 1);
    let client = ClientProcess::start(PROGRAM, server.port, &["[::1]", "-m", "hello"]);
    server.accept().write_all(b"hello\0").unwrap();
    assert_eq!(client.wait().stdout, ["hello"]);
}

#[test]
fn with_one_message_that_is_too_long_it_does_not_connect() {
    let too_long = "x".repeat(16 * 1024 + 1);
    let port = Port::reserve().unwrap();
    let end = ClientProcess::start(PROGRAM, port.number(), &["-m", &too_long]).wait();
    assert_failed(&end, "cannot send this message: the message is longer than 16384 bytes");
}

#[test]
fn the_dialogue_goes_on_when_a_server_closes_early() {
    let server = TestServer::accepting(2);
    let mut client = ClientProcess::start(PROGRAM, server.port, &[]);
    expect_question(&client, server.port);
    client.write_stdin("hello\nq\n");
    client.expect_line("Sent message: hello");
    let sock = server.accept();
    recv_msg(&sock);
    drop(sock);
    client.expect_line("Received no echo: the peer closed the connection without a message");
    expect_closed(&client);
    expect_question(&client, server.port);
    expect_closed(&client);
    assert_eq!(client.wait().code, Some(0));
}

#[test]
fn the_dialogue_ends_when_no_server_listens_any_more() {
    let server = TestServer::accepting(1);
    let mut client = ClientProcess::start(PROGRAM, server.port, &[]);
    // Many lines, because the client may connect more than once: another test that starts a process at this
    // moment may have copied the listener into that process, which keeps the listener open for a while.
    client.write_stdin("hello\n".repeat(1000));
    let mut sock = server.accept();
    recv_msg(&sock);
    sock.write_all(b"hello\0").unwrap();
    let end = client.wait();
    assert_failed(&end, "cannot connect to 127.0.0.1 port ");
    assert!(end.stdout.contains(&"Received echo: hello".to_owned()), "{end:?}");
}

#[test]
fn the_dialogue_ends_when_the_server_speaks_another_protocol() {
    let server = TestServer::accepting(1);
    let mut client = ClientProcess::start(PROGRAM, server.port, &[]);
    client.write_stdin("hello\n");
    let mut sock = server.accept();
    recv_msg(&sock);
    sock.write_all(b"caf\xe9\0").unwrap();
    assert_failed(&client.wait(), "no echo: the message is not UTF-8: invalid at byte 3 of 4");
}

#[test]
fn control_characters_are_escaped() {
    let server = TestServer::accepting(1);
    let client = ClientProcess::start(PROGRAM, server.port, &["-m", "hello"]);
    let mut sock = server.accept();
    recv_msg(&sock);
    sock.write_all("\x1b[2Jgone\nover\u{202e}\u{2028}\0".as_bytes()).unwrap();
    assert_eq!(client.wait().stdout, [r"\u{1b}[2Jgone\nover\u{202e}\u{2028}"]);
}

#[test]
fn a_closed_stdout_ends_it_without_an_error() {
    let server = TestServer::accepting(1);
    let mut client = Command::new(PROGRAM)
        .args(["-m", "hello", "--port", &server.port.to_string()])
        .stdout(pipe_without_reader().unwrap())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut sock = server.accept();
    recv_msg(&sock);
    sock.write_all(b"hello\0").unwrap();
    assert_eq!(remaining_lines(&read_lines(client.stderr.take().unwrap())), [""; 0]);
    assert_eq!(client.wait().unwrap().code(), Some(0));
}

#[test]
fn help_and_usage_errors() {
    let run = |args: &[&str]| Command::new(PROGRAM).args(args).output().unwrap();
    let help = run(&["--help"]);
    assert!(help.status.success());
    assert!(String::from_utf8(help.stdout).unwrap().contains("Examples:\n  echo-client"));
    let version = run(&["--version"]);
    assert!(version.status.success());
    assert!(version.stdout.starts_with(b"echo-client "), "{version:?}");
    for args in [
        &["--port", "x"][..],
        &["--port", "65536"],
        &["a", "b"],
        &["-m", "", "--port", "1"],
        &["-x"],
    ] {
        let run = run(args);
        assert_eq!(run.status.code(), Some(2), "{run:?}");
        assert!(run.stdout.is_empty(), "{run:?}");
    }
}
