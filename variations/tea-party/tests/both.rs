//! What holds for both programs, whatever is said: `cargo test -p tea-party --test both`.
#![allow(clippy::unwrap_used)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::Result;
use socket2::SockRef;
use workbench::PATIENCE;
use workbench::server::{Launch, Server};
use workbench::wire::Client;

/// A program, and how to talk in it.
#[derive(Clone, Copy)]
struct Program {
    path: &'static str,
    /// Whether somebody has to log in, say "say", and is named.
    has_names: bool,
}

const SIMPLE: Program = Program { path: env!("CARGO_BIN_EXE_simple-chat"), has_names: false };
const PARTY: Program = Program { path: env!("CARGO_BIN_EXE_tea-party"), has_names: true };
const BOTH: [Program; 2] = [SIMPLE, PARTY];

impl Program {
    fn start(self) -> Result<Server> {
        Launch::new(self.path, &[]).start()
    }

    /// Somebody who is there, and alone or the first to speak.
    fn join(self, server: &Server, name: &str) -> Result<Client> {
        self.let_in(Client::connect(server.addr())?, name)
    }

    fn let_in(self, mut client: Client, name: &str) -> Result<Client> {
        client.expect_bytes(b"Welcome to TestChat\r\n")?;
        if self.has_names {
            client.send(format!("login {name}\n").as_bytes())?;
        }
        client.send(&self.line("here"))?;
        self.hear(&mut client, name, "here")?;
        Ok(client)
    }

    fn line(self, text: &str) -> Vec<u8> {
        format!("{}{text}\r\n", if self.has_names { "say " } else { "" }).into_bytes()
    }

    fn heard(self, name: &str, text: &str) -> Vec<u8> {
        match self.has_names {
            true => format!("{name}: {text}\r\n").into_bytes(),
            false => format!("{text}\r\n").into_bytes(),
        }
    }

    /// Waits for what somebody says, whatever comes before.
    fn hear(self, client: &mut Client, name: &str, text: &str) -> Result<()> {
        while client.line()? != self.heard(name, text) {}
        Ok(())
    }
}

#[test]
fn simple_chat_relays_every_line_as_it_is_to_everyone() -> Result<()> {
    let server = SIMPLE.start()?;
    let mut ann = SIMPLE.join(&server, "ann")?;
    let mut bob = SIMPLE.join(&server, "bob")?;
    ann.expect_bytes(b"here\r\n")?;
    let lines = b"one\r\n  two  \nlogin ann\r\n\r\n\x1b[1mlo\xe9ud\x07\r\n\xe8\x8c\xb6\n";
    ann.send(lines)?;
    for client in [&mut ann, &mut bob] {
        let heard = b"one\r\n  two  \r\nlogin ann\r\n\r\n\x1b[1mlo\xe9ud\x07\r\n\xe8\x8c\xb6\r\n";
        client.expect_bytes(heard)?;
    }
    drop(ann);
    bob.send(b"alone\n")?;
    bob.expect_bytes(b"alone\r\n") // and nothing about her leaving
}

#[test]
fn simple_chat_has_a_name() -> Result<()> {
    let server = Launch::new(SIMPLE.path, &[]).args(&["--name", "Tea ☕"]).start()?;
    Client::connect(server.addr())?.expect_bytes("Welcome to Tea ☕\r\n".as_bytes())
}

#[test]
fn a_line_that_is_too_long_is_dropped_alone() -> Result<()> {
    for program in BOTH {
        let server = program.start()?;
        let mut ann = program.join(&server, "ann")?;
        let room = 4096 - program.line("").len() + 2;
        let longest = "é".repeat(room / 2);
        ann.send(&program.line(&longest))?;
        ann.expect_bytes(&program.heard("ann", &longest))?;
        for too_long in [room + 1, 5000, 200_000] {
            ann.send(&program.line(&"x".repeat(too_long)))?;
            ann.expect_bytes(b"A line has at most 4096 bytes; yours was dropped.\r\n")?;
        }
        ann.send(&program.line("on"))?;
        ann.expect_bytes(&program.heard("ann", "on"))?;
    }
    Ok(())
}

#[test]
fn telnet_commands_break_no_name_and_no_text() -> Result<()> {
    for program in BOTH {
        let server = program.start()?;
        let mut bob = program.join(&server, "bob")?;
        let mut ann = Client::connect(server.addr())?;
        ann.expect_bytes(b"Welcome to TestChat\r\n")?;
        let plain = match program.has_names {
            true => &b"login ann\r\nsay tea for two\r\n"[..],
            false => b"tea for two\r\n",
        };
        // WILL NAWS, its sizes (240 is the byte of SE, and 255 has two), DO ECHO, AYT, an IAC that is
        // data.
        let commands =
            b"\xff\xfb\x1f\xff\xfa\x1f\0\xf0\xff\xff\n\xff\xf0\xff\xfd\x01\xff\xf6\xff\xff";
        for byte in plain {
            // Each piece is cut where it hurts.
            let (first, second) = commands.split_at(usize::from(*byte) % commands.len());
            ann.send(first)?;
            ann.send(second)?;
            ann.send(&[*byte])?;
        }
        program.hear(&mut bob, "ann", "tea for two")?;
    }
    Ok(())
}

