//! How bytes become messages, whatever way the network cuts them.

use anyhow::Result;

use super::slow_readers;
use crate::bench::{wait_until_read, while_stopped};
use crate::check::TIN_CAN_ROW;
use crate::profile::{ANY, CHATS};
use crate::protocol::FirstExchange;
use crate::{Bench, Check, Needs};
use probe::server::Server;
use probe::tls::TlsSettings;
use probe::wire::{Client, Received, prep_msg};
use probe::{Description, Failure, fail_timeout};

pub(crate) const ROWS: &[Check] = &[
    Check {
        id: "frame-one",
        title: "one message",
        rule: "A message is UTF-8 text ended by one ␀. echo-uni answers the text itself, echo-multi \
               `ADDR: text` with the client's address; then both close. A chat relays `ADDR: text` to \
               all, the sender included.",
        after: &[],
        hints: [
            "The answer has not the bytes that the protocol asks for: look at its ␀, at what stands \
             before the text, and at who closes the connection.",
            "Where the answer is made: the function that turns a text into bytes, and the one that \
             ends an exchange.",
            "Send the text, one zero byte, nothing else (echo-multi and chat: `ADDR: ` before it, \
             with the client's address and port); flush; an echo server then closes the connection.",
        ],
        run: one,
        ..TIN_CAN_ROW
    },
    Check {
        id: "frame-three",
        title: "three messages in a row",
        rule: "Each message is answered as it is: blanks, tabs and any character included.",
        after: &["frame-one"],
        hints: [
            "The text is changed on its way (stripped, re-coded), or the server serves once only, or \
             answers twice.",
            "Calls such as strip(), trim(), or a conversion with another encoding than UTF-8; the \
             end of the loop that serves clients.",
            "Relay the bytes between two ␀ as they are; go back to the next message, or the next \
             client, after each.",
        ],
        run: three,
        ..TIN_CAN_ROW
    },
    Check {
        id: "frame-bytewise",
        title: "a byte at a time",
        rule: "A read may bring half a message: keep the rest for the next read.",
        hints: [
            "Each read is taken for a whole message. TCP is a stream of bytes: one read may bring \
             half a message.",
            "The loop around the read: what happens when there is no ␀ in what it brought?",
            "Append what each read brings to a buffer that belongs to the client; take a message \
             out only when there is a ␀ in it.",
        ],
        read: "protocol.md#The rest",
        run: bytewise,
        ..TIN_CAN_ROW
    },
    Check {
        id: "frame-one-write",
        title: "three messages in one write",
        rule: "A read may bring three messages and a half: each counts, and the half is kept.",
        after: &["frame-bytewise"],
        hints: [
            "Only the first message of a read is seen, or what follows it is taken for part of it, or \
             what follows the last ␀ is lost.",
            "What happens to the bytes behind the first ␀ of a read, and behind the last?",
            "Split at every ␀; all but the last piece are messages (an echo server answers the first \
             and ignores the others); the last piece is the rest, to be kept for the next read.",
        ],
        read: "protocol.md#The rest",
        run: one_write,
        ..TIN_CAN_ROW
    },
    Check {
        id: "frame-torn-character",
        title: "a character torn in two",
        rule: "A read may bring half a character, too: only whole messages are decoded.",
        after: &["frame-bytewise"],
        hints: [
            "What a read brings is decoded at once. A read may end amid a character of several \
             bytes.",
            "The place of decode() or its like: before or after the search for the ␀?",
            "Collect bytes, search for the ␀ in bytes, and decode a message only when it is whole.",
        ],
        read: "protocol.md#The rest",
        run: torn_character,
        ..TIN_CAN_ROW
    },
    Check {
        id: "frame-empty",
        title: "empty messages",
        rule: "An empty message (two ␀ in a row) is ignored.",
        after: &["frame-one-write"],
        hints: [
            "An empty message is answered, or taken for the end.",
            "Splitting \"␀␀first␀\" gives empty pieces: what is done with them?",
            "Skip a message of no bytes, and go on with the next.",
        ],
        read: "protocol.md#Errors",
        run: |bench| or_silent(empty(bench)),
        ..TIN_CAN_ROW
    },
    Check {
        id: "frame-long",
        title: "a message of 16,384 bytes",
        rule: "A message may have 16,384 bytes before its ␀.",
        after: &["frame-torn-character"],
        hints: [
            "A long message is cut or refused: one read or one write does not move all of it.",
            "The size given to read, and the number that write returns.",
            "Read until there is a ␀; write until all is written (sendall, write_all). Allow 16,384 \
             bytes.",
        ],
        read: "protocol.md#Limits",
        run: long,
        ..TIN_CAN_ROW
    },
    Check {
        id: "frame-half-close",
        title: "a client that has said its last",
        rule: "A client that closes its sending side still gets what is due to it; then the server \
               closes.",
        who: ANY,
        needs: Needs::HalfClose,
        after: &[
            "frame-three",
            "slow-pause",
            "select-echo",
            "app-search",
            "calc-sum",
            "names-hello",
            "party-before",
        ],
        hints: [
            "A read of no bytes is taken for the end of the whole connection; it is the end of one \
             direction.",
            "What happens when a read brings nothing: is anything still to be sent to this client?",
            "When a read brings nothing, read no more from this client; send what is queued for it, \
             and close then.",
        ],
        read: "protocol.md#Half-close",
        run: half_close,
        ..TIN_CAN_ROW
    },
    Check {
        id: "frame-bad-utf8",
        title: "bytes that are not UTF-8",
        rule: "A message that is not UTF-8 is a protocol error: it is not relayed, that client is \
               disconnected, and nobody else notices.",
        after: &["frame-three", "chat-everyone"],
        hints: [
            "Bad bytes are passed on, or the error that they cause goes further than their client.",
            "What decoding does with bad bytes, and who catches the error if it throws one.",
            "Decode strictly; on an error close that client's connection, and go on with the others.",
        ],
        read: "protocol.md#Errors",
        run: bad_utf8,
        ..TIN_CAN_ROW
    },
    Check {
        id: "frame-endless",
        title: "a message without an end",
        rule: "A message longer than the limit is a protocol error, also while its ␀ has not come.",
        after: &["frame-bytewise", "chat-everyone"],
        hints: [
            "The buffer of an unfinished message grows without bound, and one client can fill the \
             memory; or the error that is raised then ends more than that client.",
            "The buffer in which a message is collected: who looks at its size?",
            "When more than 16,384 bytes are there without a ␀, close that client's connection.",
        ],
        read: "protocol.md#Limits",
        run: endless,
        ..TIN_CAN_ROW
    },
    Check {
        id: "frame-after-error",
        title: "what comes after an error",
        rule: "After a protocol error nothing more of that client is relayed, also while its \
               connection is being closed.",
        who: CHATS,
        after: &["frame-bad-utf8", "frame-endless"],
        hints: [
            "The client was told to go, but what it sends is still taken for messages.",
            "What is read after the error: the other messages of the same read, and what comes \
             between the end of the sending side and the close.",
            "Leave the loop over the messages at an error, take the client out of the room, and throw \
             away what is read from it after that.",
        ],
        read: "protocol.md#Errors",
        run: |bench| or_silent(after_error(bench)),
        ..TIN_CAN_ROW
    },
];

