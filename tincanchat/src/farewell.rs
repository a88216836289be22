use std::io::{ErrorKind, Read};
use std::net::Shutdown;
#[cfg(unix)]
use std::os::fd::AsFd as AsSock;
#[cfg(windows)]
use std::os::windows::io::AsSocket as AsSock;
use std::time::Instant;

use socket2::SockRef;

use crate::{DRAIN, LINGER};

/// How much is read away before others get their turn, in reads of 4 KiB.
const READS: usize = 16;

/// The end of a connection on a socket that does not block: [`close_gently`](crate::close_gently)
/// for a loop, in steps.
///
/// What is queued has [`DRAIN`] to leave; then the sending side is shut down, so that the peer sees
/// the end after the last byte, and for [`LINGER`] at most what the peer sends is read away, until
/// it closes as well.
///
/// ```
/// use std::io::{Read, Write};
/// use std::net::{TcpListener, TcpStream};
/// use tincanchat::Farewell;
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let mut client = TcpStream::connect(listener.local_addr()?)?;
/// let (mut sock, _) = listener.accept()?;
/// sock.set_nonblocking(true)?;
///
/// let mut farewell = Farewell::begin();
/// assert!(!farewell.is_over(&mut sock, false)); // something is queued yet
/// sock.write_all(b"bye\0")?;
/// assert!(!farewell.is_over(&mut sock, true)); // the client has not closed yet
///
/// let mut last_words = String::new();
/// client.read_to_string(&mut last_words)?;
/// drop(client);
/// while !farewell.is_over(&mut sock, true) {}
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Farewell {
    gone_by: Instant,
    is_shut_down: bool,
}

impl Farewell {
    /// The end of a connection that works: there is time for what is queued.
    #[must_use]
    pub fn begin() -> Self {
        Farewell { gone_by: Instant::now() + DRAIN, is_shut_down: false }
    }

    /// The end of a connection that has failed: it is over.
    ///
    /// ```
    /// use std::net::{TcpListener, TcpStream};
    /// use tincanchat::Farewell;
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let _client = TcpStream::connect(listener.local_addr()?)?;
    /// let (mut sock, _) = listener.accept()?;
    /// sock.set_nonblocking(true)?;
    ///
    /// // Something is queued, and the client has not closed: it makes no difference any more.
    /// assert!(Farewell::at_once().is_over(&mut sock, false));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn at_once() -> Self {
        Farewell { gone_by: Instant::now(), is_shut_down: false }
    }

    /// Takes the next step, if its time has come, and says whether the socket can be closed. To be
    /// asked from time to time, and when something has arrived or has been sent.
    pub fn is_over<S: AsSock + Read>(&mut self, sock: &mut S, has_sent_all: bool) -> bool {
        let now = Instant::now();
        if has_sent_all && !self.is_shut_down {
            // Once: to the loop, each shutdown is an event, and the next turn would come at once.
            self.is_shut_down = true;
            let _ = SockRef::from(&*sock).shutdown(Shutdown::Write);
            self.gone_by = self.gone_by.min(now + LINGER);
        }
        let is_closed = self.is_shut_down && has_peer_closed(sock);
        is_closed || now >= self.gone_by
    }
}

fn has_peer_closed(sock: &mut impl Read) -> bool {
    let mut thrown_away = [0; 4096];
    for _ in 0..READS {
        match sock.read(&mut thrown_away) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(err) => {
                return !matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted);
            }
        }
    }
    false
}
