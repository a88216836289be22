//! HTTP without a socket: bytes in, a request out; and the bytes of its answer. RFC 9110 and 9112.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use httparse::Header;

/// The longest request line, in bytes before its end. Servers should take 8000 (RFC 9112, section 3).
const MAX_LINE: usize = 8 * 1024;

/// The longest head: request line and fields, in bytes.
pub const MAX_HEAD: usize = 16 * 1024;

/// The most fields in a head.
const MAX_FIELDS: usize = 100;

/// The longest body that is read away, so that the connection can be kept, in bytes.
pub const MAX_BODY: u64 = 64 * 1024;

const PAGE: &str = "Hello from Epoll Server!";

/// An answer's status: a code, its phrase, and what the client should know about it.
#[derive(Clone, Copy)]
pub struct Status(pub u16, &'static str, &'static str);

const OK: Status = Status(200, "OK", "");
const NOT_ALLOWED: Status = Status(405, "Method Not Allowed", "GET and HEAD are");
const TOO_LONG: Status = Status(414, "URI Too Long", "the first line has 8 KiB at most");
const EXPECTATION: Status = Status(417, "Expectation Failed", "nothing but 100-continue is known");
const TOO_LARGE: Status =
    Status(431, "Request Header Fields Too Large", "100 fields and 16 KiB at most");
const VERSION: Status = Status(505, "HTTP Version Not Supported", "HTTP/1.1 and HTTP/1.0 are");
pub const TIMEOUT: Status = Status(408, "Request Timeout", "the head took too long");
pub const UNFINISHED: Status = bad("the request ends before its head does");

const fn bad(why: &'static str) -> Status {
    Status(400, "Bad Request", why)
}

/// A request, as far as its answer depends on it.
pub struct Request {
    /// How many bytes its head has.
    pub len: usize,
    /// The method and the target, for the log.
    pub line: String,
    pub status: Status,
    /// Whether there may be another request after it.
    pub is_kept: bool,
    /// The length of the body; `u64::MAX` if unknown.
    pub body: u64,
    is_head: bool,
    is_old: bool,
}

impl Request {
    /// A request that cannot be understood to its end, so that nothing after it can be either.
    pub fn refused(bytes: &[u8], status: Status) -> Self {
        let line = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
        Self {
            len: bytes.len(),
            line: String::from_utf8_lossy(&line[..line.len().min(MAX_LINE)]).into_owned(),
            status,
            is_kept: false,
            body: 0,
            is_head: bytes.starts_with(b"HEAD "),
            is_old: false,
        }
    }
}

/// The request that the bytes begin with, if its head has come. One that is wrong takes them all.
pub fn first_request(bytes: &[u8]) -> Option<Request> {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() > MAX_LINE {
        return Some(Request::refused(bytes, TOO_LONG));
    }
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut fields);
    let status = match parsed.parse(bytes) {
        Ok(httparse::Status::Partial) if bytes.len() <= MAX_HEAD => return None,
        Ok(httparse::Status::Complete(len)) if len <= MAX_HEAD => {
            return Some(judged(&parsed, len).unwrap_or_else(|why| Request::refused(bytes, why)));
        }
        Ok(_) | Err(httparse::Error::TooManyHeaders) => TOO_LARGE,
        Err(httparse::Error::Version) if has_other_version(line) => VERSION,
        Err(httparse::Error::HeaderName | httparse::Error::HeaderValue) => bad("a field is wrong"),
        Err(_) => bad("the first line is not METHOD TARGET HTTP/1.1"),
    };
    Some(Request::refused(bytes, status))
}

/// Reports whether a request line is a method, a target and a version, separated by single spaces. With
/// more spaces, the version cannot be identified.
fn has_other_version(line: &[u8]) -> bool {
    let mut words = line.split(|byte| *byte == b' ').skip(2);
    let (version, more) = (words.next().unwrap_or_default(), words.next());
    let is_number = matches!(version.strip_prefix(b"HTTP/"), Some([major, b'.', minor])
        if major.is_ascii_digit() && minor.is_ascii_digit());
    is_number && more.is_none()
}

