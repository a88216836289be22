//! Checks which lines a server logs, and which bytes never reach the log.

use anyhow::Result;

use crate::bench::wait_until_read;
use crate::check::own_check;
use crate::log_events::{
    self as events, connected_line, count, disconnected_line, ends_with_event, is_warning,
    message_line,
};
use crate::profile::{CHAT_STAGES, SEVERAL_STAGES, STAGES};
use crate::room::ChatRoom;
use crate::{Bench, Check, Serves, Theme};
use probe::fail;
use probe::server::Server;
use probe::wire::{Client, Received, is_terminal_control, prep_msg};

pub(crate) const ROWS: &[Check] = &[
    own_check(
        "log-three-lines",
        Theme::Log,
        STAGES,
        three_lines,
        "§1: one line an event: `Connection from ADDR`, `ADDR: text` for each message, \
         `Client ADDR disconnected`.",
    ),
    own_check(
        "log-thousand-lines",
        Theme::Log,
        STAGES,
        a_thousand_lines,
        "§1: one line an event, `ADDR: text` for each message.",
    ),
    own_check(
        "log-one-line-for-many",
        Theme::Log,
        CHAT_STAGES,
        one_line_for_many,
        "§1: one line an event, however many clients receive the message.",
    ),
    own_check(
        "log-escapes",
        Theme::Log,
        STAGES,
        controls_escaped,
        "§1: Text that came from the network and goes to a log has its control characters escaped \
         (C0 except tab, DEL, C1), and so are the bidirectional controls, U+2028 and U+2029.",
    ),
    own_check(
        "log-not-forged",
        Theme::Log,
        STAGES,
        events_not_forged,
        "§1: Text that came from the network and goes to a log has its control characters \
         escaped: no client can write a log line of its own.",
    )
    .non_stages(Serves::OneAtATime),
    own_check(
        "log-errors-escaped",
        Theme::Log,
        STAGES,
        errors_escaped,
        "§1: Text that came from the network and goes to a log has its control characters \
         escaped, in error messages too.",
    ),
    own_check(
        "log-quiet",
        Theme::Log,
        STAGES,
        quiet,
        "§1: the log: `info` by default, set by `-v`, `-q` or `RUST_LOG`.",
    ),
    own_check("log-rust-log", Theme::Log, STAGES, rust_log, "§1: the log: set by `RUST_LOG`.")
        .non_stages(Serves::OneAtATime),
    own_check(
        "log-rust-log-mistyped",
        Theme::Log,
        STAGES,
        rust_log_invalid,
        "§1: the log: `info` by default, even if `RUST_LOG` is invalid; one warning says so.",
    )
    .non_stages(Serves::OneAtATime),
    own_check(
        "log-each-reason",
        Theme::Log,
        STAGES,
        limit_for_each_reason,
        "§1: the log: for what went wrong the address and why; for each reason, at most ten lines \
         a second.",
    ),
    own_check(
        "log-rust-log-debug",
        Theme::Log,
        CHAT_STAGES,
        rust_log_debug,
        "§1: the log: set by `RUST_LOG`. §2: Bytes left are dropped (logged at `debug`).",
    ),
    own_check(
        "log-broken-connection",
        Theme::Log,
        STAGES,
        broken_connection_logged,
        "§1: the log: for what went wrong the address, what was being done, and why.",
    ),
    own_check(
        "log-lines",
        Theme::Log,
        &[],
        connects_and_leaves,
        "§1: one line an event: `Connection from ADDR`, `Client ADDR disconnected`.",
    )
    .non_stages(Serves::OneAtATime),
    own_check(
        "log-escapes-garbage",
        Theme::Log,
        STAGES,
        garbage_escaped,
        "§1: Text that came from the network and goes to a log has its control characters escaped \
         (C0 except tab, DEL, C1), and so are the bidirectional controls, U+2028 and U+2029.",
    )
    .non_stages(Serves::OneAtATime),
    own_check(
        "log-quiet-refusal",
        Theme::Log,
        SEVERAL_STAGES,
        only_refusal_logged,
        "§1: the log: `info` by default, set by `-v`, `-q` or `RUST_LOG`.",
    )
    .non_stages(Serves::Many),
];

