//! Runs the checks of all submissions, several at a time.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use check::{Check, TABLE};
use probe::server;
use serde_json::Value;

use super::limits::{Limits, Meter};
use super::outcome::{ENDED_BEFORE, ENDED_DURING, Ended, GradedSubmission, Outcome};
use super::processes;
use super::submissions::Submission;
use crate::signals::NotedSignals;

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
    /// The signals that this program has received. A signal that asks it to end also ends all submissions.
    pub signals: NotedSignals,
}

/// Checks all submissions; calls `on_graded` after each.
///
/// # Errors
///
/// A signal has ended the submissions.
pub fn grade_all(
    submissions: &[Submission],
    plan: &Plan,
    on_graded: &(dyn Fn(&Submission) + Sync),
) -> Result<Vec<GradedSubmission>> {
    let all = plan.checks.iter().map(|check| check.id).collect::<Vec<_>>();
    let waiting: Mutex<VecDeque<_>> = Mutex::new(submissions.iter().enumerate().collect());
    let done = Mutex::new(Vec::new());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    thread::scope(|scope| {
        for _ in 0..plan.jobs {
            scope.spawn(|| {
                while let Some((nth, submission)) = next() {
                    let graded = grade(submission, &all, plan);
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
        if let Err(err) = grade_again(row, &all, plan) {
            row.notes.push(format!("could not run the checks again: {err:#}"));
        }
    }
    if plan.signals.ending().is_some() {
        bail!("ended by a signal");
    }
    Ok(rows)
}

/// Returns the row of a submission whose checks could not be run. The other rows are not affected.
fn without_results(submission: &Submission, err: &anyhow::Error) -> GradedSubmission {
    GradedSubmission {
        submission: submission.clone(),
        outcomes: HashMap::new(),
        ended: Some(Ended::CheckerFailed(format!("the checks could not be run: {err:#}"))),
        notes: Vec::new(),
        took: Duration::ZERO,
    }
}

/// Runs all checks again if the server did not start, or a check could not decide, and adds the results of the checks
/// that neither passed nor failed before. No other submission is being checked now, so these checks have the machine to
/// themselves.
fn grade_again(row: &mut GradedSubmission, checks: &[&'static str], plan: &Plan) -> Result<()> {
    let is_undecided = |outcome: &Outcome| matches!(outcome, Outcome::Undecided(_));
    let has_begun = match row.ended {
        Some(Ended::Stopped(_)) => return Ok(()),
        Some(Ended::NotStarted(_) | Ended::CheckerFailed(_)) => false,
        None => true,
    };
    if has_begun && !row.outcomes.values().any(is_undecided) {
        return Ok(());
    }
    let again = grade(&row.submission, checks, plan)?;
    row.outcomes.retain(|_, outcome| matches!(outcome, Outcome::Passed | Outcome::Failed { .. }));
    for (id, outcome) in again.outcomes {
        row.outcomes.entry(id).or_insert(outcome);
    }
    if !has_begun {
        row.ended = again.ended;
    }
    row.notes.extend(again.notes);
    row.took += again.took;
    Ok(())
}

/// Runs these checks for a submission.
fn grade(
    submission: &Submission,
    checks: &[&'static str],
    plan: &Plan,
) -> Result<GradedSubmission> {
    let begin = Instant::now();
    if plan.signals.ending().is_some() {
        bail!("ended by a signal");
    }
    let mut command = command(submission, checks, plan)?;
    let begin_child = || command.spawn().context("could not start tincan itself");
    let mut child = server::start_tracked(begin_child, Child::id)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let stderr = stderr.map(|pipe| thread::spawn(move || beginning_of(pipe)));
    let mut found = Found::default();
    let lines = lines(stdout.context("the checks have no standard output")?);
    let mut stopped = read_until_excess(&lines, &mut found, child.id(), plan);
    if let Some(why) = &mut stopped {
        if !processes::end(&mut child) {
            why.push_str("; not all of its processes could be ended");
        }
        // The results that came while the processes were measured and ended.
        for line in &lines {
            found.add(&line);
        }
    }
    // Before the wait: after it, the number of the process may belong to another one.
    server::untrack(child.id());
    child.wait().context("waiting for the process that runs the checks")?;
    let stderr = stderr.and_then(|thread| thread.join().ok()).unwrap_or_default();
    Ok(found.graded(submission, checks, stopped, &stderr, begin.elapsed()))
}

/// Reads the lines of the process that runs the checks, until it closes its output, or until the submission exceeds a
/// limit. Returns which limit.
fn read_until_excess(
    lines: &Receiver<Value>,
    found: &mut Found,
    checker: u32,
    plan: &Plan,
) -> Option<String> {
    let mut meter = Meter::new(plan.limits, checker);
    loop {
        match lines.recv_timeout(meter.pause()) {
            Ok(line) => found.add(&line),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return None,
        }
        if found.printed_too_much {
            return Some(format!("it printed more than {} MiB", plan.limits.output));
        }
        if plan.signals.ending().is_some() {
            return Some("tincan was ended by a signal".to_owned());
        }
        if let Some(excess) = meter.excess() {
            return Some(excess);
        }
    }
}

/// Returns the lines of the process that runs the checks, which a thread reads.
fn lines(stdout: ChildStdout) -> Receiver<Value> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
            // If the process is killed, its last line may be incomplete.
            let Ok(line) = serde_json::from_slice(&line) else { continue };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Returns the command that runs these checks for a submission.
fn command(submission: &Submission, checks: &[&str], plan: &Plan) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("finding tincan itself")?);
    #[cfg(unix)]
    if let Some(name) = std::env::args_os().next() {
        // The failures say how to run a check again: with the name that the user has typed.
        std::os::unix::process::CommandExt::arg0(&mut command, name);
    }
    command.arg("grade-one").args(["--output-bytes", &plan.limits.output_bytes().to_string()]);
    command.args(&plan.options);
    command.args(checks.iter().flat_map(|id| ["--only", id]));
    command.arg("--").args(submission.command(&plan.words));
    command.current_dir(&submission.folder);
    // Ctrl-C in a terminal does not reach the process: this program ends it.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
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
    ) -> GradedSubmission {
        let ended = match (stopped, self.not_started) {
            (Some(why), _) => Some(Ended::Stopped(why)),
            (None, Some(why)) => Some(Ended::NotStarted(why)),
            (None, None) if self.is_complete => None,
            (None, None) => Some(Ended::CheckerFailed(format!(
                "the process that runs the checks has failed: {stderr}"
            ))),
        };
        let mut outcomes = self.outcomes;
        for id in checks {
            let why = if self.current == Some(id) { ENDED_DURING } else { ENDED_BEFORE };
            outcomes.entry(id).or_insert_with(|| Outcome::NotRun(why.to_owned()));
        }
        GradedSubmission {
            submission: submission.clone(),
            outcomes,
            ended,
            notes: self.notes,
            took,
        }
    }
}

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
