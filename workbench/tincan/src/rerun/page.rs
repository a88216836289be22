use anyhow::Result;
use check::{Check, Invocation, Requirement, TABLE, failure_text, plain};
use unicode_width::UnicodeWidthStr as _;
use watch::{join, truncate, wrap};

use super::{End, Key};
use crate::job::Job;
use crate::output::print_line;
use crate::progress::ServerProgress;
use crate::signals;
use crate::terminal::{self, BOLD, DIM};

/// The widest line, where the terminal is wider.
const MAX_COLUMNS: usize = 80;

/// The number of columns of the progress bar.
const BAR_COLUMNS: usize = 30;

/// The number of columns of a check's id.
const ID_COLUMNS: usize = 24;

/// How many hints a check has.
const MAX_HINTS: u8 = 3;

/// The most notes that are shown.
const MAX_NOTES: usize = 3;

/// The page on the screen: the report on the next check, and below it how far the server is.
pub struct Page {
    /// The name of the server in the stored progress.
    name: String,
    has_terminal: bool,
    /// The size of the terminal when the page was drawn last.
    size: (usize, usize),
    runs: usize,
    /// The checks of the last run, in the order of the table.
    checks: Vec<&'static Check>,
    invocation: Option<Invocation>,
    /// What is said below the report.
    notes: Vec<String>,
    /// The check that is shown; its hints are shown one after the other.
    shown_check: Option<&'static str>,
    /// How many hints are shown.
    hints: u8,
    view: View,
    /// Whether the report does not fit on the screen, so that a key shows the rest of it.
    is_too_long: bool,
}

/// What is shown above the progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum View {
    /// As much of the report as fits on the screen.
    Report,
    /// All of the report.
    WholeReport,
    /// The list of checks.
    List,
}

impl Page {
    pub fn new(name: &str, has_terminal: bool) -> Self {
        Self {
            name: name.to_owned(),
            has_terminal,
            size: terminal::size(),
            runs: 0,
            checks: Vec::new(),
            invocation: None,
            notes: Vec::new(),
            shown_check: None,
            hints: 0,
            view: View::Report,
            is_too_long: false,
        }
    }

    /// Removes the notes on the last run, and says that the next one begins.
    pub fn begin_run(&mut self) -> Result<()> {
        self.notes.clear();
        self.show_status("starting the server")
    }

    /// Shows the checks of this job from now on.
    pub fn show_checks(&mut self, job: &Job) {
        self.checks = TABLE.iter().filter(|check| job.selected.contains(check.id)).collect();
        self.invocation = Some(job.invocation.clone());
    }

    /// Adds a note on this run. A note that is there already is not added again.
    pub fn add_note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Shows which check runs, below the page.
    pub fn show_running(&self, check: &Check, number: usize, total: usize) -> Result<()> {
        self.show_status(&format!("running {number} of {total}: {} · {}", check.id, check.title))
    }

    fn show_status(&self, text: &str) -> Result<()> {
        if self.has_terminal {
            let columns = terminal::size().0;
            terminal::write_status(&truncate(text, columns.saturating_sub(1)))?;
        }
        Ok(())
    }

    /// Counts the run. If its result is about another check than before, the number of hints starts again.
    pub fn end_run(&mut self, end: &End) {
        self.runs += 1;
        if self.view == View::List {
            self.view = View::Report;
        }
        // A server that could not be started is still at the same check.
        if matches!(end, End::NotStarted(_)) {
            return;
        }
        let check = end.check().map(|check| check.id);
        if check != self.shown_check {
            self.shown_check = check;
            self.hints = self.invocation.as_ref().map_or(0, |invocation| invocation.hints);
            self.view = View::Report;
        }
    }

    /// Changes what is shown.
    pub fn press(&mut self, key: Key, end: &End) {
        match key {
            Key::Hint if self.offers_hint(end) => self.hints += 1,
            Key::All if self.is_too_long => {
                let is_whole = self.view == View::WholeReport;
                self.view = if is_whole { View::Report } else { View::WholeReport };
            }
            Key::List if !self.checks.is_empty() => {
                let is_list = self.view == View::List;
                self.view = if is_list { View::Report } else { View::List };
            }
            Key::Hint | Key::All | Key::List | Key::Run => {}
        }
    }