pub(super) fn three_lines(bench: &Bench) -> Result<()> {
    let server = bench.start_with_args(&[])?;
    let mut client = Client::connect(server.addr())?;
    bench.exchange(&mut client, "one message")?;
    let addr = client.addr();
    drop(client);
    events::wait_for(&server, &disconnected_line(addr))?;
    expect_lines_about(
        &server,
        addr,
        &[connected_line(addr), message_line(addr, "one message"), disconnected_line(addr)],
    )
}

fn expect_lines_about(
    server: &Server,
    addr: std::net::SocketAddr,
    expected: &[String],
) -> Result<()> {
    let log = server.log().so_far();
    let about: Vec<_> = log.iter().filter(|line| line.contains(&addr.to_string())).collect();
    let fit = about.len() == expected.len()
        && about.iter().zip(expected).all(|(line, event)| ends_with_event(line, event));
    if fit {
        return Ok(());
    }
    fail("served one client", format!("{expected:#?}"), format!("{about:#?}"))
}

pub(super) fn a_thousand_lines(bench: &Bench) -> Result<()> {
    const MESSAGES: usize = 1000;
    let server = bench.start_with_args(&[])?;
    let mut client = Client::connect(server.addr())?;
    let addr = client.addr();
    client.send(&prep_msg("pipelined").repeat(MESSAGES))?;
    let relayed = if bench.profile().is_chat() { MESSAGES } else { 1 };
    let answer = bench.expected_answer(addr, "pipelined");
    (0..relayed).try_for_each(|_| client.expect_msg(&answer))?;
    drop(client);
    events::wait_for(&server, &disconnected_line(addr))?;
    let lines = count(server.log(), &message_line(addr, "pipelined"));
    let about = server.log().count(|line| line.contains(&addr.to_string()));
    if (lines, about) == (relayed, relayed + 2) {
        return Ok(());
    }
    let expected =
        format!("{relayed} lines with the text, and 2 more lines with the client's address");
    fail(
        format!("sent {MESSAGES} messages at once"),
        expected,
        format!("{lines} lines with the text, of {about} with the client's address"),
    )
}

/// Returns all characters that a message may contain and a log line may not, and the tab.
pub(super) fn controls() -> String {
    ('\u{1}'..='\u{ffff}').filter(|ch| is_terminal_control(*ch)).collect()
}

pub(super) fn is_forbidden(ch: char) -> bool {
    is_terminal_control(ch) && ch != '\t'
}

pub(super) fn controls_escaped(bench: &Bench) -> Result<()> {
    let server = bench.start_with_args(&[])?;
    let mut client = Client::connect(server.addr())?;
    let text = format!("begin {} end", controls());
    bench.exchange(&mut client, &text)?;
    let addr = client.addr();
    let line = server.wait_for_log("the message", |line| line.contains("begin"))?;
    drop(client);
    events::wait_for(&server, &disconnected_line(addr))?;
    let whole = line.contains(&addr.to_string()) && line.ends_with("end") && line.contains('\t');
    let log = server.log().so_far();
    if let Some(bad) = log.iter().find(|line| line.contains(is_forbidden)) {
        return fail(
            "sent a message with all control characters",
            "no control character except the tab in the log",
            format!("{bad:?}"),
        );
    }
    if whole {
        Ok(())
    } else {
        fail(
            "sent a message with all control characters",
            "one log line with the address and the whole text",
            format!("{line:?}"),
        )
    }
}

/// Checks that the log lines about invalid messages contain none of their control characters.
pub(super) fn errors_escaped(bench: &Bench) -> Result<()> {
    let server = bench.start_with_args(&["-v"])?;
    let too_long = "\x1b[2J\r".repeat(super::protocol_errors::MAX_MSG_LEN);
    for bytes in [b"\x1b[31m\r\xff\0".as_slice(), too_long.as_bytes()] {
        let mut client = Client::connect(server.addr())?;
        client.try_send(bytes);
        client.recv_msgs_to_end()?;
        events::wait_for(&server, &disconnected_line(client.addr()))?;
    }
    let mut unfinished = Client::connect(server.addr())?;
    unfinished.send(b"\x1b[31m\r\n")?;
    let addr = unfinished.addr();
    drop(unfinished);
    events::wait_for(&server, &disconnected_line(addr))?;
    match server.log().so_far().iter().find(|line| line.contains(is_forbidden)) {
        Some(line) => fail(
            "sent invalid messages with control characters",
            "no control character in the log",
            format!("{line:?}"),
        ),
        None => Ok(()),
    }
}

