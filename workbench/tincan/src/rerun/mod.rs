//! `check --watch` and `exercise check --watch`: the checks run again whenever the learner saves a file of the server.
//!
//! | file | subject |
//! |---|---|
//! | `files.rs` | the files of the server, and whether they have changed |
//! | `page.rs` | what the screen shows |
//! | `keys.rs` | the keys |
//! | `progress.rs` | what is stored until the next start of this program |
//!
//! A run ends at the first check that fails: it is the next thing to do. The next run begins with this check, so that
//! the learner sees soon whether it passes now. If it does, all checks run.

mod files;
mod keys;
mod page;
mod progress;

use std::collections::HashSet;
use std::mem;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;

use anyhow::Result;
use check::{Check, Event, Finding, Outcome, run_checks};

use crate::check_command::{Job, prepare};
use crate::terminal::cbreak;

use files::LOOK_INTERVAL;
pub use files::ServerFiles;
use keys::Key;
use page::Page;
pub use progress::Progress;
use progress::ServerProgress;

/// How a run has ended.
pub enum End {
    /// The server, or its compiler, did not start, for this reason.
    NotStarted(String),
    /// A check failed.
    Failed(Box<(Check, Finding)>),
    /// No check failed, but this one could not decide, for this reason.
    Undecided(Box<Check>, String),
    /// All checks passed.
    Passed,
    /// A file was saved, so the results were of no use any more.
    Saved,
}

/// Runs the checks now and after each save. Returns when all checks have passed if `ends_when_passed` is true;
/// otherwise, or before, the user ends the program with a key or a signal.
///
/// `name` is the name of the server in the stored progress. `job` is called for each run, and may compile the server.
///
/// # Errors
///
/// The stored progress cannot be read, or standard output cannot be written.
pub fn check_at_each_save(
    name: &str,
    files: ServerFiles,
    ends_when_passed: bool,
    job: impl Fn() -> Result<Job>,
) -> Result<()> {
    prepare();
    let mut progress = Progress::load()?;
    let exit_code = Arc::new(AtomicU8::new(1));
    let keys = keys::read(Arc::clone(&exit_code));
    let mut page = Page::new(name, keys.is_some());
    let server = progress.servers.remove(name).unwrap_or_default();
    let mut learner = Learner { files, keys, server };
    loop {
        let end = match job() {
            Ok(job) => {
                page.begin_run(&job);
                learner.run(job, &mut page)?
            }
            Err(err) => End::NotStarted(format!("{err:#}")),
        };
        if matches!(end, End::Saved) {
            continue;
        }
        exit_code.store(u8::from(!matches!(end, End::Passed)), Ordering::Relaxed);
        progress.servers.insert(name.to_owned(), learner.server.clone());
        progress.save();
        page.end_run(&end);
        if ends_when_passed && matches!(end, End::Passed) {
            cbreak::leave();
            return Ok(());
        }
        loop {
            page.show(&end, &learner.server)?;
            match learner.wait() {
                None | Some(Key::Run) => break,
                Some(key) => page.press(key),
            }
        }
    }
}

/// The learner's side: the files that the learner saves, the keys, and how far the server is.
struct Learner {
    files: ServerFiles,
    /// `None` if there is no terminal.
    keys: Option<Receiver<Key>>,
    server: ServerProgress,
}

impl Learner {
    /// Runs the check that failed last. If it passes, runs all checks until one fails.
    fn run(&mut self, job: Job, page: &mut Page) -> Result<End> {
        let last = self.server.next.as_deref();
        let last = job.selected.iter().copied().find(|id| Some(*id) == last);
        if let Some(last) = last.filter(|_| job.selected.len() > 1) {
            let selected = HashSet::from([last]);
            match self.run_until_failure(Job { selected, ..job.clone() }, page)? {
                End::Passed => {}
                end => return Ok(end),
            }
        }
        let before = mem::take(&mut self.server);
        let end = self.run_until_failure(job, page)?;
        if matches!(end, End::NotStarted(_) | End::Saved) {
            self.server = before;
        }
        Ok(end)
    }

    fn run_until_failure(&mut self, job: Job, page: &mut Page) -> Result<End> {
        let Job { server, selected, tries, .. } = job;
        let mut end = None;
        let mut shown = Ok(());
        let report = run_checks(
            server,
            |check| selected.contains(check.id),
            tries,
            |event| {
                match event {
                    Event::Begins { check, number, total } => {
                        if self.files.have_changed() {
                            self.files.wait_until_written();
                            end = Some(End::Saved);
                            return ControlFlow::Break(());
                        }
                        shown = page.show_running(check, number, total);
                    }
                    Event::Failed { check, finding } => {
                        end = Some(End::Failed(Box::new((*check, finding.clone()))));
                        return ControlFlow::Break(());
                    }
                    Event::Ended { .. } => {}
                }
                if shown.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            },
        );
        shown?;
        let report = match report {
            Ok(report) => report,
            Err(not_started) => return Ok(End::NotStarted(not_started.to_string())),
        };
        for (check, outcome, _) in report.rows {
            match outcome {
                Outcome::Passed => {
                    self.server.passed.insert(check.id.to_owned());
                }
                Outcome::Undecided(why) if end.is_none() => {
                    end = Some(End::Undecided(Box::new(check), why));
                }
                _ => {}
            }
        }
        let end = end.unwrap_or(End::Passed);
        if let End::Failed(failed) = &end {
            self.server.set_next(failed.0.id);
        } else if let End::Undecided(check, _) = &end {
            self.server.set_next(check.id);
        }
        Ok(end)
    }

    /// Waits until the learner saves a file, which returns `None`, or presses a key.
    fn wait(&mut self) -> Option<Key> {
        loop {
            match self.keys.as_ref().map(|keys| keys.recv_timeout(LOOK_INTERVAL)) {
                Some(Ok(key)) => return Some(key),
                Some(Err(RecvTimeoutError::Timeout)) => {}
                Some(Err(RecvTimeoutError::Disconnected)) | None => thread::sleep(LOOK_INTERVAL),
            }
            if self.files.have_changed() {
                self.files.wait_until_written();
                return None;
            }
        }
    }
}
