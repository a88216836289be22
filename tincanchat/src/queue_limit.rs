use std::fmt;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::{BLOCKED_GRACE, DRAIN, QUEUE_BYTES, QUEUE_BYTES_HARD, QUEUE_ENTRIES, WRITE_DEADLINE};

/// The longest time between two attempts to write that counts in full.
///
/// A server tries again at least every 250 ms. If more time than this has passed, the server did not run:
/// it was suspended, or the machine was busy. That is not the client's fault.
const LONGEST_STEP: Duration = Duration::from_millis(500);

/// The limit on one client's queue, which decides when the client is too slow to stay connected.
///
/// A queue between a fast sender and a slow reader can block the sender, drop messages, grow without bound,
/// or cost the reader its connection. In this project it costs the reader its connection
/// (`docs/src/protocol.md` says why). The limit does not contain the queue. Its caller reports what is
/// added to the queue ([`add`](Self::add)), what the kernel has accepted ([`sent`](Self::sent)), and when
/// the kernel accepts nothing ([`blocked`](Self::blocked)). The threads or tasks on both sides of the queue
/// share the limit.
///
/// A client is too slow
///
/// * if more than [`QUEUE_BYTES_HARD`] bytes are waiting, and a write has been tried since the queue was
///   last empty;
/// * if the kernel has refused every write for [`BLOCKED_GRACE`], and more than [`QUEUE_BYTES`] bytes are
///   waiting or more than [`QUEUE_ENTRIES`] entries have been added since the kernel last accepted
///   something;
/// * if a byte that the kernel has refused still waits after [`WRITE_DEADLINE`];
/// * if the queue has been closed and is not empty after [`DRAIN`].
///
/// Time counts only while the server is trying to write. While a server is suspended, or is waiting for a
/// processor, it offers its clients nothing.
///
/// ```
/// use tincanchat::{QUEUE_BYTES, QueueLimit};
///
/// let limit = QueueLimit::new();
/// limit.add(2 * QUEUE_BYTES)?; // a lot, but no write has been tried yet
/// limit.sent(2 * QUEUE_BYTES);
/// assert_eq!(limit.waiting(), 0);
/// # Ok::<(), tincanchat::SlowConsumer>(())
/// ```
#[derive(Debug, Default)]
pub struct QueueLimit {
    state: Mutex<State>,
}

/// The two byte counts start at 0 with the connection; their difference is the number of bytes that wait.
#[derive(Debug, Default)]
struct State {
    bytes_added: u64,
    bytes_sent: u64,
    /// How many entries have been added since the kernel last accepted something.
    entries: usize,
    /// When the last write was tried, if the queue has not been empty since.
    last_write: Option<Instant>,
    /// For how long writes have been tried so far, in total. The times below are readings of this clock,
    /// which stops while the queue is empty and while the server does not run.
    clock: Duration,
    /// When the kernel began to refuse every write.
    blocked_since: Option<Duration>,
    /// The value of `bytes_added` when the kernel refused a write, and when that was. As long as
    /// `bytes_sent` is smaller, some of the bytes that were refused are still in the queue.
    oldest: Option<(u64, Duration)>,
    closed_at: Option<Duration>,
    exceeded: Option<SlowConsumer>,
}

/// The error for a client that is too slow: how many bytes wait for it, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowConsumer {
    /// The number of bytes in the queue.
    pub bytes: u64,
    /// The time since the kernel first refused the oldest of these bytes; zero if it has refused none of
    /// them.
    pub age: Duration,
}

impl fmt::Display for SlowConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes, age } = self;
        write!(f, "the client does not keep up: {bytes} bytes queued")?;
        if *age < Duration::from_millis(50) {
            return Ok(());
        }
        write!(f, ", the oldest refused for {:.1} s", age.as_secs_f64())
    }
}

impl std::error::Error for SlowConsumer {}

/// Wraps the [`SlowConsumer`] in an I/O error of the kind `TimedOut`.
impl From<SlowConsumer> for io::Error {
    fn from(err: SlowConsumer) -> Self {
        io::Error::new(io::ErrorKind::TimedOut, err)
    }
}

