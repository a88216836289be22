use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;

use super::is_on;
use super::lane::{Args, Lane, current};

/// The span of a client's time with the server.
pub(crate) const CLIENT: &str = "client";

/// A span of time in the trace, which ends when it is dropped. See [`span`].
#[derive(Debug)]
pub struct Span(Option<(Arc<Lane>, u32)>);

/// Begins a span of time in the trace, in the lane of its thread or task. It ends when the result is
/// dropped.
///
/// Without a trace (`--trace FILE`) it costs a look at a flag.
///
/// ```
/// use std::sync::Mutex;
///
/// let table = Mutex::new(vec![1, 2, 3]);
/// let _span = tincanchat::span("sum"); // not `_`, which would end it here
/// let sum: i32 = table.lock().unwrap().iter().sum();
/// assert_eq!(sum, 6);
/// ```
#[inline]
#[must_use]
pub fn span(name: &'static str) -> Span {
    if is_on() { Span::begin(name) } else { Span(None) }
}

impl Span {
    #[cold]
    fn begin(name: &'static str) -> Self {
        Span(current().map(|lane| {
            let id = lane.state().begin(name);
            (lane, id)
        }))
    }

    #[cold]
    fn end(&mut self) {
        if let Some((lane, id)) = self.0.take() {
            lane.state().end(id);
        }
    }

    /// Ends the span, and hands through what was computed or awaited meanwhile: an argument is
    /// computed after what it is an argument of.
    ///
    /// ```
    /// use std::sync::Mutex;
    ///
    /// let table = Mutex::new(42);
    /// let answer = tincanchat::span("lock").over(table.lock()).expect("no panic with the lock");
    /// assert_eq!(*answer, 42); // the time that it is held is not in the span
    /// ```
    #[inline]
    pub fn over<T>(self, result: T) -> T {
        result
    }

    /// Says how many bytes it is about.
    ///
    /// ```
    /// let frame = b"hello\0";
    /// let _span = tincanchat::span("broadcast").of_bytes(frame.len());
    /// ```
    #[inline]
    #[must_use]
    pub fn of_bytes(self, bytes: usize) -> Self {
        self.has_bytes(bytes);
        self
    }

    #[inline]
    pub(crate) fn has_bytes(&self, bytes: usize) {
        self.tell(|args| args.bytes = Some(bytes));
    }

    #[inline]
    pub(crate) fn has_messages(&self, messages: usize) {
        self.tell(|args| args.messages = Some(messages));
    }

    /// Says how many bytes the kernel took or gave, or that it would have had to wait.
    #[inline]
    pub(crate) fn has_result(&self, result: &io::Result<usize>) {
        match result {
            Ok(bytes) => self.has_bytes(*bytes),
            Err(err) => self.tell(|args| args.would_block = err.kind() == ErrorKind::WouldBlock),
        }
    }

    #[inline]
    #[must_use]
    pub(crate) fn of_client(self, addr: SocketAddr) -> Self {
        self.tell(|args| args.client = Some(addr));
        self
    }

    #[inline]
    fn tell(&self, about: impl FnOnce(&mut Args)) {
        if let Some((lane, id)) = &self.0
            && let Some(open) = lane.state().open(*id)
        {
            about(&mut open.args);
        }
    }
}

impl Drop for Span {
    #[inline]
    fn drop(&mut self) {
        if self.0.is_some() {
            self.end();
        }
    }
}
