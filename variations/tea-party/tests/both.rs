//! Tests that both programs must pass: `cargo test -p tea-party --test both`.
#![allow(clippy::unwrap_used)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use probe::TIMEOUT;
use probe::server::{Launch, Server};
use probe::wire::Client;
use socket2::SockRef;

/// A program, and how its clients send a text.
#[derive(Clone, Copy)]
struct Program {
    path: &'static str,
    /// Whether clients log in, begin a line with "say", and receive lines with the sender's name.
    has_names: bool,
}

const SIMPLE: Program = Program { path: env!("CARGO_BIN_EXE_simple-chat"), has_names: false };
const PARTY: Program = Program { path: env!("CARGO_BIN_EXE_tea-party"), has_names: true };
const BOTH: [Program; 2] = [SIMPLE, PARTY];

/// Tests both programs at the same time, since most of the time a test waits.
fn on_both(test: impl Fn(Program) -> Result<()> + Sync) -> Result<()> {
    thread::scope(|scope| {
        let test = &test;
        let tests = BOTH.map(|program| scope.spawn(move || test(program)));
        tests.into_iter().try_for_each(|running| running.join().unwrap())
    })
}

impl Program {
    fn start(self) -> Result<Server> {
        Launch::new(self.path, &[]).start()
    }

    /// Connects a client, which logs in if the program asks for that, and says something.
    fn join(self, server: &Server, name: &str) -> Result<Client> {
        self.log_in(Client::connect(server.addr())?, name)
    }

    fn log_in(self, mut client: Client, name: &str) -> Result<Client> {
        client.expect_bytes(b"Welcome to TestChat\r\n")?;
        if self.has_names {
            client.send(format!("login {name}\n").as_bytes())?;
        }
        client.send(&self.line("here"))?;
        self.wait_for(&mut client, name, "here")?;
        Ok(client)
    }

    /// Returns the line that a client sends to say a text.
    fn line(self, text: &str) -> Vec<u8> {
        format!("{}{text}\r\n", if self.has_names { "say " } else { "" }).into_bytes()
    }

    /// Returns the line that the clients receive when a client says a text.
    fn relayed(self, name: &str, text: &str) -> Vec<u8> {
        match self.has_names {
            true => format!("{name}: {text}\r\n").into_bytes(),
            false => format!("{text}\r\n").into_bytes(),
        }
    }

    /// Waits until a client receives this text from this sender; ignores other lines.
    fn wait_for(self, client: &mut Client, name: &str, text: &str) -> Result<()> {
        while client.recv_line()? != self.relayed(name, text) {}
        Ok(())
    }
}

#[test]
fn simple_chat_relays_every_line_unchanged_to_all_clients() -> Result<()> {
    let server = SIMPLE.start()?;
    let mut ann = SIMPLE.join(&server, "ann")?;
    let mut bob = SIMPLE.join(&server, "bob")?;
    ann.expect_bytes(b"here\r\n")?;
    let lines = b"one\r\n  two  \nlogin ann\r\n\r\n\x1b[1mlo\xe9ud\x07\r\n\xe8\x8c\xb6\n";
    ann.send(lines)?;
    for client in [&mut ann, &mut bob] {
        let relayed = b"one\r\n  two  \r\nlogin ann\r\n\r\n\x1b[1mlo\xe9ud\x07\r\n\xe8\x8c\xb6\r\n";
        client.expect_bytes(relayed)?;
    }
    drop(ann);
    bob.send(b"alone\n")?;
    bob.expect_bytes(b"alone\r\n") // and nothing about the end of ann
}

#[test]
fn simple_chat_has_a_name() -> Result<()> {
    let server = Launch::new(SIMPLE.path, &[]).args(&["--name", "Tea ☕"]).start()?;
    Client::connect(server.addr())?.expect_bytes("Welcome to Tea ☕\r\n".as_bytes())
}

