//! `tea-party`: a line-based chat, where clients log in with a name.

use anyhow::Result;

use crate::bench::{Departure, send_in_pieces};
use crate::check::ROW_AFTER_FRAMING;
use crate::checks::framing::or_silent;
use crate::protocol::{FirstExchange, Protocol};
use crate::protocols::OtherProtocol;
use crate::{Bench, Check, Profile, Theme};
use probe::server::Server;
use probe::wire::Client;
use probe::{Description, Failure};

pub(crate) static PROTOCOL: OtherProtocol = OtherProtocol {
    name: "tea-party",
    description: "A line-based chat for telnet and nc, where clients log in with a name",
    protocol: Protocol {
        exchange,
        ends_connection: false,
        first: Some(FirstExchange { request, answer }),
    },
    serves_thousands: false,
    basic_checks: &["party-before", "party-cut"],
    checks: CHECKS,
    right_servers: &["tea_party.py"],
};

const WELCOME: &[u8] = b"Welcome to TestChat\r\n";
const LOG_IN: &[u8] = b"Please log in\nUse \"login <nick>\"\r\n";
const NO_NAME: &str = "Please enter a name";
const IN_ROOM: &str = "The following are in this room:";
const LOGGED_IN: &str = "The following are logged in:";

/// The state of a client that has logged in with this name.
struct LoggedIn(String);

/// Returns a request to which the answer does not depend on other clients.
fn request() -> Vec<u8> {
    b"look\r\n".to_vec()
}

fn answer(client: &mut Client) -> Result<()> {
    client.expect_bytes(WELCOME)?;
    client.expect_bytes(LOG_IN)
}

/// Logs in if the client has not done so yet, and sends a message, which the client must get back.
fn exchange(client: &mut Client) -> Result<()> {
    let name = if let Some(LoggedIn(name)) = client.take_state() {
        name
    } else {
        let name = format!("guest-{}", client.addr().port());
        client.expect_bytes(WELCOME)?;
        send_line(client, &format!("login {name}"))?;
        name
    };
    send_line(client, "say hello")?;
    skip_others_until(client, &format!("{name}: hello"))?;
    client.set_state(LoggedIn(name));
    Ok(())
}

/// Receives lines until the expected one. Before it, only messages of other clients and notices about them
/// may arrive.
fn skip_others_until(client: &mut Client, expected: &str) -> Result<()> {
    let expected = format!("{expected}\r\n").into_bytes();
    loop {
        let line = client.recv_line()?;
        if line == expected {
            return Ok(());
        }
        let ends = [&b": hello\r\n"[..], b" has entered the room.\r\n", b" has left the room.\r\n"];
        if !line.starts_with(b"guest-") || !ends.iter().any(|end| line.ends_with(end)) {
            let (did, got) = (client.transcript(), Description::bytes(line, ""));
            let expected = Description::bytes(expected, "");
            return Err(
                Failure { did, expected, got, is_timeout: false, likely_cause: None }.into()
            );
        }
    }
}

