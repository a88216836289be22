//! Tin-can messages: UTF-8 text, each message ended by one zero byte, over TCP.
//!
//! This is what all stages share. At its heart are bytes and messages, without a socket:
//! [`prep_msg`] turns a message into bytes, and [`Rest`] with [`parse_recvd_data`] turns bytes,
//! however the network has cut them, back into messages; `docs/src/protocol.md` says why it is so.
//! Around that are thin adapters:
//!
//! | for | items |
//! |---|---|
//! | a listener to start from | [`create_listen_socket`] |
//! | one message on a blocking socket | [`send_msg`], [`recv_msg`], [`hang_up`] |
//! | receiving a stream of messages, blocking or not | [`recv_msgs`] |
//! | sending one | [`append_msg`], [`Frames`], [`send_frames`], [`close_gently`], [`Farewell`] |
//! | the same for async code (feature `async`) | [`asynchronous`] |
//! | who is too slow | [`QueueGauge`] |
//! | a stranger's text on a terminal | [`printable`] |
//! | lines from `telnet` | [`telnet`] |
//! | what a thread or task does, in a trace (feature `cli`) | [`span`] |
//! | a server's or client's command line, log and signals (feature `cli`) | [`cli`] |
//!
//! ```
//! use tincanchat::{Rest, parse_recvd_data, prep_msg};
//!
//! let mut rest = Rest::new();
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
mod farewell;
mod frame;
mod frames;
mod gauge;
mod limits;
mod listen;
mod printable;
#[cfg(feature = "cli")]
mod trace;
#[cfg(not(feature = "cli"))]
#[path = "trace/off.rs"]
mod trace;

#[cfg(feature = "async")]
pub mod asynchronous;
#[cfg(feature = "cli")]
pub mod cli;
pub mod telnet;

pub use blocking::{
    Blocking, close_gently, hang_up, recv_answer, recv_msg, recv_msgs, relay_msg,
    retry_interrupted, send_frames, send_msg, turn_away,
};
pub use farewell::Farewell;
pub use frame::{FrameError, Msgs, Rest, append_msg, parse_recvd_data, prep_msg};
pub use frames::{Frame, Frames};
pub use gauge::{QueueGauge, SlowConsumer};
pub use limits::*;
pub use listen::{canonical, create_listen_socket, without_brackets};
pub use printable::printable;
#[cfg(feature = "cli")]
pub use trace::{Span, span};
