//! The accept loop, the signals, and the exchange with a client: the same for processes and for threads.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;
use nix::sys::select::{FD_SETSIZE, FdSet, pselect};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::time::TimeSpec;
use serverkit::{Admission, Admitted, Permit, ServerArgs, Stop, announce, trace};
use signal_hook::consts::{SIGCHLD, SIGINT, SIGTERM};
use signal_hook::flag;
use tincanchat::{close_answered, create_listen_socket, printable, retry_interrupted};
use tracing::info;

/// The most bytes of a request. A request is the bytes that one read returns.
const MAX_REQUEST: usize = 1024;

/// Starts and ends the workers that serve the clients. The methods are named as in Python's `socketserver`.
pub trait Mixin {
    /// Prints on stdout the address at which the server listens.
    fn announce(&mut self, listener: &TcpListener) -> io::Result<()> {
        announce(listener)
    }

    /// Starts a worker that serves a client, without waiting for the worker.
    ///
    /// A worker that is a process has a copy of the listener, and must close it: while a copy is open, the
    /// port is in use. To close it, the worker takes the listener out of the `Option`.
    fn process_request(
        &mut self,
        sock: TcpStream,
        permit: Permit,
        listener: &mut Option<TcpListener>,
    );

    /// Does what is due in every turn of the accept loop.
    fn service_actions(&mut self) {}

    /// Ends the workers that are still running.
    fn server_close(&mut self) {}
}

/// Listens, and serves clients until SIGINT or SIGTERM.
pub fn run(args: &ServerArgs, signals: &Signals, mut mixin: impl Mixin) -> Result<()> {
    // Up to 1,024 connections wait in the listener's backlog. The kernel ignores further ones, whose
    // clients try again for a while.
    let listener = create_listen_socket(&args.host, args.port)?;
    // A set of descriptors for select(2) has 1,024 bits, and this process may have inherited more open
    // descriptors than that.
    let fd = listener.as_raw_fd();
    ensure!(
        usize::try_from(fd).is_ok_and(|fd| fd < FD_SETSIZE),
        "cannot wait for connections: select(2) watches descriptors below {FD_SETSIZE}, and the \
         listener is descriptor {fd}"
    );
    mixin.announce(&listener)?; // prints: Listening on ADDR
    serve(listener, args, signals, mixin)
}

fn serve(
    listener: TcpListener,
    args: &ServerArgs,
    signals: &Signals,
    mut mixin: impl Mixin,
) -> Result<()> {
    // A client may reset its connection after pselect has reported it and before it is accepted. A blocking
    // accept would then wait for the next client, and not notice any signal.
    listener.set_nonblocking(true)?;
    let mut listener = Some(listener);
    // --max-clients, or else 1,024, as for threads, since a process takes even more memory.
    let mut admission = Admission::new(args.client_limit_with_threads(1));
    let mut pause = Duration::ZERO;
    // The listener is taken out only in a worker, by `process_request`, which then does not return.
    while let Some(open) = &listener {
        wait(open, pause)?;
        if signals.stop_requested() {
            break; // otherwise, `service_actions` would log that Ctrl-C has ended the workers
        }
        mixin.service_actions();
        pause = Duration::ZERO;
        let accepted = trace("accept", || open.accept());
        // No client is waiting. The wait has ended because of a signal, a reset, or the end of a pause.
        if matches!(&accepted, Err(err) if err.kind() == ErrorKind::WouldBlock) {
            continue;
        }
        match admission.admit(accepted) {
            Admitted::Client(sock, _, permit) => mixin.process_request(sock, permit, &mut listener),
            // The client reads the end of the stream instead of an answer.
            Admitted::Full(sock, ..) => drop(sock),
            // accept has failed, which is logged. The pause is zero if the error concerns only one
            // connection, such as a reset by its client. For any other error, such as a lack of
            // descriptors, it is 10 ms, and doubles with each such error, up to 1 s. When no such error has
            // come for 2 s, it starts at 10 ms again.
            Admitted::Retry(time) => pause = time,
        }
    }
    info!("Shutting down");
    drop(listener);
    mixin.server_close();
    Ok(())
}

