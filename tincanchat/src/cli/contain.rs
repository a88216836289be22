use std::error::Error;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tracing::info;

use super::Seat;
use super::log_limit::{Cause, Reason, warn_limited};
use crate::trace::{CLIENT, name_lane, span};
use crate::{FrameError, SlowConsumer};

/// Runs something for one client, and turns a panic in it into an error.
///
/// The panic itself is in the log, with its place: see [`start_log`](super::start_log).
///
/// # Errors
///
/// Those of `handler`, and its panic.
///
/// ```
/// use tincanchat::cli::caught;
///
/// assert_eq!(caught(|| Ok(42)).unwrap(), 42);
/// assert!(caught::<()>(|| panic!("of this client only")).is_err());
/// ```
pub fn caught<T>(handler: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    // What a panic leaves half-done is the handler's own; what is shared mends itself on drop.
    catch_unwind(AssertUnwindSafe(handler)).unwrap_or_else(|_| Err(Panicked.into()))
}

#[derive(Debug, thiserror::Error)]
#[error("its handler panicked")]
struct Panicked;

/// Runs the handler of one client, and keeps to that client whatever becomes of it: an error, and a
/// panic too, goes no further than the log. See [`log_end`]. Then the seat is free.
///
/// ```
/// use std::net::{TcpListener, TcpStream};
/// use tincanchat::cli::{Door, contain};
/// use tincanchat::{recv_msg, send_msg};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let mut door = Door::new(1);
/// for msg in ["hello", "panic!"] {
///     let mut client = TcpStream::connect(listener.local_addr()?)?;
///     send_msg(&mut client, msg)?;
///     drop(client);
///     let (mut sock, _, seat) = door.admit(listener.accept()).expect("a seat is free");
///     contain(seat, || {
///         assert_ne!(recv_msg(&mut sock)?, "panic!");
///         recv_msg(&mut sock)?; // an error: the client has gone
///         Ok(())
///     });
///     assert!(door.is_empty());
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn contain(seat: Seat, handler: impl FnOnce() -> anyhow::Result<()>) {
    name_lane(|| seat.addr().to_string());
    let _span = span(CLIENT).of_client(seat.addr());
    log_end(&seat, caught(handler));
    drop(seat);
}

/// Logs how a client's handler ended, and that the client is gone: `Client ADDR disconnected`.
///
/// Many failures for the same reason within a second become ten lines and a count. Reasons differ by
/// what was being done (a context of the error that is a `&'static str`) and by what failed: a panic,
/// a slow consumer, each variant of [`FrameError`], each [kind](io::ErrorKind) of I/O error. Of one
/// that was refused nothing more is said.
///
/// ```
/// use tincanchat::cli::{Door, log_end};
/// # use std::{io, sync::Arc};
/// # fn logged(f: impl FnOnce()) -> io::Result<Vec<String>> {
/// #     let (log, stderr) = io::pipe()?;
/// #     let lines = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG);
/// #     let lines = lines.without_time().with_target(false).with_ansi(false);
/// #     tracing::subscriber::with_default(lines.with_writer(Arc::new(stderr)).finish(), f);
/// #     Ok(io::read_to_string(log)?.lines().map(|line| line.trim().to_owned()).collect())
/// # }
///
/// let addr = "127.0.0.1:50312".parse()?;
/// let (_, _, seat) = Door::new(1).admit(Ok(("a socket", addr))).expect("a seat is free");
/// let end = Err(anyhow::anyhow!("the cable is cut"));
/// let lines = logged(|| log_end(&seat, end))?; // of the log, those that it has written
/// assert_eq!(lines[0], "WARN 127.0.0.1:50312: the cable is cut");
/// assert_eq!(lines[1], "INFO Client 127.0.0.1:50312 disconnected");
/// # Ok::<(), anyhow::Error>(())
/// ```
pub fn log_end(seat: &Seat, end: anyhow::Result<()>) {
    log_end_of::<FrameError>(seat, end);
}

