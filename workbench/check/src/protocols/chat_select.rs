//! `chat-select`: a chat with names, in frames that begin with their length.

use anyhow::Result;

use crate::bench::{Departure, send_in_pieces, wait_until_read, while_stopped};
use crate::check::ROW_AFTER_FRAMING;
use crate::protocol::{FirstExchange, Protocol};
use crate::protocols::OtherProtocol;
use crate::{Bench, Check, Profile, Theme};
use probe::server::Server;
use probe::wire::{Client, show};
use probe::{Description, Failure, fail};

pub(crate) static PROTOCOL: OtherProtocol = OtherProtocol {
    name: "chat-select",
    description: "A chat with names, in frames that begin with their length",
    protocol: Protocol {
        exchange,
        ends_connection: false,
        first: Some(FirstExchange { request, answer }),
    },
    serves_thousands: false,
    basic_checks: &["names-cut"],
    checks: CHECKS,
    right_servers: &["chat_select.py"],
};

/// The state of a client that has sent its name and received the answer.
struct Named;

/// Returns the frame of a text: its length in 4 bytes, and the text.
fn frame(text: &str) -> Vec<u8> {
    let len = u32::try_from(text.len()).unwrap_or(u32::MAX);
    [&len.to_be_bytes(), text.as_bytes()].concat()
}

/// Receives the text of the next frame.
fn text(client: &mut Client) -> Result<Vec<u8>> {
    let whole = |bytes: &[u8]| {
        let len = u32::from_be_bytes(*bytes.first_chunk()?);
        let end = usize::try_from(len).ok()?.checked_add(4)?;
        (bytes.len() >= end).then_some(end)
    };
    Ok(client.recv_when("a frame", whole)?.split_off(4))
}

/// Receives frames until one has an expected text; before it, only messages and notices about other
/// clients may arrive.
fn skip_others_until(
    client: &mut Client,
    expected: Description,
    is_expected: impl Fn(&[u8]) -> bool,
) -> Result<()> {
    loop {
        let text = text(client)?;
        if is_expected(&text) {
            return Ok(());
        }
        if !text.starts_with(b"(") && !text.starts_with(b"#") {
            // A failure without bytes: to the checks, `server: full` is a refusal, as the end of the stream is.
            let got = if text.starts_with(b"server: full") {
                Description::text(show(&text))
            } else {
                Description::bytes(frame(&String::from_utf8_lossy(&text)), "")
            };
            let did = client.transcript();
            return Err(
                Failure { did, expected, got, is_timeout: false, likely_cause: None }.into()
            );
        }
    }
}

fn request() -> Vec<u8> {
    frame("NAME: ann")
}

fn answer(client: &mut Client) -> Result<()> {
    let expected = format!("CLIENT: {}", client.addr().ip());
    skip_others_until(client, Description::bytes(frame(&expected), ""), |text| {
        text == expected.as_bytes()
    })?;
    client.set_state(Named);
    Ok(())
}

/// Sends the name and receives the answer; a client that has a name already connects another client, and
/// must be told about it, because no client gets its own messages back.
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
    skip_others_until(client, Description::text(expected), |text| {
        text.starts_with(b"(Connected: New client (")
            && text.strip_suffix(b")").is_some_and(|it| it.ends_with(end.as_bytes()))
    })
}

