//! The client, with the real server and with servers that the tests imitate:
//! `cargo test -p chat-select --test client`.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Child, ChildStdin, Command, Output, Stdio};

use anyhow::{Context as _, Result};
use check::{Needs, interrupted};
use probe::client_process::wait_until_readable;
use probe::port::Port;
#[cfg(target_os = "linux")]
use probe::report_skipped;
use probe::server::{Launch, Server};

const PROGRAM: &str = env!("CARGO_BIN_EXE_chat-select");

fn start() -> Result<Server> {
    Launch::new(PROGRAM, &[]).args(&["--name", "server"]).start()
}

/// A running client. Dropping it ends the client.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn start(name: &str, port: u16) -> Result<Self> {
        let mut command = Command::new(PROGRAM);
        command.args(["--name", name, "--port", &port.to_string()]);
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Result<Self> {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(Self(command.spawn()?))
    }

    fn keyboard(&mut self) -> Result<&mut ChildStdin> {
        self.0.stdin.as_mut().context("no keyboard")
    }

    /// Ends the input of the client, and waits until the client ends.
    fn end(mut self) -> Result<Output> {
        drop(self.0.stdin.take());
        self.wait()
    }

    fn wait(&mut self) -> Result<Output> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        self.0.stdout.take().context("no stdout")?.read_to_end(&mut stdout)?;
        self.0.stderr.take().context("no stderr")?.read_to_end(&mut stderr)?;
        Ok(Output { status: self.0.wait()?, stdout, stderr })
    }
}

fn stdout(output: &Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn frame(text: &str) -> Vec<u8> {
    let len = u32::try_from(text.len()).unwrap();
    [&len.to_be_bytes(), text.as_bytes()].concat()
}

#[test]
fn clients_receive_messages_and_departures() -> Result<()> {
    let server = start()?;
    let port = server.addr().port();
    let ann = Running::start("ann", port)?;
    server.wait_for_log("ann", |line| line.ends_with("NAME: ann"))?;
    let mut bob = Running::start("bob", port)?;
    bob.keyboard()?
        .write_all("  hello \n\n\x1b[2Jgone\u{202e}\u{2028}!\nno line end".as_bytes())?;
    let bob = bob.end()?;
    assert_eq!((bob.status.code(), stdout(&bob)), (Some(0), vec![]), "{}", stderr(&bob));
    server.wait_for_log("bob's last line", |line| line.ends_with("no line end"))?;
    let ann = ann.end()?;
    assert_eq!(ann.status.code(), Some(0), "{}", stderr(&ann));
    let expected = [
        "(Connected: New client (2) from bob@127.0.0.1)",
        "#bob@127.0.0.1>>hello",
        r"#bob@127.0.0.1>>\u{1b}[2Jgone\u{202e}\u{2028}!",
        "#bob@127.0.0.1>>no line end",
        "(Now hung up: Client from bob@127.0.0.1)",
    ];
    assert_eq!(stdout(&ann), expected);
    Ok(())
}

/// Every other system call of the client fails with `EINTR`.
#[test]
#[cfg(target_os = "linux")]
fn interrupted_system_calls_are_retried() -> Result<()> {
    if !Needs::Interrupts.met() {
        return report_skipped("no C compiler for the library that interrupts system calls");
    }
    let folder = tempfile::tempdir()?;
    let server = start()?;
    let mut command = Command::new(PROGRAM);
    command.args(["--name", "ann", "--port", &server.addr().port().to_string()]);
    let library = interrupted::library(folder.path())?;
    command.env("LD_PRELOAD", &library);
    let mut ann = Running::spawn(command)?;
    server.wait_for_log("ann", |line| line.ends_with("NAME: ann"))?;
    interrupted::expect_loaded(ann.0.id(), &library)?;
    ann.keyboard()?.write_all(b"one\ntwo\n")?;
    let ann = ann.end()?;
    assert_eq!(
        (ann.status.code(), stderr(&ann).contains("nterrupted")),
        (Some(0), false),
        "{}",
        stderr(&ann)
    );
    server.wait_for_log("her last line", |line| line.ends_with(": two")).map(drop)
}

#[test]
fn a_line_that_is_too_long_is_not_sent() -> Result<()> {
    let server = start()?;
    let mut ann = Running::start("ann", server.addr().port())?;
    let lines = ["x".repeat(16 * 1024 + 1).as_bytes(), b"\nfits\n"].concat();
    ann.keyboard()?.write_all(&lines)?;
    let ann = ann.end()?;
    assert_eq!(ann.status.code(), Some(0));
    let why = "not sent: the line has 16385 bytes, more than 16384";
    assert!(stderr(&ann).contains(why), "{}", stderr(&ann));
    server.wait_for_log("the next line", |line| line.ends_with(": fits")).map(drop)
}

#[test]
fn when_the_server_closes_the_client_says_so_and_exits_1() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut ann = Running::start("ann", listener.local_addr()?.port())?;
    let (mut sock, _) = listener.accept()?;
    let mut name = [0; 13];
    sock.read_exact(&mut name)?;
    assert_eq!(name[..], frame("NAME: ann"));
    // Sent in pieces, as may happen on a network.
    sock.set_nodelay(true)?;
    for byte in [frame("CLIENT: 127.0.0.1"), frame("#bob@127.0.0.1>>hi\nthere")].concat() {
        sock.write_all(&[byte])?;
    }
    drop(sock);
    let ann = ann.wait()?;
    assert_eq!(ann.status.code(), Some(1));
    assert_eq!(stdout(&ann), [r"#bob@127.0.0.1>>hi\nthere"]);
    assert!(stderr(&ann).ends_with("the server has closed the connection\n"), "{}", stderr(&ann));
    Ok(())
}

#[test]
fn a_reset_is_reported_in_words() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut ann = Running::start("ann", listener.local_addr()?.port())?;
    let (sock, _) = listener.accept()?;
    // Closing a socket with unread input sends a reset.
    wait_until_readable(&sock);
    drop(sock);
    let ann = ann.wait()?;
    assert_eq!(ann.status.code(), Some(1));
    assert_eq!(stderr(&ann), "Error: receiving: the server has reset the connection\n");
    Ok(())
}

#[test]
fn a_line_that_is_not_utf_8_is_not_sent() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut ann = Running::start("ann", listener.local_addr()?.port())?;
    ann.keyboard()?.write_all(b"caf\xe9\nfine\n")?;
    let (mut sock, _) = listener.accept()?;
    drop(ann.0.stdin.take());
    let mut received = Vec::new();
    sock.read_to_end(&mut received)?;
    assert_eq!(received, [frame("NAME: ann"), frame("fine")].concat());
    drop(sock);
    assert_eq!(stderr(&ann.wait()?), "not sent: the line is not UTF-8\n");
    Ok(())
}

#[test]
fn without_a_server_and_with_a_wrong_name_there_is_an_error() -> Result<()> {
    // No server listens on this port.
    let reserved = Port::reserve()?;
    let port = reserved.number();
    let output = Running::start("ann", port)?.end()?;
    assert_eq!(output.status.code(), Some(1));
    let stderr = stderr(&output);
    let why = format!("cannot connect to 127.0.0.1 port {port}");
    assert!(stderr.contains(&why) && stderr.lines().count() == 1, "{stderr}");
    for name in ["", &"n".repeat(256)] {
        assert_eq!(Running::start(name, port)?.end()?.status.code(), Some(2), "{name:?}");
    }
    Ok(())
}
