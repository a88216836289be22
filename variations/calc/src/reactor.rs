//! A reactor and an executor, written by hand: what an async runtime consists of.
//!
//! Read this file from top to bottom. It explains these terms:
//!
//! | term | what it is | here |
//! |---|---|---|
//! | future | a function call that can stop in the middle and continue later | what an `async fn` returns |
//! | task | a future that the executor polls, and that no other function awaits | `Task` |
//! | waker | makes a task that has stopped ready to continue | `TaskWaker` |
//! | executor | runs the tasks that are ready, one after the other | [`Executor`] |
//! | reactor | waits for events, and wakes the tasks that wait for them | [`Reactor`] |
//!
//! A future does not run by itself: its code runs only during a call of its method `poll`. `poll` returns
//! `Ready` if the function has ended, or `Pending` if it has stopped because it has to wait. The next
//! `poll` continues where the function stopped, with the same variables.
//!
//! This is how a session that awaits `read_line` gets to run again:
//!
//! 1. The executor takes a task from its queue of ready tasks and polls it (`Executor::poll_task`). The
//!    poll goes down through the functions that await one another: `handle_client`, `session`, `read_line`,
//!    [`Sock::when_ready`]. The last one tries to read, and the kernel returns `WouldBlock`: nothing has
//!    arrived.
//! 2. `when_ready` gives the task's waker to the reactor, which keeps it in a table under the socket's
//!    token (`Reactor::wait_for_socket`). Then it returns `Pending`, and so does each of its callers, up to
//!    the executor.
//! 3. The executor polls the other tasks that are ready. When none are left, it asks the reactor for
//!    events, and the thread blocks in the kernel (`Reactor::wake_tasks`).
//! 4. The client sends a line. The kernel reports the socket's token. The reactor takes the waker out of
//!    its table and wakes the task.
//! 5. Waking the task adds its number to the executor's queue (`TaskWaker::wake`).
//! 6. The executor polls the task again. `when_ready` continues where it stopped, and tries to read again.
//!    Now there are bytes, and `read_line` returns the line.
//!
//! This is the loop of `chat-poll`. But the state of each client, such as its unfinished line and what to
//! do next, which that program keeps in a table, is here in the variables of functions that have stopped.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use mio::event::Source;
use mio::{Events, Interest, Token};
use serverkit::trace;

// ------------------------------------------------------------------------------------------------
// Tasks, and how one of them stops

/// The number of a task. No number is used twice.
type TaskId = u64;

/// A future that the executor runs.
struct Task {
    /// The function that has stopped: its variables, and the place where it continues. It is in a box
    /// because it must not move in memory: its variables may contain references to one another.
    future: Pin<Box<dyn Future<Output = ()>>>,
    /// Makes this task ready again. Each poll passes the waker down to the place where the task stops.
    waker: Waker,
    /// Whether the last poll used up a [`TIME_SLICE`].
    is_slow: bool,
}

/// A waker: it contains a task's number, and an end of the executor's queue of ready tasks.
///
/// Waking a task once too often does no harm: the task is polled, still has to wait, and stops again. If a
/// task is not woken when it could continue, it stops forever.
struct TaskWaker {
    task: TaskId,
    /// The sending end of the queue. It is a channel because Rust requires that a waker can be sent to
    /// another thread, although all wakers here stay in one thread.
    ready: mpsc::Sender<TaskId>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        let _ = self.ready.send(self.task); // an error if the executor has ended
    }
}

/// Stops the task that awaits this, until it is woken. Passes the task's waker to `keep`, which must store
/// it where it will be used.
///
/// This is the only place where a task stops: every function that waits awaits this one.
async fn suspend(keep: impl FnOnce(Waker)) {
    let mut keep = Some(keep);
    poll_fn(|cx| match keep.take() {
        // The first poll: the task stops here.
        Some(keep) => {
            keep(cx.waker().clone());
            Poll::Pending
        }
        // The second poll: the task has been woken, and continues.
        None => Poll::Ready(()),
    })
    .await;
}

/// Stops the task that awaits this, and makes it ready again at once: the other ready tasks run first.
///
/// ```
/// use std::pin::pin;
/// use std::task::{Context, Poll, Waker};
///
/// let mut function = pin!(async {
///     calc::yield_now().await;
///     "done"
/// });
/// let mut context = Context::from_waker(Waker::noop());
/// assert_eq!(function.as_mut().poll(&mut context), Poll::Pending);
/// assert_eq!(function.as_mut().poll(&mut context), Poll::Ready("done"));
/// ```
pub async fn yield_now() {
    suspend(Waker::wake).await;
}

