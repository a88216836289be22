use std::io::{self, Write as _};

use anyhow::Result;
use check::{Check, Invocation, TABLE, failure_text, plain};
use unicode_width::UnicodeWidthStr as _;
use watch::{join, truncate, wrap};

use super::progress::ServerProgress;
use super::{End, Key};
use crate::check_command::Job;
use crate::output::print;
use crate::terminal::{self, BOLD, DIM};

/// The widest line, where the terminal is wider.
const WIDTH: usize = 80;

/// The number of columns of the progress bar.
const BAR: usize = 30;

/// The columns of a check's id.
const ID: usize = 24;

/// What the screen shows: the report on the next check above, how far the server is below.
pub struct Page {
    /// The command line without the program's name.
    name: String,
    has_terminal: bool,
    runs: usize,
    /// The checks of the last run, in the order of the table.
    checks: Vec<&'static Check>,
    call: Option<Invocation>,
    /// The check that is shown; its hints are shown one after the other.
    shown: Option<&'static str>,
    /// How many hints are shown.
    hints: u8,
    /// Whether the whole report is shown, even if it is longer than the screen.
    shows_all: bool,
    /// Whether the list of checks is shown instead of the report.
    shows_list: bool,
}

impl Page {
    pub fn new(name: &str, has_terminal: bool) -> Self {
        Self {
            name: name.to_owned(),
            has_terminal,
            runs: 0,
            checks: Vec::new(),
            call: None,
            shown: None,
            hints: 0,
            shows_all: false,
            shows_list: false,
        }
    }

    /// Prepares the page for a run of these checks.
    pub fn begin_run(&mut self, job: &Job) {
        self.checks = TABLE.iter().filter(|check| job.selected.contains(check.id)).collect();
        self.call = Some(job.call.clone());
    }

    /// Shows which check runs, below the page.
    pub fn show_running(&self, check: &Check, number: usize, total: usize) -> Result<()> {
        if !self.has_terminal {
            return Ok(());
        }
        let line = format!("running {number} of {total}: {} · {}", check.id, check.title);
        let mut out = io::stdout().lock();
        write!(out, "\r\x1b[2K{}", truncate(&line, terminal::size().0.saturating_sub(1)))?;
        Ok(out.flush()?)
    }

    /// Counts the run. If its result is about another check than before, the page begins with few hints again.
    pub fn end_run(&mut self, end: &End) {
        self.runs += 1;
        let shown = match end {
            End::Failed(failed) => Some(failed.0.id),
            End::Undecided(check, _) => Some(check.id),
            End::NotStarted(_) | End::Passed | End::Saved => None,
        };
        self.shows_list = false;
        if shown != self.shown {
            self.shown = shown;
            self.hints = self.call.as_ref().map_or(0, |call| call.hints);
            self.shows_all = false;
        }
    }

    /// Changes what is shown.
    pub fn press(&mut self, key: Key) {
        match key {
            Key::Hint => self.hints = (self.hints + 1).min(3),
            Key::All => self.shows_all = !self.shows_all,
            Key::List => self.shows_list = !self.shows_list,
            Key::Run => {}
        }
    }

    /// Shows the page: on an empty screen, or below the last output if there is no terminal.
    pub fn show(&self, end: &End, server: &ServerProgress) -> Result<()> {
        let report = if self.shows_list { self.list(server) } else { self.report(end) };
        let status = self.status(end, server);
        let mut lines: Vec<_> = report.lines().map(str::to_owned).collect();
        if self.has_terminal {
            let (width, height) = terminal::size();
            let rows = height.saturating_sub(status.len() + 2);
            if !self.shows_all && !self.shows_list {
                cut(&mut lines, width, rows);
            }
            let mut out = io::stdout().lock();
            out.write_all(b"\x1b[H\x1b[2J")?;
            out.flush()?;
        }
        lines.extend(status);
        print(format!("{}\n", lines.join("\n")).as_bytes())
    }

