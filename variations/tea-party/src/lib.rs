//! A chat of lines, for `nc` and `telnet`: what its two programs share.
//!
//! | program | the one idea |
//! |---|---|
//! | `simple-chat` | the first prototype: every line goes to all clients, unchanged |
//! | `tea-party` | commands, names and rooms: what a line means depends on the state of the session |
//!
//! A program implements [`Chat`], which says what to do when a client has connected, has sent a line, or
//! has disconnected. [`serve`] does the rest. It is the loop of `chat-poll`, with lines ([`LineBuf`]) in
//! place of messages, and with a [`RateLimit`] for each client.

mod client;
mod line_buf;
mod names;
mod rate_limit;
mod rooms;
mod serve;

pub use line_buf::{LineBuf, LineTooLong, MAX_LINE_LEN};
pub use names::{BadName, MAX_NAME_CHARS, Name};
pub use rate_limit::{BURST_LINES, BYTES_PER_SECOND, LINES_PER_SECOND, RateLimit};
pub use rooms::{MAX_ROOMS, Rooms, TooManyRooms};
pub use serve::{Chat, Clients, Id, serve};

/// The default port of both programs.
pub const DEFAULT_PORT: &str = "5005";

/// The default name of a chat, which is shown in its welcome.
pub const DEFAULT_NAME: &str = "TestChat";
