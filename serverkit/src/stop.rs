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

use crate::Log;

/// The stop signal, SIGINT or SIGTERM, which asks the server to finish its work and end.
///
/// After the first signal, [`requested`](Self::requested) returns true. A second signal ends the process at
/// once. A signal does not end a blocking `accept`: std calls accept(2) again (signal(7)). So a server with
/// a blocking `accept` uses [`exit_on_signal`](Self::exit_on_signal) or
/// [`unblock_accept`](Self::unblock_accept), a server that runs tasks uses
/// [`asynchronous::StopSignal`](crate::asynchronous::StopSignal), and a server with one loop checks
/// [`requested`](Self::requested) in every turn.
#[derive(Debug)]
pub struct Stop {
    requested: Arc<AtomicBool>,
    #[cfg(unix)]
    signals: std::os::unix::net::UnixStream,
}

impl Stop {
    /// Starts to watch for the signals.
    ///
    /// # Errors
    ///
    /// If a signal handler cannot be set, or if the pair of sockets to which it writes cannot be created.
    ///
    /// ```
    /// let stop = serverkit::Stop::on_signal()?;
    /// assert!(!stop.requested());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn on_signal() -> io::Result<Self> {
        let requested = Arc::new(AtomicBool::new(false));
        #[cfg(unix)]
        let (signals, write_end) = std::os::unix::net::UnixStream::pair()?;
        for signal in [SIGINT, SIGTERM] {
            // The order matters: the first signal finds the flag not set, and sets it; the second ends the
            // process.
            flag::register_conditional_shutdown(signal, 0, Arc::clone(&requested))?;
            flag::register(signal, Arc::clone(&requested))?;
            #[cfg(unix)]
            signal_hook::low_level::pipe::register(signal, write_end.try_clone()?)?;
        }
        Ok(Stop {
            requested,
            #[cfg(unix)]
            signals,
        })
    }

    /// Reports whether a signal has been received.
    ///
    /// ```standalone_crate
    /// use signal_hook::{consts::SIGTERM, low_level::raise};
    /// use serverkit::Stop;
    ///
    /// let stop = Stop::on_signal()?;
    /// assert!(!stop.requested());
    /// raise(SIGTERM)?; // does what kill(1) does, from inside the process
    /// assert!(stop.requested());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn requested(&self) -> bool {
        self.requested.load(Ordering::SeqCst)
    }

    /// Starts a thread that ends the process with exit code 0 when a signal is received: for a server that
    /// has nothing to finish.
    ///
    /// # Errors
    ///
    /// If a signal handler cannot be set, or the thread cannot be started.
    ///
    /// ```standalone_crate
    /// use std::{thread, time::Duration};
    /// use signal_hook::{consts::SIGTERM, low_level::raise};
    /// use serverkit::Stop;
    ///
    /// Stop::exit_on_signal()?;
    /// raise(SIGTERM)?; // does what kill(1) does, from inside the process
    /// thread::park_timeout(Duration::from_mins(1)); // stands for serving
    /// unreachable!("the process has ended, with exit code 0");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn exit_on_signal() -> io::Result<()> {
        let stop = Self::on_signal()?;
        spawn(move || {
            stop.wait();
            Log::flush();
            process::exit(0);
        })
    }

    /// Starts a thread that shuts down `listener` when a signal is received. A blocking `accept` then
    /// returns, with an error or with a last connection, and [`requested`](Self::requested) returns true.
    ///
    /// # Errors
    ///
    /// If the thread cannot be started, or any error of [`TcpListener::local_addr`].
    ///
    /// ```standalone_crate
    /// use signal_hook::{consts::SIGTERM, low_level::raise};
    /// use serverkit::Stop;
    /// use tincanchat::create_listen_socket;
    /// # std::thread::spawn(|| {
    /// #     std::thread::park_timeout(std::time::Duration::from_mins(1));
    /// #     std::process::exit(1); // an example that hangs has failed
    /// # });
    ///
    /// let listener = create_listen_socket("127.0.0.1", 0)?;
    /// let stop = Stop::on_signal()?.unblock_accept(&listener)?;
    /// raise(SIGTERM)?; // does what kill(1) does, from inside the process
    /// let accepted = listener.accept(); // returns although no client connects
    /// assert!(stop.requested());
    /// # drop(accepted);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn unblock_accept(self, listener: &TcpListener) -> io::Result<Arc<Self>> {
        let addr = reachable(listener.local_addr()?);
        let listener = listener.try_clone()?;
        let stop = Arc::new(self);
        let requested = Arc::clone(&stop);
        spawn(move || {
            stop.wait();
            // On Linux, this makes accept return. On other systems it fails, so a connection from this
            // process makes accept return.
            if SockRef::from(&listener).shutdown(std::net::Shutdown::Both).is_err() {
                let _ = TcpStream::connect_timeout(&addr, Duration::from_secs(1));
            }
        })?;
        Ok(requested)
    }

    /// Blocks until a signal is received.
    #[cfg(unix)]
    pub(crate) fn wait(&self) {
        use std::io::Read as _;
        while !self.requested() {
            // Each signal writes one byte.
            let _ = (&self.signals).read(&mut [0]);
        }
        info!("Shutting down");
    }

    /// Blocks until a signal is received.
    #[cfg(not(unix))]
    pub(crate) fn wait(&self) {
        while !self.requested() {
            thread::sleep(Duration::from_millis(100));
        }
        info!("Shutting down");
    }
}

/// Starts the thread that waits for a signal.
pub(crate) fn spawn(task: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let started = thread::Builder::new().name("signals".to_owned()).spawn(task);
    started.map(drop).map_err(|err| {
        io::Error::new(err.kind(), format!("cannot start the thread that waits for signals: {err}"))
    })
}

/// Returns an address at which this machine can reach its own listener, which may listen on all addresses.
fn reachable(mut addr: SocketAddr) -> SocketAddr {
    if addr.ip().is_unspecified() {
        addr.set_ip(match addr {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    addr
}
