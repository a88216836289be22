//! What `chat-client --tls` takes for its server, and how it says what it does not take.
// In a test that is what should happen when something fails.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, ServerConnection, Stream};
use tempfile::TempDir;
use webpki::anchor_from_trusted_cert;
use workbench::check::Needs;
use workbench::contract::interrupted;
use workbench::dialogue::{Client, End, Server, assert_failed, reset};

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
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        (cert.into(), PrivateKeyDer::Pkcs8(key.serialize_der().into()))
    }

    /// What a server shows that has the CA's own certificate and key.
    fn itself(&self) -> Identity {
        let cert = CertificateDer::from_pem_file(self.path()).unwrap();
        (cert, PrivateKeyDer::Pkcs8(self.issuer.key().serialize_der().into()))
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
        Self::with(sock, config.with_single_cert(vec![cert], key).unwrap())
    }

    fn with(sock: TcpStream, config: ServerConfig) -> Self {
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

/// Every other system call of the client fails with `EINTR`, those of the handshake included.
#[test]
fn interrupted_system_calls_are_called_again() {
    if !Needs::Interrupts.met() {
        eprintln!("skipped: there is no C compiler here, or this is not Linux");
        return;
    }
    let folder = TempDir::new().unwrap();
    let library = interrupted::library(folder.path()).unwrap();
    let authority = Authority::named("a CA");
    let host = "127.0.0.1";
    let server = Server::taking(1);
    let ca = authority.path();
    let args = ["--tls", "--ca", ca.to_str().unwrap(), host];
    let vars = [("LD_PRELOAD", library.as_str())];
    let mut client = Client::start_with_vars(PROGRAM, server.port, &args, &vars);
    let mut server = Private::begin(server.accept(), authority.vouch_for_now(host));
    for _ in 0..3 {
        client.type_in("hello\n");
        server.expect("hello");
        server.say("127.0.0.1:50312: hello");
        client.expect("127.0.0.1:50312: hello");
    }
    client.end_input();
    assert_eq!(server.stream().read(&mut [0]).unwrap(), 0, "there must be a close_notify");
    server.close_notify();
    drop(server);
    assert_eq!(client.end(), End { code: Some(0), stdout: vec![], stderr: vec![] });
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
    let in_file =
        format!("in {}: --ca needs the certificate of the CA that has signed it", ca.display());
    let wrong_ca = format!("wrong CA: the server's certificate is not signed by a CA {in_file}");
    let wrong_key = format!(
        "wrong CA, or an RSA key of fewer than 2048 bits: the signature of the server's \
         certificate does not match the key of the CA of that name {in_file}"
    );
    let expired =
        "the server's certificate has expired: the server needs a new one, or our clock is wrong";
    let not_yet = "the server's certificate is not valid yet: the server needs another, or our \
                   clock is wrong";
    let wrong_host = |host: &str| {
        format!(
            "wrong host name: the server's certificate is not for {here} but for {host}: connect \
             to a name that it is for, or give the server one for {here}"
        )
    };
    let no_host = format!(
        "the server's certificate names no host: the server needs one with {here} as a \
         subjectAltName (its common name does not count)"
    );
    let nameless = CertificateParams::new([]).unwrap();
    let is_ca = "the server's certificate is that of a CA, which is for signing others: the server \
                 needs one of its own, with CA:FALSE in its basicConstraints (openssl req -x509 \
                 makes a CA, unless told -addext basicConstraints=CA:FALSE)";
    let for_clients = "the server's certificate is not for servers: the server needs one with \
                       serverAuth in its extendedKeyUsage, or without one";
    let mut of_client = CertificateParams::new([here.to_owned()]).unwrap();
    of_client.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
    for (identity, words) in [
        (other.vouch_for_now(here), wrong_ca.as_str()),
        (namesake.vouch_for_now(here), &wrong_key),
        (authority.vouch_for(here, now - 2 * day, now - day), expired),
        (authority.vouch_for(here, now + day, now + 2 * day), not_yet),
        (authority.vouch_for_now("example.org"), &wrong_host("example.org")),
        (authority.vouch_for_now("192.0.2.7"), &wrong_host("192.0.2.7")),
        (authority.sign(&nameless), &no_host),
        (authority.itself(), is_ca),
        (authority.sign(&of_client), for_clients),
    ] {
        let (mut client, mut server) = meet(&authority, &[], identity);
        client.type_in("a secret\n");
        let alert = server.stream().read(&mut [0]).unwrap_err();
        assert!(alert.to_string().contains("alert"), "{alert}");
        let stderr = vec![format!("{REFUSED}{words}")];
        assert_eq!(client.end(), End { code: Some(1), stdout: vec![], stderr });
    }
}

/// A server that wants what we cannot give says so by an alert; in TLS 1.3, after the handshake.
#[test]
fn a_server_that_refuses_the_client_is_told_in_words() {
    let authority = Authority::named("a CA");
    let roots = Arc::new(RootCertStore {
        roots: vec![anchor_from_trusted_cert(&authority.itself().0).unwrap().to_owned()],
    });
    let wants = "the server wants a certificate of its clients, and chat-client has none";
    for (version, refused) in [(&TLS13, "Error: Connection to server closed: "), (&TLS12, REFUSED)]
    {
        let provider = Arc::new(ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider.clone())
                .build()
                .unwrap();
        let (cert, key) = authority.vouch_for_now("127.0.0.1");
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![cert], key)
            .unwrap();
        let server = Server::taking(1);
        let ca = authority.path();
        let args = ["--tls", "--ca", ca.to_str().unwrap()];
        let client = Client::start(PROGRAM, server.port, &args);
        let mut server = Private::with(server.accept(), config);
        server.stream().read(&mut [0]).unwrap_err();
        // What the client says until then is read, or closing would send a reset.
        server.sock.shutdown(Shutdown::Write).unwrap();
        let end = client.end();
        assert_eq!(
            end,
            End { code: Some(1), stdout: vec![], stderr: vec![format!("{refused}{wants}")] }
        );
    }
}

