//! What every server of this project keeps, kept inside TLS: `cargo test -p chat-tls --test contract`.
//!
//! The clients of these checks that only connect, leave or send garbage do so without TLS, so what the
//! server does before and during a handshake is checked too. The ladder is climbed inside TLS.

mod private;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::{fs, io::Write as _};

use rustls::{ClientConnection, Stream, version};
use workbench::check::Profile;
use workbench::contract::common::{self, Speech};
use workbench::server::Launch;
use workbench::tls::Tls;
use workbench::wire::Client;

static DEV: LazyLock<PathBuf> =
    LazyLock::new(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join("chat-tls-contract"));

fn own_words(client: &mut Client) -> anyhow::Result<()> {
    let mut tls = match client.recall::<ClientConnection>() {
        Some(tls) => tls,
        None => private::begin(private::trust(&DEV.join("ca.pem"), &[&version::TLS13])?)?,
    };
    let own = format!("{}: hello", client.addr());
    let mut stream = Stream::new(&mut tls, client);
    stream.write_all(b"hello\0")?;
    stream.flush()?;
    while private::hear(&mut stream)? != own {} // others speak as well
    client.remember(tls);
    Ok(())
}

/// A `ClientHello` in a record of 16 KiB, of which the last bytes are missing (RFC 8446, section 5.1).
fn longest_hello() -> Vec<u8> {
    let head = [0x16, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc];
    [&head[..], &[0; 16_000]].concat()
}

fn main() -> anyhow::Result<()> {
    let _ = fs::remove_dir_all(&*DEV); // with certificates that may have expired
    let dir = DEV.to_str().expect("a path in UTF-8");
    // Once, before the checks start many servers at the same time.
    drop(Launch::new(private::PROGRAM, &[]).args(&["--dev-cert", dir]).start()?);
    // Some checks let the server be another user's.
    #[cfg(unix)]
    for file in fs::read_dir(&*DEV)? {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(file?.path(), fs::Permissions::from_mode(0o644))?;
    }
    let args = Box::leak(Box::new(["--dev-cert", dir]));
    let tls = Box::leak(Box::new(Tls::trusting(&DEV.join("ca.pem"))?));
    let server = Speech::new(private::PROGRAM, 4040, own_words).args(args);
    let server = server.unfinished(longest_hello);
    // Who begins a handshake at the door has a second for it; who cannot be told, none.
    common::run(&[server.knock(b"plaintext").climbs_as(Profile::ChatAsync).inside(tls)])
}