/// A telnet client that sends each character as it is typed sends CR NUL for Enter.
#[test]
fn enter_in_telnets_character_mode_ends_a_line() -> Result<()> {
    for program in BOTH {
        let server = program.start()?;
        let mut ann = program.join(&server, "ann")?;
        for text in ["tea", "for\rtwo", &"x".repeat(5000), "and one"] {
            let line = [program.line(text).trim_ascii_end(), b"\r", b"\0"].concat();
            let (most, last) = line.split_at(line.len() - 1);
            ann.send(most)?;
            ann.send(last)?;
        }
        ann.expect_bytes(&program.heard("ann", "tea"))?;
        let return_in_it = if program.has_names { "for\\rtwo" } else { "for\rtwo" };
        ann.expect_bytes(&program.heard("ann", return_in_it))?;
        ann.expect_bytes(b"A line has at most 4096 bytes; yours was dropped.\r\n")?;
        ann.expect_bytes(&program.heard("ann", "and one"))?;
    }
    Ok(())
}

#[test]
fn ctrl_c_in_telnet_costs_nothing() -> Result<()> {
    for program in BOTH {
        let server = program.start()?;
        let mut bob = program.join(&server, "bob")?;
        let mut telnet = TcpStream::connect(server.addr())?;
        telnet.set_read_timeout(Some(PATIENCE))?;
        if program.has_names {
            telnet.write_all(b"login ann\r\n")?;
        }
        // IP, DO TIMING-MARK, and an IAC whose DM goes out of band.
        telnet.write_all(b"\xff\xf4\xff\xfd\x06\xff")?;
        SockRef::from(&telnet).send_out_of_band(b"\xf2")?;
        telnet.write_all(&program.line("still here"))?;
        program.hear(&mut bob, "ann", "still here")?;
        let mut greeting = *b"Welcome to TestChat\r\n\xff\xfc\x06";
        let wanted = greeting;
        telnet.read_exact(&mut greeting)?;
        assert_eq!(greeting, wanted); // WONT TIMING-MARK: until then it shows nothing
    }
    Ok(())
}

/// RFC 855 has both sides agree before such a thing begins. Here nobody has, so one that has
/// no end is over at the next command, or after so many bytes.
#[test]
fn a_subnegotiation_without_its_end_silences_nobody() -> Result<()> {
    for program in BOTH {
        let server = program.start()?;
        let mut ann = program.join(&server, "ann")?;
        ann.send(b"\xff\xfa\x1fxx\r\n")?;
        ann.send(&[b"\xff\xfb\x1f", &program.line("back")[..]].concat())?;
        ann.expect_bytes(&program.heard("ann", "back"))?;
        ann.send(&[b"\xff\xfa\x1f", &b"x\r\n".repeat(200)[..]].concat())?;
        ann.send(&program.line("back again"))?;
        program.hear(&mut ann, "ann", "back again")?;
    }
    Ok(())
}

/// In character mode nothing is erased on the client's side.
#[test]
fn a_backspace_edits_the_line() -> Result<()> {
    for program in BOTH {
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
            ann.expect_bytes(&program.heard("ann", "hello"))?;
        }
        // Erase line.
        ann.send(&[b"never said\xff\xf8", &program.line("said")[..]].concat())?;
        ann.expect_bytes(&program.heard("ann", "said"))?;
    }
    Ok(())
}

#[test]
fn a_flood_slows_the_one_who_floods_alone() -> Result<()> {
    for program in BOTH {
        let server = program.start()?;
        let mut flooder = program.join(&server, "flooder")?;
        let mut ann = program.join(&server, "ann")?;
        let mut bob = program.join(&server, "bob")?;
        let begin = Instant::now();
        flooder.send(&program.line("flood").repeat(200))?;
        program.hear(&mut ann, "flooder", "flood")?;
        for n in 0..60 {
            ann.send(&program.line(&format!("calm {n}")))?;
            program.hear(&mut bob, "ann", &format!("calm {n}"))?;
        }
        let calm = begin.elapsed();
        flooder.send(&program.line("the last"))?;
        program.hear(&mut flooder, "flooder", "the last")?; // all of it has been heard, in time
        let flood = begin.elapsed();
        assert!(flood >= Duration::from_secs(4), "200 lines in {flood:?}");
        assert!(calm < flood / 2, "60 lines of another took {calm:?}, the flood {flood:?}");
    }
    Ok(())
}

