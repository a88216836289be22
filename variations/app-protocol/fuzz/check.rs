//! A check that must pass for any bytes. The fuzz target and the test of the corpus share it.

use app_protocol::message::MAX_CONTENT;
use app_protocol::{Incoming, Message, MessageError};

/// Checks that several short reads have the same result as one read of all the bytes.
pub fn check(data: &[u8]) {
    let whole = read_in(data, data.len().max(1));
    for len in [1, 2, 3, 7, 100, 4096] {
        assert_eq!(read_in(data, len), whole, "in reads of {len} bytes");
    }
    if let Ok(Some(message)) = whole {
        check_message(&message);
    }
}

fn read_in(data: &[u8], len: usize) -> Result<Option<Message>, MessageError> {
    let mut incoming = Incoming::request();
    for bytes in data.chunks(len) {
        match incoming.push(bytes) {
            Ok(None) => {}
            // The message is complete or wrong. Further bytes change nothing.
            result => {
                assert_eq!(incoming.push(data), Ok(None));
                assert_eq!(incoming.finish(), Ok(()));
                return result;
            }
        }
    }
    assert_eq!(incoming.finish().is_ok(), data.is_empty());
    Ok(None)
}

fn check_message(message: &Message) {
    assert!(!message.to_string().contains(|ch: char| ch.is_control() && ch != '\t'));
    let Message::Binary { bytes, .. } = message else { return };
    assert!(bytes.len() <= MAX_CONTENT);
    // Any message that was received can be sent, unless its header, in our format, exceeds the limit.
    if let Ok(encoded) = message.encode() {
        assert_eq!(Incoming::request().push(&encoded), Ok(Some(message.clone())));
    }
}
