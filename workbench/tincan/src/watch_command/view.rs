//! What a watch shows: the lanes, what stands above and what stands below them.

use std::time::Duration;

use anstyle::Style;
use anyhow::Result;
use probe::wire::show_text;
use watch::{EVERY, Frame, Sight, Span, fit_to, picture, wrap};

use super::screen::Screen;
use super::session::Watch;

/// The time that one column of the live view stands for.
const COLUMN: Duration = Duration::from_millis(200);

/// Where nothing tells how wide the output is, and how many lanes are printed there.
pub const WIDTH: usize = 80;

const LANES: usize = 64;

const BOLD: Style = Style::new().bold();

const DIM: Style = Style::new().dimmed();

impl Watch<'_> {
    /// How much of one processor was used over the last second.
    fn percent(&self) -> Option<f64> {
        let ((begin, before), (now, after)) = (self.cpu.first()?, self.cpu.last()?);
        let passed = now.saturating_sub(*begin).as_secs_f64();
        let used = after.saturating_sub(*before).as_secs_f64();
        (passed > 0.1).then(|| 100.0 * used / passed)
    }

    /// What stands above the lanes.
    fn head(&self, width: usize) -> Vec<String> {
        let mut parts = vec![fit_to(&self.name, (width / 2).max(40).min(width))];
        match self.addrs.as_slice() {
            // Its descriptors may not be read either.
            [] if self.sampler.sight() == Sight::Running => {}
            [] => parts.push("does not listen".to_owned()),
            addrs => parts.push(format!("listens on {}", addrs.join(", "))),
        }
        parts.push(format!("{:.1} s", self.lanes.now().as_secs_f64()));
        parts.push(match self.lanes.living() {
            0 => "no thread is left".to_owned(),
            1 => "1 thread".to_owned(),
            many => format!("{many} threads"),
        });
        parts.extend(self.percent().map(|it| format!("CPU {it:.0} %")));
        let pace = self.sampler.pace();
        if pace > EVERY * 2 {
            let (now, usual) = (pace.as_millis(), EVERY.as_millis());
            parts.push(format!("looked at every {now} ms instead of {usual}"));
        }
        if self.screen.is_some() {
            parts.push("q: quit".to_owned());
        }
        joined(&parts, width)
    }

    pub fn draw(&mut self) -> Result<()> {
        if self.screen.is_none() {
            return Ok(());
        }
        let (width, height) = Screen::size();
        let lines = self.live(width, height.saturating_sub(1));
        match &mut self.screen {
            Some(screen) => screen.draw(&lines),
            None => Ok(()),
        }
    }

    /// The live view, in so many lines at most.
    fn live(&mut self, width: usize, height: usize) -> Vec<String> {
        let mut lines: Vec<_> =
            self.head(width).iter().map(|line| format!("{BOLD}{line}{BOLD:#}")).collect();
        lines.truncate((height / 3).max(1));
        // Below the lanes: those that have no room, the times, the letters.
        let rows = height.saturating_sub(lines.len() + 3).max(1);
        let pace = self.sampler.pace().as_nanos().div_ceil(COLUMN.as_nanos());
        let column = COLUMN * u32::try_from(pace).unwrap_or(1).max(1);
        let drawn = picture(&self.lanes, &Frame { span: Span::Last(column), width, rows });
        lines.extend(drawn.lanes);
        lines.extend(drawn.seen.legend(width));
        let notes = drawn.seen.notes(width).into_iter().chain(self.sight(width));
        lines.extend(notes.map(|line| format!("{DIM}{line}{DIM:#}")));
        let printed = self.printed(width);
        let room = height.saturating_sub(lines.len() + 2).min(8);
        if room > 0 && !printed.is_empty() {
            lines.push(format!("{DIM}It printed last:{DIM:#}"));
            lines.extend(printed.into_iter().rev().take(room).rev());
        }
        lines.truncate(height);
        lines
    }

    /// What the system does not show of this process.
    pub fn sight(&self, width: usize) -> Vec<String> {
        let text = match self.sampler.sight() {
            Sight::Calls => return Vec::new(),
            Sight::Places => {
                "The system calls of this process may not be read: what its threads wait for is told \
                 by where in the kernel they are, which is less exact. Watched as root, or started \
                 by tincan watch, it shows more."
            }
            Sight::Running => {
                "The system calls of this process, or of one that it has started, are hidden: of a \
                 thread with the letter u, it can be told that it waits, and not for what. Most \
                 processes show more if they are watched as root or started by tincan watch."
            }
        };
        wrap(text, width)
    }

    /// What the server printed last, without what would drive the terminal.
    pub fn printed(&self, width: usize) -> Vec<String> {
        let Some(server) = &self.server else { return Vec::new() };
        let output = anstream::adapter::strip_str(&server.output()).to_string();
        output.lines().flat_map(|line| wrap(&show_text(line.as_bytes()), width)).collect()
    }

    /// All that was seen, for those who could not look on.
    pub fn whole(&self) -> Vec<String> {
        if self.lanes.all().is_empty() {
            return Vec::new();
        }
        let mut lines = self.head(WIDTH);
        let drawn = picture(&self.lanes, &Frame { span: Span::All, width: WIDTH, rows: LANES });
        lines.extend(drawn.lanes);
        lines.extend(drawn.seen.legend(WIDTH));
        lines.extend(drawn.seen.notes(WIDTH));
        lines.extend(self.sight(WIDTH));
        lines
    }
}

/// Parts beside one another, in lines that are not too long.
fn joined(parts: &[String], width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 3 + part.chars().count() <= width => {
                *line += " · ";
                *line += part;
            }
            _ => lines.push(fit_to(part, width)),
        }
    }
    lines
}
