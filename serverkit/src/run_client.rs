use std::error::Error;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tincanchat::{FrameError, RecvBuf, SlowConsumer};
use tracing::{debug, info};

use crate::log_limit::{Cause, Reason, warn_limited};
use crate::{Permit, trace};

/// Calls `handler`, and returns a panic in it as an error.
///
/// The log shows the panic itself and where it happened: see [`start_log`](crate::start_log).
///
/// # Errors
///
/// The error that `handler` returns, or an error if it panics.
///
/// ```
/// use serverkit::catch_panic;
///
/// assert_eq!(catch_panic(|| Ok(42)).unwrap(), 42);
/// assert!(catch_panic::<()>(|| panic!("in the handler of one client")).is_err());
/// ```
pub fn catch_panic<T>(handler: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    // A handler may leave its own state half-changed, because nothing uses it again. State that clients
    // share must stay usable after a panic.
    catch_unwind(AssertUnwindSafe(handler)).unwrap_or_else(|_| Err(HandlerPanicked.into()))
}

#[derive(Debug, thiserror::Error)]
#[error("its handler panicked")]
pub(crate) struct HandlerPanicked;

/// Runs the handler of one client. An error or a panic in it goes no further than the log, to which
/// [`log_disconnect`] writes it. Drops the permit at the end.
///
/// ```
/// use std::net::{TcpListener, TcpStream};
/// use serverkit::{Admission, Admitted, run_client};
/// use tincanchat::{recv_msg, send_msg};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let mut admission = Admission::new(1);
/// for msg in ["hello", "panic!"] {
///     let mut client = TcpStream::connect(listener.local_addr()?)?;
///     send_msg(&mut client, msg)?;
///     drop(client);
///     let Admitted::Client(mut sock, _, permit) = admission.admit(listener.accept()) else {
///         panic!("there was room for one client");
///     };
///     run_client(permit, || {
///         assert_ne!(recv_msg(&mut sock)?, "panic!");
///         recv_msg(&mut sock)?; // an error: the client has left
///         Ok(())
///     });
///     assert!(admission.is_idle());
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn run_client(permit: Permit, handler: impl FnOnce() -> anyhow::Result<()>) {
    let end = trace("client", || catch_panic(handler));
    log_disconnect(permit.addr(), end);
    drop(permit);
}

/// Logs why a client is gone if its handler failed, and then logs `Client ADDR disconnected`.
///
/// Many failures for the same reason within a second become ten lines and a count. Reasons differ by
/// what was being done (a context of the error that is a `&'static str`) and by what failed: a panic,
/// a slow consumer, each variant of [`FrameError`], each [kind](io::ErrorKind) of I/O error.
///
/// ```
/// use serverkit::log_disconnect;
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
/// let end = Err(anyhow::anyhow!("the cable is cut"));
/// let lines = logged(|| log_disconnect(addr, end))?; // the lines that it has written
/// assert_eq!(lines[0], "WARN 127.0.0.1:50312: the cable is cut");
/// assert_eq!(lines[1], "INFO Client 127.0.0.1:50312 disconnected");
/// # Ok::<(), anyhow::Error>(())
/// ```
pub fn log_disconnect(addr: SocketAddr, end: anyhow::Result<()>) {
    log_disconnect_as::<FrameError>(addr, end);
}

/// Does the same as [`log_disconnect`] for a protocol with an error type of its own, `E`, each variant of
/// which is a reason.
///
/// ```
/// use serverkit::log_disconnect_as;
///
/// #[derive(Debug, thiserror::Error)]
/// enum NameError {
///     #[error("the name is empty")]
///     Empty,
///     #[error("the name has {0} bytes")]
///     TooLong(usize),
/// }
///
/// let addr = "127.0.0.1:50312".parse()?;
/// // The log has up to ten lines a second for each variant.
/// log_disconnect_as::<NameError>(addr, Err(NameError::Empty.into()));
/// log_disconnect_as::<NameError>(addr, Err(NameError::TooLong(300).into()));
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
pub fn log_disconnect_as<E>(addr: SocketAddr, end: anyhow::Result<()>)
where
    E: Error + Send + Sync + 'static,
{
    if let Err(err) = end {
        let reason = Reason::Client(err.downcast_ref().copied(), cause::<E>(&err));
        warn_limited(reason, || format!("{addr}: {err:#}"));
    }
    info!("Client {addr} disconnected");
}

