//! Turns bytes and characters into text that is safe to print on a terminal.

use std::fmt::Write as _;

/// How many bytes are shown of a longer sequence.
pub(crate) const MAX_BYTES_SHOWN: usize = 160;

/// How long a sequence of bytes may be to be shown in hexadecimal, too.
const MAX_BYTES_IN_HEX: usize = 24;

/// Reports whether a terminal acts on this character instead of showing it.
///
/// These are the control characters (C0, DEL and C1), the characters with Unicode's property
/// `Bidi_Control`, which reorder a line, and the separators of lines and paragraphs.
#[must_use]
pub fn is_terminal_control(ch: char) -> bool {
    ch.is_control() || is_bidi_control(ch) || matches!(ch, '\u{2028}'..='\u{2029}')
}

/// Reports whether this character has Unicode's property `Bidi_Control`: it changes the direction of other text.
pub(crate) fn is_bidi_control(ch: char) -> bool {
    matches!(ch,
        '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Returns bytes as text, with the zero byte as `␀` and other characters that a terminal acts on escaped.
#[must_use]
pub fn show_text(bytes: &[u8]) -> String {
    let mut shown = String::new();
    for ch in String::from_utf8_lossy(bytes).chars() {
        match ch {
            '\0' => shown.push('␀'),
            ch if is_terminal_control(ch) => shown.extend(ch.escape_default()),
            ch => shown.push(ch),
        }
    }
    shown
}

/// Returns bytes as quoted text, with the zero byte as `␀`: a few bytes also in hexadecimal, and many bytes
/// shortened, with their number.
#[must_use]
pub fn show(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(MAX_BYTES_SHOWN)];
    let mut line = format!("\"{}\"", show_text(shown));
    if shown.len() < bytes.len() {
        let _ = write!(line, "… ({} bytes)", bytes.len());
    } else if bytes.len() <= MAX_BYTES_IN_HEX {
        let hex: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let _ = write!(line, " [{}]", hex.join(" "));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_as_text_and_in_hexadecimal() {
        assert_eq!(show(b"a\0\x1b"), "\"a␀\\u{1b}\" [61 00 1b]");
        assert_eq!(show_text("\u{202e}a\u{2028}".as_bytes()), r"\u{202e}a\u{2028}");
        assert!(show(&[b'x'; 1000]).ends_with("… (1000 bytes)"));
    }
}
