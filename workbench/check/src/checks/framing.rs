//! Checks how a server turns bytes into messages, however the network cuts the bytes.

use anyhow::Result;

use super::slow_readers;
use crate::bench::{send_in_pieces, wait_until_read, while_stopped};
use crate::check::ROW_AFTER_FRAMING;
use crate::finding::with_likely_cause;

use crate::protocol::FirstExchange;
use crate::{Bench, Check, Needs, Profile};
use probe::server::Server;
use probe::tls::TlsSettings;
use probe::wire::{Client, Received, prep_msg};
use probe::{Description, Failure, fail_timeout};

pub(crate) const ROWS: &[Check] = &[
    Check {
        id: "frame-one",
        title: "one message",
        rule: "A message is UTF-8 text ended by one ␀. echo-uni answers with the text itself, \
               echo-multi with `ADDR: text`, where ADDR is the client's address; then both close \
               the connection. A chat relays `ADDR: text` to all clients, the sender included.",
        after: &[],
        hints: [
            "The bytes of the answer are not those that the protocol requires. Compare the ␀ at \
             the end, the part before the text, and which side closes the connection.",
            "The function that turns a text into bytes, and the code that ends an exchange.",
            "Send the text, then one zero byte, and nothing else (echo-multi and chat: `ADDR: ` \
             before the text, with the client's address and port). Flush the output. An echo \
             server then closes the connection.",
        ],
        run: one,
        ..ROW_AFTER_FRAMING
    },
    Check {
        id: "frame-three",
        title: "three messages in a row",
        rule: "The text of each message comes back unchanged, with its spaces, tabs and any other \
               character.",
        after: &["frame-one"],
        hints: [
            "The server changes the text (strips or re-encodes it), or it serves only once, or it \
             answers twice.",
            "Calls such as strip() and trim(), conversions to an encoding other than UTF-8, and \
             the end of the loop that serves clients.",
            "Relay the bytes between two ␀ unchanged. After each message, continue with the next \
             message or the next client.",
        ],
        run: three,
        ..ROW_AFTER_FRAMING
    },
    Check {
        id: "frame-bytewise",
        title: "one byte at a time",
        rule: "A read may return half a message: keep the rest for the next read.",
        hints: [
            "The server treats each read as a whole message. TCP is a stream of bytes: one read \
             may return half a message.",
            "The loop around the read: what does it do if the bytes contain no ␀?",
            "Append the bytes of each read to a buffer that belongs to the client. Take a message \
             out of the buffer only when it contains a ␀.",
        ],
        page: "protocol.md#The rest",
        run: bytewise,
        ..ROW_AFTER_FRAMING
    },
    Check {
        id: "frame-one-write",
        title: "three messages in one write",
        rule: "A read may return three messages and a half: each message counts, and the half is \
               kept for the next read.",
        after: &["frame-bytewise"],
        hints: [
            "The server handles only the first message of a read, or treats all bytes of a read \
             as one message, or loses the bytes after the last ␀.",
            "What happens to the bytes after the first ␀ of a read, and to the bytes after the \
             last ␀?",
            "Split the bytes at every ␀. Every piece except the last is a message (an echo server \
             answers the first and ignores the others). The last piece is the rest: keep it for \
             the next read.",
        ],
        page: "protocol.md#The rest",
        run: one_write,
        ..ROW_AFTER_FRAMING
    },
    Check {
        id: "frame-torn-character",
        title: "a character split between two reads",
        rule: "A read may end in the middle of a character: decode only whole messages.",
        after: &["frame-bytewise"],
        hints: [
            "The server decodes the bytes of each read at once, but a read may end in the middle \
             of a character of several bytes.",
            "Where decode() or a similar function is called: before or after the search for the ␀?",
            "Collect bytes, search the bytes for the ␀, and decode a message only when it is \
             complete.",
        ],
        page: "protocol.md#The rest",
        run: split_character,
        ..ROW_AFTER_FRAMING
    },
    Check {
        id: "frame-empty",
        title: "empty messages",
        rule: "An empty message (two ␀ in a row) is ignored.",
        after: &["frame-one-write"],
        hints: [
            "The server answers an empty message, or treats it as the end of the connection.",
            "Splitting \"␀␀first␀\" gives empty pieces: what does the server do with them?",
            "Skip a message of 0 bytes, and continue with the next one.",
        ],
        page: "protocol.md#Errors",
        run: |bench| or_silent(empty(bench)),
        ..ROW_AFTER_FRAMING
    },
    Check {
        id: "frame-long",
        title: "a message of 16,384 bytes",
        rule: "A message may have up to 16,384 bytes before its ␀.",
        after: &["frame-torn-character"],
        hints: [
            "The server cuts or refuses a long message: a single read or write does not transfer \
             all of it.",
            "The size that is passed to read, and the number that write returns.",
            "Read until there is a ␀. Write until all bytes are written (sendall, write_all). \
             Allow 16,384 bytes.",
        ],
        page: "protocol.md#Limits",
        run: long,
        ..ROW_AFTER_FRAMING
    },
    Check {
        id: "frame-half-close",
        title: "a client closes its sending side",
        rule: "A client that closes its sending side (a half-close) still gets every message that \
               is queued for it; then the server closes the connection.",
        must_pass: Profile::is_any,
        needs: Needs::HalfClose,
        after: &["frame-three", "slow-pause"],
        hints: [
            "The server treats a read of 0 bytes as the end of the whole connection, but it is \
             the end of one direction only.",
            "What happens when a read returns 0 bytes: is anything still queued for this client?",
            "When a read returns 0 bytes, stop reading from this client, send everything that is \
             queued for it, and then close the connection.",
        ],
        page: "protocol.md#Half-close",
        run: half_close,
        ..ROW_AFTER_FRAMING
    },
    Check {
        id: "frame-bad-utf8",
        title: "bytes that are not UTF-8",
        rule: "A message that is not UTF-8 is a protocol error: the server does not relay it and \
               disconnects that client, and no other client notices.",
        after: &["frame-three", "chat-everyone"],
        hints: [
            "The server relays bytes that are not UTF-8, or the error that they cause affects \
             more than one client.",
            "What decoding does with bytes that are not UTF-8, and where the error is caught if \
             decoding raises one.",
            "Decode strictly. On an error, close that client's connection and continue with the \
             others.",
        ],
        page: "protocol.md#Errors",
        run: bad_utf8,
        ..ROW_AFTER_FRAMING
    },
    Check {
        id: "frame-endless",
        title: "a message that never ends",
        rule: "A message longer than the limit is a protocol error, even before its ␀ has arrived.",
        after: &["frame-bytewise", "chat-everyone"],
        hints: [
            "The buffer of an unfinished message grows without limit, and one client can fill the \
             memory; or the error that the server raises at the limit ends more than that \
             client.",
            "The buffer that collects a message: where is its size checked?",
            "When the buffer has more than 16,384 bytes without a ␀, close that client's \
             connection.",
        ],
        page: "protocol.md#Limits",
        run: endless,
        ..ROW_AFTER_FRAMING
    },
    Check {
        id: "frame-after-error",
        title: "messages after a protocol error",
        rule: "After a protocol error, the server relays no more messages of that client, not \
               even while it closes the connection.",
        must_pass: Profile::is_chat,
        after: &["frame-bad-utf8", "frame-endless"],
        hints: [
            "The server reports the error to the client, but still treats the bytes that the \
             client sends as messages.",
            "What is read after the error: the other messages of the same read, and the bytes \
             that arrive between the shutdown of the sending side and the close.",
            "At an error, leave the loop over the messages, remove the client from the room, and \
             discard every byte that is read from it later.",
        ],
        page: "protocol.md#Errors",
        run: |bench| or_silent(after_error(bench)),
        ..ROW_AFTER_FRAMING
    },
];