const CHECKS: &[Check] = &[
    Check {
        id: "party-login",
        title: "a login and a message",
        rule: "The server sends a welcome. `login X` logs the client in, without an answer; then \
               `say TEXT` is answered with `X: TEXT`. `login` without a name is answered with \
               `Please enter a name`; a taken name is answered with `The name \"X\" is \
               taken.␍␊Please try again.`, until the client with that name has left.",
        after: &[],
        hints: [
            "The welcome or an answer does not have the bytes that the protocol asks for, or two \
             clients get the same name.",
            "Look at the line ends (␍␊), at the code that looks up whether a name is taken, and at \
             the code that removes names.",
            "Send `Welcome to TestChat␍␊` at once. Keep the clients that are logged in in one \
             table; a name is taken while it is in the table.",
        ],
        run: login,
        ..PARTY_ROW
    },
    Check {
        id: "party-before",
        title: "before the login",
        rule: "Before login only `login` and `logout` work; anything else is answered with `Please \
               log in␊Use \"login <nick>\"␍␊`. A client that has not logged in receives nothing \
               from the room.",
        hints: [
            "A client without a name is in the room already, or is answered with wrong bytes.",
            "When does the server add a client to the table of the room: when it accepts the \
             connection, or when the client has logged in? The first line end of the answer is ␊ \
             alone.",
            "Make the login a state of its own, with its own commands; add a client to the room \
             when it leaves that state.",
        ],
        run: before,
        ..PARTY_ROW
    },
    Check {
        id: "party-say",
        theme: Theme::Chat,
        title: "a message to all clients in the room",
        rule: "`say TEXT` is sent to all clients in the room as `X: TEXT`, X included, with all \
               its blanks and in any script.",
        hints: [
            "A client in the room does not get the message, or the text is changed.",
            "How does the server split the line? What happens to two blanks in a row, to a text \
             that begins with the name of a command, and to letters of several bytes?",
            "Split the line once, after its first word; the text is the rest of the line, \
             unchanged.",
        ],
        run: say_to_room,
        ..PARTY_ROW
    },
    Check {
        id: "party-others",
        theme: Theme::Chat,
        title: "the room is told who enters and leaves",
        rule: "The other clients in the room get `X has entered the room.`, and, after `logout` or \
               a lost connection, `X has left the room.`; X gets neither.",
        hints: [
            "Some ways to leave are not told, or are told twice, or are told to the wrong clients.",
            "A read that returns no bytes, a read that fails, the command `logout`: do all three \
             lead to the same function?",
            "Remove a client, and tell the remaining clients, in one function; call it for every \
             way to leave.",
        ],
        run: others,
        ..PARTY_ROW
    },
    Check {
        id: "party-look",
        theme: Theme::Chat,
        title: "the list of names",
        rule: "`look` is answered with `The following are in this room:` and one name on each \
               line, `who` with `The following are logged in:` and the same names, both in order \
               of arrival.",
        after: &["party-others"],
        hints: [
            "A name is missing, is listed although its client has left, or is in the wrong place.",
            "Look at the table that is listed: in which order does it keep its entries? A hash \
             table may keep none.",
            "Append each client that logs in to a list, or to a table that keeps the order of \
             insertion.",
        ],
        run: look,
        ..PARTY_ROW
    },
    Check {
        id: "party-unknown",
        title: "unknown commands and empty lines",
        rule: "Any other command is answered with `Unknown command: WORD`; an empty line is \
               ignored.",
        hints: [
            "The server treats an empty line as a command, or its answer names something other \
             than the first word.",
            "Look at the result of splitting an empty line, and at what the server does with it.",
            "If the line is empty, go on with the next line; otherwise look up its first word.",
        ],
        run: unknown,
        ..PARTY_ROW
    },
    Check {
        id: "party-cut",
        title: "lines in pieces",
        rule: "A line ends with ␍␊ or with ␊. One read may return a part of a line, or several \
               lines.",
        hints: [
            "The server treats the bytes of a read as a line, or handles only one line of each \
             read, or decodes each read separately.",
            "What happens to bytes that are not yet followed by a ␊? And to the bytes after the \
             first ␊?",
            "Append the bytes of each read to the client's buffer; while the buffer contains a ␊, \
             take a line out, drop a ␍ at its end, and then decode the line.",
        ],
        run: cut,
        ..PARTY_ROW
    },
    Check {
        id: "party-names",
        theme: Theme::Chat,
        title: "the same name, written differently",
        rule: "Two names that differ only in case or Unicode form are the same name.",
        hints: [
            "The server compares names as bytes, or only in lower case.",
            "Look at the code that looks up whether a name is taken. Lower case finds ANN, but \
             does not find STRASSE for Straße; and é has two Unicode forms, one of one character \
             and one of two.",
            "Compare NFC(casefold(NFD(name))), and show the name as the client wrote it.",
        ],
        run: |bench| or_silent(names(bench)),
        ..PARTY_ROW
    },
];

