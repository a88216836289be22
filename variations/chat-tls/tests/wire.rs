//! Tests what chat-tls sends inside TLS, and how it handles TLS itself.
//!
//! `cargo test -p chat-tls --test wire`
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod harness;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use probe::TIMEOUT;
use probe::server::{Launch, Server, Signal};
use probe::wire::{Client, Received, prep_msg};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConnection, SignatureScheme};
use tempfile::TempDir;

use harness::{
    Certs, PROGRAM, connect, exchange, expect_full, expect_idle, join, recv_to_close_notify, start,
    wait_for_log_about,
};

fn launch(args: &[String]) -> Launch {
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    Launch::new(PROGRAM, &[]).args(&args)
}

/// The number of messages of 1 kB that are sent to a client that does not read: fewer than its queue may
/// hold, and more than the kernel has room for.
const MANY: usize = 180;

fn kilobyte() -> String {
    "k".repeat(1000)
}

/// Connects a client that has small buffers and reads nothing more once it is in the room.
fn join_silent(certs: &Certs, server: &Server, ann: &mut Client) -> Result<Client> {
    let silent = Client::connect_with_small_buffers(server.addr())?;
    let mut silent = silent.start_tls(&certs.tls(&TLS13)?)?;
    exchange(&mut silent, "I will not read", 1)?;
    ann.expect_msg(&format!("{}: I will not read", silent.addr()))?;
    Ok(silent)
}

/// Checks that a client gets the message [`MANY`] times, and after that a proper end.
fn expect_many(late: &mut Client, relayed: &str) -> Result<()> {
    late.enlarge_recv_buffer()?; // with small buffers, a busy machine might need more than the 3 s
    let bytes = recv_to_close_notify(late)?;
    let is_whole = bytes == prep_msg(relayed).repeat(MANY);
    assert!(is_whole, "{} bytes: {:?}", bytes.len(), bytes.last_chunk::<40>());
    Ok(())
}

/// Returns the TLS state and the socket of a client that uses TLS.
fn tls_parts(client: &mut Client) -> (&mut ClientConnection, &mut TcpStream) {
    client.tls_parts().unwrap()
}

/// Sends `close_notify`, and does not close the sending side of the socket.
fn send_close_notify(client: &mut Client) -> Result<()> {
    let (tls, sock) = tls_parts(client);
    tls.send_close_notify();
    while tls.wants_write() {
        tls.write_tls(sock)?;
    }
    Ok(())
}

#[test]
fn clients_of_both_versions_chat_and_at_sigterm_get_close_notify() -> Result<()> {
    let (certs, mut server) = start(&[])?;
    let mut ann = join(&certs, &server)?;
    let mut bob = Client::connect(server.addr())?.start_tls(&certs.tls(&TLS12)?)?;
    exchange(&mut bob, "I am here", 1)?;
    ann.expect_msg(&format!("{}: I am here", bob.addr()))?;
    for text in ["one", "two", "three"] {
        ann.send_msg(text)?;
    }
    for text in ["one", "two", "three"] {
        let relayed = format!("{}: {text}", ann.addr());
        bob.expect_msg(&relayed)?;
        ann.expect_msg(&relayed)?;
    }
    server.signal(Signal::TERM)?;
    for client in [&mut ann, &mut bob] {
        assert_eq!(recv_to_close_notify(client)?, b"");
    }
    server.expect_exit("sent SIGTERM")?;
    Ok(())
}

#[test]
fn a_client_over_the_limit_is_told_inside_tls() -> Result<()> {
    let (certs, server) = start(&["--max-clients", "1"])?;
    let _first = connect(&certs, &server)?;
    expect_full(&certs, &server)
}

