//! Recognises events in a server's log, whatever stands before them in their line.

use std::net::SocketAddr;

use anyhow::Result;

use probe::server::{OutputLines, Server};
use probe::{TIMEOUT, fail, wait_until};

/// Whether a line reports an event: its text ends the line and does not begin inside a word.
pub fn reports(line: &str, event: &str) -> bool {
    line.strip_suffix(event).is_some_and(|before| before.is_empty() || before.ends_with(' '))
}

/// The line of a client that has come.
pub fn came(addr: SocketAddr) -> String {
    format!("Connection from {addr}")
}

/// The line of a client that has left.
pub fn left(addr: SocketAddr) -> String {
    format!("Client {addr} disconnected")
}

/// The line, and the relay, of what a client said.
pub fn said(addr: SocketAddr, text: &str) -> String {
    format!("{addr}: {text}")
}

/// Waits for an event in the log.
pub fn wait_for(server: &Server, event: &str) -> Result<()> {
    server.wait_for_log(&format!("`{event}`"), |line| reports(line, event)).map(drop)
}

/// How many lines report an event.
pub fn count(log: &OutputLines, event: &str) -> usize {
    log.count(|line| reports(line, event))
}

/// The log must have one line for the event, or get one, and no more so far.
pub fn expect_once(log: &OutputLines, event: &str) -> Result<()> {
    log.wait_for(TIMEOUT, |line| reports(line, event));
    match count(log, event) {
        1 => Ok(()),
        n => fail("read the log", format!("one line `{event}`"), format!("{n} of\n{log}")),
    }
}

/// All who came must leave but for so many, each with one line.
pub fn expect_all_left_but(server: &Server, stay: usize) -> Result<()> {
    let log = server.log();
    let gone = || {
        let came = log.count(|line| line.contains("Connection from "));
        let left = log.count(|line| line.contains("Client ") && line.ends_with(" disconnected"));
        (came, left)
    };
    if wait_until(TIMEOUT, || Ok(gone().0 == gone().1 + stay))? {
        return Ok(());
    }
    let (came, left) = gone();
    fail("let clients leave", format!("all but {stay} leave"), format!("{left} of {came} left"))
}

/// Whether a line is a warning or worse.
pub fn is_warning(line: &str) -> bool {
    line.contains("WARN") || line.contains("ERROR")
}

/// Whether a line about this client is none of the three that every client has.
pub fn is_about(line: &str, addr: SocketAddr) -> bool {
    let known = [came(addr), left(addr)];
    line.contains(&addr.to_string()) && !known.iter().any(|event| reports(line, event))
}

/// The numbers in a warning, apart from its time and from addresses.
pub fn numbers(line: &str) -> Vec<u64> {
    let text = line.find("WARN").or_else(|| line.find("ERROR")).map_or(line, |at| &line[at..]);
    text.split_whitespace()
        .filter(|word| word.trim_end_matches([':', ',', '.']).parse::<SocketAddr>().is_err())
        .flat_map(|word| word.split(|ch: char| !ch.is_ascii_digit()))
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_ends_its_line_and_is_not_part_of_a_longer_word() {
        assert!(reports("12:00 INFO 1.2.3.4:5: hi", "1.2.3.4:5: hi"));
        assert!(reports("1.2.3.4:5: hi", "1.2.3.4:5: hi"));
        assert!(!reports("11.2.3.4:5: hi", "1.2.3.4:5: hi"));
        assert!(!reports("1.2.3.4:5: hi!", "1.2.3.4:5: hi"));
    }

    #[test]
    fn addresses_and_times_are_no_numbers() {
        let line = "2026-01-01T10:00:00Z  WARN 1.2.3.4:99: too slow: 300 bytes, [::1]:7, 2.5s";
        assert_eq!(numbers(line), [300, 2, 5]);
    }
}
