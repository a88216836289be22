//! The table of a scene: a lane for each client and one for the server, and time running down.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use anstyle::Style;
use anyhow::Result;
use probe::server::Lines;

use super::page::{ALARM, BOLD, DIM, PLAIN, Page, print, styled, wrap};

/// The width of the column of times.
const TIME: usize = 7;

const DAY: u64 = 24 * 60 * 60 * 1_000_000;

/// What happened in one lane.
struct Event {
    /// Microseconds since the scene began.
    at: u64,
    lane: usize,
    text: String,
    style: Style,
}

/// Collects what happens, from the clients and from the server's log, and prints it in the order in
/// which it happened.
pub struct Lanes<'a> {
    pub page: &'a Page,
    heads: Vec<&'static str>,
    log: Lines,
    log_shown: usize,
    names: Vec<(String, &'static str)>,
    /// The time of day when the scene began, in microseconds.
    began: u64,
    events: Vec<Event>,
}

impl<'a> Lanes<'a> {
    /// A table for these clients and a server with this log.
    pub fn new(page: &'a Page, clients: &[&'static str], log: Lines) -> Self {
        let heads = clients.iter().copied().chain(["server"]).collect();
        let (names, events) = (Vec::new(), Vec::new());
        Self { page, heads, log, log_shown: 0, names, began: time_of_day(), events }
    }

    /// The server's lane.
    pub fn server(&self) -> usize {
        self.heads.len() - 1
    }

    /// From now on this client is called by its name.
    pub fn name(&mut self, addr: SocketAddr, name: &'static str) {
        self.names.push((addr.to_string(), name));
        // The address of one client may be how another's begins.
        self.names.sort_by_key(|(addr, _)| std::cmp::Reverse(addr.len()));
    }

    /// Notes what happens now.
    pub fn note(&mut self, lane: usize, text: impl AsRef<str>) {
        self.add(lane, text.as_ref(), PLAIN);
    }

    /// Notes what is the point of the scene.
    pub fn stress(&mut self, lane: usize, text: impl AsRef<str>) {
        self.add(lane, text.as_ref(), ALARM);
    }

    fn add(&mut self, lane: usize, text: &str, style: Style) {
        let at = self.since_began(time_of_day());
        let text = self.named(text);
        self.events.push(Event { at, lane, text, style });
    }

    /// A text with names in the place of addresses.
    pub fn named(&self, text: &str) -> String {
        self.names.iter().fold(text.to_owned(), |text, (addr, name)| text.replace(addr, name))
    }

    fn since_began(&self, time: u64) -> u64 {
        let passed = (time + DAY - self.began) % DAY;
        // A moment before the beginning is no day after it.
        if passed > DAY / 2 { 0 } else { passed }
    }

    /// Takes what the log has got; lines longer than this are left out.
    fn read_log(&mut self, longest: usize) {
        let lines = self.log.so_far();
        for line in &lines[self.log_shown..] {
            if line.len() > longest {
                continue;
            }
            let (time, text) = split(line);
            let at = self.since_began(time.unwrap_or_else(time_of_day));
            let style = if text.starts_with("WARN") { ALARM } else { DIM };
            let text = self.named(text.strip_prefix("INFO ").unwrap_or(text));
            self.events.push(Event { at, lane: self.server(), text, style });
        }
        self.log_shown = lines.len();
    }

    /// Prints the names of the lanes.
    pub fn heads(&self) -> Result<()> {
        let cells = self.heads.iter().map(|head| (*head).to_owned()).collect::<Vec<_>>();
        let styles = vec![BOLD; cells.len()];
        print(&self.row("ms", &cells, &styles))?;
        let rules: Vec<_> = self.widths().into_iter().map(|width| "─".repeat(width)).collect();
        let rule = format!("{}─┼─{}", "─".repeat(TIME), rules.join("─┼─"));
        styled(DIM, &rule)
    }

    /// Prints what has happened since the last time.
    pub fn show(&mut self) -> Result<()> {
        const LONGEST: usize = 1000;
        self.read_log(LONGEST);
        let mut events = std::mem::take(&mut self.events);
        events.sort_by_key(|event| event.at);
        let mut events = count_repeated(events).into_iter().peekable();
        while let Some(first) = events.next() {
            let mut cells = vec![String::new(); self.heads.len()];
            let mut styles = vec![PLAIN; self.heads.len()];
            let (at, mut lane) = (first.at, first.lane);
            (cells[lane], styles[lane]) = (first.text, first.style);
            // A row is read from left to right, so what happened next may stand there, too.
            while let Some(next) = events.next_if(|next| next.lane > lane) {
                lane = next.lane;
                (cells[lane], styles[lane]) = (next.text, next.style);
            }
            print(&self.row(&(at / 1000).to_string(), &cells, &styles))?;
        }
        Ok(())
    }

    /// Ends the table, or its part so far, and says what was seen.
    pub fn prose(&mut self, text: &str) -> Result<()> {
        self.end()?;
        self.page.prose(text)
    }

    /// Ends the table.
    pub fn end(&mut self) -> Result<()> {
        self.show()?;
        print("")
    }

    /// Shows what has happened, and waits for the reader.
    pub fn pause(&mut self, next: &str) -> Result<()> {
        self.show()?;
        self.page.pause(next)
    }

    fn widths(&self) -> Vec<usize> {
        let clients = self.heads.len() - 1;
        let room = self.page.width() - TIME - 3 * self.heads.len();
        let client = room * 5 / (5 * clients + 8);
        let mut widths = vec![client; clients];
        widths.push(room - clients * client);
        widths
    }

    /// A row; a cell whose text is too long for one line gets more.
    fn row(&self, time: &str, cells: &[String], styles: &[Style]) -> String {
        let widths = self.widths();
        let cells: Vec<_> =
            cells.iter().zip(&widths).map(|(cell, width)| wrap(cell, *width)).collect();
        let height = cells.iter().map(Vec::len).max().unwrap_or(0);
        let line = |n: usize| {
            let mut line = format!("{:>TIME$}", if n == 0 { time } else { "" });
            for ((cell, style), &width) in cells.iter().zip(styles).zip(&widths) {
                let text = cell.get(n).map_or("", String::as_str);
                let blanks = " ".repeat(width - text.chars().count());
                // A line that ends in blanks is trimmed; colours would be in the way.
                let style = if text.is_empty() { &PLAIN } else { style };
                let _ = write!(line, " {DIM}│{DIM:#} {style}{text}{style:#}{blanks}");
            }
            line.trim_end().to_owned()
        };
        (0..height).map(line).collect::<Vec<_>>().join("\n")
    }
}

