//! The checks that every server must pass, for the three servers: `cargo test -p calc --test contract`.

use check::{OwnServer, Serves, test_servers};
use probe::wire::Client;

fn echo(client: &mut Client) -> anyhow::Result<()> {
    client.send(b"hello\n")?;
    client.expect_bytes(b"Echoed: 'hello'\r\n")?;
    quit(client)
}

fn sum(client: &mut Client, answer: &str) -> anyhow::Result<()> {
    if client.take_state::<()>().is_none() {
        client.expect_bytes(b"<welcome: starting in sum mode>\n")?;
    }
    client.set_state(());
    client.send(b"5,-9,10\n")?;
    client.expect_bytes(answer.as_bytes())
}

/// Ends the session, so that a server for one client at a time can serve the next one.
fn quit(client: &mut Client) -> anyhow::Result<()> {
    client.send(b"quit\n")?;
    client.expect_bytes(b"connection closed\r\n")?;
    client.expect_eof()
}

fn line(text: &str) -> Vec<u8> {
    format!("{text}\n").into_bytes()
}

fn longest_line() -> Vec<u8> {
    vec![b'x'; calc::MAX_LINE_LEN]
}

fn main() {
    let line_echo = OwnServer::new(env!("CARGO_BIN_EXE_line-echo"), 8080, echo);
    let blocking = OwnServer::new(env!("CARGO_BIN_EXE_calc-blocking"), 8080, |client| {
        sum(client, "Sum of input numbers: '6'\r\n")?;
        quit(client)
    });
    let reactor = OwnServer::new(env!("CARGO_BIN_EXE_calc-reactor"), 8080, |client| {
        sum(client, "Sum of input integers: '6'\r\n")
    });
    test_servers(&[
        line_echo.ends_connection().serves(Serves::OneAtATime).logged_request(line),
        blocking.ends_connection().serves(Serves::OneAtATime).logged_request(line),
        reactor.logged_request(line).longest_unfinished(longest_line).profile("calc"),
    ])
}
