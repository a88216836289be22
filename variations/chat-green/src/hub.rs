//! Green threads: threads that this program switches itself. The operating system sees only one thread.
//!
//! **What a green thread is.** A function with a stack of its own. The stack contains the function's calls
//! and local variables, so the function can be left in the middle of a call and continued there later. One
//! green thread runs at a time. The hub (this file) decides which one.
//!
//! **How a green thread leaves its stack and returns to it.** The hub calls `resume` (from the crate
//! corosensei), which switches to the green thread's stack. When the green thread has to wait, it tells the
//! hub what it waits for, and calls `suspend`. `suspend` saves the registers on the green thread's stack
//! and switches back: the hub's call of `resume` returns. The next `resume` makes `suspend` return, and the
//! green thread continues as after an ordinary call. Nothing else switches stacks. Between two calls that
//! may wait, no other green thread runs.
//!
//! **What wakes a green thread.** A green thread waits for a source, for a point in time, or for the first
//! of the two. A source is a socket or a channel. A socket wakes the threads that wait for it when the
//! operating system reports that it may be ready; a channel wakes its receiver when something is sent, and
//! when the channel ends. Waking a green thread only adds it to the queue of the green threads that are
//! ready. When its turn comes, it tries its call again, and waits again if the call would still block.
//!
//! **What runs while `main` waits.** `main` is not a green thread: it has the stack that the operating
//! system gave to the process. When `main` waits, it calls the hub's loop, [`run_others`], like any other
//! function. Each round of the loop runs every green thread that is ready. Then it polls: it asks the
//! operating system (through the crate mio) which sockets may be ready. If no thread is ready, the poll
//! blocks until a socket or a deadline wakes one. When `main` is ready, the loop returns.
//!
//! **Why `main` goes first after polling.** `main` accepts clients, and a client must get every message
//! that is sent after its `connect` has returned. One poll can report a new connection together with a
//! message on another connection. So `main` accepts the new client before a green thread reads the message.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io;
use std::mem::{self, ManuallyDrop};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::mpsc::{self, RecvError, RecvTimeoutError, SendError, TryIter, TryRecvError};
use std::time::{Duration, Instant};

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, Yielder};
use mio::event::Source;
use mio::{Events, Interest, Poll, Token};
use serverkit::Lane;

/// The most events that one poll reports. The next poll reports the others.
const EVENTS: usize = 1024;

/// The size of a stack for which [`Builder::stack_size`] has not been called, in bytes.
const DEFAULT_STACK_SIZE: usize = 1024 * 1024;

/// The number of a green thread. A number is never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct ThreadId(usize);

/// The number under which `main` waits.
const MAIN: ThreadId = ThreadId(0);

/// The number of a source: a socket or a channel. A number is never used again.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SourceId(usize);

/// The hub's records of the threads. `main` and each green thread are in one of three states: running,
/// ready, or waiting.
struct Hub {
    /// The next number for a green thread or a source.
    next_number: usize,
    /// The green thread that is running; `None` while `main` or the hub's loop runs.
    running: Option<Running>,
    /// All green threads that are not running: those that are ready, and those that wait.
    suspended: HashMap<ThreadId, GreenThread>,
    /// The green threads that are ready, in the order in which they will run.
    ready: VecDeque<ThreadId>,
    /// Whether `main` is ready.
    main_is_ready: bool,
    /// For each waiting thread, what wakes it.
    waits: HashMap<ThreadId, Wait>,
    /// For each source, the threads that wait for it.
    waiters: HashMap<SourceId, Vec<ThreadId>>,
    /// The threads that wait for a deadline, in the order of their deadlines.
    sleepers: BTreeSet<Sleeper>,
    /// Reports which sockets may be ready. Created when the first socket is registered.
    poll: Option<Poll>,
}

/// A green thread that is not running.
struct GreenThread {
    /// Its stack, and the place where it continues.
    coroutine: Coroutine<(), (), ()>,
    /// Its lane in the trace.
    lane: Lane,
}

/// The green thread that is running, and the way back from its stack to the hub's loop.
struct Running {
    thread: ThreadId,
    yielder: NonNull<Yielder<(), ()>>,
}

/// What wakes a waiting thread: the source or the deadline, whichever comes first.
struct Wait {
    source: Option<SourceId>,
    deadline: Option<Instant>,
}

/// A waiting thread that has a deadline. The derived order compares the deadlines first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Sleeper {
    deadline: Instant,
    thread: ThreadId,
}

thread_local! {
    /// Never dropped. To drop a suspended green thread, corosensei would unwind its stack, and the client's
    /// handler on that stack would report a panic. The green threads that are left when `main` returns end
    /// with the process, as std's threads do.
    static HUB: ManuallyDrop<RefCell<Hub>> = ManuallyDrop::new(RefCell::new(Hub::new()));
}

