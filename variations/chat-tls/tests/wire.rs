//! What chat-tls says inside TLS and about it: `cargo test -p chat-tls --test wire`.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod private;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use private::{End, PROGRAM, Private, trust};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use tempfile::TempDir;
use workbench::server::{Launch, Server, Signal};
use workbench::wire::{Client, framed};
use workbench::{PATIENCE, wait_until};

fn start(args: &[&str]) -> Result<(TempDir, Server)> {
    let dir = TempDir::new()?;
    let dev = ["--dev-cert", dir.path().to_str().unwrap()];
    let server = Launch::new(PROGRAM, &[]).args(&dev).args(args).start()?;
    Ok((dir, server))
}

fn join(dir: &TempDir, server: &Server) -> Result<Private> {
    Private::shake(Client::connect(server.addr())?, trust(&dir.path().join("ca.pem"), &[&TLS13])?)
}

/// Joins before all others, and is known to be in: a handshake is over for the client a little before
/// it is for the server.
fn join_first(dir: &TempDir, server: &Server) -> Result<Private> {
    let mut ann = join(dir, server)?;
    pour(&mut ann, "I am in", 1)?;
    Ok(ann)
}

#[test]
fn both_versions_hear_each_other_in_order_and_sigterm_ends_with_close_notify() -> Result<()> {
    let (dir, mut server) = start(&[])?;
    let mut ann = join_first(&dir, &server)?;
    let old = trust(&dir.path().join("ca.pem"), &[&TLS12])?;
    let mut bob = Private::shake(Client::connect(server.addr())?, old)?;
    bob.say("I am here")?;
    let name = bob.sock.addr();
    bob.expect(&format!("{name}: I am here"))?;
    ann.expect(&format!("{name}: I am here"))?;
    let name = ann.sock.addr();
    for text in ["one", "two", "three"] {
        ann.say(text)?;
    }
    for text in ["one", "two", "three"] {
        bob.expect(&format!("{name}: {text}"))?;
        ann.expect(&format!("{name}: {text}"))?;
    }
    server.signal(Signal::TERM)?;
    for client in [&mut ann, &mut bob] {
        assert_eq!(client.until_end()?, (Vec::new(), End::Notified));
    }
    server.expect_exit("sent SIGTERM")?;
    Ok(())
}

#[test]
fn one_too_many_is_told_in_private() -> Result<()> {
    let (dir, server) = start(&["--max-clients", "1"])?;
    let _inside = join(&dir, &server)?;
    expect_full(&dir, &server)
}

/// A newcomer must be told that there is no place, unless it is too slow at shaking hands.
fn expect_full(dir: &TempDir, server: &Server) -> Result<()> {
    let told = (b"server: full\0".to_vec(), End::Notified);
    let try_once = || join(dir, server)?.until_end();
    let is_told = wait_until(PATIENCE, || Ok(try_once().is_ok_and(|heard| heard == told)))?;
    assert!(is_told, "{}", server.log());
    Ok(())
}

/// What is poured out for a client that does not read: less than any queue holds, and more than the
/// kernel has room for.
const POURED: usize = 180;

fn a_kilobyte() -> String {
    "k".repeat(1000)
}

/// One says something so many times, and hears that.
fn pour(ann: &mut Private, text: &str, times: usize) -> Result<()> {
    let relay = format!("{}: {text}", ann.sock.addr());
    ann.send(&framed(text).repeat(times))?;
    (0..times).try_for_each(|_| ann.expect(&relay))
}

/// Joins with little room between it and the server, and reads no more once it is in.
fn join_silent(dir: &TempDir, server: &Server, ann: &mut Private) -> Result<Private> {
    let sock = Client::connect_narrow(server.addr())?;
    let mut silent = Private::shake(sock, trust(&dir.path().join("ca.pem"), &[&TLS13])?)?;
    silent.say("not a word from me")?;
    let relay = format!("{}: not a word from me", silent.sock.addr());
    silent.expect(&relay)?;
    ann.expect(&relay)?;
    Ok(silent)
}

