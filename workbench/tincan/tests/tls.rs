//! `tincan check --tls` as its user sees it, with servers inside TLS and without. The servers are threads of this
//! program. The tests of the other commands are in another program: in one program with them, a test took a minute.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::Arc;
use std::thread;

use probe::read_once;
use rcgen::generate_simple_self_signed;
use rustls::crypto::ring;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion};
use tempfile::{NamedTempFile, TempDir};

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Checks what listens at an address.
fn check(server: SocketAddr, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tincan"));
    command
        .args(["check", "chat", "--addr", &server.to_string()])
        .args(args)
        .env_remove("CARGO_PKG_NAME");
    command.output().unwrap()
}

/// Serves each client in a thread, as long as this process lives.
fn serving(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    serving_shaken(Some, serve)
}

/// The same for those who get past the door, which lets in one after the other.
fn serving_shaken<T: Send + 'static>(
    door: impl Fn(TcpStream) -> Option<T> + Send + 'static,
    serve: impl Fn(T) + Clone + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming().flatten().filter_map(door) {
            let serve = serve.clone();
            thread::spawn(move || serve(client));
        }
    });
    addr
}

/// A chat in which everybody is alone, inside TLS; and the file with its certificate, which has signed
/// itself.
struct Alone {
    addr: SocketAddr,
    cert: NamedTempFile,
}

/// What such a server does well or not.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Right,
    /// It says no `close_notify`.
    CutsOff,
    /// It shakes hands with one client at a time.
    OneAtATime,
}

fn alone(name: &str, version: &'static SupportedProtocolVersion, way: Way) -> Alone {
    let own = generate_simple_self_signed([name.to_owned()]).unwrap();
    let mut cert = NamedTempFile::new().unwrap();
    cert.write_all(own.cert.pem().as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.into()], own.signing_key.into())
        .unwrap();
    let config = Arc::new(config);
    let door = move |mut sock: TcpStream| {
        sock.set_nodelay(true).unwrap();
        let mut tls = ServerConnection::new(Arc::clone(&config)).unwrap();
        if way == Way::OneAtATime {
            tls.complete_io(&mut sock).ok()?;
        }
        Some(StreamOwned::new(tls, sock))
    };
    let addr = serving_shaken(door, move |tls| {
        let name = tls.sock.peer_addr().unwrap();
        let mut tls = BufReader::new(tls);
        let mut text = Vec::new();
        while matches!(tls.read_until(0, &mut text), Ok(1..)) && text.ends_with(b"\0") {
            let answer = [format!("{name}: ").as_bytes(), &text].concat();
            tls.get_mut().write_all(&answer).unwrap();
            text.clear();
        }
        if way != Way::CutsOff {
            tls.get_mut().conn.send_close_notify();
            let _ = tls.get_mut().flush();
        }
    });
    Alone { addr, cert }
}

