//! The servers that can be measured, and how they are started.
//!
//! | file | subject |
//! |---|---|
//! | `spec.rs` | a server that can be started again and again |
//! | `ours.rs` | the table of the stages and variations |
//! | `mine.rs` | a server that the user names, or that runs already: which protocol it speaks |
//! | `peers.rs` | the table of servers that are measured for comparison |
//! | `c_program.rs` | compiles the C programs among them |
//! | `nats.rs` | the NATS server that chat-nats needs |
//! | `installed.rs` | finds installed programs |

mod c_program;
mod installed;
mod mine;
mod nats;
mod ours;
mod peers;
mod spec;

pub use mine::{own_server, recognize};
pub use nats::NatsServer;
pub use ours::{OUR_SERVERS, OurServer};
pub use peers::{PEERS, Peer};
pub use spec::{ClientLimit, ServerSpec};
