use std::io::{ErrorKind, Read};
use std::net::Shutdown;
#[cfg(unix)]
use std::os::fd::AsFd as AsSock;
#[cfg(windows)]
use std::os::windows::io::AsSocket as AsSock;
use std::time::Instant;

use socket2::SockRef;

use crate::{DRAIN, LINGER};

/// The most reads in one step, each of up to 4 KiB: a client that never stops sending must not hold up the
/// others.
const READS: usize = 16;

/// The closing of a connection on a non-blocking socket, step by step, so that a loop can serve other
/// clients between the steps.
///
/// The queue has up to [`DRAIN`] to become empty. Then the sending side is shut down, so that the peer
/// reads the end of the stream after the last byte. Then, for up to [`LINGER`], input is read and discarded
/// until the peer closes its side too. A socket that is closed with unread input sends a reset, which can
/// destroy the last bytes sent (RFC 2525, section 2.17).
///
/// ```
/// use std::io::{Read, Write};
/// use std::net::{TcpListener, TcpStream};
/// use tincanchat::Closing;
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let mut client = TcpStream::connect(listener.local_addr()?)?;
/// let (mut sock, _) = listener.accept()?;
/// sock.set_nonblocking(true)?;
///
/// let mut closing = Closing::start();
/// assert!(!closing.advance(&mut sock, false)); // something is still queued
/// sock.write_all(b"bye\0")?;
/// assert!(!closing.advance(&mut sock, true)); // the client has not closed its side yet
///
/// let mut received = String::new();
/// client.read_to_string(&mut received)?;
/// assert_eq!(received, "bye\0");
/// drop(client);
/// while !closing.advance(&mut sock, true) {}
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Closing {
    deadline: Instant,
    is_shut_down: bool,
}

impl Closing {
    /// Starts to close a connection that still works: queued bytes may still be sent.
    #[must_use]
    pub fn start() -> Self {
        Closing { deadline: Instant::now() + DRAIN, is_shut_down: false }
    }

    /// Starts to close a connection that has failed: the next step is the last.
    ///
    /// ```
    /// use std::net::{TcpListener, TcpStream};
    /// use tincanchat::Closing;
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let _client = TcpStream::connect(listener.local_addr()?)?;
    /// let (mut sock, _) = listener.accept()?;
    /// sock.set_nonblocking(true)?;
    ///
    /// // Something is queued, and the client has not closed its side: neither matters any more.
    /// assert!(Closing::at_once().advance(&mut sock, false));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn at_once() -> Self {
        Closing { deadline: Instant::now(), is_shut_down: false }
    }

    /// Takes the next step, if it is due, and reports whether the socket can be closed.
    ///
    /// Call it whenever something has been received or sent, and a few times a second. `has_sent_all` says
    /// whether the client's queue is empty.
    pub fn advance<S: AsSock + Read>(&mut self, sock: &mut S, has_sent_all: bool) -> bool {
        let now = Instant::now();
        if has_sent_all && !self.is_shut_down {
            // Only once: each shutdown causes an event, and the loop would call this again at once.
            self.is_shut_down = true;
            let _ = SockRef::from(&*sock).shutdown(Shutdown::Write); // fails if the peer has reset it
            self.deadline = self.deadline.min(now + LINGER);
        }
        let is_closed = self.is_shut_down && discard_input(sock);
        is_closed || now >= self.deadline
    }
}

/// Reads and discards input; reports whether the peer has closed its side.
fn discard_input(sock: &mut impl Read) -> bool {
    let mut discarded = [0; 4096];
    for _ in 0..READS {
        match sock.read(&mut discarded) {
            Ok(0) => return true,
            Ok(_) => {}
            // There is no more input for now, or a signal came.
            Err(err) if matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return false;
            }
            // The connection has failed, for example because of a reset.
            Err(_) => return true,
        }
    }
    false
}
