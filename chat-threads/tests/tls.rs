//! What `chat-client --tls` takes for its server, and how it says what it does not take.
// In a test that is what should happen when something fails.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, Stream};
use tempfile::TempDir;
use workbench::dialogue::{Client, End, Server, assert_failed};

const PROGRAM: &str = env!("CARGO_BIN_EXE_chat-client");

/// What stands before all that is wrong with a server.
const REFUSED: &str = "Error: TLS handshake: ";

const HOUR: Duration = Duration::from_hours(1);

/// Somebody whom clients can trust.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: TempDir,
}

/// What a server shows of itself, and its key.
type Identity = (CertificateDer<'static>, PrivateKeyDer<'static>);

impl Authority {
    fn named(name: &str) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let cert = params.self_signed(&key).unwrap().pem();
        let authority =
            Authority { issuer: Issuer::new(params, key), folder: TempDir::new().unwrap() };
        fs::write(authority.path(), cert).unwrap();
        authority
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    fn vouch_for(&self, host: &str, since: SystemTime, until: SystemTime) -> Identity {
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        (params.not_before, params.not_after) = (since.into(), until.into());
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        (cert.into(), PrivateKeyDer::Pkcs8(key.serialize_der().into()))
    }

    fn vouch_for_now(&self, host: &str) -> Identity {
        let now = SystemTime::now();
        self.vouch_for(host, now - HOUR, now + HOUR)
    }
}

/// The server's side of a connection, in TLS.
struct Private {
    sock: TcpStream,
    tls: ServerConnection,
}

impl Private {
    fn begin(sock: TcpStream, (cert, key): Identity) -> Self {
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let config = config.with_single_cert(vec![cert], key).unwrap();
        Private { sock, tls: ServerConnection::new(Arc::new(config)).unwrap() }
    }

    fn stream(&mut self) -> Stream<'_, ServerConnection, TcpStream> {
        Stream::new(&mut self.tls, &mut self.sock)
    }

    /// The next bytes must be this message.
    #[track_caller]
    fn expect(&mut self, text: &str) {
        let mut frame = vec![0; text.len() + 1];
        self.stream().read_exact(&mut frame).unwrap();
        assert_eq!(String::from_utf8(frame).unwrap(), format!("{text}\0"));
    }

    fn say(&mut self, text: &str) {
        self.stream().write_all(format!("{text}\0").as_bytes()).unwrap();
        self.stream().flush().unwrap();
    }

    fn close_notify(&mut self) {
        self.tls.send_close_notify();
        self.stream().flush().unwrap();
    }
}

/// A client that trusts this CA, and its connection to a server that shows this of itself.
fn meet(authority: &Authority, args: &[&str], identity: Identity) -> (Client, Private) {
    let server = Server::taking(1);
    let ca = authority.path();
    let args = [&["--tls", "--ca", ca.to_str().unwrap()], args].concat();
    let client = Client::start(PROGRAM, server.port, &args);
    (client, Private::begin(server.accept(), identity))
}

#[test]
fn it_talks_in_private_and_both_say_that_nothing_is_cut_off() {
    let authority = Authority::named("a CA");
    for host in ["localhost", "127.0.0.1"] {
        let (mut client, mut server) = meet(&authority, &[host], authority.vouch_for_now(host));
        client.type_in("hello\n");
        server.expect("hello");
        server.say("127.0.0.1:50312: hello");
        client.expect("127.0.0.1:50312: hello");
        client.end_input();
        assert_eq!(server.stream().read(&mut [0]).unwrap(), 0, "there must be a close_notify");
        server.say("127.0.0.1:50313: not so fast");
        server.close_notify();
        drop(server);
        let stdout = vec!["127.0.0.1:50313: not so fast".to_owned()];
        assert_eq!(client.end(), End { code: Some(0), stdout, stderr: vec![] });
    }
}

#[test]
fn an_end_with_close_notify_and_one_without_are_told_apart() {
    let authority = Authority::named("a CA");
    for (is_notified, words) in [
        (true, "Error: Connection to server closed"),
        (
            false,
            "Error: Connection to server closed: no close_notify before the end: something may have been cut off",
        ),
    ] {
        let (client, mut server) = meet(&authority, &[], authority.vouch_for_now("127.0.0.1"));
        server.say("last words");
        client.expect("last words");
        if is_notified {
            server.close_notify();
        }
        drop(server);
        let stderr = vec![words.to_owned()];
        assert_eq!(client.end(), End { code: Some(1), stdout: vec![], stderr });
    }
}

