//! Tests what `tea-party` sends, byte for byte: `cargo test -p tea-party --test party`.
#![allow(clippy::unwrap_used)]

use anyhow::Result;
use probe::server::{Launch, Server};
use probe::wire::Client;

fn start(args: &[&str]) -> Result<Server> {
    Launch::new(env!("CARGO_BIN_EXE_tea-party"), &[]).args(args).start()
}

/// Connects a client, which receives the welcome.
fn connect(server: &Server) -> Result<Client> {
    let mut client = Client::connect(server.addr())?;
    client.expect_bytes(b"Welcome to TestChat\r\n")?;
    Ok(client)
}

fn send(client: &mut Client, line: &str) -> Result<()> {
    client.send(format!("{line}\r\n").as_bytes())
}

fn expect(client: &mut Client, line: &str) -> Result<()> {
    client.expect_bytes(format!("{line}\r\n").as_bytes())
}

/// Sends a line, and expects these lines in reply.
fn ask(client: &mut Client, line: &str, answer: &[&str]) -> Result<()> {
    send(client, line)?;
    answer.iter().try_for_each(|line| expect(client, line))
}

/// Connects a client, which logs in and says something, so that it is certainly in the room.
fn join(server: &Server, name: &str) -> Result<Client> {
    let mut client = connect(server)?;
    send(&mut client, &format!("login {name}"))?;
    ask(&mut client, "say I am here", &[&format!("{name}: I am here")])?;
    Ok(client)
}

fn pair(server: &Server) -> Result<(Client, Client)> {
    let mut ann = join(server, "ann")?;
    let bob = join(server, "bob")?;
    expect(&mut ann, "bob has entered the room.")?;
    expect(&mut ann, "bob: I am here")?;
    Ok((ann, bob))
}

/// Checks that a client has received nothing: the next line that it receives is the one that it sends now.
fn expect_nothing(client: &mut Client, name: &str) -> Result<()> {
    ask(client, "say nothing", &[&format!("{name}: nothing")])
}

const LOG_IN: &str = "Please log in\nUse \"login <nick>\"";
const NO_NAME: &str =
    "A name has 1 to 32 characters in UTF-8, without white space and control characters.";
const AGAIN: &str = "Please try again.";

#[test]
fn the_welcome_contains_the_name_of_the_chat() -> Result<()> {
    connect(&start(&[])?)?;
    let server = start(&["--name", "Wonderland ☕"])?;
    expect(&mut Client::connect(server.addr())?, "Welcome to Wonderland ☕")
}

#[test]
fn before_login_only_login_and_logout_work() -> Result<()> {
    let server = start(&[])?;
    let mut ann = connect(&server)?;
    for line in ["say hi", "look", "who", "join x", "rooms", "tell a b", "help", "hi", "LOGIN ann"]
    {
        ask(&mut ann, line, &[LOG_IN])?;
    }
    send(&mut ann, "logout")?;
    ann.expect_eof()
}

#[test]
fn login_answers_what_is_wrong_with_a_name() -> Result<()> {
    let server = start(&[])?;
    let mut bob = join(&server, "bob")?;
    let mut ann = connect(&server)?;
    ask(&mut ann, "login", &["Please enter a name"])?;
    ask(&mut ann, "login  ", &["Please enter a name"])?;
    ask(&mut ann, "login bob", &["The name \"bob\" is taken.", AGAIN])?;
    let too_long = "x".repeat(33);
    let wrong = [
        "ann lee",
        "ann\u{3000}lee",
        "a\u{7}",
        "a\u{9b}",
        "a\u{202e}",
        "a\u{61c}b",
        "a\u{200f}b",
        &too_long,
    ];
    // Characters that are invisible, or look like a space. For the last four, no Unicode property says so.
    let invisible = [
        "\u{200b}\u{200d}",
        "\u{3164}",
        "\u{ad}",
        "\u{e0020}",
        "\u{fff9}\u{fffb}",
        "\u{13430}",
        "\u{16fe4}",
        "\u{301}",
        "\u{2800}",
        "ann\u{2800}",
        "\u{1d159}",
        "\u{13441}\u{13442}",
    ];
    for name in [&wrong[..], &invisible].concat() {
        ask(&mut ann, &format!("login {name}"), &[NO_NAME, AGAIN])?;
    }
    ann.send(b"login Zo\xe9\r\n")?; // Latin-1
    [NO_NAME, AGAIN].iter().try_for_each(|line| expect(&mut ann, line))?;
    ask(&mut ann, "say hi", &[LOG_IN])?; // ann is still not logged in
    expect_nothing(&mut bob, "bob")?;
    let longest = "e\u{301}".repeat(32); // composed, these are 32 characters
    send(&mut ann, &format!("login {longest}"))?;
    expect(&mut bob, &format!("{longest} has entered the room."))
}

