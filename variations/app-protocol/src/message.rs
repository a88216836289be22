//! A message: the length of its header, the header, and the content.
//!
//! ```text
//! 2 bytes      the length of the header, the high byte first
//! the header   a JSON object, in UTF-8: byteorder, content-type, content-encoding, content-length
//! the content  content-length bytes; of text/json a JSON object, else any bytes
//! ```
//!
//! ```
//! use app_protocol::{Incoming, Message};
//!
//! let request = Message::json([("action", "search"), ("value", "ring")]);
//! let bytes = request.encode()?;
//! assert_eq!(bytes[0], 0); // the header has less than 256 bytes
//! assert_eq!(&bytes[2..14], br#"{"byteorder""#);
//!
//! let mut incoming = Incoming::request();
//! let (first_read, second_read) = bytes.split_at(40); // amid the header
//! assert_eq!(incoming.push(first_read)?, None);
//! assert_eq!(incoming.push(second_read)?, Some(request));
//! # Ok::<(), app_protocol::MessageError>(())
//! ```

use std::fmt;

use serde_json::{Map, Value};
use thiserror::Error;
use tincanchat::printable;

/// The most bytes of content that a server takes: 1 MiB.
///
/// The length comes before the content, so without a limit one client could announce, and have kept,
/// as much as it likes.
pub const MAX_CONTENT: usize = 1024 * 1024;

/// The most bytes of content that a client takes: an answer may quote all of a request.
pub const MAX_ANSWER: usize = MAX_CONTENT + 64;

/// How many bytes of a content a log line shows.
const SHOWN: usize = 200;

const BYTEORDER: &str = "byteorder";
const CONTENT_TYPE: &str = "content-type";
const CONTENT_ENCODING: &str = "content-encoding";
const CONTENT_LENGTH: &str = "content-length";

/// The content type that is looked into.
const TEXT_JSON: &str = "text/json";

/// A message, as far as the two sides care: its length and byte order are the sender's affair.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// Content of the type `text/json`.
    Json(Map<String, Value>),
    /// Content of any other type.
    Binary {
        /// What the sender calls its type.
        content_type: String,
        /// What the sender calls its encoding.
        content_encoding: String,
        /// The content.
        bytes: Vec<u8>,
    },
}

impl Message {
    /// A JSON object with these texts in it.
    #[must_use]
    pub fn json<const N: usize>(fields: [(&str, &str); N]) -> Self {
        Message::Json(
            fields.map(|(name, text)| (name.to_owned(), text.into())).into_iter().collect(),
        )
    }

    /// Bytes of this type, which is not `text/json`.
    #[must_use]
    pub fn binary(content_type: &str, bytes: Vec<u8>) -> Self {
        let (content_type, content_encoding) = (content_type.to_owned(), "binary".to_owned());
        Message::Binary { content_type, content_encoding, bytes }
    }

    /// The message as it goes over the wire.
    ///
    /// # Errors
    ///
    /// It is longer than any peer would take.
    pub fn encode(&self) -> Result<Vec<u8>, MessageError> {
        let json;
        let (content_type, content_encoding, content) = match self {
            Message::Json(object) => {
                json = json_text(object);
                (TEXT_JSON, "utf-8", json.as_bytes())
            }
            Message::Binary { content_type, content_encoding, bytes } => {
                (content_type.as_str(), content_encoding.as_str(), &bytes[..])
            }
        };
        if content.len() > MAX_ANSWER {
            return Err(too_long(Part::Content, content.len(), MAX_ANSWER));
        }
        let header = format!(
            "{{\"{BYTEORDER}\": \"{}\", \"{CONTENT_TYPE}\": {}, \"{CONTENT_ENCODING}\": {}, \
             \"{CONTENT_LENGTH}\": {}}}",
            if cfg!(target_endian = "big") { "big" } else { "little" },
            Value::from(content_type),
            Value::from(content_encoding),
            content.len()
        );
        let header_len = u16::try_from(header.len())
            .map_err(|_| too_long(Part::Header, header.len(), u16::MAX.into()))?;
        Ok([&header_len.to_be_bytes(), header.as_bytes(), content].concat())
    }
}

/// Shows a message in a line of the log: its type, and the start of its content.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json;
        let (content_type, content) = match self {
            Message::Json(object) => {
                json = json_text(object);
                (TEXT_JSON, json.as_bytes())
            }
            Message::Binary { content_type, bytes, .. } => (content_type.as_str(), &bytes[..]),
        };
        write!(f, "{}: {}", start(content_type.as_bytes()), start(content))
    }
}

