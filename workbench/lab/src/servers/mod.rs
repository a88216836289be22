//! The servers that can be measured, and how they are started.
//!
//! | file | subject |
//! |---|---|
//! | `spec.rs` | a server that can be started again and again |
//! | `project.rs` | the servers of this project: the stages and the variations |
//! | `user.rs` | the user's servers: named with `--mine`, or already running |
//! | `peers.rs` | the table of servers that are measured for comparison |
//! | `c_program.rs` | compiles the C programs among them |
//! | `nats.rs` | the NATS server that chat-nats needs |
//! | `installed.rs` | finds installed programs |

mod c_program;
mod installed;
mod nats;
mod peers;
mod project;
mod spec;
mod user;

pub use nats::NatsServer;
pub use peers::{PEERS, Peer};
pub use project::{PROJECT_SERVERS, ProjectServer};
pub use spec::{ClientLimit, ServerSpec};
pub use user::{recognize, user_server};
