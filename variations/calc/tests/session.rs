//! What the three servers send, byte for byte.
#![allow(clippy::unwrap_used)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use probe::TIMEOUT;
use probe::server::{Launch, Server};
use probe::wire::Client;
use socket2::SockRef;

const LINE_ECHO: &str = env!("CARGO_BIN_EXE_line-echo");
const BLOCKING: &str = env!("CARGO_BIN_EXE_calc-blocking");
const REACTOR: &str = env!("CARGO_BIN_EXE_calc-reactor");

/// Each server that calculates, and what its answers call the items of a list.
const CALCULATORS: [(&str, &str); 2] = [(BLOCKING, "numbers"), (REACTOR, "integers")];

const WELCOME: &[u8] = b"<welcome: starting in sum mode>\n";
const ERROR: &[u8] = b"ERROR. Enter only integers separated by commas\n";
const CLOSED: &[u8] = b"connection closed\r\n";
const MAX_LINE_LEN: usize = 64 * 1024;

fn start(program: &str) -> Server {
    Launch::new(program, &[]).start().unwrap()
}

/// Connects a client, which receives the welcome.
fn connect(server: &Server) -> Client {
    let mut client = Client::connect(server.addr()).unwrap();
    client.expect_bytes(WELCOME).unwrap();
    client
}

fn ask(client: &mut Client, line: &[u8], answer: &[u8]) {
    client.send(line).unwrap();
    client.expect_bytes(answer).unwrap();
}

fn expect_end(client: &mut Client) {
    client.expect_eof().unwrap();
}

#[test]
fn line_echo_quotes_each_line_until_quit() {
    let server = start(LINE_ECHO);
    let mut client = Client::connect(server.addr()).unwrap();
    ask(&mut client, b"line\n", b"Echoed: 'line'\r\n");
    ask(&mut client, b"with CR\r\n", b"Echoed: 'with CR'\r\n");
    ask(&mut client, b"\n", b"Echoed: ''\r\n");
    ask(&mut client, b"it's\n", b"Echoed: \"it's\"\r\n");
    ask(&mut client, b"\x1b[2J\n", b"Echoed: '\\x1b[2J'\r\n");
    ask(&mut client, b"quit it\n", b"Echoed: 'quit it'\r\n");
    ask(&mut client, b"quit\r\n", CLOSED);
    expect_end(&mut client);
}

#[test]
fn line_echo_ends_a_line_that_is_too_long() {
    let server = start(LINE_ECHO);
    let mut client = Client::connect(server.addr()).unwrap();
    let longest = "x".repeat(MAX_LINE_LEN);
    let line = format!("{longest}\r\n");
    ask(&mut client, line.as_bytes(), format!("Echoed: '{longest}'\r\n").as_bytes());
    let line = format!("{longest}x");
    ask(&mut client, line.as_bytes(), b"ERROR. A line has at most 65536 bytes\n");
    expect_end(&mut client);
}

/// A server, its welcome, a line, and its answer to the line.
struct Lines {
    program: &'static str,
    welcome: &'static [u8],
    line: &'static [u8],
    answer: &'static [u8],
}

const LINES: [Lines; 3] = [
    Lines { program: LINE_ECHO, welcome: b"", line: b"1,-32", answer: b"Echoed: '1,-32'\r\n" },
    Lines {
        program: BLOCKING,
        welcome: WELCOME,
        line: b"1,-32",
        answer: b"Sum of input numbers: '-31'\r\n",
    },
    Lines {
        program: REACTOR,
        welcome: WELCOME,
        line: b"1,-32",
        answer: b"Sum of input integers: '-31'\r\n",
    },
];

