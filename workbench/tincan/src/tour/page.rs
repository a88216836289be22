//! Prints the prose of the tour in lines that fit, and waits for the reader between its parts.

use std::io::{self, IsTerminal as _, Write as _};
use std::ops::RangeInclusive;
use std::sync::mpsc::Receiver;

use anyhow::Result;
use unicode_width::UnicodeWidthStr as _;
use watch::wrap;

use super::leave::leave;
use crate::output::print_line;
use crate::terminal::{self, BOLD};

/// The width of the output, in columns: longer lines are hard to read, and shorter ones have no space for a
/// table.
const WIDTHS: RangeInclusive<usize> = 64..=100;

/// The output of the tour, and the keys that continue it.
pub struct Page {
    /// Gets a message for each Enter; nothing if the tour does not pause.
    enters: Option<Receiver<()>>,
    width: usize,
}

impl Page {
    pub fn new(enters: Option<Receiver<()>>) -> Self {
        let (width, _) = terminal::size();
        Self { enters, width: width.clamp(*WIDTHS.start(), *WIDTHS.end()) }
    }

    pub fn width(&self) -> usize {
        self.width
    }

    /// Prints a paragraph, and an empty line.
    pub fn paragraph(&self, text: &str) -> Result<()> {
        print_line(&(wrap(text, self.width).join("\n") + "\n"))
    }

    /// Says what comes next, and waits for Enter.
    pub fn pause(&self, next: &str) -> Result<()> {
        let Some(enters) = &self.enters else {
            return Ok(());
        };
        // An Enter that was typed before the prompt does not answer it.
        while enters.try_recv().is_ok() {}
        let prompt = format!("Enter: {next}   q: quit");
        write!(anstream::stdout(), "{BOLD}{prompt}{BOLD:#} ")?;
        io::stdout().flush()?;
        if enters.recv().is_err() {
            leave(0);
        }
        if io::stdout().is_terminal() && prompt.width() + 1 < self.width {
            // The next row of the table replaces the prompt.
            write!(io::stdout(), "\r\x1b[K")?;
            return Ok(io::stdout().flush()?);
        }
        print_line("")
    }
}
