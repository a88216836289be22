//! Fits a text into columns: wraps it, cuts it or fills it.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// A text in so many columns: cut, or filled with blanks.
pub(crate) fn fit(text: &str, width: usize) -> String {
    let text = fit_to(text, width);
    let blank = width.saturating_sub(text.width());
    text + &" ".repeat(blank)
}

/// A text that takes no more than so many columns.
#[must_use]
pub fn fit_to(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut cut = String::new();
    let mut used = 0;
    for ch in text.chars() {
        used += ch.width().unwrap_or(0);
        if used >= width {
            break;
        }
        cut.push(ch);
    }
    cut + "…"
}

/// The end of an address, where its port is, in no more than so many characters.
pub(crate) fn end_of(address: &str, width: usize) -> String {
    let many = address.chars().count();
    if many <= width {
        return address.to_owned();
    }
    let end = address.chars().skip(many + 1 - width.max(1));
    std::iter::once('…').chain(end).collect()
}

/// Breaks a text into lines of at most so many columns, within a word only if that is longer.
#[must_use]
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let mut word = word.to_owned();
        loop {
            let line = lines.pop().unwrap_or_default();
            let blank = usize::from(!line.is_empty());
            if line.width() + blank + word.width() <= width {
                lines.push(format!("{line}{}{word}", " ".repeat(blank)));
                break;
            }
            if !line.is_empty() {
                lines.extend([line, String::new()]);
                continue;
            }
            let mut used = 0;
            let fits = word.chars().take_while(|ch| {
                used += ch.width().unwrap_or(0);
                used <= width
            });
            let at = fits.map(char::len_utf8).sum::<usize>();
            // A character that is wider than the line has one of its own.
            let at = at.max(word.chars().next().map_or(0, char::len_utf8));
            let rest = word.split_off(at);
            lines.extend([std::mem::replace(&mut word, rest), String::new()]);
        }
    }
    if lines.len() > 1 && lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words_and_long_words_within() {
        assert_eq!(wrap("a bc  d\nefghi", 4), ["a bc", "d", "efgh", "i"]);
        assert_eq!(wrap("", 4), [""]);
        assert_eq!(wrap("abcdefgh", 4), ["abcd", "efgh"]);
        assert_eq!(wrap("日本", 1), ["日", "本"]);
    }
}
