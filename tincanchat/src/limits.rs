//! The limits that keep one client from disrupting the service for the others, each with its reason.

use std::time::Duration;

/// The port on which the echo and chat servers listen by default.
///
/// Any port that needs no privilege would do (1024 and up, ip(7)). The commands in the book,
/// `docs/src`, use this one.
pub const DEFAULT_PORT: u16 = 4040;

/// The longest message, in bytes without its zero byte: 16 KiB.
///
/// Without a limit, one client could fill the memory with a message that never ends. With this one, ten
/// thousand unfinished messages take up at most 160 MiB. Other limits: IRC 512 bytes, NATS 1 MiB.
pub const MAX_MSG_LEN: usize = 16 * 1024;

/// The longest text that a server sends, in bytes without its zero byte.
///
/// A relayed message begins with its sender's address, so a client must accept slightly more than
/// [`MAX_MSG_LEN`]. The longest `ADDR: `, an IPv6 address with a scope, is 61 bytes long.
pub const MAX_RELAY_LEN: usize = MAX_MSG_LEN + 64;

/// The most bytes read from one client before the other clients get their turn: 64 KiB.
pub const READ_TURN: usize = 64 * 1024;

/// How many bytes may wait for one client while the kernel refuses every write: 256 KiB. With more than
/// that, the client is disconnected after [`BLOCKED_GRACE`].
///
/// Other limits: Ergo 96 KiB, `InspIRCd` 1 MiB, Redis 8 MiB for 60 s.
pub const QUEUE_BYTES: usize = 256 * 1024;

/// How many entries may be added to one client's queue while the kernel refuses every write: 1,024. With
/// more than that, the client is disconnected after [`BLOCKED_GRACE`]. An entry is one batch of messages.
pub const QUEUE_ENTRIES: usize = 1024;

/// How many bytes may wait for one client even while the kernel accepts some of them: 8 MiB.
///
/// If a client reads half as fast as messages arrive for it, no write to it is refused for long, so the
/// queue needs a second limit. This one is much larger than [`QUEUE_BYTES`]: 64 KiB of one-letter messages
/// become 600 KiB with their prefixes, and ten clients may send that at once to a client that reads well.
/// All queues share the batches, so a long queue costs little memory.
/// Other limits: Redis 32 MiB, NATS 64 MiB.
pub const QUEUE_BYTES_HARD: usize = 32 * QUEUE_BYTES;

/// How long the kernel must have refused every write before [`QUEUE_BYTES`] and [`QUEUE_ENTRIES`] apply:
/// 1 s. A client that reads may pause for less than that, and so may the server.
pub const BLOCKED_GRACE: Duration = Duration::from_secs(1);

/// How long a byte that the kernel has refused may wait in a client's queue: 10 s, as in NATS.
///
/// Without this limit, a client that reads a few bytes now and then would stay connected forever.
pub const WRITE_DEADLINE: Duration = Duration::from_secs(10);

/// How long the server goes on sending queued bytes to a client that is leaving, or to all clients when the
/// server stops: 3 s.
pub const DRAIN: Duration = Duration::from_secs(3);

/// How long the server goes on reading after it has sent the last byte on a connection: 500 ms. Closing
/// earlier, with unread bytes, would send a reset, which can destroy the last bytes sent.
pub const LINGER: Duration = Duration::from_millis(500);

/// The most connections to which the server is sending `server: full` at any one time.
///
/// These are not counted as clients. Further connections are closed without a reply.
pub const MAX_REFUSING: usize = 64;

/// The frame that a chat server sends to a client when the server is full.
pub const SERVER_FULL: &[u8] = b"server: full\0";

/// The default limit on clients for a server without a thread for each client: 10,000, as in Redis.
pub const MAX_CLIENTS: usize = 10_000;

/// The default limit on clients for a server with threads for each client: 1,024.
pub const MAX_CLIENTS_THREADS: usize = 1024;

/// The most threads that a server may start for its clients.
///
/// On Linux, each thread takes four memory mappings: its stack, the alternate stack that Rust adds to
/// handle an overflow, and a guard page for each. A process may have 65,530 mappings (`vm.max_map_count` in
/// proc(5)). Near 16,000 threads, a Rust process aborts as a whole:
/// <https://github.com/rust-lang/rust/issues/78497>.
pub const MAX_THREADS: usize = 15_000;

/// The stack size of each client's thread, in bytes: 256 KiB.
///
/// Only the pages that a thread touches use memory; the rest is address space.
pub const STACK_SIZE: usize = 256 * 1024;

/// The most connections that the kernel completes and keeps until the server accepts them: 1,024.
///
/// The standard library asks for 128, and then the 130th client in a burst waits a second or more. Linux
/// lowers the number to `net.core.somaxconn` (listen(2)).
pub const BACKLOG: i32 = 1024;

/// How long a connection is silent before the kernel starts to probe whether the peer is still there: 60 s.
/// The kernel's own default is two hours (tcp(7)).
pub const KEEPALIVE_IDLE: Duration = Duration::from_mins(1);

/// The time between two unanswered keepalive probes: 10 s.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// The number of unanswered keepalive probes after which the kernel drops the connection.
pub const KEEPALIVE_PROBES: u32 = 3;

/// How long sent bytes may stay unacknowledged before the kernel drops the connection: 30 s
/// (`TCP_USER_TIMEOUT` in tcp(7); the default is about a quarter of an hour).
pub const USER_TIMEOUT: Duration = Duration::from_secs(30);