#[test]
fn login_is_announced_to_the_others_in_the_room_only() -> Result<()> {
    let server = start(&[])?;
    let mut outside = connect(&server)?;
    let (_ann, mut bob) = pair(&server)?;
    expect_nothing(&mut bob, "bob")?;
    ask(&mut outside, "say hi", &[LOG_IN])?;
    ask(&mut bob, "login bob2", &["Unknown command: login"])
}

#[test]
fn names_are_the_same_whatever_their_case_and_unicode_form() -> Result<()> {
    let server = start(&[])?;
    let names = [
        ("Zoé", "ZOE\u{301}"),
        ("Straße", "STRASSE"),
        ("ΣΊΣΥΦΟΣ", "σίσυφος"),
        ("\u{1f80}", "α\u{345}\u{313}"), // equal only if decomposed before case folding
    ];
    let mut in_the_room = vec![]; // a client that leaves is announced to the others at some moment
    for (name, same) in names {
        in_the_room.push(join(&server, name)?);
        let mut second = connect(&server)?;
        let taken = format!("The name \"{same}\" is taken.");
        ask(&mut second, &format!("login {same}"), &[&taken, AGAIN])?;
    }
    in_the_room.push(join(&server, "ann")?);
    for same in ["an\u{200b}n", "ann\u{200d}", "\u{feff}ann", "a\u{115f}nn", "ann\u{fffb}"] {
        let taken = format!("The name \"{same}\" is taken.");
        ask(&mut connect(&server)?, &format!("login {same}"), &[&taken, AGAIN])?;
    }
    for other in ["Zoe", "⠵⠕⠑", "★", "茶", "ليلى", "Наталья", "🐭", "👩\u{200d}🚀", "สมชาย", "x"]
    {
        in_the_room.push(join(&server, other)?);
    }
    Ok(())
}

/// Checks the limits that the program states: it keeps no secrets, and does not recognize impostors.
#[test]
fn private_lines_are_in_the_log_and_a_name_belongs_to_the_first_who_takes_it() -> Result<()> {
    let server = start(&[])?;
    let (mut ann, mut bob) = pair(&server)?;
    send(&mut ann, "tell bob nobody else may know")?;
    expect(&mut bob, "ann tells you: nobody else may know")?;
    server
        .wait_for_log("the private line", |line| line.ends_with("tell bob nobody else may know"))?;
    let _alike = join(&server, "\u{430}nn")?; // the first letter is Cyrillic
    expect(&mut bob, "\u{430}nn has entered the room.")?;
    expect(&mut bob, "\u{430}nn: I am here")?;
    send(&mut ann, "logout")?;
    expect(&mut bob, "ann has left the room.")?;
    join(&server, "ann")?;
    expect(&mut bob, "ann has entered the room.")
}

#[test]
fn a_name_can_be_taken_when_its_owner_has_left() -> Result<()> {
    let server = start(&[])?;
    let (mut ann, mut bob) = pair(&server)?;
    send(&mut ann, "logout")?;
    ann.expect_eof()?;
    expect(&mut bob, "ann has left the room.")?;
    let mut ann = join(&server, "Ann")?;
    ask(&mut ann, "who", &["The following are logged in:", "bob", "Ann"])
}

