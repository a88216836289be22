use std::borrow::Cow;
use std::fmt::Write as _;

/// Escapes the characters in a text that a terminal would obey instead of showing. Text from the network
/// must pass through this function before it is written to a terminal or a log.
///
/// Returns the text itself, borrowed, if there is nothing to escape. These characters are escaped, each as
/// in a Rust string literal:
///
/// * control characters (Unicode's category `Cc`: C0, DEL and C1) except the tab: a message must not move
///   the cursor, change the colour or ring the bell;
/// * the line and paragraph separators, U+2028 and U+2029: one message must stay one line;
/// * the bidirectional controls (Unicode's property `Bidi_Control`): a message must not change the order of
///   the text around it.
///
/// ```
/// use std::borrow::Cow;
/// use tincanchat::printable;
///
/// assert!(matches!(printable("a\ttab, an ö"), Cow::Borrowed("a\ttab, an ö")));
/// assert_eq!(printable("\u{1b}[2Jgone\nover"), r"\u{1b}[2Jgone\nover");
/// assert_eq!(printable("\u{202e}backwards"), r"\u{202e}backwards");
/// ```
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    #[cfg(feature = "failpoints")]
    crate::failpoints::receive(text);
    let Some(first) = text.find(is_obeyed) else {
        return Cow::Borrowed(text);
    };
    let mut escaped = String::with_capacity(text.len() + 16);
    escaped.push_str(&text[..first]);
    for c in text[first..].chars() {
        if is_obeyed(c) {
            // Writing to a String never fails.
            let _ = write!(escaped, "{}", c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// Reports whether a terminal might obey this character.
fn is_obeyed(c: char) -> bool {
    let is_bidi_control = matches!(c,
        '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let is_separator = matches!(c, '\u{2028}' | '\u{2029}');
    c.is_control() && c != '\t' || is_bidi_control || is_separator
}
