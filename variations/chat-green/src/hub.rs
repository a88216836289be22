//! Green threads: stacks that take turns in one thread of the system, always the same.
//!
//! A green thread runs until it has to wait. Then it leaves its stack as it is, and the hub goes on with
//! another's, until a socket is ready, a time has come or something is in a channel.

pub mod mpsc;
pub mod net;
pub mod thread;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use corosensei::{Coroutine, Yielder};
use mio::{Events, Poll, Registry, Token};
use tincanchat::asynchronous::Lane;

/// A stack that can be left, and where its time is traced.
type Green = (Coroutine<(), (), ()>, Option<Lane>);

#[derive(Default)]
struct Hub {
    registry: RefCell<Option<Registry>>,
    threads: RefCell<HashMap<u64, Green>>,
    ready: RefCell<Vec<u64>>,
    timers: RefCell<BTreeSet<(Instant, u64)>>,
    waiting: RefCell<BTreeSet<(Token, u64)>>,
    last_id: Cell<u64>,
    /// Who runs now, and its way back to the hub.
    current: Cell<u64>,
    yielder: Cell<Option<NonNull<Yielder<(), ()>>>>,
}

thread_local!(static HUB: Hub = Hub::default());

/// Runs green threads, `main` the first, until `main` has ended.
///
/// Those that are left are unwound: what is on their stacks is dropped.
pub fn run(main: impl FnOnce() -> io::Result<()> + 'static) -> io::Result<()> {
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(1024));
    HUB.with(|hub| hub.registry.replace(poll.registry().try_clone().ok()));
    let main = thread::spawn(main)?.0;
    let end = loop {
        for id in HUB.with(|hub| hub.ready.take()) {
            resume(id);
        }
        match main.try_recv() {
            Ok(end) => break end,
            Err(mpsc::TryRecvError::Disconnected) => break Err(io::Error::other("it panicked")),
            Err(mpsc::TryRecvError::Empty) => {}
        }
        match poll.poll(&mut events, HUB.with(Hub::timeout)) {
            Err(err) if err.kind() != ErrorKind::Interrupted => break Err(err),
            _ => HUB.with(|hub| hub.wake(&events)),
        }
    };
    for left in HUB.with(|hub| hub.threads.take()).into_values() {
        drop(left);
        HUB.with(|hub| hub.yielder.take());
    }
    end
}

fn resume(id: u64) {
    let thread = HUB.with(|hub| hub.threads.borrow_mut().remove(&id));
    let Some((mut stack, mut lane)) = thread else { return };
    HUB.with(|hub| hub.current.set(id));
    // A panic ends this one alone.
    let mut turn = || catch_unwind(AssertUnwindSafe(|| stack.resume(())));
    let _ = match &mut lane {
        Some(lane) => lane.over(turn),
        None => turn(),
    };
    HUB.with(|hub| hub.yielder.take());
    if !stack.done() {
        HUB.with(|hub| hub.threads.borrow_mut().insert(id, (stack, lane)));
    }
}

impl Hub {
    fn new_id(&self) -> u64 {
        self.last_id.replace(self.last_id.get() + 1) + 1
    }

    fn timeout(&self) -> Option<Duration> {
        match self.ready.borrow().as_slice() {
            [] => self.timers.borrow().first().map(|(at, _)| *at - Instant::now()),
            _ => Some(Duration::ZERO),
        }
    }

    /// Whoever is woken looks for itself what has happened, and may find nothing.
    fn wake(&self, events: &Events) {
        let (mut ready, timers) = (self.ready.borrow_mut(), self.timers.borrow());
        for event in events {
            let all = (event.token(), 0)..=(event.token(), u64::MAX);
            ready.extend(self.waiting.borrow().range(all).map(|&(_, id)| id));
        }
        ready.extend(timers.range(..=(Instant::now(), u64::MAX)).map(|&(_, id)| id));
    }
}

/// Leaves this stack until somebody wakes it, or the time has come.
#[expect(unsafe_code)]
fn park(until: Option<Instant>) {
    let timer = until.map(|at| (at, current()));
    HUB.with(|hub| hub.timers.borrow_mut().extend(timer));
    let yielder = HUB.with(|hub| hub.yielder.take());
    let way_back = WayBack(yielder.expect("only a green thread can wait"));
    // SAFETY: it was put there by the green thread that runs now, when that began or came back from
    // here, and no other has run since; what it points to is on that one's own stack.
    unsafe { way_back.0.as_ref() }.suspend(());
    HUB.with(|hub| timer.map(|timer| hub.timers.borrow_mut().remove(&timer)));
}

/// Put back when the green thread goes on, be it to be unwound.
struct WayBack(NonNull<Yielder<(), ()>>);

impl Drop for WayBack {
    fn drop(&mut self) {
        HUB.with(|hub| hub.yielder.set(Some(self.0)));
    }
}

fn current() -> u64 {
    HUB.with(|hub| hub.current.get())
}

fn wake(id: u64) {
    HUB.with(|hub| hub.ready.borrow_mut().push(id));
}
