//! `chat-select`: a chat with names, in frames that say their length.

use anyhow::Result;

use crate::bench::{wait_until_read, while_stopped};
use crate::check::TIN_CAN_ROW;
use crate::protocol::{FirstExchange, Protocol};
use crate::{Bench, Check, Profile};
use probe::server::Server;
use probe::wire::{Client, show};
use probe::{Description, Failure, fail};

pub(crate) const PROTOCOL: Protocol =
    Protocol { exchange, ends_connection: false, first: Some(FirstExchange { request, answer }) };

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
    Ok(client.recv_when("a frame", whole)?.split_off(4))
}

/// The next text for which this holds, after whatever others have said, come and gone.
fn hear(client: &mut Client, expected: Description, is_it: impl Fn(&[u8]) -> bool) -> Result<()> {
    loop {
        let text = text(client)?;
        if is_it(&text) {
            return Ok(());
        }
        if !text.starts_with(b"(") && !text.starts_with(b"#") {
            // Words alone: that there is no room is a refusal, as the end of the connection is.
            let got = if text.starts_with(b"server: full") {
                Description::text(show(&text))
            } else {
                Description::bytes(frame(&String::from_utf8_lossy(&text)), "")
            };
            let did = client.transcript();
            return Err(Failure { did, expected, got, is_timeout: false, likely: None }.into());
        }
    }
}

fn request() -> Vec<u8> {
    frame("NAME: ann")
}

fn answer(client: &mut Client) -> Result<()> {
    let expected = format!("CLIENT: {}", client.addr().ip());
    hear(client, Description::bytes(frame(&expected), ""), |text| text == expected.as_bytes())?;
    client.set_state(Named);
    Ok(())
}

/// Says its name, or lets another one come and must hear of it: nobody hears what it says itself.
fn exchange(client: &mut Client) -> Result<()> {
    if client.take_state::<Named>().is_none() {
        client.send(&request())?;
        return answer(client);
    }
    client.set_state(Named);
    let mut other = Client::connect(client.server())?.with_timeout(client.timeout());
    let name = format!("guest-{}", other.addr().port());
    other.send(&frame(&format!("NAME: {name}")))?;
    answer(&mut other)?;
    let end = format!(") from {name}@{}", client.addr().ip());
    let expected = format!("(Connected: New client (…{end})");
    hear(client, Description::text(expected), |text| {
        text.starts_with(b"(Connected: New client (")
            && text.strip_suffix(b")").is_some_and(|it| it.ends_with(end.as_bytes()))
    })
}

