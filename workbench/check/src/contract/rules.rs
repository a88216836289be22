//! Rules that both tables of checks cite: that of the chat and echo servers, and that of every server.
// Some checks exist only on Linux.
#![cfg_attr(not(target_os = "linux"), allow(dead_code))]

pub(super) const LIMITS_DESCRIPTORS: &str = "\
    §1: `accept` errors never end a server, and never spin the processor: out of file \
    descriptors, it waits and goes on accepting once some are free.";

pub(super) const LIMITS_THREADS_AT_START: &str = "\
    §1: 1 with a one-line reason on stderr when it cannot start (no thread can be made), or it \
    serves.";

pub(super) const LIMITS_THREADS: &str = "\
    §1: for what went wrong the address, what was being done, and why; at most 10 lines a \
    second, with a count of those left out.";

pub(super) const LIMITS_ADDRESS_SPACE: &str = "\
    §1: One client's failure is that client's alone: where there is no room for another client, \
    the server and every other client go on.";

pub(super) const LIMITS_BURST: &str =
    "§1: `accept` errors never end a server, and a burst of connections is let in.";

pub(super) const SURVIVE_RESETS: &str = "\
    §1: however it leaves, the server and every other client go on: a hundred resets in a row.";

pub(super) const SURVIVE_RESET_IN_BACKLOG: &str =
    "§1: `accept` errors never end a server: a reset before the accept.";

pub(super) const SURVIVE_GARBAGE: &str =
    "§1: whatever a client sends, the server and every other client go on.";

pub(super) const SURVIVE_INTERRUPTED: &str = "§1: An interrupted system call is retried.";

pub(super) const SURVIVE_CROWDS: &str = "\
    §1: One client's failure is that client's alone: when many clients leave in the middle of a \
    message, the server gives their memory back (within 10 MiB of before).";

pub(super) const SURVIVE_STDOUT_CLOSED: &str =
    "§1: a closed stdout never stops or stalls a server.";

pub(super) const SURVIVE_STDOUT_FULL: &str =
    "§1: a stdout that is full from the start never stops or stalls a server.";

pub(super) const SURVIVE_STDERR_CLOSED: &str = "\
    §1: Nor does the log: a stderr that is closed or whose reader has gone never stops or stalls \
    a server.";

pub(super) const SURVIVE_STDERR_UNREAD: &str =
    "§1: a stderr that nobody reads never stops or stalls a server.";

pub(super) const SURVIVE_DISK_FULL: &str = "§1: a full disk never stops or stalls a server.";

pub(super) const LOG_ESCAPES: &str = "\
    §1: Text that came from the network and goes to a log has its control characters escaped (C0 \
    except tab, DEL, C1), and so are the bidirectional controls, U+2028 and U+2029.";

pub(super) const LOG_NOT_FORGED: &str = "\
    §1: Text that came from the network and goes to a log has its control characters escaped: no \
    client writes lines of its own.";

pub(super) const LOG_QUIET: &str =
    "§1: the log: `info` by default, set by `-v`, `-q` or `RUST_LOG`.";

pub(super) const LOG_RUST_LOG: &str = "§1: the log: set by `RUST_LOG`.";

pub(super) const LOG_RUST_LOG_MISTYPED: &str =
    "§1: the log: `info` by default, even if `RUST_LOG` is mistyped; one warning says so.";
