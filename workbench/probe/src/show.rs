//! Bytes and characters as a reader is shown them.

use std::fmt::Write as _;

/// The bytes that are shown of more.
pub(crate) const BYTES_KEPT: usize = 160;

/// Reports whether a terminal does something at this character instead of showing it: C0, DEL and C1, what
/// has Unicode's property `Bidi_Control`, and the separators of lines and paragraphs.
#[must_use]
pub fn is_obeyed(ch: char) -> bool {
    let is_bidi_control = matches!(ch,
        '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    ch.is_control() || is_bidi_control || matches!(ch, '\u{2028}'..='\u{2029}')
}

/// Shows bytes as text: the zero byte as `␀`, other characters that a terminal obeys escaped.
#[must_use]
pub fn show_text(bytes: &[u8]) -> String {
    let mut shown = String::new();
    for ch in String::from_utf8_lossy(bytes).chars() {
        match ch {
            '\0' => shown.push('␀'),
            ch if is_obeyed(ch) => shown.extend(ch.escape_default()),
            ch => shown.push(ch),
        }
    }
    shown
}

/// Shows bytes as text and, when there are few, in hexadecimal; the zero byte is `␀`.
#[must_use]
pub fn show(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(BYTES_KEPT)];
    let mut line = format!("\"{}\"", show_text(shown));
    if shown.len() < bytes.len() {
        let _ = write!(line, "… ({} bytes)", bytes.len());
    } else if bytes.len() <= 24 {
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
