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
                return Some(format!(
                    "{missing} messages are missing here: NATS no longer has them"
                ));
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
