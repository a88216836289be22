//! Puts text into HTML and SVG.

use crate::show::is_bidi_control;

/// Escapes a text for HTML and SVG, between two tags or in the value of an attribute.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for ch in text.chars() {
        match ch {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            '\'' => safe += "&#39;",
            // HTML and XML do not allow these two characters.
            '\u{fffe}' | '\u{ffff}' => safe.push('\u{fffd}'),
            // They also do not allow most control characters.
            _ if ch.is_control() && !matches!(ch, '\n' | '\t') => safe.push('\u{fffd}'),
            _ if is_bidi_control(ch) => safe.push('\u{fffd}'),
            _ => safe.push(ch),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text() {
        assert_eq!(
            escape("<b a='1' c=\"2\">&\u{1b}[m\u{ffff}"),
            "&lt;b a=&#39;1&#39; c=&quot;2&quot;&gt;&amp;\u{fffd}[m\u{fffd}"
        );
        assert_eq!(escape("\u{202e}a\u{200f}\tbc"), "\u{fffd}a\u{fffd}\tbc");
    }
}