/// Calls `work` with the hub. `work` must not switch stacks: the hub would still be borrowed on the other
/// stack, and the next use of it would panic.
fn with_hub<T>(work: impl FnOnce(&mut Hub) -> T) -> T {
    HUB.with(|hub| work(&mut hub.borrow_mut()))
}

impl Hub {
    fn new() -> Self {
        Hub {
            next_number: MAIN.0 + 1,
            running: None,
            suspended: HashMap::new(),
            ready: VecDeque::new(),
            main_is_ready: false,
            waits: HashMap::new(),
            waiters: HashMap::new(),
            sleepers: BTreeSet::new(),
            poll: None,
        }
    }

    fn new_number(&mut self) -> usize {
        let number = self.next_number;
        self.next_number += 1;
        number
    }

    /// Returns the thread that called into the hub.
    fn current(&self) -> ThreadId {
        self.running.as_ref().map_or(MAIN, |running| running.thread)
    }

    /// Records what the current thread is about to wait for.
    fn add_wait(&mut self, wait: Wait) {
        let thread = self.current();
        if let Some(source) = wait.source {
            self.waiters.entry(source).or_default().push(thread);
        }
        if let Some(deadline) = wait.deadline {
            self.sleepers.insert(Sleeper { deadline, thread });
        }
        self.waits.insert(thread, wait);
    }

    /// Makes a waiting thread ready; does nothing if it is already ready.
    fn wake(&mut self, thread: ThreadId) {
        let Some(wait) = self.waits.remove(&thread) else {
            return;
        };
        if let Some(source) = wait.source
            && let Some(waiters) = self.waiters.get_mut(&source)
        {
            waiters.retain(|&waiter| waiter != thread);
            if waiters.is_empty() {
                self.waiters.remove(&source);
            }
        }
        if let Some(deadline) = wait.deadline {
            self.sleepers.remove(&Sleeper { deadline, thread });
        }
        self.set_ready(thread);
    }

    /// Wakes every thread that waits for a source. Two threads may wait for a socket: one to read, the
    /// other to write.
    fn wake_waiters(&mut self, source: SourceId) {
        for thread in self.waiters.remove(&source).unwrap_or_default() {
            self.wake(thread);
        }
    }

    /// Wakes every thread whose deadline has passed.
    fn wake_sleepers(&mut self) {
        let now = Instant::now();
        while let Some(&Sleeper { deadline, thread }) = self.sleepers.first()
            && deadline <= now
        {
            self.wake(thread);
        }
    }

    fn set_ready(&mut self, thread: ThreadId) {
        if thread == MAIN {
            self.main_is_ready = true;
        } else {
            self.ready.push_back(thread);
        }
    }

    /// Waits until a socket may be ready or a deadline has passed, and wakes the threads that wait for it.
    /// Does not wait if a thread is already ready.
    fn poll(&mut self, events: &mut Events) {
        let next = self.sleepers.first().map(|sleeper| sleeper.deadline);
        let timeout = if self.main_is_ready || !self.ready.is_empty() {
            Some(Duration::ZERO)
        } else {
            next.map(|deadline| deadline.saturating_duration_since(Instant::now()))
        };
        // The listener is registered before any thread waits, so `self.poll` is never `None` here.
        if let Some(poll) = &mut self.poll {
            let _ = poll.poll(events, timeout); // an error if a signal came; then there are no events
        }
        for event in &*events {
            self.wake_waiters(SourceId(event.token().0));
        }
        self.wake_sleepers();
    }
}

/// The hub's loop: runs the green threads until it is `main`'s turn.
fn run_others() {
    let mut events = Events::with_capacity(EVENTS);
    loop {
        run_ready();
        with_hub(|hub| hub.poll(&mut events));
        if with_hub(|hub| mem::take(&mut hub.main_is_ready)) {
            return;
        }
    }
}

/// Runs each ready green thread once. Green threads that become ready during this round run after the next
/// poll, so that the sockets are polled however busy the green threads are.
fn run_ready() {
    let count = with_hub(|hub| hub.ready.len());
    for _ in 0..count {
        let next = with_hub(|hub| {
            let thread = hub.ready.pop_front()?;
            Some((thread, hub.suspended.remove(&thread)?))
        });
        if let Some((thread, green_thread)) = next {
            run(thread, green_thread);
        }
    }
}

/// Runs a green thread until it waits or ends.
fn run(thread: ThreadId, mut green_thread: GreenThread) {
    let GreenThread { coroutine, lane } = &mut green_thread;
    // A panic in a green thread unwinds its stack, and is caught here.
    let _ = catch_unwind(AssertUnwindSafe(|| lane.run(|| coroutine.resume(()))));
    with_hub(|hub| hub.running = None);
    if !coroutine.done() {
        with_hub(|hub| hub.suspended.insert(thread, green_thread));
    }
}

