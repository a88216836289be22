//! Long computations that let other tasks run.

use std::time::Instant;

use crate::reactor::{TIME_SLICE, yield_now};

/// Measures how long a task has been computing since it last let the other tasks run.
///
/// ```
/// use std::pin::pin;
/// use std::task::{Context, Waker};
///
/// use calc::TimeSlice;
///
/// let mut computation = pin!(async {
///     let mut slice = TimeSlice::start();
///     loop {
///         // One step of the computation goes here. It is much shorter than a time slice.
///         slice.yield_if_used_up().await;
///     }
/// });
/// let mut context = Context::from_waker(Waker::noop());
/// assert!(computation.as_mut().poll(&mut context).is_pending()); // after 1 ms
/// ```
#[derive(Debug)]
pub struct TimeSlice {
    start: Instant,
}

impl TimeSlice {
    /// Starts a slice of time.
    #[must_use]
    pub fn start() -> Self {
        TimeSlice { start: Instant::now() }
    }

    /// If [`TIME_SLICE`] has passed, lets the other tasks run and then starts the next slice.
    ///
    /// Await this between any two steps of a computation. Each step should be much shorter than a slice.
    pub async fn yield_if_used_up(&mut self) {
        if self.start.elapsed() >= TIME_SLICE {
            yield_now().await;
            self.start = Instant::now();
        }
    }
}
