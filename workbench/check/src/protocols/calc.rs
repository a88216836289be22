//! `calc`: a line-based calculator with a mode for each client.

use anyhow::Result;

use crate::bench::send_in_pieces;
use crate::check::ROW_AFTER_FRAMING;
use crate::checks::framing::or_silent;
use crate::protocol::{FirstExchange, Protocol};
use crate::protocols::OtherProtocol;
use crate::{Bench, Check, Profile, Theme};
use probe::Description;
use probe::server::Server;
use probe::wire::{Client, Received};

pub(crate) static PROTOCOL: OtherProtocol = OtherProtocol {
    name: "calc",
    description: "A line-based calculator, with a mode for each client",
    protocol: Protocol {
        exchange,
        ends_connection: false,
        first: Some(FirstExchange { request, answer }),
    },
    serves_thousands: false,
    basic_checks: &["calc-bytewise"],
    checks: CHECKS,
    right_servers: &["calc.py"],
};

const WELCOME: &[u8] = b"<welcome: starting in sum mode>\n";
const SUM_MODE: &[u8] = b"<switching to sum mode>\r\n";
const PRODUCT_MODE: &[u8] = b"<switching to product mode>\r\n";
const ERROR: &[u8] = b"ERROR. Enter only integers separated by commas\n";
const CLOSED: &[u8] = b"connection closed\r\n";

/// How many bytes a line may have before its line end.
const MAX_LINE_LEN: usize = 64 * 1024;

/// The state of a client that has received the welcome.
struct Welcomed;

fn request() -> Vec<u8> {
    b"5,-9,10\n".to_vec()
}

fn answer(client: &mut Client) -> Result<()> {
    if client.take_state::<Welcomed>().is_none() {
        client.expect_bytes(WELCOME)?;
    }
    client.set_state(Welcomed);
    expect_result(client, "Sum", "6")
}

fn exchange(client: &mut Client) -> Result<()> {
    client.send(&request())?;
    answer(client)
}

