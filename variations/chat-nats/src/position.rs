//! A node's position in the stream, which the node keeps when NATS restarts.

use async_nats::jetstream::stream::State;

/// When a stream was created. A later stream with the same name has a different time.
pub type Created = async_nats::datetime::DateTime;

/// The entry of the stream that a node reads next.
#[derive(Default)]
pub struct Position {
    /// When the stream was created, to tell it from a later stream with the same name; `None` before the
    /// first connection.
    stream: Option<Created>,
    next: u64,
}

impl Position {
    /// Returns the sequence number of the next entry.
    pub fn next(&self) -> u64 {
        self.next.max(1)
    }

    /// Finds the position from which the node continues, given the present state of the stream. Returns a
    /// note for the clients if messages are missing there.
    pub fn resume(&mut self, created: Created, state: &State) -> Option<String> {
        let first = state.first_sequence.max(1);
        let end = state.last_sequence + 1;
        let Some(known) = self.stream.replace(created) else {
            self.next = end; // the clients of a new node get only messages that are sent from now on
            return None;
        };
        if known != created {
            self.next = first;
            let note = "NATS has lost the room and created it again: messages may be missing here";
            return Some(note.to_owned());
        }
        if end < self.next {
            self.next = end;
            let note = "NATS has lost the end of the room: messages may be missing here";
            return Some(note.to_owned());
        }
        if first > self.next {
            let missing = first - self.next;
            self.next = first;
            return Some(gap_note(missing));
        }
        None
    }

    /// Moves past an entry, and returns how many entries are missing before it. Returns `None` if the node
    /// has read this entry before.
    pub fn advance(&mut self, sequence: u64) -> Option<u64> {
        let missing = sequence.checked_sub(self.next())?;
        self.next = sequence + 1;
        Some(missing)
    }
}

/// Returns the note for the clients when entries are missing. Each entry contains at least one message.
pub fn gap_note(entries: u64) -> String {
    match entries {
        1 => "at least one message is missing here: NATS no longer has it".to_owned(),
        _ => format!("at least {entries} messages are missing here: NATS no longer has them"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn created(second: i64) -> Created {
        Created::from_unix_timestamp(second).unwrap()
    }

    fn state(first: u64, last: u64) -> State {
        let json = format!(
            r#"{{"messages":0,"bytes":0,"first_seq":{first},"last_seq":{last},"consumer_count":0,
                "first_ts":"2026-01-01T00:00:00Z","last_ts":"2026-01-01T00:00:00Z"}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn a_node_starts_at_the_end_and_continues_where_it_was() {
        let mut position = Position::default();
        assert_eq!(position.resume(created(1), &state(3, 9)), None);
        assert_eq!(position.advance(9), None);
        assert_eq!(position.advance(10), Some(0));

        assert_eq!(position.resume(created(1), &state(3, 12)), None);
        assert_eq!(position.advance(10), None);
        assert_eq!(position.advance(11), Some(0));
    }

    #[test]
    fn missing_messages_are_noted() {
        let mut position = Position::default();
        position.resume(created(1), &state(1, 9));
        assert_eq!(position.advance(12), Some(2));

        let note = position.resume(created(1), &state(20, 30)).unwrap();
        assert!(note.starts_with("at least 7 messages"), "{note}");
        assert_eq!(position.next(), 20);

        let note = position.resume(created(1), &state(1, 15)).unwrap();
        assert!(note.contains("lost the end"), "{note}");
        assert_eq!(position.next(), 16);

        let note = position.resume(created(2), &state(0, 0)).unwrap();
        assert!(note.contains("created it again"), "{note}");
        assert_eq!(position.next(), 1);
    }
}