/// The fields that are the same in all checks that depend on `party-login`.
const PARTY_ROW: Check = Check {
    must_pass: |profile| profile == Profile::Other(&PROTOCOL),
    after: &["party-login"],
    page: "variations-protocols.md#tea-party",
    ..ROW_AFTER_FRAMING
};

fn send_line(client: &mut Client, line: &str) -> Result<()> {
    client.send(format!("{line}\r\n").as_bytes())
}

/// Checks that this is the next line.
fn expect(client: &mut Client, line: &str) -> Result<()> {
    client.expect_bytes(format!("{line}\r\n").as_bytes())
}

/// Sends a line, and checks that these lines are the answer.
fn ask(client: &mut Client, line: &str, answer: &[&str]) -> Result<()> {
    send_line(client, line)?;
    answer.iter().try_for_each(|it| expect(client, it))
}

/// Checks that a login with this name is refused. A second `login`, without a name, is answered only if the
/// client is not logged in.
fn expect_taken(client: &mut Client, name: &str) -> Result<()> {
    let taken = format!("The name \"{name}\" is taken.");
    let answers = [&taken, "Please try again.", NO_NAME];
    ask(client, &format!("login {name}\r\nlogin"), &answers)
}

/// Logs out, and ignores any bytes before the end of the stream: another check tests them.
fn log_out(mut client: Client) -> Result<()> {
    send_line(&mut client, "logout")?;
    client.recv_bytes_to_end()?;
    Ok(())
}

/// Connects a client, which must receive the welcome.
fn connect(bench: &Bench, server: &Server) -> Result<Client> {
    let mut client = bench.connect(server)?;
    client.expect_bytes(WELCOME)?;
    Ok(client)
}

/// Connects a client that logs in; the clients already in the room must be told.
fn join(bench: &Bench, server: &Server, name: &str, in_room: &mut [&mut Client]) -> Result<Client> {
    let mut client = connect(bench, server)?;
    send_line(&mut client, &format!("login {name}"))?;
    let entered = format!("{name} has entered the room.");
    in_room.iter_mut().try_for_each(|it| expect(it, &entered))?;
    if in_room.is_empty() {
        expect_in_room(&mut client, name)?;
    }
    Ok(client)
}

/// Checks that the client is in the room: the next line that it receives is its own message.
fn expect_in_room(client: &mut Client, name: &str) -> Result<()> {
    ask(client, "say I am here", &[&format!("{name}: I am here")])
}

fn login(bench: &Bench) -> Result<()> {
    let server = bench.start_server()?;
    let mut first = bench.connect(&server)?;
    bench.set_step("client A logged in and sent \"say hello\"");
    exchange(&mut first)?;
    bench.set_step("client A sent \"say hello\" again");
    exchange(&mut first)?;
    log_out(first)?;
    let ann = join(bench, &server, "ann", &mut [])?;
    let mut other = connect(bench, &server)?;
    bench.set_step("a client sent \"login\" without a name");
    ask(&mut other, "login", &[NO_NAME])?;
    bench.set_step(
        "a client sent \"login ann\" and \"login\" while another client was logged in as ann; then \
         it sent \"login bob\"",
    );
    expect_taken(&mut other, "ann")?;
    send_line(&mut other, "login bob")?;
    expect_in_room(&mut other, "bob")?;
    bench.set_step("the client named ann logged out; then another client sent \"login ann\"");
    log_out(ann)?;
    let mut next = connect(bench, &server)?;
    send_line(&mut next, "login ann")?;
    expect_in_room(&mut next, "ann")
}