const CHECKS: &[Check] = &[
    Check {
        id: "names-hello",
        title: "a name, and the answer",
        rule: "A client sends `NAME: name` and gets `CLIENT: ip`; the other clients are told that \
               it has joined.",
        after: &[],
        hints: [
            "The answer to the name does not have the bytes that the protocol asks for.",
            "Look at the length in front of the text: 4 bytes, the high byte first, and it does \
             not count itself.",
            "Send the length of the text in 4 bytes, and then `CLIENT: ` and the client's IP \
             address.",
        ],
        run: named,
        ..NAMES_ROW
    },
    Check {
        id: "names-joining",
        theme: Theme::Chat,
        title: "the other clients are told who joins",
        rule: "When a client has sent its name, the other clients get `(Connected: New client (N) \
               from name@ip)`, where N is the number of clients, the new one included.",
        hints: [
            "The other clients are not told, or are told a wrong number of clients.",
            "When does the server count the clients: before or after it adds a new client to its \
             table, and before or after it removes a client that leaves?",
            "Add the new client to the table, count the entries, and then tell all other clients.",
        ],
        run: joining,
        ..NAMES_ROW
    },
    Check {
        id: "names-others",
        theme: Theme::Chat,
        title: "a message goes to the other clients",
        rule: "A message goes to the other clients as `#name@ip>>text`, and does not go to its \
               sender.",
        after: &["names-joining"],
        hints: [
            "A client does not get the message, the sender gets its own message, or the text is \
             changed.",
            "Look at the loop over the clients: which client does it skip? And what does the \
             server put in front of the text?",
            "Send `#`, the sender's name, `@`, its IP address, `>>` and the text to every client \
             that has a name, except the sender.",
        ],
        run: others,
        ..NAMES_ROW
    },
    Check {
        id: "names-leaving",
        theme: Theme::Closing,
        title: "the other clients are told who leaves",
        rule: "However a client leaves, the other clients get `(Now hung up: Client from \
               name@ip)`, after all messages that it has sent.",
        after: &["names-others"],
        hints: [
            "Some ways to leave are not told to the other clients, or are told before the last \
             message of the client that left.",
            "A read that returns no bytes, and a read that fails: do both lead to the same \
             function?",
            "Remove a client, and tell the other clients, in one function; call it for every way \
             to leave.",
        ],
        run: leaving,
        ..NAMES_ROW
    },
    Check {
        id: "names-cut",
        title: "a frame in pieces",
        rule: "A frame is a 4-byte length and a text of that many bytes. One read may return any \
               part of a frame, even a part of its length, or several frames; a text may have \
               16,384 bytes.",
        after: &["names-others"],
        hints: [
            "The server expects one read to return a whole length, a whole text, or exactly one \
             frame.",
            "Look at the call that reads the 4 bytes: what happens if it returns one byte? What \
             happens to the bytes after a whole frame?",
            "Append the bytes of each read to a buffer. When the buffer has 4 bytes, the length is \
             known; when it has that many bytes more, take one frame out, and look for the next \
             one.",
        ],
        run: cut,
        ..NAMES_ROW
    },
    Check {
        id: "names-silent",
        theme: Theme::Concurrency,
        title: "a client that sends nothing",
        rule: "A client that has not sent its name makes no other client wait, receives nothing, \
               and is not counted.",
        after: &["names-leaving"],
        hints: [
            "The server waits for the name of a new client before it serves other clients, or it \
             adds a client without a name to the room.",
            "When does the server add a client to its table: when it accepts the connection, or \
             when the name has arrived?",
            "Wait for the name as for any other frame; add the client to the table when its name \
             has arrived.",
        ],
        run: nameless,
        ..NAMES_ROW
    },
    Check {
        id: "names-absurd",
        title: "an absurd length",
        rule: "A client that announces a frame that is too long is disconnected before any byte of \
               the text has arrived, and no other client is disconnected; the other clients are \
               told that it has left.",
        after: &["names-cut", "names-silent"],
        hints: [
            "The server waits for as many bytes as a client announces, or allocates memory for \
             them.",
            "Look at what the server does with a length before it reads the text.",
            "Compare the length with the greatest length allowed (16,384 bytes) at once, and close \
             the connection if it is greater.",
        ],
        run: absurd,
        ..NAMES_ROW
    },
];

/// The fields that are the same in all checks that depend on `names-hello`.
const NAMES_ROW: Check = Check {
    must_pass: |profile| profile == Profile::Other(&PROTOCOL),
    after: &["names-hello"],
    page: "variations-protocols.md#chat-select",
    ..ROW_AFTER_FRAMING
};

fn named(bench: &Bench) -> Result<()> {
    let server = bench.start_server()?;
    let mut client = bench.connect(&server)?;
    bench.set_step("client A sent a frame with the text \"NAME: ann\"");
    exchange(&mut client)?;
    bench.set_step("another client connected and sent its name; client A must be told");
    exchange(&mut client)
}

fn say(client: &mut Client, text: &str) -> Result<()> {
    client.send(&frame(text))
}

/// Checks that the next frame has this text.
fn expect(client: &mut Client, text: &str) -> Result<()> {
    client.expect_bytes(&frame(text))
}

/// Returns `name@ip`, which is how the other clients see a client.
fn known_as(client: &Client, name: &str) -> String {
    format!("{name}@{}", client.addr().ip())
}

