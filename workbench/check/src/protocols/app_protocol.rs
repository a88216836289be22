//! `app-protocol`: a length, a JSON header, and content; one request for each connection.

use anyhow::Result;
use serde_json::{Map, Value, json};

use crate::bench::send_in_pieces;
use crate::check::ROW_AFTER_FRAMING;
use crate::protocol::{FirstExchange, Protocol};
use crate::protocols::OtherProtocol;
use crate::{Bench, Check, Profile};
use probe::server::Server;
use probe::wire::{Client, show};
use probe::{Description, Failure, fail};

pub(crate) static PROTOCOL: OtherProtocol = OtherProtocol {
    name: "app-protocol",
    description: "Requests of a length, a JSON header and content: one request for each connection",
    protocol: Protocol {
        exchange,
        ends_connection: true,
        first: Some(FirstExchange { request, answer }),
    },
    serves_thousands: false,
    basic_checks: &["app-any-split"],
    checks: CHECKS,
    right_servers: &["app_protocol.py"],
};

fn request() -> Vec<u8> {
    search("ring")
}

fn answer(client: &mut Client) -> Result<()> {
    expect_result(client, "In the caves beneath the Misty Mountains. 💍")
}

fn exchange(client: &mut Client) -> Result<()> {
    client.send(&request())?;
    answer(client)
}

/// Returns the bytes of a message with this header, even if the header is invalid.
fn message(header: &[u8], content: &[u8]) -> Vec<u8> {
    let len = u16::try_from(header.len()).unwrap_or(u16::MAX);
    [&len.to_be_bytes(), header, content].concat()
}

fn header(kind: &str, encoding: &str, len: usize) -> Value {
    json!({
        "byteorder": "little",
        "content-type": kind,
        "content-encoding": encoding,
        "content-length": len,
    })
}

fn json_message(content: &str) -> Vec<u8> {
    let header = header("text/json", "utf-8", content.len());
    message(header.to_string().as_bytes(), content.as_bytes())
}

fn search(value: &str) -> Vec<u8> {
    json_message(&json!({ "action": "search", "value": value }).to_string())
}

/// Receives one whole message and the end of the stream; returns the fields of its header, and its content.
fn take_message(client: &mut Client) -> Result<(Map<String, Value>, Vec<u8>)> {
    let len = client.recv_bytes(2)?;
    let header = client.recv_bytes(usize::from(len[0]) << 8 | usize::from(len[1]))?;
    let Ok(Value::Object(fields)) = serde_json::from_slice(&header) else {
        return fail(client.transcript(), "a header that is a JSON object", show(&header));
    };
    let len = fields.get("content-length").and_then(Value::as_u64);
    let Some(len) = len.and_then(|it| usize::try_from(it).ok()) else {
        return fail(
            client.transcript(),
            "a header with the field `content-length`",
            show(&header),
        );
    };
    let content = client.recv_bytes(len)?;
    client.expect_eof()?;
    Ok((fields, content))
}

fn expect_result(client: &mut Client, result: &str) -> Result<()> {
    let (fields, content) = take_message(client)?;
    let expected = json!({ "result": result });
    expect_field(client, &fields, "content-type", "text/json")?;
    expect_field(client, &fields, "content-encoding", "utf-8")?;
    if serde_json::from_slice::<Value>(&content).is_ok_and(|it| it == expected) {
        return Ok(());
    }
    fail(client.transcript(), format!("the content {expected}"), show(&content))
}

fn expect_field(
    client: &Client,
    fields: &Map<String, Value>,
    name: &str,
    expected: &str,
) -> Result<()> {
    let got = fields.get(name).unwrap_or(&Value::Null);
    if got == expected {
        return Ok(());
    }
    let expected =
        format!("the field `{name}` with the value \"{expected}\" in the header of the answer");
    fail(client.transcript(), expected, got)
}