#[test]
fn only_the_line_that_is_too_long_is_dropped() -> Result<()> {
    on_both(|program| {
        let server = program.start()?;
        let mut ann = program.join(&server, "ann")?;
        let max_len = 4096 - program.line("").len() + 2;
        let longest = "é".repeat(max_len / 2);
        ann.send(&program.line(&longest))?;
        ann.expect_bytes(&program.relayed("ann", &longest))?;
        for too_long in [max_len + 1, 5000, 200_000] {
            ann.send(&program.line(&"x".repeat(too_long)))?;
            ann.expect_bytes(b"A line has at most 4096 bytes; yours was dropped.\r\n")?;
        }
        ann.send(&program.line("on"))?;
        ann.expect_bytes(&program.relayed("ann", "on"))?;
        Ok(())
    })
}

#[test]
fn telnet_commands_may_be_anywhere_in_a_line() -> Result<()> {
    on_both(|program| {
        let server = program.start()?;
        let mut bob = program.join(&server, "bob")?;
        let mut ann = Client::connect(server.addr())?;
        ann.expect_bytes(b"Welcome to TestChat\r\n")?;
        let plain = match program.has_names {
            true => &b"login ann\r\nsay tea for two\r\n"[..],
            false => b"tea for two\r\n",
        };
        // WILL NAWS; the size of the window, which contains the bytes of SE and IAC; DO ECHO; AYT; IAC IAC.
        let commands =
            b"\xff\xfb\x1f\xff\xfa\x1f\0\xf0\xff\xff\n\xff\xf0\xff\xfd\x01\xff\xf6\xff\xff";
        for byte in plain {
            // Before each byte, the commands are sent in two parts, which are cut at a different place each
            // time.
            let (first, second) = commands.split_at(usize::from(*byte) % commands.len());
            ann.send(first)?;
            ann.send(second)?;
            ann.send(&[*byte])?;
        }
        program.wait_for(&mut bob, "ann", "tea for two")?;
        Ok(())
    })
}

/// In character mode, telnet sends each character as it is typed, and CR NUL for Enter.
#[test]
fn enter_ends_a_line_in_the_character_mode_of_telnet() -> Result<()> {
    on_both(|program| {
        let server = program.start()?;
        let mut ann = program.join(&server, "ann")?;
        for text in ["tea", "for\rtwo", &"x".repeat(5000), "and one"] {
            let line = [program.line(text).trim_ascii_end(), b"\r", b"\0"].concat();
            let (most, last) = line.split_at(line.len() - 1);
            ann.send(most)?;
            ann.send(last)?;
        }
        ann.expect_bytes(&program.relayed("ann", "tea"))?;
        let text_with_cr = if program.has_names { "for\\rtwo" } else { "for\rtwo" };
        ann.expect_bytes(&program.relayed("ann", text_with_cr))?;
        ann.expect_bytes(b"A line has at most 4096 bytes; yours was dropped.\r\n")?;
        ann.expect_bytes(&program.relayed("ann", "and one"))?;
        Ok(())
    })
}

#[test]
fn ctrl_c_in_telnet_loses_no_byte_of_a_line() -> Result<()> {
    on_both(|program| {
        let server = program.start()?;
        let mut bob = program.join(&server, "bob")?;
        let mut telnet = TcpStream::connect(server.addr())?;
        telnet.set_read_timeout(Some(TIMEOUT))?;
        if program.has_names {
            telnet.write_all(b"login ann\r\n")?;
        }
        // IP, DO TIMING-MARK, and IAC DM, whose last byte is urgent data.
        telnet.write_all(b"\xff\xf4\xff\xfd\x06\xff")?;
        SockRef::from(&telnet).send_out_of_band(b"\xf2")?;
        telnet.write_all(&program.line("still here"))?;
        program.wait_for(&mut bob, "ann", "still here")?;
        // WONT TIMING-MARK: telnet prints nothing until it receives this answer.
        let expected = *b"Welcome to TestChat\r\n\xff\xfc\x06";
        let mut received = expected;
        telnet.read_exact(&mut received)?;
        assert_eq!(received, expected);
        Ok(())
    })
}