/// Leaves the current thread, and returns when the thread is ready and its turn has come. The caller must
/// have told the hub what the thread waits for, or that it is ready.
#[expect(unsafe_code)]
fn let_others_run() {
    let Some(running) = with_hub(|hub| hub.running.take()) else {
        run_others(); // this is `main`
        return;
    };
    // SAFETY: `running` belongs to the green thread that calls this, and to no other: this green thread put
    // it into the hub when it started or was last resumed, and no other green thread has run since then. So
    // the yielder is on the stack on which this code runs, and stays at the same place there until the
    // green thread ends. The reference is shared, and corosensei itself makes only shared references to a
    // yielder.
    unsafe { running.yielder.as_ref() }.suspend(());
    // Here the hub has resumed this green thread.
    with_hub(|hub| hub.running = Some(running));
}

/// Waits until a source wakes the current thread or the deadline, if any, has passed. The caller does not
/// learn which of the two has happened: it tries its call again.
pub fn wait(source: SourceId, deadline: Option<Instant>) {
    let wait = Wait { source: Some(source), deadline };
    with_hub(|hub| hub.add_wait(wait));
    let_others_run();
}

/// Waits for a time, as `std::thread::sleep` does.
pub fn sleep(time: Duration) {
    let wait = Wait { source: None, deadline: Some(Instant::now() + time) };
    with_hub(|hub| hub.add_wait(wait));
    let_others_run();
}

/// Lets every other thread that is ready run first, as `std::thread::yield_now` asks the operating system
/// to do.
pub fn yield_now() {
    with_hub(|hub| {
        let thread = hub.current();
        hub.set_ready(thread);
    });
    let_others_run();
}

/// Registers a non-blocking socket as a source.
///
/// The poll is edge-triggered: it reports a change only once. So a thread must first try its call, and wait
/// only if the call fails with `WouldBlock`.
pub fn register(sock: &mut impl Source) -> io::Result<SourceId> {
    with_hub(|hub| {
        let source = SourceId(hub.new_number());
        let poll = match &hub.poll {
            Some(poll) => poll,
            None => hub.poll.insert(Poll::new()?),
        };
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(sock, Token(source.0), interest)?;
        Ok(source)
    })
}

/// Prepares a green thread, as `std::thread::Builder` prepares a thread.
pub struct Builder {
    name: String,
    stack_size: usize,
}

impl Builder {
    /// Returns a builder of a green thread with a stack of 1 MiB.
    pub fn new() -> Self {
        Builder { name: "green thread".to_owned(), stack_size: DEFAULT_STACK_SIZE }
    }

    /// Sets the name, which the trace shows.
    pub fn name(mut self, name: String) -> Self {
        self.name = name;
        self
    }

    /// Sets the size of the stack, in bytes. Only the pages that the green thread touches take memory.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = bytes;
        self
    }

    /// Starts the green thread: makes it ready, so that it runs when its turn comes. Returns an error if
    /// there is no memory for its stack.
    pub fn spawn(self, work: impl FnOnce() + 'static) -> io::Result<()> {
        let thread = ThreadId(with_hub(Hub::new_number));
        let stack = DefaultStack::new(self.stack_size)?;
        let coroutine = Coroutine::with_stack(stack, move |yielder: &Yielder<(), ()>, ()| {
            let running = Running { thread, yielder: NonNull::from(yielder) };
            with_hub(|hub| hub.running = Some(running));
            work();
        });
        let lane = Lane::new(|| self.name);
        with_hub(|hub| {
            hub.suspended.insert(thread, GreenThread { coroutine, lane });
            hub.set_ready(thread);
        });
        Ok(())
    }
}

/// Makes a channel without a limit, as `std::sync::mpsc::channel` does. It is std's channel, except that a
/// receiver that waits lets the other threads run.
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = mpsc::channel();
    let source = SourceId(with_hub(Hub::new_number));
    (Sender { sender, source }, Receiver { receiver, source })
}

/// The sending end of a channel. Unlike std's, it cannot be cloned, so dropping it ends the channel.
pub struct Sender<T> {
    sender: mpsc::Sender<T>,
    source: SourceId,
}

/// The receiving end of a channel.
pub struct Receiver<T> {
    receiver: mpsc::Receiver<T>,
    source: SourceId,
}

