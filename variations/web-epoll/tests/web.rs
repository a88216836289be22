//! What the server answers, byte for byte: `cargo test -p web-epoll --test web`.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod harness;

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result};
use probe::server::{Launch, Server, Signal};
use probe::wire::Client;
use probe::{TIMEOUT, wait_until};

use harness::{GET, PROGRAM, answer, ask, expect, start};

const PAGE: &str = "Hello from Epoll Server!";

/// Checks that the connection is kept: another request is answered.
fn expect_kept(client: &mut Client) -> Result<()> {
    client.send(GET.as_bytes())?;
    expect(client, 200).map(drop)
}

#[test]
fn any_path_is_answered_with_the_page() -> Result<()> {
    let server = start(&[])?;
    for target in ["/", "/a/b?c=d%20e", "/%", "//", "http://example.org/x", "HTTP://example.org"] {
        let before = SystemTime::now() - Duration::from_secs(1);
        let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let mut client = ask(&server, request)?;
        let got = expect(&mut client, 200)?;
        assert_eq!(got.body, PAGE);
        assert_eq!(got.field("Content-Type"), Some("text/plain"));
        assert_eq!(got.field("Content-Length"), Some("24"));
        assert_eq!(got.field("Connection"), None);
        let date = httpdate::parse_http_date(got.field("Date").unwrap())?;
        assert!(before <= date && date <= SystemTime::now(), "{got:?}");
        assert!(got.field("Date").unwrap().ends_with(" GMT"));
    }
    Ok(())
}

#[test]
fn the_date_changes() -> Result<()> {
    let server = start(&[])?;
    let mut client = ask(&server, GET)?;
    let first = expect(&mut client, 200)?.field("Date").map(str::to_owned);
    let has_changed = wait_until(TIMEOUT, || {
        client.send(GET.as_bytes())?;
        Ok(expect(&mut client, 200)?.field("Date").map(str::to_owned) != first)
    })?;
    assert!(has_changed, "{first:?}");
    Ok(())
}

#[test]
fn head_is_get_without_the_body() -> Result<()> {
    let server = start(&[])?;
    let request = GET.replace("GET", "HEAD");
    let mut client = ask(&server, [request.as_str(), GET].concat())?;
    let head = answer(&mut client, false)?;
    assert_eq!((head.code, head.field("Content-Length")), (200, Some("24")));
    assert_eq!(expect(&mut client, 200)?.body, PAGE); // so there was no body before it
    // The answer to an invalid HEAD request has no body either.
    let mut client = ask(&server, "HEAD / HTTP/1.1\r\n\r\n")?;
    assert_eq!(answer(&mut client, false)?.code, 400);
    client.expect_eof()
}

#[test]
fn a_connection_is_kept_or_closed_as_asked() -> Result<()> {
    let server = start(&[])?;
    let kept = [
        "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive, x\r\n\r\n",
        "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
    ];
    for request in kept {
        let mut client = ask(&server, request)?;
        let got = expect(&mut client, 200)?;
        // HTTP/1.0 keeps a connection only if the answer says so.
        let field = request.contains("1.0").then_some("keep-alive");
        assert_eq!(got.field("Connection"), field);
        expect_kept(&mut client)?;
    }
    let closed = [
        "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: x\r\nConnection: y, CLOSE\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive, close\r\n\r\n",
    ];
    for request in closed {
        // The second request is not answered.
        let mut client = ask(&server, [request, GET].concat())?;
        assert!(!expect(&mut client, 200)?.is_kept());
        client.expect_eof()?;
    }
    Ok(())
}

#[test]
fn requests_in_one_packet_are_answered_in_order() -> Result<()> {
    let server = start(&[])?;
    let post = "POST / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut client = ask(&server, [GET, post, GET, "\r\n\r\n", post, GET].concat())?;
    for code in [200, 405, 200, 405, 200] {
        expect(&mut client, code)?;
    }
    Ok(())
}

