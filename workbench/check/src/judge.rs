//! Runs one check against a server.

use std::time::Duration;

use probe::Failure;
use probe::server::StartError;

use crate::protocols::protocol_of;
use crate::{Bench, Check, Finding, Requirement, ServerUnderTest};

/// The result of one run of a check.
#[derive(Debug)]
pub enum Verdict {
    /// The server met the requirement of its profile.
    Passed,
    /// The server did not meet the requirement of its profile.
    Failed(Finding),
    /// The check could not decide, for this reason.
    Undecided(String),
    /// The server did not start.
    NotStarted(StartError),
}

impl Check {
    /// Runs the check once against a server. Adds the processes that the server left running to `leftovers`.
    pub fn judge(&self, server: &ServerUnderTest, leftovers: &mut Vec<String>) -> Verdict {
        self.judge_with(leftovers, server, |bench| bench)
    }

    /// Runs the check once, and records the threads of the server.
    pub fn judge_recording_threads(
        &self,
        server: &ServerUnderTest,
        leftovers: &mut Vec<String>,
    ) -> Verdict {
        self.judge_with(leftovers, server, Bench::recording_threads)
    }

    fn judge_with(
        &self,
        leftovers: &mut Vec<String>,
        server: &ServerUnderTest,
        prepared: impl FnOnce(Bench) -> Bench,
    ) -> Verdict {
        /// How long to wait for an event if the server must fail the check: the check then always waits to
        /// the end.
        const MUST_FAIL_PATIENCE: Duration = Duration::from_secs(2);
        let mut server = server.clone();
        let asked = self.requirement(server.profile);
        if asked == Requirement::MustFail {
            server.patience = server.patience.min(MUST_FAIL_PATIENCE);
        }
        let bench = prepared(Bench::new(server.clone(), protocol_of(&server), self.id));
        let result = (self.run)(&bench);
        leftovers.extend(bench.leftover_processes());
        match (result, asked) {
            (Ok(()), Requirement::MustFail) => {
                let did = bench.step().unwrap_or_else(|| self.title.to_owned());
                let expected = format!(
                    "the server fails this check, as every server of its profile does: {}",
                    self.rule
                );
                Verdict::Failed(bench.finding(Failure::new(did, expected, "the server passes it")))
            }
            (Ok(()), _) => Verdict::Passed,
            (Err(err), _) => match err.downcast::<Failure>() {
                Ok(_) if asked == Requirement::MustFail => Verdict::Passed,
                Ok(failure) => Verdict::Failed(bench.finding(failure)),
                Err(err) => match err.downcast::<StartError>() {
                    Ok(not_started) => Verdict::NotStarted(not_started),
                    Err(err) => Verdict::Undecided(format!("{err:#}")),
                },
            },
        }
    }
}
