//! Helpers of the tests that send requests and compare the answers.
//!
//! Each test file uses only some of them.
#![allow(dead_code)]

use anyhow::{Context as _, Result};
use probe::fail;
use probe::server::{Launch, Server};
use probe::wire::Client;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_web-epoll");
pub const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

pub fn start(args: &[&str]) -> Result<Server> {
    Launch::new(PROGRAM, &[]).args(args).start()
}

#[derive(Debug, PartialEq)]
pub struct Answer {
    pub code: u16,
    fields: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut found = self.fields.iter().filter(|(it, _)| it.eq_ignore_ascii_case(name));
        let value = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "two of {name}: {self:?}");
        value
    }

    pub fn is_kept(&self) -> bool {
        self.field("Connection") != Some("close")
    }
}

/// Receives the next answer. The answer to a HEAD request has no body.
pub fn answer(client: &mut Client, has_body: bool) -> Result<Answer> {
    let head = client.recv_when("the head of an answer", |bytes| {
        bytes.windows(4).position(|end| end == b"\r\n\r\n").map(|at| at + 4)
    })?;
    let head = String::from_utf8(head)?;
    let mut lines = head.trim_end().split("\r\n");
    let status =
        lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).context("a status")?;
    let field = |line: &str| {
        let (name, value) = line.split_once(": ")?;
        Some((name.to_owned(), value.to_owned()))
    };
    let fields = lines.map(|line| field(line).context("a field")).collect::<Result<_>>()?;
    let code = status.split(' ').next().unwrap().parse()?;
    let mut answer = Answer { code, fields, body: String::new() };
    let len = answer.field("Content-Length").context("a length")?.parse()?;
    if has_body {
        answer.body = String::from_utf8(client.recv_bytes(len)?)?;
    }
    Ok(answer)
}

pub fn expect(client: &mut Client, code: u16) -> Result<Answer> {
    let answer = answer(client, true)?;
    if answer.code == code {
        return Ok(answer);
    }
    fail(client.transcript(), code, format!("{answer:?}"))
}

/// Connects a client, which sends this request.
pub fn ask(server: &Server, request: impl AsRef<[u8]>) -> Result<Client> {
    let mut client = Client::connect(server.addr())?;
    client.send(request.as_ref())?;
    Ok(client)
}
