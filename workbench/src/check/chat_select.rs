//! `chat-select`: a chat with names, in frames that say their length.

use anyhow::Result;

use super::ladder::STANDS_ON_ONE;
use super::{Bench, Check, Profile, Talk};
use crate::fail;
use crate::wire::{Client, show};

pub(super) const TALK: Talk = Talk { exchange, request, answer, once: false };

/// It has said its name, and the server has taken it.
struct Named;

/// The bytes of a text on the wire.
fn frame(text: &str) -> Vec<u8> {
    let len = u32::try_from(text.len()).unwrap_or(u32::MAX);
    [&len.to_be_bytes(), text.as_bytes()].concat()
}

/// The next text.
fn text(client: &mut Client) -> Result<Vec<u8>> {
    let whole = |bytes: &[u8]| {
        let len = u32::from_be_bytes(*bytes.first_chunk()?);
        let end = usize::try_from(len).ok()?.checked_add(4)?;
        (bytes.len() >= end).then_some(end)
    };
    Ok(client.take_when("a frame", whole)?.split_off(4))
}

/// The next text for which this holds, after whatever others have said, come and gone.
fn hear(client: &mut Client, expected: &str, is_it: impl Fn(&[u8]) -> bool) -> Result<()> {
    loop {
        let text = text(client)?;
        if is_it(&text) {
            return Ok(());
        }
        if !text.starts_with(b"(") && !text.starts_with(b"#") {
            return fail(client.transcript(), expected, show(&text));
        }
    }
}

fn request() -> Vec<u8> {
    frame("NAME: ann")
}

fn answer(client: &mut Client) -> Result<()> {
    let expected = format!("CLIENT: {}", client.addr().ip());
    hear(client, &expected, |text| text == expected.as_bytes())?;
    client.remember(Named);
    Ok(())
}

/// Says its name, or lets another one come and must hear of it: nobody hears what it says itself.
fn exchange(client: &mut Client) -> Result<()> {
    if client.recall::<Named>().is_none() {
        client.send(&request())?;
        return answer(client);
    }
    client.remember(Named);
    let mut other = Client::connect(client.server())?.patient(client.patience());
    let name = format!("guest-{}", other.addr().port());
    other.send(&frame(&format!("NAME: {name}")))?;
    answer(&mut other)?;
    let end = format!(") from {name}@{}", client.addr().ip());
    let expected = format!("(Connected: New client (…{end})");
    hear(client, &expected, |text| {
        text.starts_with(b"(Connected: New client (")
            && text.strip_suffix(b")").is_some_and(|it| it.ends_with(end.as_bytes()))
    })
}

const WHO: &[Profile] = &[Profile::ChatSelect];

pub(super) const ROWS: &[Check] = &[Check {
    id: "names-hello",
    title: "a name, and the answer",
    rule: "A client says `NAME: name` and gets `CLIENT: ip`; the others are told.",
    who: WHO,
    after: &[],
    hints: [
        "The answer to the name has not the bytes that the protocol asks for.",
        "The length in front: 4 bytes, the high one first, and it does not count itself.",
        "Send the length of the text in 4 bytes, and then `CLIENT: ` and the client's IP address.",
    ],
    read: "variations-protocols.md#chat-select",
    run: named,
    ..STANDS_ON_ONE
}];

fn named(bench: &Bench) -> Result<()> {
    let server = bench.serve()?;
    let mut client = bench.connect(&server)?;
    bench.did("A sent \"NAME: ann\" in a frame");
    exchange(&mut client)?;
    bench.did("another client came and said its name, and A was told");
    exchange(&mut client)
}
