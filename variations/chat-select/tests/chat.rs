//! What the server says on the wire, and when: `cargo test -p chat-select --test chat`.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use workbench::check::Needs;
use workbench::dialogue::lines;
use workbench::server::{Launch, Server, Signal};
use workbench::wire::Client;
use workbench::{PATIENCE, fail, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_chat-select");

/// What a server that runs out of bits tells a client.
const NO_BIT: &str = "server: full: select(2) watches 1024 descriptors, this is number ";

fn start(args: &[&str]) -> Result<Server> {
    Launch::new(PROGRAM, &[]).args(&["--name", "server"]).args(args).start()
}

fn frame(text: &str) -> Vec<u8> {
    let len = u32::try_from(text.len()).unwrap();
    [&len.to_be_bytes(), text.as_bytes()].concat()
}

/// The text of the next frame.
fn text(client: &mut Client) -> Result<String> {
    let bytes = client.take_when("a frame", |bytes| {
        let len = u32::from_be_bytes(*bytes.first_chunk()?);
        Some(4 + usize::try_from(len).ok()?).filter(|len| *len <= bytes.len())
    })?;
    Ok(String::from_utf8(bytes[4..].to_vec())?)
}

fn expect(client: &mut Client, wanted: &str) -> Result<()> {
    let got = text(client)?;
    if got == wanted { Ok(()) } else { fail(client.transcript(), wanted, got) }
}

fn join(server: &Server, name: &str) -> Result<Client> {
    let mut client = Client::connect(server.addr())?;
    introduce(&mut client, name)?;
    Ok(client)
}

fn introduce(client: &mut Client, name: &str) -> Result<()> {
    client.send(&frame(&format!("NAME: {name}")))?;
    expect(client, &format!("CLIENT: {}", client.addr().ip()))
}

/// Ann and Bob, who know of each other.
fn pair(server: &Server) -> Result<(Client, Client)> {
    let mut ann = join(server, "ann")?;
    let bob = join(server, "bob")?;
    expect(&mut ann, "(Connected: New client (2) from bob@127.0.0.1)")?;
    Ok((ann, bob))
}

/// That Bob hears Ann next, so nothing else came before, and the server goes on.
fn undisturbed(ann: &mut Client, bob: &mut Client) -> Result<()> {
    ann.send(&frame("still here?"))?;
    expect(bob, "#ann@127.0.0.1>>still here?")
}

#[test]
fn who_joins_is_told_its_address_and_the_others_are_told_its_name() -> Result<()> {
    let server = start(&[])?;
    let (mut ann, mut bob) = pair(&server)?;
    let mut cleo = join(&server, "Cleo from the 3rd floor")?;
    for client in [&mut ann, &mut bob] {
        expect(client, "(Connected: New client (3) from Cleo from the 3rd floor@127.0.0.1)")?;
    }
    ann.send(&frame("hello"))?;
    expect(&mut cleo, "#ann@127.0.0.1>>hello") // and nothing about herself before
}

#[test]
fn a_message_goes_to_the_others_in_the_order_sent() -> Result<()> {
    let server = start(&[])?;
    let (mut ann, mut bob) = pair(&server)?;
    ann.send(&[frame("one"), frame("NAME: two"), frame("drei: ü🐶")].concat())?;
    for said in ["one", "NAME: two", "drei: ü🐶"] {
        expect(&mut bob, &format!("#ann@127.0.0.1>>{said}"))?;
    }
    bob.send(&frame("yes"))?;
    expect(&mut ann, "#bob@127.0.0.1>>yes") // and none of her own before
}

#[test]
fn a_frame_may_come_in_any_pieces_and_an_empty_one_is_ignored() -> Result<()> {
    let server = start(&[])?;
    let (mut ann, mut bob) = pair(&server)?;
    let longest = "x".repeat(16 * 1024);
    for byte in [frame("sl"), frame(""), frame("ow")].concat() {
        ann.send(&[byte])?;
    }
    ann.send(&[frame(&longest), frame("")].concat())?;
    for said in ["sl", "ow", &longest] {
        expect(&mut bob, &format!("#ann@127.0.0.1>>{said}"))?;
    }
    Ok(())
}

#[test]
fn the_others_are_told_who_left_however() -> Result<()> {
    let server = start(&[])?;
    let mut ann = join(&server, "ann")?;
    let leave: [fn(Client) -> Result<()>; 3] = [
        |client| {
            drop(client);
            Ok(())
        },
        |mut client| client.half_close().and_then(|()| client.expect_eof()),
        Client::reset,
    ];
    for leave in leave {
        let bob = join(&server, "bob")?;
        expect(&mut ann, "(Connected: New client (2) from bob@127.0.0.1)")?;
        leave(bob)?;
        expect(&mut ann, "(Now hung up: Client from bob@127.0.0.1)")?;
    }
    Ok(())
}

#[test]
fn what_was_said_before_leaving_comes_before() -> Result<()> {
    let server = start(&[])?;
    let (mut ann, mut bob) = pair(&server)?;
    bob.send(&[frame("so long"), frame("and thanks")].concat())?;
    drop(bob);
    expect(&mut ann, "#bob@127.0.0.1>>so long")?;
    expect(&mut ann, "#bob@127.0.0.1>>and thanks")?;
    expect(&mut ann, "(Now hung up: Client from bob@127.0.0.1)")
}

#[test]
fn who_connects_and_says_nothing_stalls_nobody_and_hears_nothing() -> Result<()> {
    let server = start(&[])?;
    let mut silent = Client::connect(server.addr())?;
    let mut half = Client::connect(server.addr())?;
    half.send(&frame("NAME: half")[..7])?;
    let (mut ann, mut bob) = pair(&server)?;
    undisturbed(&mut ann, &mut bob)?;
    drop(half); // nobody has known it, so nobody is told
    undisturbed(&mut ann, &mut bob)?;
    introduce(&mut silent, "late")?; // the first that it hears
    expect(&mut ann, "(Connected: New client (3) from late@127.0.0.1)")
}

#[test]
fn what_is_wrong_is_told_logged_and_ends_that_client_alone() -> Result<()> {
    let server = start(&[])?;
    let (mut ann, mut bob) = pair(&server)?;
    let no_name = "the first frame has to be \"NAME: \" and a name of 1 to 255 bytes";
    let bad_byte = [&[0, 0, 0, 3][..], b"a\xffb"].concat();
    let wrong = [
        (frame("hello"), no_name),
        (frame("NAME: "), no_name),
        (frame(&format!("NAME: {}", "n".repeat(256))), no_name),
        (vec![0, 0, 0x40, 1], "a frame of 16385 bytes announced, 16384 allowed"),
        (vec![0xff; 4], "a frame of 4294967295 bytes announced, 16384 allowed"),
        (bad_byte, "the text is not UTF-8: byte 1 of 3 is wrong"),
    ];
    for (bytes, why) in wrong {
        let mut client = Client::connect(server.addr())?;
        client.send(&bytes)?;
        expect(&mut client, &format!("server: {why}"))?;
        client.expect_eof()?;
        let addr = client.addr().to_string();
        drop(client);
        server.wait_for_log(why, |line| line.contains(&addr) && line.ends_with(why))?;
        undisturbed(&mut ann, &mut bob)?;
    }
    Ok(())
}

#[test]
fn many_failures_for_one_reason_hide_none_for_another() -> Result<()> {
    let server = start(&[])?;
    let told = |bytes: &[u8]| -> Result<String> {
        let mut client = Client::connect(server.addr())?;
        client.send(bytes)?;
        client.bytes_to_end()?;
        Ok(client.addr().to_string())
    };
    // More than the ten lines that a reason may have within a second.
    for _ in 0..30 {
        told(b"\0\0\0\x01\xff")?;
    }
    for (bytes, why) in [(&b"\xff\0\0\0"[..], "a frame of"), (&frame("no name"), "the first frame")]
    {
        let addr = told(bytes)?;
        server.wait_for_log(why, |line| line.contains(&addr) && line.contains(why))?;
    }
    Ok(())
}

#[test]
fn who_talks_on_after_something_wrong_still_gets_to_know_why() -> Result<()> {
    let server = start(&[])?;
    let mut client = Client::connect(server.addr())?;
    client.send_regardless(&frame("hello").repeat(20_000));
    let text = text(&mut client)?;
    assert!(text.starts_with("server: the first frame has to be"), "{text}");
    client.expect_eof()
}

#[test]
fn what_came_before_a_wrong_frame_still_counts() -> Result<()> {
    let server = start(&[])?;
    let (mut ann, mut bob) = pair(&server)?;
    bob.send(&[frame("this"), frame("and this"), vec![0xff; 40]].concat())?;
    expect(&mut ann, "#bob@127.0.0.1>>this")?;
    expect(&mut ann, "#bob@127.0.0.1>>and this")?;
    expect(&mut ann, "(Now hung up: Client from bob@127.0.0.1)")?;
    expect(&mut bob, "server: a frame of 4294967295 bytes announced, 16384 allowed")
}

#[test]
fn an_ipv6_client_is_told_its_ipv6_address() -> Result<()> {
    if !Needs::Ipv6.met() {
        eprintln!("skipped: this machine has no IPv6 on the loopback interface");
        return Ok(());
    }
    let server = start(&["--host", "::1"])?;
    let mut ann = join(&server, "ann")?;
    let _bob = join(&server, "bob")?;
    expect(&mut ann, "(Connected: New client (2) from bob@::1)")
}

#[test]
fn who_does_not_read_is_cut_off_and_nobody_waits_for_it() -> Result<()> {
    const GONE: &str = "(Now hung up: Client from slow@127.0.0.1)";
    let server = start(&["-q"])?;
    let (mut ann, mut bob) = pair(&server)?;
    let mut slow = Client::connect_narrow(server.addr())?;
    introduce(&mut slow, "slow")?;
    expect(&mut ann, "(Connected: New client (3) from slow@127.0.0.1)")?;
    expect(&mut bob, "(Connected: New client (3) from slow@127.0.0.1)")?;
    let block = frame(&"x".repeat(10_000));
    // Bob gets each block before the next is sent, so that he keeps up.
    let is_gone = wait_until(PATIENCE, || {
        ann.send(&block)?;
        Ok(text(&mut bob)? == GONE)
    })?;
    assert!(is_gone);
    expect(&mut ann, GONE)?;
    let is_it = |line: &str| line.contains("does not keep up");
    let line = server.wait_for_log("how much was queued", is_it)?;
    let queued = line.split(' ').find_map(|word| word.parse().ok()).unwrap_or(u64::MAX);
    assert!((256 << 10..9 << 20).contains(&queued), "{line}");
    // Bob is behind by the one text about the one who left.
    expect(&mut bob, &format!("#ann@127.0.0.1>>{}", "x".repeat(10_000)))?;
    undisturbed(&mut ann, &mut bob)
}

#[test]
fn what_is_queued_at_the_end_is_still_delivered() -> Result<()> {
    let mut server = start(&[])?;
    let mut late = Client::connect_narrow(server.addr())?;
    introduce(&mut late, "late")?;
    let mut ann = join(&server, "ann")?;
    let texts: Vec<_> = (0..150).map(|i| format!("{i} {}", "x".repeat(1000))).collect();
    for said in &texts {
        ann.send(&frame(said))?;
    }
    server.wait_for_log("the last text", |line| line.contains(": 149 "))?;
    late.widen()?; // so that it can take all of it in time
    server.signal(Signal::TERM)?;
    expect(&mut late, "(Connected: New client (2) from ann@127.0.0.1)")?;
    for said in &texts {
        expect(&mut late, &format!("#ann@127.0.0.1>>{said}"))?;
    }
    late.expect_eof()?;
    drop((late, ann));
    server.expect_exit("sent SIGTERM").map(drop)
}

#[test]
fn past_1024_descriptors_a_client_is_told_so_and_the_room_goes_on() -> Result<()> {
    // As many here as there, and some.
    let limit = rlimit::increase_nofile_limit(4096)?;
    assert!(limit >= 2048, "this needs 2048 descriptors, and {limit} are allowed");
    let mut server = start(&["-q"])?;
    let (mut ann, mut bob) = pair(&server)?;
    let crowd: Vec<_> = (0..1024).map(|_| Client::connect(server.addr())).collect::<Result<_>>()?;
    let mut refused = Client::connect(server.addr())?;
    let addr = refused.addr().to_string();
    refused.send(&frame("NAME: late"))?;
    let answer = text(&mut refused)?;
    // The same number again, or a little more while others are being told.
    let number = answer.strip_prefix(NO_BIT).and_then(|number| number.parse::<u16>().ok());
    assert!(number.is_some_and(|number| number >= 1024), "{answer}");
    refused.expect_eof()?;
    server.wait_for_log("the refusal", |line| line.contains("refused: select(2) watches"))?;
    assert_eq!(server.log().count(|line| line.contains("panic")), 0, "{}", server.log());
    undisturbed(&mut ann, &mut bob)?;
    drop(crowd);
    let mut last = None;
    let is_let_in = wait_until(PATIENCE, || {
        let mut client = Client::connect(server.addr())?;
        client.send(&frame("NAME: again"))?;
        last = Some(text(&mut client)?);
        Ok(last.as_deref() == Some("CLIENT: 127.0.0.1"))
    })?;
    assert!(is_let_in, "{last:?}; {addr} was refused before");
    server.expect_alive("gave it more connections than select can watch")
}

/// A server with a keyboard; `Launch` gives all the empty device.
struct Typed {
    child: Child,
    server: Server,
}

impl Drop for Typed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const AS_IT_IS: &str = "exec \"$0\" \"$@\"";
const NO_STDIN: &str = "exec \"$0\" \"$@\" <&-";

fn start_with(stdin: Stdio, shell: &str) -> Result<Typed> {
    let mut command = Command::new("sh");
    command.args(["-c", shell, PROGRAM, "--name", "server", "--port", "0"]);
    let mut child = command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let stdout = lines(child.stdout.take().context("its standard output")?);
    let mut typed = Typed { child, server: Server::elsewhere(([0, 0, 0, 0], 0).into()) };
    let line = stdout.recv_timeout(PATIENCE)?;
    let addr = line.strip_prefix("Listening on ").context("another line")?.parse()?;
    typed.server = Server::elsewhere(addr);
    Ok(typed)
}

#[test]
fn enter_on_its_keyboard_stops_it_and_nothing_less() -> Result<()> {
    let mut typed = start_with(Stdio::piped(), AS_IT_IS)?;
    let mut keyboard = typed.child.stdin.take().context("its keyboard")?;
    let (mut ann, mut bob) = pair(&typed.server)?;
    keyboard.write_all(b"no Enter yet")?;
    undisturbed(&mut ann, &mut bob)?; // perhaps in the same turn
    undisturbed(&mut ann, &mut bob)?;
    keyboard.write_all(b"\n")?;
    ann.expect_eof()?;
    bob.expect_eof()?;
    drop((ann, bob));
    let mut status = None;
    wait_until(PATIENCE, || {
        status = typed.child.try_wait()?;
        Ok(status.is_some())
    })?;
    assert_eq!(status.and_then(|status| status.code()), Some(0));
    Ok(())
}

#[test]
fn without_a_keyboard_it_goes_on() -> Result<()> {
    let (read, write) = std::io::pipe()?;
    drop(write);
    let starts = [
        (Stdio::null(), AS_IT_IS),
        (Stdio::null(), NO_STDIN),
        (read.into(), AS_IT_IS),
        (File::options().append(true).open("/dev/null")?.into(), AS_IT_IS),
    ];
    for (stdin, shell) in starts {
        let mut typed = start_with(stdin, shell)?;
        let (mut ann, mut bob) = pair(&typed.server)?;
        undisturbed(&mut ann, &mut bob)?;
        assert!(typed.child.try_wait()?.is_none(), "it has ended");
    }
    Ok(())
}

#[test]
fn an_ended_keyboard_costs_no_processor_time() -> Result<()> {
    const WATCHED: Duration = Duration::from_secs(1);
    let server = start(&[])?;
    let (mut ann, mut bob) = pair(&server)?;
    undisturbed(&mut ann, &mut bob)?;
    let Some(before) = server.figures() else { return Ok(()) }; // a system that does not tell
    // Nothing is waited for: this is the time that is measured.
    std::thread::sleep(WATCHED);
    let cpu = server.figures().context("its figures")?.cpu.saturating_sub(before.cpu);
    assert!(cpu < WATCHED / 4, "{cpu:?} of {WATCHED:?}");
    Ok(())
}