#[test]
fn requests_may_be_cut_anywhere() -> Result<()> {
    let server = start(&[])?;
    let mut client = Client::connect(server.addr())?;
    for byte in [GET, GET].concat().bytes() {
        client.send(&[byte])?;
    }
    expect(&mut client, 200)?;
    expect(&mut client, 200)?;
    client.half_close()?;
    client.expect_eof()
}

#[test]
fn thousands_of_requests_are_answered_although_the_client_reads_slowly() -> Result<()> {
    const COUNT: usize = 3000;
    let server = start(&["-q"])?;
    let mut client = Client::connect_with_small_buffers(server.addr())?;
    client.send(&GET.repeat(COUNT).into_bytes())?;
    client.half_close()?;
    for _ in 0..COUNT {
        expect(&mut client, 200)?;
    }
    client.expect_eof()
}

#[test]
fn a_body_is_ignored_or_the_connection_is_closed() -> Result<()> {
    let server = start(&[])?;
    let kept = [
        ("GET", "Content-Length: 5\r\n", "hello".to_owned(), 200),
        ("GET", "Content-Length: 0\r\n", String::new(), 200),
        ("POST", "Content-Length: 65536\r\n", "GET ".repeat(16 * 1024), 405),
    ];
    for (method, field, body, code) in kept {
        let request = format!("{method} / HTTP/1.1\r\nHost: localhost\r\n{field}\r\n{body}");
        let mut client = ask(&server, request + GET)?;
        assert!(expect(&mut client, code)?.is_kept());
        expect(&mut client, 200)?;
        expect_kept(&mut client)?;
    }
    let closed = [
        ("Content-Length: 65537\r\n", 200),
        ("Content-Length: 18446744073709551615\r\n", 200),
        ("Transfer-Encoding: chunked\r\n", 200),
        ("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", 200),
        ("Expect: 100-continue\r\nContent-Length: 5\r\n", 200),
        ("Expect: the unexpected\r\nConnection: close\r\n", 417),
    ];
    for (field, code) in closed {
        let request = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{field}\r\n");
        let mut client = ask(&server, request + GET)?;
        assert!(!expect(&mut client, code)?.is_kept(), "{field:?}");
        client.expect_eof()?;
    }
    // With this expectation but without a body, the connection can be kept.
    let expects = "GET / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-Continue\r\n\r\n";
    let mut client = ask(&server, expects)?;
    expect(&mut client, 200)?;
    expect_kept(&mut client)
}

#[test]
fn other_methods_are_answered_with_405_and_the_allowed_methods() -> Result<()> {
    let server = start(&[])?;
    let lines = ["POST /", "OPTIONS *", "OPTIONS /", "CONNECT localhost:80", "DELETE /x", "get /"];
    for line in lines {
        let mut client = ask(&server, format!("{line} HTTP/1.1\r\nHost: localhost\r\n\r\n"))?;
        let got = expect(&mut client, 405)?;
        assert_eq!(got.field("Allow"), Some("GET, HEAD"));
        expect_kept(&mut client)?;
    }
    Ok(())
}

/// Checks that a request is answered with this code and that the connection is then closed.
fn expect_refused(server: &Server, request: impl AsRef<[u8]>, code: u16) -> Result<()> {
    let mut client = ask(server, request.as_ref())?;
    let got = expect(&mut client, code)?;
    assert!(!got.is_kept());
    let why = format!("{code} ");
    assert!(got.body.starts_with(&why) && got.body.ends_with('\n'), "{got:?}");
    client.expect_eof()
}

