//! Runs the checks of `check` against the server's binary: `cargo test -p chat-tls --test contract`.
//!
//! Clients of these checks that only connect, leave or send garbage do so without TLS, so the checks also
//! cover the time before and during a handshake. The checks of a chat run inside TLS.

mod tls_client;

use std::fs;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use anyhow::{Result, bail};
use check::Profile;
use check::{OwnServer, test_servers};
use probe::server::Launch;
use probe::tls::TlsSettings;
use probe::wire::Client;
use rustls::{ClientConnection, Stream, version};

static DEV: LazyLock<PathBuf> =
    LazyLock::new(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join("chat-tls-contract"));

/// Sends a message and waits until it comes back. The client keeps its TLS state for the next time.
fn exchange(client: &mut Client) -> Result<()> {
    let mut tls = match client.take_state::<ClientConnection>() {
        Some(tls) => tls,
        None => tls_client::session(tls_client::config(&DEV.join("ca.pem"), &[&version::TLS13])?)?,
    };
    let relayed = format!("{}: hello", client.addr());
    let mut stream = Stream::new(&mut tls, client);
    stream.write_all(b"hello\0")?;
    stream.flush()?;
    while recv_msg(&mut stream)? != relayed {} // other clients send messages, too
    client.set_state(tls);
    Ok(())
}

/// Receives one message, and not a byte more: any further bytes would be lost.
fn recv_msg(stream: &mut impl Read) -> Result<String> {
    let mut text = Vec::new();
    let mut byte = [0];
    loop {
        match stream.read(&mut byte)? {
            0 => bail!("the stream ended after {:?}", String::from_utf8_lossy(&text)),
            _ if byte == [0] => return Ok(String::from_utf8(text)?),
            _ => text.push(byte[0]),
        }
    }
}

/// Returns a `ClientHello` in a record of 16 KiB without its last bytes (RFC 8446, section 5.1).
fn longest_hello() -> Vec<u8> {
    let header = [0x16, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc];
    [&header[..], &[0; 16_000]].concat()
}

fn main() -> Result<()> {
    let _ = fs::remove_dir_all(&*DEV); // its certificates may have expired
    let dir = DEV.to_str().expect("a path in UTF-8");
    // The first server creates the certificates, before the checks start many servers at the same time.
    drop(Launch::new(tls_client::PROGRAM, &[]).args(&["--dev-cert", dir]).start()?);
    // Some checks run the server as another user.
    #[cfg(unix)]
    for file in fs::read_dir(&*DEV)? {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(file?.path(), fs::Permissions::from_mode(0o644))?;
    }
    let args = Box::leak(Box::new(["--dev-cert", dir]));
    let tls = Box::leak(Box::new(TlsSettings::with_ca(&DEV.join("ca.pem"))?));
    let server = OwnServer::new(tls_client::PROGRAM, 4040, exchange).args(args);
    let server = server.unfinished(longest_hello);
    // A client that is refused has one second for its handshake. If it speaks plaintext, the connection is
    // closed at once.
    let server = server.knock(b"plaintext");
    test_servers(&[server.climbs_as(Profile::ChatAsync).inside(tls)])
}
