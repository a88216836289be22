//! `tea-party`: a chat of lines, where people log in with a name.

use anyhow::Result;

use crate::bench::wait_until_read;
use crate::check::TIN_CAN_ROW;
use crate::checks::framing::or_silent;
use crate::protocol::{FirstExchange, Protocol};
use crate::{Bench, Check, Profile};
use probe::server::Server;
use probe::wire::Client;
use probe::{Description, Failure};

pub(crate) const PROTOCOL: Protocol =
    Protocol { exchange, ends_connection: false, first: Some(FirstExchange { request, answer }) };

const WELCOME: &[u8] = b"Welcome to TestChat\r\n";
const LOG_IN: &[u8] = b"Please log in\nUse \"login <nick>\"\r\n";
const NO_NAME: &str = "Please enter a name";
const IN_ROOM: &str = "The following are in this room:";
const LOGGED_IN: &str = "The following are logged in:";

/// The name under which it is in the room.
struct LoggedIn(String);

/// Something to which the answer is the same whoever else is there.
fn request() -> Vec<u8> {
    b"look\r\n".to_vec()
}

fn answer(client: &mut Client) -> Result<()> {
    client.expect_bytes(WELCOME)?;
    client.expect_bytes(LOG_IN)
}

/// Logs in, unless it has, and says something, which it must hear.
fn exchange(client: &mut Client) -> Result<()> {
    let name = if let Some(LoggedIn(name)) = client.take_state() {
        name
    } else {
        let name = format!("guest-{}", client.addr().port());
        client.expect_bytes(WELCOME)?;
        say(client, &format!("login {name}"))?;
        name
    };
    say(client, "say hello")?;
    hear_own(client, &format!("{name}: hello"))?;
    client.set_state(LoggedIn(name));
    Ok(())
}

/// The next line must be this one, after what others have said, come and gone.
fn hear_own(client: &mut Client, wanted: &str) -> Result<()> {
    let wanted = format!("{wanted}\r\n").into_bytes();
    loop {
        let line = client.recv_line()?;
        if line == wanted {
            return Ok(());
        }
        let ends = [&b": hello\r\n"[..], b" has entered the room.\r\n", b" has left the room.\r\n"];
        if !line.starts_with(b"guest-") || !ends.iter().any(|end| line.ends_with(end)) {
            let (did, got) = (client.transcript(), Description::bytes(line, ""));
            let expected = Description::bytes(wanted, "");
            return Err(Failure { did, expected, got, is_timeout: false, likely: None }.into());
        }
    }
}

