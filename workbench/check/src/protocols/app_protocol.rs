//! `app-protocol`: a length, a JSON header, content; one request a connection.

use anyhow::Result;
use serde_json::{Map, Value, json};

use crate::bench::wait_until_read;
use crate::check::TIN_CAN_ROW;
use crate::protocol::{FirstExchange, Protocol};
use crate::{Bench, Check, Profile};
use probe::server::Server;
use probe::wire::{Client, show};
use probe::{Description, Failure, fail};

const FIRST: FirstExchange = FirstExchange { request, answer };

pub(crate) const PROTOCOL: Protocol =
    Protocol { exchange, ends_connection: true, first: Some(FIRST) };

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

/// The bytes of a message with this header, whatever it says.
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

fn in_json(content: &str) -> Vec<u8> {
    let header = header("text/json", "utf-8", content.len());
    message(header.to_string().as_bytes(), content.as_bytes())
}

fn search(value: &str) -> Vec<u8> {
    in_json(&json!({ "action": "search", "value": value }).to_string())
}

/// Takes a whole message, and then the end: its header, and its content.
fn take_message(client: &mut Client) -> Result<(Map<String, Value>, Vec<u8>)> {
    let len = client.recv_bytes(2)?;
    let header = client.recv_bytes(usize::from(len[0]) << 8 | usize::from(len[1]))?;
    let Ok(Value::Object(fields)) = serde_json::from_slice(&header) else {
        return fail(client.transcript(), "a header that is a JSON object", show(&header));
    };
    let len = fields.get("content-length").and_then(Value::as_u64);
    let Some(len) = len.and_then(|it| usize::try_from(it).ok()) else {
        return fail(client.transcript(), "a header with `content-length`", show(&header));
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
    let expected = format!("`{name}` in the header of the answer is \"{expected}\"");
    fail(client.transcript(), expected, got)
}

pub(crate) const ROWS: &[Check] = &[
    Check {
        id: "app-search",
        title: "a search",
        rule: "A request `{\"action\":\"search\",\"value\":V}` in text/json is answered by \
               `{\"result\":R}` in text/json; then the server closes.",
        after: &[],
        hints: [
            "The answer has not the form that the protocol asks for, or the connection stays open.",
            "The two bytes of the length, the four fields of the header, and who closes.",
            "Make the content first and count its bytes, then the header, then the two bytes that \
             say how long that is, the high one first.",
        ],
        run: one_search,
        ..ROW
    },
    Check {
        id: "app-answers",
        title: "what is known, what is not, and another action",
        rule: "`morpheus`, `ring` and 🐶 are known; of any other value V the result is `No match for \
               'V'.`, and of another action A, `Error: invalid action 'A'.`",
        hints: [
            "A request that is right in its form gets a wrong answer, or none.",
            "What is done with a value that is not known, and with an action other than search.",
            "Answer both as results: an action that is not known is no error of the protocol.",
        ],
        run: answers,
        ..ROW
    },
    Check {
        id: "app-any-split",
        title: "a request in pieces",
        rule: "A read may bring any part of a request, of its length or its header, too.",
        hints: [
            "A read is taken for a whole part: the two bytes of the length, the header, or the \
             content.",
            "The reads: what happens when one brings less than is asked for?",
            "Collect what comes in a buffer of the client's; go on to the next part only when all \
             bytes of this one are there.",
        ],
        run: any_split,
        ..ROW
    },
    Check {
        id: "app-binary",
        title: "bytes of another type",
        rule: "Content of another type than text/json is any bytes; the answer is of the type \
               binary/custom-server-binary-type: `First 10 bytes of request: ` and these.",
        after: &["app-any-split"],
        hints: [
            "Bytes are taken for text, fewer than ten or none are not expected, or the answer is not \
             of its type.",
            "Calls that decode; the loop that waits for content when there are no bytes of it.",
            "Decode the content of text/json only; answer with the bytes as they are.",
        ],
        run: binary,
        ..ROW
    },
    Check {
        id: "app-bad-header",
        title: "headers that cannot be taken",
        rule: "A header that lacks a field, or is no JSON object, closes its connection, without an \
               answer; the server and the others go on.",
        after: &["app-any-split"],
        hints: [
            "The error of one request goes further than its connection, is not seen, or is answered.",
            "Who looks whether the four fields are there, and who catches the errors of parsing?",
            "Catch them where a request is read: log which, close that connection, and go on.",
        ],
        run: bad_header,
        ..ROW
    },
    Check {
        id: "app-too-long",
        title: "more than 1 MiB announced",
        rule: "A header that announces more than 1 MiB of content closes its connection; 1 MiB may \
               come.",
        after: &["app-bad-header", "app-binary"],
        hints: [
            "The server waits for content, however long, and keeps it: one client can fill the memory.",
            "What is done with content-length before the content is read.",
            "Compare it with 1,048,576 first; if it is more, close the connection.",
        ],
        run: too_long,
        ..ROW
    },
    Check {
        id: "app-bad-content",
        title: "content that is not of its type",
        rule: "Content of text/json that is no JSON object in UTF-8 closes its connection; the server \
               and the others go on.",
        after: &["app-bad-header"],
        hints: [
            "The error ends more than this connection; or it ends what serves it, and nobody closes \
             the socket.",
            "Who catches the errors of decoding and parsing the content, and what is done then.",
            "Treat them as those of a header: log which, close that connection, and go on.",
        ],
        run: bad_content,
        ..ROW
    },
];

const ROW: Check = Check {
    who: &[Profile::AppProtocol],
    after: &["app-search"],
    read: "variations-protocols.md#app-protocol",
    ..TIN_CAN_ROW
};

fn one_search(bench: &Bench) -> Result<()> {
    let server = bench.serve()?;
    bench.did("A sent the request {\"action\":\"search\",\"value\":\"ring\"}");
    exchange(&mut bench.connect(&server)?)
}

fn answers(bench: &Bench) -> Result<()> {
    let server = bench.serve()?;
    let requests = [
        ("search", "morpheus", "Follow the white rabbit. 🐰"),
        ("search", "🐶", "🐾 Playing ball! 🏐"),
        ("search", "Ring", "No match for 'Ring'."),
        ("search", "", "No match for ''."),
        ("dance", "ring", "Error: invalid action 'dance'."),
    ];
    for (action, value, result) in requests {
        let content = json!({ "action": action, "value": value }).to_string();
        bench.did(format!("a client sent the request {content}"));
        let mut client = bench.connect(&server)?;
        client.send(&in_json(&content))?;
        expect_result(&mut client, result)?;
    }
    Ok(())
}

fn any_split(bench: &Bench) -> Result<()> {
    let server = bench.serve()?;
    let request = request();
    let header = 2 + usize::from(request[1]);
    bench.did("A sent a request a byte at a time, each byte when the one before had been read");
    in_pieces(bench, &server, &request.chunks(1).collect::<Vec<_>>())?;
    for at in [1, 2, 3, header - 1, header, header + 1, request.len() - 1] {
        let parts = format!("{} of {} bytes, the header's end at {header}", at, request.len());
        bench.did(format!("a client sent a request in two pieces, the first of {parts}"));
        in_pieces(bench, &server, &[&request[..at], &request[at..]])?;
    }
    for _ in 0..5 {
        let mut cuts = [bench.chance(request.len()), bench.chance(request.len())];
        cuts.sort_unstable();
        bench.did(format!("a client sent a request in pieces, cut at bytes {cuts:?}"));
        let pieces = [&request[..cuts[0]], &request[cuts[0]..cuts[1]], &request[cuts[1]..]];
        in_pieces(bench, &server, &pieces)?;
    }
    Ok(())
}

/// A client sends each piece when the one before has been read, and must get its answer.
fn in_pieces(bench: &Bench, server: &Server, pieces: &[&[u8]]) -> Result<()> {
    let mut client = bench.connect(server)?;
    for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
        wait_until_read(&client)?;
        // A server that gives up too early shows that in its answer.
        if !client.try_send(piece) {
            break;
        }
    }
    answer(&mut client)
}