/// The bytes that every server must take in one message, without the zero byte.
const LONG: usize = 16 * 1024;

pub(super) fn one(bench: &Bench) -> Result<()> {
    let server = bench.serve()?;
    bench.did("A connected and sent one message, \"hello␀\", in one write");
    let done = guessed(bench.exchange(&mut bench.connect(&server)?, "hello"), guess);
    done.map_err(|err| match err.downcast::<Failure>() {
        // Whatever speaks TLS says at once that it does not understand.
        Ok(failure) if !failure.is_timeout && speaks_tls(bench) => {
            Failure { likely: Some(SPEAKS_TLS), ..failure }.into()
        }
        Ok(failure) => failure.into(),
        Err(err) => err,
    })
}

const SPEAKS_TLS: &str = "The server seems to speak TLS, and was spoken to in plaintext: check it with \
                          --tls.";

/// Whether a server answers the beginning of a TLS handshake as TLS does, and not with an echo of it.
fn speaks_tls(bench: &Bench) -> bool {
    /// The types of a record (RFC 8446 section 5.1), and of the answer in it (section 4).
    const ALERT: u8 = 21;
    const HANDSHAKE: u8 = 22;
    const SERVER_HELLO: u8 = 2;
    let first = || {
        let server = bench.serve()?;
        let mut client = Client::connect(server.addr())?.with_timeout(bench.patience());
        client.send(&TlsSettings::with_any_certificate()?.client_hello()?)?;
        client.recv_bytes(6)
    };
    let is_answer =
        |bytes: Vec<u8>| matches!(bytes[..], [ALERT, ..] | [HANDSHAKE, _, _, _, _, SERVER_HELLO]);
    !bench.is_inside_tls() && first().is_ok_and(is_answer)
}

