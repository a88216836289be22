//! SIGINT and SIGTERM: what is queued is delivered, and the server is gone in time.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::half_close::expect_delivered;
use crate::bench::Room;
use crate::check::ours;
use crate::log_events::said;
use crate::profile::{CHAT_STAGES, STAGES};
use crate::{Bench, Check, Needs, Serves, Theme};
use probe::port::Port;
use probe::server::{Server, Signal};
use probe::wire::{Client, Received};
use probe::{fail, wait_until};

pub(crate) const ROWS: &[Check] = &[
    #[cfg(unix)]
    ours(
        "stop-idle",
        Theme::Leaving,
        STAGES,
        idle,
        "§1: exit code 0 after SIGINT or SIGTERM; no longer than needed.",
    )
    .others(Serves::One),
    #[cfg(unix)]
    ours(
        "stop-silent-clients",
        Theme::Leaving,
        STAGES,
        with_silent_clients,
        "§1: SIGINT, SIGTERM: then close every connection and exit 0; no longer than needed.",
    )
    .others(Serves::One),
    #[cfg(unix)]
    ours(
        "stop-members-see-end",
        Theme::Leaving,
        CHAT_STAGES,
        members_see_the_end,
        "§1: SIGINT, SIGTERM: then close every connection, in good order.",
    ),
    #[cfg(unix)]
    ours(
        "stop-port-free",
        Theme::Leaving,
        STAGES,
        port_is_free,
        "§1: SIGINT, SIGTERM: stop accepting; a server can be started on the port again at \
         once.",
    )
    .others(Serves::OneAtATime),
    #[cfg(unix)]
    ours(
        "stop-unfinished",
        Theme::Leaving,
        STAGES,
        unfinished_frame_holds_nothing,
        "§1: SIGINT, SIGTERM: no longer than needed; an unfinished message needs nothing.",
    )
    .others(Serves::One),
    #[cfg(unix)]
    ours(
        "stop-delivers-megabytes",
        Theme::Leaving,
        CHAT_STAGES,
        megabytes_are_delivered,
        "§1: a chat server delivers what is already queued, then closes every connection.",
    ),
    #[cfg(unix)]
    ours(
        "stop-non-reader",
        Theme::Leaving,
        CHAT_STAGES,
        non_reader_cannot_hold,
        "§1: delivers what is already queued, for at most 3 s.",
    ),
    #[cfg(unix)]
    ours(
        "stop-no-newcomers",
        Theme::Leaving,
        CHAT_STAGES,
        no_newcomers,
        "§1: SIGINT, SIGTERM: stop accepting.",
    ),
    #[cfg(unix)]
    ours(
        "stop-second-signal",
        Theme::Leaving,
        CHAT_STAGES,
        second_signal,
        "§1: A second signal ends it at once.",
    ),
    #[cfg(unix)]
    ours(
        "stop-rests",
        Theme::Leaving,
        CHAT_STAGES,
        rests_meanwhile,
        "§1: SIGINT, SIGTERM: then close every connection; the processor is nobody's meanwhile.",
    )
    .others(Serves::Many)
    .needs(Needs::Figures),
    #[cfg(unix)]
    ours(
        "stop-conversation",
        Theme::Leaving,
        STAGES,
        amid_a_conversation,
        "§1: SIGINT, SIGTERM: for at most 3 s, whatever the clients go on saying.",
    )
    .others(Serves::One),
    #[cfg(unix)]
    ours(
        "stop-two-signals",
        Theme::Leaving,
        &[],
        two_signals,
        "§1: A second signal ends it at once.",
    )
    .others(Serves::One),
];

/// Clearly less than the 3 s for which a server may wait for its clients.
const PROMPT: Duration = Duration::from_millis(2500);

/// Clearly more than these 3 s, and less than for ever.
const AT_MOST: Duration = Duration::from_secs(6);

/// A busy machine may make one try late; a server that waits without need is late every time.
fn promptly(mut try_once: impl FnMut() -> Result<Duration>) -> Result<()> {
    let mut took = Vec::new();
    for _ in 0..3 {
        took.push(try_once()?);
        if took.iter().any(|it| *it < PROMPT) {
            return Ok(());
        }
    }
    fail(
        "stopped a server for which nobody waits",
        format!("an end in {PROMPT:?}"),
        format!("{took:?}"),
    )
}

