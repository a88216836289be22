//! A chat of lines, for `nc` and `telnet` as they are: what its two programs share.
//!
//! | program | the one idea |
//! |---|---|
//! | `simple-chat` | the first prototype: what one says goes to everyone, as it is |
//! | `tea-party` | commands, names and rooms: what a line means depends on where the session is |
//!
//! A program says what to do when somebody [has arrived, has said a line, has left](Chat), and
//! [`serve`] does the rest: the loop of `chat-poll`, with [`Lines`] in the place of messages, and a
//! [`Pace`] that nobody can exceed.

mod client;
mod lines;
mod names;
mod pace;
mod rooms;
mod serve;

pub use lines::{LineTooLong, Lines, MAX_LINE_LEN};
pub use names::{BadName, MAX_NAME_CHARS, Name};
pub use pace::{BYTES_A_SECOND, LINES_A_SECOND, LINES_AT_ONCE, Pace};
pub use rooms::{MAX_ROOMS, Rooms, TooManyRooms};
pub use serve::{Chat, Clients, Id, serve};

/// The port that both programs listen on unless told otherwise.
pub const PORT: &str = "5005";

/// What a chat is called unless told otherwise.
pub const NAME: &str = "TestChat";
