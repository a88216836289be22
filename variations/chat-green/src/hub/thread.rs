//! Green threads by the names of `std::thread`.

use std::io;
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use corosensei::{Coroutine, Yielder, stack::DefaultStack};
use tincanchat::{STACK_SIZE, asynchronous::Lane};

use super::mpsc::{Receiver, RecvError, channel};
use super::{HUB, Hub, WayBack, current, park, wake};

/// Starts a green thread, if there is memory for its stack.
pub fn spawn<T: 'static>(run: impl FnOnce() -> T + 'static) -> io::Result<JoinHandle<T>> {
    let (sender, end) = channel();
    let body = move |yielder: &Yielder<(), ()>, ()| {
        drop(WayBack(NonNull::from(yielder)));
        let _ = sender.send(run());
    };
    let stack = Coroutine::with_stack(DefaultStack::new(STACK_SIZE)?, body);
    let id = HUB.with(Hub::new_id);
    let lane = (id > 1).then(Lane::default); // the first is traced as what it runs in: main
    HUB.with(|hub| hub.threads.borrow_mut().insert(id, (stack, lane)));
    wake(id);
    Ok(JoinHandle(end))
}

/// Where its result will be.
pub struct JoinHandle<T>(pub(super) Receiver<T>);

impl<T> JoinHandle<T> {
    /// Waits for the end of a green thread. It is an error if that panicked.
    pub fn join(self) -> Result<T, RecvError> {
        self.0.recv()
    }
}

/// Lets all others run that can.
pub fn yield_now() {
    wake(current());
    park(None);
}

pub fn sleep(time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        park(Some(until));
    }
}
