//! A message: the length of its header, the header, and the content.
//!
//! ```text
//! 2 bytes      the length of the header in bytes, big-endian
//! the header   a JSON object, in UTF-8: byteorder, content-type, content-encoding, content-length
//! the content  content-length bytes: a JSON object if content-type is text/json, otherwise any bytes
//! ```
//!
//! ```
//! use app_protocol::{Incoming, Message};
//!
//! let request = Message::json([("action", "search"), ("value", "ring")]);
//! let bytes = request.encode()?;
//! assert_eq!(bytes[0], 0); // the header has fewer than 256 bytes
//! assert_eq!(&bytes[2..14], br#"{"byteorder""#);
//!
//! let mut incoming = Incoming::request();
//! let (first_read, second_read) = bytes.split_at(40); // in the middle of the header
//! assert_eq!(incoming.push(first_read)?, None);
//! assert_eq!(incoming.push(second_read)?, Some(request));
//! # Ok::<(), app_protocol::MessageError>(())
//! ```

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use serde_json::{Map, Value};
use thiserror::Error;
use tincanchat::printable;

/// The most bytes of content that a server accepts: 1 MiB.
///
/// The length arrives before the content. Without a limit, a client could announce any length, and make the
/// server keep that many bytes.
pub const MAX_CONTENT: usize = 1024 * 1024;

/// The most bytes of content that a client accepts. An answer may quote a whole request, with a few words.
pub const MAX_ANSWER: usize = MAX_CONTENT + 64;

/// How many bytes the header's length takes.
const LENGTH_BYTES: usize = 2;

/// How many bytes of the content, or of a wrong value, a log line shows.
const EXCERPT: usize = 200;

// The fields of a header.
const BYTEORDER: &str = "byteorder";
const CONTENT_TYPE: &str = "content-type";
const CONTENT_ENCODING: &str = "content-encoding";
const CONTENT_LENGTH: &str = "content-length";

/// The only content type whose content is parsed.
const TEXT_JSON: &str = "text/json";

/// A message without the fields that only its transport needs: the length of the content, and the sender's
/// byte order.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// Content of the type `text/json`.
    Json(Map<String, Value>),
    /// Content of any other type.
    Binary {
        /// The type of the content, a name that the sender chooses.
        content_type: String,
        /// The encoding of the content, a name that the sender chooses.
        content_encoding: String,
        /// The content.
        bytes: Vec<u8>,
    },
}

/// A message as it is sent: the values for its header, and its content as bytes.
struct RawMessage<'a> {
    content_type: &'a str,
    content_encoding: &'a str,
    content: Cow<'a, [u8]>,
}

impl Message {
    /// Returns a message of the type `text/json`: an object with these names and these strings as values.
    #[must_use]
    pub fn json<const N: usize>(fields: [(&str, &str); N]) -> Self {
        let fields = fields.map(|(name, text)| (name.to_owned(), Value::from(text)));
        Message::Json(Map::from_iter(fields))
    }

    /// Returns a message of any type except `text/json`, with the encoding `binary`.
    #[must_use]
    pub fn binary(content_type: &str, bytes: Vec<u8>) -> Self {
        Message::Binary {
            content_type: content_type.to_owned(),
            content_encoding: "binary".to_owned(),
            bytes,
        }
    }

    /// Returns the bytes of the message as it is sent.
    ///
    /// # Errors
    ///
    /// [`MessageError::TooLong`] if the content has more than [`MAX_ANSWER`] bytes, which no receiver
    /// accepts, or if the header has more than 65,535 bytes.
    pub fn encode(&self) -> Result<Vec<u8>, MessageError> {
        let RawMessage { content_type, content_encoding, content } = self.raw();
        check_length(Part::Content, content.len(), MAX_ANSWER)?;
        let byteorder = if cfg!(target_endian = "big") { "big" } else { "little" };
        let header = json_object([
            (BYTEORDER, &byteorder.into()),
            (CONTENT_TYPE, &content_type.into()),
            (CONTENT_ENCODING, &content_encoding.into()),
            (CONTENT_LENGTH, &content.len().into()),
        ]);
        check_length(Part::Header, header.len(), u16::MAX.into())?;
        let header_length = u16::try_from(header.len()).unwrap_or(u16::MAX).to_be_bytes();
        Ok([&header_length, header.as_bytes(), &content].concat())
    }