const CHECKS: &[Check] = &[
    Check {
        id: "app-search",
        title: "one search request",
        rule: "A request `{\"action\":\"search\",\"value\":V}` in text/json is answered by \
               `{\"result\":R}` in text/json; then the server closes the connection.",
        after: &[],
        hints: [
            "The answer does not have the form that the protocol asks for, or the connection stays \
             open.",
            "Look at the two length bytes, at the four fields of the header, and at the place that \
             closes the connection.",
            "Make the content first and count its bytes; then make the header; then put the \
             header's length in front, in two bytes, the high byte first.",
        ],
        run: one_search,
        ..ROW
    },
    Check {
        id: "app-answers",
        title: "known and unknown values, and another action",
        rule: "The known values are `morpheus`, `ring` and 🐶. For any other value V the result is \
               `No match for 'V'.`; for another action A it is `Error: invalid action 'A'.`",
        hints: [
            "A valid request gets a wrong answer, or no answer.",
            "Look at what the server does with an unknown value, and with an action other than \
             search.",
            "Send both as results: an unknown action is not a protocol error.",
        ],
        run: answers,
        ..ROW
    },
    Check {
        id: "app-any-split",
        title: "a request in pieces",
        rule: "One read may return any part of a request, even a part of its length or of its \
               header.",
        hints: [
            "The server expects one read to return a whole part: the two length bytes, the header, \
             or the content.",
            "Look at each read: what happens if it returns fewer bytes than were asked for?",
            "Append the bytes of each read to the client's buffer. Go on to the next part only \
             when the buffer contains all bytes of this part.",
        ],
        run: any_split,
        ..ROW
    },
    Check {
        id: "app-binary",
        title: "content of another type",
        rule: "Content of a type other than text/json is arbitrary bytes. The answer has the type \
               binary/custom-server-binary-type; its content is `First 10 bytes of request: ` and \
               these bytes.",
        after: &["app-any-split"],
        hints: [
            "The server decodes the bytes as text, or fails on content of fewer than ten bytes, or \
             answers with the wrong type.",
            "Look for calls that decode, and at the loop that waits for content: does it end if \
             the content has 0 bytes?",
            "Decode the content only if its type is text/json. Otherwise, answer with the bytes \
             unchanged.",
        ],
        run: binary,
        ..ROW
    },
    Check {
        id: "app-bad-header",
        title: "invalid headers",
        rule: "If a header lacks a field or is not a JSON object, the server closes its connection \
               without an answer; the server and the other clients go on.",
        after: &["app-any-split"],
        hints: [
            "An error in one request ends more than its own connection, is not noticed, or is \
             answered.",
            "Which code verifies that all four fields are present, and which code catches parse \
             errors?",
            "Catch these errors in the function that reads a request: log the error, close that \
             connection, and go on.",
        ],
        run: bad_header,
        ..ROW
    },
    Check {
        id: "app-too-long",
        title: "a header that announces more than 1 MiB",
        rule: "If a header announces more than 1 MiB of content, the server closes its connection; \
               1 MiB is allowed.",
        after: &["app-bad-header", "app-binary"],
        hints: [
            "The server waits for and stores content of any length: one client can fill its \
             memory.",
            "Look at what the server does with content-length before it reads the content.",
            "Compare content-length with 1,048,576 first; if it is greater, close the connection.",
        ],
        run: too_long,
        ..ROW
    },
    Check {
        id: "app-bad-content",
        title: "content that does not match its type",
        rule: "If content of type text/json is not a JSON object in UTF-8, the server closes its \
               connection; the server and the other clients go on.",
        after: &["app-bad-header"],
        hints: [
            "The error ends more than this connection, or it ends only the code that serves the \
             connection, and the socket stays open.",
            "Which code catches the errors of decoding and parsing the content, and what does it \
             do then?",
            "Treat these errors as errors in a header: log the error, close that connection, and \
             go on.",
        ],
        run: bad_content,
        ..ROW
    },
];

const ROW: Check = Check {
    must_pass: |profile| profile == Profile::Other(&PROTOCOL),
    after: &["app-search"],
    page: "variations-protocols.md#app-protocol",
    ..ROW_AFTER_FRAMING
};