impl<T> Sender<T> {
    /// Sends without waiting. Returns an error if the receiver has been dropped.
    pub fn send(&self, item: T) -> Result<(), SendError<T>> {
        self.sender.send(item)?;
        with_hub(|hub| hub.wake_waiters(self.source));
        Ok(())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        // std's sender is dropped just after this, which ends the channel. The receiver runs later.
        with_hub(|hub| hub.wake_waiters(self.source));
    }
}

impl<T> Receiver<T> {
    /// Waits until something has been sent, and returns it. Returns an error if the channel has ended and
    /// is empty.
    pub fn recv(&self) -> Result<T, RecvError> {
        loop {
            match self.receiver.try_recv() {
                Ok(item) => return Ok(item),
                Err(TryRecvError::Disconnected) => return Err(RecvError),
                Err(TryRecvError::Empty) => wait(self.source, None),
            }
        }
    }

    /// Does the same as [`recv`](Self::recv), but waits no longer than `timeout`, after which it returns an
    /// error.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        let deadline = Instant::now() + timeout;
        loop {
            match self.receiver.try_recv() {
                Ok(item) => return Ok(item),
                Err(TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
                Err(TryRecvError::Empty) if Instant::now() >= deadline => {
                    return Err(RecvTimeoutError::Timeout);
                }
                Err(TryRecvError::Empty) => wait(self.source, Some(deadline)),
            }
        }
    }

    /// Returns an iterator over what has been sent already. It does not wait.
    pub fn try_iter(&self) -> TryIter<'_, T> {
        self.receiver.try_iter()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use crate::net::TcpListener;

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);

    /// Registers a socket, as the server does before any thread waits. Each test has a hub of its own,
    /// whose `main` is the test itself.
    fn listener() -> TcpListener {
        TcpListener::new(std::net::TcpListener::bind("127.0.0.1:0").unwrap()).unwrap()
    }

    #[test]
    fn a_green_thread_runs_when_main_waits() {
        let _listener = listener();
        let has_run = Rc::new(Cell::new(false));
        let in_thread = Rc::clone(&has_run);
        let (sender, result) = channel();
        let work = move || {
            in_thread.set(true);
            sender.send(42).unwrap();
        };
        Builder::new().spawn(work).unwrap();
        assert!(!has_run.get());
        assert_eq!(result.recv(), Ok(42));
        assert!(has_run.get());
    }

    #[test]
    fn deadlines_wake_in_their_order() {
        let _listener = listener();
        let (sender, receiver) = channel();
        let sender = Rc::new(sender);
        for n in [3, 1, 2] {
            let sender = Rc::clone(&sender);
            let sleep_and_send = move || {
                sleep(n * SHORT);
                sender.send(n).unwrap();
            };
            Builder::new().spawn(sleep_and_send).unwrap();
        }
        drop(sender);
        let order: Vec<_> = std::iter::from_fn(|| receiver.recv().ok()).collect();
        assert_eq!(order, [1, 2, 3]);
    }

    #[test]
    fn recv_timeout_returns_what_is_sent_in_time() {
        let _listener = listener();
        let (sender, receiver) = channel();
        assert_eq!(receiver.recv_timeout(SHORT), Err(RecvTimeoutError::Timeout));
        let send_twice = move || {
            sender.send(1).unwrap();
            sleep(SHORT);
            sender.send(2).unwrap();
        };
        Builder::new().spawn(send_twice).unwrap();
        let minute = Duration::from_mins(1);
        assert_eq!(receiver.recv_timeout(minute), Ok(1));
        assert_eq!(receiver.recv_timeout(minute), Ok(2));
        assert_eq!(receiver.recv_timeout(minute), Err(RecvTimeoutError::Disconnected));
        // The deadlines that have not passed are removed, too.
        assert!(with_hub(|hub| hub.sleepers.is_empty() && hub.waiters.is_empty()));
    }

    #[test]
    fn a_panic_ends_one_green_thread() {
        let _listener = listener();
        let (sender, result) = channel();
        Builder::new().spawn(|| panic!("on purpose, in a test")).unwrap();
        let work = move || {
            sleep(SHORT);
            sender.send(42).unwrap();
        };
        Builder::new().spawn(work).unwrap();
        assert_eq!(result.recv(), Ok(42));
        assert_eq!(result.recv(), Err(RecvError)); // the second green thread has ended, too
        assert!(with_hub(|hub| hub.suspended.is_empty()));
    }

    #[test]
    fn main_goes_first_after_polling() {
        let _listener = listener();
        let turns = Rc::new(Cell::new(0));
        let in_thread = Rc::clone(&turns);
        let count_turns = move || {
            loop {
                in_thread.set(in_thread.get() + 1);
                yield_now();
            }
        };
        Builder::new().spawn(count_turns).unwrap();
        for turn in 1..=3 {
            yield_now(); // runs every other thread once
            assert_eq!(turns.get(), turn);
        }
    }
}
