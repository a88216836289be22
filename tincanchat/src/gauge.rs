use std::fmt;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::trace::Origin;
use crate::{DRAIN, QUEUE_BYTES, QUEUE_CEILING, QUEUE_ENTRIES, STALL, WRITE_DEADLINE};

/// Measures what waits for one client, and says when that client is too slow to be kept.
///
/// A queue between a fast sender and a slow reader has to end somewhere: it blocks the sender,
/// drops messages, grows for ever, or costs the reader its connection. Here it is the last
/// (`docs/src/protocol.md` says why). The gauge does not hold the queue, whatever that is made of:
/// it is told what goes in ([`queue`](Self::queue)), what the kernel took ([`took`](Self::took))
/// and that it took nothing ([`refused`](Self::refused)), and it may be shared by the threads or
/// tasks on both sides.
///
/// The rules are the limits [`QUEUE_BYTES`], [`QUEUE_ENTRIES`], [`QUEUE_CEILING`], [`STALL`],
/// [`WRITE_DEADLINE`] and [`DRAIN`].
///
/// ```
/// use tincanchat::{QUEUE_BYTES, QueueGauge};
///
/// let gauge = QueueGauge::new();
/// gauge.queue(2 * QUEUE_BYTES)?; // much, but no write has been tried yet
/// gauge.took(2 * QUEUE_BYTES);
/// assert!(gauge.is_empty());
/// # Ok::<(), tincanchat::SlowConsumer>(())
/// ```
#[derive(Debug, Default)]
pub struct QueueGauge {
    state: Mutex<State>,
    origin: Origin,
}

/// All counts begin with the connection, so what is in the queue is the difference.
#[derive(Debug, Default)]
struct State {
    bytes_in: u64,
    bytes_out: u64,
    /// How many have come in since the kernel took something.
    entries: usize,
    /// Whether a write has been tried since the queue was last empty.
    was_tried: bool,
    /// The count of bytes in at a moment when the queue held them all, and that moment: as long as
    /// `bytes_out` is below the count, the oldest byte is at least as old as the moment.
    mark: Option<(u64, Instant)>,
    /// Since when the kernel has taken nothing, though it was offered something.
    refused_since: Option<Instant>,
    closed_at: Option<Instant>,
    given_up: Option<SlowConsumer>,
}

/// Why a client is too slow to be kept: how much waits for it, and for how long already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowConsumer {
    /// The bytes that wait in the queue.
    pub bytes: u64,
    /// How long, at least, the oldest of them has waited.
    pub age: Duration,
}

impl fmt::Display for SlowConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes, age } = self;
        write!(f, "the client does not keep up: {bytes} bytes queued, the oldest for {age:.1?}")
    }
}

impl std::error::Error for SlowConsumer {}

/// An I/O error of the kind `TimedOut`, with the [`SlowConsumer`] inside.
impl From<SlowConsumer> for io::Error {
    fn from(err: SlowConsumer) -> Self {
        io::Error::new(io::ErrorKind::TimedOut, err)
    }
}

impl QueueGauge {
    /// A gauge for an empty queue.
    #[must_use]
    pub fn new() -> Self {
        QueueGauge { state: Mutex::default(), origin: Origin::here() }
    }

    /// Counts an entry of so many bytes that is about to go into the queue.
    ///
    /// # Errors
    ///
    /// [`SlowConsumer`] if the queue is over its limit already and the kernel takes nothing: the
    /// entry must not go in, and the client must go. From then on [`check`](Self::check) says the
    /// same, so that whoever is writing knows why the connection is closed under its hands.
    ///
    /// ```
    /// use tincanchat::{QUEUE_CEILING, QueueGauge};
    ///
    /// let gauge = QueueGauge::new();
    /// gauge.queue(QUEUE_CEILING + 1)?; // no write has been tried yet, so it may be much
    /// gauge.refused()?; // now one has, and the kernel took nothing
    /// assert!(gauge.queue(1).is_err());
    /// assert_eq!(gauge.waiting(), QUEUE_CEILING as u64 + 1); // the last one is not in it
    /// # Ok::<(), tincanchat::SlowConsumer>(())
    /// ```
    pub fn queue(&self, bytes: usize) -> Result<(), SlowConsumer> {
        let mut state = self.state();
        if state.is_full() {
            let slow = state.slow();
            state.given_up = Some(slow);
            return Err(slow);
        }
        state.bytes_in += bytes as u64;
        state.entries += 1;
        if state.mark.is_none() {
            state.mark = Some((state.bytes_in, Instant::now()));
        }
        Ok(())
    }

