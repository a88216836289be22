//! `check --watch` and `exercise check --watch`: the checks run again whenever the user saves a file of the server.
//!
//! | file | subject |
//! |---|---|
//! | `files.rs` | the files of the server, and whether they have changed |
//! | `page.rs` | what the screen shows |
//! | `keys.rs` | the keys |
//!
//! A run ends at the first check that fails: it is the next thing to do. The next run begins with this check, so that
//! the user sees soon whether it passes now. If it does, all checks run.

mod files;
mod keys;
mod page;

use std::collections::HashSet;
use std::mem;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;

use anyhow::Result;
use check::{Check, Event, Finding, Outcome, run_checks};

use crate::job::{Job, prepare};
use crate::progress::{Progress, ServerProgress};
use crate::terminal::cbreak;

pub use files::ServerFiles;
pub use keys::has_keys;

use files::POLL_INTERVAL;
use keys::Key;
use page::Page;

/// How a run has ended.
pub enum End {
    /// The server, or its compiler, did not start, for this reason.
    NotStarted(String),
    /// A check failed.
    Failed { check: Box<Check>, finding: Box<Finding> },
    /// No check failed, but this one could not decide, for this reason.
    Undecided { check: Box<Check>, why: String },
    /// No check can run on this machine.
    NoneRan,
    /// All checks that can run on this machine passed.
    Passed,
}

impl End {
    /// Returns the check that the server has to pass next, if it is known.
    fn check(&self) -> Option<&Check> {
        match self {
            Self::Failed { check, .. } | Self::Undecided { check, .. } => Some(check),
            Self::NotStarted(_) | Self::NoneRan | Self::Passed => None,
        }
    }

    /// Returns the exit code of a run without `--watch` that has ended like this.
    fn exit_code(&self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::Failed { .. } => 1,
            Self::Undecided { .. } | Self::NoneRan => 2,
            Self::NotStarted(_) => 3,
        }
    }
}

/// When to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// All checks have passed.
    Passed,
    /// The user ends the program with a key or a signal.
    Quit,
}

/// Runs the checks now and after each save, until all have passed or the user ends the program.
///
/// `name` is the name of the server in the stored progress. `job` is called for each run, and may compile the server.
///
/// # Errors
///
/// The stored progress cannot be read, or standard output cannot be written.
pub fn check_at_each_save(
    name: &str,
    files: ServerFiles,
    until: Until,
    job: impl Fn() -> Result<Job>,
) -> Result<()> {
    prepare();
    let server = Progress::load()?.servers.remove(name).unwrap_or_default();
    let exit_code = Arc::new(AtomicU8::new(1));
    let keys = keys::read(Arc::clone(&exit_code));
    let page = Page::new(name, keys.is_some());
    let mut session = Session { name: name.to_owned(), files, keys, page, exit_code, server };
    let done = session.run_again_and_again(until, job);
    cbreak::leave();
    done
}

/// The runs of the checks of one server.
struct Session {
    /// The name of the server in the stored progress.
    name: String,
    files: ServerFiles,
    /// `None` if there is no terminal.
    keys: Option<Receiver<Key>>,
    page: Page,
    /// The exit code if the user quits now.
    exit_code: Arc<AtomicU8>,
    server: ServerProgress,
}

/// What ends the wait for the user.
enum Wake {
    /// The user has saved a file.
    Saved,
    /// The user has pressed a key.
    Pressed(Key),
    /// The page has to be drawn again.
    Redraw,
}

impl Session {
    fn run_again_and_again(&mut self, until: Until, job: impl Fn() -> Result<Job>) -> Result<()> {
        loop {
            // If the user quits during the run, the server has not passed.
            self.exit_code.store(1, Ordering::Relaxed);
            self.page.begin_run()?;
            let end = match job() {
                Ok(job) => self.run(job)?,
                Err(err) => Some(End::NotStarted(format!("{err:#}"))),
            };
            // If a file was saved, the results are of no use any more.
            let Some(end) = end else { continue };
            self.exit_code.store(end.exit_code(), Ordering::Relaxed);
            self.store_progress();
            self.page.end_run(&end);
            if until == Until::Passed && matches!(end, End::Passed) {
                return self.page.show_last(&end, &self.server);
            }
            self.show_until_next_run(&end)?;
        }
    }

