//! What `tea-party` says, byte for byte: `cargo test -p tea-party --test party`.
#![allow(clippy::unwrap_used)]

use anyhow::Result;
use workbench::server::{Launch, Server};
use workbench::wire::Client;

fn start(args: &[&str]) -> Result<Server> {
    Launch::new(env!("CARGO_BIN_EXE_tea-party"), &[]).args(args).start()
}

/// Somebody who has been welcomed.
fn arrive(server: &Server) -> Result<Client> {
    let mut client = Client::connect(server.addr())?;
    client.expect_bytes(b"Welcome to TestChat\r\n")?;
    Ok(client)
}

fn say(client: &mut Client, line: &str) -> Result<()> {
    client.send(format!("{line}\r\n").as_bytes())
}

fn hear(client: &mut Client, line: &str) -> Result<()> {
    client.expect_bytes(format!("{line}\r\n").as_bytes())
}

/// Says a line, and hears these.
fn ask(client: &mut Client, line: &str, answer: &[&str]) -> Result<()> {
    say(client, line)?;
    answer.iter().try_for_each(|wanted| hear(client, wanted))
}

/// Somebody who has logged in, and seen it.
fn join(server: &Server, name: &str) -> Result<Client> {
    let mut client = arrive(server)?;
    say(&mut client, &format!("login {name}"))?;
    ask(&mut client, "say I am here", &[&format!("{name}: I am here")])?;
    Ok(client)
}

fn pair(server: &Server) -> Result<(Client, Client)> {
    let mut ann = join(server, "ann")?;
    let bob = join(server, "bob")?;
    hear(&mut ann, "bob has entered the room.")?;
    hear(&mut ann, "bob: I am here")?;
    Ok((ann, bob))
}

/// Hears nothing but what it says now itself, so nothing else came before.
fn hears_nothing(client: &mut Client, name: &str) -> Result<()> {
    ask(client, "say nothing", &[&format!("{name}: nothing")])
}

const LOG_IN: &str = "Please log in\nUse \"login <nick>\"";
const NO_NAME: &str =
    "A name has 1 to 32 characters in UTF-8, no white space and no control characters among them.";
const AGAIN: &str = "Please try again.";

#[test]
fn greets_with_its_name() -> Result<()> {
    arrive(&start(&[])?)?;
    let server = start(&["--name", "Wonderland ☕"])?;
    hear(&mut Client::connect(server.addr())?, "Welcome to Wonderland ☕")
}

#[test]
fn before_login_only_login_and_logout_work() -> Result<()> {
    let server = start(&[])?;
    let mut ann = arrive(&server)?;
    for line in ["say hi", "look", "who", "join x", "rooms", "tell a b", "help", "hi", "LOGIN ann"]
    {
        ask(&mut ann, line, &[LOG_IN])?;
    }
    say(&mut ann, "logout")?;
    ann.expect_eof()
}

#[test]
fn login_says_what_is_wrong_with_a_name() -> Result<()> {
    let server = start(&[])?;
    let mut bob = join(&server, "bob")?;
    let mut ann = arrive(&server)?;
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
    // What shows as nothing, or as a space. The last four have no property that would say so.
    let unseen = [
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
    for name in [&wrong[..], &unseen].concat() {
        ask(&mut ann, &format!("login {name}"), &[NO_NAME, AGAIN])?;
    }
    ann.send(b"login Zo\xe9\r\n")?; // Latin-1
    [NO_NAME, AGAIN].iter().try_for_each(|line| hear(&mut ann, line))?;
    ask(&mut ann, "say hi", &[LOG_IN])?; // all of that did not log her in
    hears_nothing(&mut bob, "bob")?;
    let longest = "e\u{301}".repeat(32); // composed, as many characters
    say(&mut ann, &format!("login {longest}"))?;
    hear(&mut bob, &format!("{longest} has entered the room."))
}

#[test]
fn login_tells_the_others_in_the_room_and_not_who_comes() -> Result<()> {
    let server = start(&[])?;
    let mut outside = arrive(&server)?;
    let (_ann, mut bob) = pair(&server)?;
    hears_nothing(&mut bob, "bob")?;
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
        ("\u{1f80}", "α\u{345}\u{313}"), // whose case can be folded in one order only
    ];
    for (name, same) in names {
        let _first = join(&server, name)?;
        let mut second = arrive(&server)?;
        let taken = format!("The name \"{same}\" is taken.");
        ask(&mut second, &format!("login {same}"), &[&taken, AGAIN])?;
    }
    let _ann = join(&server, "ann")?;
    for same in ["an\u{200b}n", "ann\u{200d}", "\u{feff}ann", "a\u{115f}nn", "ann\u{fffb}"] {
        let taken = format!("The name \"{same}\" is taken.");
        ask(&mut arrive(&server)?, &format!("login {same}"), &[&taken, AGAIN])?;
    }
    for other in ["Zoe", "⠵⠕⠑", "★", "茶", "ليلى", "Наталья", "🐭", "👩\u{200d}🚀", "สมชาย", "x"]
    {
        join(&server, other)?;
    }
    Ok(())
}

