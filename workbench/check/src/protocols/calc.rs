//! `calc`: a calculator that reads lines, with a mode for each client.

use anyhow::Result;

use crate::bench::wait_until_read;
use crate::check::TIN_CAN_ROW;
use crate::checks::framing::or_silent;
use crate::protocol::{FirstExchange, Protocol};
use crate::{Bench, Check, Profile};
use probe::Description;
use probe::server::Server;
use probe::wire::{Client, Received};

pub(crate) const PROTOCOL: Protocol =
    Protocol { exchange, ends_connection: false, first: Some(FirstExchange { request, answer }) };

const WELCOME: &[u8] = b"<welcome: starting in sum mode>\n";
const SUM_MODE: &[u8] = b"<switching to sum mode>\r\n";
const PRODUCT_MODE: &[u8] = b"<switching to product mode>\r\n";
const ERROR: &[u8] = b"ERROR. Enter only integers separated by commas\n";
const CLOSED: &[u8] = b"connection closed\r\n";

/// The bytes of a line before its end that every server must take, and none more.
const MAX_LINE_LEN: usize = 64 * 1024;

/// The welcome has come.
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

pub(crate) const ROWS: &[Check] = &[
    Check {
        id: "calc-sum",
        title: "a sum, and one more",
        rule: "The server greets, and answers each line of integers with their sum.",
        after: &[],
        hints: [
            "The welcome or the answer has not the bytes that the protocol asks for.",
            "The line ends: the welcome's is ␊, the answer's ␍␊.",
            "Send `<welcome: starting in sum mode>␊`, and for a list `Sum of input numbers: '6'␍␊`.",
        ],
        run: twice,
        ..CALC_ROW
    },
    Check {
        id: "calc-bytewise",
        title: "a line, a byte at a time",
        rule: "A read may bring a part of a line: keep it for the next read.",
        hints: [
            "Each read is taken for a line. TCP is a stream of bytes: a read may bring half a line.",
            "The place that calls read: what is done with bytes that have no ␊ behind them?",
            "Append what each read brings to a buffer of the client's own, and take a line out when \
             there is a ␊ in it.",
        ],
        run: bytewise,
        ..CALC_ROW
    },
    Check {
        id: "calc-one-write",
        title: "several lines in one packet",
        rule: "Several lines in one packet are all answered, and half a line at its end is kept.",
        after: &["calc-bytewise"],
        hints: [
            "Only the first line of a read is answered, or all of it is taken for one line.",
            "What happens with the bytes behind the first ␊ of a read, and behind the last?",
            "Take out one line after the other as long as there is a ␊ in the buffer; keep the rest.",
        ],
        run: one_write,
        ..CALC_ROW
    },
    Check {
        id: "calc-numbers",
        title: "sums and products",
        rule: "A list is added up or multiplied. Blanks around a number, `+`, `-` and `_` between \
               digits as Python's `int()` takes them; a ␍ before the ␊ is dropped.",
        hints: [
            "A number is written in a way that the server does not take, or a list is calculated \
             wrongly.",
            "The function that makes a number of a text: signs, blanks, `_`, zeros in front.",
            "Trim each item, take one sign, then digits with single `_` between them; begin a sum \
             with 0 and a product with 1.",
        ],
        run: numbers,
        ..CALC_ROW
    },
    Check {
        id: "calc-own-mode",
        title: "a mode for each client",
        rule: "`sum` and `product` switch this client alone; each begins in sum mode.",
        hints: [
            "What one client switches, others find switched.",
            "Where the mode is kept: in a variable of the whole server, or in one of the session?",
            "Keep the mode with the client's other state, or as a local variable of its session.",
        ],
        run: |bench| or_silent(own_mode(bench)),
        ..CALC_ROW
    },
    Check {
        id: "calc-long-numbers",
        title: "numbers without a limit",
        rule: "Integers have no size limit but the line's.",
        after: &["calc-bytewise"],
        hints: [
            "A number of many digits is refused, rounded, or wraps around.",
            "The type that numbers have, and limits of the language for their conversion (in Python, \
             4,300 digits).",
            "Use integers of any length; lift such a limit, as the line has one already.",
        ],
        run: long_numbers,
        ..CALC_ROW
    },
    Check {
        id: "calc-errors",
        title: "errors keep the session",
        rule: "Anything else is answered with `ERROR. Enter only integers separated by commas␊`, and \
               the session goes on in the mode that it had.",
        hints: [
            "A line that is no list ends the session, changes its mode, or is taken for a list.",
            "Where the error of the conversion is caught: inside the loop over the lines, or around \
             it? What is done with an empty item, and with bytes that are not UTF-8?",
            "Catch the error of one line inside the loop, answer it, and go on with the next line.",
        ],
        run: errors,
        ..CALC_ROW
    },
    Check {
        id: "calc-too-long",
        title: "a line over 64 KiB",
        rule: "A line may have 64 KiB before its end; a longer one gets an error line, and then the \
               connection is closed.",
        after: &["calc-long-numbers"],
        hints: [
            "A line that is too long is kept without bound, is answered as if nothing were wrong, or \
             ends the connection without a word.",
            "The buffer of a line: who looks at how long it is? And how is the connection closed: a \
             plain close with bytes unread is a reset, which eats the error.",
            "With more than 65,536 bytes and no ␊, send a line that begins with `ERROR`, shut down \
             the sending side, read on for a moment, and close.",
        ],
        run: too_long,
        ..CALC_ROW
    },
    Check {
        id: "calc-quit",
        title: "quit",
        rule: "`quit` is answered with `connection closed␍␊`, and then that connection is closed.",
        after: &["calc-one-write"],
        hints: [
            "The connection stays open after `quit`, lines behind it are answered, or more than one \
             connection is closed.",
            "What follows the answer to `quit`: does the loop over the lines end?",
            "Answer, leave the loop, and close this connection so that the answer arrives.",
        ],
        run: quit,
        ..CALC_ROW
    },
];

