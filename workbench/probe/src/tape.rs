//! Who sent what when: the last steps of the clients of one check, as one story.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::show::{BYTES_KEPT, show, show_text};

/// The steps that a tape keeps; of older ones it only tells how many there were.
const STEPS_KEPT: usize = 48;

/// What one client did, or what happened to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It sent bytes.
    Sent,
    /// It got bytes.
    Got,
    /// Something else, in words.
    Note,
}

#[derive(Clone, Debug)]
struct Event {
    at: Duration,
    lane: usize,
    step: Step,
    /// The first of the bytes.
    kept: Vec<u8>,
    len: usize,
}

/// A record that several clients write to; a copy is the same record.
#[derive(Clone, Debug)]
pub struct Tape(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    /// When the first step was made.
    begin: Option<Instant>,
    lanes: usize,
    events: VecDeque<Event>,
    forgotten: usize,
}

impl Default for Tape {
    fn default() -> Self {
        let inner = Inner { begin: None, lanes: 0, events: VecDeque::new(), forgotten: 0 };
        Self(Arc::new(Mutex::new(inner)))
    }
}

impl Tape {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the next client its place in the story.
    pub(crate) fn lane(&self) -> usize {
        let mut inner = self.inner();
        inner.lanes += 1;
        inner.lanes - 1
    }

    pub(crate) fn add(&self, lane: usize, step: Step, bytes: &[u8]) {
        let mut inner = self.inner();
        let at = inner.begin.get_or_insert_with(Instant::now).elapsed();
        // How the network cut what came says nothing: what came in a row is one step.
        if let Some(last) = inner.events.back_mut()
            && (last.lane, last.step, step) == (lane, Step::Got, Step::Got)
        {
            let room = BYTES_KEPT.saturating_sub(last.kept.len()).min(bytes.len());
            last.kept.extend_from_slice(&bytes[..room]);
            last.len += bytes.len();
            return;
        }
        if inner.events.len() == STEPS_KEPT {
            inner.events.pop_front();
            inner.forgotten += 1;
        }
        let kept = bytes[..bytes.len().min(BYTES_KEPT)].to_vec();
        inner.events.push_back(Event { at, lane, step, kept, len: bytes.len() });
    }

    /// The steps of one client, a line each.
    pub(crate) fn of_lane(&self, lane: usize) -> String {
        let inner = self.inner();
        let mut text = String::new();
        if inner.forgotten > 0 {
            let _ = writeln!(text, "  … {} steps before", inner.forgotten);
        }
        for event in inner.events.iter().filter(|event| event.lane == lane) {
            let more = if event.len > event.kept.len() {
                format!("… ({} bytes)", event.len)
            } else {
                String::new()
            };
            let _ = match event.step {
                Step::Sent => writeln!(text, "  → {}{more}", show(&event.kept)),
                Step::Got => writeln!(text, "  ← {}{more}", show(&event.kept)),
                Step::Note => writeln!(text, "  · {}", String::from_utf8_lossy(&event.kept)),
            };
        }
        text
    }

    /// A picture: a column for each of the last clients that did something, a row for each step.
    #[must_use]
    pub fn picture(&self) -> String {
        let inner = self.inner();
        let shown = lanes_shown(&inner.events);
        let width = match shown.len() {
            0 => return String::new(),
            1 => 60,
            n => 80 / n,
        };
        let rows: Vec<_> = inner.events.iter().filter(|it| shown.contains(&it.lane)).collect();
        let left_out = inner.forgotten + inner.events.len() - rows.len().min(ROWS_SHOWN);
        let mut text = format!("{:>9}", "ms");
        for lane in &shown {
            let _ = write!(text, "   {:width$}", name(*lane));
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
        if left_out > 0 {
            let _ = writeln!(text, "{:>9}   {left_out} steps before, or of others", "…");
        }
        for event in &rows[rows.len().saturating_sub(ROWS_SHOWN)..] {
            let column = shown.iter().position(|lane| *lane == event.lane).unwrap_or(0);
            let millis = event.at.as_secs_f64() * 1000.0;
            let blank = column * (width + 3);
            let _ = writeln!(text, "{millis:>9.1}   {:blank$}{}", "", event.cell(width));
        }
        text
    }
}

/// The rows and the columns of a picture.
const ROWS_SHOWN: usize = 16;
const LANES_SHOWN: usize = 4;

fn lanes_shown(events: &VecDeque<Event>) -> Vec<usize> {
    let mut lanes = Vec::new();
    for event in events.iter().rev() {
        if !lanes.contains(&event.lane) && lanes.len() < LANES_SHOWN {
            lanes.push(event.lane);
        }
    }
    lanes.sort_unstable();
    lanes
}

/// What a client is called in a picture: A to Z, then by its number.
#[must_use]
pub(crate) fn name(lane: usize) -> String {
    match u8::try_from(lane) {
        Ok(n @ 0..26) => char::from(b'A' + n).to_string(),
        _ => format!("client {}", lane + 1),
    }
}

impl Event {
    fn cell(&self, width: usize) -> String {
        let more = if self.len > self.kept.len() { self.len } else { 0 };
        match self.step {
            Step::Sent => format!("→ {}", fit(&show_text(&self.kept), self.len, more, width - 2)),
            Step::Got => format!("← {}", fit(&show_text(&self.kept), self.len, more, width - 2)),
            Step::Note => String::from_utf8_lossy(&self.kept).into_owned(),
        }
    }
}

/// Quotes a text so that it takes no more than so many columns; of a long one it tells the length.
fn fit(text: &str, len: usize, more: usize, width: usize) -> String {
    if more == 0 && text.chars().count() + 2 <= width {
        return format!("\"{text}\"");
    }
    let tail = format!("…\" {len} B");
    let room = width.saturating_sub(tail.chars().count() + 1);
    format!("\"{}{tail}", text.chars().take(room).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tape_keeps_the_last_steps() {
        let tape = Tape::default();
        let lane = tape.lane();
        for i in 0..STEPS_KEPT + 3 {
            tape.add(lane, Step::Sent, i.to_string().as_bytes());
        }
        let shown = tape.of_lane(lane);
        assert!(shown.starts_with("  … 3 steps before\n  → \"3\""));
        assert!(shown.ends_with("\"50\" [35 30]\n"));
    }

    #[test]
    fn a_picture_has_a_column_for_each_client() {
        let tape = Tape::default();
        let (a, b) = (tape.lane(), tape.lane());
        tape.add(a, Step::Sent, b"hi\0");
        tape.add(b, Step::Got, b"A: ");
        tape.add(b, Step::Got, b"hi\0");
        let picture = tape.picture();
        let lines: Vec<_> = picture.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[1].contains("   → \"hi␀\""));
        assert_eq!(lines[0].find('B'), lines[2].find('←'));
        assert!(lines[2].ends_with("← \"A: hi␀\""));
    }

    #[test]
    fn what_is_long_is_cut_and_counted() {
        assert_eq!(fit(&"x".repeat(50), 50, 0, 20), "\"xxxxxxxxxxxx…\" 50 B");
        assert_eq!(fit("x", 1, 0, 20), "\"x\"");
    }
}