pub(super) fn idle(bench: &Bench) -> Result<()> {
    for signal in [Signal::TERM, Signal::INT] {
        promptly(|| {
            let mut server = bench.start(&[])?;
            server.signal(signal)?;
            server.expect_exit(&format!("sent {signal:?} to an idle server"))
        })?;
    }
    Ok(())
}

pub(super) fn with_silent_clients(bench: &Bench) -> Result<()> {
    for signal in [Signal::TERM, Signal::INT] {
        promptly(|| {
            let mut server = bench.start(&[])?;
            let mut clients = vec![bench.known_client(&server)?];
            for _ in 0..3 {
                clients.push(Client::connect(server.addr())?);
            }
            server.signal(signal)?;
            let took = server.expect_exit(&format!("sent {signal:?} with silent clients"))?;
            clients.iter_mut().try_for_each(expect_ended)?;
            Ok(took)
        })?;
    }
    Ok(())
}

/// The connection must have an end; in a chat, what others said may come before.
fn expect_ended(client: &mut Client) -> Result<()> {
    client.recv_msgs_to_end().map(drop)
}

pub(super) fn members_see_the_end(bench: &Bench) -> Result<()> {
    let mut room = Room::open(bench, &[], 3)?;
    room.server.signal(Signal::TERM)?;
    room.members.iter_mut().try_for_each(Client::expect_eof)?;
    room.server.expect_exit("sent SIGTERM").map(drop)
}

pub(super) fn port_is_free(bench: &Bench) -> Result<()> {
    let port = Port::reserve()?;
    let launch = || bench.launch(&["--port", &port.to_string()]);
    let mut server = bench.run_as_given(launch())?;
    let _client = bench.known_client(&server)?;
    server.signal(Signal::TERM)?;
    server.expect_exit("sent SIGTERM")?;
    if TcpStream::connect(server.addr()).is_ok() {
        return fail("connected after the end", "to be refused", "a connection");
    }
    // Started again at once, although connections of the first linger.
    bench.expect_works(&bench.run_as_given(launch())?)
}

pub(super) fn unfinished_frame_holds_nothing(bench: &Bench) -> Result<()> {
    promptly(|| {
        let mut server = bench.start(&[])?;
        let mut client = bench.known_client(&server)?;
        client.send(b"unfinished")?;
        crate::bench::wait_until_read(&client)?;
        server.signal(Signal::TERM)?;
        server.expect_exit("sent SIGTERM amid a message")
    })
}

/// What waits in the server's own queue for a client that does not read yet.
const POURED: usize = 180;

fn with_much_queued(bench: &Bench) -> Result<(Room<'_>, Client, String)> {
    let mut room = Room::open(bench, &[], 2)?;
    let late = room.join_narrow()?;
    let text = "q".repeat(1000);
    room.pour(0, &text, POURED - 1)?;
    // Once this is heard, whatever came before it is queued for everybody.
    room.say(0, &text)?;
    let relay = said(room.members[0].addr(), &text);
    Ok((room, late, relay))
}

/// Even megabytes, where the kernel has room for them, arrive after the end.
pub(super) fn megabytes_are_delivered(bench: &Bench) -> Result<()> {
    let mut room = Room::open(bench, &[], 2)?;
    let late = Client::connect(room.server.addr())?;
    room.join(late)?;
    let Some(mut late) = room.members.pop() else {
        return Ok(());
    };
    let text = "m".repeat(8000);
    room.pour(0, &text, 149)?;
    room.say(0, &text)?;
    room.server.signal(Signal::TERM)?;
    expect_delivered(&mut late, &said(room.members[0].addr(), &text), 150)?;
    room.server.expect_exit("sent SIGTERM with megabytes on the way").map(drop)
}

pub(super) fn non_reader_cannot_hold(bench: &Bench) -> Result<()> {
    let (mut room, _never, _) = with_much_queued(bench)?;
    let begin = Instant::now();
    room.server.signal(Signal::TERM)?;
    room.server.expect_exit("sent SIGTERM with much queued for one that never reads")?;
    let took = begin.elapsed();
    let (_, log) = room.server.output_lines()?;
    if let Some(line) = log.iter().find(|line| line.contains("panicked")) {
        return fail("sent SIGTERM, with one that never reads", "no panic in the log", line);
    }
    if took < AT_MOST {
        return Ok(());
    }
    fail("sent SIGTERM, with one that never reads", "an end after 3 s", format!("{took:?}"))
}