pub(super) fn quiet(bench: &Bench) -> Result<()> {
    no_messages(bench, &bench.start_with_args(&["-q"])?, "-q")?;
    let warn = bench.launch_with_args(&[])?.env("RUST_LOG", "warn");
    no_messages(bench, &bench.start_launch(warn)?, "RUST_LOG=warn")
}

fn no_messages(bench: &Bench, server: &Server, with: &str) -> Result<()> {
    for _ in 0..3 {
        let mut client = Client::connect(server.addr())?;
        bench.exchange(&mut client, "not in the log")?;
    }
    let mut bad = Client::connect(server.addr())?;
    bad.try_send(b"\xff\0");
    bad.recv_msgs_to_end()?;
    // The warning shows that this log is quiet and not broken.
    server.wait_for_log("a warning about the message that is not UTF-8", |line| {
        events::is_warning(line) && line.contains(&bad.addr().to_string())
    })?;
    match server
        .log()
        .count(|line| line.contains("not in the log") || line.contains("Connection from"))
    {
        0 => Ok(()),
        n => fail(
            format!("sent messages, with {with}"),
            "no log lines for them",
            format!("{n} lines"),
        ),
    }
}

pub(super) fn rust_log(bench: &Bench) -> Result<()> {
    let off = bench.start_launch(bench.launch_with_args(&[])?.env("RUST_LOG", "off"))?;
    bench.expect_new_client_served(&off)?;
    bench.send_protocol_error(&off)?;
    match whole_log(off)?.len() {
        0 => Ok(()),
        n => fail("ran with RUST_LOG=off", "an empty log", format!("{n} lines")),
    }
}

/// Checks that an invalid filter causes one warning and is otherwise ignored.
pub(super) fn rust_log_invalid(bench: &Bench) -> Result<()> {
    for text in ["inof", "chat_poll=debgu", "warn,chat-poll", "=", "info\u{202e}"] {
        one_warning(bench, text, 1)?;
    }
    // The value that an unset shell variable has, and a valid one with spaces.
    one_warning(bench, "", 0)?;
    one_warning(bench, " info , ", 0)
}

fn one_warning(bench: &Bench, text: &str, wanted: usize) -> Result<()> {
    let server = bench.start_launch(bench.launch_with_args(&[])?.env("RUST_LOG", text))?;
    let client = Client::connect(server.addr())?;
    events::wait_for(&server, &connected_line(client.addr()))?;
    let is_it = |line: &str| {
        events::is_warning(line) && line.contains("RUST_LOG") && !line.contains(is_forbidden)
    };
    match (server.log().count(is_it), server.log().count(|line| line.contains("RUST_LOG"))) {
        (warned, all) if warned == wanted && all == wanted => Ok(()),
        _ => {
            let expected = format!("{wanted} warnings about RUST_LOG in the log");
            fail(format!("ran with RUST_LOG={text:?}"), expected, server.log())
        }
    }
}

/// Checks that the limit of lines for one reason does not hide a failure for another reason.
pub(super) fn limit_for_each_reason(bench: &Bench) -> Result<()> {
    let server = bench.start_with_args(&[])?;
    // More than the ten lines that each reason may have in a second.
    for _ in 0..30 {
        send_invalid(&server, b"\xff\0")?;
    }
    let addr = send_invalid(&server, &vec![b'a'; super::protocol_errors::MAX_MSG_LEN + 1])?;
    expect_warning(&server, addr, "a message that is too long, after many that are not UTF-8")?;
    let client = bench.connect_accepted(&server)?;
    let addr = client.addr();
    client.reset()?;
    expect_warning(&server, addr, "a reset, after many protocol errors")
}