/// All that was poured must come, and then the end as it should be.
fn expect_poured(late: &mut Private, relay: &str) -> Result<()> {
    late.sock.widen()?; // piece by piece a busy machine might need more than the 3 s
    let (bytes, end) = late.until_end()?;
    let whole = bytes == framed(relay).repeat(POURED);
    assert!(whole, "{} bytes: {:?}", bytes.len(), bytes.last_chunk::<40>());
    assert_eq!(end, End::Notified);
    Ok(())
}

fn wait_for_log_about(server: &Server, client: &Private, words: &str) -> Result<String> {
    let addr = client.sock.addr().to_string();
    server.wait_for_log(words, |line| line.contains(&addr) && line.contains(words))
}

/// A loop that does not rest takes all the processor time that it gets.
fn expect_rest(server: &Server, whilst: &str) {
    let used = || server.figures().map_or(Duration::ZERO, |figures| figures.cpu);
    let before = used();
    thread::sleep(Duration::from_secs(1)); // what is looked at is this second
    let used = used().saturating_sub(before);
    assert!(used < Duration::from_millis(100), "{used:?} in a second in which {whilst}");
}

#[test]
fn a_slow_reader_is_cut_off_and_nobody_waits_for_it() -> Result<()> {
    /// What may wait for one client, many times over, and far less than what is said.
    const GROWTH: u64 = 6 << 20;
    let (dir, server) = start(&[])?;
    let mut ann = join_first(&dir, &server)?;
    let silent = join_silent(&dir, &server, &mut ann)?;
    pour(&mut ann, &a_kilobyte(), POURED)?;
    expect_rest(&server, "one does not read");
    let before = server.figures().map_or(0, |figures| figures.resident);
    for _ in 0..100 {
        pour(&mut ann, &"x".repeat(4000), 30)?; // 12 MB in all
    }
    let grown = server.figures().map_or(0, |it| it.resident.saturating_sub(before));
    assert!(grown < GROWTH, "{grown}");
    let line = wait_for_log_about(&server, &silent, "WARN")?;
    let queued = line.split_once(" bytes").and_then(|(before, _)| before.rsplit(' ').next());
    let queued: usize = queued.unwrap_or_default().parse()?;
    assert!(queued > 1000, "{line}");
    wait_for_log_about(&server, &silent, "disconnected")?;
    pour(&mut ann, "business as usual", 1)
}

#[test]
fn what_breaks_the_protocol_is_told_in_private() -> Result<()> {
    let (dir, server) = start(&[])?;
    let mut ann = join_first(&dir, &server)?;
    let too_long = "x".repeat(16 * 1024 + 1).into_bytes();
    for (bytes, told) in [
        (&too_long[..], "server: the message is longer than 16384 bytes"),
        (b"caf\xe9\0", "server: the message is not UTF-8: of its 4 bytes, 3 make sense"),
    ] {
        let mut bob = join(&dir, &server)?;
        bob.say("whole")?;
        bob.send(bytes)?;
        let relay = format!("{}: whole", bob.sock.addr());
        let last_words = [framed(&relay), framed(told)].concat();
        assert_eq!(bob.until_end()?, (last_words, End::Notified));
        ann.expect(&relay)?;
        wait_for_log_about(&server, &bob, told.trim_start_matches("server: "))?;
    }
    pour(&mut ann, "still here", 1)
}

#[test]
fn garbage_after_the_handshake_ends_that_client_alone() -> Result<()> {
    let (dir, server) = start(&[])?;
    let mut ann = join_first(&dir, &server)?;
    let changed_on_the_way = [&[23, 3, 3, 0, 64][..], &[7; 64]].concat();
    for (bytes, why) in [
        (&b"plaintext all of a sudden\0"[..], "InvalidContentType"),
        (&changed_on_the_way, "cannot decrypt"),
    ] {
        let mut bob = join(&dir, &server)?;
        bob.sock.send(bytes)?;
        assert_eq!(bob.until_end()?, (Vec::new(), End::CutOff)); // by an alert
        wait_for_log_about(&server, &bob, why)?;
        wait_for_log_about(&server, &bob, "disconnected")?;
        pour(&mut ann, "undisturbed", 1)?;
    }
    Ok(())
}

