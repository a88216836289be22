use std::fmt;

/// Why a check failed, in the three parts that let a reader judge without running it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What the check did.
    pub did: String,
    /// What the rule says must follow.
    pub expected: Said,
    /// What followed.
    pub got: Said,
    /// Whether something failed to happen in time, so that a slow machine may be to blame.
    pub is_late: bool,
    /// What is likely wrong, where what was got tells more than that the check failed.
    pub likely: Option<&'static str>,
}

/// What was expected, or came: in words, and where it is about bytes, these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// In words; with bytes, what is to be said about them, and often nothing.
    pub text: String,
    /// The bytes as they are on the wire.
    pub bytes: Option<Vec<u8>>,
}

impl Said {
    /// Bytes, and what is to be said about them.
    #[must_use]
    pub fn bytes(bytes: Vec<u8>, text: impl fmt::Display) -> Self {
        Self { text: text.to_string(), bytes: Some(bytes) }
    }

    /// In words alone.
    #[must_use]
    pub fn words(text: impl fmt::Display) -> Self {
        Self { text: text.to_string(), bytes: None }
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(bytes) = &self.bytes else { return f.write_str(&self.text) };
        f.write_str(&crate::show::show(bytes))?;
        if self.text.is_empty() { Ok(()) } else { write!(f, ", {}", self.text) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (expected, got) = (self.expected.to_string(), self.got.to_string());
        let parts = [("did", &self.did), ("expected", &expected), ("got", &got)];
        for (i, (name, text)) in parts.into_iter().enumerate() {
            let newline = if i == 0 { "" } else { "\n" };
            write!(f, "{newline}{name:>8}: {}", text.trim_end().replace('\n', "\n          "))?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

impl Failure {
    /// A failure told in words.
    #[must_use]
    pub fn new(
        did: impl fmt::Display,
        expected: impl fmt::Display,
        got: impl fmt::Display,
    ) -> Self {
        let (expected, got) = (Said::words(expected), Said::words(got));
        Self { did: did.to_string(), expected, got, is_late: false, likely: None }
    }

    /// What did not happen in time.
    #[must_use]
    pub fn late(mut self) -> Self {
        self.is_late = true;
        self
    }
}

/// Gives a [`Failure`] as an error, ready for `?` or as the end of a function.
pub fn fail<T>(
    did: impl fmt::Display,
    expected: impl fmt::Display,
    got: impl fmt::Display,
) -> anyhow::Result<T> {
    Err(Failure::new(did, expected, got).into())
}

/// The same for what did not happen in time.
pub fn fail_late<T>(
    did: impl fmt::Display,
    expected: impl fmt::Display,
    got: impl fmt::Display,
) -> anyhow::Result<T> {
    Err(Failure::new(did, expected, got).late().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_shown_and_further_lines_are_indented() {
        let failure = Failure::new("sent a\nsent b", "an answer", "nothing");
        let shown = failure.to_string();
        assert_eq!(
            shown,
            "     did: sent a\n          sent b\nexpected: an answer\n     got: nothing"
        );
    }

    #[test]
    fn bytes_come_before_what_is_said_about_them() {
        let said = Said::bytes(b"a\0".to_vec(), "then the end");
        assert_eq!(said.to_string(), "\"a␀\" [61 00], then the end");
    }
}