/// Adds to a failure what is likely wrong, seeing what it says.
pub(crate) fn guessed(
    done: Result<()>,
    guess: impl Fn(&Failure) -> Option<&'static str>,
) -> Result<()> {
    done.map_err(|err| match err.downcast::<Failure>() {
        Ok(failure) => {
            Failure { likely: failure.likely.or_else(|| guess(&failure)), ..failure }.into()
        }
        Err(err) => err,
    })
}

/// Explains a failure in which nothing came, in a check whose hint is about what comes.
pub(crate) fn or_silent(done: Result<()>) -> Result<()> {
    guessed(done, |failure| {
        (failure.is_timeout && failure.got.bytes.is_none()).then_some(
            "A message was lost, or it still waits in the server: for a lock, for another client, for \
             more bytes.",
        )
    })
}

/// What a beginner has most likely done whose first message comes back like this.
fn guess(failure: &Failure) -> Option<&'static str> {
    let Failure { expected, got, .. } = failure;
    let (Some(wanted), came) = (&expected.bytes, &got.bytes) else {
        return Some(if failure.is_timeout {
            "The answer is right, but the server does not close the connection behind it. In this \
             echo, a connection is for one message."
        } else {
            "The answer is right, and something follows it: an echo server closes the connection \
             then, and sends nothing more."
        });
    };
    let Some(came) = came else {
        return Some(match (failure.is_timeout, got.text.as_str()) {
            (true, _) => {
                "The server does not answer. Does it wait for a line end, or for the end of the \
                 connection? A message ends with a ␀, and nothing else follows. Does it flush what \
                 it writes? Does it leave out the sender?"
            }
            (_, "a reset") => {
                "The server closed the connection with bytes unread, or it broke down: what it \
                 printed is below."
            }
            _ => {
                "The server closed the connection before it answered. Did it break down? What it \
                 printed is below."
            }
        });
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned();
    let (wanted_text, came_text) = (text(wanted), text(came));
    if came_text.trim_end_matches(['\r', '\n']) == wanted_text {
        return Some(match came.last() {
            Some(b'\n') => "The answer ends with a line end instead of a ␀ (a byte of value zero).",
            Some(0) => "There is a line end before the ␀ of the answer.",
            _ => "The answer is not ended by a ␀ (a byte of value zero).",
        });
    }
    if came_text.starts_with("::") {
        return Some(
            "The server listens on all IPv6 addresses, where a client's address looks another way. Let \
             it listen on 127.0.0.1: `{host}` in the command, or the variable HOST.",
        );
    }
    if wanted_text == "hello" && came_text.ends_with(": hello") {
        return Some(
            "echo-uni answers the text alone, and here an address is in front of it. Is it an \
             echo-multi?",
        );
    }
    if wanted_text.ends_with(": hello") && came_text == "hello" {
        return Some("The client's address is missing: the answer is `ADDR: message`.");
    }
    if wanted_text.ends_with(": hello") && came_text.ends_with("hello") {
        return Some(
            "The client's address is not written as `HOST:PORT`, a colon and a blank behind it, as \
             in `127.0.0.1:50312: hello`.",
        );
    }
    None
}