    /// Reports whether the page has to be drawn again: the size of the terminal has changed, or other programs may
    /// have written to it while this one was suspended.
    pub fn is_outdated(&self) -> bool {
        self.has_terminal && (signals::take_continued() || self.size != terminal::size())
    }

    /// Shows the page: on an empty screen, or below the last output if there is no terminal.
    ///
    /// # Errors
    ///
    /// Standard output cannot be written, or its reader has closed it.
    pub fn show(&mut self, end: &End, server: &ServerProgress) -> Result<()> {
        self.draw(end, server, self.has_terminal)
    }

    /// Shows the page without the keys, because the program ends.
    pub fn show_last(&mut self, end: &End, server: &ServerProgress) -> Result<()> {
        self.draw(end, server, false)
    }

    fn draw(&mut self, end: &End, server: &ServerProgress, has_keys: bool) -> Result<()> {
        self.size = terminal::size();
        let status = self.status(end, server);
        let mut lines: Vec<_> = self.report(end).lines().map(str::to_owned).collect();
        self.is_too_long = false;
        if self.has_terminal {
            let (width, height) = self.size;
            // With all keys, and a row for the cursor.
            let below = status.len() + self.keys(end, true).len() + 1;
            let rows = height.saturating_sub(below);
            if self.view == View::List {
                lines = self.list(server, width, rows);
            } else {
                let main = main_part(&lines, end);
                let needed: usize = lines.iter().map(|line| rows_of(line, width)).sum();
                self.is_too_long = needed > rows && main < lines.len();
            }
            if self.is_too_long && self.view == View::Report {
                let main = main_part(&lines, end);
                cut(&mut lines, main, width, rows);
            }
            terminal::clear()?;
        }
        lines.extend(status);
        if has_keys {
            lines.extend(self.keys(end, self.is_too_long));
        }
        print_line(&lines.join("\n"))
    }

    fn report(&self, end: &End) -> String {
        match (end, &self.invocation) {
            (End::Failed { check, finding }, Some(invocation)) => {
                let invocation = Invocation {
                    hints: self.hints,
                    rerun_command: String::new(), // a save runs the check again
                    ..invocation.clone()
                };
                failure_text(check, finding, &invocation)
            }
            (End::Undecided { check, why }, _) => {
                let text = format!("The check {} could not decide: {why}", check.id);
                wrap(&text, MAX_COLUMNS - 4).join("\n")
            }
            (End::NotStarted(why), _) => why.clone(),
            _ => String::new(),
        }
    }

    /// Returns the lines below the report.
    fn status(&self, end: &End, server: &ServerProgress) -> Vec<String> {
        let width = self.width();
        let all = self.checks.len();
        let passed = count_passed(&self.checks, server);
        let filled = (BAR_COLUMNS * passed).checked_div(all).unwrap_or(0);
        let bar = format!("{}{}", "█".repeat(filled), "░".repeat(BAR_COLUMNS - filled));
        let title = format!("── {} ", truncate(&self.name, width - 4));
        let mut lines = vec![String::new()];
        for note in self.notes.iter().take(MAX_NOTES) {
            lines.extend(wrap(&format!("note: {note}"), width));
        }
        lines.push(format!("{DIM}{title:─<width$}{DIM:#}"));
        if all > 0 {
            lines.push(format!("{bar} {passed} of {all} checks passed · run {}", self.runs));
        }
        lines.extend(join(self.themes(server), " · ", width));
        let next = match end {
            End::Failed { check, .. } | End::Undecided { check, .. } => {
                format!("Next: {} · {}", check.id, check.title)
            }
            End::NotStarted(_) => "Next: make the server start".to_owned(),
            End::NoneRan => "None of these checks can run here.".to_owned(),
            End::Passed if passed < all => "All checks that can run here passed.".to_owned(),
            End::Passed => "All checks passed.".to_owned(),
        };
        lines.push(truncate(&format!("{BOLD}{next}{BOLD:#}"), width));
        lines
    }

