//! What the server sends and does, over raw sockets: `cargo test -p echo-framework --test wire`.
#![allow(clippy::unwrap_used)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result};
use probe::server::{Launch, Server, Signal};
use probe::wire::{Client, Received};
use probe::{TIMEOUT, fail, wait_until};
use socket2::SockRef;

/// The longest text of a line.
const MAX: usize = 16 * 1024;

fn start() -> Result<Server> {
    Launch::new(env!("CARGO_BIN_EXE_echo-framework"), &[]).args(&["-v"]).start()
}

fn answer_to(line: &[u8]) -> Vec<u8> {
    [b"You said: ", line].concat()
}

#[test]
fn each_line_is_answered_with_the_line_end_that_it_came_with() -> Result<()> {
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
        client.expect_bytes(&answer_to(line))?;
    }
    Ok(())
}

#[test]
fn a_line_may_be_cut_anywhere() -> Result<()> {
    let server = start()?;
    let mut client = Client::connect(server.addr())?;
    for byte in "zwölf\r\n".as_bytes().chunks(1) {
        client.send(byte)?;
    }
    client.expect_bytes(&answer_to("zwölf\r\n".as_bytes()))?;
    client.send(b"one\ntwo\r\nth")?;
    client.expect_bytes(b"You said: one\nYou said: two\r\n")?;
    client.send(b"ree\n")?;
    client.expect_bytes(b"You said: three\n")
}

#[test]
fn lines_before_a_half_close_are_answered_also_a_last_line_without_an_end() -> Result<()> {
    let server = start()?;
    for last in [&b""[..], b"unended", b"unended\r", &[b'x'; MAX]] {
        let mut client = Client::connect(server.addr())?;
        client.send(&[&b"a line\n".repeat(5000)[..], last].concat())?;
        client.half_close()?;
        let (answers, ending) = client.recv_bytes_to_end()?;
        let answer = if last.is_empty() { Vec::new() } else { answer_to(last) };
        assert_eq!(
            (answers, ending),
            ([answer_to(b"a line\n").repeat(5000), answer].concat(), Received::Eof)
        );
    }
    server.wait_for_log("the last line", |line| line.ends_with(": unended")).map(drop)
}

#[test]
fn a_line_that_is_too_long_ends_the_connection_after_the_answers() -> Result<()> {
    let server = start()?;
    // The limit applies to the text: the end of the line does not count.
    let longest = [b"\n".to_vec(), b"\r\n".to_vec()].map(|end| [b"x".repeat(MAX), end].concat());
    let endings: [&[u8]; 5] = [b"x", b"x\n", b"x\r\n", b"\r\r\n", &b"x".repeat(300_000)];
    for rest in endings {
        let mut client = Client::connect(server.addr())?;
        for longest in &longest {
            client.send(longest)?;
            client.expect_bytes(&answer_to(longest))?;
            client.send(&longest[..=MAX])?;
            client.send(&longest[MAX + 1..])?;
            client.expect_bytes(&answer_to(longest))?;
        }
        client.send(&[b"before\n", &longest[0][..MAX]].concat())?;
        client.send(rest)?;
        let (answers, ending) = client.recv_bytes_to_end()?;
        assert_eq!((answers, ending), (answer_to(b"before\n"), Received::Eof));
        let why = format!("{}: receiving: the line is longer than {MAX} bytes", client.addr());
        server.wait_for_log(&why, |line| line.contains("WARN") && line.ends_with(&why))?;
    }
    let mut client = Client::connect(server.addr())?;
    client.send(b"others go on\n")?;
    client.expect_bytes(b"You said: others go on\n")
}

/// Sends what telnet sends for Ctrl-C, with a request for a timing mark (RFC 860), and what it sends in
/// character mode.
#[test]
fn telnet_commands_and_erased_characters_are_not_part_of_a_line() -> Result<()> {
    let server = start()?;
    let mut client = Client::connect(server.addr())?;
    for (sent, answers) in [
        (&b"a line\r\n\xff\xf4\xff\xfd\x06"[..], &b"You said: a line\r\n\xff\xfc\x06"[..]),
        (b"more\n\xff\xfb\x03hellp\x7fo\r\0", b"You said: more\nYou said: hello\r\n"),
        (b"\xff\xfa\x1fxx\r\n\xff\xfb\x1fback\r\n", b"You said: back\r\n"),
    ] {
        for size in [sent.len(), 1] {
            for piece in sent.chunks(size) {
                client.send(piece)?;
            }
            client.expect_bytes(answers)?;
        }
    }
    Ok(())
}

/// Sends the last byte of a telnet command as urgent data (RFC 854). The kernel ends a read there, although
/// more bytes follow. The server is suspended until all bytes have arrived, so that the kernel reports them
/// in one event.
#[test]
fn an_urgent_byte_is_not_part_of_a_line_and_does_not_hide_the_bytes_after_it() -> Result<()> {
    let server = start()?;
    let mut telnet = TcpStream::connect(server.addr())?;
    telnet.set_read_timeout(Some(TIMEOUT))?;
    telnet.write_all(b"zero\n")?;
    let mut first_answer = [0; 15];
    telnet.read_exact(&mut first_answer)?;
    server.signal(Signal::STOP)?;
    SockRef::from(&telnet).send_out_of_band(b"one\r\n\xff\xf4\xff\xf2")?;
    telnet.write_all(b"two\r\n")?;
    server.signal(Signal::CONT)?;
    let expected = b"You said: one\r\nYou said: two\r\n";
    let mut received = vec![0; expected.len()];
    telnet.read_exact(&mut received).context("the answers to both lines")?;
    assert_eq!(String::from_utf8_lossy(&received), String::from_utf8_lossy(expected));
    Ok(())
}

#[test]
fn the_server_reads_no_more_from_a_client_that_does_not_read() -> Result<()> {
    const LINES: usize = 40_000;
    let server = start()?;
    let line = [&b"x".repeat(1000)[..], b"\n"].concat();
    let mut silent =
        Client::connect_with_small_buffers(server.addr())?.with_timeout(Duration::from_secs(2));
    // The kernel's buffers fill up, since the server keeps only a few lines in its own memory.
    let all_accepted = (0..LINES).all(|_| silent.try_send(&line));
    assert!(!all_accepted, "the server read {LINES} lines of a client that reads no answers");
    let mut other = Client::connect(server.addr())?;
    other.send(b"hello\n")?;
    other.expect_bytes(b"You said: hello\n")?;
    let resident = server.usage().map_or(0, |it| it.resident_bytes);
    assert!(resident < 64 << 20, "the server takes {resident} bytes of memory");
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
    // Only some systems report the number of threads.
    let threads = server.usage().map_or(0, |it| it.threads);
    let processors = std::thread::available_parallelism()?.get() as u64;
    assert!(threads <= processors + 4, "{threads} threads");
    drop(clients);
    let have_left = || Ok(server.log().count(|line| line.ends_with(" disconnected")) == 1000);
    if wait_until(TIMEOUT, have_left)? {
        Ok(())
    } else {
        fail("left", "1000 disconnected", server.log())
    }
}