    fn report(&self, end: &End) -> String {
        match (end, &self.call) {
            (End::Failed(failed), Some(call)) => {
                let rerun_command = String::new(); // a save runs the check again
                let call = Invocation { hints: self.hints, rerun_command, ..call.clone() };
                failure_text(&failed.0, &failed.1, &call)
            }
            (End::Undecided(check, why), _) => {
                let text = format!("{} could not decide: {why}", check.id);
                wrap(&text, WIDTH - 4).join("\n")
            }
            (End::NotStarted(why), _) => why.clone(),
            _ => String::new(),
        }
    }

    /// Returns the lines below the report.
    fn status(&self, end: &End, server: &ServerProgress) -> Vec<String> {
        let width = terminal::size().0.clamp(20, WIDTH);
        let all = self.checks.len();
        let passed = self.checks.iter().filter(|check| server.passed.contains(check.id)).count();
        let filled = (BAR * passed).checked_div(all).unwrap_or(0);
        let bar = format!("{}{}", "█".repeat(filled), "░".repeat(BAR - filled));
        let mut lines = vec![
            String::new(),
            format!("{DIM}{:─<width$}{DIM:#}", format!("── {} ", truncate(&self.name, width - 4))),
        ];
        if all > 0 {
            lines.push(format!("{bar} {passed} of {all} checks passed · run {}", self.runs));
        }
        lines.extend(join(self.themes(server), " · ", width));
        lines.push(match end {
            End::Failed(failed) => {
                format!("{BOLD}Next: {} · {}{BOLD:#}", failed.0.id, failed.0.title)
            }
            End::Undecided(check, _) => {
                format!("{BOLD}Next: {} · {}{BOLD:#}", check.id, check.title)
            }
            End::NotStarted(_) => format!("{BOLD}Next: the server has to start{BOLD:#}"),
            End::Passed | End::Saved if passed < all => {
                format!("{BOLD}All checks that can run here passed.{BOLD:#}")
            }
            End::Passed | End::Saved => format!("{BOLD}All checks passed.{BOLD:#}"),
        });
        if self.has_terminal {
            let hints = format!("h: next hint ({} of 3)", self.hints);
            let keys = [&hints, "a: all of the report", "l: list", "r: run again", "q: quit"];
            lines.extend(join(keys.map(str::to_owned), "   ", width));
        }
        lines
    }

    /// Returns how many checks of each theme the server has passed.
    fn themes(&self, server: &ServerProgress) -> Vec<String> {
        let themes = self.checks.chunk_by(|a, b| a.theme == b.theme);
        let count = |checks: &[&Check]| {
            let passed = checks.iter().filter(|check| server.passed.contains(check.id)).count();
            format!("{} {passed}/{}", checks[0].theme, checks.len())
        };
        themes.map(count).collect()
    }

    /// Returns the list of checks: passed, next, and not reached yet.
    fn list(&self, server: &ServerProgress) -> String {
        let line = |check: &&Check| {
            let is_next = server.next.as_deref() == Some(check.id);
            let mark = match server.passed.contains(check.id) {
                _ if is_next => '→',
                true => '✓',
                false => ' ',
            };
            format!("{mark} {:<ID$} {}\n", check.id, check.title)
        };
        self.checks.iter().map(line).collect()
    }
}

/// Cuts a report that takes more rows of the terminal, and says so. What comes before the first empty line is not cut:
/// after it, there are only recordings.
fn cut(lines: &mut Vec<String>, width: usize, rows: usize) {
    let rows_of = |line: &String| plain(line).width().div_ceil(width).max(1);
    let main = lines.iter().position(String::is_empty).unwrap_or(lines.len());
    let mut left = rows;
    let fitting = lines.iter().take_while(|line| {
        let needed = rows_of(line);
        let fits = needed <= left;
        left = left.saturating_sub(needed);
        fits
    });
    let shown = fitting.count();
    if shown < lines.len() {
        // The last line says that there are more.
        let shown = shown.saturating_sub(1).max(main);
        let more = lines.len() - shown;
        lines.truncate(shown);
        if more > 0 {
            lines.push(format!("{DIM}… {more} more lines: a shows them{DIM:#}"));
        }
    }
}