/// The longest message that every server must accept, in bytes without the zero byte.
const MAX_MSG_LEN: usize = 16 * 1024;

pub(super) fn one(bench: &Bench) -> Result<()> {
    let server = bench.start_server()?;
    bench.set_step("A connected and sent one message, \"hello␀\", in one write");
    let done = with_likely_cause(
        bench.exchange(&mut bench.connect(&server)?, "hello"),
        first_answer_cause,
    );
    done.map_err(|err| match err.downcast::<Failure>() {
        // A TLS server rejects plaintext at once.
        Ok(failure) if !failure.is_timeout && uses_tls(bench) => {
            Failure { likely_cause: Some(USES_TLS), ..failure }.into()
        }
        Ok(failure) => failure.into(),
        Err(err) => err,
    })
}

const USES_TLS: &str = "The server seems to use TLS, but the check sent plaintext: add --tls to \
                        the command.";

/// Reports whether a server answers the beginning of a TLS handshake with TLS, and not with an echo
/// of it.
fn uses_tls(bench: &Bench) -> bool {
    /// The types of a record (RFC 8446 section 5.1), and of the message in it (section 4).
    const ALERT: u8 = 21;
    const HANDSHAKE: u8 = 22;
    const SERVER_HELLO: u8 = 2;
    let first = || {
        let server = bench.start_unrecorded_server()?;
        let mut client = Client::connect(server.addr())?.with_timeout(bench.patience());
        client.send(&TlsSettings::with_any_certificate()?.client_hello()?)?;
        client.recv_bytes(6)
    };
    let is_answer =
        |bytes: Vec<u8>| matches!(bytes[..], [ALERT, ..] | [HANDSHAKE, _, _, _, _, SERVER_HELLO]);
    !bench.uses_tls() && first().is_ok_and(is_answer)
}

