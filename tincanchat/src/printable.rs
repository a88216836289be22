use std::borrow::Cow;
use std::fmt::Write as _;

/// Makes text from the network fit for a terminal or a log, by escaping its control characters.
///
/// Takes any text and gives it back borrowed if there is nothing to escape. The control characters
/// are those of C0 but for the tab, DEL, and C1 (Unicode's category `Cc`); each becomes what Rust
/// would write for it in a string literal. So one message stays one line, and cannot move the
/// cursor, change a colour or ring the bell of whoever reads it.
///
/// ```
/// use std::borrow::Cow;
/// use tincanchat::printable;
///
/// assert!(matches!(printable("a\ttab, an ö"), Cow::Borrowed("a\ttab, an ö")));
/// assert_eq!(printable("\u{1b}[2Jgone\nover"), r"\u{1b}[2Jgone\nover");
/// ```
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    let is_risky = |c: char| c.is_control() && c != '\t';
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
