//! Fail points: the places at which a test can make a server panic in the handler of one client.
//!
//! The variable `FAILPOINTS` sets them, and `serverkit` reads it when the log starts:
//! `FAILPOINTS='receive=return(panic!);queue=return(1000)'`. The crate `fail` explains the syntax. A point
//! that is set to `return(..)` panics if the client's data match the text in parentheses. So a test selects
//! the client by what it sends, and the handlers of all other clients pass the point.

use fail::fail_point;

/// Panics if `text` contains the text that is set for `receive`. The function that escapes text for the log
/// calls it with each received message.
pub(crate) fn receive(text: &str) {
    fail_point!("receive", |part| {
        let matches = part.is_none_or(|part| text.contains(&part));
        // The log escapes the text of this panic too, and so passes this point again. So that text must not
        // contain the message.
        assert!(!matches, "at the fail point \"receive\"");
    });
}

/// Panics if `bytes` is the number that is set for `queue`. The limit of a queue calls this before it adds an
/// entry of `bytes` bytes.
pub(crate) fn queue(bytes: usize) {
    fail_point!("queue", |number| {
        assert!(!is_number(number.as_deref(), bytes), "at the fail point \"queue\"");
    });
}

/// Panics if `bytes` is the number that is set for `send`. The limit of a queue calls this when the kernel
/// has accepted `bytes` bytes.
pub(crate) fn send(bytes: usize) {
    fail_point!("send", |number| {
        assert!(!is_number(number.as_deref(), bytes), "at the fail point \"send\"");
    });
}

fn is_number(number: Option<&str>, bytes: usize) -> bool {
    number.is_none_or(|number| number == bytes.to_string())
}