#[test]
fn a_flood_ends_with_its_connection() -> Result<()> {
    for program in BOTH {
        let server = program.start()?;
        let mut bob = program.join(&server, "bob")?;
        let mut flooder = program.join(&server, "flooder")?;
        let addr = flooder.addr();
        flooder.send(&program.line("flood").repeat(5000))?;
        flooder.half_close()?;
        program.hear(&mut bob, "flooder", "flood")?;
        let end = |line: &str| line.ends_with(&format!("Client {addr} disconnected"));
        server.wait_for_log("the flooder's end", end)?;
        let said = server.log().count(|line| line.ends_with("flood"));
        assert!((90..500).contains(&said), "{said} lines said");
    }
    Ok(())
}

#[test]
fn what_was_said_before_a_half_close_is_heard_and_its_answer_sent() -> Result<()> {
    for program in BOTH {
        let server = program.start()?;
        let mut bob = program.join(&server, "bob")?;
        let mut ann = program.join(&server, "ann")?;
        ann.send(&[program.line("one"), program.line("two"), b"thr".to_vec()].concat())?;
        ann.half_close()?;
        let heard = [program.heard("ann", "one"), program.heard("ann", "two")].concat();
        ann.expect_bytes(&heard)?;
        ann.expect_eof()?;
        program.hear(&mut bob, "ann", "one")?;
        program.hear(&mut bob, "ann", "two")?;
    }
    Ok(())
}

#[test]
fn who_does_not_read_is_disconnected_with_a_warning_and_stalls_nobody() -> Result<()> {
    for program in BOTH {
        let server = program.start()?;
        let never = program.let_in(Client::connect_narrow(server.addr())?, "never")?;
        let addr = never.addr();
        let mut bob = program.join(&server, "bob")?;
        let mut is_told = false;
        let text = "q".repeat(4000);
        let is_it = |line: &str| {
            line.contains("WARN")
                && line.contains(&addr.to_string())
                && line.contains("does not keep up")
                && line.contains("bytes queued")
        };
        for n in 0..60 {
            let mut talker = program.join(&server, &format!("talker{n}"))?;
            talker.send(&program.line(&text).repeat(20))?;
            talker.send(&program.line("done"))?;
            let done = program.heard(&format!("talker{n}"), "done");
            while bob.line().map(|line| {
                is_told |= line == b"never has left the room.\r\n";
                line != done
            })? {}
            if server.log().count(is_it) > 0 {
                break;
            }
        }
        server.wait_for_log("a warning", is_it)?;
        server.wait_for_log("its end", |line| {
            line.ends_with(&format!("Client {addr} disconnected"))
        })?;
        while program.has_names && !is_told {
            is_told = bob.line()? == b"never has left the room.\r\n";
        }
    }
    Ok(())
}

#[cfg(unix)]
#[test]
fn at_sigterm_what_is_queued_is_delivered() -> Result<()> {
    use workbench::server::Signal;
    for program in BOTH {
        let mut server = program.start()?;
        let mut late = program.let_in(Client::connect_narrow(server.addr())?, "late")?;
        let mut ann = program.join(&server, "ann")?;
        let text = "q".repeat(2000);
        for _ in 0..80 {
            ann.send(&program.line(&text))?;
        }
        for _ in 0..80 {
            program.hear(&mut ann, "ann", &text)?;
        }
        server.signal(Signal::TERM)?;
        ann.expect_eof()?; // whoever has nothing left to hear is gone now
        late.widen()?;
        let (bytes, end) = late.bytes_to_end()?;
        assert_eq!(end, workbench::wire::Heard::Eof);
        let count = bytes.windows(2000).filter(|it| *it == text.as_bytes()).count();
        assert_eq!(count, 80);
        server.expect_exit("sent SIGTERM with much queued")?;
    }
    Ok(())
}

/// The kernel's own list says of each connection which timer runs: 02 is the one for keepalive.
#[cfg(target_os = "linux")]
#[test]
fn the_kernel_asks_whether_who_is_idle_is_still_there() -> Result<()> {
    for program in BOTH {
        let server = program.start()?;
        let idle = program.join(&server, "idle")?;
        let port = |port: u16| format!(":{port:04X}");
        let ends = [port(server.addr().port()), port(idle.addr().port())];
        let mut timer = String::new();
        let has_it = workbench::wait_until(PATIENCE, || {
            let table = std::fs::read_to_string("/proc/net/tcp")?;
            let fields =
                |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            let rows = table.lines().skip(1).map(fields);
            let mut ours = rows.filter(|it| it[1].ends_with(&ends[0]) && it[2].ends_with(&ends[1]));
            timer = ours.next().map(|it| it[5].clone()).unwrap_or_default();
            Ok(timer.starts_with("02:"))
        })?;
        assert!(has_it, "{timer:?}");
        // It runs for a minute at most; the system's own would for two hours.
        assert!(u64::from_str_radix(&timer[3..], 16)? <= 6100, "{timer}");
    }
    Ok(())
}