    /// Returns the keys that do something now.
    fn keys(&self, end: &End, is_too_long: bool) -> Vec<String> {
        let mut keys = Vec::new();
        if self.offers_hint(end) {
            keys.push(format!("h: next hint ({} of {MAX_HINTS})", self.hints));
        }
        if is_too_long {
            let is_whole = self.view == View::WholeReport;
            keys.push(if is_whole { "a: less" } else { "a: all of the report" }.to_owned());
        }
        if !self.checks.is_empty() {
            let is_list = self.view == View::List;
            keys.push(if is_list { "l: report" } else { "l: list" }.to_owned());
        }
        keys.push("r: run again".to_owned());
        keys.push("q: quit".to_owned());
        join(keys, "   ", self.width())
    }

    /// Reports whether one more hint on the failure can be shown.
    fn offers_hint(&self, end: &End) -> bool {
        let (End::Failed { check, .. }, Some(invocation)) = (end, &self.invocation) else {
            return false;
        };
        self.view != View::List
            && self.hints < MAX_HINTS
            && check.requirement(invocation.profile) != Requirement::MustFail
    }

    /// Returns the number of columns of the lines below the report.
    fn width(&self) -> usize {
        self.size.0.clamp(20, MAX_COLUMNS)
    }

    /// Returns how many checks of each theme the server has passed.
    fn themes(&self, server: &ServerProgress) -> Vec<String> {
        let themes = self.checks.chunk_by(|a, b| a.theme == b.theme);
        let theme_text = |checks: &[&Check]| {
            let passed = count_passed(checks, server);
            format!("{} {passed}/{}", checks[0].theme, checks.len())
        };
        themes.map(theme_text).collect()
    }

    /// Returns the list of checks: passed, next, and not reached yet. If it has more rows than this, it leaves out the
    /// first checks that have passed, and then the last checks.
    fn list(&self, server: &ServerProgress, width: usize, rows: usize) -> Vec<String> {
        let next = server.next.as_deref();
        let next = self.checks.iter().position(|check| Some(check.id) == next);
        let next = next.unwrap_or(self.checks.len());
        // A line in their place says how many are left out.
        let excess = if self.checks.len() > rows { self.checks.len() + 1 - rows } else { 0 };
        let mut left_out = 0;
        let mut lines = Vec::new();
        for (i, check) in self.checks.iter().enumerate() {
            let has_passed = server.passed.contains(check.id);
            if has_passed && i < next && left_out < excess {
                left_out += 1;
                continue;
            }
            let mark = if i == next {
                '→'
            } else if has_passed {
                '✓'
            } else {
                ' '
            };
            let line = format!("{mark} {:<ID_COLUMNS$} {}", check.id, check.title);
            lines.push(truncate(&line, width));
        }
        if left_out > 0 {
            let noun = if left_out == 1 { "check" } else { "checks" };
            lines.insert(0, format!("{DIM}… {left_out} passed {noun} above{DIM:#}"));
        }
        if lines.len() > rows {
            let shown = rows.saturating_sub(1);
            let more = lines.len() - shown;
            lines.truncate(shown);
            lines.push(format!("{DIM}… {more} more checks{DIM:#}"));
        }
        lines
    }
}

fn count_passed(checks: &[&Check], server: &ServerProgress) -> usize {
    checks.iter().filter(|check| server.passed.contains(check.id)).count()
}

/// Returns how many lines of a report are shown even if they do not fit. For a failure, these are the lines before the
/// first empty line, because only recordings come after it.
fn main_part(lines: &[String], end: &End) -> usize {
    match end {
        End::Failed { .. } => lines.iter().position(String::is_empty).unwrap_or(lines.len()),
        _ => 0,
    }
}

/// Returns how many rows of the terminal a line takes.
fn rows_of(line: &str, width: usize) -> usize {
    plain(line).width().div_ceil(width).max(1)
}

/// Shortens a report to this many rows of the terminal, but keeps its main part. The last line says how many lines are
/// left out.
fn cut(lines: &mut Vec<String>, main: usize, width: usize, rows: usize) {
    let mut used = 0;
    let fitting = lines.iter().take_while(|line| {
        used += rows_of(line, width);
        used < rows
    });
    let shown = fitting.count().max(main);
    let more = lines.len() - shown;
    lines.truncate(shown);
    let noun = if more == 1 { "line" } else { "lines" };
    lines.push(format!("{DIM}… {more} more {noun}: a shows all{DIM:#}"));
}
