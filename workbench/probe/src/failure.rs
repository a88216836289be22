use std::fmt;

use crate::show::show;

/// The failure of a check, in three parts, so that a reader can judge the failure without running the check again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The actions of the check.
    pub did: String,
    /// The outcome that the rule requires.
    pub expected: Description,
    /// The outcome that the check observed.
    pub got: Description,
    /// Whether an event did not happen in time. Then a slow machine may be the cause.
    pub is_timeout: bool,
    /// The likely mistake in the server, if the outcome shows it.
    pub likely_cause: Option<&'static str>,
}

/// An outcome, required or observed: words, or bytes with a remark.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// The words, or the remark about the bytes, which may be empty.
    pub text: String,
    /// The bytes as they are on the wire.
    pub bytes: Option<Vec<u8>>,
}

impl Description {
    /// Returns bytes with a remark about them.
    #[must_use]
    pub fn bytes(bytes: Vec<u8>, text: impl fmt::Display) -> Self {
        Self { text: text.to_string(), bytes: Some(bytes) }
    }

    /// Returns words without bytes.
    #[must_use]
    pub fn text(text: impl fmt::Display) -> Self {
        Self { text: text.to_string(), bytes: None }
    }
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(bytes) = &self.bytes else { return f.write_str(&self.text) };
        f.write_str(&show(bytes))?;
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
    /// Returns a failure whose parts are words.
    #[must_use]
    pub fn new(
        did: impl fmt::Display,
        expected: impl fmt::Display,
        got: impl fmt::Display,
    ) -> Self {
        let (expected, got) = (Description::text(expected), Description::text(got));
        Self { did: did.to_string(), expected, got, is_timeout: false, likely_cause: None }
    }

    /// Marks the failure: an event did not happen in time.
    #[must_use]
    pub fn timed_out(mut self) -> Self {
        self.is_timeout = true;
        self
    }
}

/// Returns a [`Failure`] as an error, for `?` or as the last expression of a function.
pub fn fail<T>(
    did: impl fmt::Display,
    expected: impl fmt::Display,
    got: impl fmt::Display,
) -> anyhow::Result<T> {
    Err(Failure::new(did, expected, got).into())
}

/// Returns a [`Failure`] as an error, with the mark that an event did not happen in time.
pub fn fail_timeout<T>(
    did: impl fmt::Display,
    expected: impl fmt::Display,
    got: impl fmt::Display,
) -> anyhow::Result<T> {
    Err(Failure::new(did, expected, got).timed_out().into())
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
    fn bytes_come_before_the_remark() {
        let said = Description::bytes(b"a\0".to_vec(), "then the end");
        assert_eq!(said.to_string(), "\"a␀\" [61 00], then the end");
    }
}
