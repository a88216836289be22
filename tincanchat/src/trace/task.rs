use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;

use super::lane::{Lane, Owner, TASK};
use super::{CLIENT, is_on};

/// The lane of a task, which may run now on one thread and now on another.
#[derive(Debug, Default)]
pub(crate) struct TaskLane(Option<Owner>);

/// As long as it lives, spans go into the task's lane.
pub(crate) struct Entered {
    before: Option<Arc<Lane>>,
    /// Whether it is another lane than before.
    is_other: bool,
}

impl TaskLane {
    /// A lane that has its name already.
    pub(crate) fn named(name: impl FnOnce() -> String) -> Self {
        TaskLane(if is_on() { Owner::new(Some(name())) } else { None })
    }

    /// A client's lane, with a span for all of its time.
    pub(crate) fn of_client(addr: SocketAddr) -> Self {
        let lane = Self::named(|| addr.to_string());
        if let Some(Owner(lane)) = &lane.0 {
            let mut state = lane.state();
            let id = state.begin(CLIENT);
            state.open(id).into_iter().for_each(|open| open.args.client = Some(addr));
        }
        lane
    }

    /// To be called in each poll of a future. A future within a task that has a lane keeps to that.
    pub(crate) fn enter(&mut self) -> Entered {
        let enter = |current: &RefCell<Option<Arc<Lane>>>| {
            let mut current = current.borrow_mut();
            if self.0.is_none() && current.is_none() {
                self.0 = Owner::new(None);
            }
            Some(current.replace(Arc::clone(&self.0.as_ref()?.0)))
        };
        let before = if is_on() { TASK.with(enter) } else { None };
        Entered { is_other: before.is_some(), before: before.flatten() }
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if self.is_other {
            TASK.set(self.before.take());
        }
    }
}
