use std::borrow::Cow;
use std::fmt::Write as _;

/// Makes text from the network fit for a terminal or a log, by escaping its control characters.
///
/// Takes any text and gives it back borrowed if there is nothing to escape. What is escaped:
///
/// * C0 except the tab, DEL, and C1 (Unicode's category `Cc`), so that no message moves the cursor,
///   changes a colour or rings the bell of the person who reads it;
/// * the line and paragraph separators, U+2028 and U+2029, so that one message stays one line;
/// * the bidirectional controls (Unicode's property `Bidi_Control`), so that no message shows the
///   text around it in another order.
///
/// Each becomes what Rust would write for it in a string literal.
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
    let Some(first) = text.find(is_risky) else {
        return Cow::Borrowed(text);
    };
    let mut escaped = String::with_capacity(text.len() + 16);
    escaped.push_str(&text[..first]);
    for c in text[first..].chars() {
        if is_risky(c) {
            // A String takes whatever is written to it.
            let _ = write!(escaped, "{}", c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

fn is_risky(c: char) -> bool {
    let is_bidi_control = matches!(c,
        '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let is_separator = matches!(c, '\u{2028}' | '\u{2029}');
    c.is_control() && c != '\t' || is_bidi_control || is_separator
}
