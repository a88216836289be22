//! HTTP without sockets (RFC 9110, RFC 9112): bytes become a request, and a request becomes the bytes of
//! its answer.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use httparse::Header;

/// The longest request line, in bytes before its end: 8 KiB. A server should accept 8,000 bytes (RFC 9112,
/// section 3).
const MAX_LINE: usize = 8 * 1024;

/// The longest head of a request, that is, the request line and the fields, in bytes: 16 KiB.
pub const MAX_HEAD: usize = 16 * 1024;

/// The most fields in a head.
const MAX_FIELDS: usize = 100;

/// The longest body after which the connection is kept, in bytes: 64 KiB. The body is read and discarded.
pub const MAX_BODY: u64 = 64 * 1024;

/// The length of a body without a Content-Length. Its end can be found only by parsing the body.
pub const UNKNOWN_LEN: u64 = u64::MAX;

const PAGE: &str = "Hello from Epoll Server!";

/// The status of an answer.
#[derive(Clone, Copy)]
pub struct Status {
    pub code: u16,
    phrase: &'static str,
    /// The reason for the status, for the client.
    reason: &'static str,
}

const OK: Status = Status { code: 200, phrase: "OK", reason: "" };

const METHOD_NOT_ALLOWED: Status =
    Status { code: 405, phrase: "Method Not Allowed", reason: "only GET and HEAD are allowed" };

pub const REQUEST_TIMEOUT: Status = Status {
    code: 408,
    phrase: "Request Timeout",
    reason: "the head of the request did not arrive in time",
};

const URI_TOO_LONG: Status =
    Status { code: 414, phrase: "URI Too Long", reason: "the request line has more than 8 KiB" };

const EXPECTATION_FAILED: Status = Status {
    code: 417,
    phrase: "Expectation Failed",
    reason: "the only expectation that can be met is 100-continue",
};

const FIELDS_TOO_LARGE: Status = Status {
    code: 431,
    phrase: "Request Header Fields Too Large",
    reason: "the head has more than 100 fields or 16 KiB",
};

const VERSION_NOT_SUPPORTED: Status = Status {
    code: 505,
    phrase: "HTTP Version Not Supported",
    reason: "only HTTP/1.1 and HTTP/1.0 are supported",
};

pub const UNFINISHED_REQUEST: Status = bad_request("the request ends before the end of its head");

const fn bad_request(reason: &'static str) -> Status {
    Status { code: 400, phrase: "Bad Request", reason }
}

/// What the server needs to know about a request in order to answer it.
pub struct Request {
    /// The length of the head, in bytes.
    pub head_len: usize,
    /// The method and the target, for the log.
    pub line: String,
    pub status: Status,
    /// Whether another request may follow on the connection.
    pub keeps_connection: bool,
    /// The length of the body, in bytes, or [`UNKNOWN_LEN`].
    pub body_len: u64,
    is_head: bool,
    is_http_1_0: bool,
}

impl Request {
    /// Returns a request that is refused. It is not clear where the next request would begin, so the
    /// connection cannot be kept.
    pub fn refused(bytes: &[u8], status: Status) -> Self {
        let line = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
        let line = &line[..line.len().min(MAX_LINE)];
        Self {
            head_len: bytes.len(),
            line: String::from_utf8_lossy(line).into_owned(),
            status,
            keeps_connection: false,
            body_len: 0,
            is_head: bytes.starts_with(b"HEAD "),
            is_http_1_0: false,
        }
    }
}

/// Returns the request at the beginning of the bytes, or `None` if its head has not arrived completely. A
/// refused request takes up all the bytes.
pub fn first_request(bytes: &[u8]) -> Option<Request> {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() > MAX_LINE {
        return Some(Request::refused(bytes, URI_TOO_LONG));
    }
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut fields);
    let status = match parsed.parse(bytes) {
        Ok(httparse::Status::Partial) if bytes.len() <= MAX_HEAD => return None,
        Ok(httparse::Status::Complete(head_len)) if head_len <= MAX_HEAD => {
            match check_request(&parsed, head_len) {
                Ok(request) => return Some(request),
                Err(status) => status,
            }
        }
        Ok(_) | Err(httparse::Error::TooManyHeaders) => FIELDS_TOO_LARGE,
        Err(httparse::Error::Version) if has_other_version(line) => VERSION_NOT_SUPPORTED,
        Err(httparse::Error::HeaderName | httparse::Error::HeaderValue) => {
            bad_request("a field is not NAME: VALUE")
        }
        Err(_) => bad_request("the request line is not METHOD TARGET HTTP/1.1"),
    };
    Some(Request::refused(bytes, status))
}

/// Reports whether a request line consists of a method, a target and a version, separated by single spaces.
/// If there are more spaces, it is not clear which word is the version.
fn has_other_version(line: &[u8]) -> bool {
    let mut words = line.split(|byte| *byte == b' ').skip(2); // the method and the target
    let version = words.next().unwrap_or_default();
    if words.next().is_some() {
        return false;
    }
    match version.strip_prefix(b"HTTP/") {
        Some([major, b'.', minor]) => major.is_ascii_digit() && minor.is_ascii_digit(),
        _ => false,
    }
}