fn before(bench: &Bench) -> Result<()> {
    let server = bench.start_server()?;
    let mut outside = connect(bench, &server)?;
    for line in ["say hello", "look", "who", "tea?", "help"] {
        bench.set_step(format!("client A sent {line:?} before it had logged in"));
        send_line(&mut outside, line)?;
        outside.expect_bytes(LOG_IN)?;
    }
    bench.set_step(
        "client B logged in and sent a message; then client A, which had not logged in, sent \
         \"look\"",
    );
    let mut ann = join(bench, &server, "ann", &mut [])?;
    send_line(&mut outside, "look")?;
    outside.expect_bytes(LOG_IN)?;
    bench.set_step(
        "client A sent \"logout\" before it had logged in; then client B, in the room, sent a \
         message",
    );
    send_line(&mut outside, "logout")?;
    outside.expect_eof()?;
    expect_in_room(&mut ann, "ann")
}

fn say_to_room(bench: &Bench) -> Result<()> {
    let server = bench.start_server()?;
    let mut ann = join(bench, &server, "ann", &mut [])?;
    let mut bob = join(bench, &server, "bob", &mut [&mut ann])?;
    let mut cleo = join(bench, &server, "cleo", &mut [&mut ann, &mut bob])?;
    for text in ["hello", "more tea,  Hatter?", "say no more", "drei: Grüße, 世界 🥫"] {
        bench.set_step(format!(
            "clients A, B and C were in the room; C sent \"say\" with the text {text:?}, which all \
             three must receive"
        ));
        send_line(&mut cleo, &format!("say {text}"))?;
        for client in [&mut ann, &mut bob, &mut cleo] {
            expect(client, &format!("cleo: {text}"))?;
        }
    }
    Ok(())
}

fn others(bench: &Bench) -> Result<()> {
    let server = bench.start_server()?;
    let mut ann = join(bench, &server, "ann", &mut [])?;
    let departures = [None].into_iter().chain(Departure::ALL.map(Some));
    for departure in departures {
        let left = departure.map_or("logged out".to_owned(), |it| it.to_string());
        bench.set_step(format!(
            "a client logged in, sent a message, and {left}; client A, in the room, must be told"
        ));
        let mut bob = join(bench, &server, "bob", &mut [&mut ann])?;
        expect_in_room(&mut bob, "bob")?;
        expect(&mut ann, "bob: I am here")?;
        let receiver = if let Some(departure) = departure {
            departure.end(bob)?
        } else {
            send_line(&mut bob, "logout")?;
            Some(bob)
        };
        if let Some(mut bob) = receiver {
            bob.expect_eof()?;
        }
        expect(&mut ann, "bob has left the room.")?;
    }
    bench.set_step(
        "a client that had not logged in reset its connection; then client A sent a message, which \
         must be the next line that it receives",
    );
    let stranger = connect(bench, &server)?;
    stranger.reset()?;
    expect_in_room(&mut ann, "ann")
}

fn look(bench: &Bench) -> Result<()> {
    let server = bench.start_server()?;
    let mut cleo = join(bench, &server, "cleo", &mut [])?;
    let mut ann = join(bench, &server, "ann", &mut [&mut cleo])?;
    let _outside = connect(bench, &server)?;
    let mut bob = join(bench, &server, "bob", &mut [&mut cleo, &mut ann])?;
    bench.set_step(
        "the clients cleo, ann and bob logged in, in this order; then bob sent \"look\" and \
         \"who\"",
    );
    ask(&mut bob, "look", &[IN_ROOM, "cleo", "ann", "bob"])?;
    ask(&mut bob, "who", &[LOGGED_IN, "cleo", "ann", "bob"])?;
    bench.set_step("cleo left and logged in again; then bob sent \"look\" and \"who\"");
    drop(cleo);
    for client in [&mut ann, &mut bob] {
        expect(client, "cleo has left the room.")?;
    }
    let _cleo = join(bench, &server, "cleo", &mut [&mut ann, &mut bob])?;
    ask(&mut bob, "look", &[IN_ROOM, "ann", "bob", "cleo"])?;
    ask(&mut bob, "who", &[LOGGED_IN, "ann", "bob", "cleo"])
}