pub(crate) const ROWS: &[Check] = &[
    Check {
        id: "names-hello",
        title: "a name, and the answer",
        rule: "A client says `NAME: name` and gets `CLIENT: ip`; the others are told.",
        after: &[],
        hints: [
            "The answer to the name has not the bytes that the protocol asks for.",
            "The length in front: 4 bytes, the high one first, and it does not count itself.",
            "Send the length of the text in 4 bytes, and then `CLIENT: ` and the client's IP address.",
        ],
        run: named,
        ..NAMES_ROW
    },
    Check {
        id: "names-joining",
        title: "joining is told",
        rule: "When a client has said its name, the others get `(Connected: New client (N) from \
               name@ip)`, with N clients there, the new one included.",
        hints: [
            "The others are not told, or are told another number of clients.",
            "When are they counted: before or after the newcomer is put into the table, and before \
             or after a leaver is taken out?",
            "Put the newcomer into the table, count, and tell all the others.",
        ],
        run: joining,
        ..NAMES_ROW
    },
    Check {
        id: "names-others",
        title: "a message goes to the others",
        rule: "A message goes to the others as `#name@ip>>text`, and not to the sender.",
        after: &["names-joining"],
        hints: [
            "Somebody is left out, the sender hears itself, or the text is changed on its way.",
            "The loop over the clients: whom does it skip? And what is put in front of the text?",
            "Send `#`, the sender's name, `@`, its IP address, `>>` and the text to all who have a \
             name but the sender.",
        ],
        run: others,
        ..NAMES_ROW
    },
    Check {
        id: "names-leaving",
        title: "leaving is told",
        rule: "However a client leaves, the others get `(Now hung up: Client from name@ip)`, after \
               all that it has said.",
        after: &["names-others"],
        hints: [
            "Some ways to leave are not told, or are told before the leaver's last words.",
            "A read of no bytes, and a read that fails: do both lead to the same place?",
            "Take a client out, and tell the others, in one function that every way out goes through.",
        ],
        run: leaving,
        ..NAMES_ROW
    },
    Check {
        id: "names-cut",
        title: "a frame cut anywhere",
        rule: "A frame is 4 bytes of length and so many of text. A read may bring any part of it, a \
               part of the length too, or several; a text may have 16,384 bytes.",
        after: &["names-others"],
        hints: [
            "A read is taken for a whole length, a whole text, or a single frame.",
            "The call that reads the 4 bytes: what if it brings one? What is done with the bytes \
             behind a whole frame?",
            "Append what each read brings to a buffer; with 4 bytes in it, the length is known, and \
             with so many more, take one frame out and look again.",
        ],
        run: cut,
        ..NAMES_ROW
    },
    Check {
        id: "names-silent",
        title: "a client that says nothing",
        rule: "A client that has not said its name stalls nobody, hears nothing, and is not counted.",
        after: &["names-leaving"],
        hints: [
            "Somebody waits for the name of a newcomer, or a newcomer is in the room without one.",
            "When is a client put into the table: when it is accepted, or when its name has come?",
            "Wait for the name as for any other frame; until it has come, the client is nobody.",
        ],
        run: nameless,
        ..NAMES_ROW
    },
    Check {
        id: "names-absurd",
        title: "an absurd length",
        rule: "A client that announces a frame that is too long is disconnected before a byte of it \
               has come, and nobody else is; the others are told that it has left.",
        after: &["names-cut", "names-silent"],
        hints: [
            "The server waits for as many bytes as a stranger has announced, or sets memory aside \
             for them.",
            "What is done with a length before the text is read?",
            "Compare the length with the longest text that is allowed (16,384 bytes) at once, and \
             end the connection if it is more.",
        ],
        run: absurd,
        ..NAMES_ROW
    },
];

/// What the rows that stand on the answer to a name have in common.
const NAMES_ROW: Check = Check {
    who: &[Profile::ChatSelect],
    after: &["names-hello"],
    read: "variations-protocols.md#chat-select",
    ..TIN_CAN_ROW
};

fn named(bench: &Bench) -> Result<()> {
    let server = bench.serve()?;
    let mut client = bench.connect(&server)?;
    bench.did("A sent \"NAME: ann\" in a frame");
    exchange(&mut client)?;
    bench.did("another client came and said its name, and A was told");
    exchange(&mut client)
}

fn say(client: &mut Client, text: &str) -> Result<()> {
    client.send(&frame(text))
}

/// The next frame must be this one.
fn expect(client: &mut Client, text: &str) -> Result<()> {
    client.expect_bytes(&frame(text))
}

/// `name@ip`, as the others see a client.
fn known_as(client: &Client, name: &str) -> String {
    format!("{name}@{}", client.addr().ip())
}

fn joined(client: &Client, name: &str, count: usize) -> String {
    format!("(Connected: New client ({count}) from {})", known_as(client, name))
}

fn left(name: &str) -> String {
    format!("(Now hung up: Client from {name})")
}

fn said(client: &Client, name: &str, text: &str) -> String {
    format!("#{}>>{text}", known_as(client, name))
}

fn introduce(client: &mut Client, name: &str) -> Result<()> {
    say(client, &format!("NAME: {name}"))?;
    let answer = format!("CLIENT: {}", client.addr().ip());
    expect(client, &answer)
}

fn join(bench: &Bench, server: &Server, name: &str) -> Result<Client> {
    let mut client = bench.connect(server)?;
    introduce(&mut client, name)?;
    Ok(client)
}

