use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::trace::name_lane;
use crate::{DRAIN, QUEUE_BYTES, QUEUE_CEILING, QUEUE_ENTRIES, STALL, WRITE_DEADLINE};

/// The most time between two writes that counts as time in which writes were tried.
///
/// A server tries again at least every 250 ms. If more time has passed, the server did not run: it
/// was suspended, or the machine was busy. The client is not to blame for that time.
const LONGEST_STEP: Duration = Duration::from_millis(500);

/// Measures what waits for one client, and says when that client is too slow to be kept.
///
/// A queue between a fast sender and a slow reader has to end somewhere: it blocks the sender,
/// drops messages, grows for ever, or costs the reader its connection. Here it is the last
/// (`docs/src/protocol.md` says why). The gauge does not hold the queue: it is told what goes in
/// ([`queue`](Self::queue)), what the kernel took ([`took`](Self::took)) and that the kernel took
/// nothing ([`refused`](Self::refused)). The threads or tasks on both sides of the queue may share it.
///
/// A client is too slow
///
/// * at once, if more than [`QUEUE_CEILING`] bytes wait;
/// * if more than [`QUEUE_BYTES`] bytes or [`QUEUE_ENTRIES`] entries wait, and the kernel has refused
///   every write for [`STALL`];
/// * if a byte that the kernel has refused still waits after [`WRITE_DEADLINE`];
/// * if the queue was closed and has not become empty within [`DRAIN`].
///
/// Only time in which the server tries to write counts. A server that was suspended, or that had no
/// processor, has not offered the client anything in that time.
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
    /// Whose queue it is, for the trace.
    client: Option<SocketAddr>,
}

/// All byte counts begin with the connection, so what is in the queue is the difference.
#[derive(Debug, Default)]
struct State {
    bytes_in: u64,
    bytes_out: u64,
    /// How many entries have come in since the kernel took something.
    entries: usize,
    /// When the last write was tried, if the queue has not been empty since.
    last_write: Option<Instant>,
    /// How long writes have been tried so far, all in all. The times below are readings of this
    /// clock, which stands still while the queue is empty and while the server does not run.
    clock: Duration,
    /// Since when the kernel has refused every write.
    refused_since: Option<Duration>,
    /// How many bytes had come in when the kernel refused a write, and when that was: as long as
    /// `bytes_out` is below the count, one of the bytes refused then is still in the queue.
    oldest: Option<(u64, Duration)>,
    closed_at: Option<Duration>,
    given_up: Option<SlowConsumer>,
}

/// Why a client is too slow to be kept: how much waits for it, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowConsumer {
    /// The bytes that wait in the queue.
    pub bytes: u64,
    /// How long ago, at least, the kernel first refused the oldest of them.
    pub age: Duration,
}

