//! What the server says and does, over raw sockets: `cargo test -p echo-framework --test wire`.
#![allow(clippy::unwrap_used)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result};
use socket2::SockRef;
use workbench::server::{Launch, Server, Signal};
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
fn all_that_was_said_before_a_half_close_is_answered_a_last_line_without_its_end_too() -> Result<()>
{
    let server = start()?;
    for last in [&b""[..], b"unended", b"unended\r", &[b'x'; MAX]] {
        let mut client = Client::connect(server.addr())?;
        client.send(&[&b"a line\n".repeat(5000)[..], last].concat())?;
        client.half_close()?;
        let (answers, ending) = client.bytes_to_end()?;
        let answer = if last.is_empty() { Vec::new() } else { said(last) };
        assert_eq!(
            (answers, ending),
            ([said(b"a line\n").repeat(5000), answer].concat(), Heard::Eof)
        );
    }
    server.wait_for_log("the last line", |line| line.ends_with(": unended")).map(drop)
}

#[test]
fn a_line_that_is_too_long_ends_the_connection_after_the_answers() -> Result<()> {
    let server = start()?;
    // The limit is one of the text: the end of the line does not count.
    let longest = [b"\n".to_vec(), b"\r\n".to_vec()].map(|end| [b"x".repeat(MAX), end].concat());
    let endings: [&[u8]; 5] = [b"x", b"x\n", b"x\r\n", b"\r\r\n", &b"x".repeat(300_000)];
    for rest in endings {
        let mut client = Client::connect(server.addr())?;
        for longest in &longest {
            client.send(longest)?;
            client.expect_bytes(&said(longest))?;
            client.send(&longest[..=MAX])?;
            client.send(&longest[MAX + 1..])?;
            client.expect_bytes(&said(longest))?;
        }
        client.send(&[b"before\n", &longest[0][..MAX]].concat())?;
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

/// Ctrl-C, with the mark that the client waits for (RFC 860), and what a client sends in character mode.
#[test]
fn telnet_commands_and_typing_errors_are_no_part_of_a_line() -> Result<()> {
    let server = start()?;
    let mut client = Client::connect(server.addr())?;
    for (sent, heard) in [
        (&b"a line\r\n\xff\xf4\xff\xfd\x06"[..], &b"You said: a line\r\n\xff\xfc\x06"[..]),
        (b"more\n\xff\xfb\x03hellp\x7fo\r\0", b"You said: more\nYou said: hello\r\n"),
        (b"\xff\xfa\x1fxx\r\n\xff\xfb\x1fback\r\n", b"You said: back\r\n"),
    ] {
        for size in [sent.len(), 1] {
            for piece in sent.chunks(size) {
                client.send(piece)?;
            }
            client.expect_bytes(heard)?;
        }
    }
    Ok(())
}

/// The last byte of an interruption may travel out of band (RFC 854). The kernel ends a read there, and
/// more may have come behind it. The server is stopped until all of it is there, so that the kernel tells
/// it once.
#[test]
fn a_byte_out_of_band_is_no_part_of_a_line_and_hides_none() -> Result<()> {
    let server = start()?;
    let mut telnet = TcpStream::connect(server.addr())?;
    telnet.set_read_timeout(Some(PATIENCE))?;
    telnet.write_all(b"zero\n")?;
    let mut heard = [0; 15];
    telnet.read_exact(&mut heard)?;
    server.signal(Signal::STOP)?;
    SockRef::from(&telnet).send_out_of_band(b"one\r\n\xff\xf4\xff\xf2")?;
    telnet.write_all(b"two\r\n")?;
    server.signal(Signal::CONT)?;
    let expected = b"You said: one\r\nYou said: two\r\n";
    let mut heard = vec![0; expected.len()];
    telnet.read_exact(&mut heard).context("the answers to both lines")?;
    assert_eq!(String::from_utf8_lossy(&heard), String::from_utf8_lossy(expected));
    Ok(())
}

#[test]
fn who_does_not_read_is_read_from_no_more_and_holds_up_nobody() -> Result<()> {
    const LINES: usize = 40_000;
    let server = start()?;
    let line = [&b"x".repeat(1000)[..], b"\n"].concat();
    let mut silent = Client::connect_narrow(server.addr())?.patient(Duration::from_secs(2));
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