/// The server does not agree to any option, so a client should not begin a subnegotiation (RFC 855). If a
/// subnegotiation has no end, the server ends it at the next command, or at the maximum length.
#[test]
fn a_subnegotiation_without_an_end_does_not_hide_the_lines_after_it() -> Result<()> {
    on_both(|program| {
        let server = program.start()?;
        let mut ann = program.join(&server, "ann")?;
        ann.send(b"\xff\xfa\x1fxx\r\n")?;
        ann.send(&[b"\xff\xfb\x1f", &program.line("back")[..]].concat())?;
        ann.expect_bytes(&program.relayed("ann", "back"))?;
        ann.send(&[b"\xff\xfa\x1f", &b"x\r\n".repeat(200)[..]].concat())?;
        ann.send(&program.line("back again"))?;
        program.wait_for(&mut ann, "ann", "back again")?;
        Ok(())
    })
}

/// In character mode, telnet sends a backspace like any other character.
#[test]
fn a_backspace_erases_a_character_of_the_line() -> Result<()> {
    on_both(|program| {
        let server = program.start()?;
        let mut ann = program.join(&server, "ann")?;
        ann.send(b"\xff\xfd\x03\xff\xfd\x01")?; // DO SUPPRESS-GO-AHEAD, DO ECHO
        ann.expect_bytes(b"\xff\xfc\x03\xff\xfc\x01")?;
        let say = if program.has_names { "say " } else { "" };
        let typed = format!("x\x7f{say}é\u{7f}elp\u{8}\u{7f}\u{8}helloo");
        let erase: [&[u8]; 3] = [b"\x7f", b"\x08", b"\xff\xf7"];
        for erase in erase {
            let line = [typed.as_bytes(), erase, b"\r\0"].concat();
            for byte in line {
                ann.send(&[byte])?;
            }
            ann.expect_bytes(&program.relayed("ann", "hello"))?;
        }
        // IAC EL: erase line.
        ann.send(&[b"never said\xff\xf8", &program.line("said")[..]].concat())?;
        ann.expect_bytes(&program.relayed("ann", "said"))?;
        Ok(())
    })
}

#[test]
fn a_client_that_sends_many_lines_slows_down_only_itself() -> Result<()> {
    const FLOOD: usize = 200;
    on_both(|program| {
        let server = program.start()?;
        let mut flooder = program.join(&server, "flooder")?;
        let mut ann = program.join(&server, "ann")?;
        let mut bob = program.join(&server, "bob")?;
        let start = Instant::now();
        flooder.send(&program.line("flood").repeat(FLOOD))?;
        program.wait_for(&mut ann, "flooder", "flood")?;
        let calm: Vec<_> = (0..60).map(|n| program.line(&format!("calm {n}"))).collect();
        ann.send(&calm.concat())?;
        // A busy machine may delay all clients alike, so the order of the lines counts, and not their times.
        let (mut floods, mut calms) = (0, 0);
        while calms < calm.len() {
            let line = bob.recv_line()?;
            floods += usize::from(line == program.relayed("flooder", "flood"));
            calms += usize::from(line == program.relayed("ann", &format!("calm {calms}")));
        }
        flooder.send(&program.line("the last"))?;
        program.wait_for(&mut flooder, "flooder", "the last")?; // after all earlier lines of the flooder
        let flood = start.elapsed();
        assert!(flood >= Duration::from_secs(4), "{FLOOD} lines took only {flood:?}");
        assert!(
            floods < FLOOD * 3 / 4,
            "60 lines of another client came after {floods} of the flood"
        );
        Ok(())
    })
}

#[test]
fn lines_beyond_the_rate_limit_are_dropped_when_their_sender_has_left() -> Result<()> {
    on_both(|program| {
        let server = program.start()?;
        let mut bob = program.join(&server, "bob")?;
        let mut flooder = program.join(&server, "flooder")?;
        let addr = flooder.addr();
        flooder.send(&program.line("flood").repeat(5000))?;
        flooder.half_close()?;
        program.wait_for(&mut bob, "flooder", "flood")?;
        let end = |line: &str| line.ends_with(&format!("Client {addr} disconnected"));
        server.wait_for_log("the flooder's end", end)?;
        let relayed = server.log().count(|line| line.ends_with("flood"));
        assert!((90..500).contains(&relayed), "{relayed} lines relayed");
        Ok(())
    })
}

