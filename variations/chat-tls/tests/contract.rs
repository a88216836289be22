//! Runs the checks of `check` against the server's binary: `cargo test -p chat-tls --test contract`.
//!
//! Clients of these checks that only connect, leave or send garbage do so without TLS, so the checks also
//! cover the time before and during a handshake. The checks of a chat run inside TLS.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Result, bail};
use check::{OwnServer, test_servers};
use probe::read_once;
use probe::server::Launch;
use probe::tls::{TlsSession, TlsSettings};
use probe::wire::{Client, prep_msg, show};

const PROGRAM: &str = env!("CARGO_BIN_EXE_chat-tls");

/// The beginning of the names of the folders with certificates.
const FOLDER: &str = "chat-tls-contract-";

/// The folder with the certificates of this run. Another run, at the same time, has certificates of its own.
static DEV: LazyLock<PathBuf> = LazyLock::new(|| {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{FOLDER}{}", process::id()))
});

/// A client's TLS, and the bytes that it has decrypted and not compared yet.
struct Session {
    tls: TlsSession,
    received: Vec<u8>,
}

/// Sends a message and waits until it comes back. The client keeps its TLS state for the next time.
fn exchange(client: &mut Client) -> Result<()> {
    let mut session = if let Some(session) = client.take_state::<Session>() {
        session
    } else {
        let settings = TlsSettings::with_ca(&DEV.join("ca.pem"))?;
        Session { tls: TlsSession::handshake(&settings, client)?, received: Vec::new() }
    };
    session.tls.encrypt(b"hello\0")?;
    session.tls.flush(client)?;
    let relayed = prep_msg(&format!("{}: hello", client.addr()));
    let mut encrypted = [0; 4096];
    let end = loop {
        // Other clients send messages, too.
        let mut windows = session.received.windows(relayed.len());
        if let Some(at) = windows.position(|bytes| bytes == relayed) {
            break at + relayed.len();
        }
        match read_once(client, &mut encrypted)? {
            0 => bail!("the stream ended after {}", show(&session.received)),
            n => session.tls.decrypt(&encrypted[..n], &mut session.received)?,
        }
    };
    session.received.drain(..end);
    client.set_state(session);
    Ok(())
}

/// Returns a `ClientHello` in a record of 16 KiB without its last bytes (RFC 8446, section 5.1).
fn longest_hello() -> Vec<u8> {
    let header = [0x16, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc];
    [&header[..], &[0; 16_000]].concat()
}

/// Removes the folders that earlier runs have left: a run ends with `exit`, which drops nothing.
fn remove_old_folders() -> Result<()> {
    const OLD: Duration = Duration::from_hours(1);
    for entry in fs::read_dir(env!("CARGO_TARGET_TMPDIR"))? {
        let entry = entry?;
        let is_ours = entry.file_name().to_string_lossy().starts_with(FOLDER);
        let age =
            entry.metadata().and_then(|it| it.modified()).ok().and_then(|it| it.elapsed().ok());
        if is_ours && (age > Some(OLD) || entry.path() == *DEV) {
            let _ = fs::remove_dir_all(entry.path()); // another run may be faster
        }
    }
    Ok(())
}

fn main() -> Result<()> {
    remove_old_folders()?;
    let dir = DEV.to_str().expect("a path in UTF-8");
    // The first server creates the certificates, before the checks start many servers at the same time.
    drop(Launch::new(PROGRAM, &[]).args(&["--dev-cert", dir]).start()?);
    // Some checks run the server as another user.
    #[cfg(unix)]
    for file in fs::read_dir(&*DEV)? {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(file?.path(), fs::Permissions::from_mode(0o644))?;
    }
    let args = Box::leak(Box::new(["--dev-cert", dir]));
    let tls = Box::leak(Box::new(TlsSettings::with_ca(&DEV.join("ca.pem"))?));
    let server = OwnServer::new(PROGRAM, 4040, exchange).args(args);
    let server = server.longest_unfinished(longest_hello);
    // A client that is refused has one second for its handshake. If it speaks plaintext, the connection is
    // closed at once.
    let server = server.refused_request(b"plaintext");
    test_servers(&[server.profile("chat-async").tls(tls)])
}
