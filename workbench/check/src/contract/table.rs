use Profile::{ChatAsync, ChatPoll, ChatThreads, EchoMulti, EchoUni};
use anyhow::Result;

#[cfg(target_os = "linux")]
use super::interrupted;
use super::{
    chat, cli, echo, framing, leaving, limits, log, memory, outlets, rules, slow, survival,
};
#[cfg(unix)]
use super::{exhaustion, shortage, stopping, trace};
use crate::{Bench, Check, Needs, Profile, Theme};

const EVERY: &[Profile] = &[EchoUni, EchoMulti, ChatThreads, ChatPoll, ChatAsync];
const SEVERAL: &[Profile] = &[EchoMulti, ChatThreads, ChatPoll, ChatAsync];
const CHAT: &[Profile] = &[ChatThreads, ChatPoll, ChatAsync];
const ECHO: &[Profile] = &[EchoUni, EchoMulti];
/// Those in which a client has a lane of its own in the trace.
#[cfg(unix)]
const LANES: &[Profile] = &[ChatThreads, ChatAsync];
#[cfg(unix)]
const POLL: &[Profile] = &[ChatPoll];
const UNI: &[Profile] = &[EchoUni];
const MULTI: &[Profile] = &[EchoMulti];

type Run = fn(&Bench) -> Result<()>;

pub(super) const fn row(
    id: &'static str,
    who: &'static [Profile],
    run: Run,
    rule: &'static str,
) -> Check {
    Check {
        id,
        theme: Theme::Contract,
        title: "",
        rule,
        who,
        limit: &[],
        needs: Needs::Nothing,
        after: &[],
        hints: [""; 3],
        read: "",
        run,
    }
}

