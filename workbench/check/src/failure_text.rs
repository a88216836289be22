//! The text of one failure.

use std::fmt::Write as _;

use probe::Description;
use probe::wire::show_text;

use crate::style::{BAD, LABEL, WIDTH};
use crate::{Check, Finding, Invocation, Requirement};

/// Returns the text of one failure: the step, the expected and the received bytes, the rule, hints, and
/// recordings.
#[must_use]
pub fn failure_text(check: &Check, finding: &Finding, call: &Invocation) -> String {
    let failure = &finding.failure;
    let mut text = format!("{BAD}{}{BAD:#} · {}", check.id, check.theme);
    if !check.title.is_empty() {
        let _ = write!(text, " · {}", check.title);
    }
    text.push('\n');
    let mut part = |label: &str, body: &str| {
        for (i, line) in body.trim_end().lines().enumerate() {
            let label = if i == 0 { label } else { "" };
            let _ = writeln!(text, "{LABEL}{label:>9}{LABEL:#}  {line}");
        }
    };
    part("did", &wrapped(&failure.did));
    let (expected, got) = compared(&failure.expected, &failure.got);
    part("expected", &expected);
    part("got", &got);
    let mut part = |label: &str, body: &str| part(label, &wrapped(body));
    part("rule", check.rule);
    if check.requirement(call.profile) == Requirement::MustFail {
        part("likely", check.must_fail_hint);
    } else {
        let [cause, place, correction] = check.hints;
        let cause = failure.likely_cause.unwrap_or(cause);
        let hints = [("likely", cause), ("look at", place), ("to fix", correction)];
        hints.into_iter().take(call.hints.into()).for_each(|(label, hint)| part(label, hint));
    }
    // Below, the last lines of the output come after all recordings. One of them often names the cause.
    if let Some(line) = line_with_cause(&finding.output) {
        part("printed", line);
    }
    // These two lines are for copying, so they are not wrapped.
    if let Some(place) = call.where_to_read(check.page) {
        let _ = writeln!(text, "{LABEL}{:>9}{LABEL:#}  {place}", "read");
    }
    if !call.rerun_command.is_empty() {
        let again = call.rerun_command_for(check.id);
        let _ = writeln!(text, "{LABEL}{:>9}{LABEL:#}  {again}", "again");
    }
    if !finding.client_steps.is_empty() {
        let _ = writeln!(text, "\n  what each client sent (→) and received (←), and when:");
        text += &indented(&finding.client_steps);
    }
    if !finding.thread_chart.is_empty() {
        let _ = writeln!(
            text,
            "\n  what each thread of the server did in one more run (as `tincan watch` shows it):"
        );
        text += &indented(&finding.thread_chart);
    }
    if !finding.output.is_empty() {
        let _ = writeln!(text, "\n  the last lines that the server printed:");
        text += &indented(&finding.output);
    }
    text
}

/// Returns the line of the server's output that may name the cause: the last one about an error, or else the last one.
/// A stack, or a hint of the language, may follow the error.
fn line_with_cause(output: &str) -> Option<&str> {
    let is_error = |line: &&str| {
        let line = line.to_lowercase();
        ["error", "exception", "panicked"].iter().any(|word| line.contains(word))
    };
    let mut lines = output.lines().rev().filter(|line| !line.trim().is_empty());
    let last = lines.clone().next();
    lines.find(is_error).or(last)
}

/// Breaks each line of a text that is too long.
fn wrapped(text: &str) -> String {
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.chars().count() > WIDTH {
            lines.extend(watch::wrap(line, WIDTH));
        } else {
            lines.push(line.to_owned());
        }
    }
    lines.join("\n")
}

fn indented(text: &str) -> String {
    text.lines().flat_map(|line| ["    ", line, "\n"]).collect()
}

/// Returns both in words; or, if both have bytes, as text and in hexadecimal, with a mark at the first
/// difference.
fn compared(expected: &Description, got: &Description) -> (String, String) {
    let (Some(wanted), Some(came)) = (&expected.bytes, &got.bytes) else {
        let alone = |it: &Description| match &it.bytes {
            Some(bytes) => in_window(bytes, 0, None) + &words(it),
            None => wrapped(&it.text),
        };
        return (alone(expected), alone(got));
    };
    let same = wanted.iter().zip(came).take_while(|(a, b)| a == b).count();
    (
        in_window(wanted, same, None) + &words(expected),
        in_window(came, same, Some(same)) + &words(got),
    )
}

fn words(it: &Description) -> String {
    if it.text.is_empty() { String::new() } else { format!("({})\n", it.text) }
}

/// How many bytes are shown before and after the first difference.
const BEFORE: usize = 16;
const AFTER: usize = 8;