pub(crate) const ROWS: &[Check] = &[
    Check {
        id: "party-login",
        title: "a name, and the first words",
        rule: "The server greets. `login X` lets somebody in, who is told nothing; then `say TEXT` is \
               heard as `X: TEXT`. Without a name it is `Please enter a name`; one that is taken is \
               `The name \"X\" is taken.␍␊Please try again.`, until its owner has left.",
        after: &[],
        hints: [
            "The greeting or an answer has not the bytes that the protocol asks for, or a name is \
             given to two.",
            "The line ends (␍␊). Where it is looked up whether a name is taken, and where names are \
             taken out again.",
            "Send `Welcome to TestChat␍␊` at once. Keep who is logged in in one table; a name is \
             taken as long as it is in there.",
        ],
        run: login,
        ..PARTY_ROW
    },
    Check {
        id: "party-before",
        title: "before the login",
        rule: "Before login only `login` and `logout` work; anything else is answered with `Please log \
               in␊Use \"login <nick>\"␍␊`. Who has not logged in hears nothing of the room.",
        hints: [
            "Somebody without a name is in the room already, or is answered with other bytes.",
            "When is a client put into the table of those who hear what is said: when it is accepted, \
             or when it has logged in? The first line end of the answer is ␊ alone.",
            "Make the login a state of its own, with its own commands; put a client into the room \
             when it leaves that state.",
        ],
        run: before,
        ..PARTY_ROW
    },
    Check {
        id: "party-say",
        title: "words to all in the room",
        rule: "`say TEXT` is told to all in the room as `X: TEXT`, X included, with its blanks and in \
               any script.",
        hints: [
            "Somebody is left out, or the text is changed on its way.",
            "How the line is taken apart: what becomes of two blanks in a row, of a text that begins \
             with the name of a command, of letters that have several bytes?",
            "Split the line once, after its first word; all that is behind that is the text.",
        ],
        run: words,
        ..PARTY_ROW
    },
    Check {
        id: "party-others",
        title: "who comes and goes",
        rule: "The others in the room get `X has entered the room.`, and, after `logout` or a lost \
               connection, `X has left the room.`; X gets neither.",
        hints: [
            "Some ways to leave are not told, or are told twice, or to the wrong people.",
            "A read of no bytes, a read that fails, the command `logout`: do they all lead to the \
             same place?",
            "Take a client out, and tell those who stay, in one function that every way out goes \
             through.",
        ],
        run: others,
        ..PARTY_ROW
    },
    Check {
        id: "party-look",
        title: "who is there",
        rule: "`look` is answered with `The following are in this room:` and a name a line, `who` with \
               `The following are logged in:` and the same, both in order of arrival.",
        after: &["party-others"],
        hints: [
            "A name is missing, is too many, or stands in another place.",
            "The table that is listed: in what order does it keep who is in it? A hash table in none, \
             or in one of its own.",
            "Append who logs in to a list, or to a table that keeps that order.",
        ],
        run: look,
        ..PARTY_ROW
    },
    Check {
        id: "party-unknown",
        title: "unknown commands, empty lines",
        rule: "Anything else is answered with `Unknown command: WORD`; an empty line is ignored.",
        hints: [
            "An empty line is taken for a command, or something else is named than the first word.",
            "What splitting an empty line gives, and what is done with it.",
            "Go on with the next line if there is nothing in this one; else look its first word up.",
        ],
        run: unknown,
        ..PARTY_ROW
    },
    Check {
        id: "party-cut",
        title: "lines cut anywhere",
        rule: "A line ends in ␍␊, or in ␊. A read may bring a part of a line, or several.",
        hints: [
            "A read is taken for a line, or only one line of a read is seen, or each read is decoded.",
            "What is done with bytes that have no ␊ behind them? And with those behind the first ␊?",
            "Append what each read brings to a buffer of the client's own; as long as there is a ␊ in \
             it, take a line out, drop a ␍ at its end, and decode it then.",
        ],
        run: cut,
        ..PARTY_ROW
    },
    Check {
        id: "party-names",
        title: "the same name, written otherwise",
        rule: "Two names that differ only in case or Unicode form are the same name.",
        hints: [
            "Names are compared as bytes, or in lower case alone.",
            "The place where it is looked up whether a name is taken. Lower case finds ANN, but not \
             STRASSE for Straße; and é has two forms, of one character and of two.",
            "Compare NFC(casefold(NFD(name))), and show the name as it was given.",
        ],
        run: |bench| or_silent(names(bench)),
        ..PARTY_ROW
    },
];

/// What the rows that stand on a login have in common.
const PARTY_ROW: Check = Check {
    who: &[Profile::TeaParty],
    after: &["party-login"],
    read: "variations-protocols.md#tea-party",
    ..TIN_CAN_ROW
};

fn say(client: &mut Client, line: &str) -> Result<()> {
    client.send(format!("{line}\r\n").as_bytes())
}

/// The next line must be this one.
fn expect(client: &mut Client, line: &str) -> Result<()> {
    client.expect_bytes(format!("{line}\r\n").as_bytes())
}

/// It says a line, and the next that it hears must be these.
fn ask(client: &mut Client, line: &str, answer: &[&str]) -> Result<()> {
    say(client, line)?;
    answer.iter().try_for_each(|it| expect(client, it))
}

/// Somebody tries to log in, and is still at the login then, where `login` alone has its answer: had
/// it been let in, another would come at once.
fn expect_taken(client: &mut Client, name: &str) -> Result<()> {
    let taken = format!("The name \"{name}\" is taken.");
    let answers = [&taken, "Please try again.", NO_NAME];
    ask(client, &format!("login {name}\r\nlogin"), &answers)
}

/// What a client hears of its end is asked in a row of its own.
fn log_out(mut client: Client) -> Result<()> {
    say(&mut client, "logout")?;
    client.recv_bytes_to_end()?;
    Ok(())
}

/// Somebody who has been greeted.
fn connect(bench: &Bench, server: &Server) -> Result<Client> {
    let mut client = bench.connect(server)?;
    client.expect_bytes(WELCOME)?;
    Ok(client)
}