/// Logs the end as [`log_end`] does, for a protocol with an error type of its own: each variant is a reason.
///
/// ```
/// use tincanchat::cli::{Door, log_end_of};
///
/// #[derive(Debug, thiserror::Error)]
/// enum Wrong {
///     #[error("the name is empty")]
///     NoName,
///     #[error("the name has {0} bytes")]
///     LongName(usize),
/// }
///
/// let addr = "127.0.0.1:50312".parse()?;
/// let (_, _, seat) = Door::new(1).admit(Ok(("a socket", addr))).expect("a seat is free");
/// // Ten a second of each come into the log.
/// log_end_of::<Wrong>(&seat, Err(Wrong::NoName.into()));
/// log_end_of::<Wrong>(&seat, Err(Wrong::LongName(300).into()));
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
pub fn log_end_of<E: Error + Send + Sync + 'static>(seat: &Seat, end: anyhow::Result<()>) {
    let addr = seat.addr();
    if let (Err(err), true) = (end, seat.is_inside()) {
        let reason = Reason::Client(err.downcast_ref().copied(), cause::<E>(&err));
        warn_limited(reason, || format!("{addr}: {err:#}"));
    }
    if seat.is_inside() {
        info!("Client {addr} disconnected");
    }
}

/// Tells from how the two halves of a client's handler ended why the client is gone.
///
/// When one half ends the connection, the other finds it broken, so the first cause has to be
/// picked out: that the client did not keep up or the sending half panicked, or else what the
/// receiving half says, or else the sending one. That a read took too long is no cause: only
/// [`close_gently`](crate::close_gently), at the end of the sending half, limits its time.
///
/// # Errors
///
/// The first cause, if it is one.
///
/// ```
/// use std::io;
/// use tincanchat::cli::first_cause;
///
/// let reset = || Err(anyhow::anyhow!("reset"));
/// let slow = tincanchat::SlowConsumer { bytes: 300_000, age: std::time::Duration::from_secs(1) };
/// assert!(first_cause(reset(), Err(slow.into())).unwrap_err().to_string().contains("keep up"));
/// assert_eq!(first_cause(reset(), Ok(())).unwrap_err().to_string(), "reset");
/// assert!(first_cause(Ok(()), Ok(())).is_ok());
/// assert!(first_cause(Err(io::Error::from(io::ErrorKind::WouldBlock).into()), Ok(())).is_ok());
/// let panic = tincanchat::cli::caught(|| panic!("while sending"));
/// assert!(first_cause(reset(), panic).unwrap_err().to_string().contains("panicked"));
/// ```
pub fn first_cause(received: anyhow::Result<()>, sent: anyhow::Result<()>) -> anyhow::Result<()> {
    match (&received, &sent) {
        (_, Err(err)) if err.is::<Panicked>() || find::<SlowConsumer>(err).is_some() => sent,
        (Err(err), Ok(())) if err.chain().any(is_late) => sent,
        _ => received.and(sent),
    }
}

fn is_late(cause: &(dyn Error + 'static)) -> bool {
    let err = cause.downcast_ref::<io::Error>();
    err.is_some_and(|err| err.kind() == io::ErrorKind::WouldBlock)
}

/// Why the handler of a client failed; `E` is the type of its protocol's errors.
fn cause<E: Error + Send + Sync + 'static>(err: &anyhow::Error) -> Cause {
    if find::<Panicked>(err).is_some() {
        Cause::Panic
    } else if find::<SlowConsumer>(err).is_some() {
        Cause::SlowConsumer
    } else if let Some(wrong) = find::<E>(err) {
        let mut variant = DefaultHasher::new();
        mem::discriminant(wrong).hash(&mut variant);
        Cause::Protocol(variant.finish())
    } else {
        find::<io::Error>(err).map_or(Cause::Other, |err| Cause::Io(err.kind()))
    }
}

/// Finds a cause of this type, also inside an I/O error, which does not count what is in it among its
/// causes.
fn find<E: Error + Send + Sync + 'static>(err: &anyhow::Error) -> Option<&E> {
    err.chain().find_map(|cause| {
        let inside = || cause.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref();
        cause.downcast_ref().or_else(inside)
    })
}