// ------------------------------------------------------------------------------------------------
// The executor

/// How long one poll of a task should take at most: 1 ms.
///
/// The executor cannot interrupt a task between two `.await`s, so a long computation has to stop by itself:
/// see [`TimeSlice`](crate::TimeSlice).
pub const TIME_SLICE: Duration = Duration::from_millis(1);

/// Runs tasks, all in the thread that calls [`run`](Self::run).
pub struct Executor {
    reactor: Rc<Reactor>,
    /// The tasks that have not ended, except the one that is being polled.
    tasks: RefCell<HashMap<TaskId, Task>>,
    /// The queue of ready tasks, in the order in which they have been woken.
    ready: mpsc::Receiver<TaskId>,
    /// The sending end of that queue. Each waker gets a clone of it.
    ready_sender: mpsc::Sender<TaskId>,
    next_id: Cell<TaskId>,
}

impl Executor {
    /// Returns an executor that has no tasks yet and waits for the events of this reactor.
    #[must_use]
    pub fn new(reactor: Rc<Reactor>) -> Self {
        let (ready_sender, ready) = mpsc::channel();
        Executor { reactor, tasks: RefCell::default(), ready, ready_sender, next_id: Cell::new(0) }
    }

    /// Starts a task. A task may call this to start other tasks.
    ///
    /// The task must catch its own panics, as `serverkit::asynchronous::run_client` does: a panic in a poll
    /// ends the executor.
    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        let task_waker = TaskWaker { task: id, ready: self.ready_sender.clone() };
        let waker = Waker::from(Arc::new(task_waker));
        waker.wake_by_ref(); // the first poll starts the function, so the task begins in the queue
        let task = Task { future: Box::pin(future), waker, is_slow: false };
        self.tasks.borrow_mut().insert(id, task);
    }

    /// Runs the tasks. Returns only if waiting for events fails.
    ///
    /// Each turn polls all ready tasks except the slow ones, and one slow task. So a task that answers
    /// quickly waits for one [`TIME_SLICE`], however many other tasks are computing.
    ///
    /// # Errors
    ///
    /// The errors of waiting for events.
    pub fn run(&self) -> io::Result<()> {
        let mut slow_tasks = VecDeque::new();
        loop {
            let mut turn = Vec::new();
            // Takes the tasks that are in the queue now. A task that is woken during this turn is polled in
            // the next one.
            for id in self.ready.try_iter() {
                if self.is_slow(id) {
                    slow_tasks.push_back(id);
                } else {
                    turn.push(id);
                }
            }
            turn.extend(slow_tasks.pop_front());
            for id in &turn {
                self.poll_task(*id);
            }
            // A task that was polled may have woken another task or itself, so the thread must not block.
            let may_block = turn.is_empty();
            self.reactor.wake_tasks(may_block)?;
        }
    }

    fn is_slow(&self, id: TaskId) -> bool {
        self.tasks.borrow().get(&id).is_some_and(|task| task.is_slow)
    }

    /// Runs a task until it ends or stops.
    fn poll_task(&self, id: TaskId) {
        // The task is not in the table while it runs, because it may add other tasks to the table.
        let Some(mut task) = self.tasks.borrow_mut().remove(&id) else {
            return; // the task was woken once more before it ended
        };
        let mut context = Context::from_waker(&task.waker);
        let start = Instant::now();
        let result = task.future.as_mut().poll(&mut context);
        if result.is_pending() {
            task.is_slow = start.elapsed() >= TIME_SLICE;
            self.tasks.borrow_mut().insert(id, task);
        }
    }
}

// ------------------------------------------------------------------------------------------------
// The reactor

/// Keeps the wakers of the tasks that wait for a socket or for a point in time, and wakes these tasks.
pub struct Reactor {
    poll: RefCell<mio::Poll>,
    events: RefCell<Events>,
    /// The wakers of the tasks that wait for a socket. Each socket is used by one task.
    sockets: RefCell<HashMap<Token, Waker>>,
    /// The wakers of the tasks that wait for a point in time, the earliest first.
    timers: RefCell<BTreeMap<Timer, Waker>>,
    next_number: Cell<usize>,
}

/// The point in time until which a task waits. The number distinguishes tasks with the same time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Timer {
    at: Instant,
    number: usize,
}