/// Decides how to answer a request whose head is well-formed, and whether another request may follow. If
/// the request is refused, the error is its status.
fn check_request(parsed: &httparse::Request<'_, '_>, head_len: usize) -> Result<Request, Status> {
    let method = parsed.method.unwrap_or_default();
    let target = parsed.path.unwrap_or_default();
    let is_http_1_0 = parsed.version == Some(0);
    let fields = &*parsed.headers;
    check_target(method, target)?;
    check_host(fields, is_http_1_0)?;
    let body_len = body_len(fields, is_http_1_0)?;

    let mut status = if matches!(method, "GET" | "HEAD") { OK } else { METHOD_NOT_ALLOWED };
    let mut keeps_connection =
        if is_http_1_0 { has_token(fields, "connection", "keep-alive") } else { true };
    if has_token(fields, "connection", "close") {
        keeps_connection = false;
    }
    if body_len > MAX_BODY {
        keeps_connection = false; // the body is not read, so the next request cannot be found
    }
    for expectation in values(fields, "expect").filter(|_| !is_http_1_0) {
        if !expectation.eq_ignore_ascii_case(b"100-continue") {
            status = EXPECTATION_FAILED;
        }
        // After this answer, the client may or may not send its body, so the next request cannot be found.
        if body_len > 0 {
            keeps_connection = false;
        }
    }
    Ok(Request {
        head_len,
        line: format!("{method} {target}"),
        status,
        keeps_connection,
        body_len,
        is_head: method == "HEAD",
        is_http_1_0,
    })
}

/// Checks that the target is a path, or a whole URI as in a request to a proxy. OPTIONS and CONNECT allow
/// other forms.
fn check_target(method: &str, target: &str) -> Result<(), Status> {
    let has_scheme = |scheme: &str| {
        let start = target.get(..scheme.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(scheme)) && target.len() > scheme.len()
    };
    let is_valid = match method {
        "CONNECT" => true,
        "OPTIONS" if target == "*" => true,
        _ => target.starts_with('/') || has_scheme("http://") || has_scheme("https://"),
    };
    if is_valid { Ok(()) } else { Err(bad_request("the target is neither a path nor an http URI")) }
}

/// Checks that an HTTP/1.1 request has exactly one Host field (RFC 9112, section 3.2). All hosts have the
/// same page.
fn check_host(fields: &[Header<'_>], is_http_1_0: bool) -> Result<(), Status> {
    let mut hosts = values(fields, "host");
    let first = hosts.next();
    let second = hosts.next();
    let host = match (first, second) {
        (None, _) if is_http_1_0 => return Ok(()),
        (Some(host), None) => host,
        _ => return Err(bad_request("a request must have exactly one Host field")),
    };
    let is_allowed = |byte: &u8| {
        byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(byte) // RFC 3986, section 3.2
    };
    if host.iter().all(is_allowed) {
        Ok(())
    } else {
        Err(bad_request("the Host field is not the name or address of a host"))
    }
}

/// Returns the length of the body, in bytes, or [`UNKNOWN_LEN`] if it is chunked.
///
/// Refuses every request whose length is in doubt. If two readers of a request disagree about where it
/// ends, a client can hide a second request in the body of the first (request smuggling).
fn body_len(fields: &[Header<'_>], is_http_1_0: bool) -> Result<u64, Status> {
    let mut lens = values(fields, "content-length");
    let len = lens.next();
    let has_second_len = lens.next().is_some();

    if let Some(codings) = values(fields, "transfer-encoding").last() {
        let last = codings.rsplit(|byte| *byte == b',').next().unwrap_or_default();
        let is_chunked = last.trim_ascii().eq_ignore_ascii_case(b"chunked");
        if is_chunked && len.is_none() && !is_http_1_0 {
            return Ok(UNKNOWN_LEN);
        }
        return Err(bad_request("the end of the body cannot be determined"));
    }

    let Some(len) = len else {
        return Ok(0);
    };
    let invalid = bad_request("the Content-Length is not one number of bytes");
    if has_second_len || !len.iter().all(u8::is_ascii_digit) {
        return Err(invalid);
    }
    // Fails if there are no digits, or if the number has more than 64 bits.
    let len = str::from_utf8(len).ok().and_then(|digits| digits.parse().ok());
    len.ok_or(invalid)
}

/// Returns the values of all fields with this name.
fn values<'a>(fields: &'a [Header<'_>], name: &str) -> impl Iterator<Item = &'a [u8]> {
    let named = fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name));
    named.map(|field| field.value)
}

/// Reports whether one of the fields with this name contains the token in its list.
fn has_token(fields: &[Header<'_>], name: &str, token: &str) -> bool {
    let mut tokens = values(fields, name).flat_map(|value| value.split(|byte| *byte == b','));
    tokens.any(|found| found.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// The present time in the format of HTTP. The text is formatted at most once a second.
#[derive(Default)]
pub struct Date {
    second: u64,
    text: String,
}

impl Date {
    pub fn now(&mut self) -> &str {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.second != since_epoch.as_secs() || self.text.is_empty() {
            self.second = since_epoch.as_secs();
            self.text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(self.second));
        }
        &self.text
    }
}

/// Appends the answer to a request. The answer contains nothing that the client has sent, so no client can
/// add lines to it.
pub fn append_answer(answers: &mut Vec<u8>, request: &Request, date: &str) {
    let Status { code, phrase, reason } = request.status;
    let body =
        if code == OK.code { PAGE.to_owned() } else { format!("{code} {phrase}: {reason}\n") };
    let mut head = format!("HTTP/1.1 {code} {phrase}\r\nDate: {date}\r\n");
    // Writing to a String does not fail.
    let _ = write!(head, "Content-Type: text/plain\r\nContent-Length: {}\r\n", body.len());
    if code == METHOD_NOT_ALLOWED.code {
        head.push_str("Allow: GET, HEAD\r\n");
    }
    if !request.keeps_connection {
        head.push_str("Connection: close\r\n");
    } else if request.is_http_1_0 {
        head.push_str("Connection: keep-alive\r\n"); // HTTP/1.1 keeps a connection by default
    }
    head.push_str("\r\n");
    answers.extend_from_slice(head.as_bytes());
    if !request.is_head {
        answers.extend_from_slice(body.as_bytes());
    }
}
