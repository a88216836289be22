//! What `app-server` answers, what it refuses, and how long it waits.
// A panic fails the test, as it should.
#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::time::Duration;

use app_protocol::message::{MAX_CONTENT, string_in};
use app_protocol::{Incoming, Message};
use probe::server::{Launch, Server};
use probe::wire::{Client, Received};
use probe::{TIMEOUT, wait_until};

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

/// Receives the whole answer, after which the server must close the connection.
#[track_caller]
fn answer(client: &mut Client) -> Message {
    let (bytes, ending) = client.recv_bytes_to_end().unwrap();
    assert_eq!(ending, Received::Eof, "{}", client.transcript());
    let mut incoming = Incoming::answer();
    let message = incoming.push(&bytes).unwrap();
    message.unwrap_or_else(|| panic!("{}", client.transcript()))
}

#[track_caller]
fn result(client: &mut Client) -> String {
    let Message::Json(object) = answer(client) else { panic!("no JSON: {}", client.transcript()) };
    string_in(&object, "result").unwrap().to_owned()
}

#[track_caller]
fn expect_works(server: &Server) {
    let mut client = connect(server);
    client.send(&search("morpheus")).unwrap();
    assert_eq!(result(&mut client), "Follow the white rabbit. 🐰");
}

/// Waits until the log has a line about this client with this text.
#[track_caller]
fn wait_for_log(server: &Server, addr: SocketAddr, text: &str) {
    let prefix = format!("{addr}: ");
    server.wait_for_log(text, |line| line.contains(&prefix) && line.contains(text)).unwrap();
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
fn search_finds_three_values() {
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
    // If the action is unknown, the value does not matter.
    let mut client = connect(&server);
    client.send(&Message::json([("action", "help")]).encode().unwrap()).unwrap();
    assert_eq!(result(&mut client), "Error: invalid action 'help'.");
}

#[test]
fn a_complete_request_with_a_wrong_field_is_answered_with_the_error() {
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
            "Error: `value` in the content is [\"ring\"], not a string.",
        ),
        (
            r#"{"action":{"search":"ring"}}"#,
            "Error: `action` in the content is {\"search\":\"ring\"}, not a string.",
        ),
    ] {
        let mut client = connect(&server);
        let header = header.replace("LEN", &content.len().to_string());
        client.send(&by_hand(&header, content.as_bytes())).unwrap();
        assert_eq!(result(&mut client), expected, "{content}");
    }
    // The answer quotes only the beginning of a long value.
    let content = format!(r#"{{"action":"search","value":[1{}]}}"#, ",1e15".repeat(200_000));
    let mut client = connect(&server);
    let header = header.replace("LEN", &content.len().to_string());
    client.send(&by_hand(&header, content.as_bytes())).unwrap();
    let error = result(&mut client);
    let expected = "Error: `value` in the content is [1,1000000000000000.0";
    assert!(error.starts_with(expected), "{error}");
    expect_works(&server);
}