#[test]
fn say_goes_to_all_in_the_room() -> Result<()> {
    let server = start(&[])?;
    let (mut ann, mut bob) = pair(&server)?;
    for (sent, received) in
        [("hello", "hello"), ("  two  words ", "  two  words "), ("茶 ☕", "茶 ☕")]
    {
        send(&mut ann, &format!("say {sent}"))?;
        for client in [&mut ann, &mut bob] {
            expect(client, &format!("ann: {received}"))?;
        }
    }
    send(&mut ann, "say")?;
    expect(&mut bob, "ann: ")
}

#[test]
fn control_characters_are_escaped() -> Result<()> {
    let server = start(&[])?;
    let (mut ann, mut bob) = pair(&server)?;
    ann.send(b"say \x1b[2Jgone \xff\xff\xe9\ttab\r\n")?;
    expect(&mut bob, "ann: \\u{1b}[2Jgone \u{fffd}\ttab")?;
    ann.send("tell bob \u{9b}2J\r\n".as_bytes())?;
    expect(&mut bob, "ann tells you: \\u{9b}2J")?;
    for command in ["say ", "tell bob "] {
        ann.send(format!("{command}\u{202e}back\u{2028}ann: forged\u{200f}!\r\n").as_bytes())?;
        let verb = if command == "say " { "" } else { " tells you" };
        expect(&mut bob, &format!(r"ann{verb}: \u{{202e}}back\u{{2028}}ann: forged\u{{200f}}!"))?;
    }
    Ok(())
}

#[test]
fn look_lists_the_room_and_who_lists_all_in_order_of_arrival() -> Result<()> {
    let server = start(&[])?;
    let mut bob = join(&server, "bob")?;
    let _not_logged_in = connect(&server)?;
    let mut ann = join(&server, "ann")?;
    let look = "The following are in this room:";
    let who = "The following are logged in:";
    ask(&mut ann, "look", &[look, "bob", "ann"])?;
    ask(&mut ann, "who", &[who, "bob", "ann"])?;
    expect(&mut bob, "ann has entered the room.")?;
    expect(&mut bob, "ann: I am here")?;
    send(&mut bob, "join garden")?;
    expect(&mut ann, "bob has left the room.")?;
    ask(&mut ann, "look", &[look, "ann"])?;
    ask(&mut bob, "look", &[look, "bob"])?;
    ask(&mut bob, "who", &[who, "bob", "ann"])?;
    send(&mut bob, "join PARLOUR")?;
    expect(&mut ann, "bob has entered the room.")?;
    ask(&mut ann, "look", &[look, "ann", "bob"])
}

#[test]
fn the_others_are_told_however_a_client_leaves() -> Result<()> {
    let server = start(&[])?;
    let (mut ann, mut bob) = pair(&server)?;
    let leave: [fn(Client) -> Result<()>; 4] = [
        |mut client| client.send(b"logout\n").and_then(|()| client.expect_eof()),
        |mut client| client.half_close().and_then(|()| client.expect_eof()),
        |client| {
            drop(client);
            Ok(())
        },
        Client::reset,
    ];
    for leave in leave {
        leave(join(&server, "cleo")?)?;
        for client in [&mut ann, &mut bob] {
            expect(client, "cleo has entered the room.")?;
            expect(client, "cleo: I am here")?;
            expect(client, "cleo has left the room.")?;
        }
    }
    drop(connect(&server)?); // it was not logged in, so nobody is told
    expect_nothing(&mut ann, "ann")
}

#[test]
fn lines_after_logout_are_ignored() -> Result<()> {
    let server = start(&[])?;
    let (mut ann, mut bob) = pair(&server)?;
    ann.send(b"logout\r\nsay too late\r\nlogin eve\r\n")?;
    ann.expect_eof()?;
    expect(&mut bob, "ann has left the room.")?;
    expect_nothing(&mut bob, "bob")
}

