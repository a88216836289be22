//! One client's messages on their way into the room.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tincanchat::{DRAIN, Frame, append_msg};
use tokio::sync::watch;
use tokio::task::{self, JoinHandle};
use tokio::time;
use tokio_util::bytes::Bytes;
use tracing::warn;

use crate::clients::Clients;
use crate::room::Undelivered;

/// The most bytes that go into the stream as one entry: half of what NATS takes unless told otherwise.
const ENTRY: usize = 512 * 1024;
/// How long messages may still be on their way when the server ends.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Has at most one entry on its way, or the order of the client's messages would not hold.
pub struct Speaker {
    id: u64,
    addr: SocketAddr,
    clients: Arc<Clients>,
    on_its_way: Option<(Bytes, JoinHandle<()>)>,
}

/// Counts an entry that is on its way, until dropped.
struct OnItsWay(watch::Sender<usize>);

impl OnItsWay {
    fn new(count: &watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count.clone())
    }
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Speaker {
    pub fn new(id: u64, addr: SocketAddr, clients: &Arc<Clients>) -> Self {
        Self { id, addr, clients: Arc::clone(clients), on_its_way: None }
    }

    /// Sends frames on their way, when those before them have arrived. If NATS goes away before that,
    /// the client is told at once.
    pub async fn say(&mut self, frames: Vec<u8>) {
        for entry in entries(frames.into(), self.clients.room.most().min(ENTRY)) {
            match self.settled().await {
                Ok(()) => self.send(entry),
                Err(why) => tell(&self.clients, self.id, self.addr, why, &entry),
            }
        }
    }

    async fn settled(&mut self) -> Result<(), &'static str> {
        if let Some((_, task)) = &mut self.on_its_way {
            tokio::select! {
                _ = task => self.on_its_way = None,
                () = self.clients.room.away() => return Err("not delivered, NATS is away"),
                () = last_wait(&self.clients) => return Err("not delivered, the server ends"),
            }
        }
        Ok(())
    }

    fn send(&mut self, entry: Bytes) {
        let (id, addr, clients) = (self.id, self.addr, Arc::clone(&self.clients));
        let (frames, guard) = (entry.clone(), OnItsWay::new(&clients.on_their_way));
        let task = task::spawn(async move {
            let why = match clients.room.publish(id, frames.clone()).await {
                Ok(()) => None,
                Err(Undelivered::Refused(why)) => Some(format!("not delivered, {why}")),
                Err(Undelivered::InDoubt) => Some("in doubt, NATS went away".to_owned()),
            };
            if let Some(why) = why {
                tell(&clients, id, addr, &why, &frames);
            }
            drop(guard);
        });
        self.on_its_way = Some((entry, task));
    }

    /// Waits for what is on its way, but not for long: then the client is told that it is in doubt. When
    /// the server ends, waits for the messages of the others too.
    pub async fn finish(mut self) {
        if let Some((entry, mut task)) = self.on_its_way.take() {
            let has_arrived = tokio::select! {
                _ = &mut task => true,
                () = time::sleep(DRAIN) => false,
                () = last_wait(&self.clients) => false,
            };
            if !has_arrived {
                warn!("{}: in doubt when the connection ended: {} bytes", self.addr, entry.len());
                tell(&self.clients, self.id, self.addr, "in doubt, NATS went away", &entry);
                task.abort();
            }
        }
        if *self.clients.ending.borrow() {
            let mut count = self.clients.on_their_way.subscribe();
            let _ = time::timeout(LAST_WAIT, count.wait_for(|&count| count == 0)).await;
        }
    }
}

/// Ends when the server is to end, and nothing on its way can be expected to arrive.
async fn last_wait(clients: &Clients) {
    clients.ended().await;
    let _ = time::timeout(LAST_WAIT, clients.room.away()).await;
}

/// Tells a client what has become of its messages.
fn tell(clients: &Clients, id: u64, addr: SocketAddr, why: &str, frames: &[u8]) {
    let (prefix, sender) = (format!("server: {why}: "), format!("{addr}: "));
    let mut told = Vec::new();
    for text in String::from_utf8_lossy(frames).split_terminator('\0') {
        append_msg(&mut told, &prefix, text.strip_prefix(&sender).unwrap_or(text));
    }
    clients.broadcast_msg(&Frame::from(told), |to| to == id);
}

/// Cuts frames where messages end; a message that is longer than an entry should be is one by itself.
fn entries(mut frames: Bytes, most: usize) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || {
        let is_end = |byte: &u8| *byte == 0;
        let (first, later) = frames.split_at(most.min(frames.len()));
        let end = match (later.is_empty(), first.iter().rposition(is_end)) {
            (true, _) => frames.len(),
            (false, Some(at)) => at + 1,
            (false, None) => later.iter().position(is_end).map_or(frames.len(), |at| most + at + 1),
        };
        (end > 0).then(|| frames.split_to(end))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_end_where_messages_end() {
        let frames = [b"x".repeat(ENTRY - 1), b"\0".to_vec(), b"yy\0".repeat(ENTRY / 2)].concat();
        let cut: Vec<_> = entries(frames.clone().into(), ENTRY).collect();
        assert_eq!(cut.len(), 3);
        assert!(cut.iter().all(|entry| entry.len() <= ENTRY && entry.ends_with(b"\0")));
        assert_eq!(cut.concat(), frames);
        assert_eq!(entries(Bytes::new(), ENTRY).count(), 0);
        let cut: Vec<_> = entries(Bytes::from_static(b"a\0long\0b\0c\0"), 4).collect();
        assert_eq!(cut, [&b"a\0"[..], b"long\0", b"b\0c\0"]);
        assert_eq!(entries(Bytes::from_static(b"long\0"), 0).count(), 1);
    }
}