#[test]
fn who_asks_for_new_keys_without_end_is_let_go() -> Result<()> {
    let (dir, server) = start(&[])?;
    let mut ann = join_first(&dir, &server)?;
    let mut bob = join(&dir, &server)?;
    bob.tls.refresh_traffic_keys()?;
    pour(&mut bob, "once is nothing", 1)?;
    ann.hear()?;
    // The server may have had enough before the last of them.
    while bob.tls.refresh_traffic_keys().is_ok() && bob.send_out().is_ok() {}
    wait_for_log_about(&server, &bob, "TooManyKeyUpdateRequests")?;
    wait_for_log_about(&server, &bob, "disconnected")?;
    pour(&mut ann, "undisturbed", 1)
}

#[test]
fn at_sigterm_what_is_queued_is_delivered_and_then_close_notify() -> Result<()> {
    let (dir, mut server) = start(&[])?;
    let mut ann = join_first(&dir, &server)?;
    let mut late = join_silent(&dir, &server, &mut ann)?;
    pour(&mut ann, &a_kilobyte(), POURED)?;
    let begin = Instant::now();
    server.signal(Signal::TERM)?;
    expect_poured(&mut late, &format!("{}: {}", ann.sock.addr(), a_kilobyte()))?;
    assert_eq!(ann.until_end()?, (Vec::new(), End::Notified));
    server.expect_exit("sent SIGTERM with much queued")?;
    assert_eq!(server.log().count(|line| line.contains("WARN")), 0, "{}", server.log());
    assert!(begin.elapsed() < Duration::from_secs(6), "{:?}", begin.elapsed());
    Ok(())
}

#[test]
fn after_the_clients_close_notify_the_rest_is_delivered() -> Result<()> {
    let (dir, server) = start(&[])?;
    let mut ann = join_first(&dir, &server)?;
    let mut late = join_silent(&dir, &server, &mut ann)?;
    pour(&mut ann, &a_kilobyte(), POURED)?;
    late.close_notify()?;
    expect_poured(&mut late, &format!("{}: {}", ann.sock.addr(), a_kilobyte()))?;
    wait_for_log_about(&server, &late, "disconnected")?;
    let mut never = join_silent(&dir, &server, &mut ann)?;
    pour(&mut ann, &a_kilobyte(), POURED)?;
    never.close_notify()?;
    expect_rest(&server, "one has closed its side and does not read");
    wait_for_log_about(&server, &never, "disconnected")?;
    pour(&mut ann, "still here", 1)
}

/// Notes whether a server wants to know who its client is.
#[derive(Debug, Default)]
struct Passport(AtomicBool);