/// Adds the likely cause to a failure in which nothing arrived, in a check whose hint is about what
/// arrives.
pub(crate) fn or_silent(done: Result<()>) -> Result<()> {
    with_likely_cause(done, |failure| {
        (failure.is_timeout && failure.got.bytes.is_none()).then_some(
            "A message was lost, or it still waits in the server: for a lock, for another client, \
             or for more bytes.",
        )
    })
}

/// Returns the most likely mistake in a server whose first answer is like this.
fn first_answer_cause(failure: &Failure) -> Option<&'static str> {
    let Failure { expected, got, .. } = failure;
    let (Some(wanted), received) = (&expected.bytes, &got.bytes) else {
        return Some(if failure.is_timeout {
            "The answer is right, but the server does not close the connection after it. In this \
             echo server, a connection serves one message."
        } else {
            "The answer is right, but more bytes follow it. An echo server closes the connection \
             after the answer and sends nothing more."
        });
    };
    let Some(received) = received else {
        return Some(match (failure.is_timeout, got.text.as_str()) {
            (true, _) => {
                "The server does not answer. Does it wait for a newline, or for the end of the \
                 connection? A message ends with a ␀, and the client sends nothing after it. Does \
                 the server flush its output? Does it leave out the sender?"
            }
            (_, "a reset") => {
                "The server closed the connection before it had read all bytes, or it crashed: \
                 see its output below."
            }
            _ => {
                "The server closed the connection before it answered. Did it crash? See its \
                 output below."
            }
        });
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned();
    let (wanted_text, received_text) = (text(wanted), text(received));
    if received_text.trim_end_matches(['\r', '\n']) == wanted_text {
        return Some(match received.last() {
            Some(b'\n') => "The answer ends with a newline instead of a ␀ (a byte of value zero).",
            Some(0) => "There is a newline before the ␀ of the answer.",
            _ => "The answer does not end with a ␀ (a byte of value zero).",
        });
    }
    if received_text.starts_with("::") {
        return Some(
            "The server listens on all IPv6 addresses, where the addresses of IPv4 clients look \
             different. Let it listen on 127.0.0.1: use `{host}` in the command, or the \
             environment variable HOST.",
        );
    }
    if wanted_text == "hello" && received_text.ends_with(": hello") {
        return Some(
            "echo-uni answers with the text alone, but this answer starts with an address. Is the \
             server an echo-multi?",
        );
    }
    if wanted_text.ends_with(": hello") && received_text == "hello" {
        return Some("The client's address is missing: the answer is `ADDR: message`.");
    }
    if wanted_text.ends_with(": hello") && received_text.ends_with("hello") {
        return Some(
            "The client's address is not written as `HOST:PORT` with a colon and a space after \
             it, as in `127.0.0.1:50312: hello`.",
        );
    }
    None
}