/// The start of what came from the network, fit for a terminal.
fn start(bytes: &[u8]) -> String {
    let start = String::from_utf8_lossy(bytes.get(..SHOWN).unwrap_or(bytes));
    let cut = if bytes.len() > SHOWN { "…" } else { "" };
    format!("{}{cut}", printable(&start))
}

/// JSON with a blank after each comma and colon, as most who write it by hand do.
fn json_text(object: &Map<String, Value>) -> String {
    let fields = object.iter().map(|(name, value)| format!("{}: {value}", Value::from(&**name)));
    format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
}

/// A message that is on its way in: a state for each part that it is made of.
#[derive(Debug)]
pub struct Incoming {
    /// What has arrived of the part that is waited for.
    bytes: Vec<u8>,
    state: State,
    max_content: usize,
}

#[derive(Debug)]
enum State {
    HeaderLength,
    Header {
        len: usize,
    },
    Content(Header),
    /// The message is whole, or wrong. What follows is ignored.
    Over,
}

impl Incoming {
    /// For a server.
    #[must_use]
    pub fn request() -> Self {
        Incoming { bytes: Vec::new(), state: State::HeaderLength, max_content: MAX_CONTENT }
    }

    /// For a client.
    #[must_use]
    pub fn answer() -> Self {
        Incoming { max_content: MAX_ANSWER, ..Self::request() }
    }

    /// Takes the bytes of one read, however the network has cut them, and gives the message once it is
    /// whole.
    ///
    /// # Errors
    ///
    /// What is wrong with the message, as soon as it can be known.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Option<Message>, MessageError> {
        if matches!(self.state, State::Over) {
            return Ok(None);
        }
        self.bytes.extend_from_slice(bytes);
        let result = self.advance();
        if !matches!(result, Ok(None)) {
            (self.state, self.bytes) = (State::Over, Vec::new());
        }
        result
    }

    /// Goes from state to state as far as the bytes reach.
    fn advance(&mut self) -> Result<Option<Message>, MessageError> {
        loop {
            let Some(part) = self.bytes.get(..self.needed()) else { return Ok(None) };
            let next = match &self.state {
                State::HeaderLength => {
                    let len = part.iter().fold(0, |len, byte| 256 * len + usize::from(*byte));
                    State::Header { len }
                }
                State::Header { .. } => State::Content(Header::parse(part, self.max_content)?),
                State::Content(header) => return header.message(part).map(Some),
                State::Over => return Ok(None),
            };
            self.bytes.drain(..self.needed());
            self.state = next;
        }
    }

    /// The bytes of the part that is waited for.
    fn needed(&self) -> usize {
        match &self.state {
            State::HeaderLength => 2,
            State::Header { len } => *len,
            State::Content(header) => header.len,
            State::Over => 0,
        }
    }

    /// Says what is missing of a message of which no more will come; nothing of one that was not
    /// begun.
    ///
    /// # Errors
    ///
    /// The part that is not whole, and how much of it is missing.
    pub fn finish(&self) -> Result<(), MessageError> {
        let part = match &self.state {
            State::HeaderLength if self.bytes.is_empty() => return Ok(()),
            State::HeaderLength => Part::HeaderLength,
            State::Header { .. } => Part::Header,
            State::Content(_) => Part::Content,
            State::Over => return Ok(()),
        };
        let missing = self.needed() - self.bytes.len();
        Err(MessageError::Unfinished { part, missing })
    }
}

/// What a header says of the content.
#[derive(Debug)]
struct Header {
    content_type: String,
    encoding: String,
    len: usize,
}