#[test]
fn an_unknown_command_is_answered_and_an_empty_line_is_ignored() -> Result<()> {
    let server = start(&[])?;
    let mut ann = join(&server, "ann")?;
    ask(&mut ann, "dance with me", &["Unknown command: dance"])?;
    ask(&mut ann, "\u{1b}[2J", &["Unknown command: \\u{1b}[2J"])?;
    ann.send(b"\r\n\n   \r\n\t\n/\r\n")?;
    expect_nothing(&mut ann, "ann")
}

#[test]
fn lines_may_end_in_lf_and_may_be_cut_anywhere() -> Result<()> {
    let server = start(&[])?;
    let (mut ann, mut bob) = pair(&server)?;
    ann.send(b"say one\nsay two\r\nsay thr")?;
    ["ann: one", "ann: two"].iter().try_for_each(|line| expect(&mut bob, line))?;
    ann.send(b"ee\r\nsay lost")?;
    expect(&mut bob, "ann: three")?;
    ann.half_close()?;
    expect(&mut bob, "ann has left the room.")?; // a line without an end is not a line
    let mut cleo = join(&server, "cleo")?;
    for line in ["cleo has entered the room.", "cleo: I am here"] {
        expect(&mut bob, line)?;
    }
    for byte in "say ☕ in pieces\r\n".bytes() {
        cleo.send(&[byte])?;
    }
    expect(&mut bob, "cleo: ☕ in pieces")
}

#[test]
fn rooms_open_and_close() -> Result<()> {
    let server = start(&[])?;
    let (mut ann, mut bob) = pair(&server)?;
    let rooms = "The following rooms are open:";
    ask(&mut ann, "rooms", &[rooms, "parlour"])?;
    send(&mut ann, "join Küche")?;
    expect(&mut bob, "ann has left the room.")?;
    ask(&mut ann, "rooms", &[rooms, "parlour", "Küche"])?;
    ask(&mut ann, "join KU\u{308}CHE", &["You are there already."])?;
    ask(&mut ann, "say alone?", &["ann: alone?"])?;
    ask(&mut bob, "say here", &["bob: here"])?; // neither receives the line of the other
    send(&mut bob, "join küche")?;
    expect(&mut ann, "bob has entered the room.")?;
    ask(&mut ann, "rooms", &[rooms, "parlour", "Küche"])?;
    ask(&mut bob, "say tea", &["bob: tea"])?;
    expect(&mut ann, "bob: tea")?;
    send(&mut bob, "join parlour")?;
    expect(&mut ann, "bob has left the room.")?;
    send(&mut ann, "join parlour")?;
    ask(&mut ann, "rooms", &[rooms, "parlour"])?;
    ask(&mut ann, "join", &["Please enter a room"])?;
    ask(&mut ann, "join a b", &[NO_NAME])
}

#[test]
fn a_client_that_disconnects_leaves_its_room() -> Result<()> {
    let server = start(&[])?;
    let (mut ann, mut bob) = pair(&server)?;
    send(&mut ann, "join garden")?;
    expect(&mut bob, "ann has left the room.")?;
    let gone = format!("Client {} disconnected", ann.addr());
    drop(ann);
    server.wait_for_log(&gone, |line| line.ends_with(&gone))?;
    let mut cleo = join(&server, "cleo")?;
    expect(&mut bob, "cleo has entered the room.")?; // and nothing about Ann
    ask(&mut cleo, "rooms", &["The following rooms are open:", "parlour"])
}

#[test]
fn there_are_at_most_a_hundred_rooms() -> Result<()> {
    let server = start(&[])?;
    let mut guests = Vec::new();
    for n in 1..100 {
        let mut guest = connect(&server)?;
        send(&mut guest, &format!("login n{n}\njoin r{n}"))?;
        ask(&mut guest, "join no room", &[NO_NAME])?;
        guests.push(guest);
    }
    let mut ann = join(&server, "ann")?;
    ask(&mut ann, "join r100", &["There are 100 rooms already, and no more can be opened."])?;
    expect_nothing(&mut ann, "ann")?; // and she is still in the first room
    send(&mut ann, "join r99")?;
    expect(&mut guests[98], "ann has entered the room.")
}

