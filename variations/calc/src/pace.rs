//! Leaving a function in the middle, and when to do so out of courtesy.

use std::future::poll_fn;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// How long a task may go on before it should give way: 1 ms.
///
/// It cannot be made to: nothing stops a task between two `.await`s. So whatever takes long asks
/// its [`Pace`] again and again.
pub const SLICE: Duration = Duration::from_millis(1);

/// Leaves the function that awaits this, and hands its waker to whoever will wake it.
pub(crate) async fn suspend(hand_over: impl FnOnce(Waker)) {
    let mut hand_over = Some(hand_over);
    poll_fn(|cx| match hand_over.take() {
        Some(hand_over) => {
            hand_over(cx.waker().clone());
            Poll::Pending // which the caller returns to its caller, up to the loop
        }
        None => Poll::Ready(()), // the loop has come back, so it goes on
    })
    .await;
}

/// Lets others go first.
pub async fn give_way() {
    suspend(Waker::wake).await;
}

/// Says when it is time to give way.
#[derive(Debug)]
pub struct Pace {
    since: Instant,
}

impl Pace {
    /// Begins a slice of time.
    #[must_use]
    pub fn start() -> Self {
        Pace { since: Instant::now() }
    }

    /// Gives way if the slice is used up. To be awaited between two steps, each much shorter than a
    /// slice.
    pub async fn keep(&mut self) {
        if self.since.elapsed() >= SLICE {
            give_way().await;
            self.since = Instant::now();
        }
    }
}