fn send_invalid(server: &Server, bytes: &[u8]) -> Result<std::net::SocketAddr> {
    let mut client = Client::connect(server.addr())?;
    client.try_send(bytes);
    client.recv_msgs_to_end()?;
    Ok(client.addr())
}

fn expect_warning(server: &Server, addr: std::net::SocketAddr, what: &str) -> Result<()> {
    let is_it = |line: &str| events::is_warning(line) && line.contains(&addr.to_string());
    server.wait_for_log(&format!("a warning about {what}"), is_it).map(drop)
}

/// Stops the server, and returns every line that it has logged.
#[cfg(unix)]
fn whole_log(mut server: Server) -> Result<Vec<String>> {
    server.signal(probe::server::Signal::TERM)?;
    server.expect_exit("sent SIGTERM")?;
    Ok(server.output_lines()?.1)
}

#[cfg(not(unix))]
fn whole_log(mut server: Server) -> Result<Vec<String>> {
    server.expect_running("served a client")?;
    Ok(server.log().so_far())
}

pub(super) fn rust_log_debug(bench: &Bench) -> Result<()> {
    let server = bench.start_launch(bench.launch_with_args(&[])?.env("RUST_LOG", "debug"))?;
    let mut client = Client::connect(server.addr())?;
    client.send(b"unfinished")?;
    wait_until_read(&client)?;
    let addr = client.addr().to_string();
    drop(client);
    let wanted = |line: &str| line.contains("DEBUG") && line.contains(&addr);
    server.wait_for_log("a debug line about unfinished bytes", wanted).map(drop)
}

pub(super) fn broken_connection_logged(bench: &Bench) -> Result<()> {
    let server = bench.start_with_args(&[])?;
    for bytes in [&b"unfinished"[..], b""] {
        let mut client = bench.connect_accepted(&server)?;
        client.send(bytes)?;
        wait_until_read(&client)?;
        let addr = client.addr();
        client.reset()?;
        events::wait_for(&server, &disconnected_line(addr))?;
        let is_reason = |line: &str| {
            let (_, why) = line.split_once(&format!("{addr}: ")).unwrap_or_default();
            !why.is_empty() && why != "hello"
        };
        match server.log().count(is_reason) {
            1 => {}
            n => {
                return fail(
                    format!("{addr} reset its connection"),
                    "one log line with its address and the reason",
                    format!("{n} lines"),
                );
            }
        }
    }
    Ok(())
}

/// Checks that a message is logged once, however many clients receive it.
pub(super) fn one_line_for_many(bench: &Bench) -> Result<()> {
    let mut room = ChatRoom::start_with_args(bench, &[], 5)?;
    room.send_and_expect(2, "to all five")?;
    room.send_and_expect(3, "after that")?;
    events::expect_once(room.server.log(), &message_line(room.members[2].addr(), "to all five"))
}

/// Checks only the first and the last line about a client: a server may log more in between.
fn connects_and_leaves(bench: &Bench) -> Result<()> {
    let server = bench.start_with_args(&[])?;
    let mut client = Client::connect(server.addr())?;
    bench.exchange(&mut client, "one message")?;
    let addr = client.addr();
    drop(client);
    events::wait_for(&server, &disconnected_line(addr))?;
    let log = server.log().so_far();
    let about: Vec<_> = log.iter().filter(|line| line.contains(&addr.to_string())).collect();
    let is = |line: Option<&&String>, event: &str| {
        line.is_some_and(|it| events::ends_with_event(it, event))
    };
    let counts = [connected_line(addr), disconnected_line(addr)]
        .map(|event| events::count(server.log(), &event));
    if is(about.first(), &connected_line(addr))
        && is(about.last(), &disconnected_line(addr))
        && counts == [1, 1]
    {
        return Ok(());
    }
    let expected = format!(
        "lines about the client, the first `{}` and the last `{}`, each once",
        connected_line(addr),
        disconnected_line(addr)
    );
    fail("served one client", expected, format!("{about:#?}"))
}

