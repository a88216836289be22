//! Lanes and their spans. In a lane every span lies within another or beside it.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::mem;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::{is_on, now};

/// The memory for spans that wait to be written, in bytes; spans beyond it are counted and left out.
const WAITING_BYTES: usize = 16 * 1024 * 1024;

/// About what a lane takes besides its spans.
const LANE_BYTES: usize = 256;

static WAITING: AtomicUsize = AtomicUsize::new(0);

/// How many spans have been left out.
pub(super) static LEFT_OUT: AtomicU64 = AtomicU64::new(0);

/// All lanes with something to write, by a number that is never given twice.
static LANES: Mutex<BTreeMap<u32, Arc<Lane>>> = Mutex::new(BTreeMap::new());

static LAST_ID: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// This thread's own lane, from its first span on.
    static THREAD: OnceCell<Owner> = const { OnceCell::new() };
    /// The lane of the task that this thread is running.
    pub(super) static TASK: RefCell<Option<Arc<Lane>>> = const { RefCell::new(None) };
}

/// What is told about a span besides its name and its time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Args {
    pub(super) client: Option<SocketAddr>,
    pub(super) bytes: Option<usize>,
    pub(super) messages: Option<usize>,
    pub(super) would_block: bool,
}

/// A span of time, or one end of it: what was still going on when it was written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event {
    pub(super) name: &'static str,
    pub(super) begin: Option<u64>,
    pub(super) end: Option<u64>,
    pub(super) args: Args,
}

#[derive(Debug)]
pub(super) struct Open {
    id: u32,
    name: &'static str,
    begin: u64,
    pub(super) args: Args,
    /// Whether its beginning has been written.
    is_told: bool,
    /// Whether it is over but for the spans within it.
    is_over: bool,
}

#[derive(Debug)]
pub(super) struct Lane {
    id: u32,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    name: Option<String>,
    /// Whether it is the name of a thread that may get another one here.
    is_of_thread: bool,
    is_name_told: bool,
    /// The last time given out; none is given twice, so that a viewer can tell what lies in what.
    last: u64,
    last_id: u32,
    open: Vec<Open>,
    done: Vec<Event>,
    is_over: bool,
}

impl State {
    fn tick(&mut self) -> u64 {
        self.last = now().max(self.last + 1);
        self.last
    }

    pub(super) fn begin(&mut self, name: &'static str) -> u32 {
        let begin = self.tick();
        self.last_id = self.last_id.wrapping_add(1);
        let (id, args) = (self.last_id, Args::default());
        self.open.push(Open { id, name, begin, args, is_told: false, is_over: false });
        id
    }

    /// Ends a span; if there are others within it, it ends with the last of them.
    pub(super) fn end(&mut self, id: u32) {
        if let Some(open) = self.open(id) {
            open.is_over = true;
        }
        self.end_those_over();
    }

    fn end_those_over(&mut self) {
        while let Some(open) = self.open.pop_if(|open| open.is_over) {
            let end = Some(self.tick());
            let begin = (!open.is_told).then_some(open.begin);
            let Open { name, args, .. } = open;
            if take_room(size_of::<Event>(), open.is_told) {
                self.done.push(Event { name, begin, end, args });
            }
        }
    }

    pub(super) fn end_all(&mut self) {
        for open in &mut self.open {
            open.is_over = true;
        }
        self.end_those_over();
    }

    pub(super) fn open(&mut self, id: u32) -> Option<&mut Open> {
        self.open.iter_mut().rfind(|open| open.id == id)
    }

    fn is_used_up(&self) -> bool {
        self.is_over && self.open.is_empty() && self.done.is_empty()
    }
}

/// Takes so much of the memory, if there is as much: or in any case, as the end of a span must follow
/// when its beginning is in the file.
fn take_room(size: usize, in_any_case: bool) -> bool {
    let has_room = WAITING.fetch_add(size, Ordering::Relaxed) + size <= WAITING_BYTES;
    if !has_room && !in_any_case {
        WAITING.fetch_sub(size, Ordering::Relaxed);
        LEFT_OUT.fetch_add(1, Ordering::Relaxed);
    }
    has_room || in_any_case
}

