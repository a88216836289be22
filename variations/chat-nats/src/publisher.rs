//! One client's messages on their way into the room.

use std::iter;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tincanchat::{DRAIN, append_msg};
use tokio::sync::watch;
use tokio::task::{self, JoinHandle};
use tokio::time::{self, timeout};
use tracing::warn;

use crate::Clients;
use crate::room::Undelivered;

/// The most bytes of one entry of the stream: half of what NATS accepts by default.
const ENTRY_BYTES: usize = 512 * 1024;

/// How long the node waits for its entries when the server stops and NATS still works.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// What a client is told about a message that may be in the stream.
const IN_DOUBT: &str = "perhaps not delivered, NATS went away";

/// Publishes the messages of one client, one entry after another. If two entries were on their way, the
/// order of the client's messages would not be certain.
pub struct Publisher {
    id: u64,
    addr: SocketAddr,
    clients: Arc<Clients>,
    current: Option<CurrentEntry>,
}

/// The entry that is on its way.
struct CurrentEntry {
    entry: Bytes,
    task: JoinHandle<()>,
}

/// Counts an entry as on its way until this is dropped.
struct InFlight(watch::Sender<usize>);

impl InFlight {
    fn new(count: &watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Publisher {
    pub fn new(id: u64, addr: SocketAddr, clients: &Arc<Clients>) -> Self {
        Self { id, addr, clients: Arc::clone(clients), current: None }
    }

    /// Starts to publish a batch. First waits until the entry before it has arrived. If NATS goes away
    /// before that, the client is told at once that the batch is not delivered.
    pub async fn publish(&mut self, batch: Bytes) {
        let entry_bytes = self.clients.room.max_bytes().min(ENTRY_BYTES);
        for entry in split_batch(batch, entry_bytes) {
            match self.wait_for_current().await {
                Ok(()) => self.start(entry),
                Err(reason) => reply_undelivered(&self.clients, self.id, self.addr, reason, &entry),
            }
        }
    }

    async fn wait_for_current(&mut self) -> Result<(), &'static str> {
        if let Some(current) = &mut self.current {
            tokio::select! {
                _ = &mut current.task => self.current = None,
                () = self.clients.room.away() => return Err("not delivered, NATS is away"),
                () = stop_timeout(&self.clients) => return Err("not delivered, the server is stopping"),
            }
        }
        Ok(())
    }

    fn start(&mut self, entry: Bytes) {
        let id = self.id;
        let addr = self.addr;
        let clients = Arc::clone(&self.clients);
        let batch = entry.clone();
        let in_flight = InFlight::new(&clients.in_flight);
        let task = task::spawn(async move {
            match clients.room.publish(id, batch.clone()).await {
                Ok(()) => {}
                Err(Undelivered::Refused(reason)) => {
                    let reason = format!("not delivered, {reason}");
                    reply_undelivered(&clients, id, addr, &reason, &batch);
                }
                Err(Undelivered::InDoubt) => {
                    reply_undelivered(&clients, id, addr, IN_DOUBT, &batch);
                }
            }
            drop(in_flight); // after the reply is queued
        });
        self.current = Some(CurrentEntry { entry, task });
    }

    /// Waits for the entry that is on its way, for up to 3 s. If it has not arrived by then, the client is
    /// told that its messages are in doubt. When the server stops, also waits for the entries of the other
    /// clients.
    pub async fn finish(&mut self) {
        if let Some(CurrentEntry { entry, mut task }) = self.current.take() {
            let has_arrived = tokio::select! {
                _ = &mut task => true,
                () = time::sleep(DRAIN) => false,
                () = stop_timeout(&self.clients) => false,
            };
            if !has_arrived {
                let addr = self.addr;
                warn!("{addr}: {} bytes are in doubt at the end of the connection", entry.len());
                reply_undelivered(&self.clients, self.id, addr, IN_DOUBT, &entry);
                task.abort();
            }
        }
        let is_stopping = *self.clients.is_stopping.borrow();
        if is_stopping {
            let mut in_flight = self.clients.in_flight.subscribe();
            let _ = timeout(STOP_TIMEOUT, in_flight.wait_for(|&count| count == 0)).await;
        }
    }
}

/// Waits until the server stops, and then until NATS goes away, for up to 1 s. After that, no entry can be
/// expected to arrive.
async fn stop_timeout(clients: &Clients) {
    clients.stopping().await;
    let _ = timeout(STOP_TIMEOUT, clients.room.away()).await;
}

/// Tells a client the text of each of its messages that was not delivered, and the reason.
fn reply_undelivered(clients: &Clients, id: u64, addr: SocketAddr, reason: &str, entry: &[u8]) {
    let prefix = format!("server: {reason}: ");
    let sender = format!("{addr}: ");
    let mut reply = Vec::new();
    for msg in String::from_utf8_lossy(entry).split_terminator('\0') {
        append_msg(&mut reply, &prefix, msg.strip_prefix(&sender).unwrap_or(msg));
    }
    clients.send_reply(id, &Bytes::from(reply));
}

/// Splits a batch into entries of whole messages. Each entry has at most `entry_bytes`, unless it is a
/// single message that is longer.
fn split_batch(mut batch: Bytes, entry_bytes: usize) -> impl Iterator<Item = Bytes> {
    iter::from_fn(move || {
        if batch.is_empty() {
            return None;
        }
        let end = if batch.len() <= entry_bytes {
            batch.len()
        } else {
            // After the last message that fits, or else after the first message.
            let is_end = |byte: &u8| *byte == 0;
            let last = batch[..entry_bytes].iter().rposition(is_end);
            last.or_else(|| batch.iter().position(is_end)).map_or(batch.len(), |at| at + 1)
        };
        Some(batch.split_to(end))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_end_where_messages_end() {
        let long = [&b"x".repeat(ENTRY_BYTES - 1)[..], b"\0"].concat();
        let short = b"yy\0".repeat(ENTRY_BYTES / 2);
        let batch = Bytes::from([long, short].concat());
        let entries: Vec<_> = split_batch(batch.clone(), ENTRY_BYTES).collect();
        assert_eq!(entries.len(), 3);
        for entry in &entries {
            assert!(entry.len() <= ENTRY_BYTES);
            assert!(entry.ends_with(b"\0"));
        }
        assert_eq!(entries.concat(), batch);
    }

    #[test]
    fn a_message_that_is_too_long_is_an_entry_of_its_own() {
        let batch = Bytes::from_static(b"a\0long\0b\0c\0");
        let entries: Vec<_> = split_batch(batch, 4).collect();
        assert_eq!(entries, [&b"a\0"[..], b"long\0", b"b\0c\0"]);
        assert_eq!(split_batch(Bytes::from_static(b"long\0"), 0).count(), 1);
    }

    #[test]
    fn an_empty_batch_has_no_entries() {
        assert_eq!(split_batch(Bytes::new(), ENTRY_BYTES).count(), 0);
    }
}
