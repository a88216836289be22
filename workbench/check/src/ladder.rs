use Profile::{
    AppProtocol, Calc, Chat, ChatAsync, ChatPoll, ChatSelect, ChatThreads, EchoMulti, EchoSelect,
    EchoUni, TeaParty,
};
use Theme::{Concurrency, Framing, SlowReaders, Survival};

#[cfg(unix)]
use super::leaving;
use super::{
    Check, Needs, Profile, Theme, app_protocol, calc, chat, chat_select, concurrency, echo_select,
    framing, slow, survival, tea_party,
};

const EVERY: &[Profile] = &[EchoUni, EchoMulti, Chat, ChatThreads, ChatPoll, ChatAsync];
const CHATS: &[Profile] = &[Chat, ChatThreads, ChatPoll, ChatAsync];
const UNI: &[Profile] = &[EchoUni];
const NOBODY: &[Profile] = &[];

/// Who is asked what has nothing to do with tin-can messages.
const ANY: &[Profile] = &[
    EchoUni,
    EchoMulti,
    Chat,
    ChatThreads,
    ChatPoll,
    ChatAsync,
    EchoSelect,
    AppProtocol,
    Calc,
    ChatSelect,
    TeaParty,
];
const SEVERAL: &[Profile] = match ANY {
    [EchoUni, several @ ..] => several,
    all => all,
};

/// The tables: what has to do with tin-can messages or with no protocol at all, and each protocol's.
const TABLES: [&[Check]; 6] = [
    TIN_CANS,
    echo_select::ROWS,
    app_protocol::ROWS,
    calc::ROWS,
    chat_select::ROWS,
    tea_party::ROWS,
];

const fn number_of_rows() -> usize {
    let (mut rows, mut i) = (0, 0);
    while i < TABLES.len() {
        rows += TABLES[i].len();
        i += 1;
    }
    rows
}

/// The rows of all tables, part by part of the ladder.
const fn all_rows() -> [Check; number_of_rows()] {
    let mut all = [STANDS_ON_ONE; number_of_rows()];
    let (mut rows, mut theme) = (0, Framing as u8);
    while theme <= Theme::Contract as u8 {
        let mut i = 0;
        while i < TABLES.len() {
            let mut j = 0;
            while j < TABLES[i].len() {
                if TABLES[i][j].theme as u8 == theme {
                    all[rows] = TABLES[i][j];
                    rows += 1;
                }
                j += 1;
            }
            i += 1;
        }
        theme += 1;
    }
    all
}

/// The ladder, from easy to hard: what any server of its kind has to do, whatever it is written in.
///
/// The hints of a row say what is likely wrong, where to look, and how to mend it.
pub const LADDER: &[Check] = &all_rows();