pub(super) fn three(bench: &Bench) -> Result<()> {
    let server = bench.serve()?;
    let texts = ["  one, with blanks around  ", "zwei: Grüße, 世界 🥫", "\tthree"];
    if bench.profile().is_echo() {
        for text in texts {
            bench.did(format!("a client connected and sent \"{text}␀\", after those before it"));
            bench.exchange(&mut bench.connect(&server)?, text)?;
        }
        return Ok(());
    }
    let mut client = bench.connect(&server)?;
    for text in texts {
        bench.did(format!("A sent \"{text}␀\" when it had got the answers to all before"));
        guessed(bench.exchange(&mut client, text), |failure| {
            let has_ended = failure.got.bytes.is_none() && !failure.is_timeout;
            has_ended.then_some(
                "The connection ends after the first answer. In a chat, clients stay. Is it an echo \
                 server?",
            )
        })?;
    }
    Ok(())
}

pub(super) fn bytewise(bench: &Bench) -> Result<()> {
    let server = bench.serve()?;
    bench.did("A sent \"hello␀\" a byte at a time, each byte when the one before had been read");
    let frame = prep_msg("hello");
    in_pieces(bench, &server, "hello", &frame.chunks(1).collect::<Vec<_>>())?;
    for at in 1..frame.len() {
        bench.did(format!("a client sent \"hello␀\" in two pieces, the first of {at} bytes"));
        in_pieces(bench, &server, "hello", &[&frame[..at], &frame[at..]])?;
    }
    let text = "some messages come in three pieces of any length";
    let frame = prep_msg(text);
    for _ in 0..5 {
        let mut cuts = [1 + bench.chance(frame.len() - 1), 1 + bench.chance(frame.len() - 1)];
        cuts.sort_unstable();
        bench.did(format!("a client sent a message in pieces, cut at bytes {cuts:?}"));
        let pieces = [&frame[..cuts[0]], &frame[cuts[0]..cuts[1]], &frame[cuts[1]..]];
        in_pieces(bench, &server, text, &pieces)?;
    }
    Ok(())
}

/// A client sends each piece when the one before has been read, and must get the answer to the whole.
fn in_pieces(bench: &Bench, server: &Server, text: &str, pieces: &[&[u8]]) -> Result<()> {
    let mut client = bench.connect(server)?;
    for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
        wait_until_read(&client)?;
        // A server that answers too early may have closed already: that shows in its answer.
        if !client.try_send(piece) {
            break;
        }
    }
    bench.expect_answer(&mut client, text)
}

pub(super) fn one_write(bench: &Bench) -> Result<()> {
    if bench.profile().is_echo() {
        let server = bench.serve()?;
        bench.did("A sent \"one␀two␀three␀\" in one write; an echo server answers the first");
        let mut client = bench.connect(&server)?;
        client.send(b"one\0two\0three\0")?;
        return guessed(bench.expect_answer(&mut client, "one"), |_| {
            Some(
                "What follows the first ␀ is answered, too, or is taken for part of the message: an \
                 echo server answers the first message of a connection, and ignores what follows.",
            )
        });
    }
    let server = bench.serve()?;
    let mut client = bench.connect(&server)?;
    bench.did("A sent \"one␀two␀three␀fo\" in one write, and then \"ur␀\"");
    client.send(b"one\0two\0three\0fo")?;
    expect_in_any_order(bench, &mut client, &["one", "two", "three"])?;
    client.send(b"ur\0")?;
    client.expect_msg(&bench.said(client.addr(), "four"))
}

/// The order has a check of its own.
fn expect_in_any_order(bench: &Bench, client: &mut Client, texts: &[&str]) -> Result<()> {
    let mut missing: Vec<_> = texts.iter().map(|text| bench.answer(client.addr(), text)).collect();
    while let Some(next) = missing.first() {
        let heard = client.recv(client.timeout())?;
        let is_it = |text: &String| matches!(&heard, Received::Msg(it) if it == text.as_bytes());
        match missing.iter().position(is_it) {
            Some(at) => _ = missing.remove(at),
            None => return Err(client.failure(Description::bytes(prep_msg(next), ""), heard)),
        }
    }
    Ok(())
}

pub(super) fn torn_character(bench: &Bench) -> Result<()> {
    let server = bench.serve()?;
    for text in ["a🥫b", "¢", "€"] {
        let frame = prep_msg(text);
        for at in 1..frame.len() {
            let (first, second) = frame.split_at(at);
            bench.did(format!("a client sent \"{text}␀\" in two pieces, the first of {at} bytes"));
            in_pieces(bench, &server, text, &[first, second])?;
        }
        bench.did(format!("a client sent \"{text}␀\" a byte at a time"));
        in_pieces(bench, &server, text, &frame.chunks(1).collect::<Vec<_>>())?;
    }
    Ok(())
}

