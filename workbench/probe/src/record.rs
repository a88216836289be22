//! Records the bytes that the clients of one check sent and received, with the times, so that the report on a
//! failure can show them.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::show::{MAX_BYTES_SHOWN, show, show_text};

/// How many steps a record keeps; of older steps it keeps only the number.
const MAX_STEPS: usize = 48;

/// How many rows a table has for steps.
const MAX_ROWS: usize = 16;

/// How many columns a table has for clients.
const MAX_COLUMNS: usize = 4;

/// The kind of a client's step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StepKind {
    /// It sent bytes.
    Sent,
    /// It received bytes.
    Received,
    /// Another event, which the step's bytes describe as text.
    Note,
}

/// An action of one client, or an event of its connection.
#[derive(Clone, Debug)]
struct Step {
    /// The time from the first step of the record to this step.
    at: Duration,
    client: usize,
    kind: StepKind,
    /// The first bytes, at most [`MAX_BYTES_SHOWN`].
    bytes: Vec<u8>,
    /// The number of all bytes.
    len: usize,
}

/// A record to which several clients write. A clone is the same record.
#[derive(Clone, Debug, Default)]
pub struct Record(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// When the first step was taken.
    begin: Option<Instant>,
    clients: usize,
    steps: VecDeque<Step>,
    /// How many steps were dropped because there were more than [`MAX_STEPS`].
    dropped: usize,
}

impl Record {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a client, and returns its number.
    pub(crate) fn add_client(&self) -> usize {
        let mut state = self.state();
        state.clients += 1;
        state.clients - 1
    }

    /// Adds a step of a client.
    pub(crate) fn add_step(&self, client: usize, kind: StepKind, bytes: &[u8]) {
        self.add_repeated_step(client, kind, bytes, 1);
    }

    /// Adds a step of a client in which these bytes occurred `times` times in a row.
    pub(crate) fn add_repeated_step(
        &self,
        client: usize,
        kind: StepKind,
        bytes: &[u8],
        times: usize,
    ) {
        let len = bytes.len() * times;
        let mut bytes = bytes.iter().copied().cycle().take(len);
        let mut state = self.state();
        let at = state.begin.get_or_insert_with(Instant::now).elapsed();
        // The network cuts the bytes into reads at random, so bytes that are received in a row are one step.
        if let Some(last) = state.steps.back_mut()
            && (last.client, last.kind, kind) == (client, StepKind::Received, StepKind::Received)
        {
            let room = MAX_BYTES_SHOWN.saturating_sub(last.bytes.len());
            last.bytes.extend(bytes.by_ref().take(room));
            last.len += len;
            return;
        }
        if state.steps.len() == MAX_STEPS {
            state.steps.pop_front();
            state.dropped += 1;
        }
        let kept = bytes.take(MAX_BYTES_SHOWN).collect();
        state.steps.push_back(Step { at, client, kind, bytes: kept, len });
    }

    /// Returns the steps of one client as text, one line for each step.
    pub(crate) fn steps_of(&self, client: usize) -> String {
        let state = self.state();
        let mut text = String::new();
        if state.dropped > 0 {
            let _ = writeln!(text, "  … {} earlier steps, of all clients", state.dropped);
        }
        for step in state.steps.iter().filter(|step| step.client == client) {
            let rest = match step.is_shortened() {
                true => format!("… ({} bytes)", step.len),
                false => String::new(),
            };
            let _ = match step.kind {
                StepKind::Sent => writeln!(text, "  → {}{rest}", show(&step.bytes)),
                StepKind::Received => writeln!(text, "  ← {}{rest}", show(&step.bytes)),
                StepKind::Note => writeln!(text, "  · {}", step.note()),
            };
        }
        text
    }