#[test]
fn wrong_requests_are_answered_with_400() -> Result<()> {
    let server = start(&[])?;
    let field = |fields: &str| format!("GET / HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
    let wrong = [
        "GET / HTTP/1.1\r\n\r\n".to_owned(), // no Host
        "GET / HTTP/1.1\r\nHost: one\r\nHost: two\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: two words\r\n\r\n".to_owned(),
        "GET /\r\nHost: localhost\r\n\r\n".to_owned(),
        "GET  / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
        "GET * HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
        "GET index.html HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
        "GET / HTTP/x.y\r\nHost: localhost\r\n\r\n".to_owned(),
        // More than two spaces: this is not another version, but a wrong target or a wrong version.
        "GET /a b HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
        "GET /a b HTTP/2.0\r\nHost: localhost\r\n\r\n".to_owned(),
        "GET / x HTTP/1.1\nHost: localhost\n\n".to_owned(),
        "GET / HTTP/1.1 HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
        "GET / HTTP/1.1 x\r\nHost: localhost\r\n\r\n".to_owned(),
        "GET /  HTTP/2.0\r\nHost: localhost\r\n\r\n".to_owned(),
        "GET / HTTP/2.0 \r\nHost: localhost\r\n\r\n".to_owned(),
        "GET\t/ HTTP/2.0\r\nHost: localhost\r\n\r\n".to_owned(),
        "GET /\tHTTP/2.0\r\nHost: localhost\r\n\r\n".to_owned(),
        "GET /a\u{7f} HTTP/2.0\r\nHost: localhost\r\n\r\n".to_owned(),
        "G(T / HTTP/2.0\r\nHost: localhost\r\n\r\n".to_owned(),
        "HTTP/2.0\r\nHost: localhost\r\n\r\n".to_owned(),
        " GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
        "GET / HTTP/1.10\r\nHost: localhost\r\n\r\n".to_owned(),
        "GET / HTTP/2\r\nHost: localhost\r\n\r\n".to_owned(),
        "GET / http/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
        "hello\r\n\r\n".to_owned(),
        "\u{16}\u{3}\u{1}\u{2}\r\n".to_owned(), // TLS
        field("no colon\r\n"),
        field("Space : before the colon\r\n"),
        field("Folded: one\r\n two\r\n"),
        field("Bare: \r carriage return\r\n"),
        field("Zero: \0\r\n"),
        field("Content-Length: 1\r\nContent-Length: 2\r\n"),
        field("Content-Length: 1, 1\r\n"),
        field("Content-Length: +1\r\n"),
        field("Content-Length: -1\r\n"),
        field("Content-Length: \r\n"),
        field("Content-Length: 18446744073709551616\r\n"),
        field("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
        field("Transfer-Encoding: gzip\r\n"),
        field("Transfer-Encoding: chunked, gzip\r\n"),
        "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
    ];
    for request in wrong {
        expect_refused(&server, &request, 400).with_context(|| format!("{request:?}"))?;
    }
    expect_refused(&server, field("").replace("1.1", "2.0"), 505)?;
    expect_refused(&server, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505)?; // the preface of HTTP/2
    let mut cut = ask(&server, &GET[..GET.len() - 2])?;
    cut.half_close()?;
    expect(&mut cut, 400)?;
    cut.expect_eof()
}

#[test]
fn lines_may_end_in_lf_as_in_the_original() -> Result<()> {
    let server = start(&[])?;
    let mut client = ask(&server, GET.replace('\r', ""))?;
    expect(&mut client, 200)?;
    expect_kept(&mut client)
}

#[test]
fn heads_have_limits_of_size_and_count() -> Result<()> {
    let server = start(&[])?;
    let target = |len| format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "a".repeat(len));
    let field = |len| GET.replace("\r\n\r\n", &format!("\r\nLong: {}\r\n\r\n", "a".repeat(len)));
    let fields =
        |count| GET.replace("\r\n\r\n", &["\r\n", &"N: 1\r\n".repeat(count), "\r\n"].concat());
    for request in [target(8000), field(15 * 1024), fields(99)] {
        expect(&mut ask(&server, request)?, 200)?;
    }
    // The limit of the request line applies to its text, not to its end.
    let longest = 8 * 1024 - target(0).lines().next().map_or(0, str::len);
    expect(&mut ask(&server, target(longest))?, 200)?;
    expect(&mut ask(&server, target(longest).replace('\r', ""))?, 200)?;
    for (request, code) in [
        (target(longest + 1), 414),
        (target(longest + 1).replace('\r', ""), 414),
        (target(8 * 1024), 414),
        (target(1 << 20), 414),
        (field(16 * 1024), 431),
        (field(1 << 20), 431),
        (fields(100), 431),
        (fields(100_000), 431),
        ("a".repeat(8 * 1024 + 1), 414), // before the end of the line
        (format!("GET / HTTP/1.1\r\n{}", "b".repeat(16 * 1024)), 431),
    ] {
        let mut client = Client::connect(server.addr())?;
        client.try_send(request.as_bytes());
        let got = expect(&mut client, code)?;
        assert!(!got.is_kept());
        client.expect_closed()?;
    }
    Ok(())
}

#[test]
fn a_head_that_takes_too_long_is_answered_with_408_and_others_do_not_wait() -> Result<()> {
    const TIMEOUT: Duration = Duration::from_secs(2);
    let server = start(&["--timeout", "2"])?;
    let start_time = Instant::now(); // the server's time may begin before connect returns
    let mut slow = Client::connect(server.addr())?.with_timeout(Duration::from_secs(1));
    let mut bytes = GET.bytes();
    let got = loop {
        slow.try_send(&[bytes.next().unwrap()]); // the server may just have answered
        expect(&mut ask(&server, GET)?, 200)?;
        match expect(&mut slow, 408) {
            Ok(got) => break got,
            // A busy machine may be late. A server that never answers makes the test fail here.
            Err(err) if start_time.elapsed() > probe::TIMEOUT => return Err(err),
            Err(_) => {} // no answer yet, after one second
        }
    };
    assert!(start_time.elapsed() >= TIMEOUT, "after {:?}", start_time.elapsed());
    assert!(!got.is_kept());
    slow.with_timeout(probe::TIMEOUT).expect_eof()
}

#[test]
fn an_idle_connection_is_closed_without_an_answer() -> Result<()> {
    let server = start(&["--timeout", "1"])?;
    let mut never = Client::connect(server.addr())?;
    let mut once = ask(&server, GET)?;
    let mut dribbles = ask(&server, "\r\n")?;
    let body = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nno more";
    let mut stops = ask(&server, body)?;
    expect(&mut once, 200)?;
    expect(&mut stops, 405)?;
    for client in [&mut never, &mut once, &mut dribbles, &mut stops] {
        client.expect_eof()?;
    }
    // Empty lines are not the beginning of a request.
    let mut dribbles = Client::connect(server.addr())?;
    let has_ended = wait_until(TIMEOUT, || Ok(!dribbles.try_send(b"\r\n")))?;
    assert!(has_ended);
    Ok(())
}

/// A request with a body that arrives slowly.
#[derive(Clone, Copy)]
struct SlowBody<'a> {
    fields: &'a str,
    /// The code of the answer.
    code: u16,
    /// Whether the connection is kept after the body.
    is_kept: bool,
}

