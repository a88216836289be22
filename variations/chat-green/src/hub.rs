//! Green threads: stacks that take turns in one thread of the system.
//!
//! One runs until it has to wait. Then the hub goes on with another's stack, until there is news of a
//! socket or a channel, or a time has come. `main` has the system's stack; when it waits, it is the hub.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::mpsc::{self, SendError, TryIter, TryRecvError};
use std::time::{Duration, Instant};
use std::{io, mem::ManuallyDrop};

use corosensei::{Coroutine, Yielder, stack::DefaultStack};
use mio::{Events, Interest, Poll, Token, event::Source};
use tincanchat::{STACK_SIZE, asynchronous::Lane};

/// The first number. Each thread, socket and channel has one, and none is given twice.
const MAIN: usize = 0;
/// A stack that can be left, and where its time is traced; how to leave the one that runs.
type Green = (Coroutine<(), (), ()>, Lane);
type WayBack = Option<NonNull<Yielder<(), ()>>>;

thread_local! {
    static NEXT_NUMBER: Cell<usize> = const { Cell::new(MAIN + 1) };
    /// Who runs; `main` has no way back.
    static RUNNING: Cell<(usize, WayBack)> = const { Cell::new((MAIN, None)) };
    /// Who does not. Never dropped: that would unwind them, and they would take it for a panic.
    static THREADS: RefCell<ManuallyDrop<HashMap<usize, Green>>> = RefCell::default();
    /// Of what who waits for news; and who goes on when.
    static WAITING: RefCell<BTreeSet<(usize, usize)>> = RefCell::default();
    static AGENDA: RefCell<BTreeMap<usize, Instant>> = RefCell::default();
    static POLL: RefCell<io::Result<Poll>> = RefCell::new(Poll::new());
}

fn new_number() -> usize {
    NEXT_NUMBER.replace(NEXT_NUMBER.get() + 1)
}

/// Starts a green thread, if there is memory for its stack. Its result can be received.
pub fn spawn<T: 'static>(run: impl FnOnce() -> T + 'static) -> io::Result<Receiver<T>> {
    let (number, (sender, result)) = (new_number(), channel());
    let body = move |yielder: &Yielder<(), ()>, ()| {
        RUNNING.set((number, Some(yielder.into())));
        let _ = sender.send(run());
    };
    let stack = Coroutine::with_stack(DefaultStack::new(STACK_SIZE)?, body);
    THREADS.with_borrow_mut(|threads| threads.insert(number, (stack, Lane::default())));
    AGENDA.with_borrow_mut(|agenda| agenda.insert(number, Instant::now()));
    Ok(result)
}

/// Runs the other threads until it is `main`'s turn: first those that can go on now, then those for which
/// there is news. If there is news for `main`, `main` goes first: it accepts clients, which then get
/// everything that is received after that.
fn run_others() {
    let mut events = Events::with_capacity(1024);
    loop {
        for number in due() {
            let thread = THREADS.with_borrow_mut(|threads| threads.remove(&number));
            let Some((mut stack, mut lane)) = thread else { continue };
            // A panic ends this one alone.
            let _ = lane.over(|| catch_unwind(AssertUnwindSafe(|| stack.resume(()))));
            RUNNING.take();
            if !stack.done() {
                THREADS.with_borrow_mut(|threads| threads.insert(number, (stack, lane)));
            }
        }
        let next = AGENDA.with_borrow(|agenda| agenda.values().min().copied());
        let timeout = next.map(|at| at.saturating_duration_since(Instant::now()));
        // If a signal interrupts it, there are no events.
        POLL.with_borrow_mut(|poll| _ = poll.as_mut().map(|it| it.poll(&mut events, timeout).ok()));
        events.iter().for_each(|event| wake(event.token().0));
        let now = Instant::now();
        if AGENDA.with_borrow(|agenda| agenda.get(&MAIN).is_some_and(|at| *at <= now)) {
            AGENDA.with_borrow_mut(|agenda| agenda.remove(&MAIN));
            return;
        }
    }
}

/// Removes from the agenda the green threads that are due, and returns them.
fn due() -> Vec<usize> {
    let now = Instant::now();
    let is_due = |number: &usize, at: &mut Instant| *number != MAIN && *at <= now;
    AGENDA
        .with_borrow_mut(|agenda| agenda.extract_if(.., is_due).map(|(number, _)| number).collect())
}

/// Waits until there is news of `what`, or the time has come.
#[expect(unsafe_code)]
pub fn wait(what: usize, until: Option<Instant>) {
    let (number, way_back) = RUNNING.take();
    WAITING.with_borrow_mut(|waiting| waiting.insert((what, number)));
    AGENDA.with_borrow_mut(|agenda| agenda.extend(until.map(|at| (number, at))));
    match way_back {
        // SAFETY: the green thread that runs now put it there when it began or came back from here, and
        // no other has run since; what it points to is on that one's own stack.
        Some(yielder) => unsafe { yielder.as_ref() }.suspend(()),
        None => run_others(),
    }
    WAITING.with_borrow_mut(|waiting| waiting.remove(&(what, number)));
    RUNNING.set((number, way_back));
}

/// Whoever waits for this news goes on, and looks for itself what it is.
fn wake(what: usize) {
    let those = (what, 0)..=(what, usize::MAX);
    let woken = WAITING.with_borrow_mut(|all| all.extract_if(those, |_| true).collect::<Vec<_>>());
    AGENDA.with_borrow_mut(|agenda| agenda.extend(woken.iter().map(|it| (it.1, Instant::now()))));
}

pub fn sleep(time: Duration) {
    wait(MAIN, Some(Instant::now() + time)); // there is no news of main
}

pub fn yield_now() {
    sleep(Duration::ZERO);
}

/// Gives the number by which a socket can be waited for.
pub fn register(sock: &mut impl Source) -> io::Result<usize> {
    let (number, interest) = (new_number(), Interest::READABLE | Interest::WRITABLE);
    POLL.with_borrow(|poll| match poll {
        Ok(poll) => poll.registry().register(sock, Token(number), interest).map(|()| number),
        Err(err) => Err(io::Error::new(err.kind(), err.to_string())),
    })
}

pub struct Sender<T>(mpsc::Sender<T>, usize);
pub struct Receiver<T>(mpsc::Receiver<T>, usize);

pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let (number, (sender, receiver)) = (new_number(), mpsc::channel());
    (Sender(sender, number), Receiver(receiver, number))
}

impl<T> Sender<T> {
    pub fn send(&self, item: T) -> Result<(), SendError<T>> {
        self.0.send(item).inspect(|()| wake(self.1))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        wake(self.1); // when that one runs, the queue has ended
    }
}

impl<T> Receiver<T> {
    pub fn recv(&self) -> Result<T, TryRecvError> {
        loop {
            match self.0.try_recv() {
                Err(TryRecvError::Empty) => wait(self.1, None),
                result => return result,
            }
        }
    }

    pub fn try_iter(&self) -> TryIter<'_, T> {
        self.0.try_iter()
    }
}