impl Reactor {
    /// Returns a reactor on which no task waits.
    ///
    /// # Errors
    ///
    /// The errors of `epoll_create(2)` or its equivalent, for example if no descriptors are left.
    pub fn new() -> io::Result<Self> {
        Ok(Reactor {
            poll: RefCell::new(mio::Poll::new()?),
            events: RefCell::new(Events::with_capacity(1024)),
            sockets: RefCell::default(),
            timers: RefCell::default(),
            next_number: Cell::new(0),
        })
    }

    /// Waits until `duration` has passed.
    pub async fn sleep(&self, duration: Duration) {
        let timer = Timer { at: Instant::now() + duration, number: self.next_number() };
        while Instant::now() < timer.at {
            suspend(|waker| {
                self.timers.borrow_mut().insert(timer, waker);
            })
            .await;
        }
    }

    /// Waits until the kernel reports an event for a socket.
    ///
    /// The event is only a hint: the next attempt shows whether the operation is possible now.
    async fn wait_for_socket(&self, token: Token) {
        suspend(|waker| {
            self.sockets.borrow_mut().insert(token, waker);
        })
        .await;
    }

    /// Asks the kernel for events, and wakes the tasks that have waited for them. If `may_block` is true,
    /// blocks until there is an event, or until the first of the times for which tasks wait.
    fn wake_tasks(&self, may_block: bool) -> io::Result<()> {
        // None means that only an event ends the wait.
        let timeout = if may_block { self.time_to_first_timer() } else { Some(Duration::ZERO) };
        let mut events = self.events.borrow_mut();
        match trace("poll", || self.poll.borrow_mut().poll(&mut events, timeout)) {
            // A signal came. The executor calls again.
            Err(err) if err.kind() == ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        for event in events.iter() {
            // Without a waker, no task waits for this socket now. The next attempt finds what has changed.
            if let Some(waker) = self.sockets.borrow_mut().remove(&event.token()) {
                waker.wake();
            }
        }
        let now = Instant::now();
        let mut timers = self.timers.borrow_mut();
        while let Some(first) = timers.first_entry().filter(|timer| timer.key().at <= now) {
            first.remove().wake();
        }
        Ok(())
    }

    fn time_to_first_timer(&self) -> Option<Duration> {
        let timers = self.timers.borrow();
        let (first, _) = timers.first_key_value()?;
        Some(first.at.saturating_duration_since(Instant::now()))
    }

    fn next_number(&self) -> usize {
        let number = self.next_number.get();
        self.next_number.set(number + 1);
        number
    }
}

// ------------------------------------------------------------------------------------------------
// Sockets on the reactor

/// A non-blocking socket whose operations can be awaited. Only one task uses it.
pub struct Sock<S> {
    inner: S,
    token: Token,
    reactor: Rc<Reactor>,
}

impl<S: Source> Sock<S> {
    /// Registers a non-blocking socket: the kernel will report when it becomes readable or writable.
    ///
    /// # Errors
    ///
    /// The errors of registering the socket with epoll(7), for example if the kernel has no memory left.
    pub fn new(mut inner: S, reactor: &Rc<Reactor>) -> io::Result<Self> {
        let token = Token(reactor.next_number());
        // mio reports each change once (it is edge-triggered), so the socket stays registered for both.
        let interest = Interest::READABLE | Interest::WRITABLE;
        reactor.poll.borrow().registry().register(&mut inner, token, interest)?;
        Ok(Sock { inner, token, reactor: Rc::clone(reactor) })
    }

    /// Tries an operation, such as a read. While it would block, waits for an event and tries again.
    ///
    /// No event gets lost. An event that comes before the attempt is not needed: the attempt finds what has
    /// arrived. Between the attempt and the wait, no event is taken from the kernel, because this thread
    /// asks for events only between the polls of tasks.
    ///
    /// # Errors
    ///
    /// The errors of the operation, except `WouldBlock` and `Interrupted`.
    pub async fn when_ready<T>(
        &mut self,
        mut operation: impl FnMut(&mut S) -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            match operation(&mut self.inner) {
                // Nothing has arrived, or the kernel has no room for the bytes to be sent.
                Err(err) if err.kind() == ErrorKind::WouldBlock => {
                    self.reactor.wait_for_socket(self.token).await;
                }
                // A signal came during the operation.
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// Returns the socket itself, for operations that do not wait.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }
}
