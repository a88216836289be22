//! A reactor and an executor: what an async runtime is, and nothing else. From the inside out:
//!
//! 1. An `async fn` is a function that can be left in the middle, at an `.await`, with all its
//!    variables, and be gone on with later. It never goes on by itself: somebody calls `poll`.
//! 2. A **task** is such a function that nobody awaits. Its **waker** is a note with its number, and
//!    to wake it is to put the note into the queue of those who can go on (`Note`).
//! 3. Who has to wait puts a waker into one table, under the `Event` that is waited for, and
//!    returns `Pending`: so do all its callers, up to the loop (`Reactor::wait_for`).
//! 4. The loop goes on with every task in the queue, then asks the kernel what has happened, and
//!    wakes who waited for that ([`Reactor::run`]). It is the loop of `chat-poll`; but what that
//!    one keeps in a table of clients is here in the variables of functions that have been left.
//! 5. On top of that, an operation on a socket is: try it; if it would block, wait until it is
//!    worth another try ([`Sock`](crate::Sock)). This is what reads like blocking.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Token, event::Source};

use crate::pace::{SLICE, suspend};

/// A note that a task can go on. One too many does no harm: it goes on, finds that it still has to
/// wait, and waits. One too few, and it never goes on.
struct Note {
    task: usize,
    queue: mpsc::Sender<usize>, // a waker may be sent to other threads, though here there are none
}

impl Wake for Note {
    fn wake(self: Arc<Self>) {
        let _ = self.queue.send(self.task); // fails when the loop has ended, and nobody cares
    }
}

/// What can be waited for. Times come first in the table's order, the earliest first of all.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    Time(Instant, usize), // with a number of its own: two may wait for the same moment
    Socket(Token),        // it has become ready to read or to write: a hint, which may be wrong
}

struct Task {
    function: Pin<Box<dyn Future<Output = ()>>>,
    waker: Waker,
    /// Whether it used up a slice of time when it last went on.
    is_slow: bool,
}

/// Who can go on, and who waits for what.
pub struct Reactor {
    poll: RefCell<mio::Poll>,
    waiting: RefCell<BTreeMap<Event, Waker>>,
    tasks: RefCell<BTreeMap<usize, Task>>,
    queue: (mpsc::Sender<usize>, mpsc::Receiver<usize>),
    numbers: Cell<usize>,
}

impl Reactor {
    pub fn new() -> io::Result<Rc<Self>> {
        let (waiting, tasks, numbers) = Default::default();
        let (poll, queue) = (RefCell::new(mio::Poll::new()?), mpsc::channel());
        Ok(Rc::new(Reactor { poll, waiting, tasks, queue, numbers }))
    }

    /// Starts a task. A panic in it would end the loop, so it has to catch its own.
    pub fn spawn(&self, function: impl Future<Output = ()> + 'static) {
        let note = Note { task: self.number(), queue: self.queue.0.clone() };
        let (id, waker) = (note.task, Waker::from(Arc::new(note)));
        waker.wake_by_ref(); // a function does nothing before it is polled
        let task = Task { function: Box::pin(function), waker, is_slow: false };
        self.tasks.borrow_mut().insert(id, task);
    }

    /// Runs the tasks, for ever. In each turn all go on who can; but of those who use up their
    /// slices only one, so that everybody else waits for one of them, however many there are.
    pub fn run(&self) -> io::Result<()> {
        let (mut events, mut slow_ones) = (Events::with_capacity(1024), VecDeque::new());
        loop {
            let is_slow = |id: &usize| self.tasks.borrow().get(id).is_some_and(|it| it.is_slow);
            let (slow, quick): (Vec<_>, Vec<_>) = self.queue.1.try_iter().partition(is_slow);
            slow_ones.extend(slow);
            let turn = quick.into_iter().chain(slow_ones.pop_front());
            let is_busy = turn.map(|id| self.go_on(id)).count() > 0;
            self.wake_up(&mut events, is_busy)?;
        }
    }

    /// Goes on with a task until it ends, or has to wait, or gives way.
    fn go_on(&self, id: usize) {
        // Out of the table meanwhile, since it may start others. If it is not there, it has ended.
        let Some(mut task) = self.tasks.borrow_mut().remove(&id) else { return };
        let began = Instant::now();
        if task.function.as_mut().poll(&mut Context::from_waker(&task.waker)).is_pending() {
            task.is_slow = began.elapsed() >= SLICE;
            self.tasks.borrow_mut().insert(id, task);
        }
    }

    /// Asks the kernel what has happened, and wakes who waited for that. Where nobody could go on,
    /// waits for something to happen.
    fn wake_up(&self, events: &mut Events, is_busy: bool) -> io::Result<()> {
        let timeout = match self.waiting.borrow().first_key_value() {
            _ if is_busy => Some(Duration::ZERO),
            Some((Event::Time(at, _), _)) => Some(at.saturating_duration_since(Instant::now())),
            _ => None,
        };
        match tincanchat::span("poll").over(self.poll.borrow_mut().poll(events, timeout)) {
            Err(err) if err.kind() == ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        let mut waiting = self.waiting.borrow_mut();
        let sockets = events.iter().map(|event| Event::Socket(event.token()));
        sockets.filter_map(|event| waiting.remove(&event)).for_each(Waker::wake);
        let now = Event::Time(Instant::now(), usize::MAX);
        while let Some(first) = waiting.first_entry().filter(|it| *it.key() <= now) {
            first.remove().wake();
        }
        Ok(())
    }

    /// Leaves a waker in the table, and then the function: the one place where a task waits.
    pub(crate) async fn wait_for(&self, event: Event) {
        suspend(|waker| drop(self.waiting.borrow_mut().insert(event, waker))).await;
    }

    /// Waits for a time to pass.
    pub async fn sleep(&self, duration: Duration) {
        let (at, number) = (Instant::now() + duration, self.number());
        while Instant::now() < at {
            self.wait_for(Event::Time(at, number)).await;
        }
    }

    /// Has the kernel report, from now on, whenever a socket becomes ready to read or write.
    pub(crate) fn register(&self, sock: &mut impl Source) -> io::Result<Token> {
        let (token, interest) = (Token(self.number()), Interest::READABLE | Interest::WRITABLE);
        self.poll.borrow().registry().register(sock, token, interest)?;
        Ok(token)
    }

    fn number(&self) -> usize {
        self.numbers.replace(self.numbers.get() + 1)
    }
}
