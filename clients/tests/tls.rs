//! Tests of `chat-client --tls`: which servers it accepts, and how it explains why it refuses the others.
// In a test, a panic reports what went wrong.
#![allow(clippy::unwrap_used)]

mod harness;

use std::fs;
use std::io::Write;
use std::net::Shutdown;
use std::sync::Arc;
use std::time::SystemTime;

use check::Needs;
use check::interrupted;
use probe::client_process::{
    ClientExit, ClientProcess, TestServer, assert_failed, expect_eof, reset, wait_until_readable,
};
use probe::read_once;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose};
use rustls::crypto::ring;
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;
use webpki::anchor_from_trusted_cert;

use harness::{Authority, HOUR, Identity, PROGRAM, REFUSED, TlsServer, connect};

#[test]
fn messages_go_both_ways_and_each_side_sends_close_notify() {
    let authority = Authority::named("a CA");
    for host in ["localhost", "127.0.0.1"] {
        let (mut client, mut server) = connect(&authority, &[host], authority.certify(host));
        client.write_stdin("hello\n");
        server.expect("hello");
        server.send("127.0.0.1:50312: hello");
        client.expect_line("127.0.0.1:50312: hello");
        client.close_stdin();
        expect_eof(&mut server.stream(), "the client must have sent close_notify");
        server.send("127.0.0.1:50313: one more");
        server.send_close_notify();
        drop(server);
        let stdout = vec!["127.0.0.1:50313: one more".to_owned()];
        assert_eq!(client.wait(), ClientExit { code: Some(0), stdout, stderr: vec![] });
    }
}

#[test]
fn an_end_without_close_notify_is_another_error_than_an_end_with_it() {
    let authority = Authority::named("a CA");
    for (has_close_notify, message) in [
        (true, "Error: Connection to server closed"),
        (
            false,
            "Error: Connection to server closed: no close_notify before the end: something may have been cut off",
        ),
    ] {
        let (client, mut server) = connect(&authority, &[], authority.certify("127.0.0.1"));
        server.send("goodbye");
        client.expect_line("goodbye");
        if has_close_notify {
            server.send_close_notify();
        }
        drop(server);
        let stderr = vec![message.to_owned()];
        assert_eq!(client.wait(), ClientExit { code: Some(1), stdout: vec![], stderr });
    }
}

/// Every other system call of the client fails with `EINTR`, including the system calls of the handshake.
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
    let server = TestServer::accepting(1);
    let ca = authority.path();
    let args = ["--tls", "--ca", ca.to_str().unwrap(), host];
    let vars = [("LD_PRELOAD", library.as_str())];
    let mut client = ClientProcess::start_with_vars(PROGRAM, server.port, &args, &vars);
    let mut server = TlsServer::new(server.accept(), authority.certify(host));
    for _ in 0..3 {
        client.write_stdin("hello\n");
        server.expect("hello");
        server.send("127.0.0.1:50312: hello");
        client.expect_line("127.0.0.1:50312: hello");
    }
    client.close_stdin();
    expect_eof(&mut server.stream(), "the client must have sent close_notify");
    server.send_close_notify();
    drop(server);
    assert_eq!(client.wait(), ClientExit { code: Some(0), stdout: vec![], stderr: vec![] });
}

/// The client refuses each of these servers before it sends what was typed, explains the reason, and sends
/// an alert.
#[test]
fn a_server_with_a_wrong_certificate_is_refused() {
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
    let expired = "the server's certificate has expired: the server needs a new one, or the \
                   clock of this machine is wrong";
    let not_yet = "the server's certificate is not valid yet: the server needs another one, \
                   or the clock of this machine is wrong";
    let wrong_host = |host: &str| {
        format!(
            "wrong host name: the server's certificate is not for {here} but for {host}: connect \
             to one of the names in it, or give the server a certificate for {here}"
        )
    };
    let no_host = format!(
        "the server's certificate names no host: the server needs one with {here} as a \
         subjectAltName (its common name does not count)"
    );
    let nameless_params = CertificateParams::new([]).unwrap();
    let is_ca = "the server's certificate is that of a CA, which is for signing others: the server \
                 needs one of its own, with CA:FALSE in its basicConstraints (openssl req -x509 \
                 makes a CA, unless told -addext basicConstraints=CA:FALSE)";
    let for_clients = "the server's certificate is not for servers: the server needs one with \
                       serverAuth in its extendedKeyUsage, or without an extendedKeyUsage";
    let mut client_params = CertificateParams::new([here.to_owned()]).unwrap();
    client_params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
    for (identity, reason) in [
        (other.certify(here), wrong_ca.as_str()),
        (namesake.certify(here), &wrong_key),
        (authority.certify_between(here, now - 2 * day, now - day), expired),
        (authority.certify_between(here, now + day, now + 2 * day), not_yet),
        (authority.certify("example.org"), &wrong_host("example.org")),
        (authority.certify("192.0.2.7"), &wrong_host("192.0.2.7")),
        (authority.sign(&nameless_params), &no_host),
        (authority.own_identity(), is_ca),
        (authority.sign(&client_params), for_clients),
    ] {
        let (mut client, mut server) = connect(&authority, &[], identity);
        client.write_stdin("a secret\n");
        let alert = read_once(&mut server.stream(), &mut [0]).unwrap_err();
        assert!(alert.to_string().contains("alert"), "{alert}");
        let stderr = vec![format!("{REFUSED}{reason}")];
        assert_eq!(client.wait(), ClientExit { code: Some(1), stdout: vec![], stderr });
    }
}

