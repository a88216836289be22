//! The clients of this node.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tincanchat::{Frame, QueueGauge, prep_msg};
use tokio::sync::mpsc::{self, UnboundedReceiver as Receiver, UnboundedSender as Sender};
use tokio::sync::watch;

use crate::room::{Heard, Room};
use crate::sock::Sock;

/// Who is at this node, by a number that is never given twice.
pub struct Clients {
    table: Mutex<HashMap<u64, Client>>,
    others_only: bool,
    pub room: Room,
    /// How many entries are on their way into the stream and back.
    pub on_their_way: watch::Sender<usize>,
    pub ending: watch::Sender<bool>,
}

struct Client {
    sock: Arc<Sock>,
    send_queue: Sender<Frame>,
    gauge: Arc<QueueGauge>,
}

/// What the two tasks of a client share: its socket, and the other end of its queue in the table.
pub struct Connection {
    pub sock: Arc<Sock>,
    pub queue: Receiver<Frame>,
    pub gauge: Arc<QueueGauge>,
}

impl Clients {
    pub fn new(room: Room, others_only: bool) -> Self {
        Self {
            table: Mutex::default(),
            others_only,
            room,
            on_their_way: watch::Sender::new(0),
            ending: watch::Sender::new(false),
        }
    }

    /// Adds a client to this node's part of the room: from now on, it gets all that the stream brings.
    pub fn join(&self, id: u64, addr: SocketAddr, sock: Sock) -> Connection {
        let sock = Arc::new(sock);
        let (send_queue, queue) = mpsc::unbounded_channel();
        let gauge = Arc::new(QueueGauge::of_client(addr));
        let connection = Connection { sock: Arc::clone(&sock), queue, gauge: Arc::clone(&gauge) };
        self.table().insert(id, Client { sock, send_queue, gauge });
        connection
    }

    /// Queues what the stream brings for the clients of this node.
    pub fn relay(&self, heard: Heard) {
        match heard {
            Heard::Frames(frames, from) => {
                self.broadcast_msg(&frames, |to| Some(to) != from || !self.others_only);
            }
            Heard::Note(note) => {
                let frame = prep_msg(&format!("server: {note}")).unwrap_or_default();
                self.broadcast_msg(&frame.into(), |_| true);
            }
        }
    }

    /// Queues frames for some of the clients.
    pub fn broadcast_msg(&self, frames: &Frame, is_for: impl Fn(u64) -> bool) {
        let _span = tincanchat::span("broadcast").of_bytes(frames.len());
        self.table().retain(|&id, client| !is_for(id) || client.queue(frames));
    }

    /// Ends the queue of a client: what is in it is still sent, then the connection is closed.
    pub fn handle_disconnect(&self, id: u64) {
        if let Some(client) = self.table().remove(&id) {
            client.gauge.close();
        }
    }

    /// Waits until the server is to end.
    pub async fn ended(&self) {
        let _ = self.ending.subscribe().wait_for(|&is_ending| is_ending).await;
    }

    fn table(&self) -> MutexGuard<'_, HashMap<u64, Client>> {
        // A handler that panics while it holds the lock leaves a whole table behind.
        tincanchat::span("lock").over(self.table.lock()).unwrap_or_else(PoisonError::into_inner)
    }
}

impl Client {
    /// Queues frames, waiting for nobody. A client that does not keep up is cut off: false.
    fn queue(&self, frames: &Frame) -> bool {
        let keeps_up = self.gauge.queue(frames.len()).is_ok()
            && self.send_queue.send(Arc::clone(frames)).is_ok();
        if !keeps_up {
            self.sock.cut(); // wakes both halves; the sending half learns the reason from the gauge
        }
        keeps_up
    }
}