pub(super) fn empty(bench: &Bench) -> Result<()> {
    let server = bench.serve()?;
    let mut client = bench.connect(&server)?;
    if bench.profile().is_echo() {
        bench.did("A sent \"␀␀first␀\": two empty messages, and one that is not");
        client.send(b"\0\0first\0")?;
        return bench.expect_answer(&mut client, "first");
    }
    bench.did("A sent \"␀␀first␀\", and then \"␀second␀\": three empty messages, two that are not");
    client.send(b"\0\0first\0")?;
    client.expect_msg(&bench.said(client.addr(), "first"))?;
    client.send(b"\0second\0")?;
    client.expect_msg(&bench.said(client.addr(), "second"))
}

pub(super) fn long(bench: &Bench) -> Result<()> {
    let server = bench.serve()?;
    let digits: String = "0123456789".chars().cycle().take(LONG).collect();
    for (text, what) in [(digits, "digits"), ("é".repeat(LONG / 2), "\"é\"")] {
        bench.did(format!("a client sent a message of {LONG} bytes, all {what}"));
        bench.exchange(&mut bench.connect(&server)?, &text)?;
        bench.did(format!("a client sent {LONG} bytes, all {what}, and then the ␀"));
        in_pieces(bench, &server, &text, &[text.as_bytes(), &[0]])?;
    }
    Ok(())
}

pub(super) fn half_close(bench: &Bench) -> Result<()> {
    let server = bench.serve()?;
    if let Some(talk) = bench.first_exchange() {
        return half_close_after_request(bench, &server, talk);
    }
    bench.did("A sent \"last words␀\" and closed its sending side; it went on reading");
    let mut client = bench.connect(&server)?;
    client.send_msg("last words")?;
    client.half_close()?;
    bench.expect_own(&mut client, "last words")?;
    client.expect_eof()?;
    bench.did("a client sent \"all at once␀\" and the end, and the server found both in one go");
    let mut client = bench.connect(&server)?;
    while_stopped(&server, || {
        client.send_msg("all at once")?;
        client.half_close()
    })?;
    bench.expect_own(&mut client, "all at once")?;
    // Nothing is queued, so the end needs none of the 3 s that it may take.
    client.expect_eof()?;
    if bench.profile().is_chat() { half_close_and_read_later(bench, &server) } else { Ok(()) }
}

fn half_close_after_request(bench: &Bench, server: &Server, talk: FirstExchange) -> Result<()> {
    let say_the_last = |client: &mut Client| {
        client.send(&(talk.request)())?;
        client.half_close()
    };
    bench.did("A sent a request and closed its sending side; it went on reading");
    let mut client = bench.connect(server)?;
    say_the_last(&mut client)?;
    (talk.answer)(&mut client)?;
    client.expect_eof()?;
    bench.did("a client sent a request and the end, and the server found both in one go");
    let mut client = bench.connect(server)?;
    while_stopped(server, || say_the_last(&mut client))?;
    (talk.answer)(&mut client)?;
    client.expect_eof()
}

/// A chat has something queued for a client that has said its last, and does not read yet.
fn half_close_and_read_later(bench: &Bench, server: &Server) -> Result<()> {
    let mut client = slow_readers::pausing(bench, server)?;
    bench.did("a client sent 120 messages of 1 KB and the end, and read the answers only then");
    client.half_close()?;
    _ = wait_until_read(&client);
    client.enlarge_recv_buffer()?;
    (0..slow_readers::PAUSED)
        .try_for_each(|i| bench.expect_own(&mut client, &slow_readers::numbered(i)))?;
    client.expect_eof()
}