/// Returns the control characters except newlines: in many protocols these end a text.
fn controls_without_newlines() -> String {
    controls().replace(['\n', '\r'], "")
}

fn garbage_escaped(bench: &Bench) -> Result<()> {
    let server = bench.start_launch(bench.launch_with_args(&["-v"])?)?;
    for garbage in [controls().into_bytes(), [b"\x1b[2J\xff", controls().as_bytes()].concat()] {
        let mut client = Client::connect(server.addr())?;
        client.try_send(&garbage);
        let addr = client.addr();
        drop(client);
        events::wait_for(&server, &disconnected_line(addr))?;
    }
    if let Some(bytes) = bench.logged_request() {
        let text = format!("begin {} end", controls_without_newlines());
        let addr = send_and_leave(&server, &bytes(&text))?.to_string();
        let is_it = |line: &str| {
            let (_, shown) = line.split_once("begin").unwrap_or_default();
            line.contains(&addr) && shown.contains("end") && shown.contains('\t')
        };
        server.wait_for_log(&format!("one line with {addr}, `begin`, a tab and `end`"), is_it)?;
    }
    match server.log().so_far().iter().find(|line| line.contains(is_forbidden)) {
        Some(bad) => {
            let did = "sent a message with all control characters";
            fail(did, "no control character except the tab in the log", format!("{bad:?}"))
        }
        None => Ok(()),
    }
}

/// Sends bytes, reads every answer, disconnects, and waits for the log line about that; returns the
/// client's address.
fn send_and_leave(server: &Server, bytes: &[u8]) -> Result<std::net::SocketAddr> {
    let mut client = Client::connect(server.addr())?;
    client.send(bytes)?;
    // The server may have closed the connection already.
    let _ = client.half_close().and_then(|()| client.recv_bytes_to_end());
    let addr = client.addr();
    drop(client);
    events::wait_for(server, &disconnected_line(addr))?;
    Ok(addr)
}

fn events_not_forged(bench: &Bench) -> Result<()> {
    // RFC 5737 keeps this address free of machines.
    const FORGED: &str = "Client 203.0.113.9:99 disconnected";
    let server = bench.start_with_args(&["-v"])?;
    let as_it_is: fn(&str) -> Vec<u8> = |text| text.as_bytes().to_vec();
    let bytes = bench.logged_request().unwrap_or(as_it_is);
    for end in ["\n", "\r\n", "\r", "\u{85}", "\u{2028}"] {
        send_and_leave(&server, &bytes(&format!("innocent{end}{FORGED}{end}")))?;
        if server.log().count(|line| line.trim() == FORGED) > 0 {
            return fail(
                format!("sent {FORGED:?} after {end:?} in a message"),
                "no log line with that text alone",
                server.log(),
            );
        }
    }
    Ok(())
}

fn only_refusal_logged(bench: &Bench) -> Result<()> {
    let limit = ["--max-clients", "1"];
    no_events(&bench.start_launch(bench.launch_with_args(&limit)?.args(&["-q"]))?, "-q")?;
    no_events(
        &bench.start_launch(bench.launch_with_args(&limit)?.env("RUST_LOG", "warn"))?,
        "RUST_LOG=warn",
    )
}

/// Checks that the log has no line about a client that is served. The warning about a refused
/// client shows that the log is quiet and not broken.
fn no_events(server: &Server, with: &str) -> Result<()> {
    let inside = Client::connect(server.addr())?;
    let mut refused = Client::connect(server.addr())?;
    if !matches!(refused.recv_bytes_to_end()?.1, Received::Eof | Received::Reset) {
        return fail(refused.transcript(), "the connection is refused", "it is served");
    }
    let addr = refused.addr().to_string();
    server.wait_for_log("a warning about the refusal", |line| {
        is_warning(line) && line.contains(&addr)
    })?;
    let addr = inside.addr().to_string();
    match server.log().count(|line| line.contains(&addr) || line.contains("Connection from")) {
        0 => Ok(()),
        n => fail(
            format!("connected two clients, with {with}"),
            "no log lines for the client that was not refused",
            format!("{n} lines"),
        ),
    }
}