    /// Returns the record as a table: one row for each of the last steps, and one column for each of the
    /// clients that took a step last.
    #[must_use]
    pub fn table(&self) -> String {
        let state = self.state();
        let columns = last_clients(&state.steps);
        let width = match columns.len() {
            0 => return String::new(),
            1 => 60,
            n => 80 / n,
        };
        let rows: Vec<_> = state.steps.iter().filter(|it| columns.contains(&it.client)).collect();
        let left_out = state.dropped + state.steps.len() - rows.len().min(MAX_ROWS);
        let mut text = format!("{:>9}", "ms");
        for client in &columns {
            let _ = write!(text, "   {:width$}", client_name(*client));
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
        if left_out > 0 {
            let _ =
                writeln!(text, "{:>9}   {left_out} earlier steps, or steps of other clients", "…");
        }
        for step in &rows[rows.len().saturating_sub(MAX_ROWS)..] {
            let column = columns.iter().position(|client| *client == step.client).unwrap_or(0);
            let millis = step.at.as_secs_f64() * 1000.0;
            let indent = column * (width + 3);
            let _ = writeln!(text, "{millis:>9.1}   {:indent$}{}", "", step.cell(width));
        }
        text
    }
}

/// Returns the clients that took a step last, at most [`MAX_COLUMNS`], in the order of their numbers.
fn last_clients(steps: &VecDeque<Step>) -> Vec<usize> {
    let mut clients = Vec::new();
    for step in steps.iter().rev() {
        if !clients.contains(&step.client) && clients.len() < MAX_COLUMNS {
            clients.push(step.client);
        }
    }
    clients.sort_unstable();
    clients
}

/// Returns the name of a client in a record: A to Z for the first 26 clients, then its number.
#[must_use]
pub(crate) fn client_name(client: usize) -> String {
    match u8::try_from(client) {
        Ok(n @ 0..26) => char::from(b'A' + n).to_string(),
        _ => format!("client {}", client + 1),
    }
}

impl Step {
    /// Reports whether it had more bytes than were kept.
    fn is_shortened(&self) -> bool {
        self.len > self.bytes.len()
    }

    /// Returns the text of a note.
    fn note(&self) -> String {
        show_text(&self.bytes) + if self.is_shortened() { "…" } else { "" }
    }

    /// Returns its text in a column of this width.
    fn cell(&self, width: usize) -> String {
        let arrow = match self.kind {
            StepKind::Sent => '→',
            StepKind::Received => '←',
            StepKind::Note => return self.note(),
        };
        let text = quoted(&show_text(&self.bytes), self.len, self.is_shortened(), width - 2);
        format!("{arrow} {text}")
    }
}

/// Quotes a text, so that it takes at most `width` columns. Where the text is shortened, here or before, the
/// number of all bytes follows it.
fn quoted(text: &str, len: usize, is_shortened: bool, width: usize) -> String {
    if !is_shortened && text.chars().count() + 2 <= width {
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
    fn a_record_keeps_the_last_steps() {
        let record = Record::default();
        let client = record.add_client();
        for i in 0..MAX_STEPS + 3 {
            record.add_step(client, StepKind::Sent, i.to_string().as_bytes());
        }
        let shown = record.steps_of(client);
        assert!(shown.starts_with("  … 3 earlier steps, of all clients\n  → \"3\""));
        assert!(shown.ends_with("\"50\" [35 30]\n"));
    }

    #[test]
    fn a_note_is_escaped_and_a_shortened_note_is_marked() {
        let record = Record::default();
        let client = record.add_client();
        record.add_step(client, StepKind::Note, b"a\x1b[m");
        record.add_step(client, StepKind::Note, &[b'x'; MAX_BYTES_SHOWN + 1]);
        assert_eq!(
            record.steps_of(client),
            format!("  · a\\u{{1b}}[m\n  · {}…\n", "x".repeat(MAX_BYTES_SHOWN))
        );
    }

    #[test]
    fn a_table_has_a_column_for_each_client() {
        let record = Record::default();
        let (a, b) = (record.add_client(), record.add_client());
        record.add_step(a, StepKind::Sent, b"hi\0");
        record.add_step(b, StepKind::Received, b"A: ");
        record.add_step(b, StepKind::Received, b"hi\0");
        let table = record.table();
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[1].contains("   → \"hi␀\""));
        assert_eq!(lines[0].find('B'), lines[2].find('←'));
        assert!(lines[2].ends_with("← \"A: hi␀\""));
    }

    #[test]
    fn a_long_text_is_shortened_and_its_bytes_are_counted() {
        assert_eq!(quoted(&"x".repeat(50), 50, false, 20), "\"xxxxxxxxxxxx…\" 50 B");
        assert_eq!(quoted("x", 1, false, 20), "\"x\"");
        assert_eq!(quoted("x", 200, true, 20), "\"x…\" 200 B");
    }
}