impl ResolvesClientCert for Passport {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.store(true, SeqCst);
        None
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// What it is bad at: it asks nobody who they are, and each message shows how long it is.
#[test]
fn it_asks_for_no_certificate_and_hides_no_length() -> Result<()> {
    let (dir, server) = start(&[])?;
    let mut ann = join_first(&dir, &server)?;
    let passport = Arc::new(Passport::default());
    let mut config = trust(&dir.path().join("ca.pem"), &[&TLS13])?;
    config.client_auth_cert_resolver = passport.clone();
    let mut bob = Private::shake(Client::connect(server.addr())?, config)?;
    pour(&mut bob, "who am I?", 1)?;
    assert!(!passport.0.load(SeqCst));
    let prefix = ann.sock.addr().to_string().len() + 2;
    for len in [1, 1000] {
        ann.say(&"x".repeat(len))?;
        let header = bob.sock.take(5)?; // the type, a version, and the length of a record
        let shown = usize::from(u16::from_be_bytes([header[3], header[4]]));
        bob.sock.take(shown)?;
        // The zero byte, the type within, and what keeps it from being changed (RFC 8446 section 5.2).
        assert_eq!(shown, prefix + len + 1 + 1 + 16);
    }
    Ok(())
}

#[test]
fn a_missing_close_notify_is_told_apart() -> Result<()> {
    let (dir, server) = start(&[])?;
    let mut ann = join_first(&dir, &server)?;
    ann.close_notify()?;
    assert_eq!(ann.until_end()?, (Vec::new(), End::Notified));
    let name = ann.sock.addr().to_string();
    server.wait_for_log("her end", |line| line.contains(&name) && line.contains("disconnected"))?;
    assert_eq!(server.log().count(|line| line.contains("close_notify")), 0);
    let mut cut = join(&dir, &server)?;
    cut.send(b"cut of")?;
    cut.sock.half_close()?;
    assert_eq!(cut.until_end()?, (Vec::new(), End::Notified));
    wait_for_log_about(&server, &cut, "without close_notify")?;
    Ok(())
}

#[test]
fn plaintext_ends_with_a_line_in_the_log() -> Result<()> {
    let (_dir, server) = start(&[])?;
    let mut plain = Client::connect(server.addr())?;
    plain.say("hi")?;
    plain.expect_eof()?;
    server.wait_for_log("why", |line| line.contains("speaks plaintext, not TLS"))?;
    Ok(())
}

/// Neither who says nothing nor who says the beginning of a handshake keeps its place.
#[test]
fn a_handshake_that_never_ends_has_a_place_for_ten_seconds() -> Result<()> {
    let (dir, server) = start(&["--max-clients", "2"])?;
    let begin = Instant::now();
    let mut silent = Client::connect(server.addr())?;
    let mut half = Client::connect(server.addr())?;
    half.send(&[22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3])?;
    expect_full(&dir, &server)?;
    expect_rest(&server, "two do not go on with their handshakes");
    for client in [&mut silent, &mut half] {
        client.expect_eof()?;
        let addr = client.addr().to_string();
        let is_late = |line: &str| line.contains(&addr) && line.contains("not done within 10s");
        server.wait_for_log("why", is_late)?;
    }
    assert!(begin.elapsed() > Duration::from_secs(9), "{:?}", begin.elapsed());
    let is_in = wait_until(PATIENCE, || Ok(pour(&mut join(&dir, &server)?, "in", 1).is_ok()))?;
    assert!(is_in, "{}", server.log());
    Ok(())
}

#[test]
fn certificates_that_do_not_fit_are_named() -> Result<()> {
    let (one, two) = (start(&[])?.0, start(&[])?.0);
    let file = |dir: &TempDir, name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (cert, key) = (file(&one, "cert.pem"), file(&one, "key.pem"));
    for (cert, key, why) in [
        (&file(&one, "none"), &key, "No such file"),
        (&key, &key, "there is no certificate in it"),
        (&cert, &cert, "there is no private key in it"),
        (&cert, &file(&two, "key.pem"), "not the key of the certificate in"),
    ] {
        let said = refusal(&["--cert", cert, "--key", key])?;
        assert!(said.contains(why) && said.contains(".pem") | said.contains("none"), "{said}");
    }
    Ok(())
}

/// A file that an editor has marked, and two such files joined.
#[test]
fn a_byte_order_mark_does_not_hide_a_certificate_or_a_key() -> Result<()> {
    const MARK: &str = "\u{feff}";
    let dir = start(&[])?.0;
    let [ca, cert, key] = ["ca.pem", "cert.pem", "key.pem"].map(|name| dir.path().join(name));
    let chain = [MARK, &fs::read_to_string(&cert)?, MARK, &fs::read_to_string(&ca)?].concat();
    fs::write(&key, [MARK, &fs::read_to_string(&key)?].concat())?;
    fs::write(&cert, chain)?;
    let files = ["--cert", cert.to_str().unwrap(), "--key", key.to_str().unwrap()];
    let server = Launch::new(PROGRAM, &[]).args(&files).start()?;
    let ann = join_first(&dir, &server)?;
    assert_eq!(ann.tls.peer_certificates().map(<[_]>::len), Some(2));
    drop(server);
    let wide: Vec<_> = MARK.encode_utf16().chain("-----".encode_utf16()).collect();
    fs::write(&key, wide.into_iter().flat_map(u16::to_le_bytes).collect::<Vec<_>>())?;
    let said = refusal(&files)?;
    assert!(said.contains("key.pem: it is encoded in UTF-16"), "{said}");
    Ok(())
}

#[test]
fn a_key_that_cannot_be_used_is_told_which_keys_can() -> Result<()> {
    // Made by openssl(1), for this test alone.
    const KEYS: [(&str, &str); 2] =
        [("P-521", include_str!("keys/p521.pem")), ("RSA-1024", include_str!("keys/rsa1024.pem"))];
    let dir = start(&[])?.0;
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| dir.path().join(name));
    for (kind, text) in KEYS {
        fs::write(&key, text)?;
        let said = refusal(&["--cert", cert.to_str().unwrap(), "--key", key.to_str().unwrap()])?;
        let usable = ["P-256", "P-384", "Ed25519", "RSA", "2,048"];
        let is_told = usable.iter().all(|word| said.contains(word));
        assert!(
            is_told && said.contains("key.pem: the private key in it cannot be used"),
            "{kind}: {said}"
        );
    }
    Ok(())
}

