//! Tests a client program: starts it with pipes, and lets the test itself be the server.
//!
//! ```no_run
//! use std::io::Write;
//! use probe::client_process::{ClientProcess, TestServer, recv_msg};
//!
//! # let program = "chat-client";
//! let server = TestServer::accepting(1);
//! let mut client = ClientProcess::start(program, server.port, &[]);
//! client.write_stdin("hello\n");
//! let mut sock = server.accept();
//! assert_eq!(recv_msg(&sock), "hello");
//! sock.write_all(b"127.0.0.1:50312: hello\0").unwrap();
//! client.expect_line("127.0.0.1:50312: hello");
//! ```
//!
//! Every function panics if something unexpected happens, so the functions are only for tests.
#![allow(clippy::missing_panics_doc, clippy::unwrap_used)]

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

#[cfg(unix)]
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use socket2::SockRef;

use crate::{read_once, wait_until};

/// How long each step may take before the test fails.
pub const STEP_TIMEOUT: Duration = Duration::from_secs(30);

/// A server that only accepts connections; the test does the rest.
#[derive(Debug)]
pub struct TestServer {
    /// The port at which it listens.
    pub port: u16,
    socks: Receiver<TcpStream>,
}

impl TestServer {
    /// Listens on the loopback interface for `count` connections. The server stops listening before the test gets the
    /// last of them.
    #[must_use]
    pub fn accepting(count: usize) -> Self {
        Self::accepting_on("127.0.0.1", count)
    }

    /// Listens on another address of this machine, as [`accepting`](Self::accepting) does.
    #[must_use]
    pub fn accepting_on(ip: &str, count: usize) -> Self {
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

    /// Waits for the next connection. A read from the connection fails after [`STEP_TIMEOUT`].
    #[must_use]
    #[track_caller]
    pub fn accept(&self) -> TcpStream {
        let sock = self.socks.recv_timeout(STEP_TIMEOUT).expect("no client connected");
        sock.set_read_timeout(Some(STEP_TIMEOUT)).unwrap();
        sock
    }
}

/// Reads a message and its zero byte, and returns the message.
#[allow(clippy::must_use_candidate)]
#[track_caller]
pub fn recv_msg(mut sock: &TcpStream) -> String {
    let mut msg = Vec::new();
    let mut byte = [0];
    loop {
        sock.read_exact(&mut byte).expect("no message came");
        match byte {
            [0] => return String::from_utf8(msg).unwrap(),
            [byte] => msg.push(byte),
        }
    }
}

/// Waits for the end of the stream. `why` says what the client must have done, for a test that fails.
#[track_caller]
pub fn expect_eof(sock: &mut impl Read, why: &str) {
    match read_once(sock, &mut [0]) {
        Ok(n) => assert_eq!(n, 0, "{why}"),
        Err(err) => panic!("{why}: {err}"),
    }
}

/// Waits until there are bytes to read from the socket, or the end of the stream, and leaves them there.
#[track_caller]
pub fn wait_until_readable(sock: &TcpStream) {
    loop {
        match sock.peek(&mut [0]) {
            Ok(_) => return,
            // With a timeout set, Linux interrupts the call when this process is stopped and continued.
            Err(err) if err.kind() == ErrorKind::Interrupted => {}
            Err(err) => panic!("nothing came: {err}"),
        }
    }
}

/// A client program that runs, with pipes; it is killed when this value is dropped.
#[derive(Debug)]
pub struct ClientProcess {
    child: Child,
    /// Its standard input, until [`close_stdin`](Self::close_stdin) closes it.
    pub stdin: Option<ChildStdin>,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

/// How a client ended, and the lines that it printed and the test has not read.
#[derive(Debug, PartialEq, Eq)]
pub struct ClientExit {
    /// The exit code, unless a signal ended the client.
    pub code: Option<i32>,
    /// The lines on stdout.
    pub stdout: Vec<String>,
    /// The lines on stderr.
    pub stderr: Vec<String>,
}

impl ClientProcess {
    /// Starts the program with `--port` and this port, and with further arguments.
    #[must_use]
    pub fn start(program: impl AsRef<Path>, port: u16, args: &[&str]) -> Self {
        Self::start_with_vars(program, port, args, &[])
    }

    /// Starts the program as [`start`](Self::start) does, with these environment variables.
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
            // An error has to be one line with this setting, too.
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        let stdout = read_lines(child.stdout.take().unwrap());
        let stderr = read_lines(child.stderr.take().unwrap());
        Self { child, stdin, stdout, stderr }
    }

    /// Writes to the client's stdin.
    pub fn write_stdin(&mut self, text: impl AsRef<[u8]>) {
        self.stdin.as_mut().unwrap().write_all(text.as_ref()).unwrap();
    }

    /// Waits for the next line on the client's stdout, which must be `expected`.
    #[track_caller]
    pub fn expect_line(&self, expected: &str) {
        let line = self.stdout.recv_timeout(STEP_TIMEOUT);
        assert_eq!(line.as_deref(), Ok(expected));
    }

    /// Closes the client's stdin.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Stops the client until [`resume`](Self::resume), so that it sees several events at once. Returns when the client
    /// has stopped.
    #[cfg(unix)]
    pub fn pause(&self) {
        self.signal(Signal::STOP);
        let pid = Pid::from_child(&self.child);
        rustix::io::retry_on_intr(|| waitpid(Some(pid), WaitOptions::UNTRACED)).unwrap();
    }

    /// Lets the client run on.
    #[cfg(unix)]
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    #[cfg(unix)]
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the client's end. This does not close its stdin.
    #[must_use]
    pub fn wait(mut self) -> ClientExit {
        let stdout = remaining_lines(&self.stdout);
        let stderr = remaining_lines(&self.stderr);
        let mut status = None;
        wait_until(STEP_TIMEOUT, || {
            status = self.child.try_wait()?;
            Ok(status.is_some())
        })
        .unwrap();
        ClientExit { code: status.expect("the client does not end").code(), stdout, stderr }
    }
}

impl Drop for ClientProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads the lines of a pipe in a thread, and sends each line when it is complete.
pub fn read_lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines() {
            let _ = sender.send(line.unwrap());
        }
    });
    lines
}

/// Waits for the end of the lines, and returns the lines that were not received yet.
#[must_use]
pub fn remaining_lines(lines: &Receiver<String>) -> Vec<String> {
    let deadline = Instant::now() + STEP_TIMEOUT;
    let mut rest = Vec::new();
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => rest.push(line),
            Err(RecvTimeoutError::Disconnected) => return rest,
            Err(RecvTimeoutError::Timeout) => {
                panic!("the client does not end; it printed {rest:?}")
            }
        }
    }
}

/// Checks that the exit code is 1 and that stderr is one line, which contains these words.
#[track_caller]
pub fn assert_failed(end: &ClientExit, words: &str) {
    assert_eq!(end.code, Some(1), "{end:?}");
    assert!(matches!(&end.stderr[..], [line] if line.contains(words)), "{end:?}");
}

/// Closes a connection with a reset, as the system does for a server that was killed.
pub fn reset(sock: TcpStream) {
    SockRef::from(&sock).set_linger(Some(Duration::ZERO)).unwrap();
    drop(sock);
}
