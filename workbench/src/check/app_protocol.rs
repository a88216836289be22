//! `app-protocol`: a length, a JSON header, content; one request a connection.

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::ladder::STANDS_ON_ONE;
use super::{Bench, Check, Profile, Talk};
use crate::fail;
use crate::wire::{Client, show};

pub(super) const TALK: Talk = Talk { exchange, request, answer, once: true };

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
    let len = client.take(2)?;
    let header = client.take(usize::from(len[0]) << 8 | usize::from(len[1]))?;
    let Ok(Value::Object(fields)) = serde_json::from_slice(&header) else {
        return fail(client.transcript(), "a header that is a JSON object", show(&header));
    };
    let len = fields.get("content-length").and_then(Value::as_u64);
    let Some(len) = len.and_then(|it| usize::try_from(it).ok()) else {
        return fail(client.transcript(), "a header with `content-length`", show(&header));
    };
    let content = client.take(len)?;
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

const WHO: &[Profile] = &[Profile::AppProtocol];

pub(super) const ROWS: &[Check] = &[Check {
    id: "app-search",
    title: "a search",
    rule: "A request `{\"action\":\"search\",\"value\":V}` in text/json is answered by \
           `{\"result\":R}` in text/json; then the server closes.",
    who: WHO,
    after: &[],
    hints: [
        "The answer has not the form that the protocol asks for, or the connection stays open.",
        "The two bytes of the length, the four fields of the header, and who closes.",
        "Make the content first, then the header with its length, then the length of the header.",
    ],
    read: "variations-protocols.md#app-protocol",
    run: one_search,
    ..STANDS_ON_ONE
}];

fn one_search(bench: &Bench) -> Result<()> {
    let server = bench.serve()?;
    bench.did("A sent the request {\"action\":\"search\",\"value\":\"ring\"}");
    exchange(&mut bench.connect(&server)?)
}
