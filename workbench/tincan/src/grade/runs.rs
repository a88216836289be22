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
use probe::wire::show_text;
use serde_json::Value;

use super::limits::{Limits, Meter};
use super::outcome::{ENDED_BEFORE, ENDED_DURING, Ended, GradedSubmission, Outcome};
use super::processes;
use super::submissions::Submission;
use crate::signals::NotedSignals;

/// The settings that are the same for all submissions.
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

/// An event that [`grade_all`] reports.
pub enum GradeEvent<'a> {
    /// All checks of this submission have run, or the submission was stopped.
    Graded(&'a Submission),
    /// The checks of this submission run a second time.
    BeginsAgain(&'a Submission),
}

/// Checks all submissions, and calls `on_event` with each event.
///
/// # Errors
///
/// A signal has ended the submissions.
pub fn grade_all(
    submissions: &[Submission],
    plan: &Plan,
    on_event: &(dyn Fn(GradeEvent<'_>) + Sync),
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
                    on_event(GradeEvent::Graded(submission));
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((nth, graded));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(nth, _)| *nth);
    let mut rows: Vec<_> = done.into_iter().map(|(_, graded)| graded).collect();
    for row in rows.iter_mut().filter(|row| needs_second_run(row)) {
        on_event(GradeEvent::BeginsAgain(&row.submission));
        if let Err(err) = grade_again(row, &all, plan) {
            row.notes.push(format!("could not run the checks again: {err:#}"));
        }
    }
    if plan.signals.ending().is_some() {
        bail!("ended by a signal");
    }
    for row in &mut rows {
        keep_first_notes(&mut row.notes);
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

/// Reports whether the server did not start, the process that runs the checks failed, or a check could not decide. On a
/// busy machine, this may happen although the server is correct.
fn needs_second_run(row: &GradedSubmission) -> bool {
    match row.ended {
        Some(Ended::Stopped(_)) => false,
        Some(Ended::NotStarted(_) | Ended::CheckerFailed(_)) => true,
        None => row.outcomes.values().any(|it| matches!(it, Outcome::Undecided(_))),
    }
}

/// Runs all checks again, and adds the results of the checks that neither passed nor failed before. No other submission
/// is being checked now, so these checks have the machine to themselves.
fn grade_again(row: &mut GradedSubmission, checks: &[&'static str], plan: &Plan) -> Result<()> {
    let again = grade(&row.submission, checks, plan)?;
    row.outcomes.retain(|_, outcome| matches!(outcome, Outcome::Passed | Outcome::Failed { .. }));
    for (id, outcome) in again.outcomes {
        row.outcomes.entry(id).or_insert(outcome);
    }
    // The second run decides: it may have been stopped although the first one was complete.
    row.ended = again.ended;
    for note in again.notes {
        if !row.notes.contains(&note) {
            row.notes.push(note);
        }
    }
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
    let mut stopped = read_until_stopped(&lines, &mut found, child.id(), plan);
    if let Some(why) = &mut stopped {
        if !processes::end(&mut child) {
            why.push_str("; not all of its processes could be ended");
        }
        // The results that came while the processes were measured and ended.
        for line in &lines {
            found.add(&line);
        }
    }
    // Before the wait: after it, the system may give this process id to another process.
    server::untrack(child.id());
    let status = child.wait().context("waiting for the process that runs the checks")?;
    let stderr = stderr.and_then(|thread| thread.join().ok()).unwrap_or_default();
    let why_failed = format!("the process that runs the checks has failed ({status}): {stderr}");
    Ok(found.graded(submission, checks, stopped, &why_failed, begin.elapsed()))
}

/// Reads the lines of the process that runs the checks until it closes its output, or until the submission must be
/// stopped. Returns the reason for that, or `None` if the output has ended.
fn read_until_stopped(
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

/// The results that the process that runs the checks has reported so far.
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

    /// Returns the results of a submission. `stopped` says why it was stopped, if it was; `why_failed` says why the
    /// results are incomplete, if they are.
    fn graded(
        self,
        submission: &Submission,
        checks: &[&'static str],
        stopped: Option<String>,
        why_failed: &str,
        took: Duration,
    ) -> GradedSubmission {
        let ended = match (stopped, self.not_started) {
            // The last results may have arrived while the limits were being checked.
            _ if self.is_complete => None,
            (Some(why), _) => Some(Ended::Stopped(printable_lines(&why))),
            (None, Some(why)) => Some(Ended::NotStarted(printable_lines(&why))),
            (None, None) => Some(Ended::CheckerFailed(printable_lines(why_failed))),
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

/// Returns the text without characters that a terminal would obey: it may contain the name of a folder, or what a
/// submission has printed.
fn printable_lines(text: &str) -> String {
    text.lines().map(|line| show_text(line.as_bytes())).collect::<Vec<_>>().join("\n")
}

/// Removes all notes but the first ten, and adds how many were removed: a server may leave a process behind for each
/// client.
fn keep_first_notes(notes: &mut Vec<String>) {
    const MOST: usize = 10;
    if notes.len() > MOST {
        let more = notes.len() - MOST;
        notes.truncate(MOST);
        notes.push(format!("{more} more such notes"));
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