const CHECKS: &[Check] = &[
    Check {
        id: "calc-sum",
        title: "two sums",
        rule: "The server sends a welcome, and answers each line of integers with their sum.",
        after: &[],
        hints: [
            "The welcome or the answer does not have the bytes that the protocol asks for.",
            "Look at the line ends: the welcome ends with ␊, the answer with ␍␊.",
            "Send `<welcome: starting in sum mode>␊`, and `Sum of input numbers: '6'␍␊` for a \
             list.",
        ],
        run: twice,
        ..CALC_ROW
    },
    Check {
        id: "calc-bytewise",
        title: "a line, one byte at a time",
        rule: "One read may return a part of a line: keep it for the next read.",
        hints: [
            "The server treats the bytes of each read as a line. TCP is a stream of bytes: one \
             read may return half a line.",
            "Find the call that reads: what happens to bytes that are not yet followed by a ␊?",
            "Append the bytes of each read to the client's buffer, and take a line out when the \
             buffer contains a ␊.",
        ],
        run: bytewise,
        ..CALC_ROW
    },
    Check {
        id: "calc-one-write",
        title: "several lines in one packet",
        rule: "If one packet contains several lines, all are answered; half a line at its end is \
               kept.",
        after: &["calc-bytewise"],
        hints: [
            "The server answers only the first line of a read, or treats all bytes of a read as \
             one line.",
            "What happens to the bytes after the first ␊ of a read, and to the bytes after the \
             last ␊?",
            "Take out one line after the other while the buffer contains a ␊; keep the remaining \
             bytes.",
        ],
        run: one_write,
        ..CALC_ROW
    },
    Check {
        id: "calc-numbers",
        title: "sums and products",
        rule: "A list is added up or multiplied. The server accepts blanks around a number, `+`, \
               `-`, and `_` between digits, as Python's `int()` does; a ␍ before the ␊ is dropped.",
        hints: [
            "The server rejects a valid way to write a number, or calculates a wrong result.",
            "Look at the function that converts a text to a number: signs, blanks, `_`, leading \
             zeros.",
            "Strip the blanks around each item, accept one sign, then digits with single `_` \
             between them; start a sum with 0 and a product with 1.",
        ],
        run: numbers,
        ..CALC_ROW
    },
    Check {
        id: "calc-own-mode",
        theme: Theme::Concurrency,
        title: "a mode for each client",
        rule: "`sum` and `product` switch the mode of this client alone; each client starts in sum \
               mode.",
        hints: [
            "If one client switches its mode, the mode of other clients changes too.",
            "Where does the server store the mode: in a variable for the whole server, or in one \
             for each session?",
            "Store the mode with the client's other state, or in a local variable of its session.",
        ],
        run: |bench| or_silent(own_mode(bench)),
        ..CALC_ROW
    },
    Check {
        id: "calc-long-numbers",
        title: "integers of any size",
        rule: "Integers have no size limit except the length of the line.",
        after: &["calc-bytewise"],
        hints: [
            "The server rejects or rounds a number with many digits, or its arithmetic overflows.",
            "Look at the type of the numbers, and at limits that the language sets for their \
             conversion (in Python: 4,300 digits).",
            "Use integers of arbitrary precision, and raise such a conversion limit: the length of \
             the line limits the digits already.",
        ],
        run: long_numbers,
        ..CALC_ROW
    },
    Check {
        id: "calc-errors",
        title: "an error does not end the session",
        rule: "Any other line is answered with `ERROR. Enter only integers separated by commas␊`, \
               and the session goes on in its current mode.",
        hints: [
            "A line that is not a list of integers ends the session, changes its mode, or is \
             accepted as a list.",
            "Does the server catch the conversion error inside the loop over the lines, or around \
             it? What does it do with an empty item, and with bytes that are not UTF-8?",
            "Catch the error of one line inside the loop, answer it, and go on with the next line.",
        ],
        run: errors,
        ..CALC_ROW
    },
    Check {
        id: "calc-too-long",
        title: "a line over 64 KiB",
        rule: "A line may have 64 KiB before its line end; the server answers a longer one with an \
               error line, and then closes the connection.",
        after: &["calc-long-numbers"],
        hints: [
            "The server stores a line of any length, answers a line that is too long with a \
             result, or closes the connection without an error line.",
            "Which code limits the length of a client's buffer? And how does the server close the \
             connection? If unread bytes remain, a plain close sends a reset, and the client may \
             never get the error line.",
            "When the buffer has more than 65,536 bytes and no ␊, send a line that begins with \
             `ERROR`, shut down the sending side, read for a moment longer, and close the \
             connection.",
        ],
        run: too_long,
        ..CALC_ROW
    },
    Check {
        id: "calc-quit",
        theme: Theme::Closing,
        title: "quit",
        rule: "`quit` is answered with `connection closed␍␊`, and then that connection is closed.",
        after: &["calc-one-write"],
        hints: [
            "The connection stays open after `quit`, or the server answers lines after it, or it \
             closes other connections too.",
            "What happens after the answer to `quit`: does the loop over the lines end?",
            "Answer, leave the loop, and close this connection so that the answer arrives.",
        ],
        run: quit,
        ..CALC_ROW
    },
];

/// The fields that are the same in all checks that depend on `calc-sum`.
const CALC_ROW: Check = Check {
    must_pass: |profile| profile == Profile::Other(&PROTOCOL),
    after: &["calc-sum"],
    page: "variations-protocols.md#calc",
    ..ROW_AFTER_FRAMING
};

fn twice(bench: &Bench) -> Result<()> {
    let server = bench.start_server()?;
    let mut client = bench.connect(&server)?;
    bench.set_step("client A sent \"5,-9,10\\n\"");
    exchange(&mut client)?;
    bench.set_step("client A sent \"5,-9,10\\n\" again after it had received the first answer");
    exchange(&mut client)
}

/// Connects a client, which must receive the welcome.
fn connect(bench: &Bench, server: &Server) -> Result<Client> {
    let mut client = bench.connect(server)?;
    client.expect_bytes(WELCOME)?;
    Ok(client)
}

fn switch(client: &mut Client, mode: &str) -> Result<()> {
    client.send(format!("{mode}\n").as_bytes())?;
    client.expect_bytes(if mode == "sum" { SUM_MODE } else { PRODUCT_MODE })
}

