//! The table of a scene: one column for each client and one for the server, in the order of time from top to
//! bottom.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use anstyle::Style;
use anyhow::Result;
use probe::server::OutputLines;
use unicode_width::UnicodeWidthStr as _;
use watch::wrap;

use super::page::Page;
use crate::output::print_line;
use crate::terminal::{BOLD, DIM, HIGHLIGHT, PLAIN};

/// The width of the column of times.
const TIME: usize = 7;

const DAY_IN_MICROS: u64 = 24 * 60 * 60 * 1_000_000;

/// An event in one column.
struct Event {
    /// Microseconds since the scene began.
    at: u64,
    column: usize,
    text: String,
    style: Style,
}

/// Collects events from the clients and from the server's log, and prints them in the order in which they
/// happened.
pub struct Table<'a> {
    pub page: &'a Page,
    heads: Vec<&'static str>,
    log: OutputLines,
    /// The number of lines of the log that have become events.
    log_read: usize,
    /// The addresses of clients, with their names.
    names: Vec<(String, &'static str)>,
    /// The time of day when the scene began, in microseconds.
    began: u64,
    /// The events that have not been printed yet.
    events: Vec<Event>,
}

impl<'a> Table<'a> {
    /// Makes a table for these clients and for a server with this log.
    pub fn new(page: &'a Page, clients: &[&'static str], log: OutputLines) -> Self {
        let heads = clients.iter().copied().chain(["server"]).collect();
        let (names, events) = (Vec::new(), Vec::new());
        Self { page, heads, log, log_read: 0, names, began: time_of_day(), events }
    }

    /// Returns the server's column.
    pub fn server(&self) -> usize {
        self.heads.len() - 1
    }

    /// Shows this name in place of a client's address from now on.
    pub fn name(&mut self, addr: SocketAddr, name: &'static str) {
        self.names.push((addr.to_string(), name));
        // The longest first: the address of one client may be the beginning of another client's address.
        self.names.sort_by_key(|(addr, _)| std::cmp::Reverse(addr.len()));
    }

    /// Adds an event that happens now.
    pub fn add(&mut self, column: usize, text: impl AsRef<str>) {
        self.add_styled(column, text.as_ref(), PLAIN);
    }

    /// Adds an event that happens now and that the scene is about.
    pub fn highlight(&mut self, column: usize, text: impl AsRef<str>) {
        self.add_styled(column, text.as_ref(), HIGHLIGHT);
    }

    fn add_styled(&mut self, column: usize, text: &str, style: Style) {
        let at = self.since_began(time_of_day());
        let text = self.with_names(text);
        self.events.push(Event { at, column, text, style });
    }

    /// Replaces addresses in a text by names.
    pub fn with_names(&self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |text, (addr, name)| text.replace(addr, name))
    }

    fn since_began(&self, time: u64) -> u64 {
        let passed = (time + DAY_IN_MICROS - self.began) % DAY_IN_MICROS;
        // A time shortly before the beginning is not a day after it.
        if passed > DAY_IN_MICROS / 2 { 0 } else { passed }
    }

    /// Makes events of the new lines of the log. Longer lines are left out.
    fn read_log(&mut self, max_len: usize) {
        let lines = self.log.so_far();
        for line in &lines[self.log_read..] {
            if line.len() > max_len {
                continue;
            }
            let (time, text) = split_time(line);
            let at = self.since_began(time.unwrap_or_else(time_of_day));
            let style = if text.starts_with("WARN") { HIGHLIGHT } else { DIM };
            let text = self.with_names(text.strip_prefix("INFO ").unwrap_or(text));
            self.events.push(Event { at, column: self.server(), text, style });
        }
        self.log_read = lines.len();
    }

    /// Prints the heads of the columns.
    pub fn print_heads(&self) -> Result<()> {
        let cells = self.heads.iter().map(|head| (*head).to_owned()).collect::<Vec<_>>();
        let styles = vec![BOLD; cells.len()];
        print_line(&self.row("ms", &cells, &styles))?;
        let rules: Vec<_> = self.widths().into_iter().map(|width| "─".repeat(width)).collect();
        let rule = format!("{}─┼─{}", "─".repeat(TIME), rules.join("─┼─"));
        print_line(&format!("{DIM}{rule}{DIM:#}"))
    }

    /// Prints the events since the last call.
    pub fn print(&mut self) -> Result<()> {
        const MAX_LEN: usize = 1000;
        self.read_log(MAX_LEN);
        let mut events = std::mem::take(&mut self.events);
        events.sort_by_key(|event| event.at);
        let mut events = merge_repeated(events).into_iter().peekable();
        while let Some(first) = events.next() {
            let mut cells = vec![String::new(); self.heads.len()];
            let mut styles = vec![PLAIN; self.heads.len()];
            let (at, mut column) = (first.at, first.column);
            (cells[column], styles[column]) = (first.text, first.style);
            // A row is read from left to right, so it can also show later events in columns further right.
            while let Some(next) = events.next_if(|next| next.column > column) {
                column = next.column;
                (cells[column], styles[column]) = (next.text, next.style);
            }
            print_line(&self.row(&(at / 1000).to_string(), &cells, &styles))?;
        }
        Ok(())
    }

    /// Ends the table, or its part so far, and prints a paragraph.
    pub fn paragraph(&mut self, text: &str) -> Result<()> {
        self.end()?;
        self.page.paragraph(text)
    }

    /// Ends the table.
    pub fn end(&mut self) -> Result<()> {
        self.print()?;
        print_line("")
    }

    /// Prints the events, and waits for the reader.
    pub fn pause(&mut self, next: &str) -> Result<()> {
        self.print()?;
        self.page.pause(next)
    }

    fn widths(&self) -> Vec<usize> {
        let clients = self.heads.len() - 1;
        let width = self.page.width() - TIME - 3 * self.heads.len();
        // The server's column is wider than a client's: 8 to 5.
        let client = width * 5 / (5 * clients + 8);
        let mut widths = vec![client; clients];
        widths.push(width - clients * client);
        widths
    }

    /// Returns a row, in as many lines as its longest cell needs.
    fn row(&self, time: &str, cells: &[String], styles: &[Style]) -> String {
        let widths = self.widths();
        let cells: Vec<_> =
            cells.iter().zip(&widths).map(|(cell, width)| wrap(cell, *width)).collect();
        let height = cells.iter().map(Vec::len).max().unwrap_or(0);
        let line = |n: usize| {
            let mut line = format!("{:>TIME$}", if n == 0 { time } else { "" });
            for ((cell, style), &width) in cells.iter().zip(styles).zip(&widths) {
                let text = cell.get(n).map_or("", String::as_str);
                let blanks = " ".repeat(width.saturating_sub(text.width()));
                // Blanks at the end of a line are removed, which colours would prevent.
                let style = if text.is_empty() { &PLAIN } else { style };
                let _ = write!(line, " {DIM}│{DIM:#} {style}{text}{style:#}{blanks}");
            }
            line.trim_end().to_owned()
        };
        (0..height).map(line).collect::<Vec<_>>().join("\n")
    }
}

