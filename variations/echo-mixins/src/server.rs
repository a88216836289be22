//! What is the same whoever serves a client: the loop that accepts, the signals, one exchange.

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
use signal_hook::consts::{SIGCHLD, SIGINT, SIGTERM};
use signal_hook::flag;
use tincanchat::cli::{Door, Seat, ServerArgs, Shutdown, announce};
use tincanchat::{create_listen_socket, hang_up, printable, retry_interrupted, span};
use tracing::info;

/// The most bytes of a request: those of one read.
const REQUEST: usize = 1024;

/// What serves a client. The methods have their names from Python's `socketserver`.
pub trait Mixin {
    /// Says on stdout where the server listens.
    fn announce(&mut self, listener: &TcpListener) -> io::Result<()> {
        announce(listener)
    }

    /// Begins to serve a client, and does not wait for it. A worker that has the listener as well is
    /// to close it.
    fn process_request(&mut self, sock: TcpStream, seat: Seat, listener: &mut Option<TcpListener>);

    /// What is to be done in every turn of the loop.
    fn service_actions(&mut self) {}

    /// Ends what still serves.
    fn server_close(&mut self) {}
}

pub fn run(args: &ServerArgs, signals: &Signals, mut mixin: impl Mixin) -> Result<()> {
    let listener = create_listen_socket(&args.host, args.port)?;
    // select(2) cannot watch a higher one, and the program that started this one may have left many open.
    let fd = listener.as_raw_fd();
    ensure!(
        usize::try_from(fd).is_ok_and(|fd| fd < FD_SETSIZE),
        "cannot wait for connections: select(2) watches {FD_SETSIZE} descriptors, this is number {fd}"
    );
    mixin.announce(&listener)?;
    serve(listener, args, signals, mixin)
}

fn serve(
    listener: TcpListener,
    args: &ServerArgs,
    signals: &Signals,
    mut mixin: impl Mixin,
) -> Result<()> {
    listener.set_nonblocking(true)?; // whoever made it readable may have gone again
    let mut listener = Some(listener);
    let mut door = Door::new(args.client_limit(1));
    let mut pause = Duration::ZERO;
    loop {
        wait(listener.as_ref(), pause)?;
        if signals.ask_for_the_end() {
            break; // Ctrl-C ends the workers, too: that is nothing to warn of
        }
        mixin.service_actions();
        let Some(accepted) = listener.as_ref().map(TcpListener::accept) else { break };
        if matches!(&accepted, Err(err) if err.kind() == ErrorKind::WouldBlock) {
            pause = Duration::ZERO;
            continue;
        }
        pause = match door.admit(span("accept").over(accepted)) {
            Err(pause) => pause,
            Ok((sock, _, seat)) => {
                sock.set_nonblocking(false)?; // where it has that from the listener
                mixin.process_request(sock, seat, &mut listener);
                Duration::ZERO
            }
        };
    }
    info!("Shutting down");
    drop(listener);
    mixin.server_close();
    Ok(())
}

/// One exchange, in a worker of that name.
pub fn handle_client(mut sock: TcpStream, addr: SocketAddr, worker: &str) -> Result<()> {
    let mut request = [0; REQUEST];
    // It blocks until there is something.
    let len = retry_interrupted(|| sock.read(&mut request)).context("receiving")?;
    if len == 0 {
        return Ok(()); // it has left without a request
    }
    let text = stripped(&request[..len]);
    info!("{addr}: {}", printable(&String::from_utf8_lossy(text)));
    let answer = [worker.as_bytes(), b": ", text].concat();
    sock.write_all(&answer).context("sending")?; // blocks until the kernel has taken all of it
    hang_up(sock);
    Ok(())
}

/// Bytes without the white space at their ends. They need not be text: a read may end amid a
/// character.
fn stripped(bytes: &[u8]) -> &[u8] {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.trim().as_bytes(),
        Err(_) => bytes.trim_ascii(),
    }
}

/// SIGINT and SIGTERM, and SIGCHLD for the end of a process: they come only while the loop waits.
///
/// A signal between a look at a flag and the wait that follows would be overlooked; so signals are held
/// back, and pselect(2) lets them through for as long as it waits. A child is born with them held back,
/// too, so it can choose first what they do to it.
pub struct Signals {
    shutdown: Shutdown,
    is_worker: Arc<AtomicBool>,
}

impl Signals {
    /// Holds them back from now on, in the threads and processes that are started later, too.
    pub fn hold() -> Result<Self> {
        let is_worker = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // What is registered first is done first: a worker ends, and does no more.
            flag::register_conditional_default(signal, Arc::clone(&is_worker))?;
        }
        let shutdown = Shutdown::on_signal()?;
        flag::register(SIGCHLD, Arc::default())?; // whatever it does, a signal that is caught ends a wait
        let held: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGCHLD].into_iter().collect();
        held.thread_block()?;
        Ok(Signals { shutdown, is_worker })
    }

    fn ask_for_the_end(&self) -> bool {
        self.shutdown.requested()
    }

    /// Lets a signal end this process as if it were not caught: for a worker.
    pub fn end_this_process(&self) -> Result<()> {
        self.is_worker.store(true, Ordering::SeqCst);
        Ok(SigSet::empty().thread_set_mask()?)
    }
}

/// Waits until there may be a client, or one of the [`Signals`] has come; or for so long, if it is a pause, in
/// which clients have to wait.
fn wait(listener: Option<&TcpListener>, pause: Duration) -> Result<()> {
    let mut ready = FdSet::new();
    let pause = (!pause.is_zero()).then(|| TimeSpec::from_duration(pause));
    if let Some(listener) = listener.filter(|_| pause.is_none()) {
        ready.insert(listener.as_fd());
    }
    match pselect(None, &mut ready, None, None, pause.as_ref(), &SigSet::empty()) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(err) => Err(err).context("pselect"),
    }
}