fn one_search(bench: &Bench) -> Result<()> {
    let server = bench.start_server()?;
    bench.set_step("client A sent the request {\"action\":\"search\",\"value\":\"ring\"}");
    exchange(&mut bench.connect(&server)?)
}

fn answers(bench: &Bench) -> Result<()> {
    let server = bench.start_server()?;
    let requests = [
        ("search", "morpheus", "Follow the white rabbit. 🐰"),
        ("search", "🐶", "🐾 Playing ball! 🏐"),
        ("search", "Ring", "No match for 'Ring'."),
        ("search", "", "No match for ''."),
        ("dance", "ring", "Error: invalid action 'dance'."),
    ];
    for (action, value, result) in requests {
        let content = json!({ "action": action, "value": value }).to_string();
        bench.set_step(format!("a client sent the request {content}"));
        let mut client = bench.connect(&server)?;
        client.send(&json_message(&content))?;
        expect_result(&mut client, result)?;
    }
    Ok(())
}

fn any_split(bench: &Bench) -> Result<()> {
    let server = bench.start_server()?;
    let request = request();
    let header = 2 + usize::from(request[1]);
    bench.set_step(
        "client A sent a request one byte at a time, each byte after the server had read the \
         previous one",
    );
    request_in_pieces(bench, &server, &request.chunks(1).collect::<Vec<_>>())?;
    for at in [1, 2, 3, header - 1, header, header + 1, request.len() - 1] {
        let parts =
            format!("{at} of its {} bytes; its header ends at byte {header}", request.len());
        bench.set_step(format!("a client sent a request in two pieces, first {parts}"));
        request_in_pieces(bench, &server, &[&request[..at], &request[at..]])?;
    }
    for _ in 0..5 {
        let mut cuts = [bench.random_below(request.len()), bench.random_below(request.len())];
        cuts.sort_unstable();
        bench.set_step(format!("a client sent a request in three pieces, split at bytes {cuts:?}"));
        let pieces = [&request[..cuts[0]], &request[cuts[0]..cuts[1]], &request[cuts[1]..]];
        request_in_pieces(bench, &server, &pieces)?;
    }
    Ok(())
}

/// Connects a client that sends a request in pieces, and must get its answer.
fn request_in_pieces(bench: &Bench, server: &Server, pieces: &[&[u8]]) -> Result<()> {
    let mut client = bench.connect(server)?;
    send_in_pieces(&mut client, pieces)?;
    answer(&mut client)
}

/// A content type that no server knows.
const BINARY: &str = "binary/custom-client-binary-type";

fn binary_message(content: &[u8]) -> Vec<u8> {
    message(header(BINARY, "binary", content.len()).to_string().as_bytes(), content)
}

fn binary(bench: &Bench) -> Result<()> {
    let server = bench.start_server()?;
    let values: Vec<u8> = (0..=255).rev().collect();
    let texts: [(&str, &[u8]); 4] = [
        ("all 256 byte values, from 255 to 0,", &values),
        ("3 bytes", b"\0\xff\n"),
        ("0 bytes", b""),
        ("300,000 bytes", &values.repeat(1200)[..300_000]),
    ];
    for (name, content) in texts {
        bench.set_step(format!("a client sent {name} with the content type {BINARY}"));
        let mut client = bench.connect(&server)?;
        client.send(&binary_message(content))?;
        expect_first_ten(&mut client, content)?;
    }
    Ok(())
}

fn expect_first_ten(client: &mut Client, request: &[u8]) -> Result<()> {
    let (fields, content) = take_message(client)?;
    expect_field(client, &fields, "content-type", "binary/custom-server-binary-type")?;
    expect_field(client, &fields, "content-encoding", "binary")?;
    let first = &request[..request.len().min(10)];
    let expected = [b"First 10 bytes of request: ", first].concat();
    if content == expected {
        return Ok(());
    }
    wrong_bytes(client, Description::bytes(expected, "the content"), content)
}