/// The limit that the program states: it keeps no secrets, and knows no impostor.
#[test]
fn a_whisper_is_in_the_log_and_a_name_is_whoevers_takes_it() -> Result<()> {
    let server = start(&[])?;
    let (mut ann, mut bob) = pair(&server)?;
    say(&mut ann, "tell bob nobody else may know")?;
    hear(&mut bob, "ann tells you: nobody else may know")?;
    server.wait_for_log("the whisper", |line| line.ends_with("tell bob nobody else may know"))?;
    let _alike = join(&server, "\u{430}nn")?; // the first letter is Cyrillic
    hear(&mut bob, "\u{430}nn has entered the room.")?;
    hear(&mut bob, "\u{430}nn: I am here")?;
    say(&mut ann, "logout")?;
    hear(&mut bob, "ann has left the room.")?;
    join(&server, "ann")?;
    hear(&mut bob, "ann has entered the room.")
}

#[test]
fn a_name_is_free_again_once_its_owner_has_left() -> Result<()> {
    let server = start(&[])?;
    let (mut ann, mut bob) = pair(&server)?;
    say(&mut ann, "logout")?;
    ann.expect_eof()?;
    hear(&mut bob, "ann has left the room.")?;
    let mut ann = join(&server, "Ann")?;
    ask(&mut ann, "who", &["The following are logged in:", "bob", "Ann"])
}

#[test]
fn say_goes_to_all_in_the_room() -> Result<()> {
    let server = start(&[])?;
    let (mut ann, mut bob) = pair(&server)?;
    for (said, heard) in
        [("hello", "hello"), ("  two  words ", "  two  words "), ("茶 ☕", "茶 ☕")]
    {
        say(&mut ann, &format!("say {said}"))?;
        for client in [&mut ann, &mut bob] {
            hear(client, &format!("ann: {heard}"))?;
        }
    }
    say(&mut ann, "say")?;
    hear(&mut bob, "ann: ")
}

#[test]
fn nobodys_terminal_is_driven_by_others() -> Result<()> {
    let server = start(&[])?;
    let (mut ann, mut bob) = pair(&server)?;
    ann.send(b"say \x1b[2Jgone \xff\xff\xe9\ttab\r\n")?;
    hear(&mut bob, "ann: \\u{1b}[2Jgone \u{fffd}\ttab")?;
    ann.send("tell bob \u{9b}2J\r\n".as_bytes())?;
    hear(&mut bob, "ann tells you: \\u{9b}2J")?;
    for command in ["say ", "tell bob "] {
        ann.send(format!("{command}\u{202e}back\u{2028}ann: forged\u{200f}!\r\n").as_bytes())?;
        let verb = if command == "say " { "" } else { " tells you" };
        hear(&mut bob, &format!(r"ann{verb}: \u{{202e}}back\u{{2028}}ann: forged\u{{200f}}!"))?;
    }
    Ok(())
}

#[test]
fn look_lists_the_room_and_who_lists_all_in_order_of_arrival() -> Result<()> {
    let server = start(&[])?;
    let mut bob = join(&server, "bob")?;
    let _not_logged_in = arrive(&server)?;
    let mut ann = join(&server, "ann")?;
    let look = "The following are in this room:";
    let who = "The following are logged in:";
    ask(&mut ann, "look", &[look, "bob", "ann"])?;
    ask(&mut ann, "who", &[who, "bob", "ann"])?;
    hear(&mut bob, "ann has entered the room.")?;
    hear(&mut bob, "ann: I am here")?;
    say(&mut bob, "join garden")?;
    hear(&mut ann, "bob has left the room.")?;
    ask(&mut ann, "look", &[look, "ann"])?;
    ask(&mut bob, "look", &[look, "bob"])?;
    ask(&mut bob, "who", &[who, "bob", "ann"])?;
    say(&mut bob, "join PARLOUR")?;
    hear(&mut ann, "bob has entered the room.")?;
    ask(&mut ann, "look", &[look, "ann", "bob"])
}

