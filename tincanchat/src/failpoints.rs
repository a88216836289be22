//! Fail points: the places at which a test can make a server panic in the handler of one client.
//!
//! The variable `FAILPOINTS` sets them, and `serverkit` reads it when the log starts:
//! `FAILPOINTS='receive=return(panic!);queue=return(1000)'`. The crate `fail` explains the syntax. A point
//! that is set to `return(..)` panics if the client's data match the text in parentheses. So a test selects
//! the client by what it sends, and the handlers of all other clients pass the point.

use fail::fail_point;

/// Is passed with the text of each message that has been received, when it is logged. Panics if the text
/// contains the text that is set.
pub(crate) fn receive(text: &str) {
    fail_point!("receive", |part| {
        let matches = part.is_none_or(|part| text.contains(&part));
        // The log escapes this text with the function that contains the fail point. So it must not contain
        // the message.
        assert!(!matches, "at the fail point \"receive\"");
    });
}

/// Is passed when a client's queue is about to get an entry. Panics if the entry has the number of bytes
/// that is set.
pub(crate) fn queue(bytes: usize) {
    fail_point!("queue", |number| {
        assert!(!is_number(number.as_deref(), bytes), "at the fail point \"queue\"");
    });
}

/// Is passed when the kernel has accepted bytes from a client's queue. Panics if it is the number of bytes
/// that is set.
pub(crate) fn send(bytes: usize) {
    fail_point!("send", |number| {
        assert!(!is_number(number.as_deref(), bytes), "at the fail point \"send\"");
    });
}

fn is_number(number: Option<&str>, bytes: usize) -> bool {
    number.is_none_or(|number| number == bytes.to_string())
}