#[test]
fn a_reset_in_the_handshake_is_told_in_words() {
    let authority = Authority::named("a CA");
    let (client, server) = meet(&authority, &[], authority.vouch_for_now("127.0.0.1"));
    reset(server.sock);
    let words = "the server has reset the connection: does it speak TLS?";
    assert_failed(&client.end(), &format!("{REFUSED}{words}"));
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
    let garbled = String::from_utf8(whole.clone()).unwrap().replace('M', "!").into_bytes();
    let with_mark = format!("\u{feff}{}", String::from_utf8(whole.clone()).unwrap());
    let utf_16: Vec<_> = with_mark.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let der = authority.itself().0.to_vec();
    let none = "there is no certificate in it (-----BEGIN CERTIFICATE-----)";
    for (text, words) in [
        (None, "No such file or directory"),
        (Some(&b"my notes\n"[..]), none),
        (Some(b""), none),
        (
            Some(&whole[..whole.len() / 2]),
            "it is not valid PEM: the line -----END CERTIFICATE----- is missing",
        ),
        (
            Some(b"-----BEGIN CERTIFI\n"),
            "it is not valid PEM: the line -----BEGIN CERTIFI is cut off",
        ),
        (Some(&garbled), "it is not valid PEM: a line between BEGIN and END is not base64"),
        (
            Some(senseless),
            "a certificate in it is damaged: the bytes inside are not an X.509 certificate",
        ),
        (Some(&utf_16), "it is UTF-16 text: save it again as UTF-8 or ASCII"),
        (
            Some(&der),
            "it is DER or PKCS #12, not PEM: openssl x509 -in FILE -out ca.pem writes it as PEM",
        ),
    ] {
        if let Some(text) = text {
            fs::write(&path, text).unwrap();
        }
        let server = Server::taking(1);
        let args = ["--tls", "--ca", path.to_str().unwrap()];
        let client = Client::start(PROGRAM, server.port, &args);
        let end = client.end();
        assert_failed(&end, &format!("Error: {}: {words}", path.display()));
        assert!(!end.stderr[0].contains("os error"), "{end:?}");
    }
    let server = Server::taking(1);
    let end = Client::start(PROGRAM, server.port, &["--ca", "ca.pem"]).end();
    assert_eq!(end.code, Some(2), "{end:?}");
}

#[test]
fn a_ca_may_begin_with_a_byte_order_mark_or_a_comment() {
    let host = "127.0.0.1";
    // The character 0 is also the first byte of a certificate in DER.
    for beginning in ["\u{feff}", "a CA\n", "0 s:CN = a CA\n", "0\n"] {
        let authority = Authority::named("a CA");
        let text = fs::read_to_string(authority.path()).unwrap();
        fs::write(authority.path(), format!("{beginning}{text}")).unwrap();
        let (mut client, mut server) = meet(&authority, &[host], authority.vouch_for_now(host));
        client.type_in("hello\n");
        server.expect("hello");
    }
}