#[test]
fn the_others_hear_who_left_however() -> Result<()> {
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
            hear(client, "cleo has entered the room.")?;
            hear(client, "cleo: I am here")?;
            hear(client, "cleo has left the room.")?;
        }
    }
    drop(arrive(&server)?); // nobody has known it, so nobody is told
    hears_nothing(&mut ann, "ann")
}

#[test]
fn after_logout_nothing_is_heard() -> Result<()> {
    let server = start(&[])?;
    let (mut ann, mut bob) = pair(&server)?;
    ann.send(b"logout\r\nsay too late\r\nlogin eve\r\n")?;
    ann.expect_eof()?;
    hear(&mut bob, "ann has left the room.")?;
    hears_nothing(&mut bob, "bob")
}

#[test]
fn an_unknown_command_is_named_and_an_empty_line_ignored() -> Result<()> {
    let server = start(&[])?;
    let mut ann = join(&server, "ann")?;
    ask(&mut ann, "dance with me", &["Unknown command: dance"])?;
    ask(&mut ann, "\u{1b}[2J", &["Unknown command: \\u{1b}[2J"])?;
    ann.send(b"\r\n\n   \r\n\t\n/\r\n")?;
    hears_nothing(&mut ann, "ann")
}

#[test]
fn lines_end_in_lf_too_and_come_in_any_pieces() -> Result<()> {
    let server = start(&[])?;
    let (mut ann, mut bob) = pair(&server)?;
    ann.send(b"say one\nsay two\r\nsay thr")?;
    ["ann: one", "ann: two"].iter().try_for_each(|line| hear(&mut bob, line))?;
    ann.send(b"ee\r\nsay lost")?;
    hear(&mut bob, "ann: three")?;
    ann.half_close()?;
    hear(&mut bob, "ann has left the room.")?; // a line without its end is none
    let mut cleo = join(&server, "cleo")?;
    for line in ["cleo has entered the room.", "cleo: I am here"] {
        hear(&mut bob, line)?;
    }
    for byte in "say ☕ in pieces\r\n".bytes() {
        cleo.send(&[byte])?;
    }
    hear(&mut bob, "cleo: ☕ in pieces")
}

#[test]
fn rooms_open_and_close() -> Result<()> {
    let server = start(&[])?;
    let (mut ann, mut bob) = pair(&server)?;
    let rooms = "The following rooms are open:";
    ask(&mut ann, "rooms", &[rooms, "parlour"])?;
    say(&mut ann, "join Küche")?;
    hear(&mut bob, "ann has left the room.")?;
    ask(&mut ann, "rooms", &[rooms, "parlour", "Küche"])?;
    ask(&mut ann, "join KU\u{308}CHE", &["You are there already."])?;
    ask(&mut ann, "say alone?", &["ann: alone?"])?;
    ask(&mut bob, "say here", &["bob: here"])?; // neither hears the other
    say(&mut bob, "join küche")?;
    hear(&mut ann, "bob has entered the room.")?;
    ask(&mut ann, "rooms", &[rooms, "parlour", "Küche"])?;
    ask(&mut bob, "say tea", &["bob: tea"])?;
    hear(&mut ann, "bob: tea")?;
    say(&mut bob, "join parlour")?;
    hear(&mut ann, "bob has left the room.")?;
    say(&mut ann, "join parlour")?;
    ask(&mut ann, "rooms", &[rooms, "parlour"])?;
    ask(&mut ann, "join", &["Please enter a room"])?;
    ask(&mut ann, "join a b", &[NO_NAME])
}

#[test]
fn a_lost_connection_leaves_the_room_that_it_was_in() -> Result<()> {
    let server = start(&[])?;
    let (mut ann, mut bob) = pair(&server)?;
    say(&mut ann, "join garden")?;
    hear(&mut bob, "ann has left the room.")?;
    drop(ann);
    let mut cleo = join(&server, "cleo")?;
    hear(&mut bob, "cleo has entered the room.")?; // and nothing of Ann
    ask(&mut cleo, "rooms", &["The following rooms are open:", "parlour"])
}