impl fmt::Display for SlowConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes, age } = self;
        write!(f, "the client does not keep up: {bytes} bytes queued")?;
        if age.is_zero() {
            return Ok(());
        }
        write!(f, ", the oldest refused for {:.1} s", age.as_secs_f64())
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
        Self::default()
    }

    /// Returns a gauge for the empty queue of the client with this address, which becomes the name of the
    /// lane of the trace in which the client is sent to.
    ///
    /// ```
    /// use tincanchat::QueueGauge;
    ///
    /// let gauge = QueueGauge::of_client("127.0.0.1:50312".parse()?);
    /// assert!(gauge.is_empty());
    /// # Ok::<(), std::net::AddrParseError>(())
    /// ```
    #[must_use]
    pub fn of_client(addr: SocketAddr) -> Self {
        QueueGauge { client: Some(addr), ..Self::default() }
    }

    /// Counts an entry of so many bytes that is about to go into the queue.
    ///
    /// # Errors
    ///
    /// [`SlowConsumer`] if more than [`QUEUE_CEILING`] bytes wait: the entry must not go in, and the
    /// client must go. From then on [`check`](Self::check) says the same, so that the thread that is
    /// writing learns why the connection was closed.
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
        if state.last_write.is_some() && state.waiting() > QUEUE_CEILING as u64 {
            let slow = state.slow();
            state.given_up = Some(slow);
            return Err(slow);
        }
        state.bytes_in += bytes as u64;
        state.entries += 1;
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
        state.advance_clock();
        state.bytes_out += bytes as u64;
        state.entries = 0;
        state.refused_since = None;
        if state.oldest.is_some_and(|(count, _)| state.bytes_out >= count) {
            state.oldest = None;
        }
        if state.waiting() == 0 {
            state.last_write = None;
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
        state.advance_clock();
        let now = state.clock;
        let refused = (state.bytes_in, now);
        state.refused_since.get_or_insert(now);
        state.oldest.get_or_insert(refused);
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
        let mut state = self.state();
        let now = state.clock;
        state.closed_at.get_or_insert(now);
    }

    /// Says whether the client is still worth a write.
    ///
    /// # Errors
    ///
    /// [`SlowConsumer`] by the rules of [`QueueGauge`], or if [`queue`](Self::queue) has said so
    /// before.
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
        let is_over = |since: Option<Duration>, limit| {
            since.is_some_and(|since| state.clock.saturating_sub(since) >= limit)
        };
        let is_long = state.waiting() > QUEUE_BYTES as u64 || state.entries > QUEUE_ENTRIES;
        let is_stalled = is_long && is_over(state.refused_since, STALL);
        let is_late = is_over(state.oldest.map(|(_, at)| at), WRITE_DEADLINE);
        let is_undrained = state.waiting() > 0 && is_over(state.closed_at, DRAIN);
        if is_stalled || is_late || is_undrained { Err(state.slow()) } else { Ok(()) }
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
        name_lane(|| match self.client {
            Some(addr) => format!("{addr} sends"),
            None => "a client sends".to_owned(),
        });
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

    /// Counts the time since the last write, as far as the server ran.
    fn advance_clock(&mut self) {
        let now = Instant::now();
        if let Some(last) = self.last_write {
            self.clock += now.saturating_duration_since(last).min(LONGEST_STEP);
        }
        self.last_write = Some(now);
    }

    fn slow(&self) -> SlowConsumer {
        let age = self.oldest.map_or(Duration::ZERO, |(_, at)| self.clock.saturating_sub(at));
        SlowConsumer { bytes: self.waiting(), age }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets a client refuse one write after the other for some time.
    fn refuse_for(gauge: &QueueGauge, time: Duration) -> Result<(), SlowConsumer> {
        gauge.refused()?;
        let mut left = time;
        while !left.is_zero() {
            let step = left.min(LONGEST_STEP);
            let_time_pass(gauge, step);
            gauge.refused()?;
            left -= step;
        }
        Ok(())
    }

    /// Lets time pass since the last write.
    fn let_time_pass(gauge: &QueueGauge, time: Duration) {
        let mut state = gauge.state();
        let earlier = |at: Instant| at.checked_sub(time).expect("the clock is older than that");
        state.last_write = state.last_write.map(earlier);
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
            refuse_for(&gauge, STALL * 9 / 10).unwrap();
            gauge.took(100_000);
            gauge.queue(100_000).unwrap();
        }
    }

    #[test]
    fn a_long_queue_is_full_when_the_kernel_refuses_every_write_for_a_second() {
        let gauge = QueueGauge::new();
        gauge.queue(QUEUE_BYTES + 1).unwrap();
        refuse_for(&gauge, STALL * 9 / 10).unwrap();
        gauge.queue(1).unwrap();
        let slow = refuse_for(&gauge, STALL / 5).unwrap_err();
        assert_eq!(slow.bytes, QUEUE_BYTES as u64 + 2);
        assert!(slow.age >= STALL);
    }

    #[test]
    fn a_queue_is_full_of_entries_too() {
        let gauge = QueueGauge::new();
        for _ in 0..=QUEUE_ENTRIES {
            gauge.queue(1).unwrap();
        }
        refuse_for(&gauge, STALL).unwrap_err();
    }

    #[test]
    fn a_short_queue_has_until_the_write_deadline() {
        let gauge = QueueGauge::new();
        gauge.queue(QUEUE_BYTES).unwrap();
        refuse_for(&gauge, WRITE_DEADLINE * 9 / 10).unwrap();
        refuse_for(&gauge, WRITE_DEADLINE / 5).unwrap_err();
    }

    #[test]
    fn a_queue_has_a_ceiling_whatever_the_kernel_takes() {
        let gauge = QueueGauge::new();
        gauge.queue(QUEUE_CEILING + 2).unwrap();
        gauge.queue(QUEUE_CEILING).unwrap(); // no write has been tried yet
        gauge.took(1);
        let slow = gauge.queue(1).unwrap_err();
        assert_eq!(gauge.check(), Err(slow)); // and stays so
    }

    #[test]
    fn a_trickle_does_not_keep_a_client_for_ever() {
        let gauge = QueueGauge::new();
        gauge.queue(1000).unwrap();
        let slow = (0..100).find_map(|_| {
            gauge.took(1);
            refuse_for(&gauge, WRITE_DEADLINE / 50).err()
        });
        let slow = slow.expect("given up after 50 steps");
        assert!(slow.age >= WRITE_DEADLINE);
    }

    #[test]
    fn time_in_which_the_server_does_not_run_does_not_count() {
        let gauge = QueueGauge::new();
        gauge.queue(2 * QUEUE_BYTES).unwrap();
        gauge.refused().unwrap();
        let_time_pass(&gauge, 2 * WRITE_DEADLINE);
        gauge.refused().unwrap();
        gauge.took(1000);
        gauge.close();
        let_time_pass(&gauge, 2 * DRAIN);
        gauge.refused().unwrap();
    }

    #[test]
    fn a_byte_that_was_not_offered_is_not_late() {
        let gauge = QueueGauge::new();
        gauge.queue(1000).unwrap();
        gauge.took(1000);
        gauge.queue(1000).unwrap();
        let_time_pass(&gauge, 2 * WRITE_DEADLINE);
        gauge.check().unwrap();
        gauge.refused().unwrap();
    }

    #[test]
    fn a_busy_client_that_keeps_up_is_never_late() {
        let gauge = QueueGauge::new();
        gauge.queue(10).unwrap();
        for _ in 0..100 {
            // Never empty, but what was there a moment ago has gone.
            gauge.queue(10).unwrap();
            refuse_for(&gauge, WRITE_DEADLINE / 4).unwrap();
            gauge.took(10);
        }
    }

    #[test]
    fn a_closed_queue_has_less_time() {
        let gauge = QueueGauge::new();
        gauge.queue(10).unwrap();
        gauge.close();
        gauge.check().unwrap();
        refuse_for(&gauge, DRAIN).unwrap_err();
        gauge.took(10);
        gauge.check().unwrap();
    }
}
