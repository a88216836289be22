//! Runs one check against a server.

use std::time::Duration;

use probe::Failure;
use probe::server::StartError;

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
}

/// The verdict of one run of a check, and the processes that the server left running.
#[derive(Debug)]
pub struct Judgement {
    /// The result.
    pub verdict: Verdict,
    /// The processes that the server left running after its end.
    pub leftovers: Vec<String>,
}

impl Check {
    /// Runs the check once against a server.
    ///
    /// # Errors
    ///
    /// Returns [`StartError`] if the server did not start.
    pub fn judge(&self, server: &ServerUnderTest) -> Result<Judgement, StartError> {
        self.judge_with(server, |bench| bench)
    }

    /// Runs the check once, and records the threads of the server.
    ///
    /// # Errors
    ///
    /// Returns [`StartError`] if the server did not start.
    pub fn judge_recording_threads(
        &self,
        server: &ServerUnderTest,
    ) -> Result<Judgement, StartError> {
        self.judge_with(server, Bench::recording_threads)
    }

    fn judge_with(
        &self,
        server: &ServerUnderTest,
        prepared: impl FnOnce(Bench) -> Bench,
    ) -> Result<Judgement, StartError> {
        /// How long to wait for an event if the server must fail the check: the check then always waits to
        /// the end.
        const MUST_FAIL_PATIENCE: Duration = Duration::from_secs(2);
        let mut server = server.clone();
        let requirement = self.requirement(server.profile);
        if requirement == Requirement::MustFail {
            server.patience = server.patience.min(MUST_FAIL_PATIENCE);
        }
        let bench = prepared(Bench::new(server, self.id));
        let result = (self.run)(&bench);
        let verdict = match (result, requirement) {
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
                Ok(_) if requirement == Requirement::MustFail => Verdict::Passed,
                Ok(failure) => Verdict::Failed(bench.finding(failure)),
                Err(err) => match err.downcast::<StartError>() {
                    Ok(not_started) => return Err(not_started),
                    Err(err) => Verdict::Undecided(format!("{err:#}")),
                },
            },
        };
        Ok(Judgement { verdict, leftovers: bench.leftover_processes() })
    }
}