/// What the answer to a well-formed head is, and what comes after it.
fn judged(parsed: &httparse::Request<'_, '_>, len: usize) -> Result<Request, Status> {
    let (method, target) = (parsed.method.unwrap_or_default(), parsed.path.unwrap_or_default());
    let (is_old, fields) = (parsed.version == Some(0), &*parsed.headers);
    check_target(method, target)?;
    check_host(fields, is_old)?;
    let body = body_len(fields, is_old)?;
    let mut status = if matches!(method, "GET" | "HEAD") { OK } else { NOT_ALLOWED };
    let mut is_kept = has_token(fields, "connection", "keep-alive") || !is_old;
    is_kept &= !has_token(fields, "connection", "close") && body.is_some_and(|n| n <= MAX_BODY);
    for value in values(fields, "expect").filter(|_| !is_old) {
        if !value.eq_ignore_ascii_case(b"100-continue") {
            status = EXPECTATION;
        }
        // With this answer the client may keep its body to itself, or send it all the same.
        is_kept &= body == Some(0);
    }
    let line = format!("{method} {target}");
    let is_head = method == "HEAD";
    Ok(Request { len, line, status, is_kept, body: body.unwrap_or(u64::MAX), is_head, is_old })
}

/// A path, or a whole URI as for a proxy; OPTIONS and CONNECT have forms of their own.
fn check_target(method: &str, target: &str) -> Result<(), Status> {
    let has_scheme = |scheme: &str| {
        target.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme))
            && target.len() > scheme.len()
    };
    let is_known = match method {
        "CONNECT" => true,
        "OPTIONS" if target == "*" => true,
        _ => target.starts_with('/') || has_scheme("http://") || has_scheme("https://"),
    };
    if is_known { Ok(()) } else { Err(bad("the target is neither a path nor an http URI")) }
}

/// Exactly one in HTTP/1.1 (RFC 9112, section 3.2); whichever it is, the page is the same.
fn check_host(fields: &[Header<'_>], is_old: bool) -> Result<(), Status> {
    let mut hosts = values(fields, "host");
    let host = match (hosts.next(), hosts.next()) {
        (None, _) if is_old => return Ok(()),
        (Some(host), None) => host,
        _ => return Err(bad("HTTP/1.1 asks for one Host")),
    };
    let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(byte);
    if host.iter().all(fits) { Ok(()) } else { Err(bad("the Host is none")) }
}

/// How long the body is; none if only reading it would tell. Where two readers could come to two
/// results, one request can be hidden in another's body, so nothing doubtful is let pass.
fn body_len(fields: &[Header<'_>], is_old: bool) -> Result<Option<u64>, Status> {
    let mut lens = values(fields, "content-length");
    let (len, second) = (lens.next(), lens.next());
    if let Some(codings) = values(fields, "transfer-encoding").last() {
        let last = codings.rsplit(|byte| *byte == b',').next().unwrap_or_default().trim_ascii();
        let is_framed = last.eq_ignore_ascii_case(b"chunked") && len.is_none() && !is_old;
        return if is_framed { Ok(None) } else { Err(bad("how long is the body?")) };
    }
    match len {
        None => Ok(Some(0)),
        Some(len) if second.is_none() && len.iter().all(u8::is_ascii_digit) => {
            let len = str::from_utf8(len).ok().and_then(|len| len.parse().ok());
            len.map(Some).ok_or(bad("the Content-Length is no length"))
        }
        Some(_) => Err(bad("the Content-Length is no length")),
    }
}

fn values<'a>(fields: &'a [Header<'_>], name: &str) -> impl Iterator<Item = &'a [u8]> {
    fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|it| it.value)
}

fn has_token(fields: &[Header<'_>], name: &str, token: &str) -> bool {
    let mut tokens = values(fields, name).flat_map(|value| value.split(|byte| *byte == b','));
    tokens.any(|it| it.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// The time as HTTP writes it, made once a second.
#[derive(Default)]
pub struct Date {
    second: u64,
    text: String,
}

impl Date {
    pub fn now(&mut self) -> &str {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.second != since.as_secs() || self.text.is_empty() {
            self.second = since.as_secs();
            self.text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(self.second));
        }
        &self.text
    }
}

/// Appends an answer. Nothing that a client has sent is in it, so no client can add lines to it.
pub fn append_answer(answers: &mut Vec<u8>, request: &Request, date: &str) {
    let Status(code, phrase, why) = request.status;
    let body = if code == OK.0 { PAGE.to_owned() } else { format!("{code} {phrase}: {why}\n") };
    let mut head = format!("HTTP/1.1 {code} {phrase}\r\nDate: {date}\r\n");
    // A String takes whatever is written to it.
    let _ = write!(head, "Content-Type: text/plain\r\nContent-Length: {}\r\n", body.len());
    if code == NOT_ALLOWED.0 {
        head.push_str("Allow: GET, HEAD\r\n");
    }
    match (request.is_kept, request.is_old) {
        (false, _) => head.push_str("Connection: close\r\n"),
        (true, true) => head.push_str("Connection: keep-alive\r\n"),
        (true, false) => {}
    }
    head.push_str("\r\n");
    answers.extend_from_slice(head.as_bytes());
    if !request.is_head {
        answers.extend_from_slice(body.as_bytes());
    }
}