pub(super) fn bad_utf8(bench: &Bench) -> Result<()> {
    let server = bench.serve()?;
    let mut witness = witness(bench, &server)?;
    let bad: [&[u8]; 6] = [
        b"\xff\0",
        b"ab\x80cd\0",
        b"cut \xe2\x82\0",
        b"\xc0\x80\0",
        b"\xed\xa0\x80\0",
        b"\xf5\x80\x80\x80\0",
    ];
    for bytes in bad {
        let shown = probe::wire::show(bytes);
        bench.did(format!("a client sent bytes that are not UTF-8: {shown}"));
        let mut client = bench.connect(&server)?;
        client.try_send(bytes);
        guessed(expect_turned_away(bench, &mut client), |failure| {
            (failure.is_timeout && failure.got.bytes.is_none()).then_some(
                "Nothing was sent, and the connection stays open: the error ended what served this \
                 client, but nobody closed its socket.",
            )
        })?;
        expect_undisturbed(bench, &server, witness.as_mut())?;
    }
    Ok(())
}

/// Somebody who is in a chat before.
fn witness(bench: &Bench, server: &Server) -> Result<Option<Client>> {
    if bench.profile().is_echo() {
        return Ok(None);
    }
    let mut client = bench.connect(server)?;
    bench.exchange(&mut client, "I was here before")?;
    Ok(Some(client))
}

/// The connection must end; before that, a chat may tell why, in a message of its own.
fn expect_turned_away(bench: &Bench, client: &mut Client) -> Result<()> {
    loop {
        match client.recv(bench.patience())? {
            Received::Eof | Received::Reset => return Ok(()),
            Received::Msg(frame) if bench.profile().is_chat() && frame.starts_with(b"server: ") => {
            }
            Received::Msg(frame) if bench.is_of_another(&frame, client) => {}
            other => {
                return Err(client.failure(Description::text("the end of the connection"), other));
            }
        }
    }
}

/// Who was there before has heard nothing of it, and a newcomer is served.
fn expect_undisturbed(bench: &Bench, server: &Server, witness: Option<&mut Client>) -> Result<()> {
    let Some(witness) = witness else { return bench.expect_works(server) };
    bench.exchange(witness, "still here")?;
    let mut newcomer = bench.connect(server)?;
    bench.exchange_amid_others(&mut newcomer, "new here")?;
    witness.expect_msg(&bench.said(newcomer.addr(), "new here"))
}

/// Checks that what a client sends after a protocol error goes to nobody, in the same write as the error
/// or later, even if the server still reads it while the connection ends.
pub(super) fn after_error(bench: &Bench) -> Result<()> {
    /// A server with several threads may relay a message after another that came later.
    const TIMES: usize = 5;
    let too_long = vec![b'x'; LONG + 1];
    let server = bench.serve()?;
    let mut witness = bench.connect(&server)?;
    bench.exchange(&mut witness, "I was here before")?;
    let mut expect_undisturbed = || {
        witness.send_msg("still here")?;
        witness.expect_msg(&bench.said(witness.addr(), "still here"))
    };
    for (bad, what) in [(&b"\xff"[..], "not UTF-8"), (&too_long, "16,385 bytes long")] {
        bench.did(format!(
            "a client sent a message that is {what}, and \"after it␀\" in the same write; A spoke then"
        ));
        let mut client = bench.connect(&server)?;
        client.try_send(&[bad, b"\0after it\0"].concat());
        expect_turned_away(bench, &mut client)?;
        expect_undisturbed()?;
        bench.did(format!(
            "a client sent a message that is {what}, saw the end of the connection, and sent \
             \"later␀\"; A spoke then"
        ));
        for _ in 0..TIMES {
            // The server may have closed the connection already, or may leave these bytes unread.
            if !client.try_send(b"later\0") || wait_until_read(&client).is_err() {
                break;
            }
            expect_undisturbed()?;
        }
    }
    Ok(())
}

/// Sends a message that never ends: a server must not keep all of it.
pub(super) fn endless(bench: &Bench) -> Result<()> {
    const MOST: usize = 8 << 20;
    const PIECE: usize = 16 * 1024;
    let server = bench.serve()?;
    let mut witness = witness(bench, &server)?;
    bench.did(format!("A sent a message without an end, up to {} MiB of \"x\"", MOST >> 20));
    let mut client = bench.connect(&server)?;
    if !client.send_until_closed(&[b'x'; PIECE], MOST / PIECE)? {
        let expected = "the server closes the connection, once it has more than 16,384 bytes";
        return fail_timeout(client.transcript(), expected, "it has taken all and waits for more");
    }
    expect_undisturbed(bench, &server, witness.as_mut())
}