/// A client sends the same alert for both.
#[test]
fn an_alert_about_the_dates_of_the_certificate_names_both_reasons() -> Result<()> {
    let day = Duration::from_hours(24);
    let now = SystemTime::now();
    for (from, to) in [(now + day, now + 2 * day), (now - 2 * day, now - day)] {
        let dir = certified(from, to)?;
        let [cert, key] = ["cert.pem", "key.pem"].map(|name| dir.path().join(name));
        let files = ["--cert", cert.to_str().unwrap(), "--key", key.to_str().unwrap()];
        let server = Launch::new(PROGRAM, &[]).args(&files).start()?;
        let mut sock = Client::connect(server.addr())?;
        let mut tls = private::begin(trust(&dir.path().join("ca.pem"), &[&TLS13])?)?;
        while tls.is_handshaking() && tls.complete_io(&mut sock).is_ok() {}
        while tls.wants_write() {
            tls.write_tls(&mut sock)?; // the alert
        }
        server.wait_for_log("the reason", |line| {
            line.contains("our certificate has expired or is not valid yet")
        })?;
    }
    Ok(())
}

/// Starts the server where it must not start, and gives the line that says why.
fn refusal(args: &[&str]) -> Result<String> {
    let ended = Launch::new(PROGRAM, &[]).args(&["--port", "0"]).args(args).run_to_end()?;
    assert_eq!((ended.status.code(), ended.stderr.len()), (Some(1), 1), "{ended}");
    Ok(ended.stderr.concat())
}

#[test]
fn a_development_certificate_is_made_once_and_never_overwritten() -> Result<()> {
    let (dir, server) = start(&[])?;
    let files = ["ca.pem", "cert.pem", "key.pem"].map(|name| dir.path().join(name));
    let read = || files.iter().map(fs::read).collect::<Result<Vec<_>, _>>();
    let made = read()?;
    #[cfg(unix)]
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&files[2])?.permissions()) & 0o77,
        0
    );
    drop(server);
    let dev = ["--dev-cert", dir.path().to_str().unwrap()];
    let again = Launch::new(PROGRAM, &[]).args(&dev).start()?;
    join_first(&dir, &again)?;
    assert_eq!(read()?, made);
    fs::remove_file(&files[2])?;
    let said = refusal(&dev)?;
    let [ca, _, key] = files.each_ref().map(|file| file.display());
    assert!(said.contains(&format!("there is {ca} but no {key}")), "{said}");
    Ok(())
}

#[test]
fn a_development_certificate_that_has_expired_is_named_with_what_to_do() -> Result<()> {
    let day = Duration::from_hours(24);
    let dir = certified(SystemTime::now() - 2 * day, SystemTime::now() - day)?;
    let folder = dir.path().to_str().unwrap();
    let said = refusal(&["--dev-cert", folder])?;
    let what_to_do = format!("{folder}/cert.pem: to have others made, remove {folder}");
    assert!(said.contains(&what_to_do) && said.contains("expired"), "{said}");
    Ok(())
}

/// A folder with a certificate that is valid between two times, and its CA.
fn certified(from: SystemTime, to: SystemTime) -> Result<TempDir> {
    let dir = TempDir::new()?;
    let mut ca = CertificateParams::new([])?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate()?;
    fs::write(dir.path().join("ca.pem"), ca.self_signed(&ca_key)?.pem())?;
    let mut params = CertificateParams::new(["localhost".to_owned()])?;
    params.not_before = from.into();
    params.not_after = to.into();
    let key = KeyPair::generate()?;
    let cert = params.signed_by(&key, &Issuer::new(ca, ca_key))?;
    fs::write(dir.path().join("cert.pem"), cert.pem())?;
    fs::write(dir.path().join("key.pem"), key.serialize_pem())?;
    Ok(dir)
}
