//! Checks how a server ends after SIGTERM.

use std::time::Duration;

use anyhow::Result;

use crate::bench::wait_until_read;
use crate::check::{CHAT_ROW, ROW_AFTER_FRAMING};
use crate::room::ChatRoom;
use crate::{Bench, Check, Needs, Profile, Theme};
use probe::server::{Server, Signal};
use probe::wire::{Client, Received};
use probe::{Description, fail, fail_timeout, sockdiag, wait_until};

pub(crate) const ROWS: &[Check] = &[
    #[cfg(unix)]
    Check {
        id: "term-delivers",
        theme: Theme::Closing,
        title: "SIGTERM: queued messages arrive",
        rule: "At SIGTERM, a chat server delivers every message that is already queued, for at \
               most 3 s.",
        needs: Needs::Process,
        after: &["slow-nobody-freezes", "frame-half-close"],
        hints: [
            "The server ends with messages still in its queues.",
            "The handler of SIGTERM: without one, the signal ends the process at once.",
            "Handle SIGTERM: stop accepting, stop reading, write until the queues are empty or 3 \
             s have passed, and then end.",
        ],
        page: "protocol.md#The server's own end",
        run: queued_arrives,
        ..CHAT_ROW
    },
    #[cfg(unix)]
    Check {
        id: "term-port",
        theme: Theme::Closing,
        title: "SIGTERM: the port closes",
        rule: "At SIGTERM, the server stops accepting, closes every connection and ends, within 3 s.",
        must_pass: Profile::is_any,
        needs: Needs::Process,
        after: &["frame-three"],
        hints: [
            "The server ignores SIGTERM, or leaves a process or thread behind that holds the port.",
            "The handler of SIGTERM, and processes or threads that it does not end.",
            "At SIGTERM, close the listener, end every worker and child process, and then end.",
        ],
        page: "protocol.md#The server's own end",
        run: port_closes,
        ..ROW_AFTER_FRAMING
    },
];

/// Returns how long a server may deliver, plus what a busy machine adds.
fn at_most(bench: &Bench) -> Duration {
    Duration::from_secs(3) + bench.patience()
}

/// How many messages of 1 KB are queued for a client that does not read yet: more than the kernel
/// holds.
const QUEUED_MSGS: usize = 120;

pub(super) fn queued_arrives(bench: &Bench) -> Result<()> {
    let mut room = ChatRoom::start(bench, 2)?;
    let late = room.connect_slow_reader()?;
    let text = "q".repeat(1000);
    room.send_and_expect_many(0, &text, QUEUED_MSGS - 1)?;
    // When the others have received this, every message before it is queued for all clients.
    room.send_and_expect(0, &text)?;
    bench.set_step(format!(
        "{QUEUED_MSGS} KB were queued for C, which did not read yet; the server received SIGTERM; \
         then C read"
    ));
    late.note("(SIGTERM to the server)");
    room.server.signal(Signal::TERM)?;
    // This is enough time for a server to end if it drops its queues, or to send them.
    room.server.wait(Duration::from_secs(1))?;
    late.enlarge_recv_buffer()?;
    let relay = bench.relayed(room.members[0].addr(), &text).into_bytes();
    let late = late.with_timeout(at_most(bench));
    expect_all(late, &relay)
}

fn expect_all(mut late: Client, relay: &[u8]) -> Result<()> {
    for i in 0..QUEUED_MSGS {
        match late.recv(late.timeout())? {
            Received::Msg(frame) if frame == relay => {}
            other => {
                let expected = format!("all {QUEUED_MSGS} messages, then the end");
                let came = format!("{i} messages, then {other}");
                return fail(late.transcript(), expected, came);
            }
        }
    }
    match late.recv(late.timeout())? {
        // The next check expects the end.
        Received::Eof | Received::Reset | Received::Timeout => Ok(()),
        other @ Received::Msg(_) => {
            Err(late.failure(Description::text("the end of the connection"), other))
        }
    }
}

pub(super) fn port_closes(bench: &Bench) -> Result<()> {
    let mut server = bench.start_server()?;
    let mut silent = bench.connect(&server)?;
    silent.send(&bench.unfinished_message())?;
    wait_until_read(&silent)?;
    bench.set_step("A was connected, in the middle of a message; the server received SIGTERM");
    silent.note("(SIGTERM to the server)");
    server.signal(Signal::TERM)?;
    let ended = server.wait(at_most(bench))?.is_some();
    bench.record_leftover_processes(&server);
    if !is_open(&server) && ended {
        return expect_end(bench, silent);
    }
    let got = match (ended, is_open(&server)) {
        (false, true) => "the server still runs, and its port is open".to_owned(),
        (false, false) => "its port is closed, but the server still runs".to_owned(),
        _ => format!(
            "the port is still open: it left {} behind",
            server.leftover_processes().join(", ")
        ),
    };
    fail_timeout("", "the server ends within 3 s, and its port is closed", got)
}

fn is_open(server: &Server) -> bool {
    match sockdiag::listeners() {
        Some(all) => all.iter().any(|it| it.addr.port() == server.addr().port()),
        None => std::net::TcpStream::connect(server.addr()).is_ok(),
    }
}

/// Expects the end of the connection of a client that was connected.
fn expect_end(bench: &Bench, mut client: Client) -> Result<()> {
    let ended = wait_until(bench.patience(), || {
        Ok(matches!(client.recv(bench.patience())?, Received::Eof | Received::Reset))
    })?;
    if ended { Ok(()) } else { fail_timeout("", "A's connection ends", "it is still open") }
}
