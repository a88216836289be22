//! Sockets that read like blocking ones.

use std::io::{self, ErrorKind};
use std::rc::Rc;

use mio::Token;
use mio::event::Source;

use crate::reactor::{Event, Reactor};

/// A socket that does not block, and its place in the reactor's table. One task uses it.
pub struct Sock<S> {
    inner: S,
    token: Token,
    reactor: Rc<Reactor>,
}

impl<S: Source> Sock<S> {
    /// Takes a socket that does not block.
    ///
    /// # Errors
    ///
    /// Those of registering it: there is no memory, or no descriptor for a list of its events.
    pub fn new(mut inner: S, reactor: &Rc<Reactor>) -> io::Result<Self> {
        let token = reactor.register(&mut inner)?;
        Ok(Sock { inner, token, reactor: Rc::clone(reactor) })
    }

    /// Does something with the socket as soon as the kernel lets it: tries, waits, and tries again.
    ///
    /// An event that came before the first try is no loss, since the try finds what it was about;
    /// and none can come between the last try and the wait, since this thread asks for events only
    /// in between tasks.
    ///
    /// # Errors
    ///
    /// Those of the attempt, but for `WouldBlock`.
    pub async fn when_ready<T>(
        &mut self,
        mut attempt: impl FnMut(&mut S) -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            match attempt(&mut self.inner) {
                Err(err) if err.kind() == ErrorKind::WouldBlock => {
                    self.reactor.wait_for(Event::Socket(self.token)).await;
                }
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}