/// Logs, at `debug`, how many bytes of an unfinished message a client has left behind, if any.
///
/// ```
/// use serverkit::log_unfinished;
/// use tincanchat::{RecvBuf, parse_recvd_data};
/// # use std::{io, sync::Arc};
/// # fn logged(f: impl FnOnce()) -> io::Result<Vec<String>> {
/// #     let (log, stderr) = io::pipe()?;
/// #     let lines = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG);
/// #     let lines = lines.without_time().with_target(false).with_ansi(false);
/// #     tracing::subscriber::with_default(lines.with_writer(Arc::new(stderr)).finish(), f);
/// #     Ok(io::read_to_string(log)?.lines().map(|line| line.trim().to_owned()).collect())
/// # }
///
/// let mut rest = RecvBuf::new();
/// rest.extend(b"one\0tw");
/// assert_eq!(parse_recvd_data(&mut rest).next(), Some(Ok("one")));
/// let addr = "127.0.0.1:50312".parse()?;
/// let lines = logged(|| log_unfinished(addr, &rest))?; // the lines that it has written
/// assert_eq!(lines, ["DEBUG 127.0.0.1:50312: 2 bytes of an unfinished message dropped"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn log_unfinished(addr: SocketAddr, rest: &RecvBuf) {
    if !rest.is_empty() {
        debug!("{addr}: {} bytes of an unfinished message dropped", rest.len());
    }
}

/// Returns why a client is gone, from the results of the two halves of its handler.
///
/// When one half fails and closes the connection, the other half may fail because of that, so the order
/// matters: if the sending half found that the client was too slow, or if it panicked, that is the reason.
/// Otherwise it is the error of the receiving half, or else that of the sending half.
///
/// # Errors
///
/// The reason, unless both halves ended without an error.
///
/// ```
/// use serverkit::{catch_panic, end_reason};
///
/// let reset = || Err(anyhow::anyhow!("reset"));
/// let slow = tincanchat::SlowConsumer { bytes: 300_000, age: std::time::Duration::from_secs(1) };
/// assert!(end_reason(reset(), Err(slow.into())).unwrap_err().to_string().contains("keep up"));
/// assert_eq!(end_reason(reset(), Ok(())).unwrap_err().to_string(), "reset");
/// assert!(end_reason(Ok(()), Ok(())).is_ok());
/// let panic = catch_panic(|| panic!("while sending"));
/// assert!(end_reason(reset(), panic).unwrap_err().to_string().contains("panicked"));
/// ```
pub fn end_reason(received: anyhow::Result<()>, sent: anyhow::Result<()>) -> anyhow::Result<()> {
    match &sent {
        Err(err) if find::<HandlerPanicked>(err).is_some() => sent,
        Err(err) if find::<SlowConsumer>(err).is_some() => sent,
        _ => received.and(sent),
    }
}

/// Returns why a handler failed; `E` is the type of its protocol's errors.
fn cause<E: Error + Send + Sync + 'static>(err: &anyhow::Error) -> Cause {
    if find::<HandlerPanicked>(err).is_some() {
        Cause::Panic
    } else if find::<SlowConsumer>(err).is_some() {
        Cause::SlowConsumer
    } else if let Some(err) = find::<E>(err) {
        let mut variant = DefaultHasher::new();
        mem::discriminant(err).hash(&mut variant);
        Cause::Protocol(variant.finish())
    } else {
        find::<io::Error>(err).map_or(Cause::Other, |err| Cause::Io(err.kind()))
    }
}

/// Finds a cause of this type, even inside an I/O error, which does not list the error that it wraps among
/// its causes.
fn find<E: Error + Send + Sync + 'static>(err: &anyhow::Error) -> Option<&E> {
    err.chain().find_map(|cause| {
        let inside = || cause.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref();
        cause.downcast_ref().or_else(inside)
    })
}