/// A type that no server knows.
const BINARY: &str = "binary/custom-client-binary-type";

fn in_bytes(content: &[u8]) -> Vec<u8> {
    message(header(BINARY, "binary", content.len()).to_string().as_bytes(), content)
}

fn binary(bench: &Bench) -> Result<()> {
    let server = bench.serve()?;
    let values: Vec<u8> = (0..=255).rev().collect();
    let texts: [(&str, &[u8]); 4] = [
        ("the 256 values of a byte, from 255 to 0", &values),
        ("3 bytes", b"\0\xff\n"),
        ("no bytes", b""),
        ("300,000 bytes", &values.repeat(1200)[..300_000]),
    ];
    for (what, content) in texts {
        bench.did(format!("a client sent {what} as {BINARY}"));
        let mut client = bench.connect(&server)?;
        client.send(&in_bytes(content))?;
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
    unlike(client, Description::bytes(expected, "the content"), content)
}

fn unlike(client: &Client, expected: Description, got: Vec<u8>) -> Result<()> {
    let (did, got) = (client.transcript(), Description::bytes(got, ""));
    Err(Failure { did, expected, got, is_timeout: false, likely: None }.into())
}

/// Each of these must end its connection without an answer, and nobody else may notice.
fn turned_away(bench: &Bench, requests: &[(String, Vec<u8>)]) -> Result<()> {
    let server = bench.serve()?;
    let (first, second) = FIRST.halves();
    for (what, request) in requests {
        bench.did(format!("a client sent {what}, while another was amid its request"));
        let mut witness = bench.connect(&server)?;
        witness.send(&first)?;
        let mut client = bench.connect(&server)?;
        client.try_send(request);
        let (came, _) = client.recv_bytes_to_end()?;
        if !came.is_empty() {
            let expected = Description::text("the end of the connection, and nothing before it");
            return unlike(&client, expected, came);
        }
        bench.did(format!("a client sent {what}; then the other one sent the rest of its own"));
        witness.send(&second)?;
        answer(&mut witness)?;
    }
    bench.expect_works(&server)
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
        ("that is cut off", &cut),
        ("that is an array", b"[1, 2]"),
        ("that is not UTF-8", b"{\"\xff\": 1}"),
        ("of no bytes", b""),
    ];
    for (what, header) in no_objects {
        requests.push((format!("a header {what}"), message(header, CONTENT)));
    }
    turned_away(bench, &requests)
}

