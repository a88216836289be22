//! Tests chat-tls with a TLS client of other people, `openssl s_client`, and with `chat-client`, between which and
//! the server an observer must not be able to read the messages.
//!
//! `cargo test --workspace` leaves this test out, because it needs openssl(1). Without openssl, it fails where CI
//! is set. Run it with
//!
//! ```sh
//! cargo test -p chat-tls --test openssl
//! ```
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use std::io::{self, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::LazyLock;
use std::thread;

use anyhow::{Context as _, Result, ensure};
use probe::client_process::{ClientProcess, TestServer, assert_failed};
use probe::server::{Launch, Server, Signal};
use probe::{TIMEOUT, read_once, report_skipped};
use tempfile::TempDir;

/// A server with a development certificate.
struct TlsServer {
    server: Server,
    folder: TempDir,
}

impl TlsServer {
    fn start() -> Result<Self> {
        let folder = TempDir::new()?;
        let args = ["--dev-cert", folder.path().to_str().unwrap()];
        let server = Launch::new(env!("CARGO_BIN_EXE_chat-tls"), &[]).args(&args).start()?;
        Ok(Self { server, folder })
    }

    /// Returns the file with the certificate of the server's CA.
    fn ca(&self) -> String {
        self.folder.path().join("ca.pem").to_str().unwrap().to_owned()
    }

    /// Stops the server, and checks that no handler has panicked and that all clients have sent `close_notify`.
    fn stop(mut self) -> Result<()> {
        self.server.signal(Signal::TERM)?;
        self.server.expect_exit("sent SIGTERM")?;
        let (_, log) = self.server.output_lines()?;
        for text in ["panic", "without close_notify"] {
            assert!(!log.iter().any(|line| line.contains(text)), "{log:#?}");
        }
        Ok(())
    }

    /// Runs `openssl s_client` with these arguments, and returns everything that it prints. If there is a
    /// message, sends it and waits until it comes back. At the end of its input, openssl sends `close_notify`.
    fn s_client(&self, args: &[&str], msg: &str) -> Result<String> {
        let mut openssl = Command::new("openssl");
        openssl.args(["s_client", "-verify_return_error", "-connect"]);
        openssl.arg(self.server.addr().to_string()).args(args);
        // One socket pair in place of three pipes, because a read from a socket can have a deadline.
        let (mut ours, theirs) = UnixStream::pair()?;
        ours.set_read_timeout(Some(TIMEOUT))?;
        let theirs = OwnedFd::from(theirs);
        openssl.stdin(theirs.try_clone()?).stdout(theirs.try_clone()?).stderr(theirs);
        let _running = Running(openssl.spawn()?);
        drop(openssl); // it holds their end of the socket pair
        let (mut printed, mut chunk) = (Vec::new(), [0; 4096]);
        ours.write_all(msg.as_bytes())?;
        let relayed = format!(": {msg}");
        let mut is_closed = false;
        loop {
            let has_come_back = printed.windows(relayed.len()).any(|it| it == relayed.as_bytes());
            if !is_closed && (msg.is_empty() || has_come_back) {
                is_closed = true;
                ours.shutdown(Shutdown::Write)?;
            }
            let text = || String::from_utf8_lossy(&printed);
            match read_once(&mut ours, &mut chunk)
                .with_context(|| format!("{args:?} printed {}", text()))?
            {
                0 => return Ok(text().into_owned()),
                n => printed.extend(&chunk[..n]),
            }
        }
    }
}

/// A program that is killed when this value is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn is_openssl_missing() -> bool {
    Command::new("openssl").arg("version").output().is_err()
}

#[test]
fn openssl_chats_in_both_versions_of_tls() -> Result<()> {
    if is_openssl_missing() {
        return report_skipped("openssl is not installed");
    }
    let server = TlsServer::start()?;
    for version in ["-tls1_3", "-tls1_2"] {
        let args = [version, "-CAfile", &server.ca(), "-verify_hostname", "localhost"];
        let printed = server.s_client(&args, "from openssl\0")?;
        assert!(printed.contains("Verify return code: 0 (ok)"), "{version}: {printed}");
        let (before, _) = printed.split_once(": from openssl\0").context(printed.clone())?;
        let sender = before.rsplit('\n').next().unwrap();
        assert!(sender.starts_with("127.0.0.1:"), "{version}: {printed}");
    }
    server.stop()
}