pub(super) fn three(bench: &Bench) -> Result<()> {
    let server = bench.start_server()?;
    let texts = ["  one, with spaces around  ", "zwei: Grüße, 世界 🥫", "\tthree"];
    if bench.profile().is_echo() {
        for text in texts {
            bench.set_step(format!(
                "a client connected and sent \"{text}␀\"; the clients before it had been served"
            ));
            bench.exchange(&mut bench.connect(&server)?, text)?;
        }
        return Ok(());
    }
    let mut client = bench.connect(&server)?;
    for text in texts {
        bench.set_step(format!(
            "A sent \"{text}␀\" after it had received the answers to its earlier messages"
        ));
        with_likely_cause(bench.exchange(&mut client, text), |failure| {
            let has_ended = failure.got.bytes.is_none() && !failure.is_timeout;
            has_ended.then_some(
                "The connection ends after the first answer. In a chat, clients stay connected. \
                 Is the server an echo server?",
            )
        })?;
    }
    Ok(())
}

pub(super) fn bytewise(bench: &Bench) -> Result<()> {
    let server = bench.start_server()?;
    bench.set_step(
        "A sent \"hello␀\" one byte at a time, each byte after the server had read the one before",
    );
    let frame = prep_msg("hello");
    message_in_pieces(bench, &server, "hello", &frame.chunks(1).collect::<Vec<_>>())?;
    for at in 1..frame.len() {
        bench.set_step(format!("a client sent \"hello␀\" in two pieces, the first of {at} bytes"));
        message_in_pieces(bench, &server, "hello", &[&frame[..at], &frame[at..]])?;
    }
    let text = "some messages arrive in three pieces of any length";
    let frame = prep_msg(text);
    for _ in 0..5 {
        let mut cuts =
            [1 + bench.random_below(frame.len() - 1), 1 + bench.random_below(frame.len() - 1)];
        cuts.sort_unstable();
        bench.set_step(format!(
            "a client sent a message of {} bytes in three pieces, cut at bytes {cuts:?}",
            frame.len()
        ));
        let pieces = [&frame[..cuts[0]], &frame[cuts[0]..cuts[1]], &frame[cuts[1]..]];
        message_in_pieces(bench, &server, text, &pieces)?;
    }
    Ok(())
}

/// Connects a client that sends a message in pieces, and must get its answer.
fn message_in_pieces(bench: &Bench, server: &Server, text: &str, pieces: &[&[u8]]) -> Result<()> {
    let mut client = bench.connect(server)?;
    send_in_pieces(&mut client, pieces)?;
    bench.expect_answer(&mut client, text)
}

pub(super) fn one_write(bench: &Bench) -> Result<()> {
    if bench.profile().is_echo() {
        let server = bench.start_server()?;
        bench.set_step(
            "A sent \"one␀two␀three␀\" in one write; an echo server answers only \"one\"",
        );
        let mut client = bench.connect(&server)?;
        client.send(b"one\0two\0three\0")?;
        return with_likely_cause(bench.expect_answer(&mut client, "one"), |_| {
            Some(
                "The server also answers the messages after the first ␀, or treats them as part \
                 of the first message. An echo server answers the first message of a connection \
                 and ignores the bytes after it.",
            )
        });
    }
    let server = bench.start_server()?;
    let mut client = bench.connect(&server)?;
    bench.set_step("A sent \"one␀two␀three␀fo\" in one write, then \"ur␀\"");
    client.send(b"one\0two\0three\0fo")?;
    expect_in_any_order(bench, &mut client, &["one", "two", "three"])?;
    client.send(b"ur\0")?;
    client.expect_msg(&bench.relayed(client.addr(), "four"))
}