fn too_long(bench: &Bench) -> Result<()> {
    const MOST: usize = 1 << 20;
    let server = bench.serve()?;
    bench.did("A sent 1,048,576 bytes, which is 1 MiB");
    let mut client = bench.connect(&server)?;
    let content = vec![b'x'; MOST];
    client.send(&in_bytes(&content))?;
    expect_first_ten(&mut client, &content)?;
    let announced = |len: usize| {
        let header = header(BINARY, "binary", len).to_string();
        (format!("a header that announces {len} bytes"), message(header.as_bytes(), b"the first"))
    };
    turned_away(bench, &[announced(MOST + 1), announced(1 << 40)])
}

fn bad_content(bench: &Bench) -> Result<()> {
    let wrong: [(&str, &[u8]); 4] = [
        ("that is not JSON", b"search ring"),
        ("that is cut off", br#"{"action":"search","value":"#),
        ("that is not UTF-8", b"{\"action\":\"search\",\"value\":\"\xff\"}"),
        ("that is an array", br#"["search","ring"]"#),
    ];
    let requests = wrong.map(|(what, content)| {
        let header = header("text/json", "utf-8", content.len()).to_string();
        (format!("text/json {what}"), message(header.as_bytes(), content))
    });
    turned_away(bench, &requests)
}
