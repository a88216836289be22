use std::sync::Arc;

/// A limited number of places: each client takes one, and gives it back when it is gone.
///
/// ```
/// use tincanchat::cli::Seats;
///
/// let seats = Seats::new(1);
/// let seat = seats.take();
/// assert!(seat.is_some());
/// assert!(seats.take().is_none());
/// drop(seat);
/// assert!(seats.take().is_some());
/// ```
#[derive(Debug)]
pub struct Seats {
    limit: usize,
    /// One count more than there are seats taken.
    taken: Arc<()>,
}

/// One of the [`Seats`]; dropping it makes it free again.
#[derive(Debug)]
pub struct Seat {
    _taken: Arc<()>,
}

impl Seats {
    /// So many places, all of them free.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Seats { limit, taken: Arc::new(()) }
    }

    /// Takes a place, if one is free.
    ///
    /// Meant for the one thread or task that accepts: two at once could both take the last one.
    #[must_use]
    pub fn take(&self) -> Option<Seat> {
        let is_free = Arc::strong_count(&self.taken) <= self.limit;
        is_free.then(|| Seat { _taken: Arc::clone(&self.taken) })
    }
}
