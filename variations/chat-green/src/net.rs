//! Sockets with the face of std's, on which a green thread waits instead of a thread of the system.

use std::cell::Cell;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{self, Shutdown, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mio::event::Source;
use tincanchat::Blocking;

use crate::hub;

pub struct TcpListener {
    sock: Sock<mio::net::TcpListener>,
    /// How many connections have been accepted without a wait between them.
    in_a_row: Cell<usize>,
}

/// The most connections that are accepted in a row before the others get a turn. With fewer, a client that
/// has already connected might miss the next message.
const ACCEPT_TURN: usize = 64;

pub struct TcpStream {
    sock: Sock<mio::net::TcpStream>,
    read_timeout: Timeout,
    write_timeout: Timeout,
}

/// A socket that does not block, and the number by which the hub knows it.
struct Sock<S>(S, usize);

impl<S: Source> Sock<S> {
    fn new(mut sock: S) -> io::Result<Self> {
        let number = hub::register(&mut sock)?;
        Ok(Sock(sock, number))
    }

    /// Calls again whenever there is news of the socket, until the call does not have to wait any more,
    /// or the time is over: then it is an error, `WouldBlock`, as with std's timeouts.
    fn until_ready<T>(
        &self,
        timeout: Option<Duration>,
        mut call: impl FnMut(&S) -> io::Result<T>,
    ) -> io::Result<T> {
        let until = timeout.map(|timeout| Instant::now() + timeout);
        let is_late = || until.is_some_and(|until| Instant::now() >= until);
        let mut has_waited = false;
        loop {
            match call(&self.0) {
                Err(err) if err.kind() == ErrorKind::WouldBlock && !is_late() => {
                    hub::wait(self.1, until);
                    has_waited = true;
                }
                // A signal came. The caller's own retry would start its timeout anew.
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                result => {
                    if !has_waited {
                        hub::yield_now(); // who never has to wait would let nobody else run
                    }
                    return result;
                }
            }
        }
    }
}

impl TcpListener {
    pub fn new(listener: net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let sock = Sock::new(mio::net::TcpListener::from_std(listener))?;
        Ok(TcpListener { sock, in_a_row: Cell::new(0) })
    }

    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        if self.in_a_row.replace(self.in_a_row.get() + 1) == ACCEPT_TURN {
            self.in_a_row.set(0);
            hub::yield_now();
        }
        let (sock, addr) = loop {
            match self.sock.0.accept() {
                Err(err) if err.kind() == ErrorKind::WouldBlock => {
                    self.in_a_row.set(0);
                    hub::wait(self.sock.1, None);
                }
                result => break result?,
            }
        };
        let (read_timeout, write_timeout) = Default::default();
        Ok((TcpStream { sock: Sock::new(sock)?, read_timeout, write_timeout }, addr))
    }
}

impl TcpStream {
    pub fn shutdown(&self, half: Shutdown) -> io::Result<()> {
        self.sock.0.shutdown(half)
    }
}

impl Read for &TcpStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.sock.until_ready(self.read_timeout.get(), |mut sock| sock.read(buf))
    }
}

impl Write for &TcpStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.sock.until_ready(self.write_timeout.get(), |mut sock| sock.write_vectored(slices))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Blocking for TcpStream {
    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.read_timeout.set(timeout);
        Ok(())
    }

    fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.write_timeout.set(timeout);
        Ok(())
    }

    fn shutdown(&self, half: Shutdown) -> io::Result<()> {
        self.shutdown(half)
    }
}

#[derive(Default)]
struct Timeout(Mutex<Option<Duration>>);

impl Timeout {
    fn get(&self) -> Option<Duration> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, timeout: Option<Duration>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = timeout;
    }
}
