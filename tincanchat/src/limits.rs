//! The numbers that keep one client from costing the others their service, each with its reason.

use std::time::Duration;

/// The port that the echo and chat servers listen on unless told otherwise.
///
/// Any that needs no privilege would do (1024 and up: ip(7)); the commands in the book, `docs/src`,
/// count on this one.
pub const DEFAULT_PORT: u16 = 4040;

/// The longest message, in bytes before its zero byte: 16 KiB.
///
/// Without a limit one client could fill the memory with a message that never ends. With this one,
/// ten thousand unfinished messages hold 160 MiB at worst. Others: IRC 512 bytes, NATS 1 MiB.
pub const MAX_MSG_LEN: usize = 16 * 1024;

/// The longest text that a server sends, in bytes before its zero byte.
///
/// A relayed message carries its sender's address in front, so a client must take a little more
/// than [`MAX_MSG_LEN`]. The longest `ADDR: `, an IPv6 address with a scope, has 61 bytes.
pub const MAX_RELAY_LEN: usize = MAX_MSG_LEN + 64;

/// The most bytes taken from one client before the others get their turn: 64 KiB.
pub const READ_TURN: usize = 64 * 1024;

/// The bytes that may wait for one client while the kernel refuses every write: 256 KiB. If more
/// wait, the client is cut off after [`STALL`].
///
/// Others: Ergo 96 KiB, `InspIRCd` 1 MiB, Redis 8 MiB for 60 s.
pub const QUEUE_BYTES: usize = 256 * 1024;

/// The entries that may come into one client's queue while the kernel refuses every write; the rule is
/// that of [`QUEUE_BYTES`]. An entry is one message, or several that were received together.
pub const QUEUE_ENTRIES: usize = 1024;

/// The bytes that may wait for one client, even while the kernel takes some of them: 8 MiB.
///
/// A client that reads, but at half the speed at which the room talks, never stops taking; its
/// queue must end somewhere too. 64 KiB of one-letter messages become 600 KiB with their prefixes,
/// and ten clients may send that at once to one who reads well: so it is much more than
/// [`QUEUE_BYTES`]. The frames are shared by all queues, so this is no memory for each client.
/// Others: Redis 32 MiB, NATS 64 MiB.
pub const QUEUE_CEILING: usize = 32 * QUEUE_BYTES;

/// How long the kernel must have refused every write to a client before a long queue counts as too
/// long: 1 s. A client that reads may pause for less than that, and so may the server.
pub const STALL: Duration = Duration::from_secs(1);

/// How long a byte that the kernel has refused may wait in a client's queue: 10 s. NATS has the same.
///
/// Without it, a client that takes a few bytes now and then would be kept for ever.
pub const WRITE_DEADLINE: Duration = Duration::from_secs(10);

/// How long a client that is leaving, or a server that is ending, still gets what is queued: 3 s.
pub const DRAIN: Duration = Duration::from_secs(3);

/// How long a connection is read on after its last byte was sent, so that no reset eats that byte.
pub const LINGER: Duration = Duration::from_millis(500);

/// The most connections that are being turned away, with a word why, at any one time.
///
/// They come on top of the clients; more than these are closed without a word.
pub const AT_THE_DOOR: usize = 64;

/// What a chat server tells a client for which it has no place, as it goes over the wire.
pub const SERVER_FULL: &[u8] = b"server: full\0";

/// The most clients of a server that has no thread for each: 10,000, as in Redis.
pub const MAX_CLIENTS: usize = 10_000;

/// The most clients of a server with threads for each, unless it is told otherwise: 1,024.
pub const MAX_CLIENTS_THREADS: usize = 1024;

/// The most threads that a server is let start for its clients.
///
/// Linux gives each thread's stack and its guard page a mapping, and allows 65,530 of them
/// (`vm.max_map_count` in proc(5)). Near 16,000 threads a Rust process aborts as a whole:
/// <https://github.com/rust-lang/rust/issues/78497>.
pub const MAX_THREADS: usize = 15_000;

/// The stack asked for each client's thread, in bytes: 256 KiB.
///
/// Only what a thread touches becomes memory; the rest is address space.
pub const STACK_SIZE: usize = 256 * 1024;

/// The connections that the kernel completes and keeps for a server that is not accepting: 1,024.
///
/// The standard library asks for 128, and the 130th client of a burst then waits a second or more.
/// Linux lowers the number to `net.core.somaxconn` (listen(2)).
pub const BACKLOG: i32 = 1024;

/// How long a connection is silent before the kernel asks whether the peer is still there: 60 s.
/// The kernel's own default is two hours (tcp(7)).
pub const KEEPALIVE_IDLE: Duration = Duration::from_mins(1);

/// How long the kernel waits between [`KEEPALIVE_PROBES`] unanswered questions: 10 s.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// How many unanswered questions make a dead peer.
pub const KEEPALIVE_PROBES: u32 = 3;

/// How long sent bytes may stay unacknowledged before the kernel gives the connection up: 30 s
/// (`TCP_USER_TIMEOUT` in tcp(7); the default is about a quarter of an hour).
pub const USER_TIMEOUT: Duration = Duration::from_secs(30);