/// Returns the failure that a client received other bytes than expected.
fn wrong_bytes(client: &Client, expected: Description, got: Vec<u8>) -> Result<()> {
    let (did, got) = (client.transcript(), Description::bytes(got, ""));
    Err(Failure { did, expected, got, is_timeout: false, likely_cause: None }.into())
}

/// Checks that each of these requests ends its connection without an answer, and no other connection.
fn expect_closed_without_answer(bench: &Bench, requests: &[(String, Vec<u8>)]) -> Result<()> {
    let server = bench.start_server()?;
    let (first, second) = FirstExchange { request, answer }.halves();
    for (name, request) in requests {
        bench.set_step(format!(
            "another client had sent half of its request; then a client sent {name}"
        ));
        let mut other = bench.connect(&server)?;
        other.send(&first)?;
        let mut client = bench.connect(&server)?;
        client.try_send(request);
        let (came, _) = client.recv_bytes_to_end()?;
        if !came.is_empty() {
            let expected = Description::text("the end of the stream, without an answer before it");
            return wrong_bytes(&client, expected, came);
        }
        bench.set_step(format!(
            "another client had sent half of its request; a client sent {name}; then the other \
             client sent the other half"
        ));
        other.send(&second)?;
        answer(&mut other)?;
    }
    bench.expect_new_client_served(&server)
}

fn bad_header(bench: &Bench) -> Result<()> {
    const CONTENT: &[u8] = br#"{"action":"search","value":"ring"}"#;
    let right = header("text/json", "utf-8", CONTENT.len());
    let fields = ["byteorder", "content-type", "content-encoding", "content-length"];
    let mut requests = Vec::new();
    for field in fields {
        let mut lacking = right.clone();
        lacking.as_object_mut().map(|it| it.remove(field));
        let request = message(lacking.to_string().as_bytes(), CONTENT);
        requests.push((format!("a header without `{field}`"), request));
    }
    for wrong in [json!("34"), json!(-1), json!(null)] {
        let mut header = right.clone();
        header["content-length"] = wrong.clone();
        let request = message(header.to_string().as_bytes(), CONTENT);
        requests.push((format!("a header with `content-length` {wrong}"), request));
    }
    let mut cut = right.to_string().into_bytes();
    cut.pop();
    let no_objects: [(&str, &[u8]); 5] = [
        ("that is not JSON", b"Hello, world"),
        ("that is cut short", &cut),
        ("that is an array", b"[1, 2]"),
        ("that is not UTF-8", b"{\"\xff\": 1}"),
        ("of 0 bytes", b""),
    ];
    for (description, header) in no_objects {
        requests.push((format!("a header {description}"), message(header, CONTENT)));
    }
    expect_closed_without_answer(bench, &requests)
}

fn too_long(bench: &Bench) -> Result<()> {
    const MAX_CONTENT: usize = 1 << 20;
    let server = bench.start_server()?;
    bench.set_step("client A sent a request with 1,048,576 bytes (1 MiB) of content");
    let mut client = bench.connect(&server)?;
    let content = vec![b'x'; MAX_CONTENT];
    client.send(&binary_message(&content))?;
    expect_first_ten(&mut client, &content)?;
    let announced = |len: usize| {
        let header = header(BINARY, "binary", len).to_string();
        (
            format!("a header that announces {len} bytes of content"),
            message(header.as_bytes(), b"the first"),
        )
    };
    expect_closed_without_answer(bench, &[announced(MAX_CONTENT + 1), announced(1 << 40)])
}

fn bad_content(bench: &Bench) -> Result<()> {
    let wrong: [(&str, &[u8]); 4] = [
        ("that is not JSON", b"search ring"),
        ("that is cut short", br#"{"action":"search","value":"#),
        ("that is not UTF-8", b"{\"action\":\"search\",\"value\":\"\xff\"}"),
        ("that is an array", br#"["search","ring"]"#),
    ];
    let requests = wrong.map(|(description, content)| {
        let header = header("text/json", "utf-8", content.len()).to_string();
        (format!("content of type text/json {description}"), message(header.as_bytes(), content))
    });
    expect_closed_without_answer(bench, &requests)
}