/// What the rows that stand on a sum have in common.
const CALC_ROW: Check = Check {
    who: &[Profile::Calc],
    after: &["calc-sum"],
    read: "variations-protocols.md#calc",
    ..TIN_CAN_ROW
};

fn twice(bench: &Bench) -> Result<()> {
    let server = bench.serve()?;
    let mut client = bench.connect(&server)?;
    bench.did("A sent \"5,-9,10␊\"");
    exchange(&mut client)?;
    bench.did("A sent the same once more, when it had got the answer");
    exchange(&mut client)
}

/// A client that has been welcomed.
fn connect(bench: &Bench, server: &Server) -> Result<Client> {
    let mut client = bench.connect(server)?;
    client.expect_bytes(WELCOME)?;
    Ok(client)
}

fn switch(client: &mut Client, mode: &str) -> Result<()> {
    client.send(format!("{mode}\n").as_bytes())?;
    client.expect_bytes(if mode == "sum" { SUM_MODE } else { PRODUCT_MODE })
}

/// The client must get this next, and may hear of integers or of numbers: the chapter has both.
fn expect_result(client: &mut Client, what: &str, result: &str) -> Result<()> {
    let [integers, numbers] = ["integers", "numbers"]
        .map(|called| format!("{what} of input {called}: '{result}'\r\n").into_bytes());
    client.expect_one_of(&[&integers, &numbers])
}

fn ask(client: &mut Client, list: &str, what: &str, result: &str) -> Result<()> {
    client.send(format!("{list}\n").as_bytes())?;
    expect_result(client, what, result)
}

fn numbers(bench: &Bench) -> Result<()> {
    let server = bench.serve()?;
    let mut client = connect(bench, &server)?;
    let both = [
        ("5,-9,10", "6", "-450"),
        ("7", "7", "7"),
        (" 1 ,\t+2, -3 ", "0", "-6"),
        ("1_000,-0,007", "1007", "0"),
        ("-2,-3,-4", "-9", "-24"),
    ];
    for (list, sum, _) in both {
        bench.did(format!("A sent {list:?}, in sum mode"));
        ask(&mut client, list, "Sum", sum)?;
    }
    bench.did("A sent \"product\", for the other mode");
    switch(&mut client, "product")?;
    for (list, _, product) in both {
        bench.did(format!("A sent {list:?}, in product mode"));
        ask(&mut client, list, "Product", product)?;
    }
    bench.did("A sent \"sum\" again, and \"1,2\\r\\n\", with the line end of telnet");
    switch(&mut client, "sum")?;
    client.send(b"1,2\r\n")?;
    expect_result(&mut client, "Sum", "3")
}

fn bytewise(bench: &Bench) -> Result<()> {
    let server = bench.serve()?;
    let mut client = connect(bench, &server)?;
    bench.did("A sent \"12,-30\\r\\n\" a byte at a time, each when the one before had been read");
    for byte in b"12,-30\r\n" {
        wait_until_read(&client)?;
        client.send(&[*byte])?;
    }
    expect_result(&mut client, "Sum", "-18")?;
    let line = b"product\n";
    for at in 1..line.len() {
        bench.did(format!("a client sent \"product\\n\" in two pieces, the first of {at} bytes"));
        let mut client = connect(bench, &server)?;
        client.send(&line[..at])?;
        wait_until_read(&client)?;
        client.send(&line[at..])?;
        client.expect_bytes(PRODUCT_MODE)?;
    }
    Ok(())
}

fn one_write(bench: &Bench) -> Result<()> {
    let server = bench.serve()?;
    let mut client = connect(bench, &server)?;
    bench.did("A sent \"1,2\\nproduct\\n3,4\\r\\nwhat\\n5,\" in one write, and then \"6\\n\"");
    client.send(b"1,2\nproduct\n3,4\r\nwhat\n5,")?;
    expect_result(&mut client, "Sum", "3")?;
    client.expect_bytes(PRODUCT_MODE)?;
    expect_result(&mut client, "Product", "12")?;
    client.expect_bytes(ERROR)?;
    client.send(b"6\n")?;
    expect_result(&mut client, "Product", "30")
}