/// Expects these messages in any order, because another check is about the order.
fn expect_in_any_order(bench: &Bench, client: &mut Client, texts: &[&str]) -> Result<()> {
    let mut missing: Vec<_> =
        texts.iter().map(|text| bench.expected_answer(client.addr(), text)).collect();
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

pub(super) fn split_character(bench: &Bench) -> Result<()> {
    let server = bench.start_server()?;
    for text in ["a🥫b", "¢", "€"] {
        let frame = prep_msg(text);
        for at in 1..frame.len() {
            let (first, second) = frame.split_at(at);
            bench.set_step(format!(
                "a client sent \"{text}␀\" in two pieces, the first of {at} bytes"
            ));
            message_in_pieces(bench, &server, text, &[first, second])?;
        }
        bench.set_step(format!("a client sent \"{text}␀\" one byte at a time"));
        message_in_pieces(bench, &server, text, &frame.chunks(1).collect::<Vec<_>>())?;
    }
    Ok(())
}

pub(super) fn empty(bench: &Bench) -> Result<()> {
    let server = bench.start_server()?;
    let mut client = bench.connect(&server)?;
    if bench.profile().is_echo() {
        bench.set_step("A sent \"␀␀first␀\": two empty messages, then \"first\"");
        client.send(b"\0\0first\0")?;
        return bench.expect_answer(&mut client, "first");
    }
    bench.set_step("A sent \"␀␀first␀\", then \"␀second␀\": three empty messages and two others");
    client.send(b"\0\0first\0")?;
    client.expect_msg(&bench.relayed(client.addr(), "first"))?;
    client.send(b"\0second\0")?;
    client.expect_msg(&bench.relayed(client.addr(), "second"))
}

pub(super) fn long(bench: &Bench) -> Result<()> {
    let server = bench.start_server()?;
    let digits: String = "0123456789".chars().cycle().take(MAX_MSG_LEN).collect();
    for (text, what) in [(digits, "digits"), ("é".repeat(MAX_MSG_LEN / 2), "\"é\"")] {
        bench.set_step(format!("a client sent a message of {MAX_MSG_LEN} bytes, all {what}"));
        bench.exchange(&mut bench.connect(&server)?, &text)?;
        bench.set_step(format!("a client sent {MAX_MSG_LEN} bytes, all {what}, then the ␀"));
        message_in_pieces(bench, &server, &text, &[text.as_bytes(), &[0]])?;
    }
    Ok(())
}

pub(super) fn half_close(bench: &Bench) -> Result<()> {
    let server = bench.start_server()?;
    if let Some(talk) = bench.first_exchange() {
        return half_close_after_request(bench, &server, talk);
    }
    bench.set_step("A sent \"goodbye␀\", closed its sending side, and continued to read");
    let mut client = bench.connect(&server)?;
    client.send_msg("goodbye")?;
    client.half_close()?;
    bench.expect_own_answer(&mut client, "goodbye")?;
    client.expect_eof()?;
    bench.set_step(
        "a client sent \"all at once␀\" and closed its sending side; the server found both at the \
         same time",
    );
    let mut client = bench.connect(&server)?;
    while_stopped(&server, || {
        client.send_msg("all at once")?;
        client.half_close()
    })?;
    bench.expect_own_answer(&mut client, "all at once")?;
    // Nothing is queued, so the server needs none of the 3 s that it may take to close.
    client.expect_eof()?;
    if bench.profile().is_chat() { half_close_and_read_later(bench, &server) } else { Ok(()) }
}

fn half_close_after_request(bench: &Bench, server: &Server, talk: FirstExchange) -> Result<()> {
    let send_and_half_close = |client: &mut Client| {
        client.send(&(talk.request)())?;
        client.half_close()
    };
    bench.set_step("A sent a request, closed its sending side, and continued to read");
    let mut client = bench.connect(server)?;
    send_and_half_close(&mut client)?;
    (talk.answer)(&mut client)?;
    client.expect_eof()?;
    bench.set_step(
        "a client sent a request and closed its sending side; the server found both at the same \
         time",
    );
    let mut client = bench.connect(server)?;
    while_stopped(server, || send_and_half_close(&mut client))?;
    (talk.answer)(&mut client)?;
    client.expect_eof()
}

/// Half-closes a client that has not read its answers yet, and expects all of them.
fn half_close_and_read_later(bench: &Bench, server: &Server) -> Result<()> {
    let (mut client, sent) = slow_readers::client_with_unread(bench, server)?;
    bench.set_step(format!(
        "a client sent {sent} messages of 1 KB, closed its sending side, and only then read the \
         answers"
    ));
    client.half_close()?;
    _ = wait_until_read(&client);
    client.enlarge_recv_buffer()?;
    for i in 0..sent {
        bench.expect_own_answer(&mut client, &slow_readers::numbered(i))?;
    }
    client.expect_eof()
}

pub(super) fn bad_utf8(bench: &Bench) -> Result<()> {
    let server = bench.start_server()?;
    let mut observer = observer(bench, &server)?;
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
        bench.set_step(format!("a client sent bytes that are not UTF-8: {shown}"));
        let mut client = bench.connect(&server)?;
        client.try_send(bytes);
        with_likely_cause(expect_disconnected(bench, &mut client), |failure| {
            (failure.is_timeout && failure.got.bytes.is_none()).then_some(
                "The server sent nothing, and the connection stays open: the error ended the \
                 thread or task that served this client, but its socket was not closed.",
            )
        })?;
        expect_others_served(bench, &server, observer.as_mut())?;
    }
    Ok(())
}

