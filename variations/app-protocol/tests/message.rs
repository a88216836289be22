//! Checks that messages may be cut anywhere, and that wrong messages have the right errors.
// A panic fails the test, as it should.
#![allow(clippy::unwrap_used)]

use app_protocol::message::{MAX_ANSWER, MAX_CONTENT, Part};
use app_protocol::{Incoming, Message, MessageError};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::Value;

fn any_message() -> impl Strategy<Value = Message> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(3, 12, 4, |inner| vec(inner, 0..4).prop_map(Value::from));
    let json = btree_map(any::<String>(), value, 0..4)
        .prop_map(|object| Message::Json(object.into_iter().collect()));
    let binary = (any::<String>(), any::<String>(), vec(any::<u8>(), 0..200))
        .prop_filter("not the type of JSON", |(content_type, ..)| content_type != "text/json")
        .prop_map(|(content_type, content_encoding, bytes)| Message::Binary {
            content_type,
            content_encoding,
            bytes,
        });
    prop_oneof![json, binary]
}

/// Returns the message, and the number of reads after which it was complete.
fn read_in<'a>(reads: impl IntoIterator<Item = &'a [u8]>) -> (Option<Message>, usize) {
    let mut incoming = Incoming::request();
    for (i, bytes) in reads.into_iter().enumerate() {
        if let Some(message) = incoming.push(bytes).unwrap() {
            return (Some(message), i + 1);
        }
        assert!(i == 0 && bytes.is_empty() || incoming.finish().is_err());
    }
    (None, 0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_message_arrives_through_every_split(message in any_message()) {
        let bytes = message.encode().unwrap();
        for at in 0..bytes.len() {
            let (first, second) = bytes.split_at(at);
            prop_assert_eq!(read_in([first, second]), (Some(message.clone()), 2));
        }
        prop_assert_eq!(read_in(bytes.chunks(1)), (Some(message), bytes.len()));
    }

    #[test]
    fn every_message_arrives_through_many_cuts(
        message in any_message(),
        cuts in vec(any::<prop::sample::Index>(), 0..10),
        more in vec(any::<u8>(), 0..100),
    ) {
        let bytes = [message.encode().unwrap(), more].concat();
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let reads = cuts.windows(2).map(|ends| &bytes[ends[0]..ends[1]]);
        prop_assert_eq!(read_in(reads).0, Some(message));
    }
}

/// Returns a message with this header.
fn with_header(header: &str, content: &[u8]) -> Vec<u8> {
    let len = u16::try_from(header.len()).unwrap().to_be_bytes();
    [&len, header.as_bytes(), content].concat()
}

/// Returns a valid header with one change.
fn header(old: &str, new: &str) -> String {
    let right = r#"{"byteorder": "big", "content-type": "text/json", "content-encoding": "utf-8", "content-length": 2}"#;
    assert!(right.contains(old), "{old}");
    right.replace(old, new)
}

#[track_caller]
fn assert_wrong(bytes: &[u8], expected: &str) {
    let err = Incoming::request().push(bytes).unwrap_err();
    assert_eq!(err.to_string(), expected);
    assert!(!expected.contains(char::is_control));
}

#[test]
fn each_field_of_a_header_is_required() {
    for (field, rest) in [
        ("byteorder", r#""byteorder": "big", "#),
        ("content-type", r#""content-type": "text/json", "#),
        ("content-encoding", r#""content-encoding": "utf-8", "#),
        ("content-length", r#", "content-length": 2"#),
    ] {
        let err = Incoming::request().push(&with_header(&header(rest, ""), b"{}")).unwrap_err();
        assert_eq!(err, MessageError::MissingField { part: Part::Header, field });
        assert_eq!(err.to_string(), format!("the header has no `{field}`"));
    }
}

#[test]
fn a_wrong_field_is_named_with_its_value() {
    let length = "an integer from 0 to 1048576";
    for (old, new, expected) in [
        (
            r#""big""#,
            r#""middle""#,
            r#"`byteorder` in the header is "middle", not `little` or `big`"#,
        ),
        (r#""big""#, "1", "`byteorder` in the header is 1, not a string"),
        (r#""text/json""#, "[1,2]", "`content-type` in the header is [1,2], not a string"),
        (r#""utf-8""#, "null", "`content-encoding` in the header is null, not a string"),
        (
            r#""utf-8""#,
            r#""latin-1""#,
            r#"`content-encoding` in the header is "latin-1", not `utf-8`"#,
        ),
        (": 2", ": -1", &format!("`content-length` in the header is -1, not {length}")),
        (": 2", ": 2.0", &format!("`content-length` in the header is 2.0, not {length}")),
        (": 2", ": true", &format!("`content-length` in the header is true, not {length}")),
        (": 2", r#": "2""#, &format!("`content-length` in the header is \"2\", not {length}")),
        (": 2", ": 1048577", &format!("`content-length` in the header is 1048577, not {length}")),
        (": 2", ": 1e99", &format!("`content-length` in the header is 1e+99, not {length}")),
        (
            "big",
            r"\u001b\u009b",
            r#"`byteorder` in the header is "\u001b\u{9b}", not `little` or `big`"#,
        ),
    ] {
        assert_wrong(&with_header(&header(old, new), b""), expected);
    }
    let long = header("big", &"x".repeat(10_000));
    let start = format!("\"{}…", "x".repeat(199));
    let expected = format!("`byteorder` in the header is {start}, not `little` or `big`");
    assert_wrong(&with_header(&long, b""), &expected);
}

#[test]
fn what_is_no_json_object_is_wrong() {
    for (header, is) in
        [("[]", "an array"), ("7", "a number"), ("null", "null"), ("true", "a boolean")]
    {
        assert_wrong(&with_header(header, b""), &format!("the header is {is}, not a JSON object"));
    }
    for content in ["[]", "\"\""] {
        let bytes = with_header(&header("2", "2"), content.as_bytes());
        let err = Incoming::request().push(&bytes).unwrap_err();
        assert!(matches!(err, MessageError::NotObject { part: Part::Content, .. }), "{err}");
    }
    for header in ["", "{", "{} {}", "'a'", "{\"a\": \u{feff}}"] {
        let err = Incoming::request().push(&with_header(header, b"")).unwrap_err();
        assert!(matches!(err, MessageError::NotJson { part: Part::Header, .. }), "{err}");
    }
    for content in [&b"{,"[..], b"  ", b"\xff\xfe"] {
        let bytes = with_header(&header("2", "2"), content);
        let err = Incoming::request().push(&bytes).unwrap_err();
        assert!(matches!(err, MessageError::NotJson { part: Part::Content, .. }), "{err}");
    }
    // Deep nesting does not overflow the stack.
    let deep = with_header(&"[".repeat(65_535), b"");
    assert!(Incoming::request().push(&deep).is_err());
}

#[test]
fn unknown_fields_of_a_header_are_ignored() {
    let more = header("{", r#"{"x-learner": [1, {"a": null}], "#);
    assert!(Incoming::request().push(&with_header(&more, b"{}")).unwrap().is_some());
    for encoding in ["UTF-8", "utf8"] {
        let bytes = with_header(&header("utf-8", encoding), b"{}");
        assert!(Incoming::request().push(&bytes).unwrap().is_some());
    }
}

#[test]
fn a_content_has_at_most_one_mebibyte() {
    let longest = Message::binary("zeros", vec![0; MAX_CONTENT]);
    assert_eq!(Incoming::request().push(&longest.encode().unwrap()), Ok(Some(longest)));
    let answer = Message::binary("zeros", vec![0; MAX_ANSWER]);
    let bytes = answer.encode().unwrap();
    assert!(Incoming::request().push(&bytes).is_err());
    assert_eq!(Incoming::answer().push(&bytes), Ok(Some(answer)));
    let err = Message::binary("zeros", vec![0; MAX_ANSWER + 1]).encode().unwrap_err();
    assert_eq!(err.to_string(), "the content has 1048641 bytes, more than 1048640");
    let err = Message::binary(&"x".repeat(70_000), Vec::new()).encode().unwrap_err();
    assert!(matches!(err, MessageError::TooLong { part: Part::Header, .. }), "{err}");
}

#[test]
fn an_incomplete_message_says_how_many_bytes_are_missing() {
    let bytes = Message::json([("action", "search")]).encode().unwrap();
    let header = usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
    let content = bytes.len() - 2 - header;
    for (received, part, missing, len) in [
        (1, "header length", 1, 2),
        (2, "header", header, header),
        (12, "header", header - 10, header),
        (2 + header, "content", content, content),
        (bytes.len() - 1, "content", 1, content),
    ] {
        let mut incoming = Incoming::request();
        assert_eq!(incoming.push(&bytes[..received]), Ok(None));
        let err = incoming.finish().unwrap_err().to_string();
        assert_eq!(err, format!("the {part} is incomplete: {missing} of {len} bytes missing"));
    }
    assert_eq!(Incoming::request().finish(), Ok(()));
}