/// Waits until a client connects or one of the [`Signals`] arrives. If `pause` is not zero, waits only for
/// the end of the pause or a signal.
fn wait(listener: &TcpListener, pause: Duration) -> Result<()> {
    let mut readable = FdSet::new();
    let mut timeout = None;
    if pause.is_zero() {
        readable.insert(listener.as_fd());
    } else {
        timeout = Some(TimeSpec::from_duration(pause));
    }
    // The last argument is the set of signals that are blocked while pselect waits: none.
    match pselect(None, &mut readable, None, None, timeout.as_ref(), &SigSet::empty()) {
        // EINTR: a signal has arrived.
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(err) => Err(err).context("pselect"),
    }
}

/// Receives one request and answers it. Runs in a worker, whose name is `worker`.
pub fn handle_client(mut sock: TcpStream, addr: SocketAddr, worker: &str) -> Result<()> {
    // On some systems, such as macOS, an accepted socket is non-blocking if its listener is.
    sock.set_nonblocking(false)?;
    let mut request = [0; MAX_REQUEST];
    // Blocks until something arrives, however long that takes.
    let read = || retry_interrupted(|| sock.read(&mut request));
    let len = trace("read", read).context("receiving")?;
    if len == 0 {
        return Ok(()); // the client has shut down its sending side without a request
    }
    let text = trim(&request[..len]);
    info!("{addr}: {}", printable(&String::from_utf8_lossy(text)));
    let answer = [worker.as_bytes(), b": ", text].concat();
    // Blocks until the kernel has accepted all of it.
    trace("write", || sock.write_all(&answer)).context("sending")?;
    // If there is unread input, reads and discards it for up to 500 ms: closing a socket with unread input
    // sends a reset, which can destroy the answer.
    close_answered(sock);
    Ok(())
}

/// Returns a request without the white space at its beginning and end. If the request is not UTF-8, for
/// example because the read has ended in the middle of a character, only ASCII white space is removed.
fn trim(request: &[u8]) -> &[u8] {
    match std::str::from_utf8(request) {
        Ok(text) => text.trim().as_bytes(),
        Err(_) => request.trim_ascii(),
    }
}

/// SIGINT, SIGTERM and SIGCHLD, which arrive only while the accept loop waits.
///
/// If a signal arrived after the loop has checked the flag and before it waits, the signal would not end
/// the wait. So the signals are blocked, and pselect(2) unblocks them only while it waits. In a new
/// process, the same signals are blocked, so a worker can first choose what they do to it.
pub struct Signals {
    stop: Stop,
    is_worker: Arc<AtomicBool>,
}

impl Signals {
    /// Blocks the signals in this thread, and in the threads and processes that it starts from now on.
    ///
    /// # Errors
    ///
    /// The errors of setting signal handlers and of blocking signals.
    pub fn block() -> Result<Self> {
        let signals = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGCHLD];
        SigSet::from_iter(signals).thread_block()?;
        let is_worker = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // The actions of a signal run in the order in which they were registered. This action is the
            // first: it ends a worker before the server's own actions run.
            flag::register_conditional_default(signal, Arc::clone(&is_worker))?;
        }
        let stop = Stop::on_signal()?;
        // When a child process ends, the wait must end too. A signal ends it if the signal has a handler,
        // whatever the handler does.
        flag::register(SIGCHLD, Arc::default())?;
        Ok(Signals { stop, is_worker })
    }

    /// Reports whether SIGINT or SIGTERM has arrived.
    fn stop_requested(&self) -> bool {
        self.stop.requested()
    }

    /// Makes SIGINT and SIGTERM end this process at once, as they do by default. A worker calls this, since
    /// it has nothing to finish.
    ///
    /// # Errors
    ///
    /// The errors of unblocking signals.
    pub fn end_this_process(&self) -> Result<()> {
        self.is_worker.store(true, Ordering::SeqCst);
        SigSet::empty().thread_set_mask()?;
        Ok(())
    }
}
