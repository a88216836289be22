//! What `app-server` answers, what it refuses, and how long it waits.
// In a test that is what should happen when something fails.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::time::Duration;

use app_protocol::message::{MAX_CONTENT, text_in};
use app_protocol::{Incoming, Message};
use workbench::server::{Launch, Server};
use workbench::wire::{Client, Heard};
use workbench::{PATIENCE, wait_until};

fn launch(args: &[&str]) -> Launch {
    Launch::new(env!("CARGO_BIN_EXE_app-server"), &[]).args(args)
}

fn start() -> Server {
    launch(&[]).start().unwrap()
}

fn connect(server: &Server) -> Client {
    Client::connect(server.addr()).unwrap()
}

fn search(value: &str) -> Vec<u8> {
    Message::json([("action", "search"), ("value", value)]).encode().unwrap()
}

/// The whole answer, and the end after it.
#[track_caller]
fn answer(client: &mut Client) -> Message {
    let (bytes, ending) = client.bytes_to_end().unwrap();
    assert_eq!(ending, Heard::Eof, "{}", client.transcript());
    let mut incoming = Incoming::answer();
    let message = incoming.push(&bytes).unwrap();
    message.unwrap_or_else(|| panic!("{}", client.transcript()))
}

#[track_caller]
fn result(client: &mut Client) -> String {
    let Message::Json(object) = answer(client) else { panic!("no JSON: {}", client.transcript()) };
    text_in(&object, "result").unwrap().to_owned()
}

#[track_caller]
fn expect_works(server: &Server) {
    let mut client = connect(server);
    client.send(&search("morpheus")).unwrap();
    assert_eq!(result(&mut client), "Follow the white rabbit. 🐰");
}

/// The log must have a line about this client, with these words.
#[track_caller]
fn wait_for_log(server: &Server, addr: SocketAddr, words: &str) {
    let about = format!("{addr}: ");
    server.wait_for_log(words, |line| line.contains(&about) && line.contains(words)).unwrap();
}