/// Each is refused, for its own reason, before a word of what was typed has gone out; the server
/// is told by an alert.
#[test]
fn a_server_that_is_not_who_it_should_be_is_refused() {
    let authority = Authority::named("a CA");
    let (namesake, other) = (Authority::named("a CA"), Authority::named("another CA"));
    let here = "127.0.0.1";
    let (now, day) = (SystemTime::now(), 24 * HOUR);
    let ca = authority.path();
    let wrong_ca =
        format!("wrong CA: the server's certificate is signed by none that is in {}", ca.display());
    let not_yet = "the server's certificate is not valid yet; or our clock is wrong";
    let wrong_host = |host: &str| {
        format!("wrong host name: the server's certificate is not for {here} but for {host}")
    };
    for (identity, words) in [
        (other.vouch_for_now(here), wrong_ca.as_str()),
        (namesake.vouch_for_now(here), &wrong_ca),
        (
            authority.vouch_for(here, now - 2 * day, now - day),
            "the server's certificate has expired",
        ),
        (authority.vouch_for(here, now + day, now + 2 * day), not_yet),
        (authority.vouch_for_now("example.org"), &wrong_host("example.org")),
        (authority.vouch_for_now("192.0.2.7"), &wrong_host("192.0.2.7")),
    ] {
        let (mut client, mut server) = meet(&authority, &[], identity);
        client.type_in("a secret\n");
        let alert = server.stream().read(&mut [0]).unwrap_err();
        assert!(alert.to_string().contains("alert"), "{alert}");
        let stderr = vec![format!("{REFUSED}{words}")];
        assert_eq!(client.end(), End { code: Some(1), stdout: vec![], stderr });
    }
}

#[test]
fn a_server_that_speaks_no_tls_is_an_error() {
    let authority = Authority::named("a CA");
    for (answer, words) in [
        (&b"server: hello\0"[..], "the server does not speak TLS"),
        (b"", "the server closed the connection: does it speak TLS?"),
    ] {
        let (client, mut server) = meet(&authority, &[], authority.vouch_for_now("127.0.0.1"));
        server.sock.peek(&mut [0]).unwrap();
        server.sock.write_all(answer).unwrap();
        server.sock.shutdown(Shutdown::Write).unwrap();
        assert_failed(&client.end(), &format!("{REFUSED}{words}"));
    }
}

/// As one does that waits for a zero byte, and gets none.
#[test]
fn a_server_that_says_nothing_is_not_waited_for_without_end() {
    let authority = Authority::named("a CA");
    let (client, _server) = meet(&authority, &[], authority.vouch_for_now("127.0.0.1"));
    assert_failed(
        &client.end(),
        &format!("{REFUSED}no answer within 10s: does the server speak TLS?"),
    );
}

#[test]
fn a_ca_that_cannot_be_had_is_named_with_the_reason() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("ca.pem");
    let authority = Authority::named("a CA");
    let whole = fs::read(authority.path()).unwrap();
    let senseless = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let none = "there is no certificate in it (-----BEGIN CERTIFICATE-----)";
    for (text, words) in [
        (None, "No such file or directory"),
        (Some(&b"my notes\n"[..]), none),
        (Some(b""), none),
        (Some(&whole[..whole.len() / 2]), "it is no valid PEM: "),
        (Some(senseless), "a certificate in it makes no sense: "),
    ] {
        if let Some(text) = text {
            fs::write(&path, text).unwrap();
        }
        let server = Server::taking(1);
        let args = ["--tls", "--ca", path.to_str().unwrap()];
        let client = Client::start(PROGRAM, server.port, &args);
        assert_failed(&client.end(), &format!("Error: {}: {words}", path.display()));
    }
    let server = Server::taking(1);
    let end = Client::start(PROGRAM, server.port, &["--ca", "ca.pem"]).end();
    assert_eq!(end.code, Some(2), "{end:?}");
}