#[test]
fn openssl_refuses_a_wrong_name_and_a_wrong_ca_and_is_refused_with_tls_1_1() -> Result<()> {
    if is_openssl_missing() {
        return report_skipped("openssl is not installed");
    }
    let (server, other) = (TlsServer::start()?, TlsServer::start()?);
    let printed =
        server.s_client(&["-CAfile", &server.ca(), "-verify_hostname", "example.org"], "")?;
    assert!(printed.contains("ostname mismatch"), "{printed}");
    let printed = server.s_client(&["-CAfile", &other.ca()], "")?;
    assert!(printed.contains("verify error") || printed.contains("verify failed"), "{printed}");
    let distrust = "does not trust the CA";
    server.server.wait_for_log(distrust, |line| line.contains(distrust))?;
    // openssl itself speaks TLS 1.1 only at security level 0.
    let old = ["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0", "-CAfile", &server.ca()];
    let printed = server.s_client(&old, "")?;
    let is_refused = printed.contains("Cipher is (NONE)") && printed.contains("SSL alert number");
    assert!(is_refused, "{printed}");
    server.stop()
}

#[test]
fn chat_client_chats_and_an_observer_cannot_read_the_messages() -> Result<()> {
    let server = TlsServer::start()?;
    let proxy = TestServer::accepting(1);
    let args = ["--tls", "--ca", &server.ca()];
    let mut client = ClientProcess::start(&*CHAT_CLIENT, proxy.port, &args);
    client.write_stdin("from chat-client\n");
    let (near, far) = (proxy.accept(), TcpStream::connect(server.server.addr())?);
    far.set_read_timeout(Some(TIMEOUT))?;
    let relayed = format!("{}: from chat-client", far.local_addr()?);
    let recorded = thread::scope(|scope| {
        let copies =
            [(&near, &far), (&far, &near)].map(|(from, to)| scope.spawn(|| copy(from, to)));
        client.expect_line(&relayed);
        client.close_stdin(); // not earlier: chat-client waits only for a time for answers after the end
        copies.map(|copy| copy.join().unwrap()).into_iter().collect::<io::Result<Vec<_>>>()
    })?;
    let recorded = recorded.concat();
    let end = client.wait();
    assert_eq!((end.code, end.stdout.len(), end.stderr.len()), (Some(0), 0, 0), "{end:?}");
    assert!(recorded.len() > 1000, "{} bytes", recorded.len());
    let is_readable = recorded.windows(11).any(|bytes| bytes == b"chat-client");
    assert!(!is_readable, "{}", String::from_utf8_lossy(&recorded));
    server.stop()
}

/// Copies the bytes from one socket to another up to their end, and returns them.
fn copy(mut from: &TcpStream, mut to: &TcpStream) -> io::Result<Vec<u8>> {
    let (mut recorded, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let n = read_once(&mut from, &mut chunk)?;
        if n == 0 {
            to.shutdown(Shutdown::Write)?;
            return Ok(recorded);
        }
        recorded.extend(&chunk[..n]);
        to.write_all(&chunk[..n])?;
    }
}

#[test]
fn chat_client_refuses_a_wrong_ca_and_says_that_tls_may_be_missing() -> Result<()> {
    let (server, other) = (TlsServer::start()?, TlsServer::start()?);
    let port = server.server.addr().port();
    // In both cases, stdin stays open: at its end, chat-client would leave, perhaps before the server closes.
    let client = ClientProcess::start(&*CHAT_CLIENT, port, &["--tls", "--ca", &other.ca()]);
    assert_failed(&client.wait(), "wrong CA");
    let mut client = ClientProcess::start(&*CHAT_CLIENT, port, &[]);
    client.write_stdin("from chat-client\n");
    assert_failed(&client.wait(), "does it want --tls?");
    server.stop()
}

/// The program of another package, which Cargo does not build for this test.
static CHAT_CLIENT: LazyLock<PathBuf> = LazyLock::new(|| build_chat_client().unwrap());

fn build_chat_client() -> Result<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().context("no target folder")?;
    let mut cargo = probe::cargo();
    cargo.args(["build", "--quiet", "--locked", "-p", "clients", "--bin", "chat-client"]);
    cargo.arg("--target-dir").arg(target).current_dir(env!("CARGO_MANIFEST_DIR"));
    ensure!(cargo.status()?.success(), "chat-client does not build");
    Ok(target.join("debug/chat-client"))
}