/// What is asked of servers that speak tin-can messages, and some of it of any server.
const TIN_CANS: &[Check] = &[
    Check {
        id: "frame-one",
        theme: Framing,
        title: "one message",
        rule: "A message is UTF-8 text ended by one ␀. echo-uni answers the text itself, echo-multi \
               `ADDR: text` with the client's address; then both close. A chat relays `ADDR: text` to \
               all, the sender included.",
        who: EVERY,
        limit: NOBODY,
        needs: Needs::Nothing,
        after: &[],
        hints: [
            "The answer has not the bytes that the protocol asks for: look at its ␀, at what stands \
             before the text, and at who closes the connection.",
            "Where the answer is made: the function that turns a text into bytes, and the one that \
             ends an exchange.",
            "Send the text, one zero byte, nothing else (echo-multi and chat: `ADDR: ` before it, \
             with the client's address and port); flush; an echo server then closes the connection.",
        ],
        read: "protocol.md#Why messages need frames",
        run: framing::one,
    },
    Check {
        id: "frame-three",
        title: "three messages in a row",
        rule: "Each message is answered as it is: blanks, tabs and any character included.",
        after: &["frame-one"],
        hints: [
            "The text is changed on its way (stripped, re-coded), or the server serves once only, or \
             answers twice.",
            "Calls such as strip(), trim(), or a conversion with another encoding than UTF-8; the \
             end of the loop that serves clients.",
            "Relay the bytes between two ␀ as they are; go back to the next message, or the next \
             client, after each.",
        ],
        run: framing::three,
        ..STANDS_ON_ONE
    },
    Check {
        id: "frame-bytewise",
        title: "a byte at a time",
        rule: "A read may bring half a message: keep the rest for the next read.",
        hints: [
            "Each read is taken for a whole message. TCP is a stream of bytes: one read may bring \
             half a message.",
            "The loop around the read: what happens when there is no ␀ in what it brought?",
            "Append what each read brings to a buffer that belongs to the client; take a message \
             out only when there is a ␀ in it.",
        ],
        read: "protocol.md#The rest",
        run: framing::bytewise,
        ..STANDS_ON_ONE
    },
    Check {
        id: "frame-one-write",
        title: "three messages in one write",
        rule: "A read may bring three messages and a half: each counts, and the half is kept.",
        after: &["frame-bytewise"],
        hints: [
            "Only the first message of a read is seen, or what follows it is taken for part of it, or \
             what follows the last ␀ is lost.",
            "What happens to the bytes behind the first ␀ of a read, and behind the last?",
            "Split at every ␀; all but the last piece are messages (an echo server answers the first \
             and ignores the others); the last piece is the rest, to be kept for the next read.",
        ],
        read: "protocol.md#The rest",
        run: framing::one_write,
        ..STANDS_ON_ONE
    },
    Check {
        id: "frame-torn-character",
        title: "a character torn in two",
        rule: "A read may bring half a character, too: only whole messages are decoded.",
        after: &["frame-bytewise"],
        hints: [
            "What a read brings is decoded at once. A read may end amid a character of several \
             bytes.",
            "The place of decode() or its like: before or after the search for the ␀?",
            "Collect bytes, search for the ␀ in bytes, and decode a message only when it is whole.",
        ],
        read: "protocol.md#The rest",
        run: framing::torn_character,
        ..STANDS_ON_ONE
    },
    Check {
        id: "frame-empty",
        title: "empty messages",
        rule: "An empty message (two ␀ in a row) is ignored.",
        after: &["frame-one-write"],
        hints: [
            "An empty message is answered, or taken for the end.",
            "Splitting \"␀␀first␀\" gives empty pieces: what is done with them?",
            "Skip a message of no bytes, and go on with the next.",
        ],
        read: "protocol.md#Errors",
        run: |bench| framing::or_silent(framing::empty(bench)),
        ..STANDS_ON_ONE
    },
    Check {
        id: "frame-long",
        title: "a message of 16,384 bytes",
        rule: "A message may have 16,384 bytes before its ␀.",
        after: &["frame-torn-character"],
        hints: [
            "A long message is cut or refused: one read or one write does not move all of it.",
            "The size given to read, and the number that write returns.",
            "Read until there is a ␀; write until all is written (sendall, write_all). Allow 16,384 \
             bytes.",
        ],
        read: "protocol.md#Limits",
        run: framing::long,
        ..STANDS_ON_ONE
    },
    Check {
        id: "frame-half-close",
        title: "a client that has said its last",
        rule: "A client that closes its sending side still gets what is due to it; then the server \
               closes.",
        who: ANY,
        needs: Needs::HalfClose,
        after: &[
            "frame-three",
            "slow-pause",
            "select-echo",
            "app-search",
            "calc-sum",
            "names-hello",
            "party-before",
        ],
        hints: [
            "A read of no bytes is taken for the end of the whole connection; it is the end of one \
             direction.",
            "What happens when a read brings nothing: is anything still to be sent to this client?",
            "When a read brings nothing, read no more from this client; send what is queued for it, \
             and close then.",
        ],
        read: "protocol.md#Half-close",
        run: framing::half_close,
        ..STANDS_ON_ONE
    },
    Check {
        id: "frame-bad-utf8",
        title: "bytes that are not UTF-8",
        rule: "A message that is not UTF-8 is a protocol error: it is not relayed, that client is \
               disconnected, and nobody else notices.",
        after: &["frame-three", "chat-everyone"],
        hints: [
            "Bad bytes are passed on, or the error that they cause goes further than their client.",
            "What decoding does with bad bytes, and who catches the error if it throws one.",
            "Decode strictly; on an error close that client's connection, and go on with the others.",
        ],
        read: "protocol.md#Errors",
        run: framing::bad_utf8,
        ..STANDS_ON_ONE
    },
    Check {
        id: "frame-endless",
        title: "a message without an end",
        rule: "A message longer than the limit is a protocol error, also while its ␀ has not come.",
        after: &["frame-bytewise", "chat-everyone"],
        hints: [
            "The buffer of an unfinished message grows without bound, and one client can fill the \
             memory; or the error that is raised then ends more than that client.",
            "The buffer in which a message is collected: who looks at its size?",
            "When more than 16,384 bytes are there without a ␀, close that client's connection.",
        ],
        read: "protocol.md#Limits",
        run: framing::endless,
        ..STANDS_ON_ONE
    },
    Check {
        id: "frame-after-error",
        title: "what comes after an error",
        rule: "After a protocol error nothing more of that client is relayed, also while its \
               connection is being closed.",
        who: CHATS,
        after: &["frame-bad-utf8", "frame-endless"],
        hints: [
            "The client was told to go, but what it sends is still taken for messages.",
            "What is read after the error: the other messages of the same read, and what comes \
             between the end of the sending side and the close.",
            "Leave the loop over the messages at an error, take the client out of the room, and throw \
             away what is read from it after that.",
        ],
        read: "protocol.md#Errors",
        run: |bench| framing::or_silent(framing::after_error(bench)),
        ..STANDS_ON_ONE
    },
    Check {
        id: "leave-amid",
        theme: Survival,
        title: "a client leaves amid a message",
        rule: "What a client has begun to say when it leaves is dropped, and nothing stays of it.",
        who: ANY,
        needs: Needs::Figures,
        after: &[
            "frame-bytewise",
            "select-echo",
            "app-any-split",
            "calc-sum",
            "names-hello",
            "party-before",
        ],
        hints: [
            "A read of no bytes is the end of what the client sends. A loop that goes on reading gets \
             no bytes again and again, and never ends.",
            "What happens in the loop around the read when it brings nothing.",
            "When a read brings nothing, leave the loop, and close that client's connection.",
        ],
        read: "protocol.md#Half-close",
        run: survival::left_amid,
        ..STANDS_ON_ONE
    },
    Check {
        id: "reset-any-moment",
        theme: Survival,
        title: "a reset at every moment",
        rule: "However a client leaves, the server and every other client go on.",
        who: ANY,
        after: &[
            "frame-three",
            "select-echo",
            "app-search",
            "calc-sum",
            "names-hello",
            "party-before",
        ],
        hints: [
            "An error of one client (connection reset, broken pipe) ends more than that client.",
            "Each read, write and accept: where does its error go? A reset can come up in any.",
            "Catch the errors of a client where its handler is called, log them, close that client, \
             and go on.",
        ],
        read: "echo-uni.md#Where it breaks",
        run: survival::reset_at_every_moment,
        ..STANDS_ON_ONE
    },
    Check {
        id: "reset-hundred",
        theme: Survival,
        title: "a hundred resets in a row",
        rule: "However clients leave, the server and every other client go on.",
        who: ANY,
        after: &["reset-any-moment"],
        hints: [
            "One reset is survived and many are not: each costs something that is not given back.",
            "What a handler leaves behind when it ends by an error: its place, its lock, its thread.",
            "Give back on every way out what a client has taken (finally, defer, a destructor).",
        ],
        read: "echo-uni.md#Where it breaks",
        run: survival::hundred_resets,
        ..STANDS_ON_ONE
    },
    Check {
        id: "cycles-thousand",
        theme: Survival,
        title: "a thousand clients come and go",
        rule: "Clients that have left cost no descriptor, no thread and no memory.",
        who: ANY,
        needs: Needs::Figures,
        after: &["frame-long", "reset-hundred", "leave-amid"],
        hints: [
            "Something of each client stays behind: its socket, its thread or process, or what it \
             said.",
            "What refers to a client or its messages after it has left? Lists, tables, histories, \
             threads that wait.",
            "Close each socket on every way out, take the client out of every table, let its threads \
             end, wait for child processes, and keep nothing that was said.",
        ],
        read: "echo-multi.md#Where it breaks",
        run: survival::thousand_cycles,
        ..STANDS_ON_ONE
    },
    Check {
        id: "silent-peer",
        theme: Concurrency,
        title: "a silent client beside one that speaks",
        rule: "A client that is silent holds up nobody; in echo-uni it holds up everybody, and that \
               is its lesson.",
        who: SEVERAL,
        limit: UNI,
        after: &[
            "frame-bytewise",
            "select-echo",
            "app-any-split",
            "calc-bytewise",
            "names-cut",
            "party-before",
            "party-cut",
        ],
        hints: [
            "The server waits for one client and serves nobody else meanwhile.",
            "The loop that accepts: does it read from a client itself, or wait for one to end?",
            "Accept in a loop that does nothing else: a thread for each client, one wait for the \
             readiness of all, or a task for each.",
        ],
        read: "echo-multi.md#Predict",
        run: concurrency::silent_peer,
        ..STANDS_ON_ONE
    },
    Check {
        id: "crowd-200",
        theme: Concurrency,
        title: "200 clients at once",
        rule: "200 clients are served at once; echo-uni serves them in turn.",
        who: ANY,
        after: &["silent-peer", "frame-one-write", "chat-everyone"],
        hints: [
            "There is room for fewer clients than that: a limit, a pool, or a backlog that is full.",
            "Numbers: of workers, of places, the argument of listen().",
            "Let clients in as they come; ask listen() for a backlog of 1,024.",
        ],
        read: "echo-multi.md#Where it breaks",
        run: concurrency::two_hundred,
        ..STANDS_ON_ONE
    },
    Check {
        id: "crowd-1100",
        theme: Concurrency,
        title: "1,100 clients at once",
        rule: "1,100 clients at once are served; a server with a thread for each may refuse some, \
               but leaves nobody waiting.",
        who: SEVERAL,
        after: &["crowd-200"],
        hints: [
            "Something ends at 1,024: select(2), or the number of descriptors that a process may \
             have.",
            "Which call waits for clients, and `ulimit -n`.",
            "Use poll, epoll or kqueue instead of select; raise the soft limit of descriptors when \
             the server starts; close what there is no room for.",
        ],
        read: "chat-poll.md#Where it breaks",
        run: concurrency::eleven_hundred,
        ..STANDS_ON_ONE
    },
    Check {
        id: "threads-each",
        theme: Concurrency,
        title: "a thread for each client",
        rule: "chat-threads: each client has a thread (or process) of its own.",
        who: &[ChatThreads],
        needs: Needs::Figures,
        hints: [
            "The server has fewer threads than clients: it is built in another way than its profile \
             says.",
            "What happens after accept: is a thread started?",
            "Start a thread for each client, or check it as `chat`.",
        ],
        read: "chat-threads.md#The picture",
        run: concurrency::thread_a_client,
        ..STANDS_ON_ONE
    },
    Check {
        id: "threads-one",
        theme: Concurrency,
        title: "one thread for all",
        rule: "chat-poll: no client has a thread of its own.",
        who: &[ChatPoll],
        needs: Needs::Figures,
        hints: [
            "Threads come with the clients: the server is built in another way than its profile says.",
            "What happens after accept: is a thread started?",
            "Register each client with the one loop that waits for all, or check it as `chat`.",
        ],
        read: "chat-poll.md#The code in pieces",
        run: concurrency::one_thread,
        ..STANDS_ON_ONE
    },
    Check {
        id: "threads-few",
        theme: Concurrency,
        title: "a few threads for all",
        rule: "chat-async: the tasks of all clients share a few threads.",
        who: &[ChatAsync],
        needs: Needs::Figures,
        hints: [
            "Threads come with the clients: something in the tasks blocks, or is run in a thread \
             each.",
            "Blocking calls inside tasks, and calls that hand work to a pool.",
            "Await what waits, in a task for each client, or check it as `chat`.",
        ],
        read: "chat-async.md#The code in pieces",
        run: concurrency::few_threads,
        ..STANDS_ON_ONE
    },
    Check {
        id: "chat-everyone",
        title: "everyone gets it",
        rule: "Each message goes to every client connected at that moment, the sender included, once.",
        hints: [
            "A message does not reach all: somebody is left out, or gets it twice.",
            "The list of those it is sent to: who puts a client in, and when?",
            "Put a client into the table when it is accepted, and send each message to all in the \
             table, the sender too.",
        ],
        run: chat::everyone,
        ..CHAT_ROW
    },
    Check {
        id: "chat-sender-order",
        title: "each sender's messages in order",
        rule: "One sender's messages arrive in the order sent, each once.",
        after: &["chat-everyone", "frame-one-write"],
        hints: [
            "Messages overtake each other: two ways lead from a sender to a receiver, or what is \
             queued last is sent first.",
            "What hands messages on: a thread or task for each message? A stack instead of a queue?",
            "One reader for each client, one queue for each client, first in, first out.",
        ],
        run: |bench| framing::or_silent(chat::order_of_each(bench)),
        ..CHAT_ROW
    },
    Check {
        id: "chat-one-order",
        title: "one order for all",
        rule: "Every client sees all messages in the same order.",
        after: &["chat-sender-order", "chat-whole-frames"],
        hints: [
            "Each client gets the messages in an order of its own: two broadcasts run at the same \
             time, or one's own messages take a shorter way.",
            "What is held while a message is put into all queues: one lock, or one for each?",
            "Put a message into the queues of all clients under one lock, or in one thread.",
        ],
        run: |bench| framing::or_silent(chat::one_order(bench)),
        ..CHAT_ROW
    },
    Check {
        id: "chat-late-joiner",
        title: "a late joiner",
        rule: "A message goes to those connected at that moment, and to nobody who comes later.",
        after: &["chat-everyone", "frame-one-write"],
        hints: [
            "A newcomer is sent what was said before it came.",
            "What is kept of old messages, and what is done when a client is accepted.",
            "Start each client with an empty queue of its own.",
        ],
        run: |bench| framing::or_silent(chat::late_joiner(bench)),
        ..CHAT_ROW
    },
    Check {
        id: "chat-leaver",
        title: "somebody leaves during a broadcast",
        rule: "However a client leaves, every other client gets every message.",
        after: &["chat-everyone", "frame-one-write", "reset-any-moment"],
        hints: [
            "When a client leaves amid a broadcast, another misses a message, or the broadcast ends.",
            "The loop over the clients: is one taken out of the list while the loop walks over it?",
            "Walk over a copy, or collect who has left and take them out afterwards.",
        ],
        run: chat::leaver,
        ..CHAT_ROW
    },
    Check {
        id: "chat-whole-frames",
        title: "no torn or mixed messages with 8 writers",
        rule: "Each message arrives whole: nothing of another one in it.",
        after: &["chat-everyone", "frame-long", "frame-one-write"],
        hints: [
            "Two threads write to one socket at a time, or one message is written in pieces.",
            "How many places write to a client's socket, and what one call writes.",
            "Make the whole frame first, prefix and ␀ included; let one thread alone write to a \
             socket, or hold that client's lock for the whole frame.",
        ],
        run: |bench| framing::or_silent(chat::whole_frames(bench)),
        ..CHAT_ROW
    },
    Check {
        id: "slow-pause",
        theme: SlowReaders,
        title: "a client that pauses",
        rule: "What a client has not read yet waits for it: all of it arrives when it reads on.",
        after: &["chat-sender-order"],
        hints: [
            "What a socket does not take at once is lost, or is never sent.",
            "What the call that writes returns: how much of the bytes it took, or that it took none \
             now. What is done with the rest?",
            "Keep the rest at the head of the client's queue, and send it when the socket can be \
             written again; or write in a thread of the client's own, with a call that waits.",
        ],
        read: "protocol.md#Slow consumers",
        run: slow::pause,
        ..CHAT_ROW
    },
    Check {
        id: "slow-nobody-freezes",
        theme: SlowReaders,
        title: "nobody freezes",
        rule: "No client waits for one that does not read, ever.",
        after: &["chat-everyone", "frame-long", "reset-any-moment", "frame-one-write"],
        hints: [
            "The server writes to a client that does not read, waits there, and with it waits the \
             room.",
            "What blocks when the receiver's buffers are full, and what is held meanwhile (a lock, \
             the one loop).",
            "Only put messages into a queue for each client; a thread for each, or write readiness, \
             empties it.",
        ],
        read: "protocol.md#Slow consumers",
        run: slow::nobody_freezes,
        ..CHAT_ROW
    },
    Check {
        id: "slow-memory",
        theme: SlowReaders,
        title: "memory stays bounded",
        rule: "A client that does not keep up is disconnected, and memory stays bounded.",
        needs: Needs::Figures,
        after: &["slow-nobody-freezes"],
        hints: [
            "The queue of a client that does not read grows without bound.",
            "The queue of a client: who looks at how much is in it?",
            "Bound it (256 KiB, say); a client whose queue is full although the kernel takes nothing \
             more is disconnected.",
        ],
        read: "protocol.md#Slow consumers",
        run: slow::memory_bounded,
        ..CHAT_ROW
    },
    #[cfg(unix)]
    Check {
        id: "term-delivers",
        theme: Theme::Leaving,
        title: "SIGTERM: what is queued arrives",
        rule: "At SIGTERM, a chat server delivers what is already queued, for at most 3 s.",
        needs: Needs::Process,
        after: &["slow-nobody-freezes", "frame-half-close"],
        hints: [
            "The server ends with messages still in its queues.",
            "What SIGTERM does: if nobody handles it, it ends the process at once.",
            "Handle SIGTERM: accept no more, read no more, write until the queues are empty or 3 s \
             have passed, and end then.",
        ],
        read: "protocol.md#The server's own end",
        run: leaving::queued_arrives,
        ..CHAT_ROW
    },
    #[cfg(unix)]
    Check {
        id: "term-port",
        theme: Theme::Leaving,
        title: "SIGTERM: the port closes",
        rule: "At SIGTERM, the server stops accepting, closes every connection and ends, within 3 s.",
        who: ANY,
        needs: Needs::Process,
        after: &[
            "frame-three",
            "select-echo",
            "app-search",
            "calc-sum",
            "names-hello",
            "party-before",
        ],
        hints: [
            "SIGTERM is ignored, or something is left running that holds the port.",
            "The handler of SIGTERM, and processes or threads that it does not know of.",
            "At SIGTERM close the listener, end every worker and child process, and end.",
        ],
        read: "protocol.md#The server's own end",
        run: leaving::port_closes,
        ..STANDS_ON_ONE
    },
];