    /// Runs the check that failed last. If it passes, runs all checks until one fails. Returns `None` if a file was
    /// saved.
    fn run(&mut self, job: Job) -> Result<Option<End>> {
        self.page.show_checks(&job);
        let last = self.server.next.as_deref();
        let last = job.selected.iter().copied().find(|id| Some(*id) == last);
        if let Some(last) = last.filter(|_| job.selected.len() > 1) {
            let selected = HashSet::from([last]);
            match self.run_until_failure(Job { selected, ..job.clone() })? {
                Some(End::Passed | End::NoneRan) => {}
                end => return Ok(end),
            }
        }
        let before = mem::take(&mut self.server);
        let end = self.run_until_failure(job)?;
        if matches!(end, None | Some(End::NotStarted(_))) {
            self.server = before;
        }
        Ok(end)
    }

    fn run_until_failure(&mut self, job: Job) -> Result<Option<End>> {
        let Job { server, selected, tries, .. } = job;
        let mut end = None;
        let mut is_saved = false;
        let mut shown = Ok(());
        let report = run_checks(
            server,
            |check| selected.contains(check.id),
            tries,
            |event| {
                match event {
                    Event::Begins { check, number, total } => {
                        is_saved = self.files.have_changed();
                        if is_saved {
                            return ControlFlow::Break(());
                        }
                        shown = self.page.show_running(check, number, total);
                    }
                    Event::Failed { check, finding } => {
                        let check = Box::new(*check);
                        let finding = Box::new(finding.clone());
                        end = Some(End::Failed { check, finding });
                        return ControlFlow::Break(());
                    }
                    Event::Ended { .. } => {}
                }
                if shown.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            },
        );
        shown?;
        if is_saved {
            self.files.wait_until_written();
            return Ok(None);
        }
        let report = match report {
            Ok(report) => report,
            Err(not_started) => return Ok(Some(End::NotStarted(not_started.to_string()))),
        };
        let has_passed = report.count(|outcome| matches!(outcome, Outcome::Passed)) > 0;
        for note in report.notes {
            self.page.add_note(note);
        }
        for (check, outcome, _) in report.rows {
            match outcome {
                Outcome::Passed => {
                    self.server.passed.insert(check.id.to_owned());
                }
                Outcome::Undecided(why) if end.is_none() => {
                    end = Some(End::Undecided { check: Box::new(check), why });
                }
                _ => {}
            }
        }
        let end = end.unwrap_or(if has_passed { End::Passed } else { End::NoneRan });
        if let Some(check) = end.check() {
            self.server.set_next(check.id);
        }
        Ok(Some(end))
    }

    /// Stores how far the server is. An error is a note on the page, because the checks can still run.
    fn store_progress(&mut self) {
        let stored = Progress::update(|progress| {
            progress.servers.insert(self.name.clone(), self.server.clone());
        });
        if let Err(err) = stored {
            self.page.add_note(format!("{err:#}"));
        }
    }

    /// Shows the page until the user saves a file or asks for another run.
    fn show_until_next_run(&mut self, end: &End) -> Result<()> {
        // A key that was pressed during the run is not for this page.
        while self.keys.as_ref().is_some_and(|keys| keys.try_recv().is_ok()) {}
        loop {
            self.page.show(end, &self.server)?;
            match self.wait() {
                Wake::Saved | Wake::Pressed(Key::Run) => return Ok(()),
                Wake::Pressed(key) => self.page.press(key, end),
                Wake::Redraw => {}
            }
        }
    }

    fn wait(&mut self) -> Wake {
        loop {
            match self.keys.as_ref().map(|keys| keys.recv_timeout(POLL_INTERVAL)) {
                Some(Ok(key)) => return Wake::Pressed(key),
                Some(Err(RecvTimeoutError::Timeout)) => {}
                Some(Err(RecvTimeoutError::Disconnected)) | None => thread::sleep(POLL_INTERVAL),
            }
            if self.files.have_changed() {
                self.files.wait_until_written();
                return Wake::Saved;
            }
            if self.page.is_outdated() {
                return Wake::Redraw;
            }
        }
    }
}