fn joined(client: &Client, name: &str, count: usize) -> String {
    format!("(Connected: New client ({count}) from {})", known_as(client, name))
}

/// Returns the notice that a client has left, which is known to the others by this name and address.
fn left(name_at_ip: &str) -> String {
    format!("(Now hung up: Client from {name_at_ip})")
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

/// Connects two clients, `ann` and `bob`.
fn pair(bench: &Bench, server: &Server) -> Result<(Client, Client)> {
    let mut ann = join(bench, server, "ann")?;
    let bob = join(bench, server, "bob")?;
    expect(&mut ann, &joined(&bob, "bob", 2))?;
    Ok((ann, bob))
}

/// Checks that each client receives the message of the other one next, and nothing before it.
fn expect_undisturbed(ann: &mut Client, bob: &mut Client) -> Result<()> {
    say(ann, "still here?")?;
    expect(bob, &said(ann, "ann", "still here?"))?;
    say(bob, "yes")?;
    expect(ann, &said(bob, "bob", "yes"))
}

fn others(bench: &Bench) -> Result<()> {
    let server = bench.start_server()?;
    let (mut ann, mut bob) = pair(bench, &server)?;
    let mut cleo = join(bench, &server, "Cleo from the 3rd floor")?;
    for client in [&mut ann, &mut bob] {
        expect(client, &joined(&cleo, "Cleo from the 3rd floor", 3))?;
    }
    bench.set_step(
        "clients A, B and C sent their names; then C sent 3 messages, which A and B must receive",
    );
    let texts = ["hello", "NAME: nobody", "drei: Grüße, 世界 🥫"];
    texts.iter().try_for_each(|text| say(&mut cleo, text))?;
    for text in texts {
        let relayed = said(&cleo, "Cleo from the 3rd floor", text);
        expect(&mut ann, &relayed)?;
        expect(&mut bob, &relayed)?;
    }
    bench.set_step(
        "client C sent 3 messages; then A sent one, which must be the first message that C \
         receives",
    );
    say(&mut ann, "hello, Cleo")?;
    expect(&mut cleo, &said(&ann, "ann", "hello, Cleo"))
}

fn joining(bench: &Bench) -> Result<()> {
    let server = bench.start_server()?;
    let mut inside: Vec<Client> = Vec::new();
    for (i, name) in ["ann", "bob", "Cléo", "dan"].into_iter().enumerate() {
        bench.set_step(format!("client number {} sent its name, \"{name}\"", i + 1));
        let newcomer = join(bench, &server, name)?;
        let told = joined(&newcomer, name, i + 1);
        inside.iter_mut().try_for_each(|client| expect(client, &told))?;
        inside.push(newcomer);
    }
    Ok(())
}

fn leaving(bench: &Bench) -> Result<()> {
    let server = bench.start_server()?;
    let mut ann = join(bench, &server, "ann")?;
    for departure in Departure::ALL {
        bench.set_step(format!(
            "a client sent its name and a message, and {departure}; client A must be told"
        ));
        let mut bob = join(bench, &server, "bob")?;
        expect(&mut ann, &joined(&bob, "bob", 2))?;
        say(&mut bob, "so long")?;
        expect(&mut ann, &said(&bob, "bob", "so long"))?;
        let name = known_as(&bob, "bob");
        if let Some(mut bob) = departure.end(bob)? {
            bob.recv_bytes_to_end()?;
        }
        expect(&mut ann, &left(&name))?;
    }
    bench.set_step(
        "the server was paused while a client sent a message and closed its connection; client A \
         must receive the message, and then be told that the client has left",
    );
    let mut bob = join(bench, &server, "bob")?;
    expect(&mut ann, &joined(&bob, "bob", 2))?;
    let last = [said(&bob, "bob", "last text"), left(&known_as(&bob, "bob"))];
    while_stopped(&server, || {
        say(&mut bob, "last text")?;
        drop(bob);
        Ok(())
    })?;
    last.iter().try_for_each(|text| expect(&mut ann, text))?;
    bench.set_step(
        "another client connected after 4 clients had left; client A must be told that 2 clients \
         are there",
    );
    let cleo = join(bench, &server, "cleo")?;
    expect(&mut ann, &joined(&cleo, "cleo", 2))
}

fn cut(bench: &Bench) -> Result<()> {
    let server = bench.start_server()?;
    let (mut ann, mut bob) = pair(bench, &server)?;
    let bytes = frame("é🥫");
    for at in 1..bytes.len() {
        bench.set_step(format!(
            "client A sent the frame of \"é🥫\" in two pieces; the first had {at} of its 10 bytes"
        ));
        send_in_pieces(&mut ann, &[&bytes[..at], &bytes[at..]])?;
        expect(&mut bob, &said(&ann, "ann", "é🥫"))?;
    }
    bench.set_step("client A sent the frame of \"é🥫\" one byte at a time");
    send_in_pieces(&mut ann, &bytes.chunks(1).collect::<Vec<_>>())?;
    expect(&mut bob, &said(&ann, "ann", "é🥫"))?;
    bench.set_step(
        "client A sent the frames of \"one\", \"\" and \"two\", and the first 6 bytes of the frame \
         of \"three\", in one write",
    );
    let half = frame("three");
    ann.send(&[frame("one"), frame(""), frame("two"), half[..6].to_vec()].concat())?;
    expect(&mut bob, &said(&ann, "ann", "one"))?;
    expect(&mut bob, &said(&ann, "ann", "two"))?;
    ann.send(&half[6..])?;
    expect(&mut bob, &said(&ann, "ann", "three"))?;
    bench
        .set_step("client A sent a frame with a text of 16,384 bytes, the greatest length allowed");
    let long = "x".repeat(16 * 1024);
    say(&mut ann, &long)?;
    expect(&mut bob, &said(&ann, "ann", &long))
}

fn nameless(bench: &Bench) -> Result<()> {
    let server = bench.start_server()?;
    bench.set_step(
        "client A connected and sent nothing, and client B sent half of its name; then C and D \
         connected, and sent messages",
    );
    let mut silent = bench.connect(&server)?;
    let mut half = bench.connect(&server)?;
    half.send(&frame("NAME: half")[..7])?;
    wait_until_read(&half)?;
    let (mut ann, mut bob) = pair(bench, &server)?;
    expect_undisturbed(&mut ann, &mut bob)?;
    bench.set_step("client B disconnected after half of its name; C and D must not be told");
    drop(half);
    expect_undisturbed(&mut ann, &mut bob)?;
    bench.set_step(
        "client A, silent until now, sent its name; the first frame that it receives must be the \
         answer",
    );
    introduce(&mut silent, "late")?;
    expect(&mut ann, &joined(&silent, "late", 3))?;
    expect(&mut bob, &joined(&silent, "late", 3))
}

fn absurd(bench: &Bench) -> Result<()> {
    let server = bench.start_server()?;
    let (mut ann, mut bob) = pair(bench, &server)?;
    for len in [u32::MAX, 1 << 31, 16 << 20] {
        for name in [None, Some("cleo")] {
            let client = if name.is_some() {
                "a client sent its name, and then"
            } else {
                "a client without a name"
            };
            bench.set_step(format!(
                "{client} announced a frame of {len} bytes; clients A and B were connected"
            ));
            let mut client = bench.connect(&server)?;
            if let Some(name) = name {
                introduce(&mut client, name)?;
                let told = joined(&client, name, 3);
                expect(&mut ann, &told)?;
                expect(&mut bob, &told)?;
            }
            client.send(&[&len.to_be_bytes()[..], b"and a beginning"].concat())?;
            expect_disconnected(&mut client)?;
            if let Some(name) = name {
                let told = left(&known_as(&client, name));
                expect(&mut ann, &told)?;
                expect(&mut bob, &told)?;
            }
            expect_undisturbed(&mut ann, &mut bob)?;
        }
    }
    Ok(())
}

/// Checks that the connection ends; before that, one frame may tell the client the reason.
fn expect_disconnected(client: &mut Client) -> Result<()> {
    let (told, _) = client.recv_bytes_to_end()?;
    let text = told.get(4..).unwrap_or_default();
    if told.is_empty()
        || (text.starts_with(b"server: ") && told == frame(&String::from_utf8_lossy(text)))
    {
        return Ok(());
    }
    let expected = "the end of the stream, or a frame \"server: …\" and then the end of the stream";
    fail(client.transcript(), expected, show(&told))
}
