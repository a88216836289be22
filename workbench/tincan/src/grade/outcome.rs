//! The results of the submissions.

use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

use check::{Check, Theme};

use super::submissions::Submission;
use super::weights::Weights;

/// Why a check was not run: the submission was stopped during this check.
pub const ENDED_DURING: &str = "the run ended during this check";

/// Why a check was not run: the submission was stopped before this check, or its server did not start.
pub const ENDED_BEFORE: &str = "the run had ended already";

/// The result of one check for one submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    Failed {
        /// What the check got from the server, in a few words.
        got: String,
        /// The whole report on the failure.
        text: String,
    },
    /// The check could not decide. The text says why.
    Undecided(String),
    /// The check was not run. The text says why.
    NotRun(String),
}

impl Outcome {
    /// Returns the outcome in a word or two.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed { .. } => "failed",
            Self::Undecided(_) => "undecided",
            Self::NotRun(_) => "not run",
        }
    }
}

/// Why not all checks of a submission were run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The submission exceeded a limit.
    Stopped(String),
    /// The server did not start, or does not listen.
    NotStarted(String),
    /// The process that runs the checks has failed.
    CheckerFailed(String),
}

impl Ended {
    /// Returns the kind in a few words, and the reason.
    pub fn kind_and_reason(&self) -> (&'static str, &str) {
        match self {
            Self::Stopped(why) => ("stopped", why),
            Self::NotStarted(why) => ("not started", why),
            Self::CheckerFailed(why) => ("error", why),
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, why) = self.kind_and_reason();
        write!(f, "{what}: {why}")
    }
}

/// The results of one submission.
#[derive(Clone, Debug)]
pub struct GradedSubmission {
    pub submission: Submission,
    pub outcomes: HashMap<&'static str, Outcome>,
    /// Why not all checks were run.
    pub ended: Option<Ended>,
    /// Other observations, such as processes that the server has left behind.
    pub notes: Vec<String>,
    pub took: Duration,
}

/// A check with the points that it gives.
#[derive(Clone, Copy, Debug)]
pub struct WeightedCheck {
    pub check: &'static Check,
    pub weight: f64,
}

/// Everything that a report shows.
#[derive(Clone, Debug)]
pub struct Grades {
    pub profile: String,
    /// The command, as it was typed.
    pub command: String,
    /// The checks, in the order of the table.
    pub items: Vec<WeightedCheck>,
    pub rows: Vec<GradedSubmission>,
    /// Remarks on the whole run.
    pub notes: Vec<String>,
}

impl GradedSubmission {
    /// Returns the result of a check.
    pub fn outcome(&self, check: &Check) -> &Outcome {
        static UNKNOWN: LazyLock<Outcome> =
            LazyLock::new(|| Outcome::NotRun(ENDED_BEFORE.to_owned()));
        self.outcomes.get(check.id).unwrap_or(&UNKNOWN)
    }

    pub fn has_passed(&self, check: &Check) -> bool {
        *self.outcome(check) == Outcome::Passed
    }

    /// Returns the points of the checks that the submission has passed.
    pub fn points(&self, items: &[WeightedCheck]) -> f64 {
        sum(items.iter().filter(|item| self.has_passed(item.check)))
    }

    /// Returns the checks that were not run, grouped by the reason.
    pub fn not_run(&self, items: &[WeightedCheck]) -> Vec<(&str, Vec<&'static str>)> {
        let mut reasons: Vec<(&str, Vec<&'static str>)> = Vec::new();
        for WeightedCheck { check, .. } in items {
            let Outcome::NotRun(why) = self.outcome(check) else { continue };
            match reasons.iter_mut().find(|(reason, _)| reason == why) {
                Some((_, ids)) => ids.push(check.id),
                None => reasons.push((why, vec![check.id])),
            }
        }
        reasons
    }

    /// Returns the remarks on the submission in one line: why not all checks were run, the checks that failed or could
    /// not decide, and notes.
    pub fn remarks(&self, items: &[WeightedCheck]) -> String {
        let mut parts = Vec::new();
        if let Some(ended) = &self.ended {
            parts.push(first_line(&ended.to_string()).to_owned());
        }
        let is_failed = |outcome: &Outcome| matches!(outcome, Outcome::Failed { .. });
        let failed = self.ids(items, is_failed);
        if !failed.is_empty() {
            parts.push(format!("failed: {}", failed.join(", ")));
        }
        let is_undecided = |outcome: &Outcome| matches!(outcome, Outcome::Undecided(_));
        let undecided = self.ids(items, is_undecided);
        if !undecided.is_empty() {
            parts.push(format!("undecided: {}", undecided.join(", ")));
        }
        parts.extend(self.notes.iter().cloned());
        parts.join("; ")
    }

    /// Returns the ids of the checks with such an outcome.
    fn ids(
        &self,
        items: &[WeightedCheck],
        is_wanted: impl Fn(&Outcome) -> bool,
    ) -> Vec<&'static str> {
        let wanted = items.iter().filter(|item| is_wanted(self.outcome(item.check)));
        wanted.map(|item| item.check.id).collect()
    }
}

/// Returns the ids of checks that were not run for one reason. If the run had ended already, returns only how many
/// they are: their names would add nothing.
pub fn not_run(ids: &[&str], why: &str) -> String {
    match ids.len() {
        1 if why == ENDED_BEFORE => "1 check".to_owned(),
        count if why == ENDED_BEFORE => format!("{count} checks"),
        _ => ids.join(", "),
    }
}

/// Returns the first line of a text.
pub fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

impl Grades {
    /// Returns the points for passing all checks.
    pub fn max_points(&self) -> f64 {
        sum(&self.items)
    }

    /// Returns the checks of each theme.
    pub fn themes(&self) -> impl Iterator<Item = (Theme, &[WeightedCheck])> {
        let themes = self.items.chunk_by(|a, b| a.check.theme == b.check.theme);
        themes.map(|items| (items[0].check.theme, items))
    }
}

/// Returns the points of these checks. (The standard sum of no floating-point numbers is -0.)
fn sum<'a>(items: impl IntoIterator<Item = &'a WeightedCheck>) -> f64 {
    items.into_iter().fold(0.0, |sum, item| sum + item.weight)
}

/// Returns these checks with their weights.
pub fn items(
    checks: impl IntoIterator<Item = &'static Check>,
    weights: &Weights,
) -> Vec<WeightedCheck> {
    checks.into_iter().map(|check| WeightedCheck { check, weight: weights.of(check) }).collect()
}