/// Checks that the client receives this result next. The answer may say `integers` or `numbers`, because the
/// chapter uses both.
fn expect_result(client: &mut Client, name: &str, result: &str) -> Result<()> {
    let [integers, numbers] = ["integers", "numbers"]
        .map(|noun| format!("{name} of input {noun}: '{result}'\r\n").into_bytes());
    client.expect_one_of(&[&integers, &numbers])
}

fn ask(client: &mut Client, list: &str, name: &str, result: &str) -> Result<()> {
    client.send(format!("{list}\n").as_bytes())?;
    expect_result(client, name, result)
}

fn numbers(bench: &Bench) -> Result<()> {
    let server = bench.start_server()?;
    let mut client = connect(bench, &server)?;
    let both = [
        ("5,-9,10", "6", "-450"),
        ("7", "7", "7"),
        (" 1 ,\t+2, -3 ", "0", "-6"),
        ("1_000,-0,007", "1007", "0"),
        ("-2,-3,-4", "-9", "-24"),
    ];
    for (list, sum, _) in both {
        bench.set_step(format!("client A sent {list:?} in sum mode"));
        ask(&mut client, list, "Sum", sum)?;
    }
    bench.set_step("client A sent \"product\", to switch to product mode");
    switch(&mut client, "product")?;
    for (list, _, product) in both {
        bench.set_step(format!("client A sent {list:?} in product mode"));
        ask(&mut client, list, "Product", product)?;
    }
    bench.set_step(
        "client A sent \"sum\", and then \"1,2\\r\\n\", with the line end that telnet sends",
    );
    switch(&mut client, "sum")?;
    client.send(b"1,2\r\n")?;
    expect_result(&mut client, "Sum", "3")
}

fn bytewise(bench: &Bench) -> Result<()> {
    let server = bench.start_server()?;
    let mut client = connect(bench, &server)?;
    bench.set_step(
        "client A sent \"12,-30\\r\\n\" one byte at a time, each byte after the server had read \
         the previous one",
    );
    send_in_pieces(&mut client, &b"12,-30\r\n".chunks(1).collect::<Vec<_>>())?;
    expect_result(&mut client, "Sum", "-18")?;
    let line = b"product\n";
    for at in 1..line.len() {
        bench.set_step(format!(
            "a client sent \"product\\n\" in two pieces; the first had {at} of its 8 bytes"
        ));
        let mut client = connect(bench, &server)?;
        send_in_pieces(&mut client, &[&line[..at], &line[at..]])?;
        client.expect_bytes(PRODUCT_MODE)?;
    }
    Ok(())
}

fn one_write(bench: &Bench) -> Result<()> {
    let server = bench.start_server()?;
    let mut client = connect(bench, &server)?;
    bench.set_step(
        "client A sent \"1,2\\nproduct\\n3,4\\r\\nwhat\\n5,\" in one write, and then \"6\\n\"",
    );
    client.send(b"1,2\nproduct\n3,4\r\nwhat\n5,")?;
    expect_result(&mut client, "Sum", "3")?;
    client.expect_bytes(PRODUCT_MODE)?;
    expect_result(&mut client, "Product", "12")?;
    client.expect_bytes(ERROR)?;
    client.send(b"6\n")?;
    expect_result(&mut client, "Product", "30")
}

fn own_mode(bench: &Bench) -> Result<()> {
    let server = bench.start_server()?;
    let mut in_sum_mode = connect(bench, &server)?;
    let mut in_product_mode = connect(bench, &server)?;
    bench.set_step(
        "clients A and B connected, and B sent \"product\"; then A sent \"2,3,4\", and then B",
    );
    switch(&mut in_product_mode, "product")?;
    ask(&mut in_sum_mode, "2,3,4", "Sum", "9")?;
    ask(&mut in_product_mode, "2,3,4", "Product", "24")?;
    bench.set_step("client C connected after client B had sent \"product\", and sent \"2,3,4\"");
    let mut newcomer = connect(bench, &server)?;
    ask(&mut newcomer, "2,3,4", "Sum", "9")?;
    bench.set_step(
        "client A, already in sum mode, sent \"sum\"; then client B, in product mode, sent \
         \"2,3,4\"",
    );
    switch(&mut in_sum_mode, "sum")?;
    ask(&mut in_product_mode, "2,3,4", "Product", "24")
}