#[test]
fn a_slow_reader_is_disconnected_and_no_other_client_waits_for_it() -> Result<()> {
    /// Several times as much as may be queued for one client, and much less than is sent.
    const MEMORY: u64 = 12 << 20;
    let (certs, server) = start(&[])?;
    let mut ann = join(&certs, &server)?;
    let silent = join_silent(&certs, &server, &mut ann)?;
    exchange(&mut ann, &kilobyte(), MANY)?;
    expect_idle(&server, "a client does not read");

    let before = server.usage().map_or(0, |figures| figures.resident_bytes);
    for _ in 0..300 {
        exchange(&mut ann, &"x".repeat(4000), 30)?; // 36 MB in total
    }
    let after = server.usage().map_or(0, |figures| figures.resident_bytes);
    let growth = after.saturating_sub(before);
    assert!(growth < MEMORY, "{growth} bytes");

    let line = wait_for_log_about(&server, silent.addr(), "WARN")?;
    let (before_unit, _) = line.split_once(" bytes").unwrap();
    let queued: usize = before_unit.rsplit(' ').next().unwrap().parse()?;
    assert!(queued > 1000, "{line}");
    wait_for_log_about(&server, silent.addr(), "disconnected")?;
    exchange(&mut ann, "still here", 1)
}

#[test]
fn a_client_that_breaks_the_protocol_is_told_why_inside_tls() -> Result<()> {
    let (certs, server) = start(&[])?;
    let mut ann = join(&certs, &server)?;
    let too_long = "x".repeat(16 * 1024 + 1).into_bytes();
    for (bytes, reason) in [
        (&too_long[..], "the message is longer than 16384 bytes"),
        (b"caf\xe9\0", "the message is not UTF-8: invalid at byte 3 of 4"),
    ] {
        let mut bob = connect(&certs, &server)?;
        bob.send_msg("whole")?;
        bob.send(bytes)?;
        let relayed = format!("{}: whole", bob.addr());
        let expected = [prep_msg(&relayed), prep_msg(&format!("server: {reason}"))].concat();
        assert_eq!(recv_to_close_notify(&mut bob)?, expected);
        ann.expect_msg(&relayed)?;
        wait_for_log_about(&server, bob.addr(), reason)?;
    }
    exchange(&mut ann, "still here", 1)
}

#[test]
fn garbage_after_the_handshake_ends_only_that_connection() -> Result<()> {
    let (certs, server) = start(&[])?;
    let mut ann = join(&certs, &server)?;
    let changed_record = [&[23, 3, 3, 0, 64][..], &[7; 64]].concat();
    for (bytes, reason) in
        [(&b"suddenly plaintext\0"[..], "InvalidContentType"), (&changed_record, "cannot decrypt")]
    {
        let mut bob = connect(&certs, &server)?;
        tls_parts(&mut bob).1.write_all(bytes)?;
        // A TLS alert also counts as a reset.
        assert_eq!(bob.recv_bytes_to_end()?, (Vec::new(), Received::Reset));
        wait_for_log_about(&server, bob.addr(), reason)?;
        wait_for_log_about(&server, bob.addr(), "disconnected")?;
        exchange(&mut ann, "still here", 1)?;
    }
    Ok(())
}

#[test]
fn a_client_that_requests_new_keys_without_end_is_disconnected() -> Result<()> {
    let (certs, server) = start(&[])?;
    let mut ann = join(&certs, &server)?;
    let mut bob = connect(&certs, &server)?;
    tls_parts(&mut bob).0.refresh_traffic_keys()?;
    exchange(&mut bob, "one request is fine", 1)?;
    ann.recv_msg()?;
    // The loop ends with an error: the server has closed the connection.
    let (tls, sock) = tls_parts(&mut bob);
    while tls.refresh_traffic_keys().is_ok() && tls.write_tls(sock).is_ok() {}
    wait_for_log_about(&server, bob.addr(), "TooManyKeyUpdateRequests")?;
    wait_for_log_about(&server, bob.addr(), "disconnected")?;
    exchange(&mut ann, "still here", 1)
}

