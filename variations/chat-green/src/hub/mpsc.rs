//! A queue of std between two green threads. What is ours is who waits at its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, SendError, TryIter};

pub use std::sync::mpsc::{RecvError, TryRecvError};

use super::{current, park, wake};

pub struct Sender<T> {
    queue: mpsc::Sender<T>,
    waiting: Arc<AtomicU64>,
}

pub struct Receiver<T> {
    queue: mpsc::Receiver<T>,
    waiting: Arc<AtomicU64>,
}

/// Who waits when nobody does: no green thread has this number.
const NOBODY: u64 = 0;

pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = mpsc::channel();
    let waiting = Arc::new(AtomicU64::new(NOBODY));
    (Sender { queue: sender, waiting: Arc::clone(&waiting) }, Receiver { queue: receiver, waiting })
}

impl<T> Sender<T> {
    pub fn send(&self, item: T) -> Result<(), SendError<T>> {
        self.queue.send(item)?;
        self.wake();
        Ok(())
    }

    fn wake(&self) {
        match self.waiting.swap(NOBODY, Relaxed) {
            NOBODY => {}
            id => wake(id),
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.wake(); // when that one runs, the queue has ended
    }
}

impl<T> Receiver<T> {
    pub fn recv(&self) -> Result<T, RecvError> {
        loop {
            match self.try_recv() {
                Ok(item) => return Ok(item),
                Err(TryRecvError::Disconnected) => return Err(RecvError),
                Err(TryRecvError::Empty) => {
                    self.waiting.store(current(), Relaxed);
                    park(None);
                }
            }
        }
    }

    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.queue.try_recv()
    }

    pub fn try_iter(&self) -> TryIter<'_, T> {
        self.queue.try_iter()
    }
}