fn has(output: &Output, code: i32, parts: &[&str]) {
    // As it reads: without the ends of its lines.
    let words = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = words(stdout(output) + &String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{text}");
    for part in parts {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

const ONE: &[&str] = &["--only", "frame-one"];

#[test]
fn a_server_that_speaks_plaintext_is_told_so() {
    let talks = serving(|mut sock| sock.write_all(b"welcome\0").unwrap());
    let output = check(talks, &["--tls"]);
    let first = "frame-one · framing · one message did";
    has(&output, 1, &[first, "(which is not TLS)", "likely The server speaks plaintext, not TLS"]);
    has(&output, 1, &["FAIL: 1 of 29 checks failed, 0 passed"]);
    let leaves = serving(|mut sock| assert!(read_once(&mut sock, &mut [0; 4096]).unwrap() > 0));
    let why = "likely The server does not answer as one that speaks TLS does.";
    has(&check(leaves, &["--tls"]), 1, &[first, "got the end of the stream", why]);
}

#[test]
fn a_server_that_speaks_tls_is_found_out() {
    let server = alone("localhost", &TLS13, Way::Right);
    let why = "likely The server seems to use TLS, but the check sent plaintext: add --tls";
    has(&check(server.addr, &[]), 1, &["frame-one · framing", why]);
    // Nor is it suspected where that is not so.
    let wrong = serving(|mut sock| _ = sock.write_all(b"wrong\0"));
    let output = check(wrong, ONE);
    has(&output, 1, &["frame-one · framing"]);
    assert!(!stdout(&output).contains("TLS"), "{}", stdout(&output));
}

#[test]
fn a_certificate_counts_only_where_it_is_asked_for() {
    let server = alone("localhost", &TLS13, Way::Right);
    let other = alone("localhost", &TLS13, Way::Right);
    let elsewhere = alone("example.org", &TLS13, Way::Right);
    let checked = |server: &Alone, ca: &Alone| {
        let ca = ca.cert.path().to_str().unwrap();
        check(server.addr, &[&["--tls", "--ca", ca], ONE].concat())
    };
    let note = "note: it speaks TLS 1.3; its certificate was not checked";
    has(&check(elsewhere.addr, &[&["--tls"], ONE].concat()), 0, &[note]);
    let note = "note: it speaks TLS 1.3; its certificate is for localhost, signed by a CA in ";
    has(&checked(&server, &server), 0, &[note]);
    let why = "a certificate that is not accepted: no CA in the file of --ca has signed it";
    has(&checked(&server, &other), 1, &["frame-one · framing", why, "--tls --ca "]);
    let why = "a certificate that is not accepted: it is not for localhost";
    has(&checked(&elsewhere, &elsewhere), 1, &[why]);
}

#[test]
fn a_check_that_does_not_apply_to_tls_12_is_not_run() {
    let server = alone("localhost", &TLS12, Way::Right);
    let only = ["--tls", "--only", "frame-one", "--only", "frame-half-close"];
    let output = check(server.addr, &only);
    has(
        &output,
        0,
        &["1 of 1 not applicable frame-half-close (in TLS 1.2, ", "it speaks TLS 1.2;"],
    );
    let output = check(server.addr, &[&only[..], &["--format", "json"]].concat());
    has(&output, 0, &[r#""outcome": "not asked""#]);
}

#[test]
fn an_end_without_close_notify_is_noted() {
    let checked = |version, way| {
        let server = alone("localhost", version, way);
        check(server.addr, &["--tls", "--only", "frame-half-close"])
    };
    let note = "note: it ends connections without close_notify";
    has(&checked(&TLS13, Way::CutsOff), 0, &[note]);
    assert!(!stdout(&checked(&TLS13, Way::Right)).contains(note));
}

#[test]
fn a_handshake_that_does_not_come_holds_up_nobody() {
    let checked = |way, patience, tries| {
        let server = alone("localhost", &TLS13, way);
        let options = ["--tls", "--patience", patience, "--tries", tries, "--only", "silent-peer"];
        check(server.addr, &options)
    };
    has(&checked(Way::Right, "20", "3"), 0, &["1 of 1"]);
    let did = "did a client connected and began no handshake; another connected and sent a message";
    let why = "likely The server completes the handshake of one client before it accepts the next.";
    has(&checked(Way::OneAtATime, "3", "1"), 1, &["silent-peer · concurrency", did, why]);
}

#[test]
fn wrong_calls_are_usage_errors() {
    let server = serving(drop);
    let folder = TempDir::new().unwrap();
    let empty = folder.path().join("empty.pem");
    fs::write(&empty, "").unwrap();
    let empty = empty.to_str().unwrap();
    has(&check(server, &["--tls", "--ca", "/no/such.pem"]), 2, &["cannot read /no/such.pem"]);
    has(&check(server, &["--tls", "--ca", empty]), 2, &["there is no certificate in"]);
    has(&check(server, &["--ca", empty]), 2, &["--tls", "Usage:"]);
    let mut echo = Command::new(env!("CARGO_BIN_EXE_tincan"));
    let output = echo.args(["check", "echo-uni", "--tls", "--", "true"]).output().unwrap();
    has(&output, 2, &["--tls is for chats, and echo-uni is not a chat"]);
}