/// Somebody who has logged in, which those who are there already must hear.
fn join(bench: &Bench, server: &Server, name: &str, there: &mut [&mut Client]) -> Result<Client> {
    let mut client = connect(bench, server)?;
    say(&mut client, &format!("login {name}"))?;
    let entered = format!("{name} has entered the room.");
    there.iter_mut().try_for_each(|it| expect(it, &entered))?;
    if there.is_empty() {
        is_in(&mut client, name)?;
    }
    Ok(client)
}

/// It hears its own words next, and so nothing has come before.
fn is_in(client: &mut Client, name: &str) -> Result<()> {
    ask(client, "say I am here", &[&format!("{name}: I am here")])
}

fn login(bench: &Bench) -> Result<()> {
    let server = bench.serve()?;
    let mut first = bench.connect(&server)?;
    bench.did("A logged in and said hello");
    exchange(&mut first)?;
    bench.did("A said hello once more");
    exchange(&mut first)?;
    log_out(first)?;
    let ann = join(bench, &server, "ann", &mut [])?;
    let mut other = connect(bench, &server)?;
    bench.did("a client sent \"login\" without a name");
    ask(&mut other, "login", &[NO_NAME])?;
    bench.did(
        "a client sent \"login ann\" and \"login\" while ann was there; then it took another name",
    );
    expect_taken(&mut other, "ann")?;
    say(&mut other, "login bob")?;
    is_in(&mut other, "bob")?;
    bench.did("ann logged out; then another client sent \"login ann\"");
    log_out(ann)?;
    let mut next = connect(bench, &server)?;
    say(&mut next, "login ann")?;
    is_in(&mut next, "ann")
}

fn before(bench: &Bench) -> Result<()> {
    let server = bench.serve()?;
    let mut outside = connect(bench, &server)?;
    for line in ["say hello", "look", "who", "tea?", "help"] {
        bench.did(format!("A sent {line:?} before any login"));
        say(&mut outside, line)?;
        outside.expect_bytes(LOG_IN)?;
    }
    bench.did("B logged in and spoke; A, who had not, sent \"look\"");
    let mut ann = join(bench, &server, "ann", &mut [])?;
    say(&mut outside, "look")?;
    outside.expect_bytes(LOG_IN)?;
    bench.did("A sent \"logout\" before any login; B, who was in the room, spoke then");
    say(&mut outside, "logout")?;
    outside.expect_eof()?;
    is_in(&mut ann, "ann")
}

fn words(bench: &Bench) -> Result<()> {
    let server = bench.serve()?;
    let mut ann = join(bench, &server, "ann", &mut [])?;
    let mut bob = join(bench, &server, "bob", &mut [&mut ann])?;
    let mut cleo = join(bench, &server, "cleo", &mut [&mut ann, &mut bob])?;
    for text in ["hello", "more tea,  Hatter?", "say no more", "drei: Grüße, 世界 🥫"] {
        bench.did(format!("A, B and C were in the room; C said {text:?}, which all must hear"));
        say(&mut cleo, &format!("say {text}"))?;
        for client in [&mut ann, &mut bob, &mut cleo] {
            expect(client, &format!("cleo: {text}"))?;
        }
    }
    Ok(())
}

fn others(bench: &Bench) -> Result<()> {
    const WAYS: [&str; 4] =
        ["logged out", "closed its connection", "closed its sending side", "reset its connection"];
    let server = bench.serve()?;
    let mut ann = join(bench, &server, "ann", &mut [])?;
    for how in WAYS {
        bench.did(format!("a client logged in, spoke, and {how}; A, in the room, listened"));
        let mut bob = join(bench, &server, "bob", &mut [&mut ann])?;
        is_in(&mut bob, "bob")?;
        expect(&mut ann, "bob: I am here")?;
        match how {
            "closed its connection" => drop(bob),
            "reset its connection" => bob.reset()?,
            "logged out" => {
                say(&mut bob, "logout")?;
                bob.expect_eof()?;
            }
            _ => {
                bob.half_close()?;
                bob.expect_eof()?;
            }
        }
        expect(&mut ann, "bob has left the room.")?;
    }
    bench.did("a client left that had not logged in; then A spoke, and heard nothing before that");
    let stranger = connect(bench, &server)?;
    stranger.reset()?;
    is_in(&mut ann, "ann")
}