#[test]
fn there_are_at_most_a_hundred_rooms() -> Result<()> {
    let server = start(&[])?;
    let mut guests = Vec::new();
    for n in 1..100 {
        let mut guest = arrive(&server)?;
        say(&mut guest, &format!("login n{n}\njoin r{n}"))?;
        ask(&mut guest, "join no room", &[NO_NAME])?;
        guests.push(guest);
    }
    let mut ann = join(&server, "ann")?;
    ask(&mut ann, "join r100", &["There are 100 rooms already, and no more can be opened."])?;
    hears_nothing(&mut ann, "ann")?; // and she is where she was
    say(&mut ann, "join r99")?;
    hear(&mut guests[98], "ann has entered the room.")
}

#[test]
fn tell_reaches_one_alone_in_any_room() -> Result<()> {
    let server = start(&[])?;
    let (mut ann, mut bob) = pair(&server)?;
    let mut cleo = join(&server, "Cléo")?;
    for client in [&mut ann, &mut bob] {
        hear(client, "Cléo has entered the room.")?;
        hear(client, "Cléo: I am here")?;
    }
    say(&mut cleo, "join garden")?;
    for client in [&mut ann, &mut bob] {
        hear(client, "Cléo has left the room.")?;
    }
    say(&mut ann, "tell  CLE\u{301}O  under the  rose ")?;
    hear(&mut cleo, "ann tells you:  under the  rose ")?;
    hears_nothing(&mut bob, "bob")?;
    hear(&mut ann, "bob: nothing")?; // and nothing of her own before
    say(&mut ann, "tell bob hush")?;
    hear(&mut bob, "ann tells you: hush")?;
    hears_nothing(&mut ann, "ann")?; // nor when both are in one room
    hear(&mut bob, "ann: nothing")?;
    ask(&mut ann, "tell dora hi", &["Nobody is called \"dora\"."])?;
    ask(&mut ann, "tell", &["Use \"tell <nick> <text>\""])?;
    ask(&mut ann, "tell bob  ", &["Use \"tell <nick> <text>\""])?;
    ask(&mut ann, "tell bob", &["Use \"tell <nick> <text>\""])
}

#[test]
fn a_slash_may_stand_before_a_command() -> Result<()> {
    let server = start(&[])?;
    let mut ann = arrive(&server)?;
    ask(&mut ann, "/look", &[LOG_IN])?;
    say(&mut ann, "/login ann")?;
    ask(&mut ann, "/say hi", &["ann: hi"])?;
    ask(&mut ann, "/dance", &["Unknown command: dance"])?;
    ask(&mut ann, "hi", &["Unknown command: hi"])
}

#[test]
fn with_slashes_every_other_line_is_said() -> Result<()> {
    let server = start(&["--slash"])?;
    let mut ann = arrive(&server)?;
    ask(&mut ann, "hello", &[LOG_IN])?;
    say(&mut ann, "/login ann")?;
    ask(&mut ann, "hello", &["ann: hello"])?;
    ask(&mut ann, "look at that", &["ann: look at that"])?;
    ask(&mut ann, "  two  words ", &["ann:   two  words "])?;
    ask(&mut ann, " /say  so ", &["ann:  so "])?;
    ask(&mut ann, "logout", &["ann: logout"])?;
    ask(&mut ann, "/look", &["The following are in this room:", "ann"])?;
    ann.send(b"\r\n")?;
    hears_nothing_slashed(&mut ann)?;
    say(&mut ann, "/logout")?;
    ann.expect_eof()?;
    let mut bob = arrive(&server)?; // and what the server asks for works as it asks for it
    say(&mut bob, "login bob")?;
    ask(&mut bob, "hi", &["bob: hi"])
}

fn hears_nothing_slashed(client: &mut Client) -> Result<()> {
    ask(client, "/say nothing", &["ann: nothing"])
}

#[test]
fn help_lists_every_command() -> Result<()> {
    let server = start(&[])?;
    let mut ann = join(&server, "ann")?;
    ask(&mut ann, "help", &["The following commands are known:"])?;
    for word in ["login", "say", "tell", "look", "who", "rooms", "join", "help", "logout"] {
        let line = String::from_utf8(ann.line()?)?;
        assert!(line.starts_with(&format!("  {word} ")) && line.ends_with("\r\n"), "{line:?}");
    }
    hear(&mut ann, "A / before each is allowed.")?;
    hears_nothing(&mut ann, "ann")
}
