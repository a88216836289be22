//! Tin-can messages over TCP: UTF-8 text, each message ended by one zero byte.
//!
//! This is the protocol that all stages share. Its core needs no socket: [`prep_msg`] turns a message into
//! bytes; [`RecvBuf`] and [`parse_recvd_data`] turn bytes, however the network has split them, back into
//! messages. `docs/src/protocol.md` explains why each part is designed as it is.
//!
//! | task | items |
//! |---|---|
//! | listen | [`create_listen_socket`] |
//! | one message on a blocking socket | [`send_msg`], [`recv_msg`], [`close_answered`] |
//! | receive a stream of messages | [`recv_msgs`], [`RecvBuf`] |
//! | send batches of messages | [`append_msg`], [`SendBuf`] |
//! | decide which clients are too slow | [`QueueLimit`] |
//! | close a connection without losing the last bytes | [`lingering_close`], [`Closing`], [`discard_input`] |
//! | async versions of these (feature `async`) | [`asynchronous`] |
//! | make text from the network safe for a terminal | [`printable`] |
//!
//! ```
//! use tincanchat::{RecvBuf, parse_recvd_data, prep_msg};
//!
//! let mut rest = RecvBuf::new();
//! let bytes = [prep_msg("hello")?, prep_msg("wörld")?].concat();
//! let (first_read, second_read) = bytes.split_at(9); // cuts the ö in two
//!
//! rest.extend(first_read);
//! let msgs: Vec<_> = parse_recvd_data(&mut rest).collect::<Result<_, _>>()?;
//! assert_eq!(msgs, ["hello"]);
//!
//! rest.extend(second_read);
//! let msgs: Vec<_> = parse_recvd_data(&mut rest).collect::<Result<_, _>>()?;
//! assert_eq!(msgs, ["wörld"]);
//! # Ok::<(), tincanchat::FrameError>(())
//! ```
#![warn(missing_docs)]

mod blocking;
mod closing;
#[cfg(feature = "failpoints")]
mod failpoints;
mod frame;
mod limits;
mod listen;
mod printable;
mod queue_limit;
mod recv_buf;
mod send_buf;

#[cfg(feature = "async")]
pub mod asynchronous;

pub use blocking::{
    TimedSock, close_answered, discard_input, lingering_close, recv_msg, recv_msgs, recv_reply,
    refuse, retry_interrupted, send_msg, send_prefixed_msg,
};
pub use closing::Closing;
pub use frame::{FrameError, append_msg, error_reply, prep_msg};
pub use limits::*;
pub use listen::{canonical, create_listen_socket, without_brackets};
pub use printable::printable;
pub use queue_limit::{QueueLimit, SlowConsumer};
pub use recv_buf::{Msgs, RecvBuf, parse_recvd_data};
pub use send_buf::SendBuf;