/// A server that requires a client certificate refuses the client with an alert: in TLS 1.2 during the
/// handshake, in TLS 1.3 after it.
#[test]
fn the_alert_of_a_server_that_refuses_the_client_is_explained() {
    let authority = Authority::named("a CA");
    let roots = Arc::new(RootCertStore {
        roots: vec![anchor_from_trusted_cert(&authority.own_identity().cert).unwrap().to_owned()],
    });
    let reason = "the server requires a certificate of its clients, and chat-client has none";
    for (version, start) in [(&TLS13, "Error: Connection to server closed: "), (&TLS12, REFUSED)] {
        let provider = Arc::new(ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider.clone())
                .build()
                .unwrap();
        let Identity { cert, key } = authority.certify("127.0.0.1");
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![cert], key)
            .unwrap();
        let server = TestServer::accepting(1);
        let ca = authority.path();
        let args = ["--tls", "--ca", ca.to_str().unwrap()];
        let client = ClientProcess::start(PROGRAM, server.port, &args);
        let mut server = TlsServer::with_config(server.accept(), config);
        read_once(&mut server.stream(), &mut [0]).unwrap_err();
        // The client reads the alert before the connection closes: only the sending side is shut down, and
        // no unread bytes of the client cause a reset.
        server.sock.shutdown(Shutdown::Write).unwrap();
        let end = client.wait();
        assert_eq!(
            end,
            ClientExit { code: Some(1), stdout: vec![], stderr: vec![format!("{start}{reason}")] }
        );
    }
}

#[test]
fn a_reset_in_the_handshake_is_explained() {
    let authority = Authority::named("a CA");
    let (client, server) = connect(&authority, &[], authority.certify("127.0.0.1"));
    reset(server.sock);
    let reason = "the server has reset the connection: does it speak TLS?";
    assert_failed(&client.wait(), &format!("{REFUSED}{reason}"));
}

#[test]
fn a_server_that_does_not_speak_tls_is_refused() {
    let authority = Authority::named("a CA");
    for (answer, reason) in [
        (&b"server: hello\0"[..], "the server does not speak TLS"),
        (b"", "the server closed the connection: does it speak TLS?"),
    ] {
        let (client, mut server) = connect(&authority, &[], authority.certify("127.0.0.1"));
        wait_until_readable(&server.sock);
        server.sock.write_all(answer).unwrap();
        server.sock.shutdown(Shutdown::Write).unwrap();
        assert_failed(&client.wait(), &format!("{REFUSED}{reason}"));
    }
}

#[test]
fn a_ca_file_that_cannot_be_used_is_an_error_with_its_path_and_the_reason() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("ca.pem");
    let authority = Authority::named("a CA");
    let whole = fs::read(authority.path()).unwrap();
    let not_a_certificate = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let not_base64 = String::from_utf8(whole.clone()).unwrap().replace('M', "!").into_bytes();
    let with_mark = format!("\u{feff}{}", String::from_utf8(whole.clone()).unwrap());
    let utf_16: Vec<_> = with_mark.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let der = authority.own_identity().cert.to_vec();
    let no_certificate = "there is no certificate in it (-----BEGIN CERTIFICATE-----)";
    for (text, reason) in [
        (None, "No such file or directory"),
        (Some(&b"my notes\n"[..]), no_certificate),
        (Some(b""), no_certificate),
        (
            Some(&whole[..whole.len() / 2]),
            "it is not valid PEM: the line -----END CERTIFICATE----- is missing",
        ),
        (
            Some(b"-----BEGIN CERTIFI\n"),
            "it is not valid PEM: the line -----BEGIN CERTIFI is cut off",
        ),
        (Some(&not_base64), "it is not valid PEM: a line between BEGIN and END is not base64"),
        (
            Some(not_a_certificate),
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
        let server = TestServer::accepting(1);
        let args = ["--tls", "--ca", path.to_str().unwrap()];
        let client = ClientProcess::start(PROGRAM, server.port, &args);
        let end = client.wait();
        assert_failed(&end, &format!("Error: {}: {reason}", path.display()));
        assert!(!end.stderr[0].contains("os error"), "{end:?}");
    }
    let server = TestServer::accepting(1);
    let end = ClientProcess::start(PROGRAM, server.port, &["--ca", "ca.pem"]).wait();
    assert_eq!(end.code, Some(2), "{end:?}");
}

#[test]
fn a_ca_file_may_begin_with_a_byte_order_mark_or_a_comment() {
    let host = "127.0.0.1";
    // The digit 0 is also the first byte of a certificate in DER.
    for beginning in ["\u{feff}", "a CA\n", "0 s:CN = a CA\n", "0\n"] {
        let authority = Authority::named("a CA");
        let text = fs::read_to_string(authority.path()).unwrap();
        fs::write(authority.path(), format!("{beginning}{text}")).unwrap();
        let (mut client, mut server) = connect(&authority, &[host], authority.certify(host));
        client.write_stdin("hello\n");
        server.expect("hello");
    }
}
