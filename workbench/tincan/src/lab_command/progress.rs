use std::cell::RefCell;
use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use lab::{Step, table};

use crate::output::print;

/// What is shown while the experiments run: a bar on a terminal, lines elsewhere.
pub struct Progress {
    bar: Option<ProgressBar>,
    total: usize,
    /// The experiment and the case that were told last, and the server.
    told: RefCell<(String, String)>,
}

impl Progress {
    pub fn begin(total: usize) -> Self {
        let told = RefCell::default();
        if !std::io::stderr().is_terminal() {
            return Self { bar: None, total, told };
        }
        let bar = ProgressBar::new(u64::try_from(total).unwrap_or(u64::MAX));
        let style =
            ProgressStyle::with_template("{bar:20} {pos} of {len} · {wide_msg} · {eta} left");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(Duration::from_millis(250));
        Self { bar: Some(bar), total, told }
    }

    pub fn tell(&self, step: Step<'_>) {
        match step {
            Step::Begins { done, experiment, case, server, run } => {
                let case = format!("{}, {}", experiment.id, case.label);
                if let Some(bar) = &self.bar {
                    bar.set_position(u64::try_from(done).unwrap_or(u64::MAX));
                    bar.set_message(format!("{case}: {server}, run {run}"));
                } else if self.told.borrow().0 != case {
                    eprintln!("{done} of {} runs done · {case}", self.total);
                }
                self.told.replace((case, server.to_owned()));
            }
            Step::Wrong(what) => {
                let (case, server) = &*self.told.borrow();
                self.aside(|| eprintln!("! {case}, {server}: {what}"));
            }
            Step::Ended(outcome) => self.aside(|| {
                // A reader that has seen enough still gets the page.
                let _ = print(format!("\n{}\n", table(outcome, width())).as_bytes());
            }),
        }
    }

    fn aside(&self, write: impl FnOnce()) {
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

/// Columns of the terminal, or as many as are easy to read where there is none.
fn width() -> usize {
    terminal_size::terminal_size().map_or(100, |(width, _)| width.0.into())
}