/// Connects a client to a chat before the other clients, which must not affect it.
fn observer(bench: &Bench, server: &Server) -> Result<Option<Client>> {
    if bench.profile().is_echo() {
        return Ok(None);
    }
    let mut client = bench.connect(server)?;
    bench.exchange(&mut client, "I was here before")?;
    Ok(Some(client))
}

/// Expects the end of the connection; before it, a chat may send the reason in a message of its
/// own.
fn expect_disconnected(bench: &Bench, client: &mut Client) -> Result<()> {
    loop {
        match client.recv(bench.patience())? {
            Received::Eof | Received::Reset => return Ok(()),
            Received::Msg(frame) if bench.profile().is_chat() && frame.starts_with(b"server: ") => {
            }
            Received::Msg(frame) if bench.is_from_another_client(&frame, client) => {}
            other => {
                return Err(client.failure(Description::text("the end of the connection"), other));
            }
        }
    }
}

/// Expects that the observer has received nothing from the bad client, and that a new client is
/// served.
fn expect_others_served(
    bench: &Bench,
    server: &Server,
    observer: Option<&mut Client>,
) -> Result<()> {
    let Some(observer) = observer else { return bench.expect_new_client_served(server) };
    bench.exchange(observer, "still here")?;
    let mut new_client = bench.connect(server)?;
    bench.exchange_skipping_all(&mut new_client, "new here")?;
    observer.expect_msg(&bench.relayed(new_client.addr(), "new here"))
}

/// Checks that no client receives a message that another sends after a protocol error: in the same
/// write as the error or later, even if the server still reads it while it closes the connection.
pub(super) fn after_error(bench: &Bench) -> Result<()> {
    /// How often to send and look: a server with several threads may relay a message after a later
    /// one.
    const TIMES: usize = 5;
    let too_long = vec![b'x'; MAX_MSG_LEN + 1];
    let server = bench.start_server()?;
    let mut observer = bench.connect(&server)?;
    bench.exchange(&mut observer, "I was here before")?;
    let mut expect_others_served = || {
        observer.send_msg("still here")?;
        observer.expect_msg(&bench.relayed(observer.addr(), "still here"))
    };
    for (bad, what) in [(&b"\xff"[..], "not UTF-8"), (&too_long, "16,385 bytes long")] {
        bench.set_step(format!(
            "a client sent a message that is {what} and \"after it␀\" in the same write; then A \
             sent a message"
        ));
        let mut client = bench.connect(&server)?;
        client.try_send(&[bad, b"\0after it\0"].concat());
        expect_disconnected(bench, &mut client)?;
        expect_others_served()?;
        bench.set_step(format!(
            "a client sent a message that is {what}, saw the end of the connection, and sent \
             \"later␀\"; then A sent a message"
        ));
        for _ in 0..TIMES {
            // The server may have closed the connection already, or may leave these bytes unread.
            if !client.try_send(b"later\0") || wait_until_read(&client).is_err() {
                break;
            }
            expect_others_served()?;
        }
    }
    Ok(())
}

/// Checks that the server does not keep all of a message that never ends.
pub(super) fn endless(bench: &Bench) -> Result<()> {
    const MOST: usize = 2 << 20;
    const PIECE: usize = 16 * 1024;
    let server = bench.start_server()?;
    let mut observer = observer(bench, &server)?;
    bench.set_step(format!("A sent up to {} MiB of \"x\" without a ␀", MOST >> 20));
    let mut client = bench.connect(&server)?;
    if !client.send_until_closed(&[b'x'; PIECE], MOST / PIECE)? {
        let expected = "the server closes the connection when it has more than 16,384 bytes \
                        without a ␀";
        return fail_timeout(
            client.transcript(),
            expected,
            "the server has read all of it and waits for more",
        );
    }
    expect_others_served(bench, &server, observer.as_mut())
}