impl Header {
    fn parse(bytes: &[u8], max_content: usize) -> Result<Self, MessageError> {
        let object = parse_object(bytes, Part::Header)?;
        let text = |field| text(&object, field, Part::Header);
        let byteorder = text(BYTEORDER)?;
        if !matches!(byteorder, "little" | "big") {
            return Err(wrong(Part::Header, BYTEORDER, &byteorder.into(), "`little` or `big`"));
        }
        let (content_type, encoding) = (text(CONTENT_TYPE)?, text(CONTENT_ENCODING)?);
        let is_utf_8 = ["utf-8", "utf8"].iter().any(|it| encoding.eq_ignore_ascii_case(it));
        if content_type == TEXT_JSON && !is_utf_8 {
            return Err(wrong(Part::Header, CONTENT_ENCODING, &encoding.into(), "`utf-8`"));
        }
        let length = field(&object, CONTENT_LENGTH, Part::Header)?;
        let len = length.as_u64().and_then(|length| usize::try_from(length).ok());
        let Some(len) = len.filter(|length| *length <= max_content) else {
            let expected = format!("a whole number from 0 to {max_content}");
            return Err(wrong(Part::Header, CONTENT_LENGTH, length, &expected));
        };
        let (content_type, encoding) = (content_type.to_owned(), encoding.to_owned());
        Ok(Header { content_type, encoding, len })
    }

    fn message(&self, content: &[u8]) -> Result<Message, MessageError> {
        if self.content_type == TEXT_JSON {
            return parse_object(content, Part::Content).map(Message::Json);
        }
        let (content_type, content_encoding) = (self.content_type.clone(), self.encoding.clone());
        Ok(Message::Binary { content_type, content_encoding, bytes: content.to_vec() })
    }
}

/// A part of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The two bytes before the header.
    HeaderLength,
    /// What says how long the content is, and what it is.
    Header,
    /// The content.
    Content,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Part::HeaderLength => "header's length",
            Part::Header => "header",
            Part::Content => "content",
        })
    }
}

/// What is wrong with a message.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MessageError {
    /// A part is not the JSON that it should be.
    #[error("the {part} is not JSON: {why}")]
    NotJson {
        /// Which part.
        part: Part,
        /// What the parser says.
        why: String,
    },
    /// A part is some other JSON than an object.
    #[error("the {part} is {found}, not a JSON object")]
    NotObject {
        /// Which part.
        part: Part,
        /// What it is.
        found: &'static str,
    },
    /// A field is not there.
    #[error("the {part} has no `{field}`")]
    Missing {
        /// In which part.
        part: Part,
        /// Which field.
        field: &'static str,
    },
    /// A field is there, but what it says makes no sense.
    #[error("`{field}` in the {part} is {found}, not {expected}")]
    Wrong {
        /// In which part.
        part: Part,
        /// Which field.
        field: &'static str,
        /// What it says, or the start of it, fit for a terminal.
        found: String,
        /// What it could say.
        expected: String,
    },
    /// A part is too long to be sent.
    #[error("the {part} has {len} bytes, more than {limit}")]
    TooLong {
        /// Which part.
        part: Part,
        /// Its length in bytes.
        len: usize,
        /// The most that it may have.
        limit: usize,
    },
    /// No more comes, and a part is not whole.
    #[error("{missing} bytes of the {part} are missing")]
    Unfinished {
        /// Which part.
        part: Part,
        /// How many bytes of it are missing.
        missing: usize,
    },
}

/// Gives a text in a message's content.
///
/// # Errors
///
/// It is not there, or is no text.
///
/// ```
/// use app_protocol::{Message, message};
///
/// let Message::Json(object) = Message::json([("result", "42")]) else { unreachable!() };
/// assert_eq!(message::text_in(&object, "result"), Ok("42"));
/// let err = message::text_in(&object, "value").unwrap_err();
/// assert_eq!(err.to_string(), "the content has no `value`");
/// ```
pub fn text_in<'a>(
    content: &'a Map<String, Value>,
    field: &'static str,
) -> Result<&'a str, MessageError> {
    text(content, field, Part::Content)
}

fn text<'a>(
    object: &'a Map<String, Value>,
    name: &'static str,
    part: Part,
) -> Result<&'a str, MessageError> {
    let value = field(object, name, part)?;
    value.as_str().ok_or_else(|| wrong(part, name, value, "a text"))
}

fn field<'a>(
    object: &'a Map<String, Value>,
    field: &'static str,
    part: Part,
) -> Result<&'a Value, MessageError> {
    object.get(field).ok_or(MessageError::Missing { part, field })
}

fn wrong(part: Part, field: &'static str, found: &Value, expected: &str) -> MessageError {
    // Fit for a terminal, and not all of what may be very long.
    let (found, expected) = (start(found.to_string().as_bytes()), expected.to_owned());
    MessageError::Wrong { part, field, found, expected }
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

fn too_long(part: Part, len: usize, limit: usize) -> MessageError {
    MessageError::TooLong { part, len, limit }
}
