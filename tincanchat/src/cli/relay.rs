use std::net::SocketAddr;

use tracing::{debug, info};

use crate::trace::span;
use crate::{Frame, FrameError, Msgs, Rest, append_msg, prep_msg, printable};

/// Makes of the messages that a client has sent the frames that the others get: `ADDR: message`,
/// one after the other, the address formatted once. Logs each message.
///
/// Gives the frames of all messages up to one that is wrong, and with it what is wrong: whole
/// messages that came before it still count (`docs/src/protocol.md`, "Errors").
///
/// ```
/// use tincanchat::{FrameError, Rest, cli::relay_msgs, parse_recvd_data};
///
/// let mut rest = Rest::new();
/// rest.extend(b"one\0two\0\xff\0three\0");
/// let addr = "127.0.0.1:50312".parse().unwrap();
/// let (frames, wrong) = relay_msgs(addr, parse_recvd_data(&mut rest));
/// assert_eq!(&frames[..], b"127.0.0.1:50312: one\x00127.0.0.1:50312: two\0");
/// assert_eq!(wrong, Err(FrameError::NotUtf8 { len: 1, valid_up_to: 0 }));
/// ```
pub fn relay_msgs(addr: SocketAddr, msgs: Msgs<'_>) -> (Vec<u8>, Result<(), FrameError>) {
    let span = span("split").of_client(addr);
    let prefix = format!("{addr}: ");
    let mut frames = Vec::new();
    for (count, msg) in (1..).zip(msgs) {
        span.has_messages(count);
        match msg {
            Ok(msg) => {
                info!("{addr}: {}", printable(msg));
                append_msg(&mut frames, &prefix, msg);
            }
            Err(err) => return (frames, Err(err)),
        }
    }
    (frames, Ok(()))
}

/// Gives what a client is told before its connection is closed, if there is something to tell it:
/// that it has broken the protocol, and how.
///
/// ```
/// use tincanchat::{FrameError, cli::last_words};
///
/// let err = anyhow::Error::from(FrameError::TooLong { limit: 16_384 });
/// assert_eq!(&last_words(&err).unwrap()[..], b"server: the message is longer than 16384 bytes\0");
/// assert!(last_words(&anyhow::anyhow!("connection reset")).is_none());
/// ```
#[must_use]
pub fn last_words(end: &anyhow::Error) -> Option<Frame> {
    let err = end.downcast_ref::<FrameError>()?;
    prep_msg(&format!("server: {err}")).ok().map(Frame::from)
}

/// Logs how many bytes of an unfinished message a client has left behind, if any.
///
/// ```
/// use tincanchat::{Rest, cli::log_rest, parse_recvd_data};
/// # use std::{io, sync::Arc};
/// # fn logged(f: impl FnOnce()) -> io::Result<Vec<String>> {
/// #     let (log, stderr) = io::pipe()?;
/// #     let lines = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG);
/// #     let lines = lines.without_time().with_target(false).with_ansi(false);
/// #     tracing::subscriber::with_default(lines.with_writer(Arc::new(stderr)).finish(), f);
/// #     Ok(io::read_to_string(log)?.lines().map(|line| line.trim().to_owned()).collect())
/// # }
///
/// let mut rest = Rest::new();
/// rest.extend(b"one\0tw");
/// assert_eq!(parse_recvd_data(&mut rest).next(), Some(Ok("one")));
/// let addr = "127.0.0.1:50312".parse()?;
/// let lines = logged(|| log_rest(addr, &rest))?; // of the log, those that it has written
/// assert_eq!(lines, ["DEBUG 127.0.0.1:50312: 2 bytes of an unfinished message dropped"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn log_rest(addr: SocketAddr, rest: &Rest) {
    if !rest.is_empty() {
        debug!("{addr}: {} bytes of an unfinished message dropped", rest.len());
    }
}
