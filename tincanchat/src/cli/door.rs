use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tracing::info;

use super::accept::AcceptErrors;
use super::log_limit::{Reason, warn_limited};
use super::memory::Crowd;
use crate::{AT_THE_DOOR, canonical};

/// Decides what becomes of what `accept` gives: a client with a [`Seat`], a refusal, or a pause.
///
/// It limits the number of clients, and handles the errors of `accept`, which never end a server.
/// It does no I/O of its own, so it suits any way of accepting.
///
/// ```
/// use std::net::{TcpListener, TcpStream};
/// use tincanchat::cli::Door;
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let mut door = Door::new(1);
/// let _client = TcpStream::connect(listener.local_addr()?)?;
/// let (_sock, _addr, seat) = door.admit(listener.accept()).expect("one may come in");
/// assert!(seat.is_inside());
///
/// let _second = TcpStream::connect(listener.local_addr()?)?;
/// assert!(door.admit(listener.accept()).is_err()); // and is closed
///
/// drop(seat);
/// assert!(door.is_empty());
/// let _third = TcpStream::connect(listener.local_addr()?)?;
/// assert!(door.admit(listener.accept()).is_ok());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Door {
    seats: Places,
    porch: Places,
    accept_errors: AcceptErrors,
}

/// A client's place in a server, or the place of one that is being turned away. Dropping it makes
/// it free for another.
#[derive(Debug)]
pub struct Seat {
    addr: SocketAddr,
    is_inside: bool,
    _place: Place,
}

#[derive(Debug)]
struct Places {
    limit: usize,
    taken: Arc<Crowd>,
}

/// One of the places; dropping it makes it free.
#[derive(Debug)]
struct Place(Arc<Crowd>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.remove();
    }
}

impl Door {
    /// A door to a server that takes up to `limit` clients, and closes all further connections at
    /// once.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        let accept_errors = AcceptErrors::default();
        Door { seats: Places::new(limit), porch: Places::for_refused(0), accept_errors }
    }

    /// The same for a server that tells a client why it may not come in: up to [`AT_THE_DOOR`]
    /// further connections are let through at a time, with a seat that is not
    /// [inside](Seat::is_inside).
    ///
    /// ```
    /// use std::net::{Shutdown, TcpListener, TcpStream};
    /// use tincanchat::{cli::Door, recv_answer, turn_away};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let mut door = Door::with_porch(1);
    /// let _first = TcpStream::connect(listener.local_addr()?)?;
    /// let _client = door.admit(listener.accept()).expect("one may come in");
    ///
    /// let mut second = TcpStream::connect(listener.local_addr()?)?;
    /// second.shutdown(Shutdown::Write)?;
    /// let (sock, _, seat) = door.admit(listener.accept()).expect("the porch is empty");
    /// assert!(!seat.is_inside());
    /// turn_away(&sock);
    /// assert_eq!(recv_answer(&mut second)?, "server: full");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn with_porch(limit: usize) -> Self {
        Door { porch: Places::for_refused(AT_THE_DOOR), ..Self::new(limit) }
    }

    /// Takes what `accept` gave, and gives the socket, its peer's [canonical] address and a seat.
    ///
    /// Logs `Connection from ADDR`, or the refusal, or the error.
    ///
    /// # Errors
    ///
    /// There is no client to serve; the time to wait before the next `accept`. It is zero after a
    /// refusal, and after an error that belongs to one connection; after a lack of descriptors or
    /// memory it is 10 ms and doubles up to 1 s, because the next `accept` would fail at once as
    /// well (accept(2)).
    pub fn admit<S>(
        &mut self,
        accepted: io::Result<(S, SocketAddr)>,
    ) -> Result<(S, SocketAddr, Seat), Duration> {
        let (sock, addr) = accepted.map_err(|err| self.accept_errors.pause(&err))?;
        let addr = canonical(addr);
        if let Some(place) = self.seats.take() {
            info!("Connection from {addr}");
            return Ok((sock, addr, Seat { addr, is_inside: true, _place: place }));
        }
        warn_limited(Reason::Full, || format!("{addr}: refused, the server is full"));
        let place = self.porch.take().ok_or(Duration::ZERO)?;
        Ok((sock, addr, Seat { addr, is_inside: false, _place: place }))
    }

    /// Whether all who were admitted have gone again.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seats.is_empty() && self.porch.is_empty()
    }
}

impl Seat {
    /// Whether this is a client, and not one that is only to be told that the server is full.
    ///
    /// ```
    /// use tincanchat::cli::Door;
    ///
    /// let addr = "127.0.0.1:50312".parse()?;
    /// let mut door = Door::with_porch(1);
    /// let (_, _, first) = door.admit(Ok(("a socket", addr))).expect("one may come in");
    /// let (_, _, second) = door.admit(Ok(("a socket", addr))).expect("the porch is empty");
    /// assert!(first.is_inside());
    /// assert!(!second.is_inside());
    /// # Ok::<(), std::net::AddrParseError>(())
    /// ```
    #[must_use]
    pub fn is_inside(&self) -> bool {
        self.is_inside
    }

    /// The address of whoever has it.
    ///
    /// ```
    /// use std::net::{TcpListener, TcpStream};
    /// use tincanchat::cli::Door;
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let client = TcpStream::connect(listener.local_addr()?)?;
    /// let (_sock, _addr, seat) = Door::new(1).admit(listener.accept()).expect("one may come in");
    /// assert_eq!(seat.addr(), client.local_addr()?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Places {
    fn new(limit: usize) -> Self {
        Places { limit, taken: Arc::default() }
    }

    fn for_refused(limit: usize) -> Self {
        Places { limit, taken: Arc::new(Crowd::light()) }
    }

    fn is_empty(&self) -> bool {
        self.taken.len() == 0
    }

    fn take(&self) -> Option<Place> {
        (self.taken.len() < self.limit).then(|| {
            self.taken.add();
            Place(Arc::clone(&self.taken))
        })
    }
}