fn look(bench: &Bench) -> Result<()> {
    let server = bench.serve()?;
    let mut cleo = join(bench, &server, "cleo", &mut [])?;
    let mut ann = join(bench, &server, "ann", &mut [&mut cleo])?;
    let _outside = connect(bench, &server)?;
    let mut bob = join(bench, &server, "bob", &mut [&mut cleo, &mut ann])?;
    bench.did("cleo came, then ann, then bob; bob sent \"look\" and \"who\"");
    ask(&mut bob, "look", &[IN_ROOM, "cleo", "ann", "bob"])?;
    ask(&mut bob, "who", &[LOGGED_IN, "cleo", "ann", "bob"])?;
    bench.did("cleo left and came again; bob sent \"look\" and \"who\"");
    drop(cleo);
    for client in [&mut ann, &mut bob] {
        expect(client, "cleo has left the room.")?;
    }
    let _cleo = join(bench, &server, "cleo", &mut [&mut ann, &mut bob])?;
    ask(&mut bob, "look", &[IN_ROOM, "ann", "bob", "cleo"])?;
    ask(&mut bob, "who", &[LOGGED_IN, "ann", "bob", "cleo"])
}

fn unknown(bench: &Bench) -> Result<()> {
    let server = bench.serve()?;
    let mut ann = join(bench, &server, "ann", &mut [])?;
    for (line, word) in [("dance", "dance"), ("sing with me", "sing"), ("привет", "привет")]
    {
        bench.did(format!("A sent {line:?} in the room"));
        ask(&mut ann, line, &[&format!("Unknown command: {word}")])?;
    }
    bench.did("A sent two empty lines, and then spoke");
    ann.send(b"\r\n\n")?;
    is_in(&mut ann, "ann")
}

fn cut(bench: &Bench) -> Result<()> {
    let server = bench.serve()?;
    let mut ann = join(bench, &server, "ann", &mut [])?;
    let line = "say é☕\r\n".as_bytes();
    for at in 1..line.len() {
        bench.did(format!("A sent \"say é☕\" in two pieces, the first of {at} bytes"));
        in_pieces(&mut ann, &[&line[..at], &line[at..]])?;
        expect(&mut ann, "ann: é☕")?;
    }
    bench.did("A sent \"say é☕\" a byte at a time");
    in_pieces(&mut ann, &line.chunks(1).collect::<Vec<_>>())?;
    expect(&mut ann, "ann: é☕")?;
    bench.did(
        "A sent two lines and half of one in one write, one of them with ␊ alone; then the rest",
    );
    in_pieces(&mut ann, &[b"say one\nsay two\r\nsay th", b"ree\n"])?;
    ["one", "two", "three"]
        .iter()
        .try_for_each(|text| expect(&mut ann, &format!("ann: {text}")))?;
    bench.did("a client sent its login, words and \"logout\" in one write");
    let mut bob = connect(bench, &server)?;
    bob.send(b"login bob\r\nsay hello, and goodbye\r\nlogout\r\n")?;
    expect(&mut bob, "bob: hello, and goodbye")?;
    bob.recv_bytes_to_end()?;
    Ok(())
}

/// Sends each piece when the one before has been read.
fn in_pieces(client: &mut Client, pieces: &[&[u8]]) -> Result<()> {
    for piece in pieces {
        wait_until_read(client)?;
        client.send(piece)?;
    }
    Ok(())
}

/// A name, with the accents seen that are characters of their own.
fn shown(name: &str) -> String {
    let is_accent = |ch| ('\u{300}'..='\u{36f}').contains(&ch);
    let shown = |ch: char| if is_accent(ch) { ch.escape_unicode().to_string() } else { ch.into() };
    name.chars().map(shown).collect()
}

fn names(bench: &Bench) -> Result<()> {
    let server = bench.serve()?;
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
        bench.did(format!("a client logged in as \"{shown}\", and spoke"));
        let first = join(bench, &server, name, &mut [])?;
        bench.did(format!(
            "{} was \"{shown}\"; {} sent \"login {same_shown}\", and \"login\"",
            first.name(),
            other.name(),
        ));
        expect_taken(&mut other, same)?;
        log_out(first)?;
    }
    bench.did("one was \"Zoé\"; A sent \"login Zoe\", which is another name");
    let _zoe = join(bench, &server, "Zoé", &mut [])?;
    say(&mut other, "login Zoe")?;
    is_in(&mut other, "Zoe")
}
