use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use socket2::SockRef;
use tracing::info;

use super::Log;

/// What SIGINT and SIGTERM ask for: an end in good order.
///
/// The first signal is a request, which the server sees by [`requested`](Self::requested); the
/// second ends the process at once. A signal wakes no thread that blocks in `accept` (Rust calls it
/// again, signal(7)), so something else must: [`wake`](Self::wake), [`exit`](Self::exit), or on
/// Unix the descriptor, for a loop that waits for readiness.
#[derive(Debug)]
pub struct Shutdown {
    requested: Arc<AtomicBool>,
    #[cfg(unix)]
    signals: std::os::unix::net::UnixStream,
}

impl Shutdown {
    /// Begins to watch for the signals.
    ///
    /// # Errors
    ///
    /// Those of setting a signal handler, and of making a pair of sockets for it to write to.
    ///
    /// ```
    /// let shutdown = tincanchat::cli::Shutdown::on_signal()?;
    /// assert!(!shutdown.requested());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn on_signal() -> io::Result<Self> {
        let requested = Arc::new(AtomicBool::new(false));
        #[cfg(unix)]
        let (signals, write_end) = std::os::unix::net::UnixStream::pair()?;
        for signal in [SIGINT, SIGTERM] {
            // In this order: the second signal finds the flag set, the first does not.
            flag::register_conditional_shutdown(signal, 0, Arc::clone(&requested))?;
            flag::register(signal, Arc::clone(&requested))?;
            #[cfg(unix)]
            signal_hook::low_level::pipe::register(signal, write_end.try_clone()?)?;
        }
        Ok(Shutdown {
            requested,
            #[cfg(unix)]
            signals,
        })
    }

    /// Whether a signal has come.
    ///
    /// ```standalone_crate
    /// use signal_hook::{consts::SIGTERM, low_level::raise};
    /// use tincanchat::cli::Shutdown;
    ///
    /// let shutdown = Shutdown::on_signal()?;
    /// assert!(!shutdown.requested());
    /// raise(SIGTERM)?; // what `kill` does, from within
    /// assert!(shutdown.requested());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn requested(&self) -> bool {
        self.requested.load(Ordering::SeqCst)
    }

    /// Starts a thread that ends the process, with exit code 0, when a signal comes: enough for a
    /// server that has nothing to finish.
    ///
    /// # Errors
    ///
    /// Those of starting a thread.
    ///
    /// ```standalone_crate
    /// use std::{thread, time::Duration};
    /// use signal_hook::{consts::SIGTERM, low_level::raise};
    /// use tincanchat::cli::Shutdown;
    ///
    /// Shutdown::on_signal()?.exit()?;
    /// raise(SIGTERM)?; // what `kill` does, from within
    /// thread::park_timeout(Duration::from_mins(1)); // stands for serving
    /// unreachable!("the process has ended, with exit code 0");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn exit(self) -> io::Result<()> {
        spawn(move || {
            self.wait();
            Log::see_off();
            process::exit(0);
        })
    }

    /// Starts a thread that closes the port when a signal comes, so that an `accept` which waits on
    /// `listener` returns, with an error or a last connection, and finds the shutdown requested.
    ///
    /// # Errors
    ///
    /// Those of starting a thread, and of asking the listener for its address.
    ///
    /// ```standalone_crate
    /// use signal_hook::{consts::SIGTERM, low_level::raise};
    /// use tincanchat::{cli::Shutdown, create_listen_socket};
    /// # std::thread::spawn(|| {
    /// #     std::thread::park_timeout(std::time::Duration::from_mins(1));
    /// #     std::process::exit(1); // an example that hangs has failed
    /// # });
    ///
    /// let listener = create_listen_socket("127.0.0.1", 0)?;
    /// let shutdown = Shutdown::on_signal()?.wake(&listener)?;
    /// raise(SIGTERM)?; // what `kill` does, from within
    /// let accepted = listener.accept(); // though nobody connects, it returns
    /// assert!(shutdown.requested());
    /// # drop(accepted);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn wake(self, listener: &TcpListener) -> io::Result<Arc<Self>> {
        let addr = reachable(listener.local_addr()?);
        let listener = listener.try_clone()?;
        let shutdown = Arc::new(self);
        let requested = Arc::clone(&shutdown);
        spawn(move || {
            shutdown.wait();
            // On Linux this ends the listening, and accept returns; elsewhere it is an error, and a
            // connection of our own makes accept return.
            if SockRef::from(&listener).shutdown(std::net::Shutdown::Both).is_err() {
                let _ = TcpStream::connect_timeout(&addr, Duration::from_secs(1));
            }
        })?;
        Ok(requested)
    }

    #[cfg(unix)]
    fn wait(&self) {
        use std::io::Read as _;
        while !self.requested() {
            // Each signal writes one byte.
            let _ = (&self.signals).read(&mut [0]);
        }
        info!("Shutting down");
    }

    #[cfg(not(unix))]
    fn wait(&self) {
        while !self.requested() {
            thread::sleep(Duration::from_millis(100));
        }
        info!("Shutting down");
    }
}

/// The descriptor becomes readable when a signal comes.
#[cfg(unix)]
impl std::os::fd::AsRawFd for Shutdown {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.signals.as_raw_fd()
    }
}

fn spawn(task: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let started = thread::Builder::new().name("signals".to_owned()).spawn(task);
    started.map(drop).map_err(|err| {
        io::Error::new(err.kind(), format!("cannot start the thread that waits for signals: {err}"))
    })
}

/// An address at which this machine reaches its own listener.
fn reachable(mut addr: SocketAddr) -> SocketAddr {
    if addr.ip().is_unspecified() {
        addr.set_ip(match addr {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    addr
}