/// Sends, between lines, what telnet sends for Ctrl-C: a request for a timing mark (RFC 860), and the last
/// byte of the interrupt as urgent data (RFC 854).
#[test]
fn ctrl_c_in_telnet_loses_no_byte_of_a_line() {
    for Lines { program, welcome, line, answer } in LINES {
        let server = start(program);
        let mut telnet = TcpStream::connect(server.addr()).unwrap();
        telnet.set_read_timeout(Some(TIMEOUT)).unwrap();
        let expect = |telnet: &mut TcpStream, expected: &[u8]| {
            let mut received = vec![0; expected.len()];
            telnet.read_exact(&mut received).unwrap_or_else(|err| panic!("{program}: {err}"));
            assert_eq!(received, expected, "{program}");
        };
        expect(&mut telnet, welcome);
        for end in [&b"\r\n"[..], b"\r\0"] {
            telnet.write_all(&[line, end].concat()).unwrap();
            expect(&mut telnet, answer);
            telnet.write_all(b"\xff\xf4\xff\xfd\x06").unwrap(); // IP, DO TIMING-MARK
            expect(&mut telnet, b"\xff\xfc\x06"); // WONT TIMING-MARK: telnet prints nothing until then
            telnet.write_all(b"\xff").unwrap();
            SockRef::from(&telnet).send_out_of_band(b"\xf2").unwrap(); // IAC DM
        }
        telnet.write_all(&[line, b"\r\n"].concat()).unwrap();
        expect(&mut telnet, answer);
    }
}

#[test]
fn telnet_commands_and_erased_characters_are_not_part_of_a_line() {
    let sent: [(&[u8], &[u8]); 6] = [
        (b"\xff\xfb\x1f\xff\xfb\x18LINE\r\n", b""), // offers before the first line
        (b"\xff\xfd\x03\xff\xfd\x01LINE\r\0", b"\xff\xfc\x03\xff\xfc\x01"), // character mode
        (b"\xff\xfa\x1f\0\x50\0\n\xff\xf0LINE\r\n", b""),
        (b"\xff\xfa\x1fxx\r\n\xff\xfb\x1fLINE\r\n", b""), // a subnegotiation without its end
        ("é\u{7f}x\u{8}yz\u{7f}\u{8}LINE!\u{7f}\r\n".as_bytes(), b""),
        (b"quit\xff\xf8LINEs\xff\xf7\n", b""),
    ];
    for Lines { program, welcome, line, answer } in LINES {
        let server = start(program);
        for (bytes, first) in sent {
            let at = bytes.windows(4).position(|window| window == b"LINE").unwrap();
            let bytes = [&bytes[..at], line, &bytes[at + 4..]].concat();
            for size in [bytes.len(), 1] {
                let mut client = Client::connect(server.addr()).unwrap();
                client.expect_bytes(welcome).unwrap();
                for piece in bytes.chunks(size) {
                    client.send(piece).unwrap();
                }
                client.expect_bytes(&[first, answer].concat()).unwrap();
                ask(&mut client, b"quit\n", CLOSED);
                expect_end(&mut client);
            }
        }
    }
}

/// Sends lines whose bytes are neither UTF-8 nor telnet commands.
#[test]
fn lines_that_are_not_utf8_are_answered() {
    let server = start(LINE_ECHO);
    let mut client = Client::connect(server.addr()).unwrap();
    ask(&mut client, b"\xff\xfe\n", b"Echoed: '\\ufffd\\ufffd'\r\n");
    ask(&mut client, b"\xff,\n", b"Echoed: '\\ufffd,'\r\n");
    let server = start(REACTOR);
    let mut client = connect(&server);
    for line in [&b"\xff\xfe\n"[..], b"\xff\xfe,1\n", b"\xff1,2\n", b"\xff\n"] {
        ask(&mut client, line, ERROR);
    }
}