    /// Counts bytes that the kernel has taken, of those that were queued before.
    ///
    /// ```
    /// use std::io::Write;
    /// use tincanchat::{QueueGauge, prep_msg};
    ///
    /// let gauge = QueueGauge::new();
    /// let frame = prep_msg("hello")?;
    /// gauge.queue(frame.len())?;
    /// let mut sock = [0; 4]; // stands for a socket with room for four bytes
    /// gauge.took((&mut sock[..]).write(&frame)?);
    /// assert_eq!(gauge.waiting(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn took(&self, bytes: usize) {
        let mut state = self.state();
        state.bytes_out += bytes as u64;
        state.entries = 0;
        state.was_tried = state.waiting() > 0;
        state.refused_since = None;
        if state.waiting() == 0 {
            state.mark = None;
        } else if state.mark.is_some_and(|(count, _)| state.bytes_out >= count) {
            state.mark = Some((state.bytes_in, Instant::now()));
        }
    }

    /// Notes that the kernel was offered bytes and took none of them; says whether to go on trying.
    ///
    /// # Errors
    ///
    /// Those of [`check`](Self::check).
    ///
    /// ```
    /// use std::io::{ErrorKind, Write};
    /// use std::net::{TcpListener, TcpStream};
    /// use tincanchat::QueueGauge;
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let _client = TcpStream::connect(listener.local_addr()?)?; // reads nothing
    /// let (mut sock, _) = listener.accept()?;
    /// sock.set_nonblocking(true)?;
    ///
    /// let gauge = QueueGauge::new();
    /// let frame = [b'x'; 1000];
    /// loop {
    ///     gauge.queue(frame.len())?;
    ///     match sock.write(&frame) {
    ///         Ok(n) => gauge.took(n), // into the kernel's buffers
    ///         Err(err) if err.kind() == ErrorKind::WouldBlock => break, // which are full now
    ///         Err(err) => Err(err)?,
    ///     }
    /// }
    /// gauge.refused()?; // it may still begin to read
    /// assert!(gauge.waiting() >= 1000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn refused(&self) -> Result<(), SlowConsumer> {
        let mut state = self.state();
        state.was_tried = true;
        state.refused_since.get_or_insert_with(Instant::now);
        drop(state);
        self.check()
    }

    /// Notes that nothing more will be queued; what is there has [`DRAIN`] to leave.
    ///
    /// ```
    /// use tincanchat::QueueGauge;
    ///
    /// let gauge = QueueGauge::new();
    /// gauge.queue(4)?;
    /// gauge.close(); // the client sends no more; what is queued for it still goes out
    /// gauge.took(4);
    /// gauge.check()?; // it has gone out, so it is not too late and never will be
    /// # Ok::<(), tincanchat::SlowConsumer>(())
    /// ```
    pub fn close(&self) {
        self.state().closed_at.get_or_insert_with(Instant::now);
    }

    /// Says whether the oldest byte has waited too long.
    ///
    /// # Errors
    ///
    /// [`SlowConsumer`] if it has waited for [`WRITE_DEADLINE`], if the queue was closed [`DRAIN`]
    /// ago and is not empty yet, or if [`queue`](Self::queue) has said so before.
    ///
    /// ```
    /// use tincanchat::{QUEUE_CEILING, QueueGauge};
    ///
    /// let gauge = QueueGauge::new();
    /// gauge.queue(QUEUE_CEILING + 1)?;
    /// gauge.refused()?;
    /// gauge.check()?; // the oldest byte has not waited long
    ///
    /// let when_queueing = gauge.queue(1); // by a thread that relays what others say
    /// assert!(when_queueing.is_err());
    /// assert_eq!(gauge.check(), when_queueing); // by the one that writes to this client
    /// # Ok::<(), tincanchat::SlowConsumer>(())
    /// ```
    pub fn check(&self) -> Result<(), SlowConsumer> {
        let state = self.state();
        if let Some(slow) = state.given_up {
            return Err(slow);
        }
        let is_over = |since: Option<Instant>, limit| since.is_some_and(|at| at.elapsed() >= limit);
        let oldest = state.mark.map(|(_, at)| at);
        let is_late = is_over(oldest, WRITE_DEADLINE) || is_over(state.closed_at, DRAIN);
        if is_late && state.waiting() > 0 { Err(state.slow()) } else { Ok(()) }
    }

    /// How many bytes wait in the queue.
    ///
    /// ```
    /// use tincanchat::QueueGauge;
    ///
    /// let gauge = QueueGauge::new();
    /// gauge.queue(1000)?;
    /// gauge.queue(500)?;
    /// gauge.took(1200);
    /// assert_eq!(gauge.waiting(), 300);
    /// # Ok::<(), tincanchat::SlowConsumer>(())
    /// ```
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.state().waiting()
    }

    /// Whether the kernel has taken all that was queued.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting() == 0
    }

    /// Names the lane of the trace in which this client is sent to, if it has no name: to be called by
    /// whoever writes to it.
    ///
    /// ```
    /// let gauge = tincanchat::QueueGauge::new();
    /// std::thread::spawn(move || {
    ///     gauge.name_lane(); // without a trace, nothing happens
    ///     gauge.took(0);
    /// });
    /// ```
    pub fn name_lane(&self) {
        self.origin.name_sender();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No step of any method leaves the counts half-changed, so a panic elsewhere is no harm.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn waiting(&self) -> u64 {
        self.bytes_in.saturating_sub(self.bytes_out)
    }

    fn is_full(&self) -> bool {
        let is_refused = self.refused_since.is_some_and(|since| since.elapsed() >= STALL);
        let is_long = self.waiting() > QUEUE_BYTES as u64 || self.entries > QUEUE_ENTRIES;
        is_refused && is_long || self.was_tried && self.waiting() > QUEUE_CEILING as u64
    }

    fn slow(&self) -> SlowConsumer {
        let age = self.mark.map_or(Duration::ZERO, |(_, at)| at.elapsed());
        SlowConsumer { bytes: self.waiting(), age }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets time pass for a gauge.
    fn later(gauge: &QueueGauge, time: Duration) {
        let mut state = gauge.state();
        let earlier = |at: Instant| at.checked_sub(time).expect("the clock is older than that");
        state.mark = state.mark.map(|(count, at)| (count, earlier(at)));
        state.refused_since = state.refused_since.map(earlier);
        state.closed_at = state.closed_at.map(earlier);
    }

    #[test]
    fn a_queue_is_not_full_before_a_write_was_tried() {
        let gauge = QueueGauge::new();
        for _ in 0..100 {
            gauge.queue(QUEUE_BYTES).unwrap();
        }
    }

    #[test]
    fn a_queue_is_not_full_as_long_as_the_kernel_takes_something() {
        let gauge = QueueGauge::new();
        gauge.queue(2 * QUEUE_BYTES).unwrap();
        for _ in 0..100 {
            gauge.refused().unwrap();
            later(&gauge, 2 * STALL);
            gauge.took(1);
            gauge.queue(1).unwrap();
        }
    }

    #[test]
    fn a_queue_is_full_when_the_kernel_takes_nothing() {
        let gauge = QueueGauge::new();
        gauge.queue(QUEUE_BYTES + 1).unwrap();
        gauge.refused().unwrap();
        gauge.queue(1).unwrap(); // the writer has only just been woken
        later(&gauge, STALL);
        let slow = gauge.queue(1).unwrap_err();
        assert_eq!(slow.bytes, QUEUE_BYTES as u64 + 2);
        assert!(slow.age >= STALL);
        assert_eq!(gauge.check(), Err(slow)); // and stays so
    }

    #[test]
    fn a_queue_is_full_of_entries_too() {
        let gauge = QueueGauge::new();
        gauge.queue(1).unwrap();
        gauge.refused().unwrap();
        later(&gauge, STALL);
        for _ in 0..QUEUE_ENTRIES {
            gauge.queue(1).unwrap();
        }
        gauge.queue(1).unwrap_err();
    }

    #[test]
    fn a_queue_has_a_ceiling_whatever_the_kernel_takes() {
        let gauge = QueueGauge::new();
        gauge.queue(QUEUE_CEILING + 2).unwrap();
        gauge.queue(QUEUE_CEILING).unwrap(); // no write has been tried yet
        gauge.took(1);
        gauge.queue(1).unwrap_err();
    }

    #[test]
    fn a_trickle_does_not_keep_a_client_for_ever() {
        let gauge = QueueGauge::new();
        gauge.queue(1000).unwrap();
        for _ in 0..9 {
            gauge.took(1);
            later(&gauge, WRITE_DEADLINE / 9);
        }
        let slow = gauge.check().unwrap_err();
        assert_eq!(slow.bytes, 991);
        assert!(slow.age >= WRITE_DEADLINE);
    }

    #[test]
    fn a_busy_client_that_keeps_up_is_never_late() {
        let gauge = QueueGauge::new();
        gauge.queue(10).unwrap();
        for _ in 0..100 {
            // Never empty, but what was there a moment ago has gone.
            gauge.queue(10).unwrap();
            gauge.took(10);
            later(&gauge, WRITE_DEADLINE / 4);
            gauge.check().unwrap();
        }
    }

    #[test]
    fn a_closed_queue_has_less_time() {
        let gauge = QueueGauge::new();
        gauge.queue(10).unwrap();
        gauge.close();
        gauge.check().unwrap();
        later(&gauge, DRAIN);
        gauge.check().unwrap_err();
        gauge.took(10);
        gauge.check().unwrap();
    }
}