/// Returns the bytes around a position, as text, and below it in hexadecimal.
fn in_window(bytes: &[u8], at: usize, mark: Option<usize>) -> String {
    let begin = if at <= BEFORE + 4 { 0 } else { next_character(bytes, at - BEFORE).min(at) };
    let end = next_character(bytes, bytes.len().min(at.max(begin + BEFORE) + AFTER));
    let lead = if begin > 0 { "…" } else { "" };
    let tail = if end < bytes.len() { "…" } else { "" };
    let part = &bytes[begin..end];
    let length = if begin > 0 || end < bytes.len() {
        format!("   {} bytes", bytes.len())
    } else {
        String::new()
    };
    let mut text = format!("{lead}\"{}\"{tail}{length}\n", show_text(part));
    if let Some(mark) = mark {
        // The character may begin before the byte that differs.
        let is_start = |at: &usize| next_character(bytes, *at) == *at;
        let end = (begin..=mark.min(bytes.len())).rev().find(is_start).unwrap_or(mark);
        let before = show_text(&bytes[begin..end]).chars().count();
        let blank = lead.chars().count() + 1 + before;
        let _ = writeln!(text, "{:blank$}^ byte {}", "", mark + 1);
    }
    let _ = writeln!(text, "{lead} {} {tail}", hex(part).join(" "));
    if let Some(mark) = mark {
        let blank = lead.chars().count() + 1 + 3 * (mark - begin);
        let _ = writeln!(text, "{:blank$}^^", "");
    }
    text.lines().flat_map(|line| [line.trim_end(), "\n"]).collect()
}

/// Returns where the next character begins: here, unless this byte is inside a character.
fn next_character(bytes: &[u8], at: usize) -> usize {
    let is_inside = |at: &usize| bytes.get(*at).is_some_and(|byte| byte & 0xc0 == 0x80);
    // A character has at most three more bytes after its first.
    at + (at..at + 3).take_while(is_inside).count()
}

fn hex(bytes: &[u8]) -> Vec<String> {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns a text without its colours.
#[must_use]
pub fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_marked_where_they_begin_to_differ() {
        let (expected, got) =
            (Description::bytes(b"hello\0".to_vec(), ""), Description::bytes(b"hx\0".to_vec(), ""));
        let (expected, got) = compared(&expected, &got);
        assert_eq!(expected, "\"hello␀\"\n 68 65 6c 6c 6f 00\n");
        assert_eq!(got, "\"hx␀\"\n  ^ byte 2\n 68 78 00\n    ^^\n");
    }

    #[test]
    fn the_mark_counts_characters_in_the_text_and_bytes_in_hexadecimal() {
        let (a, b) = (Description::bytes("€a\0".into(), ""), Description::bytes("€b\0".into(), ""));
        let (_, got) = compared(&a, &b);
        assert_eq!(got, "\"€b␀\"\n  ^ byte 4\n e2 82 ac 62 00\n          ^^\n");
    }

    #[test]
    fn the_mark_is_below_the_character_in_which_a_byte_differs() {
        let (a, b) = (Description::bytes("é\0".into(), ""), Description::bytes("è\0".into(), ""));
        let (_, got) = compared(&a, &b);
        assert_eq!(got, "\"è␀\"\n ^ byte 2\n c3 a8 00\n    ^^\n");
    }

    #[test]
    fn the_line_about_the_error_is_found() {
        let node = "stderr| Error: write EPIPE\nstderr|     at Socket.write\nstderr| Node.js v22\n";
        assert_eq!(line_with_cause(node), Some("stderr| Error: write EPIPE"));
        assert_eq!(
            line_with_cause("stdout| ready\nstdout| got 6 bytes\n"),
            Some("stdout| got 6 bytes")
        );
        assert_eq!(line_with_cause(""), None);
    }

    #[test]
    fn many_bytes_that_are_not_utf8_are_not_shown_as_one_character() {
        let (a, b) = (vec![0x80; 100], [&[0x80; 60][..], b"y"].concat());
        let (expected, _) = compared(&Description::bytes(a, ""), &Description::bytes(b, ""));
        assert!(expected.lines().all(|line| line.chars().count() < 130), "{expected}");
    }

    #[test]
    fn of_long_bytes_a_part_is_shown() {
        let (a, b) = (vec![b'x'; 100], [&[b'x'; 60][..], b"y"].concat());
        let (expected, got) = compared(&Description::bytes(a, ""), &Description::bytes(b, ""));
        assert!(expected.starts_with("…\"xxxxxxxxxxxxxxxxxxxxxxxx\"…   100 bytes\n"), "{expected}");
        assert!(got.contains("\"xxxxxxxxxxxxxxxxy\""), "{got}");
        assert!(got.ends_with("^^\n"), "{got}");
    }
}
