//! Runs the checks of all submissions, several at a time.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use check::{Check, TABLE};
use serde_json::Value;

use super::limits::{Limits, Supervisor};
use super::outcome::{Ended, Graded, Outcome};
use super::submissions::Submission;

/// What is the same for all submissions.
#[derive(Debug)]
pub struct Plan {
    pub limits: Limits,
    /// How many submissions are checked at once.
    pub jobs: usize,
    /// The words of the command, with `{dir}`.
    pub words: Vec<String>,
    /// The options and the profile for `tincan check`.
    pub options: Vec<OsString>,
    /// The checks.
    pub checks: Vec<&'static Check>,
}

/// Checks all submissions; calls `on_graded` after each.
pub fn grade_all(
    submissions: &[Submission],
    plan: &Plan,
    supervisor: &Supervisor,
    on_graded: &(dyn Fn(&Submission) + Sync),
) -> Vec<Graded> {
    let all = plan.checks.iter().map(|check| check.id).collect::<Vec<_>>();
    let waiting: Mutex<VecDeque<_>> = Mutex::new(submissions.iter().enumerate().collect());
    let done = Mutex::new(Vec::new());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    thread::scope(|scope| {
        for _ in 0..plan.jobs {
            scope.spawn(|| {
                while let Some((nth, submission)) = next() {
                    let graded = grade(submission, &all, plan, supervisor);
                    let graded = graded.unwrap_or_else(|err| without_results(submission, &err));
                    on_graded(submission);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((nth, graded));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(nth, _)| *nth);
    let mut rows: Vec<_> = done.into_iter().map(|(_, graded)| graded).collect();
    for row in &mut rows {
        if let Err(err) = grade_again(row, plan, supervisor) {
            row.notes.push(format!("could not run the open checks again: {err:#}"));
        }
    }
    rows
}

/// Returns the row of a submission whose checks could not be run. The other rows are not affected.
fn without_results(submission: &Submission, err: &anyhow::Error) -> Graded {
    Graded {
        submission: submission.clone(),
        outcomes: HashMap::new(),
        ended: Some(Ended::TooEarly(format!("the checks could not be run: {err:#}"))),
        notes: Vec::new(),
        took: Duration::ZERO,
    }
}

/// Runs the checks again that could not decide, now that no other submission is being checked. If the server did not
/// start, runs all checks again. So a busy machine costs no points.
fn grade_again(row: &mut Graded, plan: &Plan, supervisor: &Supervisor) -> Result<()> {
    let is_open = |check: &&&Check| matches!(row.outcome(check), Outcome::Undecided(_));
    let has_not_started = matches!(row.ended, Some(Ended::NotStarted(_)));
    let open = plan.checks.iter().filter(|check| has_not_started || is_open(check));
    let open: Vec<_> = open.map(|check| check.id).collect();
    if open.is_empty() {
        return Ok(());
    }
    let again = grade(&row.submission, &open, plan, supervisor)?;
    if has_not_started {
        *row = again;
    } else {
        row.outcomes.extend(again.outcomes.into_iter().filter(|(id, _)| open.contains(id)));
        row.notes.extend(again.notes);
    }
    Ok(())
}

/// Runs these checks for a submission.
fn grade(
    submission: &Submission,
    checks: &[&'static str],
    plan: &Plan,
    supervisor: &Supervisor,
) -> Result<Graded> {
    let begin = Instant::now();
    let mut child = supervisor.spawn(&mut command(submission, checks, plan)?)?;
    let stderr = child.stderr.take().map(|pipe| thread::spawn(move || beginning_of(pipe)));
    let mut found = Found::default();
    if let Some(stdout) = child.stdout.take() {
        found.read(stdout, |found| {
            if found.printed_too_much {
                supervisor.stop(child.id(), plan.limits.printed_too_much());
            }
        });
    }
    let stopped = supervisor.finish(&mut child).context("waiting for the checks")?;
    let stderr = stderr.and_then(|thread| thread.join().ok()).unwrap_or_default();
    Ok(found.graded(submission, checks, stopped, &stderr, begin.elapsed()))
}

/// Returns the command that runs these checks for a submission.
fn command(submission: &Submission, checks: &[&str], plan: &Plan) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("finding tincan itself")?);
    #[cfg(unix)]
    if let Some(name) = std::env::args_os().next() {
        // The failures say how to run a check again: with the name that the user has typed.
        std::os::unix::process::CommandExt::arg0(&mut command, name);
    }
    let user_processes = plan.limits.processes * (plan.jobs as u64 + 2);
    command.arg("grade-one").args(["--output-bytes", &plan.limits.output_bytes().to_string()]);
    command.args(["--user-processes", &user_processes.to_string()]).args(&plan.options);
    command.args(checks.iter().flat_map(|id| ["--only", id]));
    command.arg("--").args(submission.command(&plan.words));
    command.current_dir(&submission.folder);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}

/// Reads a pipe to its end, and returns the beginning of the text.
fn beginning_of(mut pipe: impl Read) -> String {
    const MOST: u64 = 10_000;
    let mut bytes = Vec::new();
    let _ = pipe.by_ref().take(MOST).read_to_end(&mut bytes);
    let _ = std::io::copy(&mut pipe, &mut std::io::sink());
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

/// What the process that runs the checks has reported so far.
#[derive(Debug, Default)]
struct Found {
    outcomes: HashMap<&'static str, Outcome>,
    /// The check that runs now.
    current: Option<&'static str>,
    not_started: Option<String>,
    notes: Vec<String>,
    printed_too_much: bool,
    is_complete: bool,
}

impl Found {
    /// Reads all lines; calls `after_line` after each.
    fn read(&mut self, stdout: ChildStdout, after_line: impl Fn(&Self)) {
        for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
            // If the process is killed, its last line may be incomplete.
            if let Ok(line) = serde_json::from_slice(&line) {
                self.add(&line);
                after_line(self);
            }
        }
    }

    fn add(&mut self, line: &Value) {
        if let Some(id) = line["begins"].as_str() {
            self.current = known_id(id);
        } else if let Some(id) = line["ended"]["id"].as_str().and_then(known_id) {
            self.current = None;
            self.outcomes.insert(id, outcome(&line["ended"]));
        } else if let Some(why) = line["not_started"].as_str() {
            self.not_started = Some(why.to_owned());
        } else if let Some(notes) = line["notes"].as_array() {
            self.notes.extend(notes.iter().filter_map(Value::as_str).map(str::to_owned));
            self.is_complete = true;
        } else if line["printed_too_much"] == true {
            self.printed_too_much = true;
        }
    }

    /// Returns the results of a submission. `stopped` says why it was stopped, if it was.
    fn graded(
        self,
        submission: &Submission,
        checks: &[&'static str],
        stopped: Option<String>,
        stderr: &str,
        took: Duration,
    ) -> Graded {
        let ended = match (stopped, self.not_started) {
            (Some(why), _) => Some(Ended::Stopped(why)),
            (None, Some(why)) => Some(Ended::NotStarted(why)),
            (None, None) if self.is_complete => None,
            (None, None) => Some(Ended::TooEarly(format!(
                "the process that runs the checks ended too early: {stderr}"
            ))),
        };
        let mut outcomes = self.outcomes;
        for id in checks {
            let why = if self.current == Some(id) { ENDED_DURING } else { ENDED_BEFORE };
            outcomes.entry(id).or_insert_with(|| Outcome::NotRun(why.to_owned()));
        }
        Graded { submission: submission.clone(), outcomes, ended, notes: self.notes, took }
    }
}

/// Why a check has no result: the submission was stopped, or its server did not start.
pub const ENDED_DURING: &str = "the submission ended during this check";
pub const ENDED_BEFORE: &str = "the submission ended before this check";

fn known_id(id: &str) -> Option<&'static str> {
    TABLE.iter().map(|check| check.id).find(|it| *it == id)
}

/// Reads the outcome of a check from its JSON.
fn outcome(row: &Value) -> Outcome {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match row["outcome"].as_str() {
        Some("passed") => Outcome::Passed,
        Some("failed") => {
            let failure = &row["failure"];
            Outcome::Failed { got: text(&failure["got"]["text"]), text: text(&failure["text"]) }
        }
        Some("undecided") => Outcome::Undecided(text(&row["why"])),
        _ => Outcome::NotRun(text(&row["why"])),
    }
}