/// What the rows have in common that need nothing but a server that answers, again and again.
pub(super) const STANDS_ON_ONE: Check = Check {
    id: "",
    theme: Framing,
    title: "",
    rule: "",
    who: EVERY,
    limit: NOBODY,
    needs: Needs::Nothing,
    after: &["frame-three"],
    hints: [""; 3],
    read: "protocol.md#Why messages need frames",
    run: framing::one,
};

/// What the rows for chats have in common.
const CHAT_ROW: Check =
    Check { theme: Theme::Chat, who: CHATS, read: "chat-threads.md#The picture", ..STANDS_ON_ONE };

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_row_is_complete_and_stands_on_rows_that_are_there() {
        let ids: HashSet<_> = LADDER.iter().map(|check| check.id).collect();
        assert_eq!(ids.len(), LADDER.len());
        for check in LADDER {
            let texts = [check.id, check.title, check.rule];
            assert!(texts.iter().chain(&check.hints).all(|it| !it.is_empty()), "{}", check.id);
            assert!(!check.who.is_empty(), "{}", check.id);
            assert!(
                check.after.iter().all(|id| ids.contains(id) && *id != check.id),
                "{}",
                check.id
            );
        }
    }

    #[test]
    fn what_to_read_is_in_the_book() {
        for check in LADDER {
            let (page, heading) = check.read.split_once('#').unwrap();
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src").join(page);
            let text = fs::read_to_string(path).unwrap();
            assert!(text.lines().any(|line| line == format!("## {heading}")), "{}", check.read);
        }
    }
}
