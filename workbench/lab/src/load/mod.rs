//! The load generator: many clients in one thread, cheap enough that it is not itself the thing that
//! is measured.
//!
//! | file | subject |
//! |---|---|
//! | `message.rs` | the text of a message, and how it looks when it arrives |
//! | `schedule.rs` | when messages are due, and how late their copies are |
//! | `deliveries.rs` | whether each client receives each message once and in order |
//! | `stream_check.rs` | the same for one stream of bytes |
//! | `connection.rs` | one connection, with or without TLS |
//! | `sender.rs` | a client that sends |
//! | `generator.rs` | all connections of one run, and the loop that reads them |
//! | `counters.rs` | counts and processor time between two moments |

mod connection;
mod counters;
mod deliveries;
mod generator;
mod message;
mod schedule;
mod sender;
mod stream_check;

pub use connection::{COPY_TIMEOUT, TIMEOUT, connect, connect_with_tls, raise_descriptor_limit};
pub use generator::{Load, LoadGenerator};
pub use schedule::{DelayRecorder, Schedule};