fn own_mode(bench: &Bench) -> Result<()> {
    let server = bench.serve()?;
    let mut adds = connect(bench, &server)?;
    let mut multiplies = connect(bench, &server)?;
    bench.did("A and B came, B said \"product\"; then A sent a list, and B");
    switch(&mut multiplies, "product")?;
    ask(&mut adds, "2,3,4", "Sum", "9")?;
    ask(&mut multiplies, "2,3,4", "Product", "24")?;
    bench.did("C came after B had said \"product\", and sent a list");
    let mut newcomer = connect(bench, &server)?;
    ask(&mut newcomer, "2,3,4", "Sum", "9")?;
    bench.did("A said \"sum\", which it was in already; then B sent a list");
    switch(&mut adds, "sum")?;
    ask(&mut multiplies, "2,3,4", "Product", "24")
}

fn long_numbers(bench: &Bench) -> Result<()> {
    let server = bench.serve()?;
    let mut client = connect(bench, &server)?;
    bench.did("A added 1 to the greatest integer of 64 bits");
    ask(&mut client, "9223372036854775807,1", "Sum", "9223372036854775808")?;
    for digits in [1_000, 20_000] {
        bench.did(format!("A added 1 to a number of {digits} nines"));
        let nines = "9".repeat(digits);
        let sum = format!("1{}", "0".repeat(digits));
        ask(&mut client, &format!("{nines},1"), "Sum", &sum)?;
    }
    switch(&mut client, "product")?;
    bench.did("A multiplied 1,000 tens");
    let tens = vec!["10"; 1_000].join(",");
    ask(&mut client, &tens, "Product", &format!("1{}", "0".repeat(1_000)))
}

fn errors(bench: &Bench) -> Result<()> {
    let server = bench.serve()?;
    let mut client = connect(bench, &server)?;
    bench.did("A said \"product\", to be in a mode that a session does not begin with");
    switch(&mut client, "product")?;
    let wrong = ["five", "", "1,,2", "1.5", "0x10", "1 2", "--1", "1__0", "1,2,", "Quit?"];
    for line in wrong {
        bench.did(format!("A sent {line:?}, which is no list of integers, and then \"2,3\""));
        client.send(format!("{line}\n").as_bytes())?;
        client.expect_bytes(ERROR)?;
        ask(&mut client, "2,3", "Product", "6")?;
    }
    bench.did("A sent bytes that are not UTF-8, and then \"2,3\"");
    client.send(b"\xff\xfe,1\n")?;
    client.expect_bytes(ERROR)?;
    ask(&mut client, "2,3", "Product", "6")
}

fn too_long(bench: &Bench) -> Result<()> {
    const FIRST: &[u8] = b"ERROR";
    let server = bench.serve()?;
    let mut witness = connect(bench, &server)?;
    bench.did(format!("A sent a line of {MAX_LINE_LEN} bytes, the longest that is allowed"));
    let zeros = "0".repeat(MAX_LINE_LEN - 1);
    ask(&mut witness, &format!("{zeros}7"), "Sum", "7")?;
    for (tail, what) in [(&b"\n"[..], "a line"), (b"", "the beginning of a line")] {
        bench.did(format!(
            "a client sent {what} of {} bytes, two more than may be",
            MAX_LINE_LEN + 2
        ));
        let mut client = connect(bench, &server)?;
        client.try_send(&[&b"1".repeat(MAX_LINE_LEN + 2), tail].concat());
        client.expect_bytes(FIRST)?;
        client.recv_line()?;
        match client.recv(bench.patience())? {
            Received::Eof => {}
            other => {
                let expected = Description::text("the end of the stream behind the error");
                return Err(client.failure(expected, other));
            }
        }
        bench.did(format!("one who was there before asked, after {what} that was too long"));
        ask(&mut witness, "1,2", "Sum", "3")?;
    }
    Ok(())
}

fn quit(bench: &Bench) -> Result<()> {
    let server = bench.serve()?;
    let mut stays = connect(bench, &server)?;
    for (bytes, what) in [
        (&b"quit\n"[..], "\"quit\\n\""),
        (b"quit\r\n", "\"quit\\r\\n\""),
        (b"quit\n1,2\n", "\"quit\\n1,2\\n\" in one write"),
    ] {
        bench.did(format!("a client sent {what}; another stayed"));
        let mut client = connect(bench, &server)?;
        client.send(bytes)?;
        client.expect_bytes(CLOSED)?;
        client.expect_eof()?;
        ask(&mut stays, "1,2", "Sum", "3")?;
    }
    Ok(())
}