/// Sends a request, and then a byte every 20 ms for two seconds. Sets `longest_pause` to the longest time between two
/// bytes, or from the connection to the first answer if that is longer.
fn send_slowly(addr: SocketAddr, case: SlowBody<'_>, longest_pause: &mut Duration) -> Result<()> {
    let SlowBody { fields, code, is_kept } = case;
    let connected = Instant::now();
    let mut client = Client::connect(addr)?;
    client.send(format!("POST / HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n").as_bytes())?;
    let answer = expect(&mut client, code);
    *longest_pause = connected.elapsed();
    assert_eq!(answer?.is_kept(), is_kept);
    let start_time = Instant::now();
    let mut last = start_time;
    for n in 0..100 {
        // This paces the bytes. It does not wait for the server.
        let due = Duration::from_millis(20) * n;
        thread::sleep(due.saturating_sub(start_time.elapsed()));
        *longest_pause = last.elapsed().max(*longest_pause);
        last = Instant::now();
        client.send(b"x").with_context(|| format!("byte {n}"))?;
    }
    if is_kept { expect_kept(&mut client) } else { client.expect_eof() }
}

/// Checks that a client that is sending a body does not count as idle, and that its connection is not
/// closed before the end of the body, whatever the answer is.
#[test]
fn a_body_may_take_longer_than_the_timeout() -> Result<()> {
    const MAX_TRIES: usize = 5;
    let server = start(&["--timeout", "1"])?;
    let addr = server.addr();
    let too_long = format!("Long: {}\r\n", "x".repeat(16 * 1024));
    let case = |fields, code, is_kept| SlowBody { fields, code, is_kept };
    let cases = [
        case("Content-Length: 100\r\n", 405, true),
        case("Content-Length: 100\r\nConnection: close\r\n", 405, false),
        case("Content-Length: 100\r\nExpect: 100-continue\r\n", 405, false),
        case("Content-Length: 65537\r\n", 405, false),
        case("Transfer-Encoding: chunked\r\n", 405, false),
        case("Content-Length: 1\r\nContent-Length: 2\r\n", 400, false),
        case(&too_long, 431, false),
    ];
    let try_case = |case: SlowBody<'_>| {
        let mut tries = 1;
        loop {
            let mut longest_pause = Duration::ZERO;
            let result = send_slowly(addr, case, &mut longest_pause);
            // On a busy machine, this thread may have paused. Then the server may close the connection.
            let has_paused = longest_pause >= Duration::from_millis(250);
            if result.is_ok() || !has_paused || tries == MAX_TRIES {
                let which = format!("try {tries}, with a pause of {longest_pause:?}");
                return result.with_context(|| format!("{:.60}: {which}", case.fields));
            }
            tries += 1;
        }
    };
    // All cases run at the same time, because each takes two seconds.
    thread::scope(|scope| {
        let threads = cases.map(|case| scope.spawn(move || try_case(case)));
        threads.into_iter().try_for_each(|thread| thread.join().unwrap())
    })
}