fn lanes() -> MutexGuard<'static, BTreeMap<u32, Arc<Lane>>> {
    LANES.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lane {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives what has not been written yet; `false` when nothing more will come.
    fn take(&self, is_last: bool, news: &mut News) -> bool {
        let mut state = self.state();
        news.lane = self.id;
        news.name = if state.is_name_told { None } else { state.name.clone() };
        state.is_name_told |= news.name.is_some();
        if is_last {
            state.end_all();
        }
        news.events = mem::take(&mut state.done);
        WAITING.fetch_sub(size_of::<Event>() * news.events.len(), Ordering::Relaxed);
        for open in state.open.iter_mut().filter(|open| !open.is_told) {
            open.is_told = true;
            let Open { name, begin, args, .. } = *open;
            news.events.push(Event { name, begin: Some(begin), end: None, args });
        }
        !state.is_used_up()
    }
}

/// What has happened in a lane.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) lane: u32,
    pub(super) name: Option<String>,
    pub(super) events: Vec<Event>,
}

/// Takes what has not been written yet out of all lanes; at the last time, ends what is going on.
pub(super) fn take_news(is_last: bool, mut tell: impl FnMut(&News)) {
    let all: Vec<_> = lanes().values().map(Arc::clone).collect();
    let mut news = News::default();
    for lane in all {
        if !lane.take(is_last, &mut news) {
            remove(&lane);
        }
        tell(&news);
    }
}

fn remove(lane: &Lane) {
    if lanes().remove(&lane.id).is_some() {
        WAITING.fetch_sub(LANE_BYTES, Ordering::Relaxed);
    }
}

/// Has a lane, and ends it when dropped.
#[derive(Debug)]
pub(super) struct Owner(pub(super) Arc<Lane>);

impl Owner {
    pub(super) fn new(name: Option<String>) -> Option<Self> {
        if !take_room(LANE_BYTES, false) {
            return None;
        }
        let id = LAST_ID.fetch_add(1, Ordering::Relaxed) + 1;
        let state = Mutex::new(State { name, ..State::default() });
        let lane = Arc::new(Lane { id, state });
        lanes().insert(id, Arc::clone(&lane));
        Some(Owner(lane))
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.is_over = true;
        state.end_all();
        let is_used_up = state.is_used_up();
        drop(state);
        if is_used_up {
            remove(&self.0);
        }
    }
}

/// The lane of the task that is running, or else of the thread; `None` when there is no room for it.
pub(super) fn current() -> Option<Arc<Lane>> {
    let of_task = TASK.try_with(|lane| lane.borrow().clone()).ok()?;
    of_task.or_else(|| THREAD.try_with(of_thread).ok()?)
}

fn of_thread(own: &OnceCell<Owner>) -> Option<Arc<Lane>> {
    if own.get().is_none() {
        let name = thread::current().name().map(str::to_owned);
        let is_main = name.as_deref() == Some("main");
        let owner = Owner::new(name)?;
        owner.0.state().is_of_thread = !is_main;
        let _ = own.set(owner);
    }
    own.get().map(|owner| Arc::clone(&owner.0))
}

/// Names the lane in which this is called, unless it has a name, or is that of the main thread.
pub(crate) fn name_lane(name: impl FnOnce() -> String) {
    let Some(lane) = is_on().then(current).flatten() else { return };
    if lane.state().name.is_some() && !lane.state().is_of_thread {
        return;
    }
    let name = name();
    let mut state = lane.state();
    state.name = Some(name);
    state.is_of_thread = false;
    state.is_name_told = false;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_ends_with_the_last_of_those_within_it() {
        let mut lane = State::default();
        let (outer, inner) = (lane.begin("outer"), lane.begin("inner"));
        lane.end(outer);
        assert!(lane.done.is_empty());
        lane.end(inner);
        let ends: Vec<_> = lane.done.iter().map(|event| (event.name, event.end)).collect();
        assert!(matches!(ends[..], [("inner", inner), ("outer", outer)] if inner < outer));
        WAITING.fetch_sub(2 * size_of::<Event>(), Ordering::Relaxed);
    }

    #[test]
    fn what_does_not_fit_is_left_out_but_for_ends() {
        let before = LEFT_OUT.load(Ordering::Relaxed);
        let mut lane = State::default();
        let told = lane.begin("told");
        lane.open[0].is_told = true;
        let untold = lane.begin("untold");
        WAITING.fetch_add(WAITING_BYTES, Ordering::Relaxed);
        lane.end(untold);
        lane.end(told);
        WAITING.fetch_sub(WAITING_BYTES + size_of::<Event>(), Ordering::Relaxed);
        assert!(matches!(lane.done[..], [Event { name: "told", begin: None, .. }]));
        assert!(LEFT_OUT.load(Ordering::Relaxed) > before);
    }
}
