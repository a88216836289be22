//! Fits text into a number of terminal columns.

use std::borrow::Cow;

use textwrap::core::display_width;
use textwrap::{Options, WordSeparator, WordSplitter, WrapAlgorithm};
use unicode_width::UnicodeWidthChar as _;

/// Breaks a text into lines of at most `width` columns.
///
/// A line ends between two words; it ends inside a word only if the word is wider than a line. White space
/// between two words counts as one blank.
#[must_use]
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    // Without `NoHyphenation`, `chat-threads` could end up on two lines. A line is filled as far as possible:
    // short cells of a table do not look better with lines of similar lengths.
    let options = Options::new(width)
        .word_separator(WordSeparator::AsciiSpace)
        .word_splitter(WordSplitter::NoHyphenation)
        .wrap_algorithm(WrapAlgorithm::FirstFit);
    textwrap::wrap(&text, options).into_iter().map(Cow::into_owned).collect()
}

/// Puts parts beside each other, with the separator between them, in as few lines of at most `width` columns
/// as possible. A part may contain colours. A part that is wider than a line is cut.
pub fn join(parts: impl IntoIterator<Item = String>, separator: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        match lines.last_mut() {
            Some(line)
                if display_width(line) + display_width(separator) + display_width(&part)
                    <= width =>
            {
                *line += separator;
                *line += &part;
            }
            _ if display_width(&part) > width => lines.push(truncate(&part, width)),
            _ => lines.push(part),
        }
    }
    lines
}

/// Returns a text of at most `width` columns: if it is wider, its beginning and an ellipsis. The text may contain
/// colours; an escape sequence that resets a colour is kept.
#[must_use]
pub fn truncate(text: &str, width: usize) -> String {
    if display_width(text) <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    let (mut used, mut is_cut, mut is_escape) = (0, false, false);
    for ch in text.chars() {
        if is_escape || ch == '\x1b' {
            kept.push(ch);
            // A letter ends the sequence of a colour.
            is_escape = !ch.is_ascii_alphabetic();
        } else if !is_cut {
            used += ch.width().unwrap_or(0);
            is_cut = used >= width;
            kept.push(if is_cut { '…' } else { ch });
        }
    }
    kept
}

/// Returns a text of at most `width` columns: if it is wider, an ellipsis and its end, where an address has
/// its port.
pub(crate) fn truncate_start(text: &str, width: usize) -> String {
    if display_width(text) <= width {
        return text.to_owned();
    }
    let (mut start, mut used) = (text.len(), 0);
    for (at, ch) in text.char_indices().rev() {
        used += ch.width().unwrap_or(0);
        if used >= width {
            break;
        }
        start = at;
    }
    format!("…{}", &text[start..])
}

/// Returns a text of exactly `width` columns: cut, or filled with blanks.
pub(crate) fn pad(text: &str, width: usize) -> String {
    let text = truncate(text, width);
    let blank = width.saturating_sub(display_width(&text));
    text + &" ".repeat(blank)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_between_words_and_inside_long_words() {
        assert_eq!(wrap("a bc  d\nefghi", 4), ["a bc", "d", "efgh", "i"]);
        assert_eq!(wrap("", 4), [""]);
        assert_eq!(wrap("abcd efgh", 4), ["abcd", "efgh"]);
        assert_eq!(wrap("abcdefgh", 4), ["abcd", "efgh"]);
        assert_eq!(wrap("日本", 1), ["日", "本"]);
        assert_eq!(wrap("of chat-threads", 9), ["of", "chat-thre", "ads"]);
        assert_eq!(wrap("no limit at all", usize::MAX), ["no limit at all"]);
    }

    #[test]
    fn a_text_is_cut_to_columns_and_its_colour_is_reset() {
        assert_eq!(truncate("\x1b[1mabcdef\x1b[0m", 4), "\x1b[1mabc…\x1b[0m");
        assert_eq!(truncate("日本語", 5), "日本…");
        assert_eq!(truncate_start("日本語", 5), "…本語");
        assert_eq!(truncate_start("abcdef", 4), "…def");
    }

    #[test]
    fn parts_share_a_line_if_they_fit() {
        let parts = ["one", "\x1b[1mtwo\x1b[0m", "three", "four and more"].map(str::to_owned);
        assert_eq!(join(parts, ", ", 8), ["one, \x1b[1mtwo\x1b[0m", "three", "four an…"]);
    }
}