#[test]
fn sums_and_products() {
    for (program, numbers) in CALCULATORS {
        let server = start(program);
        let mut client = connect(&server);
        let sum = |number: &str| format!("Sum of input {numbers}: '{number}'\r\n").into_bytes();
        let product =
            |number: &str| format!("Product of input {numbers}: '{number}'\r\n").into_bytes();
        ask(&mut client, b"5,-9,10\r\n", &sum("6"));
        ask(&mut client, b"product\r\n", b"<switching to product mode>\r\n");
        ask(&mut client, b"5,-9,10\n", &product("-450"));
        ask(&mut client, b"7\n", &product("7"));
        ask(&mut client, b"-0,0\n", &product("0"));
        ask(&mut client, b"sum\n", b"<switching to sum mode>\r\n");
        ask(&mut client, b"5,-9,10\n", &sum("6"));
        ask(&mut client, b"quit\r\n", CLOSED);
        expect_end(&mut client);
    }
}

#[test]
fn integers_as_python_accepts_them() {
    for (program, numbers) in CALCULATORS {
        let server = start(program);
        let mut client = connect(&server);
        let sum = |number: &str| format!("Sum of input {numbers}: '{number}'\r\n").into_bytes();
        for (list, number) in [
            (" 1 ,\t2\x0b,\u{a0}3\u{2003}\n", "6"),
            ("+1,-2,+3\n", "2"),
            ("1_000,2_0\n", "1020"),
            ("007,-0\n", "7"),
            ("\u{663},१_२,７\n", "22"),
        ] {
            ask(&mut client, list.as_bytes(), &sum(number));
        }
        for list in [
            "",
            ",",
            "1,",
            ",1",
            "1,,2",
            "x",
            "1.5",
            "1e3",
            "0x10",
            "1 2",
            "+",
            "-",
            "--1",
            "+-1",
            "- 1",
            "_1",
            "1_",
            "1__2",
            "_",
            "²",
            "−1",
            "1\u{200b}",
            "Sum",
            "SUM",
            "quit 1",
            "1\0",
        ] {
            ask(&mut client, format!("{list}\n").as_bytes(), ERROR);
        }
        ask(&mut client, b"\xff,1\n", ERROR);
        ask(&mut client, b"1,2\n", &sum("3"));
    }
}

#[test]
fn each_client_has_a_mode_of_its_own() {
    let server = start(REACTOR);
    let mut ann = connect(&server);
    let mut bob = connect(&server);
    ask(&mut ann, b"product\n", b"<switching to product mode>\r\n");
    ask(&mut bob, b"3,4\n", b"Sum of input integers: '7'\r\n");
    ask(&mut ann, b"3,4\n", b"Product of input integers: '12'\r\n");
    let mut late = connect(&server);
    ask(&mut late, b"3,4\n", b"Sum of input integers: '7'\r\n");
}

#[test]
fn several_lines_in_one_packet_and_one_line_in_many() {
    for (program, numbers) in CALCULATORS {
        let server = start(program);
        let lines = b"1,2\nproduct\r\n3,4\nx\nsum\n5\nquit\nmore, which the server does not read\n";
        let answers = format!(
            "Sum of input {numbers}: '3'\r\n<switching to product mode>\r\n\
             Product of input {numbers}: '12'\r\n\
             ERROR. Enter only integers separated by commas\n\
             <switching to sum mode>\r\nSum of input {numbers}: '5'\r\nconnection closed\r\n"
        );
        let mut client = connect(&server);
        ask(&mut client, lines, answers.as_bytes());
        expect_end(&mut client);

        let mut client = connect(&server);
        for byte in &lines[..lines.len() - 1] {
            if !client.try_send(&[*byte]) {
                break; // the server has read quit and closed
            }
        }
        client.expect_bytes(answers.as_bytes()).unwrap();
        expect_end(&mut client);
    }
}

#[test]
fn a_last_line_that_is_not_ended_is_answered() {
    for (program, numbers) in CALCULATORS {
        let server = start(program);
        let mut client = connect(&server);
        client.send(b"1,2").unwrap();
        client.half_close().unwrap();
        client.expect_bytes(format!("Sum of input {numbers}: '3'\r\n").as_bytes()).unwrap();
        expect_end(&mut client);
    }
}

