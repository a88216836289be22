//! A failed check, as a report shows it.

use anyhow::Result;
use probe::Failure;

/// A failure, with the events around it.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What the check did, what it expected, and what it got.
    pub failure: Failure,
    /// The steps of the clients, as a table with times.
    pub client_steps: String,
    /// A chart of the server's threads; empty if they were not recorded.
    pub thread_chart: String,
    /// The output of the server.
    pub output: String,
}

/// Adds the likely cause to a failure, if `cause` finds one.
pub(crate) fn with_likely_cause(
    done: Result<()>,
    cause: impl Fn(&Failure) -> Option<&'static str>,
) -> Result<()> {
    done.map_err(|err| match err.downcast::<Failure>() {
        Ok(failure) => {
            Failure { likely_cause: failure.likely_cause.or_else(|| cause(&failure)), ..failure }
                .into()
        }
        Err(err) => err,
    })
}