#[test]
fn at_sigterm_what_is_queued_is_delivered_and_then_close_notify() -> Result<()> {
    let (certs, mut server) = start(&[])?;
    let mut ann = join(&certs, &server)?;
    let mut late = join_silent(&certs, &server, &mut ann)?;
    exchange(&mut ann, &kilobyte(), MANY)?;
    let signalled = Instant::now();
    server.signal(Signal::TERM)?;
    expect_many(&mut late, &format!("{}: {}", ann.addr(), kilobyte()))?;
    assert_eq!(recv_to_close_notify(&mut ann)?, b"");
    server.expect_exit("sent SIGTERM while much was queued")?;
    assert_eq!(server.log().count(|line| line.contains("WARN")), 0, "{}", server.log());
    assert!(signalled.elapsed() < Duration::from_secs(6), "{:?}", signalled.elapsed());
    Ok(())
}

#[test]
fn after_a_client_sends_close_notify_its_queue_is_delivered() -> Result<()> {
    let (certs, server) = start(&[])?;
    let mut ann = join(&certs, &server)?;
    let mut late = join_silent(&certs, &server, &mut ann)?;
    exchange(&mut ann, &kilobyte(), MANY)?;
    send_close_notify(&mut late)?;
    expect_many(&mut late, &format!("{}: {}", ann.addr(), kilobyte()))?;
    wait_for_log_about(&server, late.addr(), "disconnected")?;

    let mut silent = join_silent(&certs, &server, &mut ann)?;
    exchange(&mut ann, &kilobyte(), MANY)?;
    send_close_notify(&mut silent)?;
    expect_idle(&server, "a client has ended its sending side and does not read");
    wait_for_log_about(&server, silent.addr(), "disconnected")?;
    exchange(&mut ann, "still here", 1)
}

/// Records whether a server asks the client for a certificate.
#[derive(Debug, Default)]
struct CertRequests {
    was_asked: AtomicBool,
}

