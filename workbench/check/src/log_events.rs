//! Recognises events in a server's log. The text of an event ends its line, after the time and the level.

use std::net::SocketAddr;

use anyhow::Result;

use probe::server::{OutputLines, Server};
use probe::{TIMEOUT, fail, wait_until};

/// Reports whether a line is about an event: the event's text ends the line and does not begin inside a word.
pub fn ends_with_event(line: &str, event: &str) -> bool {
    line.strip_suffix(event).is_some_and(|before| before.is_empty() || before.ends_with(' '))
}

/// Returns the log line for a client that has connected.
pub fn connected_line(addr: SocketAddr) -> String {
    format!("Connection from {addr}")
}

/// Returns the log line for a client that has disconnected.
pub fn disconnected_line(addr: SocketAddr) -> String {
    format!("Client {addr} disconnected")
}

/// Returns the log line for a message of a client, which is also the relayed message.
pub fn message_line(addr: SocketAddr, text: &str) -> String {
    format!("{addr}: {text}")
}

/// Waits until the log has a line for this event.
pub fn wait_for(server: &Server, event: &str) -> Result<()> {
    server.wait_for_log(&format!("`{event}`"), |line| ends_with_event(line, event)).map(drop)
}

/// Returns how many lines report an event.
pub fn count(log: &OutputLines, event: &str) -> usize {
    log.count(|line| ends_with_event(line, event))
}

/// Waits until the log has a line for this event, and checks that it has only one.
pub fn expect_once(log: &OutputLines, event: &str) -> Result<()> {
    log.wait_for(TIMEOUT, |line| ends_with_event(line, event));
    match count(log, event) {
        1 => Ok(()),
        n => {
            fail("read the log", format!("one line `{event}`"), format!("{n} such lines in\n{log}"))
        }
    }
}

/// Waits until the log has a disconnect line for each client that has connected, except for `stay` clients.
pub fn expect_all_left_but(server: &Server, stay: usize) -> Result<()> {
    let log = server.log();
    let counts = || {
        let came = log.count(|line| line.contains("Connection from "));
        let left = log.count(|line| line.contains("Client ") && line.ends_with(" disconnected"));
        (came, left)
    };
    if wait_until(TIMEOUT, || Ok(counts().0 == counts().1 + stay))? {
        return Ok(());
    }
    let (came, left) = counts();
    fail(
        "waited until clients had disconnected",
        format!("a log line for each of {} disconnected clients", came.saturating_sub(stay)),
        format!("{left} such lines; {came} clients had connected"),
    )
}

/// Reports whether a line is a warning or an error.
pub fn is_warning(line: &str) -> bool {
    line.contains("WARN") || line.contains("ERROR")
}

/// Reports whether a line has this client's address, but is not its line for connecting or disconnecting.
pub fn is_about(line: &str, addr: SocketAddr) -> bool {
    let known = [connected_line(addr), disconnected_line(addr)];
    line.contains(&addr.to_string()) && !known.iter().any(|event| ends_with_event(line, event))
}

/// Returns the numbers in a warning, except those in its time and in addresses.
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
        assert!(ends_with_event("12:00 INFO 1.2.3.4:5: hi", "1.2.3.4:5: hi"));
        assert!(ends_with_event("1.2.3.4:5: hi", "1.2.3.4:5: hi"));
        assert!(!ends_with_event("11.2.3.4:5: hi", "1.2.3.4:5: hi"));
        assert!(!ends_with_event("1.2.3.4:5: hi!", "1.2.3.4:5: hi"));
    }

    #[test]
    fn numbers_in_addresses_and_times_are_ignored() {
        let line = "2026-01-01T10:00:00Z  WARN 1.2.3.4:99: too slow: 300 bytes, [::1]:7, 2.5s";
        assert_eq!(numbers(line), [300, 2, 5]);
    }
}