/// Prints the events even if the scene fails.
impl Drop for Table<'_> {
    fn drop(&mut self) {
        let _ = self.print();
    }
}

/// Replaces successive events with the same text by one event, which says how many there were.
fn merge_repeated(events: Vec<Event>) -> Vec<Event> {
    let mut merged: Vec<(Event, usize)> = Vec::new();
    for event in events {
        match merged.last_mut() {
            Some((last, times)) if last.column == event.column && last.text == event.text => {
                *times += 1;
            }
            _ => merged.push((event, 1)),
        }
    }
    let counted = merged.into_iter().map(|(mut event, times)| {
        if times > 1 {
            let _ = write!(event.text, " ({times} times)");
        }
        event
    });
    counted.collect()
}

/// Returns the microseconds since midnight (UTC).
fn time_of_day() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(now.as_micros()).unwrap_or(0) % DAY_IN_MICROS
}

/// Splits a line of a log into the time of day, in microseconds, and the text.
fn split_time(line: &str) -> (Option<u64>, &str) {
    let Some((stamp, text)) = line.split_once(' ') else {
        return (None, line);
    };
    let time = || {
        let (_, time) = stamp.strip_suffix('Z')?.split_once('T')?;
        let (time, micros) = time.split_once('.')?;
        let part = |n: usize| time.split(':').nth(n)?.parse::<u64>().ok();
        let seconds = (part(0)? * 60 + part(1)?) * 60 + part(2)?;
        Some(seconds * 1_000_000 + format!("{micros:0<6.6}").parse::<u64>().ok()?)
    };
    match time() {
        Some(time) => (Some(time), text.trim_start()),
        None => (None, line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_log_line_is_read() {
        let line = "2026-11-21T01:02:03.000004Z  INFO Connection from 127.0.0.1:34522";
        let time = 3_723_000_004;
        assert_eq!(split_time(line), (Some(time), "INFO Connection from 127.0.0.1:34522"));
        assert_eq!(split_time("2026-11-21T01:02:03.5Z a").0, Some(3_723_500_000));
        assert_eq!(split_time("no time"), (None, "no time"));
    }
}
