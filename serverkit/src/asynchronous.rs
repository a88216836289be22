//! Async versions of items in the root of this crate, for any runtime.

use std::future::Future;
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_channel::Receiver;
use futures_lite::FutureExt as _;
use pin_project_lite::pin_project;

use crate::run_client::HandlerPanicked;
use crate::trace::Span;
use crate::{Lane, Permit, Stop, log_disconnect, stop};

/// Polls `handler` until it completes, and returns a panic in it as an error, as
/// [`catch_panic`](crate::catch_panic) does.
///
/// # Errors
///
/// The error that `handler` returns, or an error if it panics.
///
/// ```
/// use serverkit::asynchronous::catch_panic;
///
/// # async_std::task::block_on(async {
/// assert_eq!(catch_panic(async { Ok(42) }).await.unwrap(), 42);
/// assert!(catch_panic::<()>(async { panic!("in the handler of one client") }).await.is_err());
/// # });
/// ```
pub fn catch_panic<T>(
    handler: impl Future<Output = anyhow::Result<T>>,
) -> impl Future<Output = anyhow::Result<T>> {
    // Boxed, because an async block would reserve space for the handler twice: before and during its
    // `.await`.
    let handler = AssertUnwindSafe(Box::pin(handler)).catch_unwind();
    async move { handler.await.unwrap_or_else(|_| Err(HandlerPanicked.into())) }
}

/// Runs the handler of one client, as [`run_client`](crate::run_client) does: an error or a panic in it
/// goes no further than the log.
///
/// ```
/// use async_std::task;
/// use serverkit::{Admission, Admitted, asynchronous::run_client};
///
/// # task::block_on(async {
/// let addr = "127.0.0.1:50312".parse().unwrap();
/// let mut admission = Admission::new(1);
/// let Admitted::Client(_, _, permit) = admission.admit(Ok(("a socket", addr))) else {
///     panic!("there was room for one client");
/// };
/// run_client(permit, async { panic!("in the handler of one client") }).await;
/// assert!(admission.is_idle());
/// # });
/// ```
pub fn run_client(
    permit: Permit,
    handler: impl Future<Output = anyhow::Result<()>>,
) -> impl Future<Output = ()> {
    let handler = trace("client", catch_panic(handler));
    async move { log_disconnect(permit.addr(), handler.await) }
}

/// Returns a future that does the same as `future`, and is a span of the trace from its first poll until it
/// completes.
///
/// ```
/// use serverkit::asynchronous::trace;
///
/// # async_std::task::block_on(async {
/// assert_eq!(trace("answer", async { 42 }).await, 42);
/// # });
/// ```
pub fn trace<F: Future>(name: &'static str, future: F) -> impl Future<Output = F::Output> {
    Traced { name, span: None, future }
}

pin_project! {
    /// A struct, because an async function would reserve space for the future twice: before and during its
    /// `.await`.
    struct Traced<F> {
        name: &'static str,
        span: Option<Span>,
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for Traced<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        this.span.get_or_insert_with(|| Span::begin(this.name));
        let polled = this.future.poll(cx);
        if polled.is_ready() {
            *this.span = None; // ends the span
        }
        polled
    }
}

/// Returns a future that does the same as `future`, with a lane of its own in the trace, whichever thread
/// polls it.
///
/// The lane has this name: threads have names, but the tasks of most runtimes do not.
///
/// ```
/// use async_std::task;
/// use serverkit::asynchronous::in_lane;
///
/// let task = task::spawn(in_lane("send 50312", async { 42 }));
/// assert_eq!(task::block_on(task), 42);
/// ```
pub fn in_lane<F: Future>(name: impl Into<String>, future: F) -> impl Future<Output = F::Output> {
    InLane { lane: Lane::new(|| name.into()), future }
}

pin_project! {
    struct InLane<F> {
        lane: Lane,
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for InLane<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        this.lane.run(|| this.future.poll(cx))
    }
}

/// The stop signal, SIGINT or SIGTERM, for a server that runs tasks.
///
/// ```standalone_crate
/// use async_std::task;
/// use serverkit::asynchronous::StopSignal;
/// use signal_hook::{consts::SIGTERM, low_level::raise};
/// # std::thread::spawn(|| {
/// #     std::thread::park_timeout(std::time::Duration::from_mins(1));
/// #     std::process::exit(1); // an example that hangs has failed
/// # });
///
/// let stop = StopSignal::new()?;
/// raise(SIGTERM)?; // does what kill(1) does, from inside the process
/// task::block_on(stop.received()); // returns
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct StopSignal(Receiver<()>);

impl StopSignal {
    /// Starts to watch for the signals, in a thread that does nothing else.
    ///
    /// # Errors
    ///
    /// If a signal handler cannot be set, or if the thread cannot be started.
    pub fn new() -> io::Result<Self> {
        let stop = Stop::on_signal()?;
        let (sender, receiver) = async_channel::bounded(1);
        stop::spawn(move || {
            stop.wait();
            drop(sender); // closes the channel, which wakes all receivers
        })?;
        Ok(StopSignal(receiver))
    }

    /// Waits until a signal is received. Returns at once if one has been received before.
    pub async fn received(&self) {
        let _ = self.0.recv().await; // always an error: the channel has been closed
    }
}