    fn raw(&self) -> RawMessage<'_> {
        match self {
            Message::Json(object) => {
                let json = json_object(object.iter().map(|(name, value)| (name.as_str(), value)));
                RawMessage {
                    content_type: TEXT_JSON,
                    content_encoding: "utf-8",
                    content: Cow::Owned(json.into_bytes()),
                }
            }
            Message::Binary { content_type, content_encoding, bytes } => {
                RawMessage { content_type, content_encoding, content: Cow::Borrowed(bytes) }
            }
        }
    }
}

/// Formats a message for a log line: its type, and the first bytes of its content.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RawMessage { content_type, content, .. } = self.raw();
        write!(f, "{}: {}", excerpt(content_type.as_bytes()), excerpt(&content))
    }
}

/// Returns the first 200 of the given bytes, which a peer has sent, as one line of text.
fn excerpt(bytes: &[u8]) -> String {
    let start = String::from_utf8_lossy(bytes.get(..EXCERPT).unwrap_or(bytes));
    let ellipsis = if bytes.len() > EXCERPT { "…" } else { "" };
    format!("{}{ellipsis}", printable(&start))
}

/// Returns a JSON object with a space after each of its own colons and commas, as Python's `json.dumps`
/// writes it.
fn json_object<'a>(fields: impl IntoIterator<Item = (&'a str, &'a Value)>) -> String {
    let mut json = String::from("{");
    let mut separator = "";
    for (name, value) in fields {
        // A String accepts whatever is written to it.
        let _ = write!(json, "{separator}{}: {value}", Value::from(name));
        separator = ", ";
    }
    json.push('}');
    json
}

/// A message that is arriving: a state machine with a state for each part of the message.
#[derive(Debug)]
pub struct Incoming {
    state: State,
    /// The bytes that have arrived of the part that the machine is waiting for, and any bytes after it.
    bytes: Vec<u8>,
    max_content: usize,
}

/// The part that an incoming message is waiting for.
#[derive(Debug)]
enum State {
    HeaderLength,
    Header {
        len: usize,
    },
    Content(Header),
    /// No part: the message is complete, or it is wrong. Further bytes are ignored.
    Done,
}

impl Incoming {
    /// Returns the state machine for a server, which accepts up to [`MAX_CONTENT`] bytes of content.
    #[must_use]
    pub fn request() -> Self {
        Incoming { state: State::HeaderLength, bytes: Vec::new(), max_content: MAX_CONTENT }
    }

    /// Returns the state machine for a client, which accepts up to [`MAX_ANSWER`] bytes of content.
    #[must_use]
    pub fn answer() -> Self {
        Incoming { max_content: MAX_ANSWER, ..Self::request() }
    }

