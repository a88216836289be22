//! A failed check, as a report shows it.

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
