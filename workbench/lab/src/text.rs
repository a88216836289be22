//! Texts that may be too long.

/// Shortens a text to this number of letters. A shortened text ends with an ellipsis.
pub fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    kept.trim_end().to_owned() + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_end_with_an_ellipsis() {
        assert_eq!(shortened("chat-threads", 12), "chat-threads");
        assert_eq!(shortened("chat-threads-of-mine", 12), "chat-thread…");
    }
}
