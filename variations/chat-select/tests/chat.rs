//! The server over raw sockets: `cargo test -p chat-select --test chat`.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use check::Needs;
use probe::client_process::read_lines;
use probe::server::{Launch, Server, Signal};
use probe::wire::Client;
use probe::{TIMEOUT, fail, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_chat-select");

/// What the server tells a client whose connection it cannot watch, before the number of the descriptor.
const NOT_WATCHABLE: &str =
    "server: full: select(2) watches descriptors below 1024, and this is descriptor ";

fn start(args: &[&str]) -> Result<Server> {
    Launch::new(PROGRAM, &[]).args(&["--name", "server"]).args(args).start()
}

fn frame(text: &str) -> Vec<u8> {
    let len = u32::try_from(text.len()).unwrap();
    [&len.to_be_bytes(), text.as_bytes()].concat()
}

/// Receives the next message.
fn receive(client: &mut Client) -> Result<String> {
    let bytes = client.recv_when("a frame", |bytes| {
        let len = u32::from_be_bytes(*bytes.first_chunk()?);
        Some(4 + usize::try_from(len).ok()?).filter(|len| *len <= bytes.len())
    })?;
    Ok(String::from_utf8(bytes[4..].to_vec())?)
}

fn expect(client: &mut Client, wanted: &str) -> Result<()> {
    let got = receive(client)?;
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

/// Returns two clients, each of which knows that the other is in the room.
fn pair(server: &Server) -> Result<(Client, Client)> {
    let mut ann = join(server, "ann")?;
    let bob = join(server, "bob")?;
    expect(&mut ann, "(Connected: New client (2) from bob@127.0.0.1)")?;
    Ok((ann, bob))
}

/// Checks that the next message that Bob receives is Ann's: no other message came before it, and the server
/// still works.
fn expect_works(ann: &mut Client, bob: &mut Client) -> Result<()> {
    ann.send(&frame("still here?"))?;
    expect(bob, "#ann@127.0.0.1>>still here?")
}

#[test]
fn a_client_that_joins_gets_its_address_and_the_others_get_its_name() -> Result<()> {
    let server = start(&[])?;
    let (mut ann, mut bob) = pair(&server)?;
    let mut cleo = join(&server, "Cleo from the 3rd floor")?;
    for client in [&mut ann, &mut bob] {
        expect(client, "(Connected: New client (3) from Cleo from the 3rd floor@127.0.0.1)")?;
    }
    ann.send(&frame("hello"))?;
    expect(&mut cleo, "#ann@127.0.0.1>>hello") // and no message about her own arrival before that
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
    expect(&mut ann, "#bob@127.0.0.1>>yes") // and no message of her own before that
}

#[test]
fn a_frame_may_arrive_in_any_pieces_and_an_empty_one_is_ignored() -> Result<()> {
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
fn the_others_are_told_that_a_client_has_left_however_it_leaves() -> Result<()> {
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
fn the_last_messages_of_a_client_come_before_its_departure() -> Result<()> {
    let server = start(&[])?;
    let (mut ann, mut bob) = pair(&server)?;
    bob.send(&[frame("so long"), frame("and thanks")].concat())?;
    drop(bob);
    expect(&mut ann, "#bob@127.0.0.1>>so long")?;
    expect(&mut ann, "#bob@127.0.0.1>>and thanks")?;
    expect(&mut ann, "(Now hung up: Client from bob@127.0.0.1)")
}

#[test]
fn a_client_without_a_name_delays_no_client_and_receives_nothing() -> Result<()> {
    let server = start(&[])?;
    let mut silent = Client::connect(server.addr())?;
    let mut half = Client::connect(server.addr())?;
    half.send(&frame("NAME: half")[..7])?;
    let (mut ann, mut bob) = pair(&server)?;
    expect_works(&mut ann, &mut bob)?;
    drop(half); // the others did not know about it, so they are not told
    expect_works(&mut ann, &mut bob)?;
    introduce(&mut silent, "late")?; // the reply is the first message that it receives
    expect(&mut ann, "(Connected: New client (3) from late@127.0.0.1)")
}

#[test]
fn a_protocol_error_is_replied_and_logged_and_ends_this_client_only() -> Result<()> {
    let server = start(&[])?;
    let (mut ann, mut bob) = pair(&server)?;
    let no_name = "the first message must be \"NAME: \" and a name of 1 to 255 bytes";
    let bad_byte = [&[0, 0, 0, 3][..], b"a\xffb"].concat();
    let wrong = [
        (frame("hello"), no_name),
        (frame("NAME: "), no_name),
        (frame(&format!("NAME: {}", "n".repeat(256))), no_name),
        (vec![0, 0, 0x40, 1], "the frame announces 16385 bytes, more than 16384"),
        (vec![0xff; 4], "the frame announces 4294967295 bytes, more than 16384"),
        (bad_byte, "the message is not UTF-8: invalid at byte 1 of 3"),
    ];
    for (bytes, why) in wrong {
        let mut client = Client::connect(server.addr())?;
        client.send(&bytes)?;
        expect(&mut client, &format!("server: {why}"))?;
        client.expect_eof()?;
        let addr = client.addr().to_string();
        drop(client);
        server.wait_for_log(why, |line| line.contains(&addr) && line.ends_with(why))?;
        expect_works(&mut ann, &mut bob)?;
    }
    Ok(())
}

#[test]
fn many_failures_for_one_reason_do_not_hide_another_reason() -> Result<()> {
    let server = start(&[])?;
    let fails = |bytes: &[u8]| -> Result<String> {
        let mut client = Client::connect(server.addr())?;
        client.send(bytes)?;
        client.recv_bytes_to_end()?;
        Ok(client.addr().to_string())
    };
    // More than the ten lines a second that the log shows for one reason.
    for _ in 0..30 {
        fails(b"\0\0\0\x01\xff")?;
    }
    let others =
        [(&b"\xff\0\0\0"[..], "the frame announces"), (&frame("no name"), "the first message")];
    for (bytes, why) in others {
        let addr = fails(bytes)?;
        server.wait_for_log(why, |line| line.contains(&addr) && line.contains(why))?;
    }
    Ok(())
}

#[test]
fn a_client_that_sends_on_after_an_error_still_receives_the_reason() -> Result<()> {
    let server = start(&[])?;
    let mut client = Client::connect(server.addr())?;
    client.try_send(&frame("hello").repeat(20_000));
    let msg = receive(&mut client)?;
    assert!(msg.starts_with("server: the first message must be"), "{msg}");
    client.expect_eof()
}

#[test]
fn messages_before_a_wrong_frame_count() -> Result<()> {
    let server = start(&[])?;
    let (mut ann, mut bob) = pair(&server)?;
    bob.send(&[frame("this"), frame("and this"), vec![0xff; 40]].concat())?;
    expect(&mut ann, "#bob@127.0.0.1>>this")?;
    expect(&mut ann, "#bob@127.0.0.1>>and this")?;
    expect(&mut ann, "(Now hung up: Client from bob@127.0.0.1)")?;
    expect(&mut bob, "server: the frame announces 4294967295 bytes, more than 16384")
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
fn a_client_that_does_not_read_for_a_second_is_disconnected() -> Result<()> {
    const GONE: &str = "(Now hung up: Client from slow@127.0.0.1)";
    let server = start(&["-q"])?;
    let (mut ann, mut bob) = pair(&server)?;
    let mut slow = Client::connect_with_small_buffers(server.addr())?;
    introduce(&mut slow, "slow")?;
    expect(&mut ann, "(Connected: New client (3) from slow@127.0.0.1)")?;
    expect(&mut bob, "(Connected: New client (3) from slow@127.0.0.1)")?;
    // More than the kernel and the queue may hold, but less than 8 MiB: with more, the server would
    // disconnect the client at once.
    let msg = "x".repeat(10_000);
    let relayed = format!("#ann@127.0.0.1>>{msg}");
    let mut is_gone = false;
    for _ in 0..600 {
        ann.send(&frame(&msg))?;
        // Bob reads each message before the next one is sent, so that he keeps up. On a busy machine, the slow client
        // is disconnected before all are sent.
        loop {
            let got = receive(&mut bob)?;
            if got == relayed {
                break;
            }
            assert_eq!(got, GONE);
            is_gone = true;
        }
        if is_gone {
            break;
        }
    }
    expect(&mut ann, GONE)?;
    if !is_gone {
        expect(&mut bob, GONE)?;
    }
    let is_reason = |line: &str| line.contains("does not keep up");
    let line = server.wait_for_log("how much was queued", is_reason)?;
    let queued = line.split(' ').find_map(|word| word.parse().ok()).unwrap_or(u64::MAX);
    assert!((256 << 10..6 << 20).contains(&queued), "{line}");
    expect_works(&mut ann, &mut bob)
}

#[test]
fn queued_messages_are_sent_when_the_server_stops() -> Result<()> {
    let mut server = start(&[])?;
    let mut late = Client::connect_with_small_buffers(server.addr())?;
    introduce(&mut late, "late")?;
    let mut ann = join(&server, "ann")?;
    let texts: Vec<_> = (0..150).map(|i| format!("{i} {}", "x".repeat(1000))).collect();
    for said in &texts {
        ann.send(&frame(said))?;
    }
    server.wait_for_log("the last message", |line| line.contains(": 149 "))?;
    late.enlarge_recv_buffer()?; // so that it can receive everything in time
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
fn a_client_that_select_cannot_watch_is_told_so_and_the_room_goes_on() -> Result<()> {
    // The test needs as many descriptors as the server, and a few more.
    let limit = rlimit::increase_nofile_limit(4096)?;
    assert!(limit >= 2048, "this needs 2,048 descriptors, and the limit is {limit}");
    let mut server = start(&["-q"])?;
    let (mut ann, mut bob) = pair(&server)?;
    let clients: Vec<_> =
        (0..1024).map(|_| Client::connect(server.addr())).collect::<Result<_>>()?;
    let mut refused = Client::connect(server.addr())?;
    let addr = refused.addr().to_string();
    refused.send(&frame("NAME: late"))?;
    let answer = receive(&mut refused)?;
    // The number is 1,024, or higher while other clients are being refused.
    let number = answer.strip_prefix(NOT_WATCHABLE).and_then(|number| number.parse::<u16>().ok());
    assert!(number.is_some_and(|number| number >= 1024), "{answer}");
    refused.expect_eof()?;
    server.wait_for_log("the refusal", |line| line.contains("refused: select(2) watches"))?;
    assert_eq!(server.log().count(|line| line.contains("panic")), 0, "{}", server.log());
    expect_works(&mut ann, &mut bob)?;
    drop(clients);
    let mut last = None;
    let is_admitted = wait_until(TIMEOUT, || {
        let mut client = Client::connect(server.addr())?;
        client.send(&frame("NAME: again"))?;
        last = Some(receive(&mut client)?);
        Ok(last.as_deref() == Some("CLIENT: 127.0.0.1"))
    })?;
    assert!(is_admitted, "{last:?}; {addr} was refused before");
    server.expect_running("opened more connections than select can watch")
}

/// A server with a keyboard. (A server of `Launch` has /dev/null as its standard input.)
struct WithKeyboard {
    child: Child,
    server: Server,
}

impl Drop for WithKeyboard {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// Shell commands that start the program.
const WITH_STDIN: &str = "exec \"$0\" \"$@\"";
const WITHOUT_STDIN: &str = "exec \"$0\" \"$@\" <&-";

fn start_with(stdin: Stdio, shell: &str) -> Result<WithKeyboard> {
    let mut command = Command::new("sh");
    command.args(["-c", shell, PROGRAM, "--name", "server", "--port", "0"]);
    let mut child = command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let stdout = read_lines(child.stdout.take().context("no standard output")?);
    let mut started = WithKeyboard { child, server: Server::at(([0, 0, 0, 0], 0).into()) };
    let line = stdout.recv_timeout(TIMEOUT)?;
    let addr =
        line.strip_prefix("Listening on ").context("not the line with the address")?.parse()?;
    started.server = Server::at(addr);
    Ok(started)
}

#[test]
fn enter_stops_the_server_and_other_keys_do_not() -> Result<()> {
    let mut started = start_with(Stdio::piped(), WITH_STDIN)?;
    let mut keyboard = started.child.stdin.take().context("no keyboard")?;
    let (mut ann, mut bob) = pair(&started.server)?;
    keyboard.write_all(b"no Enter yet")?;
    expect_works(&mut ann, &mut bob)?; // perhaps in the turn in which the keyboard is read
    expect_works(&mut ann, &mut bob)?;
    keyboard.write_all(b"\n")?;
    ann.expect_eof()?;
    bob.expect_eof()?;
    drop((ann, bob));
    let mut status = None;
    wait_until(TIMEOUT, || {
        status = started.child.try_wait()?;
        Ok(status.is_some())
    })?;
    assert_eq!(status.and_then(|status| status.code()), Some(0));
    Ok(())
}

#[test]
fn a_server_without_a_keyboard_goes_on() -> Result<()> {
    let (read, write) = std::io::pipe()?;
    drop(write);
    let starts = [
        (Stdio::null(), WITH_STDIN),
        (Stdio::null(), WITHOUT_STDIN),
        (read.into(), WITH_STDIN),
        (File::options().append(true).open("/dev/null")?.into(), WITH_STDIN),
    ];
    for (stdin, shell) in starts {
        let mut started = start_with(stdin, shell)?;
        let (mut ann, mut bob) = pair(&started.server)?;
        expect_works(&mut ann, &mut bob)?;
        assert!(started.child.try_wait()?.is_none(), "the server has ended");
    }
    Ok(())
}

#[test]
fn the_end_of_the_input_takes_no_processor_time() -> Result<()> {
    const WATCHED: Duration = Duration::from_secs(1);
    let server = start(&[])?;
    let (mut ann, mut bob) = pair(&server)?;
    expect_works(&mut ann, &mut bob)?;
    let Some(before) = server.usage() else { return Ok(()) }; // not on this system
    // This sleep waits for no event: it is the time that is measured.
    std::thread::sleep(WATCHED);
    let cpu = server.usage().context("no figures")?.cpu.saturating_sub(before.cpu);
    assert!(cpu < WATCHED / 4, "{cpu:?} of {WATCHED:?}");
    Ok(())
}
