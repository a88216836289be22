use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Write};
use std::sync::Arc;

use crate::trace::span;

/// One message or several as bytes, ready to be sent, and shared by the queues of all who get it:
/// one allocation, however many they are.
pub type Frame = Arc<[u8]>;

/// How many frames go out in one write at most.
const SLICES: usize = 64;

/// Frames on their way to one client: a queue of byte strings that are shared with other clients'
/// queues, and the place in the first of them up to which the kernel has taken it.
///
/// ```
/// use tincanchat::Frames;
///
/// let mut frames = Frames::new();
/// frames.push(b"one\0"[..].into());
/// frames.push(b"two\0"[..].into());
///
/// let mut sock = [0; 6]; // stands for a socket with room for six bytes
/// assert_eq!(frames.write_to(&mut &mut sock[..], usize::MAX)?, 6);
/// assert_eq!(&sock, b"one\0tw");
///
/// let mut sock = Vec::new();
/// assert_eq!(frames.write_to(&mut sock, usize::MAX)?, 2);
/// assert_eq!(sock, b"o\0");
/// assert!(frames.is_empty());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Frames {
    queue: VecDeque<Frame>,
    /// How many bytes of the first frame have been taken; fewer than it has.
    taken: usize,
}

impl Frames {
    /// No frames; needs no memory yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether all frames have been taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Adds a frame at the end; an empty one is left out.
    ///
    /// ```
    /// use tincanchat::{Frame, Frames};
    ///
    /// let frame = Frame::from(*b"one\0");
    /// let mut queues = [Frames::new(), Frames::new()];
    /// for frames in &mut queues {
    ///     frames.push(Frame::clone(&frame)); // the same bytes, not a copy of them
    /// }
    /// assert!(queues.iter().all(|frames| !frames.is_empty()));
    /// ```
    pub fn push(&mut self, frame: Frame) {
        if !frame.is_empty() {
            self.queue.push_back(frame);
        }
    }

    /// Offers the frames to `sock` in one write, and takes out what it took: gives the number of
    /// bytes.
    ///
    /// Offers at most about `most` bytes and 64 frames. Does nothing if there are none.
    ///
    /// # Errors
    ///
    /// Those of the write, with nothing taken out; `Interrupted` is tried again. `WriteZero` if the
    /// write says that it took nothing.
    ///
    /// ```
    /// use tincanchat::Frames;
    ///
    /// let mut frames = Frames::new();
    /// frames.extend([b"one\0"[..].into(), b"two\0"[..].into()]);
    /// let mut sock = Vec::new(); // stands for a socket, which takes all it is offered
    /// assert_eq!(frames.write_to(&mut sock, 5)?, 5); // more at this client's next turn
    /// assert_eq!(sock, b"one\0t");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn write_to(&mut self, sock: &mut impl Write, most: usize) -> io::Result<usize> {
        let span = span("write");
        let written = self.offer_to(sock, most);
        span.has_result(&written);
        written
    }

    /// The same without a span of its own.
    pub(crate) fn offer_to(&mut self, sock: &mut impl Write, most: usize) -> io::Result<usize> {
        self.write_with(most, |slices| {
            loop {
                match sock.write_vectored(slices) {
                    Err(err) if err.kind() == ErrorKind::Interrupted => {}
                    result => return result,
                }
            }
        })
    }

    /// The same with any way to write: what [`write_to`](Self::write_to) and the asynchronous half
    /// have in common.
    pub(crate) fn write_with(
        &mut self,
        most: usize,
        write: impl FnOnce(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let (mut count, mut offered, mut skip) = (0, 0, self.taken);
        for (slice, frame) in slices.iter_mut().zip(&self.queue) {
            if offered >= most {
                break;
            }
            let end = frame.len().min(skip.saturating_add(most - offered));
            *slice = IoSlice::new(&frame[skip..end]);
            offered += end - skip;
            count += 1;
            skip = 0;
        }
        if count == 0 {
            return Ok(0);
        }
        match write(&slices[..count])? {
            0 => Err(ErrorKind::WriteZero.into()),
            n => {
                self.take_out(n);
                Ok(n)
            }
        }
    }

    fn take_out(&mut self, n: usize) {
        self.taken += n;
        while let Some(first) = self.queue.front() {
            if self.taken < first.len() {
                return;
            }
            self.taken -= first.len();
            self.queue.pop_front();
        }
        // A burst is over: its table of frames need not stay.
        self.queue.shrink_to(4);
    }
}

impl Extend<Frame> for Frames {
    fn extend<I: IntoIterator<Item = Frame>>(&mut self, frames: I) {
        for frame in frames {
            self.push(frame);
        }
    }
}