/// Ann and Bob, who know of each other.
fn pair(bench: &Bench, server: &Server) -> Result<(Client, Client)> {
    let mut ann = join(bench, server, "ann")?;
    let bob = join(bench, server, "bob")?;
    expect(&mut ann, &joined(&bob, "bob", 2))?;
    Ok((ann, bob))
}

/// Each hears the other next, and so nothing has come before.
fn undisturbed(ann: &mut Client, bob: &mut Client) -> Result<()> {
    say(ann, "still here?")?;
    expect(bob, &said(ann, "ann", "still here?"))?;
    say(bob, "yes")?;
    expect(ann, &said(bob, "bob", "yes"))
}

fn others(bench: &Bench) -> Result<()> {
    let server = bench.serve()?;
    let (mut ann, mut bob) = pair(bench, &server)?;
    let mut cleo = join(bench, &server, "Cleo from the 3rd floor")?;
    for client in [&mut ann, &mut bob] {
        expect(client, &joined(&cleo, "Cleo from the 3rd floor", 3))?;
    }
    bench.did("A, B and C gave their names; C said three things, which A and B must hear");
    let texts = ["hello", "NAME: nobody", "drei: Grüße, 世界 🥫"];
    texts.iter().try_for_each(|text| say(&mut cleo, text))?;
    for text in texts {
        let relayed = said(&cleo, "Cleo from the 3rd floor", text);
        expect(&mut ann, &relayed)?;
        expect(&mut bob, &relayed)?;
    }
    bench.did("after that A spoke: the next that C hears is A, and nothing of its own");
    say(&mut ann, "hello, Cleo")?;
    expect(&mut cleo, &said(&ann, "ann", "hello, Cleo"))
}

fn joining(bench: &Bench) -> Result<()> {
    let server = bench.serve()?;
    let mut inside: Vec<Client> = Vec::new();
    for (i, name) in ["ann", "bob", "Cléo", "dan"].into_iter().enumerate() {
        bench.did(format!("client number {} gave its name, \"{name}\"", i + 1));
        let newcomer = join(bench, &server, name)?;
        let told = joined(&newcomer, name, i + 1);
        inside.iter_mut().try_for_each(|client| expect(client, &told))?;
        inside.push(newcomer);
    }
    Ok(())
}

fn leaving(bench: &Bench) -> Result<()> {
    let server = bench.serve()?;
    let mut ann = join(bench, &server, "ann")?;
    for how in ["closed its connection", "closed its sending side", "reset its connection"] {
        bench.did(format!("a client gave its name, spoke, and {how}; A listened"));
        let mut bob = join(bench, &server, "bob")?;
        expect(&mut ann, &joined(&bob, "bob", 2))?;
        say(&mut bob, "so long")?;
        expect(&mut ann, &said(&bob, "bob", "so long"))?;
        let name = known_as(&bob, "bob");
        match how {
            "closed its connection" => drop(bob),
            "reset its connection" => bob.reset()?,
            _ => {
                bob.half_close()?;
                bob.recv_bytes_to_end()?;
            }
        }
        expect(&mut ann, &left(&name))?;
    }
    bench.did("a client said its last and left, and the server found both in one go; A listened");
    let mut bob = join(bench, &server, "bob")?;
    expect(&mut ann, &joined(&bob, "bob", 2))?;
    let last = [said(&bob, "bob", "last words"), left(&known_as(&bob, "bob"))];
    while_stopped(&server, || {
        say(&mut bob, "last words")?;
        drop(bob);
        Ok(())
    })?;
    last.iter().try_for_each(|text| expect(&mut ann, text))?;
    bench.did("a client came when the others had left: the count is of those who are there");
    let cleo = join(bench, &server, "cleo")?;
    expect(&mut ann, &joined(&cleo, "cleo", 2))
}