pub(super) fn no_newcomers(bench: &Bench) -> Result<()> {
    let (room, _never, _) = with_much_queued(bench)?;
    room.server.signal(Signal::TERM)?;
    let shut = wait_until(Duration::from_secs(2), || Ok(!is_served(&room.server)))?;
    if shut {
        return Ok(());
    }
    fail("came after SIGTERM", "not to be served", "an answer, for two seconds")
}

fn is_served(server: &Server) -> bool {
    let Ok(mut client) = Client::connect(server.addr()) else {
        return false;
    };
    client.try_send(b"am I late?\0");
    matches!(client.recv(Duration::from_millis(300)), Ok(Received::Msg(frame)) if frame.ends_with(b"late?"))
}

pub(super) fn second_signal(bench: &Bench) -> Result<()> {
    for (first, second) in [(Signal::TERM, Signal::TERM), (Signal::INT, Signal::TERM)] {
        promptly(|| {
            let (mut room, _never, _) = with_much_queued(bench)?;
            let begin = Instant::now();
            room.server.signal(first)?;
            room.server.signal(second)?;
            // How it ends is its own affair, as long as it does.
            let ended = room.server.wait(probe::TIMEOUT)?;
            let took = begin.elapsed();
            if ended.is_some() { Ok(took) } else { fail("sent two signals", "an end", "none") }
        })?;
    }
    Ok(())
}

/// Two signals, for clients that could hold the server where there are such.
pub(super) fn two_signals(bench: &Bench) -> Result<()> {
    promptly(|| {
        let mut server = bench.start(&[])?;
        let held_by = bench.own().and_then(|it| it.held_by);
        let _clients = match held_by {
            Some(clients) => clients(&server)?,
            None => vec![bench.known_client(&server)?],
        };
        let begin = Instant::now();
        server.signal(Signal::TERM)?;
        if held_by.is_some() {
            server.expect_running("sent one signal, with clients that hold the server")?;
        }
        server.signal(Signal::INT)?;
        match server.wait(probe::TIMEOUT)? {
            Some(_) => Ok(begin.elapsed()),
            None => fail("sent two signals", "an end", "none"),
        }
    })
}

/// While clients that stay are waited for, the server rests.
pub(super) fn rests_meanwhile(bench: &Bench) -> Result<()> {
    /// What ending may cost; a loop that does not rest takes several times that.
    const END_COSTS: Duration = Duration::from_millis(150);
    let mut server = bench.start(&[])?;
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(bench.known_client(&server)?);
    }
    let cpu = |server: &Server| server.usage().map_or(Duration::ZERO, |figures| figures.cpu);
    let before = cpu(&server);
    server.signal(Signal::TERM)?;
    let mut used = Duration::ZERO;
    let ended = wait_until(probe::TIMEOUT, || {
        used = used.max(cpu(&server).saturating_sub(before));
        Ok(server.wait(Duration::ZERO)?.is_some())
    })?;
    let did = "sent SIGTERM with clients that stay";
    match (ended, used < END_COSTS) {
        (true, true) => Ok(()),
        (true, false) => {
            let expected = format!("less than {END_COSTS:?} of processor time until the end");
            fail(did, expected, format!("{used:?}"))
        }
        (false, _) => fail(did, "an end", "none"),
    }
}

/// Clients that keep talking do not keep the server.
pub(super) fn amid_a_conversation(bench: &Bench) -> Result<()> {
    let mut server = bench.start(&[])?;
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(Client::connect(server.addr())?);
    }
    for client in &mut clients {
        client.send(&b"talking on and on\0".repeat(100))?;
    }
    let begin = Instant::now();
    server.signal(Signal::TERM)?;
    for client in &mut clients {
        client.try_send(b"and on\0");
    }
    server.expect_exit("sent SIGTERM amid a conversation")?;
    if begin.elapsed() < AT_MOST {
        return Ok(());
    }
    fail("sent SIGTERM amid a conversation", "an end in 3 s", format!("{:?}", begin.elapsed()))
}