/// What has happened is shown even if what follows goes wrong.
impl Drop for Lanes<'_> {
    fn drop(&mut self) {
        let _ = self.show();
    }
}

/// Of events that follow one another and look the same, keeps one, which says how many there were.
fn count_repeated(events: Vec<Event>) -> Vec<Event> {
    let mut kept: Vec<(Event, usize)> = Vec::new();
    for event in events {
        match kept.last_mut() {
            Some((last, times)) if last.lane == event.lane && last.text == event.text => {
                *times += 1;
            }
            _ => kept.push((event, 1)),
        }
    }
    let counted = kept.into_iter().map(|(mut event, times)| {
        if times > 1 {
            let _ = write!(event.text, " ({times} times)");
        }
        event
    });
    counted.collect()
}

/// The microseconds since midnight (UTC).
fn time_of_day() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(now.as_micros()).unwrap_or(0) % DAY
}

/// The time of day that begins a line of a log, in microseconds, and the rest of the line.
fn split(line: &str) -> (Option<u64>, &str) {
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
        assert_eq!(split(line), (Some(time), "INFO Connection from 127.0.0.1:34522"));
        assert_eq!(split("2026-11-21T01:02:03.5Z a").0, Some(3_723_500_000));
        assert_eq!(split("no time"), (None, "no time"));
    }
}