#[test]
fn the_server_goes_on_after_it_had_no_descriptors_left() -> Result<()> {
    let launch = Launch::new(PROGRAM, &[]).args(&["--max-clients", "2000"]).descriptor_limit(40);
    let server = launch.start()?;
    let clients: Vec<_> = (0..60).map(|_| Client::connect(server.addr())).collect::<Result<_>>()?;
    server.wait_for_log("a lack of descriptors", |line| line.contains("trying again"))?;
    drop(clients);
    for _ in 0..3 {
        expect(&mut ask(&server, GET)?, 200)?;
    }
    Ok(())
}

#[test]
fn answers_contain_nothing_that_was_sent_and_the_log_escapes_it() -> Result<()> {
    let server = start(&[])?;
    let bad = "GET /\u{1b}[2J\u{7}\r\nSet-Cookie: a=b\r\n\r\n";
    let got = expect(&mut ask(&server, bad)?, 400)?;
    assert!(!format!("{got:?}").contains("Cookie"), "{got:?}");
    let injected = "GET /%0d%0aSet-Cookie:%20a=b HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let got = expect(&mut ask(&server, injected)?, 200)?;
    assert!(!format!("{got:?}").contains("Cookie"), "{got:?}");
    let shown = r"GET /\u{1b}[2J\u{7} 400";
    server.wait_for_log(shown, |line| line.ends_with(shown)).map(drop)
}

#[test]
fn queued_answers_are_delivered_when_the_server_stops() -> Result<()> {
    const COUNT: usize = 700;
    let mut server = start(&["-v"])?;
    let mut late = Client::connect_with_small_buffers(server.addr())?;
    late.send(GET.repeat(COUNT).as_bytes())?;
    let has_answered = || Ok(server.log().count(|line| line.ends_with("GET / 200")) == COUNT);
    assert!(wait_until(TIMEOUT, has_answered)?);
    late.enlarge_recv_buffer()?;
    server.signal(Signal::TERM)?;
    for _ in 0..COUNT {
        expect(&mut late, 200)?;
    }
    late.expect_eof()?;
    drop(late);
    server.expect_exit("sent SIGTERM").map(drop)
}