#[test]
fn lines_before_a_half_close_are_relayed_to_their_sender_too() -> Result<()> {
    on_both(|program| {
        let server = program.start()?;
        let mut bob = program.join(&server, "bob")?;
        let mut ann = program.join(&server, "ann")?;
        ann.send(&[program.line("one"), program.line("two"), b"thr".to_vec()].concat())?;
        ann.half_close()?;
        let relayed = [program.relayed("ann", "one"), program.relayed("ann", "two")].concat();
        ann.expect_bytes(&relayed)?;
        ann.expect_eof()?;
        program.wait_for(&mut bob, "ann", "one")?;
        program.wait_for(&mut bob, "ann", "two")?;
        Ok(())
    })
}

#[test]
fn a_client_that_does_not_read_is_disconnected_and_stalls_nobody() -> Result<()> {
    on_both(|program| {
        let server = program.start()?;
        let never = program.log_in(Client::connect_with_small_buffers(server.addr())?, "never")?;
        let addr = never.addr();
        let mut bob = program.join(&server, "bob")?;
        let mut is_told = false;
        let text = "q".repeat(4000);
        let is_warning = |line: &str| {
            line.contains("WARN")
                && line.contains(&addr.to_string())
                && line.contains("does not keep up")
                && line.contains("bytes queued")
        };
        for n in 0..60 {
            let mut talker = program.join(&server, &format!("talker{n}"))?;
            talker.send(&program.line(&text).repeat(20))?;
            talker.send(&program.line("done"))?;
            let done = program.relayed(&format!("talker{n}"), "done");
            while bob.recv_line().map(|line| {
                is_told |= line == b"never has left the room.\r\n";
                line != done
            })? {}
            if server.log().count(is_warning) > 0 {
                break;
            }
        }
        server.wait_for_log("a warning", is_warning)?;
        server.wait_for_log("its end", |line| {
            line.ends_with(&format!("Client {addr} disconnected"))
        })?;
        while program.has_names && !is_told {
            is_told = bob.recv_line()? == b"never has left the room.\r\n";
        }
        Ok(())
    })
}

#[cfg(unix)]
#[test]
fn at_sigterm_what_is_queued_is_delivered() -> Result<()> {
    use probe::server::Signal;
    on_both(|program| {
        let mut server = program.start()?;
        let mut late =
            program.log_in(Client::connect_with_small_buffers(server.addr())?, "late")?;
        let mut ann = program.join(&server, "ann")?;
        let text = "q".repeat(2000);
        for _ in 0..80 {
            ann.send(&program.line(&text))?;
        }
        for _ in 0..80 {
            program.wait_for(&mut ann, "ann", &text)?;
        }
        server.signal(Signal::TERM)?;
        ann.expect_eof()?; // ann has received everything, so she is disconnected
        late.enlarge_recv_buffer()?;
        let (bytes, end) = late.recv_bytes_to_end()?;
        assert_eq!(end, probe::wire::Received::Eof);
        let count = bytes.windows(2000).filter(|it| *it == text.as_bytes()).count();
        assert_eq!(count, 80);
        server.expect_exit("sent SIGTERM with much queued")?;
        Ok(())
    })
}

/// Reads from /proc/net/tcp which timer runs for the connection: 02 is the keepalive timer.
#[cfg(target_os = "linux")]
#[test]
fn the_kernel_probes_idle_clients() -> Result<()> {
    on_both(|program| {
        let server = program.start()?;
        let idle = program.join(&server, "idle")?;
        let port = |port: u16| format!(":{port:04X}");
        let ends = [port(server.addr().port()), port(idle.addr().port())];
        let mut timer = String::new();
        let has_timer = probe::wait_until(TIMEOUT, || {
            let table = std::fs::read_to_string("/proc/net/tcp")?;
            let fields =
                |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            let rows = table.lines().skip(1).map(fields);
            let mut ours = rows.filter(|it| it[1].ends_with(&ends[0]) && it[2].ends_with(&ends[1]));
            timer = ours.next().map(|it| it[5].clone()).unwrap_or_default();
            Ok(timer.starts_with("02:"))
        })?;
        assert!(has_timer, "{timer:?}");
        // The timer counts hundredths of a second, and runs for at most a minute. By default, it runs for
        // two hours.
        assert!(u64::from_str_radix(&timer[3..], 16)? <= 6100, "{timer}");
        Ok(())
    })
}
