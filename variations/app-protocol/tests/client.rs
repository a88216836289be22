//! `app-client` against servers that the tests start.
// A panic fails the test, as it should.
#![allow(clippy::unwrap_used)]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use app_protocol::{Incoming, Message};
use check::Needs;
use probe::client_process::{TestServer, reset};
use probe::port::Port;
use probe::server::{Exited, Launch};
use probe::{TIMEOUT, read_once};
use socket2::{Domain, Socket, Type};

fn run(args: &[&str]) -> Exited {
    // An error is one line, even if a backtrace is requested.
    let launch = Launch::new(env!("CARGO_BIN_EXE_app-client"), &[]).args(args);
    launch.env("RUST_BACKTRACE", "1").run_to_end().unwrap()
}

fn ask(addr: SocketAddr, args: &[&str]) -> Exited {
    let (host, port) = (addr.ip().to_string(), addr.port().to_string());
    run(&[&[host.as_str(), &port], args].concat())
}

/// Starts a server that accepts one connection and passes it to `serve`. Its buffers are small, so that a
/// client cannot send much at once.
fn server(serve: impl FnOnce(TcpStream) + Send + 'static) -> SocketAddr {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    #[cfg(target_os = "linux")]
    socket.set_tcp_mss(536).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(1).unwrap();
    let listener = TcpListener::from(socket);
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (sock, _) = listener.accept().unwrap();
        sock.set_read_timeout(Some(TIMEOUT)).unwrap();
        serve(sock);
    });
    addr
}

fn read_request(mut sock: &TcpStream) -> Message {
    let mut incoming = Incoming::request();
    loop {
        let mut byte = [0];
        sock.read_exact(&mut byte).unwrap();
        if let Some(request) = incoming.push(&byte).unwrap() {
            return request;
        }
    }
}

/// Starts a server that answers any request with these bytes.
fn answering(bytes: Vec<u8>) -> SocketAddr {
    server(move |mut sock| {
        read_request(&sock);
        sock.write_all(&bytes).unwrap();
    })
}

fn result(text: &str) -> Vec<u8> {
    Message::json([("result", text)]).encode().unwrap()
}

#[track_caller]
fn assert_failed(ended: &Exited, reason: &str) {
    assert_eq!((ended.status.code(), ended.stdout.len()), (Some(1), 0), "{ended}");
    assert!(matches!(&ended.stderr[..], [line] if line.contains(reason)), "no `{reason}`: {ended}");
}

#[track_caller]
fn assert_prints(ended: &Exited, expected: &str) {
    assert_eq!((ended.status.code(), &ended.stdout[..]), (Some(0), &[expected.to_owned()][..]));
    assert!(ended.stderr.is_empty(), "{ended}");
}

#[test]
fn a_search_is_json() {
    let addr = server(|mut sock| {
        let expected = Message::json([("action", "search"), ("value", "🐶 \"and\" more")]);
        assert_eq!(read_request(&sock), expected);
        sock.write_all(&result("found")).unwrap();
    });
    assert_prints(&ask(addr, &["search", "🐶 \"and\" more"]), "found");
}

#[test]
fn any_other_action_is_bytes() {
    let addr = server(|mut sock| {
        let bytes = "double🐶".as_bytes().to_vec();
        let expected = Message::binary("binary/custom-client-binary-type", bytes);
        assert_eq!(read_request(&sock), expected);
        let answer = Message::binary("any", b"\xc3\xa9, half of one: \xf0\x9f\x1b\n".to_vec());
        sock.write_all(&answer.encode().unwrap()).unwrap();
    });
    assert_prints(&ask(addr, &["double", "🐶"]), r"é, half of one: \xf0\x9f\u{1b}\n");
}

#[test]
fn app_server_answers_it() {
    let server = Launch::new(env!("CARGO_BIN_EXE_app-server"), &[]).start().unwrap();
    let port = server.addr().port().to_string();
    let ask = |action, value| run(&["localhost", &port, action, value]);
    assert_prints(&ask("search", "morpheus"), "Follow the white rabbit. 🐰");
    assert_prints(&ask("search", "-5"), "No match for '-5'.");
    assert_prints(&ask("double", "12345"), "First 10 bytes of request: double1234");
}

