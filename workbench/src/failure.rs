use std::fmt;

/// Why a check failed, in the three parts that let a reader judge without running it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What the check did.
    pub did: String,
    /// What the rule says must follow.
    pub expected: String,
    /// What followed.
    pub got: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [("did", &self.did), ("expected", &self.expected), ("got", &self.got)];
        for (i, (name, text)) in parts.into_iter().enumerate() {
            let newline = if i == 0 { "" } else { "\n" };
            write!(f, "{newline}{name:>8}: {}", text.trim_end().replace('\n', "\n          "))?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

/// Gives a [`Failure`] as an error, ready for `?` or as the end of a function.
pub fn fail<T>(
    did: impl fmt::Display,
    expected: impl fmt::Display,
    got: impl fmt::Display,
) -> anyhow::Result<T> {
    Err(Failure { did: did.to_string(), expected: expected.to_string(), got: got.to_string() }
        .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_shown_and_further_lines_are_indented() {
        let failure = Failure {
            did: "sent a\nsent b".to_owned(),
            expected: "an answer".to_owned(),
            got: "nothing".to_owned(),
        };
        let shown = failure.to_string();
        assert_eq!(
            shown,
            "     did: sent a\n          sent b\nexpected: an answer\n     got: nothing"
        );
    }
}