fn unknown(bench: &Bench) -> Result<()> {
    let server = bench.start_server()?;
    let mut ann = join(bench, &server, "ann", &mut [])?;
    for (line, word) in [("dance", "dance"), ("sing with me", "sing"), ("привет", "привет")]
    {
        bench.set_step(format!("client A, in the room, sent {line:?}"));
        ask(&mut ann, line, &[&format!("Unknown command: {word}")])?;
    }
    bench.set_step("client A, in the room, sent two empty lines, and then a message");
    ann.send(b"\r\n\n")?;
    expect_in_room(&mut ann, "ann")
}

fn cut(bench: &Bench) -> Result<()> {
    let server = bench.start_server()?;
    let mut ann = join(bench, &server, "ann", &mut [])?;
    let line = "say é☕\r\n".as_bytes();
    for at in 1..line.len() {
        bench.set_step(format!(
            "client A sent \"say é☕\\r\\n\" in two pieces; the first had {at} of its 11 bytes"
        ));
        send_in_pieces(&mut ann, &[&line[..at], &line[at..]])?;
        expect(&mut ann, "ann: é☕")?;
    }
    bench.set_step("client A sent \"say é☕\\r\\n\" one byte at a time");
    send_in_pieces(&mut ann, &line.chunks(1).collect::<Vec<_>>())?;
    expect(&mut ann, "ann: é☕")?;
    bench.set_step(
        "client A sent \"say one\\nsay two\\r\\nsay th\" in one write, and then \"ree\\n\"",
    );
    send_in_pieces(&mut ann, &[b"say one\nsay two\r\nsay th", b"ree\n"])?;
    ["one", "two", "three"]
        .iter()
        .try_for_each(|text| expect(&mut ann, &format!("ann: {text}")))?;
    bench.set_step("a client sent \"login bob\", a message and \"logout\" in one write");
    let mut bob = connect(bench, &server)?;
    bob.send(b"login bob\r\nsay hello, and goodbye\r\nlogout\r\n")?;
    expect(&mut bob, "bob: hello, and goodbye")?;
    bob.recv_bytes_to_end()?;
    Ok(())
}

/// Returns a name in which combining accents are escaped, so that a reader sees them.
fn shown(name: &str) -> String {
    let is_accent = |ch| ('\u{300}'..='\u{36f}').contains(&ch);
    let shown = |ch: char| if is_accent(ch) { ch.escape_unicode().to_string() } else { ch.into() };
    name.chars().map(shown).collect()
}

fn names(bench: &Bench) -> Result<()> {
    let server = bench.start_server()?;
    let mut other = connect(bench, &server)?;
    let pairs = [
        ("ann", "ANN"),
        ("Наталья", "НАТАЛЬЯ"),
        ("Zo\u{e9}", "Zoe\u{301}"),
        ("zoe\u{301}", "ZO\u{c9}"),
        ("Straße", "STRASSE"),
    ];
    for (name, same) in pairs {
        let (shown, same_shown) = (shown(name), shown(same));
        bench.set_step(format!("a client logged in as \"{shown}\", and sent a message"));
        let first = join(bench, &server, name, &mut [])?;
        bench.set_step(format!(
            "client {} was logged in as \"{shown}\"; client {} sent \"login {same_shown}\", and \
             \"login\"",
            first.name(),
            other.name(),
        ));
        expect_taken(&mut other, same)?;
        log_out(first)?;
    }
    bench.set_step(
        "a client was logged in as \"Zoé\"; client A sent \"login Zoe\", which is a different \
         name",
    );
    let _zoe = join(bench, &server, "Zoé", &mut [])?;
    send_line(&mut other, "login Zoe")?;
    expect_in_room(&mut other, "Zoe")
}
