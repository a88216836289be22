//! Shows the progress while the experiments run.

use std::cell::RefCell;
use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use lab::{Step, table};

use crate::output::print;
use crate::terminal;

/// The width of a table if there is no terminal.
const WIDTH: usize = 100;

/// Returns the width of a table.
pub fn width() -> usize {
    terminal::columns().unwrap_or(WIDTH)
}

/// A bar if standard error is a terminal; otherwise a line for each case.
pub struct Progress {
    bar: Option<ProgressBar>,
    /// Whether standard output is a terminal, which shows the table of each experiment as soon as it is complete.
    prints_tables: bool,
    total: usize,
    /// The experiment with its case, and the server, that were shown last.
    current: RefCell<(String, String)>,
}

impl Progress {
    pub fn begin(total: usize) -> Self {
        let current = RefCell::default();
        let prints_tables = std::io::stdout().is_terminal();
        if !std::io::stderr().is_terminal() {
            return Self { bar: None, prints_tables, total, current };
        }
        let bar = ProgressBar::new(u64::try_from(total).unwrap_or(u64::MAX));
        let style =
            ProgressStyle::with_template("{bar:20} {pos} of {len} · {wide_msg} · {eta} left");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(250));
        Self { bar: Some(bar), prints_tables, total, current }
    }

    pub fn show(&self, step: Step<'_>) {
        match step {
            Step::Begins { done, experiment, case, server, run } => {
                let case = format!("{}, {}", experiment.id, case.label);
                if let Some(bar) = &self.bar {
                    bar.set_position(u64::try_from(done).unwrap_or(u64::MAX));
                    bar.set_message(format!("{case}: {server}, run {run}"));
                } else if self.current.borrow().0 != case {
                    eprintln!("{done} of {} runs done · {case}", self.total);
                }
                self.current.replace((case, server.to_owned()));
            }
            Step::Fault(what) => {
                let (case, server) = &*self.current.borrow();
                self.print_beside(|| eprintln!("! {case}, {server}: {what}"));
            }
            Step::Ended(result) if self.prints_tables => self.print_beside(|| {
                // If standard output is closed, the page is still written.
                let _ = print(format!("\n{}\n", table(result, width())).as_bytes());
            }),
            Step::Ended(_) => {}
        }
    }

    /// Reports whether the table of each experiment is printed as soon as it is complete.
    pub fn prints_tables(&self) -> bool {
        self.prints_tables
    }

    fn print_beside(&self, write: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    pub fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