impl QueueLimit {
    /// Returns the limit for an empty queue.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts an entry of `bytes` bytes that is about to be added to the queue.
    ///
    /// # Errors
    ///
    /// [`SlowConsumer`] if more than [`QUEUE_BYTES_HARD`] bytes are waiting and a write has been tried. The
    /// entry must then not be added. From then on, [`check`](Self::check) returns the same error, so that
    /// the thread or task that writes to the client disconnects it.
    ///
    /// ```
    /// use tincanchat::{QUEUE_BYTES_HARD, QueueLimit};
    ///
    /// let limit = QueueLimit::new();
    /// limit.add(QUEUE_BYTES_HARD + 1)?; // no write has been tried yet
    /// limit.blocked()?; // now one has, and the kernel accepted nothing
    /// assert!(limit.add(1).is_err());
    /// assert_eq!(limit.waiting(), QUEUE_BYTES_HARD as u64 + 1); // without the last entry
    /// # Ok::<(), tincanchat::SlowConsumer>(())
    /// ```
    pub fn add(&self, bytes: usize) -> Result<(), SlowConsumer> {
        #[cfg(feature = "failpoints")]
        crate::failpoints::queue(bytes);
        let mut state = self.state();
        if state.last_write.is_some() && state.waiting() > QUEUE_BYTES_HARD as u64 {
            let slow = state.slow_consumer();
            state.exceeded = Some(slow);
            return Err(slow);
        }
        state.bytes_added += bytes as u64;
        state.entries += 1;
        Ok(())
    }