fn cut(bench: &Bench) -> Result<()> {
    let server = bench.serve()?;
    let (mut ann, mut bob) = pair(bench, &server)?;
    let bytes = frame("é🥫");
    for at in 1..bytes.len() {
        bench.did(format!("A sent the frame of \"é🥫\" in two pieces, the first of {at} bytes"));
        in_pieces(&mut ann, &[&bytes[..at], &bytes[at..]])?;
        expect(&mut bob, &said(&ann, "ann", "é🥫"))?;
    }
    bench.did("A sent the frame of \"é🥫\" a byte at a time");
    in_pieces(&mut ann, &bytes.chunks(1).collect::<Vec<_>>())?;
    expect(&mut bob, &said(&ann, "ann", "é🥫"))?;
    bench.did("A sent the frames of \"one\", of nothing, of \"two\" and half of one in one write");
    let half = frame("three");
    ann.send(&[frame("one"), frame(""), frame("two"), half[..6].to_vec()].concat())?;
    expect(&mut bob, &said(&ann, "ann", "one"))?;
    expect(&mut bob, &said(&ann, "ann", "two"))?;
    ann.send(&half[6..])?;
    expect(&mut bob, &said(&ann, "ann", "three"))?;
    bench.did("A sent a frame of 16,384 bytes, the longest that is allowed");
    let long = "x".repeat(16 * 1024);
    say(&mut ann, &long)?;
    expect(&mut bob, &said(&ann, "ann", &long))
}

/// Sends each piece when the one before has been read.
fn in_pieces(client: &mut Client, pieces: &[&[u8]]) -> Result<()> {
    for piece in pieces {
        wait_until_read(client)?;
        client.send(piece)?;
    }
    Ok(())
}

fn nameless(bench: &Bench) -> Result<()> {
    let server = bench.serve()?;
    bench.did("A connected and said nothing, B sent half its name; then C and D came and talked");
    let mut silent = bench.connect(&server)?;
    let mut half = bench.connect(&server)?;
    half.send(&frame("NAME: half")[..7])?;
    wait_until_read(&half)?;
    let (mut ann, mut bob) = pair(bench, &server)?;
    undisturbed(&mut ann, &mut bob)?;
    bench.did("B left amid its name; nobody had known it, and nobody is told");
    drop(half);
    undisturbed(&mut ann, &mut bob)?;
    bench.did("A gave its name at last: the first that it hears is the answer to that");
    introduce(&mut silent, "late")?;
    expect(&mut ann, &joined(&silent, "late", 3))?;
    expect(&mut bob, &joined(&silent, "late", 3))
}

fn absurd(bench: &Bench) -> Result<()> {
    let server = bench.serve()?;
    let (mut ann, mut bob) = pair(bench, &server)?;
    for len in [u32::MAX, 1 << 31, 16 << 20] {
        for name in [None, Some("cleo")] {
            let who = if name.is_some() {
                "a client gave its name and"
            } else {
                "a client without a name"
            };
            bench.did(format!("{who} announced a frame of {len} bytes; A and B were there"));
            let mut client = bench.connect(&server)?;
            if let Some(name) = name {
                introduce(&mut client, name)?;
                let told = joined(&client, name, 3);
                expect(&mut ann, &told)?;
                expect(&mut bob, &told)?;
            }
            client.send(&[&len.to_be_bytes()[..], b"and a beginning"].concat())?;
            expect_turned_away(&mut client)?;
            if let Some(name) = name {
                let told = left(&known_as(&client, name));
                expect(&mut ann, &told)?;
                expect(&mut bob, &told)?;
            }
            undisturbed(&mut ann, &mut bob)?;
        }
    }
    Ok(())
}

/// The connection must end; before that, one frame may tell why.
fn expect_turned_away(client: &mut Client) -> Result<()> {
    let (told, _) = client.recv_bytes_to_end()?;
    let text = told.get(4..).unwrap_or_default();
    if told.is_empty()
        || (text.starts_with(b"server: ") && told == frame(&String::from_utf8_lossy(text)))
    {
        return Ok(());
    }
    let expected = "the end of the connection, or a frame \"server: …\" and then the end";
    fail(client.transcript(), expected, show(&told))
}