    /// Takes the bytes of one read, however the network has cut them. Returns the message as soon as it is
    /// complete, and `None` before and after that.
    ///
    /// # Errors
    ///
    /// A [`MessageError`] as soon as it is clear that the bytes are not a valid message. The error is
    /// returned once.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Option<Message>, MessageError> {
        if matches!(self.state, State::Done) {
            return Ok(None);
        }
        self.bytes.extend_from_slice(bytes);
        let result = self.advance();
        let is_waiting = matches!(result, Ok(None));
        if !is_waiting {
            self.state = State::Done;
            self.bytes = Vec::new();
        }
        result
    }

    /// Goes from state to state as long as all bytes of a part have arrived.
    fn advance(&mut self) -> Result<Option<Message>, MessageError> {
        loop {
            let needed = self.needed();
            let Some(part) = self.bytes.get(..needed) else {
                return Ok(None);
            };
            let next = match &self.state {
                State::HeaderLength => {
                    let len = u16::from_be_bytes([part[0], part[1]]);
                    State::Header { len: len.into() }
                }
                State::Header { .. } => State::Content(Header::parse(part, self.max_content)?),
                State::Content(header) => return header.message(part).map(Some),
                State::Done => return Ok(None),
            };
            self.bytes.drain(..needed);
            self.state = next;
        }
    }

    /// Returns the length, in bytes, of the part that the machine is waiting for.
    fn needed(&self) -> usize {
        match &self.state {
            State::HeaderLength => LENGTH_BYTES,
            State::Header { len } => *len,
            State::Content(header) => header.content_length,
            State::Done => 0,
        }
    }

    /// Checks, after the peer has shut down its sending side, that no message is unfinished.
    ///
    /// # Errors
    ///
    /// [`MessageError::Incomplete`] if a message has begun and is not complete.
    pub fn finish(&self) -> Result<(), MessageError> {
        let part = match &self.state {
            State::HeaderLength if self.bytes.is_empty() => return Ok(()),
            State::HeaderLength => Part::HeaderLength,
            State::Header { .. } => Part::Header,
            State::Content(_) => Part::Content,
            State::Done => return Ok(()),
        };
        let len = self.needed();
        let missing = len - self.bytes.len();
        Err(MessageError::Incomplete { part, missing, len })
    }
}

/// The description of the content in a header.
#[derive(Debug)]
struct Header {
    content_type: String,
    encoding: String,
    content_length: usize,
}

impl Header {
    fn parse(bytes: &[u8], max_content: usize) -> Result<Self, MessageError> {
        let header = parse_object(bytes, Part::Header)?;
        let byteorder = string_field(&header, BYTEORDER, Part::Header)?;
        if !matches!(byteorder, "little" | "big") {
            let expected = "`little` or `big`";
            return Err(wrong_field(Part::Header, BYTEORDER, &byteorder.into(), expected));
        }
        let content_type = string_field(&header, CONTENT_TYPE, Part::Header)?;
        let content_encoding = string_field(&header, CONTENT_ENCODING, Part::Header)?;
        let is_utf_8 = content_encoding.eq_ignore_ascii_case("utf-8")
            || content_encoding.eq_ignore_ascii_case("utf8");
        if content_type == TEXT_JSON && !is_utf_8 {
            let found = content_encoding.into();
            return Err(wrong_field(Part::Header, CONTENT_ENCODING, &found, "`utf-8`"));
        }
        let length = field(&header, CONTENT_LENGTH, Part::Header)?;
        let content_length = length.as_u64().and_then(|length| usize::try_from(length).ok());
        match content_length {
            Some(content_length) if content_length <= max_content => Ok(Header {
                content_type: content_type.to_owned(),
                encoding: content_encoding.to_owned(),
                content_length,
            }),
            _ => {
                let expected = format!("an integer from 0 to {max_content}");
                Err(wrong_field(Part::Header, CONTENT_LENGTH, length, &expected))
            }
        }
    }

    /// Returns the message that has this header and this content.
    fn message(&self, content: &[u8]) -> Result<Message, MessageError> {
        if self.content_type == TEXT_JSON {
            let object = parse_object(content, Part::Content)?;
            return Ok(Message::Json(object));
        }
        Ok(Message::Binary {
            content_type: self.content_type.clone(),
            content_encoding: self.encoding.clone(),
            bytes: content.to_vec(),
        })
    }
}

/// A part of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The two bytes before the header, which contain its length.
    HeaderLength,
    /// The type, the encoding and the length of the content, and the sender's byte order.
    Header,
    /// The content.
    Content,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Part::HeaderLength => "header length",
            Part::Header => "header",
            Part::Content => "content",
        })
    }
}

