//! What the tour prints: headings, prose in lines that fit, and the places where the reader goes on.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::mpsc::Receiver;

use anstyle::{AnsiColor, Style};
use anyhow::Result;

use super::leave::leave;

pub const BOLD: Style = Style::new().bold();
pub const DIM: Style = Style::new().dimmed();
pub const ALARM: Style = AnsiColor::Yellow.on_default();
pub const PLAIN: Style = Style::new();

/// Longer lines are hard to read, shorter ones have no room for a table.
const WIDTHS: std::ops::RangeInclusive<usize> = 64..=100;

/// Where the tour prints, and who turns the pages.
pub struct Page {
    /// What Enter sends; nothing if the tour does not pause.
    enters: Option<Receiver<()>>,
    width: usize,
}

impl Page {
    pub fn new(enters: Option<Receiver<()>>) -> Self {
        let width = terminal_size::terminal_size().map_or(80, |(width, _)| width.0.into());
        Self { enters, width: width.clamp(*WIDTHS.start(), *WIDTHS.end()) }
    }

    pub fn width(&self) -> usize {
        self.width
    }

    /// Prints a paragraph.
    pub fn prose(&self, text: &str) -> Result<()> {
        print(&(wrap(text, self.width).join("\n") + "\n"))
    }

    /// Waits for Enter, having said what comes then.
    pub fn pause(&self, next: &str) -> Result<()> {
        let Some(enters) = &self.enters else {
            return Ok(());
        };
        // What was typed before the question was asked does not answer it.
        while enters.try_recv().is_ok() {}
        let prompt = format!("Enter: {next}   q: quit");
        write!(anstream::stdout(), "{BOLD}{prompt}{BOLD:#} ")?;
        io::stdout().flush()?;
        if enters.recv().is_err() {
            leave(0);
        }
        if io::stdout().is_terminal() && prompt.chars().count() + 1 < self.width {
            // The table goes on where the question stood.
            write!(io::stdout(), "\r\x1b[K")?;
            return Ok(io::stdout().flush()?);
        }
        print("")
    }
}

/// Prints lines as they are.
pub fn print(lines: &str) -> Result<()> {
    let mut stdout = anstream::stdout().lock();
    writeln!(stdout, "{lines}")?;
    Ok(stdout.flush()?)
}

/// Prints a line in a style.
pub fn styled(style: Style, line: &str) -> Result<()> {
    print(&format!("{style}{line}{style:#}"))
}

/// Breaks a text into lines, between words as long as these fit.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let (mut lines, mut line, mut used) = (Vec::new(), String::new(), 0);
    for word in text.split_whitespace() {
        let len = word.chars().count();
        if used > 0 && used + 1 + len > width {
            lines.push(std::mem::take(&mut line));
            used = 0;
        }
        if used > 0 {
            line.push(' ');
            used += 1;
        }
        for ch in word.chars() {
            if used == width {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            line.push(ch);
            used += 1;
        }
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words_and_long_words_within() {
        assert_eq!(wrap("a bc  d\nefghi", 4), ["a bc", "d", "efgh", "i"]);
        assert_eq!(wrap("", 4), [""]);
        assert_eq!(wrap("abcd efgh", 4), ["abcd", "efgh"]);
    }
}