#[test]
#[cfg(target_endian = "little")]
fn an_answer_has_the_bytes_of_the_original() {
    let server = start();
    let mut client = connect(&server);
    let header = "{\"byteorder\": \"little\", \"content-type\": \"text/json\", \
                  \"content-encoding\": \"utf-8\", \"content-length\": 37}";
    client.send(&[0, 103]).unwrap();
    client.send(header.as_bytes()).unwrap();
    client.send(br#"{"action": "search", "value": "ring"}"#).unwrap();
    let header = header.replace("37", "60");
    client.expect_bytes(&[0, 103]).unwrap();
    client.expect_bytes(header.as_bytes()).unwrap();
    let content = r#"{"result": "In the caves beneath the Misty Mountains. 💍"}"#;
    client.expect_bytes(content.as_bytes()).unwrap();
    client.expect_eof().unwrap();
}

#[test]
fn it_knows_three_values() {
    let server = start();
    for (action, value, expected) in [
        ("search", "morpheus", "Follow the white rabbit. 🐰"),
        ("search", "ring", "In the caves beneath the Misty Mountains. 💍"),
        ("search", "🐶", "🐾 Playing ball! 🏐"),
        ("search", "Ring", "No match for 'Ring'."),
        ("search", "", "No match for ''."),
        ("search", "\"\\\n\u{7f}é", "No match for '\"\\\n\u{7f}é'."),
        ("find", "ring", "Error: invalid action 'find'."),
        ("", "ring", "Error: invalid action ''."),
    ] {
        let mut client = connect(&server);
        let request = Message::json([("action", action), ("value", value)]);
        client.send(&request.encode().unwrap()).unwrap();
        assert_eq!(result(&mut client), expected);
    }
    // An action that needs no value needs none.
    let mut client = connect(&server);
    client.send(&Message::json([("action", "help")]).encode().unwrap()).unwrap();
    assert_eq!(result(&mut client), "Error: invalid action 'help'.");
}

/// What is wrong with a request that came whole is its answer.
#[test]
fn a_request_with_a_wrong_field_is_told_which() {
    let server = start();
    let header = r#"{"byteorder":"big","content-type":"text/json","content-encoding":"utf-8","content-length":LEN}"#;
    for (content, expected) in [
        (r#"{"action":"search","value":5}"#, "No match for '5'."),
        (r#"{"action":"search","value":-2.5}"#, "No match for '-2.5'."),
        (r#"{"action":"search","value":true}"#, "No match for 'true'."),
        (r#"{"action":"search","value":null}"#, "No match for 'null'."),
        (r#"{"action":7}"#, "Error: invalid action '7'."),
        ("{}", "Error: the content has no `action`."),
        (r#"{"action":"search"}"#, "Error: the content has no `value`."),
        (
            r#"{"action":"search","value":["ring"]}"#,
            "Error: `value` in the content is [\"ring\"], not a text.",
        ),
        (
            r#"{"action":{"search":"ring"}}"#,
            "Error: `action` in the content is {\"search\":\"ring\"}, not a text.",
        ),
    ] {
        let mut client = connect(&server);
        let header = header.replace("LEN", &content.len().to_string());
        client.send(&by_hand(&header, content.as_bytes())).unwrap();
        assert_eq!(result(&mut client), expected, "{content}");
    }
    // However long the wrong value is, the answer fits into a message.
    let content = format!(r#"{{"action":"search","value":[1{}]}}"#, ",1e15".repeat(200_000));
    let mut client = connect(&server);
    let header = header.replace("LEN", &content.len().to_string());
    client.send(&by_hand(&header, content.as_bytes())).unwrap();
    let told = result(&mut client);
    assert!(told.starts_with("Error: `value` in the content is [1,1000000000000000.0"), "{told}");
    expect_works(&server);
}

#[test]
fn of_any_other_type_it_shows_the_first_ten_bytes() {
    let server = start();
    for content in [&b"0123456789abc"[..], b"0123456789", b"\0\xff", b""] {
        let mut client = connect(&server);
        client.send(&Message::binary("image/x", content.to_vec()).encode().unwrap()).unwrap();
        let first = &content[..content.len().min(10)];
        let bytes = [b"First 10 bytes of request: ", first].concat();
        let expected = Message::binary("binary/custom-server-binary-type", bytes);
        assert_eq!(answer(&mut client), expected);
    }
}

#[test]
fn a_request_may_come_in_any_pieces() {
    let server = start();
    let bytes = search("🐶");
    let expect_answer = |mut client: Client| assert_eq!(result(&mut client), "🐾 Playing ball! 🏐");
    for at in 1..bytes.len() {
        let mut client = connect(&server);
        client.send(&bytes[..at]).unwrap();
        client.send(&bytes[at..]).unwrap();
        expect_answer(client);
    }
    let mut client = connect(&server);
    for byte in &bytes {
        client.send(&[*byte]).unwrap();
    }
    expect_answer(client);
    // With more than a request, and with no more to come.
    let mut client = connect(&server);
    client.send(&[&bytes[..], &bytes, &vec![0; 100_000]].concat()).unwrap();
    expect_answer(client);
    let mut client = connect(&server);
    client.send(&bytes).unwrap();
    client.half_close().unwrap();
    expect_answer(client);
}

#[test]
fn the_longest_request_is_answered() {
    let server = start();
    let mut client = connect(&server);
    client.send(&Message::binary("x", vec![b'x'; MAX_CONTENT]).encode().unwrap()).unwrap();
    assert!(matches!(answer(&mut client), Message::Binary { .. }));
    // The answer to this one is longer than it.
    let action = "a".repeat(MAX_CONTENT - 14);
    let mut client = connect(&server);
    client.send(&Message::json([("action", &action)]).encode().unwrap()).unwrap();
    assert_eq!(result(&mut client), format!("Error: invalid action '{action}'."));
}

/// A message with a header made by hand.
fn by_hand(header: &str, content: &[u8]) -> Vec<u8> {
    let len = u16::try_from(header.len()).unwrap().to_be_bytes();
    [&len, header.as_bytes(), content].concat()
}

#[test]
fn what_is_wrong_is_logged_and_closes_the_connection() {
    let header = r#"{"byteorder":"big","content-type":"text/json","content-encoding":"utf-8","content-length":LEN}"#;
    let json =
        |content: &[u8]| by_hand(&header.replace("LEN", &content.len().to_string()), content);
    for (bytes, words) in [
        (by_hand("{}", b""), "the header has no `byteorder`"),
        (by_hand(r#"{"byteorder":"big"}"#, b""), "the header has no `content-type`"),
        (by_hand("[]", b""), "the header is an array, not a JSON object"),
        (by_hand("\u{1b}[2J", b""), "the header is not JSON"),
        (
            by_hand(&header.replace("LEN", "1048577"), b""),
            "`content-length` in the header is 1048577",
        ),
        (
            by_hand(&header.replace("utf-8", "latin-1").replace("LEN", "2"), b""),
            "`content-encoding` in the header is \"latin-1\"",
        ),
        (json(b"{\"action\""), "the content is not JSON"),
        (json(b"\"search\""), "the content is a string, not a JSON object"),
        (b"GET / HTTP/1.1\r\n\r\n".repeat(2000), "the header is not JSON"),
    ] {
        // Each has a server to itself: of many such lines within a second the log counts most.
        let server = start();
        let mut client = connect(&server);
        client.send_regardless(&bytes);
        let (answer, _) = client.bytes_to_end().unwrap();
        assert!(answer.is_empty(), "{}", client.transcript());
        let addr = client.addr();
        drop(client);
        wait_for_log(&server, addr, words);
        let gone = format!("Client {addr} disconnected");
        server.wait_for_log(&gone, |line| line.ends_with(&gone)).unwrap();
        expect_works(&server);
    }
}

#[test]
fn many_failures_for_one_reason_hide_none_for_another() {
    let server = start();
    let told = |bytes: &[u8]| {
        let mut client = connect(&server);
        client.send_regardless(bytes);
        client.bytes_to_end().unwrap();
        client.addr()
    };
    // More than the ten lines that a reason may have within a second.
    for _ in 0..30 {
        told(&by_hand("{}", b""));
    }
    wait_for_log(&server, told(&by_hand("[]", b"")), "not a JSON object");
    wait_for_log(&server, told(&by_hand("{", b"")), "the header is not JSON");
}

#[test]
fn one_that_leaves_early_is_logged() {
    let server = start();
    for (bytes, words) in [
        (&b"\0"[..], "1 bytes of the header's length are missing"),
        (b"\0\x0a{", "9 bytes of the header are missing"),
        (&search("ring")[..120], "of the content are missing"),
    ] {
        let mut client = connect(&server);
        client.send(bytes).unwrap();
        client.half_close().unwrap();
        client.expect_eof().unwrap();
        wait_for_log(&server, client.addr(), "it left in the middle of its request: ");
        wait_for_log(&server, client.addr(), words);
    }
    expect_works(&server);
}

#[test]
fn one_that_never_finishes_loses_its_place() {
    let server = launch(&["--deadline", "0.3", "--max-clients", "1"]).start().unwrap();
    let request = search("ring");
    for (bytes, words) in [
        (&b""[..], "too late with its request: none was begun"),
        (b"\0", "too late with its request: 1 bytes of the header's length"),
        (&request[..50], "of the header are missing"),
        (&request[..request.len() - 1], "too late with its request: 1 bytes of the content"),
    ] {
        let mut client = connect(&server);
        client.send(bytes).unwrap();
        client.expect_closed().unwrap();
        wait_for_log(&server, client.addr(), words);
    }
    // A byte now and then changes nothing.
    let mut client = connect(&server).patient(Duration::from_millis(50));
    let announced = by_hand(
        r#"{"byteorder":"big","content-type":"x","content-encoding":"y","content-length":1000000}"#,
        b"",
    );
    client.send_regardless(&announced);
    let closed = wait_until(PATIENCE, || {
        Ok(!client.send_regardless(b"x")
            || client.hear(Duration::from_millis(50))? != Heard::Silence)
    });
    assert!(closed.unwrap(), "{}", client.transcript());
    wait_for_log(&server, client.addr(), "of the content are missing");
    // The only place is free again.
    let is_free = wait_until(PATIENCE, || {
        let mut client = connect(&server);
        client.send_regardless(&request);
        Ok(!client.bytes_to_end()?.0.is_empty())
    });
    assert!(is_free.unwrap(), "{}", server.log());
}

/// A client with a long answer, of which it takes nothing yet.
fn with_a_long_answer(server: &Server) -> (Client, String) {
    let mut client = Client::connect_narrow(server.addr()).unwrap();
    let value = "v".repeat(1_000_000);
    client.send(&search(&value)).unwrap();
    wait_for_log(server, client.addr(), "text/json: ");
    (client, format!("No match for '{value}'."))
}

#[test]
fn one_that_does_not_take_its_answer_loses_its_place() {
    let server = launch(&["--deadline", "1"]).start().unwrap();
    let (client, _) = with_a_long_answer(&server);
    expect_works(&server);
    wait_for_log(&server, client.addr(), "too late with its answer: ");
    let gone = format!("Client {} disconnected", client.addr());
    server.wait_for_log(&gone, |line| line.ends_with(&gone)).unwrap();
}

#[test]
fn one_that_takes_its_answer_slowly_gets_all_of_it() {
    let server = start();
    let (mut client, expected) = with_a_long_answer(&server);
    assert_eq!(result(&mut client), expected);
}

#[test]
#[cfg(unix)]
fn an_answer_on_its_way_arrives_after_the_end() {
    let mut server = start();
    let mut asking = connect(&server);
    asking.send(b"\0").unwrap();
    let (mut client, expected) = with_a_long_answer(&server);
    server.signal(workbench::server::Signal::TERM).unwrap();
    client.widen().unwrap();
    assert_eq!(result(&mut client), expected);
    asking.expect_closed().unwrap();
    server.expect_exit("sent SIGTERM amid an answer").unwrap();
}

#[test]
fn what_is_announced_costs_nothing_before_it_comes() {
    const MANY: usize = 200;
    let server = start();
    expect_works(&server);
    let Some(before) = server.figures() else { return };
    let announced = by_hand(
        r#"{"byteorder":"big","content-type":"x","content-encoding":"y","content-length":1048576}"#,
        b"x",
    );
    let mut clients: Vec<_> = (0..MANY).map(|_| connect(&server)).collect();
    for client in &mut clients {
        client.send(&announced).unwrap();
    }
    expect_works(&server);
    let more = server.figures().unwrap().resident.saturating_sub(before.resident);
    assert!(more < 16 * 1024 * 1024, "{MANY} announcements cost {more} bytes");
}

#[test]
fn the_log_shows_no_controls_of_a_request() {
    let server = start();
    let mut client = connect(&server);
    let request = Message::Binary {
        content_type: "\u{1b}[2J\u{9b}".to_owned(),
        content_encoding: "\n".to_owned(),
        bytes: b"\x1b[31m\r\nClient 203.0.113.9:99 disconnected\n".to_vec(),
    };
    client.send(&request.encode().unwrap()).unwrap();
    answer(&mut client);
    wait_for_log(&server, client.addr(), r"\u{1b}[2J\u{9b}: \u{1b}[31m\r\nClient 203.0.113.9:99");
    assert!(!server.log().so_far().concat().contains(char::is_control));
}

#[test]
fn a_deadline_is_a_time() {
    for wrong in ["0", "-1", "soon", "inf", "NaN", "1e9", ""] {
        let ended = launch(&["--port", "0", "--deadline", wrong]).run_to_end().unwrap();
        assert_eq!(ended.status.code(), Some(2), "{wrong}: {ended}");
    }
}
