//! The timeline from inside: what each thread or task does, as spans of time in a file, in the
//! format of Chrome's traces, which ui.perfetto.dev opens.
//!
//! A [span](span()) goes into the lane of its thread, or of its task, where there is one; a thread of
//! its own empties the lanes into the file ten times a second. So nobody waits for the disk, and what
//! does not fit in the meantime is counted and left out. (`tracing-chrome` 0.7.2 keeps whatever the
//! disk does not take, without a bound, panics when the disk is full, leaves a cut file when the
//! process is killed, and gives a lane to a thread only.)

mod lane;
mod output;
mod span;
#[cfg(feature = "async")]
mod task;
mod writer;

use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

pub(crate) use lane::name_lane;
pub(crate) use span::CLIENT;
pub use span::{Span, span};
#[cfg(feature = "async")]
pub(crate) use task::TaskLane;
pub(crate) use writer::finish;

/// Whether spans are recorded.
static IS_ON: AtomicBool = AtomicBool::new(false);

/// When the trace began: the zero of its clock.
static BEGAN: OnceLock<Instant> = OnceLock::new();

#[inline]
fn is_on() -> bool {
    IS_ON.load(Ordering::Relaxed)
}

/// Begins to record spans, and to write them to a file, in which an earlier trace is replaced.
pub(crate) fn start(path: &Path) -> anyhow::Result<()> {
    let output = output::Output::create(path)?;
    BEGAN.get_or_init(Instant::now);
    writer::start(output)?;
    IS_ON.store(true, Ordering::Relaxed);
    Ok(())
}

/// Nanoseconds since the trace began.
fn now() -> u64 {
    let since = BEGAN.get().map(Instant::elapsed).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
