//! What chat-tls says inside TLS and about it: `cargo test -p chat-tls --test wire`.
#![allow(clippy::unwrap_used)]

mod private;

use anyhow::Result;
use private::{End, PROGRAM, Private, trust};
use rustls::version::{TLS12, TLS13};
use tempfile::TempDir;
use workbench::server::{Launch, Server, Signal};
use workbench::wire::Client;

fn start(args: &[&str]) -> Result<(TempDir, Server)> {
    let dir = TempDir::new()?;
    let dev = ["--dev-cert", dir.path().to_str().unwrap()];
    let server = Launch::new(PROGRAM, &[]).args(&dev).args(args).start()?;
    Ok((dir, server))
}

fn join(dir: &TempDir, server: &Server) -> Result<Private> {
    Private::shake(Client::connect(server.addr())?, trust(&dir.path().join("ca.pem"), &[&TLS13])?)
}

#[test]
fn both_versions_hear_each_other_in_order_and_sigterm_ends_with_close_notify() -> Result<()> {
    let (dir, mut server) = start(&[])?;
    let mut ann = join(&dir, &server)?;
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
    let mut second = join(&dir, &server)?;
    assert_eq!(second.until_end()?, (b"server: full\0".to_vec(), End::Notified));
    Ok(())
}

#[test]
fn a_missing_close_notify_is_told_apart() -> Result<()> {
    let (dir, server) = start(&[])?;
    let mut ann = join(&dir, &server)?;
    ann.close_notify()?;
    assert_eq!(ann.until_end()?, (Vec::new(), End::Notified));
    let name = ann.sock.addr().to_string();
    server.wait_for_log("her end", |line| line.contains(&name) && line.contains("disconnected"))?;
    assert_eq!(server.log().count(|line| line.contains("close_notify")), 0);
    drop(join(&dir, &server)?);
    server.wait_for_log("a warning", |line| line.contains("without close_notify"))?;
    Ok(())
}

#[test]
fn plaintext_and_silence_end_with_a_line_in_the_log() -> Result<()> {
    let (_dir, server) = start(&[])?;
    let mut silent = Client::connect(server.addr())?;
    let mut plain = Client::connect(server.addr())?;
    plain.say("hi")?;
    plain.expect_eof()?;
    server.wait_for_log("why", |line| line.contains("speaks plaintext, not TLS"))?;
    server.wait_for_log("why", |line| line.contains("not done within 10s"))?;
    silent.expect_eof()
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
        let args = ["--port", "0", "--cert", cert, "--key", key];
        let ended = Launch::new(PROGRAM, &[]).args(&args).run_to_end()?;
        let said = ended.stderr.join("\n");
        assert_eq!((ended.status.code(), ended.stderr.len()), (Some(1), 1), "{said}");
        assert!(said.contains(why) && said.contains(".pem") | said.contains("none"), "{said}");
    }
    Ok(())
}
