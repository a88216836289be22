//! Sockets with the methods of std's sockets. Where a socket of std would block the thread of the operating
//! system, these sockets let the other green threads run.
//!
//! Each is a non-blocking socket of mio that is registered with the hub. When a call on it fails with
//! `WouldBlock`, the green thread waits until the hub wakes it, and then calls again.

use std::cell::Cell;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{self, Shutdown, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mio::event::Source;
use tincanchat::TimedSock;

use crate::hub::{self, SourceId};

/// The most connections that are accepted in a row. With more, the clients would wait too long; with fewer,
/// a client that has already connected might miss the next message.
const ACCEPT_TURN: usize = 64;

/// A listener with the methods of `std::net::TcpListener` that are needed here.
pub struct TcpListener {
    sock: Registered<mio::net::TcpListener>,
    /// How many connections have been accepted since the other threads last had a turn.
    accepted_in_a_row: Cell<usize>,
}

/// A connection with the methods of `std::net::TcpStream` that are needed here.
pub struct TcpStream {
    sock: Registered<mio::net::TcpStream>,
    read_timeout: Timeout,
    write_timeout: Timeout,
}

/// A non-blocking socket of mio, and the number under which it is registered with the hub.
struct Registered<S> {
    sock: S,
    source: SourceId,
}

/// How long a call may wait; `None` means without a limit.
///
/// The time is in a `Mutex` because `main.rs` shares a socket in an `Arc`, as chat-threads does, and clippy
/// wants the content of an `Arc` to be `Sync`. No thread ever waits for this lock.
#[derive(Default)]
struct Timeout {
    time: Mutex<Option<Duration>>,
}

impl TcpListener {
    /// Makes a listener from a listener of std. Returns an error if it cannot be registered with the hub.
    pub fn new(listener: net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let sock = Registered::new(mio::net::TcpListener::from_std(listener))?;
        Ok(TcpListener { sock, accepted_in_a_row: Cell::new(0) })
    }

    /// Waits until a client connects, and returns its socket and address. Returns an error if there are no
    /// descriptors left, for example, or if the listener has been shut down.
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        if self.accepted_in_a_row.get() == ACCEPT_TURN {
            hub::yield_now();
            self.accepted_in_a_row.set(0);
        }
        loop {
            match self.sock.sock.accept() {
                Ok((sock, addr)) => {
                    self.accepted_in_a_row.update(|count| count + 1);
                    return Ok((TcpStream::new(sock)?, addr));
                }
                // No connection is waiting.
                Err(err) if err.kind() == ErrorKind::WouldBlock => {
                    hub::wait(self.sock.source, None);
                    self.accepted_in_a_row.set(0);
                }
                Err(err) => return Err(err),
            }
        }
    }
}

impl TcpStream {
    fn new(sock: mio::net::TcpStream) -> io::Result<Self> {
        let sock = Registered::new(sock)?;
        Ok(TcpStream { sock, read_timeout: Timeout::default(), write_timeout: Timeout::default() })
    }

    /// Sets how long a write may wait from now on. After that time it fails with `WouldBlock`.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.write_timeout.set(timeout)
    }

    /// Shuts down one direction, or both. This makes the socket ready, so it ends a read that waits in
    /// another thread.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.sock.sock.shutdown(how)
    }
}

impl<S: Source> Registered<S> {
    fn new(mut sock: S) -> io::Result<Self> {
        let source = hub::register(&mut sock)?;
        Ok(Registered { sock, source })
    }

    /// Makes a call on the socket. Whenever the call fails with `WouldBlock`, waits until the socket may be
    /// ready, and makes the call again. Returns `WouldBlock` only when the timeout has passed.
    fn call_when_ready<T>(
        &self,
        timeout: Option<Duration>,
        mut call: impl FnMut(&S) -> io::Result<T>,
    ) -> io::Result<T> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        let mut has_waited = false;
        loop {
            match call(&self.sock) {
                // There is nothing to read, or the kernel has no space for the bytes to be written.
                Err(err) if err.kind() == ErrorKind::WouldBlock => {
                    if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                        return Err(err);
                    }
                    hub::wait(self.source, deadline);
                    has_waited = true;
                }
                // A signal came. The call is repeated here, because a caller that repeated it would start
                // the timeout again.
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                result => {
                    if !has_waited {
                        // Otherwise a client that never stops sending would keep all other green threads
                        // from running.
                        hub::yield_now();
                    }
                    return result;
                }
            }
        }
    }
}

impl Read for &TcpStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.sock.call_when_ready(self.read_timeout.get(), |mut sock| sock.read(buf))
    }
}

impl Write for &TcpStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let timeout = self.write_timeout.get();
        self.sock.call_when_ready(timeout, |mut sock| sock.write_vectored(slices))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TimedSock for TcpStream {
    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.read_timeout.set(timeout)
    }

    fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.set_write_timeout(timeout)
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.shutdown(how)
    }
}

impl Timeout {
    fn get(&self) -> Option<Duration> {
        *self.time.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, time: Option<Duration>) -> io::Result<()> {
        if time == Some(Duration::ZERO) {
            return Err(ErrorKind::InvalidInput.into()); // as in std
        }
        *self.time.lock().unwrap_or_else(PoisonError::into_inner) = time;
        Ok(())
    }
}
