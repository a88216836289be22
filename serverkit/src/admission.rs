use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tincanchat::{MAX_REFUSING, canonical};
use tracing::info;

use crate::accept_errors::AcceptErrors;
use crate::log_limit::{Reason, warn_limited};
use crate::memory::ClientCount;

/// Decides what to do with each result of `accept`: serve the client, refuse it, or try again.
///
/// It limits the number of clients, logs connections and refusals, and handles the errors of `accept`, none
/// of which ends the server. It does no I/O on the sockets, so it suits blocking, polling and async
/// servers.
///
/// ```
/// use std::net::{TcpListener, TcpStream};
/// use serverkit::{Admission, Admitted};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let mut admission = Admission::new(1);
/// let _first = TcpStream::connect(listener.local_addr()?)?;
/// let Admitted::Client(_sock, _addr, permit) = admission.admit(listener.accept()) else {
///     panic!("there was room for one client");
/// };
///
/// let _second = TcpStream::connect(listener.local_addr()?)?;
/// assert!(matches!(admission.admit(listener.accept()), Admitted::Full(..)));
///
/// drop(permit);
/// let _third = TcpStream::connect(listener.local_addr()?)?;
/// assert!(matches!(admission.admit(listener.accept()), Admitted::Client(..)));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Admission {
    clients: Permits,
    refusing: Permits,
    accept_errors: AcceptErrors,
}

/// What to do after an `accept`.
#[derive(Debug)]
pub enum Admitted<S> {
    /// Serve this client, and keep the permit as long as it is connected.
    Client(S, SocketAddr, Permit),
    /// The server has as many clients as it may have. If there is a permit, tell the client so, and keep
    /// the permit until that is done. There is no permit if [`MAX_REFUSING`] clients are being told
    /// already. Dropping the socket closes the connection.
    Full(S, SocketAddr, Option<Permit>),
    /// `accept` has failed, which is logged. Try again after this time. It is zero if the error concerns
    /// only one connection. For any other error, such as a lack of descriptors or memory, it is 10 ms,
    /// doubling up to 1 s: the next `accept` would fail in the same way (accept(2)). After 2 s without such
    /// an error, it is 10 ms again.
    Retry(Duration),
}

/// A client's share of the limit. Dropping it makes room for another client.
#[derive(Debug)]
pub struct Permit {
    addr: SocketAddr,
    count: Arc<ClientCount>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.count.remove();
    }
}

#[derive(Debug)]
struct Permits {
    limit: usize,
    count: Arc<ClientCount>,
}

impl Admission {
    /// Returns the admission for a server that may have up to `limit` clients at a time.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Admission {
            clients: Permits { limit, count: Arc::default() },
            refusing: Permits { limit: MAX_REFUSING, count: Arc::new(ClientCount::without_trim()) },
            accept_errors: AcceptErrors::default(),
        }
    }

    /// Takes the result of an `accept` and decides what to do with it. The address returned is [canonical].
    ///
    /// Logs `Connection from ADDR`, or the refusal, or the error.
    pub fn admit<S>(&mut self, accepted: io::Result<(S, SocketAddr)>) -> Admitted<S> {
        let (sock, addr) = match accepted {
            Ok(accepted) => accepted,
            Err(err) => return Admitted::Retry(self.accept_errors.pause(&err)),
        };
        let addr = canonical(addr);
        if let Some(permit) = self.clients.acquire(addr) {
            info!("Connection from {addr}");
            return Admitted::Client(sock, addr, permit);
        }
        warn_limited(Reason::Full, || format!("{addr}: refused, the server is full"));
        Admitted::Full(sock, addr, self.refusing.acquire(addr))
    }

    /// Reports whether no permit is in use: every client is gone, refused ones included.
    ///
    /// ```
    /// use serverkit::{Admission, Admitted};
    ///
    /// let mut admission = Admission::new(1);
    /// let client = admission.admit(Ok(("a socket", "127.0.0.1:50312".parse().unwrap())));
    /// assert!(!admission.is_idle());
    /// drop(client); // drops the permit too
    /// assert!(admission.is_idle());
    /// ```
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.clients.count.get() == 0 && self.refusing.count.get() == 0
    }
}

impl Permit {
    /// Returns the address of the client that has this permit.
    ///
    /// ```
    /// use std::net::{TcpListener, TcpStream};
    /// use serverkit::{Admission, Admitted};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let client = TcpStream::connect(listener.local_addr()?)?;
    /// let Admitted::Client(_sock, _addr, permit) = Admission::new(1).admit(listener.accept()) else {
    ///     panic!("there was room for one client");
    /// };
    /// assert_eq!(permit.addr(), client.local_addr()?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Permits {
    fn acquire(&self, addr: SocketAddr) -> Option<Permit> {
        if self.count.get() >= self.limit {
            return None;
        }
        self.count.add();
        Some(Permit { addr, count: Arc::clone(&self.count) })
    }
}