#[test]
fn tell_reaches_only_one_user_in_any_room() -> Result<()> {
    let server = start(&[])?;
    let (mut ann, mut bob) = pair(&server)?;
    let mut cleo = join(&server, "Cléo")?;
    for client in [&mut ann, &mut bob] {
        expect(client, "Cléo has entered the room.")?;
        expect(client, "Cléo: I am here")?;
    }
    send(&mut cleo, "join garden")?;
    for client in [&mut ann, &mut bob] {
        expect(client, "Cléo has left the room.")?;
    }
    send(&mut ann, "tell  CLE\u{301}O  under the  rose ")?;
    expect(&mut cleo, "ann tells you:  under the  rose ")?;
    expect_nothing(&mut bob, "bob")?;
    expect(&mut ann, "bob: nothing")?; // and her own line did not come before that
    send(&mut ann, "tell bob hush")?;
    expect(&mut bob, "ann tells you: hush")?;
    expect_nothing(&mut ann, "ann")?; // even though both are in one room
    expect(&mut bob, "ann: nothing")?;
    ask(&mut ann, "tell dora hi", &["Nobody is called \"dora\"."])?;
    ask(&mut ann, "tell", &["Use \"tell <nick> <text>\""])?;
    ask(&mut ann, "tell bob  ", &["Use \"tell <nick> <text>\""])?;
    ask(&mut ann, "tell bob", &["Use \"tell <nick> <text>\""])
}

#[test]
fn a_command_may_begin_with_a_slash() -> Result<()> {
    let server = start(&[])?;
    let mut ann = connect(&server)?;
    ask(&mut ann, "/look", &[LOG_IN])?;
    send(&mut ann, "/login ann")?;
    ask(&mut ann, "/say hi", &["ann: hi"])?;
    ask(&mut ann, "/dance", &["Unknown command: dance"])?;
    ask(&mut ann, "hi", &["Unknown command: hi"])
}

#[test]
fn with_the_option_slash_every_line_without_a_slash_is_said() -> Result<()> {
    let server = start(&["--slash"])?;
    let mut ann = connect(&server)?;
    ask(&mut ann, "hello", &[LOG_IN])?;
    send(&mut ann, "/login ann")?;
    ask(&mut ann, "hello", &["ann: hello"])?;
    ask(&mut ann, "look at that", &["ann: look at that"])?;
    ask(&mut ann, "  two  words ", &["ann:   two  words "])?;
    ask(&mut ann, " /say  so ", &["ann:  so "])?;
    ask(&mut ann, "logout", &["ann: logout"])?;
    ask(&mut ann, "/look", &["The following are in this room:", "ann"])?;
    ann.send(b"\r\n")?;
    expect_nothing_with_slash(&mut ann)?;
    send(&mut ann, "/logout")?;
    ann.expect_eof()?;
    let mut bob = connect(&server)?; // a login without a slash works, too, as the server's text says
    send(&mut bob, "login bob")?;
    ask(&mut bob, "hi", &["bob: hi"])
}

fn expect_nothing_with_slash(client: &mut Client) -> Result<()> {
    ask(client, "/say nothing", &["ann: nothing"])
}

#[test]
fn help_lists_every_command() -> Result<()> {
    let server = start(&[])?;
    let mut ann = join(&server, "ann")?;
    ask(&mut ann, "help", &["The following commands are known:"])?;
    for word in ["login", "say", "tell", "look", "who", "rooms", "join", "help", "logout"] {
        let line = String::from_utf8(ann.recv_line()?)?;
        assert!(line.starts_with(&format!("  {word} ")) && line.ends_with("\r\n"), "{line:?}");
    }
    expect(&mut ann, "A / before each is allowed.")?;
    expect_nothing(&mut ann, "ann")
}