/// The error for a message that is wrong or incomplete.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MessageError {
    /// A part that must be JSON is not valid JSON.
    #[error("the {part} is not JSON: {why}")]
    NotJson {
        /// The part.
        part: Part,
        /// The message of the JSON parser.
        why: String,
    },
    /// A part is JSON, but not an object.
    #[error("the {part} is {found}, not a JSON object")]
    NotObject {
        /// The part.
        part: Part,
        /// The JSON type of the part, with its article.
        found: &'static str,
    },
    /// A field is missing.
    #[error("the {part} has no `{field}`")]
    MissingField {
        /// The part that has no such field.
        part: Part,
        /// The field's name.
        field: &'static str,
    },
    /// A field has a value of the wrong type, or a value that is not allowed.
    #[error("`{field}` in the {part} is {found}, not {expected}")]
    WrongField {
        /// The part that has the field.
        part: Part,
        /// The field's name.
        field: &'static str,
        /// The field's value or its first 200 bytes, as one line of text.
        found: String,
        /// A description of the allowed values.
        expected: String,
    },
    /// A part is too long to be sent.
    #[error("the {part} has {len} bytes, more than {limit}")]
    TooLong {
        /// The part.
        part: Part,
        /// Its length in bytes.
        len: usize,
        /// The most bytes that it may have.
        limit: usize,
    },
    /// The peer has shut down its sending side in the middle of a message.
    #[error("the {part} is incomplete: {missing} of {len} bytes missing")]
    Incomplete {
        /// The part.
        part: Part,
        /// How many of its bytes are missing.
        missing: usize,
        /// The length of the whole part in bytes.
        len: usize,
    },
}

/// Returns the value of a string field in the content of a message.
///
/// # Errors
///
/// [`MessageError::MissingField`] if there is no such field; [`MessageError::WrongField`] if its value is
/// not a string.
///
/// ```
/// use app_protocol::{Message, message};
///
/// let Message::Json(object) = Message::json([("result", "42")]) else { unreachable!() };
/// assert_eq!(message::string_in(&object, "result"), Ok("42"));
/// let err = message::string_in(&object, "value").unwrap_err();
/// assert_eq!(err.to_string(), "the content has no `value`");
/// ```
pub fn string_in<'a>(
    content: &'a Map<String, Value>,
    name: &'static str,
) -> Result<&'a str, MessageError> {
    string_field(content, name, Part::Content)
}

fn string_field<'a>(
    object: &'a Map<String, Value>,
    name: &'static str,
    part: Part,
) -> Result<&'a str, MessageError> {
    let value = field(object, name, part)?;
    value.as_str().ok_or_else(|| wrong_field(part, name, value, "a string"))
}

fn field<'a>(
    object: &'a Map<String, Value>,
    name: &'static str,
    part: Part,
) -> Result<&'a Value, MessageError> {
    object.get(name).ok_or(MessageError::MissingField { part, field: name })
}

fn wrong_field(part: Part, field: &'static str, found: &Value, expected: &str) -> MessageError {
    let found = excerpt(found.to_string().as_bytes());
    MessageError::WrongField { part, field, found, expected: expected.to_owned() }
}

fn parse_object(bytes: &[u8], part: Part) -> Result<Map<String, Value>, MessageError> {
    let found = match serde_json::from_slice(bytes) {
        Ok(Value::Object(object)) => return Ok(object),
        Ok(Value::Array(_)) => "an array",
        Ok(Value::String(_)) => "a string",
        Ok(Value::Number(_)) => "a number",
        Ok(Value::Bool(_)) => "a boolean",
        Ok(Value::Null) => "null",
        Err(err) => return Err(MessageError::NotJson { part, why: err.to_string() }),
    };
    Err(MessageError::NotObject { part, found })
}

fn check_length(part: Part, len: usize, limit: usize) -> Result<(), MessageError> {
    if len > limit {
        return Err(MessageError::TooLong { part, len, limit });
    }
    Ok(())
}