impl ResolvesClientCert for CertRequests {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.was_asked.store(true, SeqCst);
        None
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// The limits that the header of `main.rs` states: clients stay anonymous, and an observer can see the
/// length of each message.
#[test]
fn clients_are_not_asked_for_a_certificate_and_lengths_are_not_hidden() -> Result<()> {
    let (certs, server) = start(&[])?;
    let mut ann = join(&certs, &server)?;
    let requests = Arc::new(CertRequests::default());
    let mut tls = certs.tls(&TLS13)?;
    tls.config_mut().client_auth_cert_resolver = requests.clone();
    let mut bob = Client::connect(server.addr())?.start_tls(&tls)?;
    exchange(&mut bob, "do you know me?", 1)?;
    assert!(!requests.was_asked.load(SeqCst));

    let prefix = ann.addr().to_string().len() + 2;
    let (_, sock) = tls_parts(&mut bob);
    sock.set_read_timeout(Some(TIMEOUT))?;
    for len in [1, 1000] {
        ann.send_msg(&"x".repeat(len))?;
        let mut header = [0; 5]; // the type, a version, and the length of a record
        sock.read_exact(&mut header)?;
        let record = usize::from(u16::from_be_bytes([header[3], header[4]]));
        sock.read_exact(&mut vec![0; record])?;
        // A record also contains the zero byte, the inner type, and the authentication tag (RFC 8446,
        // section 5.2).
        assert_eq!(record, prefix + len + 1 + 1 + 16);
    }
    Ok(())
}

#[test]
fn the_log_says_when_close_notify_is_missing() -> Result<()> {
    let (certs, server) = start(&[])?;
    let mut ann = join(&certs, &server)?;
    send_close_notify(&mut ann)?;
    assert_eq!(recv_to_close_notify(&mut ann)?, b"");
    wait_for_log_about(&server, ann.addr(), "disconnected")?;
    assert_eq!(server.log().count(|line| line.contains("close_notify")), 0);

    let mut bob = connect(&certs, &server)?;
    bob.send(b"cut of")?;
    bob.close_without_notify()?;
    assert_eq!(recv_to_close_notify(&mut bob)?, b"");
    wait_for_log_about(&server, bob.addr(), "without close_notify")?;
    Ok(())
}

#[test]
fn a_client_that_speaks_plaintext_is_disconnected() -> Result<()> {
    let (_certs, server) = start(&[])?;
    let mut plain = Client::connect(server.addr())?;
    plain.send_msg("hi")?;
    plain.expect_eof()?;
    wait_for_log_about(&server, plain.addr(), "speaks plaintext, not TLS")?;
    Ok(())
}

/// Nothing can be sent before the handshake, so everything that the others send waits in the queue.
#[test]
fn a_client_that_does_not_end_its_handshake_cannot_fill_the_memory() -> Result<()> {
    let (certs, server) = start(&["-q"])?;
    let mut ann = join(&certs, &server)?;
    let begin = Instant::now();
    let mut silent = Client::connect(server.addr())?;
    // 9.6 MB in total: more than the 8 MiB that a queue may have.
    for _ in 0..60 {
        exchange(&mut ann, &"x".repeat(16_000), 10)?;
    }
    silent.expect_eof()?;
    // On a very busy machine, the deadline for the handshake passes first.
    let is_before_deadline = begin.elapsed() < Duration::from_secs(9);
    let why = if is_before_deadline { "the client does not keep up" } else { "" };
    wait_for_log_about(&server, silent.addr(), &format!("TLS handshake: {why}"))?;
    Ok(())
}

#[test]
fn the_error_for_a_wrong_file_names_the_file_and_the_reason() -> Result<()> {
    let (one, two) = (start(&[])?.0, start(&[])?.0);
    for (cert, key, wrong, reason) in [
        (one.path("none"), one.path("key.pem"), "none: ", "No such file"),
        (one.path("key.pem"), one.path("key.pem"), "key.pem: ", "there is no certificate in it"),
        (one.path("cert.pem"), one.path("cert.pem"), "cert.pem: ", "there is no private key in it"),
        (one.path("cert.pem"), two.path("key.pem"), "key.pem: ", "not the key of the certificate"),
    ] {
        let args = ["--cert", cert.to_str().unwrap(), "--key", key.to_str().unwrap()];
        let error = start_error(&args.map(str::to_owned))?;
        assert!(error.contains(wrong) && error.contains(reason), "{error}");
    }
    Ok(())
}

/// Some editors write a byte order mark at the beginning of a file. If two such files are joined, one mark
/// is in the middle.
#[test]
fn byte_order_marks_in_the_files_are_ignored() -> Result<()> {
    const MARK: &str = "\u{feff}";
    let certs = start(&[])?.0;
    let key = fs::read_to_string(certs.path("key.pem"))?;
    let cert = fs::read_to_string(certs.path("cert.pem"))?;
    let ca = fs::read_to_string(certs.path("ca.pem"))?;
    fs::write(certs.path("key.pem"), [MARK, &key].concat())?;
    fs::write(certs.path("cert.pem"), [MARK, &cert, MARK, &ca].concat())?;
    let server = launch(&certs.args()).start()?;
    let mut ann = join(&certs, &server)?;
    assert_eq!(tls_parts(&mut ann).0.peer_certificates().map(<[_]>::len), Some(2));
    drop(server);

    let units = MARK.encode_utf16().chain("-----".encode_utf16());
    fs::write(certs.path("key.pem"), units.flat_map(u16::to_le_bytes).collect::<Vec<_>>())?;
    let error = start_error(&certs.args())?;
    assert!(error.contains("key.pem: it is encoded in UTF-16"), "{error}");
    Ok(())
}

#[test]
fn the_error_for_an_unusable_key_says_which_keys_are_usable() -> Result<()> {
    // Made with openssl(1), only for this test.
    const KEYS: [&str; 2] = [include_str!("keys/p521.pem"), include_str!("keys/rsa1024.pem")];
    let certs = start(&[])?.0;
    for key in KEYS {
        fs::write(certs.path("key.pem"), key)?;
        let error = start_error(&certs.args())?;
        for part in ["key.pem: the private key in it cannot", "P-256", "P-384", "Ed25519", "2,048"]
        {
            assert!(error.contains(part), "{error}");
        }
    }
    Ok(())
}

/// A client sends the same alert for an expired certificate and for one that is not valid yet.
#[test]
fn the_log_names_both_reasons_for_an_alert_about_the_dates_of_the_certificate() -> Result<()> {
    let day = Duration::from_hours(24);
    let now = SystemTime::now();
    for (from, to) in [(now + day, now + 2 * day), (now - 2 * day, now - day)] {
        let certs = create_certs(from, to)?;
        let server = launch(&certs.args()).start()?;
        let sock = Client::connect(server.addr())?;
        let addr = sock.addr();
        assert!(sock.start_tls(&certs.tls(&TLS13)?).is_err());
        wait_for_log_about(&server, addr, "our certificate has expired or is not valid yet")?;
    }
    Ok(())
}

/// Starts the server with arguments that it must refuse, and returns the line that says why it refuses
/// them.
fn start_error(args: &[String]) -> Result<String> {
    let ended = launch(args).args(&["--port", "0"]).run_to_end()?;
    assert_eq!(ended.status.code(), Some(1), "{ended}");
    assert_eq!(ended.stderr.len(), 1, "{ended}");
    Ok(ended.stderr.concat())
}

#[test]
fn a_development_certificate_is_created_once_and_never_overwritten() -> Result<()> {
    let (certs, server) = start(&[])?;
    let read = || ["ca.pem", "cert.pem", "key.pem"].map(|name| fs::read(certs.path(name)).unwrap());
    let created = read();
    let mode = fs::metadata(certs.path("key.pem"))?.permissions().mode();
    assert_eq!(mode & 0o77, 0, "others may read the key");
    drop(server);

    let dev_cert = ["--dev-cert".to_owned(), certs.0.path().to_str().unwrap().to_owned()];
    let again = launch(&dev_cert).start()?;
    join(&certs, &again)?;
    assert_eq!(read(), created);

    fs::remove_file(certs.path("key.pem"))?;
    let error = start_error(&dev_cert)?;
    let ca = certs.path("ca.pem");
    let key = certs.path("key.pem");
    let reason = format!("there is {} but no {}", ca.display(), key.display());
    assert!(error.contains(&reason), "{error}");
    Ok(())
}

#[test]
fn the_error_for_an_expired_development_certificate_says_what_to_do() -> Result<()> {
    let day = Duration::from_hours(24);
    let certs = create_certs(SystemTime::now() - 2 * day, SystemTime::now() - day)?;
    let dir = certs.0.path().to_str().unwrap();
    let error = start_error(&["--dev-cert".to_owned(), dir.to_owned()])?;
    let advice = format!("remove {dir} to create new certificates");
    for part in [&format!("{dir}/cert.pem: "), "expired", &advice] {
        assert!(error.contains(part), "{error}");
    }
    Ok(())
}

/// Creates a folder with a certificate that is valid between two times, and with its CA.
fn create_certs(from: SystemTime, to: SystemTime) -> Result<Certs> {
    let certs = Certs(TempDir::new()?);
    let mut ca = CertificateParams::new([])?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate()?;
    fs::write(certs.path("ca.pem"), ca.self_signed(&ca_key)?.pem())?;
    let mut params = CertificateParams::new(["localhost".to_owned()])?;
    params.not_before = from.into();
    params.not_after = to.into();
    let key = KeyPair::generate()?;
    let cert = params.signed_by(&key, &Issuer::new(ca, ca_key))?;
    fs::write(certs.path("cert.pem"), cert.pem())?;
    fs::write(certs.path("key.pem"), key.serialize_pem())?;
    Ok(certs)
}