#[test]
fn a_request_of_another_type_is_answered_with_its_first_ten_bytes() {
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
fn a_request_may_arrive_in_any_pieces() {
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
    // Bytes after the request are ignored, and so is the end of the sending side.
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
    // This answer is longer than the request.
    let action = "a".repeat(MAX_CONTENT - 14);
    let mut client = connect(&server);
    client.send(&Message::json([("action", &action)]).encode().unwrap()).unwrap();
    assert_eq!(result(&mut client), format!("Error: invalid action '{action}'."));
}

/// Returns a message with any header.
fn by_hand(header: &str, content: &[u8]) -> Vec<u8> {
    let len = u16::try_from(header.len()).unwrap().to_be_bytes();
    [&len, header.as_bytes(), content].concat()
}

#[test]
fn a_wrong_message_is_logged_and_closes_the_connection() {
    let header = r#"{"byteorder":"big","content-type":"text/json","content-encoding":"utf-8","content-length":LEN}"#;
    let json =
        |content: &[u8]| by_hand(&header.replace("LEN", &content.len().to_string()), content);
    for (bytes, why) in [
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
        // A new server each time: of many similar lines within a second, the log shows only ten.
        let server = start();
        let mut client = connect(&server);
        client.try_send(&bytes);
        let (answer, _) = client.recv_bytes_to_end().unwrap();
        assert!(answer.is_empty(), "{}", client.transcript());
        let addr = client.addr();
        drop(client);
        wait_for_log(&server, addr, why);
        let gone = format!("Client {addr} disconnected");
        server.wait_for_log(&gone, |line| line.ends_with(&gone)).unwrap();
        expect_works(&server);
    }
}

#[test]
fn many_failures_for_one_reason_do_not_hide_another_reason() {
    let server = start();
    let fails = |bytes: &[u8]| {
        let mut client = connect(&server);
        client.try_send(bytes);
        client.recv_bytes_to_end().unwrap();
        client.addr()
    };
    // More than the ten lines a second that the log shows for one reason.
    for _ in 0..30 {
        fails(&by_hand("{}", b""));
    }
    wait_for_log(&server, fails(&by_hand("[]", b"")), "not a JSON object");
    wait_for_log(&server, fails(&by_hand("{", b"")), "the header is not JSON");
}

#[test]
fn a_client_that_leaves_early_is_logged() {
    let server = start();
    for (bytes, why) in [
        (&b"\0"[..], "the header length is incomplete: 1 of 2 bytes missing"),
        (b"\0\x0a{", "the header is incomplete: 9 of 10 bytes missing"),
        (&search("ring")[..120], "the content is incomplete: "),
    ] {
        let mut client = connect(&server);
        client.send(bytes).unwrap();
        client.half_close().unwrap();
        client.expect_eof().unwrap();
        wait_for_log(&server, client.addr(), "the client left in the middle of its request: ");
        wait_for_log(&server, client.addr(), why);
    }
    expect_works(&server);
}

/// Connects a client that sends these bytes. Where that is possible, the server is stopped until the bytes are
/// sent, so that it accepts the client only then, however late this thread is.
fn connect_and_send(server: &Server, bytes: &[u8]) -> Client {
    #[cfg(unix)]
    server.signal(probe::server::Signal::STOP).unwrap();
    let mut client = connect(server);
    client.send(bytes).unwrap();
    #[cfg(unix)]
    server.signal(probe::server::Signal::CONT).unwrap();
    client
}

#[test]
fn a_client_that_never_completes_its_request_is_disconnected() {
    let server = launch(&["--deadline", "0.3", "--max-clients", "1"]).start().unwrap();
    let request = search("ring");
    for (bytes, why) in [
        (&b""[..], "no complete request after 300ms: nothing has arrived"),
        (b"\0", "no complete request after 300ms: the header length is incomplete"),
        (&request[..50], "no complete request after 300ms: the header is incomplete"),
        (&request[..request.len() - 1], "the content is incomplete: 1 of "),
    ] {
        let mut client = connect_and_send(&server, bytes);
        client.expect_closed().unwrap();
        wait_for_log(&server, client.addr(), why);
    }
    // A byte now and then does not extend the deadline.
    let announced = by_hand(
        r#"{"byteorder":"big","content-type":"x","content-encoding":"y","content-length":1000000}"#,
        b"",
    );
    let mut client = connect_and_send(&server, &announced).with_timeout(Duration::from_millis(50));
    let closed = wait_until(TIMEOUT, || {
        Ok(!client.try_send(b"x") || client.recv(Duration::from_millis(50))? != Received::Timeout)
    });
    assert!(closed.unwrap(), "{}", client.transcript());
    wait_for_log(&server, client.addr(), "the content is incomplete: ");
    // The server, which allows only one client, accepts another.
    let is_free = wait_until(TIMEOUT, || {
        let mut client = connect(&server);
        client.try_send(&request);
        Ok(!client.recv_bytes_to_end()?.0.is_empty())
    });
    assert!(is_free.unwrap(), "{}", server.log());
}

/// Returns a client that does not read its long answer yet, and the text of the answer.
fn with_a_long_answer(server: &Server) -> (Client, String) {
    let mut client = Client::connect_with_small_buffers(server.addr()).unwrap();
    let value = "v".repeat(300_000);
    client.send(&search(&value)).unwrap();
    wait_for_log(server, client.addr(), "text/json: ");
    (client, format!("No match for '{value}'."))
}

#[test]
fn a_client_that_does_not_read_its_answer_is_disconnected() {
    let server = launch(&["--deadline", "3"]).start().unwrap();
    let (client, _) = with_a_long_answer(&server);
    expect_works(&server);
    wait_for_log(&server, client.addr(), "the answer is not accepted after 3s: ");
    let gone = format!("Client {} disconnected", client.addr());
    server.wait_for_log(&gone, |line| line.ends_with(&gone)).unwrap();
}

#[test]
fn a_client_that_reads_slowly_gets_its_whole_answer() {
    let server = start();
    let (mut client, expected) = with_a_long_answer(&server);
    assert_eq!(result(&mut client), expected);
}

#[test]
#[cfg(unix)]
fn an_answer_is_sent_to_its_end_when_the_server_stops() {
    let mut server = start();
    let mut asking = connect(&server);
    asking.send(b"\0").unwrap();
    let (mut client, expected) = with_a_long_answer(&server);
    server.signal(probe::server::Signal::TERM).unwrap();
    client.enlarge_recv_buffer().unwrap();
    assert_eq!(result(&mut client), expected);
    asking.expect_closed().unwrap();
    server.expect_exit("sent SIGTERM in the middle of an answer").unwrap();
}

#[test]
fn an_announced_content_takes_no_memory_before_it_arrives() {
    const MANY: usize = 200;
    let server = start();
    expect_works(&server);
    let Some(before) = server.usage() else { return };
    let announced = by_hand(
        r#"{"byteorder":"big","content-type":"x","content-encoding":"y","content-length":1048576}"#,
        b"x",
    );
    let mut clients: Vec<_> = (0..MANY).map(|_| connect(&server)).collect();
    for client in &mut clients {
        client.send(&announced).unwrap();
    }
    expect_works(&server);
    let more = server.usage().unwrap().resident_bytes.saturating_sub(before.resident_bytes);
    assert!(more < 16 * 1024 * 1024, "{MANY} announcements take {more} bytes");
}

#[test]
fn control_characters_of_a_request_are_escaped_in_the_log() {
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
fn a_wrong_deadline_is_a_usage_error() {
    for wrong in ["0", "-1", "soon", "inf", "NaN", "1e9", ""] {
        let ended = launch(&["--port", "0", "--deadline", wrong]).run_to_end().unwrap();
        assert_eq!(ended.status.code(), Some(2), "{wrong}: {ended}");
    }
}
