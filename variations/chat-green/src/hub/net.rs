//! Sockets as those of std, on which a green thread waits instead of a thread of the system.

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{self, Shutdown, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mio::{Interest, Token, event::Source};
use tincanchat::Blocking;

use super::{HUB, Hub, current, park};

pub struct TcpListener(Sock<mio::net::TcpListener>);

pub struct TcpStream {
    sock: Sock<mio::net::TcpStream>,
    read_timeout: Mutex<Option<Duration>>,
    write_timeout: Mutex<Option<Duration>>,
}

/// A socket that does not block, and the name by which the hub knows it.
struct Sock<S> {
    sock: S,
    token: Token,
}

impl<S: Source> Sock<S> {
    fn new(mut sock: S) -> io::Result<Self> {
        let token = Token(HUB.with(Hub::new_id).try_into().map_err(io::Error::other)?);
        let interest = Interest::READABLE | Interest::WRITABLE;
        HUB.with(|hub| match &*hub.registry.borrow() {
            Some(registry) => registry.register(&mut sock, token, interest),
            None => Err(ErrorKind::NotConnected.into()),
        })?;
        Ok(Sock { sock, token })
    }

    /// Tries again at every change of the socket, until the call does not have to wait any more, or
    /// the time is over: then it is an error, `WouldBlock`, as with std's timeouts.
    fn until_ready<T>(
        &self,
        timeout: Option<Duration>,
        mut call: impl FnMut(&S) -> io::Result<T>,
    ) -> io::Result<T> {
        let until = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            match call(&self.sock) {
                Err(err) if err.kind() == ErrorKind::WouldBlock => {}
                result => return result,
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                return Err(ErrorKind::WouldBlock.into());
            }
            let waiting = (self.token, current());
            HUB.with(|hub| hub.waiting.borrow_mut().insert(waiting));
            park(until);
            HUB.with(|hub| hub.waiting.borrow_mut().remove(&waiting));
        }
    }
}

impl TcpListener {
    pub fn new(listener: net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(TcpListener(Sock::new(mio::net::TcpListener::from_std(listener))?))
    }

    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (sock, addr) = self.0.until_ready(None, mio::net::TcpListener::accept)?;
        let (read_timeout, write_timeout) = (Mutex::default(), Mutex::default());
        Ok((TcpStream { sock: Sock::new(sock)?, read_timeout, write_timeout }, addr))
    }
}

impl TcpStream {
    pub fn shutdown(&self, half: Shutdown) -> io::Result<()> {
        self.sock.sock.shutdown(half)
    }
}

impl Read for &TcpStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let timeout = *self.read_timeout.lock().unwrap_or_else(PoisonError::into_inner);
        self.sock.until_ready(timeout, |mut sock| sock.read(buf))
    }
}

impl Write for &TcpStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let timeout = *self.write_timeout.lock().unwrap_or_else(PoisonError::into_inner);
        self.sock.until_ready(timeout, |mut sock| sock.write_vectored(slices))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Blocking for TcpStream {
    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        *self.read_timeout.lock().unwrap_or_else(PoisonError::into_inner) = timeout;
        Ok(())
    }

    fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        *self.write_timeout.lock().unwrap_or_else(PoisonError::into_inner) = timeout;
        Ok(())
    }

    fn shutdown(&self, half: Shutdown) -> io::Result<()> {
        self.shutdown(half)
    }
}