/// What this project's own servers promise besides the ladder: name, who has to pass, how it is
/// checked, and the rule. §1 is what all our servers have in common, §2 the protocol and the servers
/// that speak it.
pub const TABLE: &[Check] = &[
    row("cli-port-zero", EVERY, cli::port_zero, "§1: `0` lets the system pick."),
    row("cli-port-given", EVERY, cli::port_given, "§1: `--port PORT`."),
    row("cli-port-default", EVERY, cli::port_default, "§2: default port 4040."),
    row(
        "cli-host-default",
        EVERY,
        cli::host_default,
        "§1: Default `127.0.0.1`: nobody outside this machine gets in unless asked.",
    ),
    row("cli-host-any-v4", EVERY, cli::host_any_v4, "§1: `0.0.0.0` or `::` opens it."),
    row("cli-host-any-v6", EVERY, cli::host_any_v6, "§1: `::` takes IPv4 clients too.")
        .needs(Needs::Ipv6),
    row(
        "cli-host-v6",
        EVERY,
        cli::host_v6_loopback,
        "§1: interface to listen on: an IPv4 or IPv6 address. `ADDR` is a socket address as \
         Rust prints it: `[::1]:50312`.",
    )
    .needs(Needs::Ipv6),
    row("cli-host-name", EVERY, cli::host_name, "§1: interface to listen on: … or a host name."),
    row(
        "cli-host-unknown",
        EVERY,
        cli::host_unknown,
        "§1: 1 with a one-line reason on stderr when it cannot start (no such host).",
    ),
    row(
        "cli-port-taken",
        EVERY,
        cli::port_taken,
        "§1: 1 with a one-line reason on stderr when it cannot start (port taken).",
    ),
    row(
        "cli-no-permission",
        EVERY,
        cli::no_permission,
        "§1: 1 with a one-line reason on stderr when it cannot start (no permission).",
    )
    .needs(Needs::LowPorts),
    row("cli-usage", EVERY, cli::usage_errors, "§1: exit code 2 for a usage error."),
    row(
        "cli-help",
        EVERY,
        cli::help,
        "§1: `--help` on every binary, with an example under \"Examples\".",
    ),
    row("cli-version", EVERY, cli::version, "§1: `--version` on every binary."),
    #[cfg(unix)]
    row(
        "cli-stdout",
        EVERY,
        cli::stdout_is_one_line,
        "§1: stdout: exactly one line, `Listening on ADDR`, flushed once connections are \
         accepted.",
    ),
    row(
        "framing-empty",
        EVERY,
        framing::empty_ignored,
        "§2: An empty message (two ␀ in a row) is ignored.",
    ),
    row(
        "framing-zero-bytes",
        EVERY,
        framing::zero_bytes_only,
        "§2: An empty message is ignored, and so are 300,000 of them.",
    ),
    row(
        "framing-too-long",
        EVERY,
        framing::too_long_refused,
        "§2: A message longer than `MAX_MSG_LEN` bytes is a protocol error: the log says \
         which and from whom, and that client is disconnected.",
    ),
    row(
        "framing-no-end",
        EVERY,
        framing::without_end_refused,
        "§2: A message longer than `MAX_MSG_LEN` bytes is a protocol error, also while its ␀ \
         has not come.",
    ),
    row(
        "framing-bad-utf8",
        EVERY,
        framing::bad_utf8_refused,
        "§2: A message that is not UTF-8 is a protocol error: the log says which and from \
         whom, and that client is disconnected.",
    ),
    row(
        "framing-good-before-bad",
        EVERY,
        framing::good_before_bad,
        "§2: Whole messages that came before it in the same read still count.",
    ),
    row(
        "framing-any-cut",
        EVERY,
        framing::same_however_cut,
        "§2: The answer is the same however the bytes were cut.",
    ),
    row(
        "framing-reason-arrives",
        CHAT,
        framing::reason_survives_a_talker,
        "§2: A chat server first tells it why, in a message `server: …`, and closes so that \
         the text arrives.",
    ),
    row(
        "framing-unfinished",
        CHAT,
        framing::unfinished_not_relayed,
        "§2: Bytes left without their ␀ when the client leaves are dropped.",
    ),
    row(
        "framing-unfinished-logged",
        CHAT,
        framing::unfinished_dropped,
        "§2: Bytes left without their ␀ when the client leaves are dropped (logged at \
         `debug`).",
    ),
    row(
        "echo-answer",
        ECHO,
        echo::answers_and_closes,
        "§2: client connects, sends a message; server answers; both close.",
    ),
    row("echo-rest-ignored", ECHO, echo::rest_ignored, "§2: What follows the first ␀ is ignored."),
    row(
        "echo-early-leaver",
        ECHO,
        echo::early_leaver_logged,
        "§2: A client that leaves early is logged, and the next one served.",
    ),
    row(
        "echo-one-at-a-time",
        UNI,
        echo::second_waits,
        "§2: One client at a time: a second client waits until the first is done.",
    ),
    row(
        "echo-one-at-a-time-limit",
        UNI,
        echo::second_waits_at_the_limit,
        "§2: a second client waits until the first is done, so no limit is ever passed.",
    ),
    #[cfg(target_os = "linux")]
    row("echo-thread-a-client", MULTI, echo::thread_a_client, "§2: One thread a client."),
    row("chat-others-only", CHAT, chat::others_only, "§2: `--others-only` leaves the sender out."),
    row(
        "chat-pipelined",
        CHAT,
        chat::pipelined_in_order,
        "§2: one sender's messages in the order sent. Nothing is delivered twice. Nothing is \
         lost.",
    ),
    row(
        "chat-thousand",
        CHAT,
        chat::a_thousand_hear,
        "§2: relayed to every client connected at that moment, be they a thousand.",
    ),
    row(
        "chat-newcomer",
        CHAT,
        chat::newcomer_misses_nothing,
        "§2: A server with one loop accepts what is waiting before it reads, so a client whose \
         `connect` has returned gets every message that is sent after that.",
    ),
    row(
        "chat-churn",
        CHAT,
        chat::churn_starves_nobody,
        "§1: One client's failure is that client's alone: the server and every other client go on.",
    ),
    row(
        "slow-room-not-frozen",
        CHAT,
        slow::room_not_frozen,
        "§2: A client that does not keep up is disconnected, with a warning that says how \
         much was queued. No other client waits for it, ever; the server's memory stays \
         bounded.",
    ),
    row(
        "slow-talker",
        CHAT,
        slow::talker_who_never_listens,
        "§2: A client that does not keep up (its queue is full) is disconnected, however much \
         it says itself.",
    ),
    row(
        "slow-write-deadline",
        CHAT,
        slow::write_deadline,
        "§2: A client that took nothing for the write deadline is disconnected, with a \
         warning that says how much was queued.",
    ),
    row(
        "slow-late-reader",
        CHAT,
        slow::late_reader_kept,
        "§2: Nothing is lost while the receiver stays connected and keeps up.",
    ),
    row(
        "slow-one-letter",
        CHAT,
        slow::one_letter_messages,
        "§2: Nothing is lost while the receiver keeps up: 64 KiB of one-letter messages cut \
         off nobody who reads.",
    ),
    row(
        "slow-full-queue",
        CHAT,
        slow::full_queue_not_slow,
        "§2: Nothing is lost while the receiver keeps up: a megabyte at once cuts off nobody \
         who reads.",
    ),
    row(
        "slow-short-pause",
        CHAT,
        slow::short_pause_forgiven,
        "§2: A client that reads is never disconnected for a pause of less than a second.",
    ),
    #[cfg(unix)]
    row(
        "slow-suspended-server",
        CHAT,
        slow::suspended_server,
        "§2: A client that reads is never disconnected for a pause of the server; time in which \
         the server itself did not run does not count.",
    ),
    row(
        "limits-chat-full",
        CHAT,
        limits::chat_is_full,
        "§1: a connection past the limit is closed at once (a tin-can chat first tells it \
         `server: full`), a warning is logged, and the clients already there notice nothing.",
    ),
    row(
        "limits-echo-full",
        MULTI,
        limits::echo_is_full,
        "§1: a connection past the limit is closed at once, a warning is logged, and the \
         clients already there notice nothing.",
    ),
    row(
        "limits-refusals-counted",
        SEVERAL,
        limits::refusals_are_counted,
        "§1: Nor does the log ever stall a server: refused connections cost at most 10 lines \
         a second, with a count of those left out.",
    ),
    #[cfg(unix)]
    row(
        "limits-descriptors",
        SEVERAL,
        exhaustion::run_out_and_come_back,
        rules::LIMITS_DESCRIPTORS,
    ),
    #[cfg(unix)]
    row(
        "limits-threads-at-start",
        EVERY,
        shortage::few_threads_at_start,
        rules::LIMITS_THREADS_AT_START,
    )
    .needs(Needs::OtherUser),
    #[cfg(unix)]
    row("limits-threads", SEVERAL, shortage::no_thread_for_many, rules::LIMITS_THREADS)
        .needs(Needs::OtherUser),
    #[cfg(unix)]
    row(
        "limits-address-space",
        SEVERAL,
        shortage::little_address_space,
        rules::LIMITS_ADDRESS_SPACE,
    )
    .needs(Needs::AddressSpace),
    #[cfg(unix)]
    row("limits-burst", EVERY, survival::burst_of_connections, rules::LIMITS_BURST),
    row("survive-resets", EVERY, survival::reset_by_many, rules::SURVIVE_RESETS),
    #[cfg(unix)]
    row(
        "survive-reset-in-backlog",
        EVERY,
        survival::reset_before_accept,
        rules::SURVIVE_RESET_IN_BACKLOG,
    ),
    row("survive-crowds", SEVERAL, memory::comes_back, rules::SURVIVE_CROWDS).needs(Needs::Figures),
    row("survive-garbage", CHAT, survival::garbage_disturbs_nobody, rules::SURVIVE_GARBAGE),
    #[cfg(target_os = "linux")]
    row("survive-interrupted", EVERY, interrupted::retried, rules::SURVIVE_INTERRUPTED)
        .needs(Needs::Interrupts),
    #[cfg(unix)]
    row("survive-stdout-closed", EVERY, outlets::stdout_closed, rules::SURVIVE_STDOUT_CLOSED),
    #[cfg(target_os = "linux")]
    row("survive-stdout-full", EVERY, outlets::stdout_full, rules::SURVIVE_STDOUT_FULL),
    #[cfg(unix)]
    row("survive-stderr-closed", EVERY, outlets::stderr_closed, rules::SURVIVE_STDERR_CLOSED),
    row("survive-stderr-unread", EVERY, outlets::stderr_unread, rules::SURVIVE_STDERR_UNREAD),
    #[cfg(target_os = "linux")]
    row("survive-disk-full", EVERY, outlets::disk_full, rules::SURVIVE_DISK_FULL),
    row(
        "leave-half-close",
        CHAT,
        leaving::half_close_relayed,
        "§2: A half-close is not a disconnect in itself: what the client sent before is \
         relayed.",
    ),
    row(
        "leave-half-close-idle",
        CHAT,
        leaving::half_closed_and_idle,
        "§2: A half-close: what is queued for it is still delivered, then the server closes; \
         nothing was.",
    ),
    row(
        "leave-half-close-queued",
        CHAT,
        leaving::half_close_delivers,
        "§2: what is queued for it is still delivered (for at most 3 s), then the server \
         closes.",
    ),
    row(
        "leave-half-close-unread",
        CHAT,
        leaving::half_closed_non_reader,
        "§2: what is queued for it is still delivered (for at most 3 s), then the server \
         closes.",
    ),
    row(
        "leave-half-close-all",
        CHAT,
        leaving::half_close_by_all,
        "§2: what the client sent before is relayed, then the server closes.",
    ),
    row(
        "leave-much-queued",
        CHAT,
        leaving::leaves_with_much_queued,
        "§1: however it leaves, the server and every other client go on: with much queued for \
         it.",
    ),
    #[cfg(unix)]
    row(
        "stop-idle",
        EVERY,
        stopping::idle,
        "§1: exit code 0 after SIGINT or SIGTERM; no longer than needed.",
    ),
    #[cfg(unix)]
    row(
        "stop-silent-clients",
        EVERY,
        stopping::with_silent_clients,
        "§1: SIGINT, SIGTERM: then close every connection and exit 0; no longer than needed.",
    ),
    #[cfg(unix)]
    row(
        "stop-members-see-end",
        CHAT,
        stopping::members_see_the_end,
        "§1: SIGINT, SIGTERM: then close every connection, in good order.",
    ),
    #[cfg(unix)]
    row(
        "stop-port-free",
        EVERY,
        stopping::port_is_free,
        "§1: SIGINT, SIGTERM: stop accepting; a server can be started on the port again at \
         once.",
    ),
    #[cfg(unix)]
    row(
        "stop-unfinished",
        EVERY,
        stopping::unfinished_frame_holds_nothing,
        "§1: SIGINT, SIGTERM: no longer than needed; an unfinished message needs nothing.",
    ),
    #[cfg(unix)]
    row(
        "stop-delivers-megabytes",
        CHAT,
        stopping::megabytes_are_delivered,
        "§1: a chat server delivers what is already queued, then closes every connection.",
    ),
    #[cfg(unix)]
    row(
        "stop-non-reader",
        CHAT,
        stopping::non_reader_cannot_hold,
        "§1: delivers what is already queued, for at most 3 s.",
    ),
    #[cfg(unix)]
    row("stop-no-newcomers", CHAT, stopping::no_newcomers, "§1: SIGINT, SIGTERM: stop accepting."),
    #[cfg(unix)]
    row(
        "stop-second-signal",
        CHAT,
        stopping::second_signal,
        "§1: A second signal ends it at once.",
    ),
    #[cfg(unix)]
    row(
        "stop-rests",
        CHAT,
        stopping::rests_meanwhile,
        "§1: SIGINT, SIGTERM: then close every connection; the processor is nobody's meanwhile.",
    )
    .needs(Needs::Figures),
    #[cfg(unix)]
    row(
        "stop-conversation",
        EVERY,
        stopping::amid_a_conversation,
        "§1: SIGINT, SIGTERM: for at most 3 s, whatever the clients go on saying.",
    ),
    row(
        "log-three-lines",
        EVERY,
        log::three_lines,
        "§1: one line an event: `Connection from ADDR`, `ADDR: text` for each message, \
         `Client ADDR disconnected`.",
    ),
    row(
        "log-thousand-lines",
        EVERY,
        log::a_thousand_lines,
        "§1: one line an event, `ADDR: text` for each message.",
    ),
    row(
        "log-one-line-for-many",
        CHAT,
        log::one_line_for_many,
        "§1: one line an event, however many hear the message.",
    ),
    row("log-escapes", EVERY, log::controls_escaped, rules::LOG_ESCAPES),
    row("log-not-forged", EVERY, log::events_not_forged, rules::LOG_NOT_FORGED),
    row(
        "log-errors-escaped",
        EVERY,
        log::errors_escaped,
        "§1: Text that came from the network and goes to a log has its control characters \
         escaped, also where it is an error.",
    ),
    row("log-quiet", EVERY, log::quiet, rules::LOG_QUIET),
    row("log-rust-log", EVERY, log::rust_log, rules::LOG_RUST_LOG),
    row("log-rust-log-mistyped", EVERY, log::rust_log_mistyped, rules::LOG_RUST_LOG_MISTYPED),
    row(
        "log-each-reason",
        EVERY,
        log::each_reason_apart,
        "§1: the log: for what went wrong the address and why; of each reason ten lines a second.",
    ),
    row(
        "log-rust-log-debug",
        CHAT,
        log::rust_log_debug,
        "§1: the log: set by `RUST_LOG`. §2: Bytes left are dropped (logged at `debug`).",
    ),
    row(
        "log-broken-connection",
        EVERY,
        log::broken_connection_told,
        "§1: the log: for what went wrong the address, what was being done, and why.",
    ),
    #[cfg(unix)]
    row(
        "trace-tells-all",
        EVERY,
        trace::tells_all,
        "§1: `--trace FILE`: spans of what each thread or task does, complete after SIGINT or SIGTERM.",
    ),
    #[cfg(unix)]
    row(
        "trace-waiting",
        LANES,
        trace::waiting_shows,
        "§1: `--trace FILE`: a lane for each thread or task, and its waiting shows.",
    ),
    #[cfg(unix)]
    row(
        "trace-one-at-a-time",
        UNI,
        trace::one_after_the_other,
        "§1: `--trace FILE`. §2: One client at a time.",
    ),
    #[cfg(unix)]
    row(
        "trace-killed",
        EVERY,
        trace::killed,
        "§1: `--trace FILE`: opens even when the server is killed.",
    ),
    #[cfg(unix)]
    row(
        "trace-no-such-folder",
        EVERY,
        trace::no_such_folder,
        "§1: 1 with a one-line reason on stderr when it cannot start (the trace cannot be made).",
    ),
    #[cfg(unix)]
    row(
        "trace-two-servers",
        EVERY,
        trace::two_servers,
        "§1: 1 with a one-line reason on stderr when it cannot start (another server's trace).",
    ),
    #[cfg(unix)]
    row(
        "trace-something-else",
        EVERY,
        trace::something_else,
        "§1: 1 with a one-line reason on stderr when it cannot start (it is no trace).",
    ),
    #[cfg(target_os = "linux")]
    row("trace-disk-full", EVERY, trace::disk_full, rules::SURVIVE_DISK_FULL),
    #[cfg(unix)]
    row(
        "trace-fifo",
        EVERY,
        trace::fifo,
        "§1: 1 with a one-line reason on stderr when it cannot start (the trace is no file).",
    ),
    #[cfg(unix)]
    row(
        "trace-loop-rests",
        POLL,
        trace::loop_rests,
        "§1: never spin the processor; and `--trace FILE` would show it.",
    ),
];
