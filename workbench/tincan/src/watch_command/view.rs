//! The output of a watch as lines of text: the lanes, with a head above them and notes below.

use std::time::Duration;

use probe::wire::show_text;
use watch::{Drawing, INTERVAL, Span, View, Visibility, draw, join, truncate, wrap};

use super::watched::Watched;
use crate::terminal::{BOLD, DIM};

/// How much time one column of the live view stands for.
const COLUMN: Duration = Duration::from_millis(200);

/// The width of lines that are not for a terminal.
pub const WIDTH: usize = 80;

/// The maximum number of lanes in such output.
const MAX_LANES: usize = 64;

/// Returns the live view: the most recent lanes, and the most recent lines that the server has printed.
pub fn live(watched: &Watched, printed: &str, width: usize, height: usize) -> Vec<String> {
    let mut parts = head(watched, width);
    parts.push("q: quit".to_owned());
    let bold = |line: String| format!("{BOLD}{line}{BOLD:#}");
    let mut lines: Vec<_> = join(parts, " · ", width).into_iter().map(bold).collect();
    lines.truncate((height / 3).max(1));
    // Below the lanes are three lines: the count of other lanes, the times, and the letters.
    let rows = height.saturating_sub(lines.len() + 3).max(1);
    let columns = watched.sampler.interval().as_nanos().div_ceil(COLUMN.as_nanos());
    let column = COLUMN * u32::try_from(columns).unwrap_or(1).max(1);
    let Drawing { lines: drawn, legend } =
        draw(&watched.lanes, &View { span: Span::Last(column), width, rows });
    lines.extend(drawn);
    lines.extend(legend.letters(width));
    let notes = legend.notes(width).into_iter().chain(visibility(watched, width));
    lines.extend(notes.map(|line| format!("{DIM}{line}{DIM:#}")));
    let printed = printed_lines(printed, width);
    let left = height.saturating_sub(lines.len() + 2).min(8);
    if left > 0 && !printed.is_empty() {
        lines.push(format!("{DIM}The server's last output:{DIM:#}"));
        lines.extend(printed.into_iter().rev().take(left).rev());
    }
    lines.truncate(height);
    lines
}

/// Returns all lanes from the beginning to the end.
pub fn whole(watched: &Watched) -> Vec<String> {
    if watched.lanes.all().is_empty() {
        return Vec::new();
    }
    let Drawing { lines: drawn, legend } =
        draw(&watched.lanes, &View { span: Span::All, width: WIDTH, rows: MAX_LANES });
    let mut lines = join(head(watched, WIDTH), " · ", WIDTH);
    lines.extend(drawn);
    lines.extend(legend.letters(WIDTH));
    lines.extend(legend.notes(WIDTH));
    lines.extend(visibility(watched, WIDTH));
    lines
}

/// Returns the parts of the head.
fn head(watched: &Watched, width: usize) -> Vec<String> {
    let mut parts = vec![truncate(&watched.name, (width / 2).max(40).min(width))];
    match watched.addrs.as_slice() {
        // The descriptors of such a process may be hidden, too.
        [] if watched.sampler.visibility() == Visibility::Running => {}
        [] => parts.push("does not listen".to_owned()),
        addrs => parts.push(format!("listens on {}", addrs.join(", "))),
    }
    parts.push(format!("{:.1} s", watched.lanes.now().as_secs_f64()));
    parts.push(match watched.lanes.alive() {
        0 => "no thread is left".to_owned(),
        1 => "1 thread".to_owned(),
        count => format!("{count} threads"),
    });
    parts.extend(watched.cpu_percent().map(|percent| format!("CPU {percent:.0} %")));
    let interval = watched.sampler.interval();
    if interval > INTERVAL * 2 {
        let (now, usual) = (interval.as_millis(), INTERVAL.as_millis());
        parts.push(format!("sampled every {now} ms instead of {usual}"));
    }
    parts
}

/// Explains what the system does not tell about this process.
pub fn visibility(watched: &Watched, width: usize) -> Vec<String> {
    let text = match watched.sampler.visibility() {
        Visibility::Syscalls => return Vec::new(),
        Visibility::KernelFunctions => {
            "The system calls of this process are hidden. The letters follow from the kernel \
             functions in which its threads wait, which is less exact. If it is watched as root or \
             started by tincan watch, the system calls are visible."
        }
        Visibility::Running => {
            "The system calls of this process, or of a process that it has started, are hidden: the \
             letter u says that a thread waits, but not for what. Of most processes, more is \
             visible if they are watched as root or started by tincan watch."
        }
    };
    wrap(text, width)
}

/// Returns the lines that the server has printed, without characters that a terminal would obey.
pub fn printed_lines(printed: &str, width: usize) -> Vec<String> {
    let plain = anstream::adapter::strip_str(printed).to_string();
    plain.lines().flat_map(|line| wrap(&show_text(line.as_bytes()), width)).collect()
}