#[test]
fn integers_are_as_long_as_the_line_allows() {
    for (program, numbers) in CALCULATORS {
        let server = start(program);
        let mut client = connect(&server);
        let longest = "7".repeat(MAX_LINE_LEN - 1);
        let answer = format!("Sum of input {numbers}: '-{longest}'\r\n");
        ask(&mut client, format!("-{longest}\r\n").as_bytes(), answer.as_bytes());

        ask(&mut client, b"product\n", b"<switching to product mode>\r\n");
        let half = "9".repeat(MAX_LINE_LEN / 2 - 1);
        let square = format!("{}8{}1", &half[1..], "0".repeat(half.len() - 1));
        let answer = format!("Product of input {numbers}: '{square}'\r\n");
        ask(&mut client, format!("{half},{half}\n").as_bytes(), answer.as_bytes());
    }
}

#[test]
fn a_longer_line_is_an_error_and_the_end() {
    for (program, _) in CALCULATORS {
        let server = start(program);
        let too_long = "7".repeat(MAX_LINE_LEN + 1);
        for end in ["", "\n", "\r\n"] {
            let mut client = connect(&server);
            client.send(format!("x\n{too_long}{end}").as_bytes()).unwrap();
            client.expect_bytes(ERROR).unwrap();
            client.expect_bytes(b"ERROR. A line has at most 65536 bytes\n").unwrap();
            expect_end(&mut client);
        }
        // A client that is still sending gets the error too.
        let mut client = connect(&server);
        client.try_send(too_long.repeat(4).as_bytes());
        client.expect_bytes(b"ERROR. A line has at most 65536 bytes\n").unwrap();
        expect_end(&mut client);
        let is_warning =
            |line: &str| line.contains("WARN") && line.ends_with("longer than 65536 bytes");
        server.wait_for_log("which client, and why", is_warning).unwrap();
    }
}

#[test]
fn one_at_a_time_means_that_the_second_waits() {
    for (program, answer) in
        [(LINE_ECHO, "Echoed: '1'\r\n"), (BLOCKING, "Sum of input numbers: '1'\r\n")]
    {
        let server = start(program);
        let mut first = Client::connect(server.addr()).unwrap();
        if program == BLOCKING {
            first.expect_bytes(WELCOME).unwrap();
        }
        ask(&mut first, b"1\n", answer.as_bytes());
        let mut second = Client::connect(server.addr()).unwrap();
        second.send(b"1\nquit\n").unwrap();
        ask(&mut first, b"1\n", answer.as_bytes());
        ask(&mut first, b"quit\n", CLOSED);
        expect_end(&mut first);
        let welcome = if program == BLOCKING { WELCOME } else { b"" };
        second.expect_bytes(&[welcome, answer.as_bytes(), CLOSED].concat()).unwrap();
        expect_end(&mut second);
        let second = format!("Connection from {}", second.addr());
        server.wait_for_log("the second", |line| line.ends_with(&second)).unwrap();
        let log = server.log().so_far();
        let place = |text: &str| log.iter().position(|line| line.ends_with(text));
        let first = format!("Client {} disconnected", first.addr());
        assert!(place(&first).is_some() && place(&first) < place(&second), "{log:#?}");
    }
}

#[test]
fn the_log_shows_what_each_client_has_sent() {
    let server = start(REACTOR);
    let mut client = connect(&server);
    ask(&mut client, b"5,-9,10\r\n", b"Sum of input integers: '6'\r\n");
    ask(&mut client, b"quit\n", CLOSED);
    let addr = client.addr();
    drop(client);
    let ends_with = |text: String| move |line: &str| line.ends_with(&text);
    server.wait_for_log("a client", ends_with(format!("Connection from {addr}"))).unwrap();
    server.wait_for_log("its line", ends_with(format!("{addr}: 5,-9,10"))).unwrap();
    server.wait_for_log("its end", ends_with(format!("Client {addr} disconnected"))).unwrap();
}
