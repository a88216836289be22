//! What the server says and does, over raw sockets: `cargo test -p echo-framework --test wire`.
#![allow(clippy::unwrap_used)]

use anyhow::Result;
use workbench::server::{Launch, Server};
use workbench::wire::{Client, Heard};
use workbench::{PATIENCE, fail, wait_until};

/// The longest line without its LF.
const MAX: usize = 16 * 1024;

fn start() -> Result<Server> {
    Launch::new(env!("CARGO_BIN_EXE_echo-framework"), &[]).args(&["-v"]).start()
}

fn said(line: &[u8]) -> Vec<u8> {
    [b"You said: ", line].concat()
}

#[test]
fn each_line_is_answered_with_its_own_end() -> Result<()> {
    let server = start()?;
    let mut client = Client::connect(server.addr())?;
    let lines: [&[u8]; 8] = [
        b"hello\n",
        b"hello\r\n",
        b"\n",
        b"\r\n",
        b"a\rb\r\r\n",
        b"  blanks and a \0 are kept\t\n",
        "Grüße, 世界\n".as_bytes(),
        b"\xff\xfe\n",
    ];
    for line in lines {
        client.send(line)?;
        client.expect_bytes(&said(line))?;
    }
    Ok(())
}

#[test]
fn a_line_may_come_in_any_pieces() -> Result<()> {
    let server = start()?;
    let mut client = Client::connect(server.addr())?;
    for byte in "zwölf\r\n".as_bytes().chunks(1) {
        client.send(byte)?;
    }
    client.expect_bytes(&said("zwölf\r\n".as_bytes()))?;
    client.send(b"one\ntwo\r\nth")?;
    client.expect_bytes(b"You said: one\nYou said: two\r\n")?;
    client.send(b"ree\n")?;
    client.expect_bytes(b"You said: three\n")
}

#[test]
fn all_that_was_said_before_a_half_close_is_answered_and_an_unfinished_line_is_dropped()
-> Result<()> {
    let server = start()?;
    let mut client = Client::connect(server.addr())?;
    client.send(&[&b"a line\n".repeat(5000)[..], b"unfinished"].concat())?;
    client.half_close()?;
    let (answers, ending) = client.bytes_to_end()?;
    assert_eq!((answers, ending), (said(b"a line\n").repeat(5000), Heard::Eof));
    let dropped = |line: &str| line.contains("DEBUG") && line.contains(" 10 bytes");
    server.wait_for_log("what was dropped", dropped).map(drop)
}

#[test]
fn a_line_that_is_too_long_ends_the_connection_after_the_answers() -> Result<()> {
    let server = start()?;
    let longest = [&b"x".repeat(MAX)[..], b"\n"].concat();
    let endings: [&[u8]; 3] = [b"x", b"x\n", &b"x".repeat(300_000)];
    for rest in endings {
        let mut client = Client::connect(server.addr())?;
        client.send(&longest)?;
        client.expect_bytes(&said(&longest))?;
        client.send(&[b"before\n", &longest[..MAX]].concat())?;
        client.send(rest)?;
        let (answers, ending) = client.bytes_to_end()?;
        assert_eq!((answers, ending), (said(b"before\n"), Heard::Eof));
        let why = format!("{}: receiving: a line longer than {MAX} bytes", client.addr());
        server.wait_for_log(&why, |line| line.contains("WARN") && line.ends_with(&why))?;
    }
    let mut client = Client::connect(server.addr())?;
    client.send(b"others go on\n")?;
    client.expect_bytes(b"You said: others go on\n")
}

#[test]
fn who_does_not_read_is_read_from_no_more_and_holds_up_nobody() -> Result<()> {
    const LINES: usize = 40_000;
    let server = start()?;
    let line = [&b"x".repeat(1000)[..], b"\n"].concat();
    let mut silent =
        Client::connect_narrow(server.addr())?.patient(std::time::Duration::from_secs(2));
    // What the kernel takes, and no more: the server's own memory has room for few lines.
    let all_taken = (0..LINES).all(|_| silent.send_regardless(&line));
    assert!(!all_taken, "the server took {LINES} lines from one who reads no answers");
    let mut other = Client::connect(server.addr())?;
    other.send(b"hello\n")?;
    other.expect_bytes(b"You said: hello\n")?;
    let resident = server.figures().map_or(0, |it| it.resident);
    assert!(resident < 64 << 20, "{resident} bytes");
    Ok(())
}

#[test]
fn a_thousand_clients_share_a_few_threads() -> Result<()> {
    let server = start()?;
    let mut clients = Vec::new();
    for _ in 0..1000 {
        clients.push(Client::connect(server.addr())?);
    }
    for client in &mut clients {
        client.send(b"hello\n")?;
    }
    for client in &mut clients {
        client.expect_bytes(b"You said: hello\n")?;
    }
    // Where the system tells.
    let threads = server.figures().map_or(0, |it| it.threads);
    let processors = std::thread::available_parallelism()?.get() as u64;
    assert!(threads <= processors + 4, "{threads} threads");
    drop(clients);
    let gone = || Ok(server.log().count(|line| line.ends_with(" disconnected")) == 1000);
    if wait_until(PATIENCE, gone)? {
        Ok(())
    } else {
        fail("left", "1000 disconnected", server.log())
    }
}