#[test]
fn an_answer_may_arrive_in_pieces() {
    let addr = server(|mut sock| {
        read_request(&sock);
        sock.set_nodelay(true).unwrap();
        for byte in result("in pieces") {
            sock.write_all(&[byte]).unwrap();
        }
    });
    assert_prints(&ask(addr, &["search", "x"]), "in pieces");
}

#[test]
fn a_long_request_gets_a_long_answer() {
    let long = "é".repeat(60_000); // about the most that fits in a command line
    let addr = server(|mut sock| {
        let Message::Json(object) = read_request(&sock) else { panic!() };
        let value = object["value"].as_str().unwrap();
        sock.write_all(&result(&value.repeat(8))).unwrap();
    });
    assert_prints(&ask(addr, &["search", &long]), &long.repeat(8));
}

#[test]
fn an_answer_that_is_wrong_or_missing_is_a_failure() {
    for (answer, reason) in [
        (vec![], "no answer: the server closed the connection"),
        (result("x")[..30].to_vec(), "no answer: the server closed the connection: "),
        (b"\0\x02[]".to_vec(), "no answer: the header is an array, not a JSON object"),
        (b"\0\x02{}".to_vec(), "no answer: the header has no `byteorder`"),
        (
            Message::json([("answer", "42")]).encode().unwrap(),
            "the answer has no result: the content has no `result`",
        ),
    ] {
        assert_failed(&ask(answering(answer), &["search", "x"]), reason);
    }
}

#[test]
fn silence_is_a_failure_after_the_timeout() {
    for answer in [&b""[..], &result("x")[..30]] {
        let answer = answer.to_vec();
        let addr = server(move |mut sock| {
            read_request(&sock);
            sock.write_all(&answer).unwrap();
            let _ = read_once(&mut sock, &mut [0]); // blocks until the client has left
        });
        assert_failed(
            &ask(addr, &["search", "x", "-t", "1"]),
            "no answer: nothing has happened for 1s",
        );
    }
}

#[test]
fn control_characters_of_a_result_are_escaped() {
    let ended =
        ask(answering(result("\u{1b}[2Jgone\nover\u{9b}\u{202e}\u{2028}")), &["search", "x"]);
    assert_prints(&ended, r"\u{1b}[2Jgone\nover\u{9b}\u{202e}\u{2028}");
}

#[test]
fn a_reset_is_reported_in_words() {
    let addr = server(|sock| {
        read_request(&sock);
        reset(sock);
    });
    let why = "no answer: receiving: the server has reset the connection";
    assert_failed(&ask(addr, &["search", "ring"]), why);
}

#[test]
fn an_ipv6_address_may_have_brackets() {
    if !Needs::Ipv6.met() {
        eprintln!("skipped: this machine has no IPv6 on the loopback interface");
        return;
    }
    let server = TestServer::accepting_on("::1", 1);
    let port = server.port.to_string();
    thread::spawn(move || {
        let mut sock = server.accept();
        read_request(&sock);
        sock.write_all(&result("found")).unwrap();
    });
    assert_prints(&run(&["[::1]", &port, "search", "ring"]), "found");
}

#[test]
fn without_a_server_the_error_is_one_line() {
    let port = Port::reserve().unwrap();
    let why = format!("cannot connect to 127.0.0.1 port {port}: Connection refused");
    assert_failed(&run(&["127.0.0.1", &port.to_string(), "search", "ring"]), &why);
}

#[test]
fn help_and_usage_errors() {
    let help = run(&["--help"]);
    assert_eq!(help.status.code(), Some(0), "{help}");
    assert!(help.stdout.iter().any(|line| line == "Examples:"), "{help}");
    let version = run(&["--version"]);
    assert_eq!((version.status.code(), version.stdout.len()), (Some(0), 1), "{version}");
    let wrong: [&[&str]; 4] = [
        &[],
        &["localhost", "65432", "search"],
        &["localhost", "65536", "search", "ring"],
        &["localhost", "65432", "search", "ring", "more"],
    ];
    for args in wrong {
        let ended = run(args);
        assert_eq!((ended.status.code(), ended.stdout.len()), (Some(2), 0), "{ended}");
    }
}