    /// Counts bytes from the queue that the kernel has accepted.
    ///
    /// ```
    /// use std::io::Write;
    /// use tincanchat::{QueueLimit, prep_msg};
    ///
    /// let limit = QueueLimit::new();
    /// let frame = prep_msg("hello")?;
    /// limit.add(frame.len())?;
    /// let mut sock = [0; 4]; // stands for a socket with room for four bytes
    /// limit.sent((&mut sock[..]).write(&frame)?);
    /// assert_eq!(limit.waiting(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn sent(&self, bytes: usize) {
        #[cfg(feature = "failpoints")]
        crate::failpoints::send(bytes);
        let mut state = self.state();
        state.advance_clock();
        state.bytes_sent += bytes as u64;
        state.entries = 0;
        state.blocked_since = None;
        if state.oldest.is_some_and(|(count, _)| state.bytes_sent >= count) {
            state.oldest = None;
        }
        if state.waiting() == 0 {
            state.last_write = None;
        }
    }

    /// Notes that a write was tried and the kernel accepted nothing.
    ///
    /// # Errors
    ///
    /// [`SlowConsumer`] if the client must be disconnected, as from [`check`](Self::check).
    ///
    /// ```
    /// use std::io::{ErrorKind, Write};
    /// use std::net::{TcpListener, TcpStream};
    /// use tincanchat::QueueLimit;
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let _client = TcpStream::connect(listener.local_addr()?)?; // reads nothing
    /// let (mut sock, _) = listener.accept()?;
    /// sock.set_nonblocking(true)?;
    ///
    /// let limit = QueueLimit::new();
    /// let frame = [b'x'; 1000];
    /// loop {
    ///     limit.add(frame.len())?;
    ///     match sock.write(&frame) {
    ///         Ok(n) => limit.sent(n), // into the kernel's buffers
    ///         Err(err) if err.kind() == ErrorKind::WouldBlock => break, // they are full now
    ///         Err(err) => Err(err)?,
    ///     }
    /// }
    /// limit.blocked()?; // the client may still start to read
    /// assert!(limit.waiting() >= 1000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn blocked(&self) -> Result<(), SlowConsumer> {
        let mut state = self.state();
        state.advance_clock();
        let now = state.clock;
        let refused = (state.bytes_added, now);
        state.blocked_since.get_or_insert(now);
        state.oldest.get_or_insert(refused);
        drop(state);
        self.check()
    }

    /// Notes that nothing more will be added; the queue has [`DRAIN`] to become empty.
    ///
    /// ```
    /// use tincanchat::QueueLimit;
    ///
    /// let limit = QueueLimit::new();
    /// limit.add(4)?;
    /// limit.close(); // the client is leaving; what is queued for it is still sent
    /// limit.sent(4);
    /// limit.check()?; // an empty queue cannot be late
    /// # Ok::<(), tincanchat::SlowConsumer>(())
    /// ```
    pub fn close(&self) {
        let mut state = self.state();
        if state.last_write.is_some() {
            state.advance_clock();
        }
        let now = state.clock;
        state.closed_at.get_or_insert(now);
    }

    /// Checks whether the client is fast enough to stay connected.
    ///
    /// # Errors
    ///
    /// [`SlowConsumer`] by the rules of [`QueueLimit`], or if [`add`](Self::add) has returned it before.
    ///
    /// ```
    /// use tincanchat::{QUEUE_BYTES_HARD, QueueLimit};
    ///
    /// let limit = QueueLimit::new();
    /// limit.add(QUEUE_BYTES_HARD + 1)?;
    /// limit.blocked()?;
    /// limit.check()?; // the oldest byte has not waited long
    ///
    /// let when_adding = limit.add(1); // in the thread that relays another client's message
    /// assert!(when_adding.is_err());
    /// assert_eq!(limit.check(), when_adding); // in the thread that writes to this client
    /// # Ok::<(), tincanchat::SlowConsumer>(())
    /// ```
    pub fn check(&self) -> Result<(), SlowConsumer> {
        let state = self.state();
        if let Some(slow) = state.exceeded {
            return Err(slow);
        }
        let is_over = |since: Option<Duration>, limit| {
            since.is_some_and(|since| state.clock.saturating_sub(since) >= limit)
        };
        let is_long = state.waiting() > QUEUE_BYTES as u64 || state.entries > QUEUE_ENTRIES;
        let is_blocked = is_over(state.blocked_since, BLOCKED_GRACE);
        let is_timeout = is_over(state.oldest.map(|(_, at)| at), WRITE_DEADLINE);
        let is_undrained = state.waiting() > 0 && is_over(state.closed_at, DRAIN);
        if (is_long && is_blocked) || is_timeout || is_undrained {
            return Err(state.slow_consumer());
        }
        Ok(())
    }

    /// Returns how many bytes wait in the queue.
    ///
    /// ```
    /// use tincanchat::QueueLimit;
    ///
    /// let limit = QueueLimit::new();
    /// limit.add(1000)?;
    /// limit.add(500)?;
    /// limit.sent(1200);
    /// assert_eq!(limit.waiting(), 300);
    /// # Ok::<(), tincanchat::SlowConsumer>(())
    /// ```
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.state().waiting()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No method panics between two changes, so the counts are right even after a panic elsewhere.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn waiting(&self) -> u64 {
        self.bytes_added.saturating_sub(self.bytes_sent)
    }

    /// Adds the time since the last write to the clock, except time in which the server did not run.
    fn advance_clock(&mut self) {
        let now = Instant::now();
        if let Some(last) = self.last_write {
            self.clock += now.saturating_duration_since(last).min(LONGEST_STEP);
        }
        self.last_write = Some(now);
    }

    fn slow_consumer(&self) -> SlowConsumer {
        let age = self.oldest.map_or(Duration::ZERO, |(_, at)| self.clock.saturating_sub(at));
        SlowConsumer { bytes: self.waiting(), age }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Simulates a kernel that refuses every write for some time.
    fn block_for(limit: &QueueLimit, time: Duration) -> Result<(), SlowConsumer> {
        limit.blocked()?;
        let mut left = time;
        while !left.is_zero() {
            let step = left.min(LONGEST_STEP);
            let_time_pass(limit, step);
            limit.blocked()?;
            left -= step;
        }
        Ok(())
    }

    /// Simulates that this much time has passed since the last write.
    fn let_time_pass(limit: &QueueLimit, time: Duration) {
        let mut state = limit.state();
        let earlier = |at: Instant| at.checked_sub(time).expect("the clock is older than that");
        state.last_write = state.last_write.map(earlier);
    }

    #[test]
    fn a_queue_is_not_full_before_a_write_was_tried() {
        let limit = QueueLimit::new();
        for _ in 0..100 {
            limit.add(QUEUE_BYTES).unwrap();
        }
    }

    #[test]
    fn a_queue_is_not_full_as_long_as_the_kernel_accepts_something() {
        let limit = QueueLimit::new();
        limit.add(2 * QUEUE_BYTES).unwrap();
        for _ in 0..100 {
            block_for(&limit, BLOCKED_GRACE * 9 / 10).unwrap();
            limit.sent(100_000);
            limit.add(100_000).unwrap();
        }
    }

    #[test]
    fn a_long_queue_is_full_when_the_kernel_refuses_every_write_for_a_second() {
        let limit = QueueLimit::new();
        limit.add(QUEUE_BYTES + 1).unwrap();
        block_for(&limit, BLOCKED_GRACE * 9 / 10).unwrap();
        limit.add(1).unwrap();
        let slow = block_for(&limit, BLOCKED_GRACE / 5).unwrap_err();
        assert_eq!(slow.bytes, QUEUE_BYTES as u64 + 2);
        assert!(slow.age >= BLOCKED_GRACE);
    }

    #[test]
    fn a_queue_is_full_of_entries_too() {
        let limit = QueueLimit::new();
        for _ in 0..=QUEUE_ENTRIES {
            limit.add(1).unwrap();
        }
        block_for(&limit, BLOCKED_GRACE).unwrap_err();
    }

    #[test]
    fn a_short_queue_has_until_the_write_deadline() {
        let limit = QueueLimit::new();
        limit.add(QUEUE_BYTES).unwrap();
        block_for(&limit, WRITE_DEADLINE * 9 / 10).unwrap();
        block_for(&limit, WRITE_DEADLINE / 5).unwrap_err();
    }

    #[test]
    fn a_queue_has_a_hard_limit_even_if_the_kernel_accepts_bytes() {
        let limit = QueueLimit::new();
        limit.add(QUEUE_BYTES_HARD + 2).unwrap();
        limit.add(QUEUE_BYTES_HARD).unwrap(); // no write has been tried yet
        limit.sent(1);
        let slow = limit.add(1).unwrap_err();
        assert_eq!(limit.check(), Err(slow)); // and it stays that way
    }

    #[test]
    fn a_trickle_does_not_keep_a_client_forever() {
        let limit = QueueLimit::new();
        limit.add(1000).unwrap();
        let slow = (0..100).find_map(|_| {
            limit.sent(1);
            block_for(&limit, WRITE_DEADLINE / 50).err()
        });
        let slow = slow.expect("too slow after 50 steps");
        assert!(slow.age >= WRITE_DEADLINE);
    }

    #[test]
    fn time_in_which_the_server_does_not_run_does_not_count() {
        let limit = QueueLimit::new();
        limit.add(2 * QUEUE_BYTES).unwrap();
        limit.blocked().unwrap();
        let_time_pass(&limit, 2 * WRITE_DEADLINE);
        limit.blocked().unwrap();
        limit.sent(1000);
        limit.close();
        let_time_pass(&limit, 2 * DRAIN);
        limit.blocked().unwrap();
    }

    #[test]
    fn a_byte_that_was_not_offered_is_not_late() {
        let limit = QueueLimit::new();
        limit.add(1000).unwrap();
        limit.sent(1000);
        limit.add(1000).unwrap();
        let_time_pass(&limit, 2 * WRITE_DEADLINE);
        limit.check().unwrap();
        limit.blocked().unwrap();
    }

    #[test]
    fn a_busy_client_that_keeps_up_is_never_late() {
        let limit = QueueLimit::new();
        limit.add(10).unwrap();
        for _ in 0..100 {
            // The queue is never empty, but the bytes that were in it a moment ago have been sent.
            limit.add(10).unwrap();
            block_for(&limit, WRITE_DEADLINE / 4).unwrap();
            limit.sent(10);
        }
    }

    #[test]
    fn a_closed_queue_has_less_time() {
        let limit = QueueLimit::new();
        limit.add(10).unwrap();
        limit.close();
        limit.check().unwrap();
        block_for(&limit, DRAIN).unwrap_err();
        limit.sent(10);
        limit.check().unwrap();
    }
}