fn long_numbers(bench: &Bench) -> Result<()> {
    let server = bench.start_server()?;
    let mut client = connect(bench, &server)?;
    bench.set_step("client A added 1 to 9223372036854775807, the greatest signed 64-bit integer");
    ask(&mut client, "9223372036854775807,1", "Sum", "9223372036854775808")?;
    for digits in [1_000, 20_000] {
        bench.set_step(format!("client A added 1 to an integer of {digits} digits, all of them 9"));
        let nines = "9".repeat(digits);
        let sum = format!("1{}", "0".repeat(digits));
        ask(&mut client, &format!("{nines},1"), "Sum", &sum)?;
    }
    switch(&mut client, "product")?;
    bench.set_step("client A sent a list of 1,000 tens in product mode");
    let tens = vec!["10"; 1_000].join(",");
    ask(&mut client, &tens, "Product", &format!("1{}", "0".repeat(1_000)))
}

fn errors(bench: &Bench) -> Result<()> {
    let server = bench.start_server()?;
    let mut client = connect(bench, &server)?;
    bench.set_step("client A sent \"product\", because each session starts in the other mode");
    switch(&mut client, "product")?;
    let wrong = ["five", "", "1,,2", "1.5", "0x10", "1 2", "--1", "1__0", "1,2,", "Quit?"];
    for line in wrong {
        bench.set_step(format!(
            "client A, in product mode, sent {line:?}, which is not a list of integers, and then \
             \"2,3\""
        ));
        client.send(format!("{line}\n").as_bytes())?;
        client.expect_bytes(ERROR)?;
        ask(&mut client, "2,3", "Product", "6")?;
    }
    bench.set_step("client A, in product mode, sent a line that is not UTF-8, and then \"2,3\"");
    client.send(b"\xff\xfe,1\n")?;
    client.expect_bytes(ERROR)?;
    ask(&mut client, "2,3", "Product", "6")
}

fn too_long(bench: &Bench) -> Result<()> {
    const ERROR_PREFIX: &[u8] = b"ERROR";
    let server = bench.start_server()?;
    let mut other = connect(bench, &server)?;
    bench.set_step(format!(
        "client A sent a line of {MAX_LINE_LEN} bytes, the greatest length allowed"
    ));
    let zeros = "0".repeat(MAX_LINE_LEN - 1);
    ask(&mut other, &format!("{zeros}7"), "Sum", "7")?;
    for (tail, sent) in [(&b"\n"[..], "a line"), (b"", "the beginning of a line")] {
        bench.set_step(format!(
            "a client sent {sent} of {} bytes, 2 bytes more than allowed",
            MAX_LINE_LEN + 2
        ));
        let mut client = connect(bench, &server)?;
        client.try_send(&[&b"1".repeat(MAX_LINE_LEN + 2), tail].concat());
        client.expect_bytes(ERROR_PREFIX)?;
        client.recv_line()?;
        match client.recv(bench.patience())? {
            Received::Eof => {}
            other => {
                let expected = Description::text("the end of the stream after the error line");
                return Err(client.failure(expected, other));
            }
        }
        bench.set_step(format!(
            "a client sent {sent} that was too long; then client A, which had connected before it, \
             sent \"1,2\""
        ));
        ask(&mut other, "1,2", "Sum", "3")?;
    }
    Ok(())
}

fn quit(bench: &Bench) -> Result<()> {
    let server = bench.start_server()?;
    let mut other = connect(bench, &server)?;
    for (bytes, sent) in [
        (&b"quit\n"[..], "\"quit\\n\""),
        (b"quit\r\n", "\"quit\\r\\n\""),
        (b"quit\n1,2\n", "\"quit\\n1,2\\n\" in one write"),
    ] {
        bench.set_step(format!("a client sent {sent}; client A stayed connected"));
        let mut client = connect(bench, &server)?;
        client.send(bytes)?;
        client.expect_bytes(CLOSED)?;
        client.expect_eof()?;
        ask(&mut other, "1,2", "Sum", "3")?;
    }
    Ok(())
}
