//! How far a node has read the stream, across restarts of NATS.

use async_nats::jetstream::stream::State;

/// When a stream was created tells it from a later one of the same name.
pub type Created = async_nats::datetime::DateTime;

#[derive(Default)]
pub struct Position {
    stream: Option<Created>,
    next: u64,
}

impl Position {
    /// The sequence of the next message to read.
    pub fn next(&self) -> u64 {
        self.next.max(1)
    }

    /// Finds the place to go on from in the stream as it is now; tells if messages are missing there.
    pub fn resume(&mut self, created: Created, state: &State) -> Option<String> {
        let (first, end) = (state.first_sequence.max(1), state.last_sequence + 1);
        let known = self.stream.replace(created);
        match known {
            None => self.next = end,
            Some(known) if known != created => {
                self.next = first;
                return Some(
                    "NATS has lost the room and begun it anew: messages may be missing here".into(),
                );
            }
            Some(_) if end < self.next => {
                self.next = end;
                return Some(
                    "NATS has lost the end of the room: messages may be missing here".into(),
                );
            }
            Some(_) if first > self.next => {
                let missing = first - self.next;
                self.next = first;
                return Some(gap_of(missing));
            }
            Some(_) => {}
        }
        None
    }

    /// Takes a message; tells how many are missing before it. None if it has been taken before.
    pub fn take(&mut self, sequence: u64) -> Option<u64> {
        let missing = sequence.checked_sub(self.next())?;
        self.next = sequence + 1;
        Some(missing)
    }
}

/// Each entry of the stream holds at least one message.
pub fn gap_of(entries: u64) -> String {
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
    fn a_node_begins_at_the_end_and_goes_on_where_it_was() {
        let mut position = Position::default();
        assert_eq!(position.resume(created(1), &state(3, 9)), None);
        assert_eq!(position.take(9), None);
        assert_eq!(position.take(10), Some(0));
        assert_eq!(position.resume(created(1), &state(3, 12)), None);
        assert_eq!((position.take(10), position.take(11)), (None, Some(0)));
    }

    #[test]
    fn what_is_missing_is_told() {
        let mut position = Position::default();
        position.resume(created(1), &state(1, 9));
        assert_eq!(position.take(12), Some(2));
        assert!(
            position.resume(created(1), &state(20, 30)).unwrap().starts_with("at least 7 messages")
        );
        assert_eq!(position.next(), 20);
        assert!(position.resume(created(1), &state(1, 15)).unwrap().contains("the end"));
        assert_eq!(position.next(), 16);
        assert!(position.resume(created(2), &state(0, 0)).unwrap().contains("anew"));
        assert_eq!(position.next(), 1);
    }
}
