//! A client program in a test: what it prints on pipes, and a server made of what the test does.
//!
//! ```no_run
//! use std::io::Write;
//! use probe::dialogue::{Client, Server, read_frame};
//!
//! # let program = "chat-client";
//! let server = Server::taking(1);
//! let mut client = Client::start(program, server.port, &[]);
//! client.type_in("hello\n");
//! let mut sock = server.accept();
//! assert_eq!(read_frame(&sock), "hello");
//! sock.write_all(b"127.0.0.1:50312: hello\0").unwrap();
//! client.expect("127.0.0.1:50312: hello");
//! ```
//!
//! Whatever is not as expected is a panic: in a test that is what should happen.
#![allow(clippy::missing_panics_doc, clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use socket2::SockRef;

/// How long anything may take before a test fails.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// A server made of what the test does with the connections.
#[derive(Debug)]
pub struct Server {
    /// The port of the loopback interface that it listens on.
    pub port: u16,
    socks: Receiver<TcpStream>,
}

impl Server {
    /// A server that takes this many connections, and is gone by the time the test gets the last.
    #[must_use]
    pub fn taking(count: usize) -> Self {
        Self::taking_on("127.0.0.1", count)
    }

    /// The same on another address of this machine.
    #[must_use]
    pub fn taking_on(ip: &str, count: usize) -> Self {
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, socks) = mpsc::channel();
        thread::spawn(move || {
            for _ in 1..count {
                let _ = sender.send(listener.accept().unwrap().0);
            }
            let (sock, _) = listener.accept().unwrap();
            drop(listener);
            let _ = sender.send(sock);
        });
        Self { port, socks }
    }

    /// The next client's connection.
    #[must_use]
    #[track_caller]
    pub fn accept(&self) -> TcpStream {
        let sock = self.socks.recv_timeout(DEADLINE).expect("no client came");
        sock.set_read_timeout(Some(DEADLINE)).unwrap();
        sock
    }
}

/// The text up to the first zero byte, which is read, too.
#[allow(clippy::must_use_candidate)]
#[track_caller]
pub fn read_frame(mut sock: &TcpStream) -> String {
    let mut frame = Vec::new();
    let mut byte = [0];
    loop {
        sock.read_exact(&mut byte).expect("no message came");
        match byte {
            [0] => return String::from_utf8(frame).unwrap(),
            [byte] => frame.push(byte),
        }
    }
}

/// The real client, with pipes; ended on drop.
#[derive(Debug)]
pub struct Client {
    child: Child,
    /// What it is typed into, until it ends.
    pub stdin: Option<ChildStdin>,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

/// How a client ended: its exit code, and what it printed that the test has not read.
#[derive(Debug, PartialEq, Eq)]
pub struct End {
    /// Its exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// Lines on stdout.
    pub stdout: Vec<String>,
    /// Lines on stderr.
    pub stderr: Vec<String>,
}

impl Client {
    /// Starts it for this port of the loopback interface, with these arguments besides.
    #[must_use]
    pub fn start(program: impl AsRef<Path>, port: u16, args: &[&str]) -> Self {
        Self::start_with_vars(program, port, args, &[])
    }

    /// Starts it as [`start`](Self::start) does, with these environment variables.
    #[must_use]
    pub fn start_with_vars(
        program: impl AsRef<Path>,
        port: u16,
        args: &[&str],
        vars: &[(&str, &str)],
    ) -> Self {
        let mut child = Command::new(program.as_ref())
            .args(["--port", &port.to_string()])
            .args(args)
            .envs(vars.iter().copied())
            // An error is one line even so.
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        let stdout = lines(child.stdout.take().unwrap());
        let stderr = lines(child.stderr.take().unwrap());
        Self { child, stdin, stdout, stderr }
    }

    /// Writes to its stdin.
    pub fn type_in(&mut self, text: impl AsRef<[u8]>) {
        self.stdin.as_mut().unwrap().write_all(text.as_ref()).unwrap();
    }

    /// Its next line on stdout must be this.
    #[track_caller]
    pub fn expect(&self, expected: &str) {
        let line = self.stdout.recv_timeout(DEADLINE);
        assert_eq!(line.as_deref(), Ok(expected));
    }

    /// Closes its stdin.
    pub fn end_input(&mut self) {
        self.stdin = None;
    }

    /// Waits for the client to end; its stdin stays as it is.
    #[must_use]
    pub fn end(mut self) -> End {
        let stdout = rest(&self.stdout);
        let stderr = rest(&self.stderr);
        End { code: self.child.wait().unwrap().code(), stdout, stderr }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of a pipe, as they come.
pub fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines() {
            let _ = sender.send(line.unwrap());
        }
    });
    lines
}

/// All lines that are still to come.
#[must_use]
pub fn rest(lines: &Receiver<String>) -> Vec<String> {
    let mut rest = Vec::new();
    loop {
        match lines.recv_timeout(DEADLINE) {
            Ok(line) => rest.push(line),
            Err(RecvTimeoutError::Disconnected) => return rest,
            Err(RecvTimeoutError::Timeout) => panic!("the client does not end; it said {rest:?}"),
        }
    }
}

/// Checks for exit code 1 and one line on stderr, with these words in it.
#[track_caller]
pub fn assert_failed(end: &End, words: &str) {
    assert_eq!(end.code, Some(1), "{end:?}");
    assert!(matches!(&end.stderr[..], [line] if line.contains(words)), "{end:?}");
}

/// Closes a connection with a reset, as a server does that crashes or gives a client up.
pub fn reset(sock: TcpStream) {
    SockRef::from(&sock).set_linger(Some(Duration::ZERO)).unwrap();
    drop(sock);
}
