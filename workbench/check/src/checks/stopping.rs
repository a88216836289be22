//! Checks that after SIGINT or SIGTERM a server delivers what is queued and ends in time.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::half_close::expect_delivered;
use crate::check::own_check;
use crate::log_events::message_line;
use crate::profile::{CHAT_STAGES, STAGES};
use crate::room::ChatRoom;
use crate::{Bench, Check, Needs, Serves, Theme};
use probe::port::Port;
use probe::server::{Server, Signal};
use probe::wire::{Client, Received};
use probe::{fail, wait_until};

pub(crate) const ROWS: &[Check] = &[
    #[cfg(unix)]
    own_check(
        "stop-idle",
        Theme::Closing,
        STAGES,
        idle,
        "§1: exit code 0 after SIGINT or SIGTERM; no longer than needed.",
    )
    .non_stages(Serves::One),
    #[cfg(unix)]
    own_check(
        "stop-silent-clients",
        Theme::Closing,
        STAGES,
        with_silent_clients,
        "§1: SIGINT, SIGTERM: then close every connection and exit 0; no longer than needed.",
    )
    .non_stages(Serves::One),
    #[cfg(unix)]
    own_check(
        "stop-members-see-end",
        Theme::Closing,
        CHAT_STAGES,
        clients_get_the_end,
        "§1: SIGINT, SIGTERM: then close every connection, with an end and not with a reset.",
    ),
    #[cfg(unix)]
    own_check(
        "stop-port-free",
        Theme::Closing,
        STAGES,
        port_is_free,
        "§1: SIGINT, SIGTERM: stop accepting; a server can be started on the port again at once.",
    )
    .non_stages(Serves::OneAtATime),
    #[cfg(unix)]
    own_check(
        "stop-unfinished",
        Theme::Closing,
        STAGES,
        unfinished_msg_delays_nothing,
        "§1: SIGINT, SIGTERM: no longer than needed: an unfinished message does not delay the end.",
    )
    .non_stages(Serves::One),
    #[cfg(unix)]
    own_check(
        "stop-delivers-megabytes",
        Theme::Closing,
        CHAT_STAGES,
        megabytes_are_delivered,
        "§1: a chat server delivers what is already queued, then closes every connection.",
    ),
    #[cfg(unix)]
    own_check(
        "stop-non-reader",
        Theme::Closing,
        CHAT_STAGES,
        non_reader_delays_3_s,
        "§1: delivers what is already queued, for at most 3 s.",
    ),
    #[cfg(unix)]
    own_check(
        "stop-no-newcomers",
        Theme::Closing,
        CHAT_STAGES,
        no_new_clients,
        "§1: SIGINT, SIGTERM: stop accepting.",
    ),
    #[cfg(unix)]
    own_check(
        "stop-second-signal",
        Theme::Closing,
        CHAT_STAGES,
        second_signal,
        "§1: A second signal ends it at once.",
    ),
    #[cfg(unix)]
    own_check(
        "stop-rests",
        Theme::Closing,
        CHAT_STAGES,
        idle_while_clients_stay,
        "§1: SIGINT, SIGTERM: then close every connection; until then, the server does not spin.",
    )
    .non_stages(Serves::Many)
    .needs(Needs::Figures),
    #[cfg(unix)]
    own_check(
        "stop-conversation",
        Theme::Closing,
        STAGES,
        clients_that_keep_sending,
        "§1: SIGINT, SIGTERM: for at most 3 s, even if the clients continue to send.",
    )
    .non_stages(Serves::One),
    #[cfg(unix)]
    own_check(
        "stop-two-signals",
        Theme::Closing,
        &[],
        two_signals,
        "§1: A second signal ends it at once.",
    )
    .non_stages(Serves::One),
];

/// Clearly less than the 3 s for which a server may wait for its clients.
const MAX_PROMPT: Duration = Duration::from_millis(2500);

/// Clearly more than these 3 s, but not unlimited.
const MAX_DRAIN: Duration = Duration::from_secs(6);

/// Checks that the server ends in less than `PROMPT` in one of three tries. A busy machine may delay one
/// try, but a server that waits without need is late in every try.
fn promptly(mut try_once: impl FnMut() -> Result<Duration>) -> Result<()> {
    let mut took = Vec::new();
    for _ in 0..3 {
        took.push(try_once()?);
        if took.iter().any(|it| *it < MAX_PROMPT) {
            return Ok(());
        }
    }
    fail(
        "stopped a server that has no reason to wait",
        format!("an end within {MAX_PROMPT:?} in one of 3 tries"),
        format!("{took:?}"),
    )
}

pub(super) fn idle(bench: &Bench) -> Result<()> {
    for signal in [Signal::TERM, Signal::INT] {
        promptly(|| {
            let mut server = bench.start_with_args(&[])?;
            server.signal(signal)?;
            server.expect_exit(&format!("sent {signal:?} to an idle server"))
        })?;
    }
    Ok(())
}

pub(super) fn with_silent_clients(bench: &Bench) -> Result<()> {
    for signal in [Signal::TERM, Signal::INT] {
        promptly(|| {
            let mut server = bench.start_with_args(&[])?;
            let mut clients = vec![bench.connect_accepted(&server)?];
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

/// Expects the end of the connection; in a chat, messages of other clients may come before it.
fn expect_ended(client: &mut Client) -> Result<()> {
    client.recv_msgs_to_end().map(drop)
}

pub(super) fn clients_get_the_end(bench: &Bench) -> Result<()> {
    let mut room = ChatRoom::start_with_args(bench, &[], 3)?;
    room.server.signal(Signal::TERM)?;
    room.members.iter_mut().try_for_each(Client::expect_eof)?;
    room.server.expect_exit("sent SIGTERM").map(drop)
}

pub(super) fn port_is_free(bench: &Bench) -> Result<()> {
    let port = Port::reserve()?;
    let launch = bench.launch_with_args(&["--port", &port.to_string()])?;
    let mut server = bench.start_with_own_args(launch.clone())?;
    let _client = bench.connect_accepted(&server)?;
    server.signal(Signal::TERM)?;
    server.expect_exit("sent SIGTERM")?;
    if TcpStream::connect(server.addr()).is_ok() {
        return fail(
            "connected to the port after the server's end",
            "the connection is refused",
            "a connection",
        );
    }
    // A server is started on the port again at once, although connections of the first one linger.
    bench.expect_new_client_served(&bench.start_with_own_args(launch)?)
}

pub(super) fn unfinished_msg_delays_nothing(bench: &Bench) -> Result<()> {
    promptly(|| {
        let mut server = bench.start_with_args(&[])?;
        let mut client = bench.connect_accepted(&server)?;
        client.send(b"unfinished")?;
        crate::bench::wait_until_read(&client)?;
        server.signal(Signal::TERM)?;
        server.expect_exit("sent SIGTERM while a client was in the middle of a message")
    })
}

/// How many messages of 1 KB wait in the server's queue for a client that does not read yet.
const QUEUED_MSGS: usize = 180;

fn with_much_queued(bench: &Bench) -> Result<(ChatRoom<'_>, Client, String)> {
    let mut room = ChatRoom::start_with_args(bench, &[], 2)?;
    let late = room.connect_slow_reader()?;
    let text = "q".repeat(1000);
    room.send_and_expect_many(0, &text, QUEUED_MSGS - 1)?;
    // When the others have received this, every message before it is queued for all clients.
    room.send_and_expect(0, &text)?;
    let relay = message_line(room.members[0].addr(), &text);
    Ok((room, late, relay))
}

/// Checks that even megabytes, if the kernel has room for them, arrive after the server's end.
pub(super) fn megabytes_are_delivered(bench: &Bench) -> Result<()> {
    let mut room = ChatRoom::start_with_args(bench, &[], 2)?;
    let late = Client::connect(room.server.addr())?;
    room.add_member(late)?;
    let Some(mut late) = room.members.pop() else {
        return Ok(());
    };
    let text = "m".repeat(8000);
    room.send_and_expect_many(0, &text, 149)?;
    room.send_and_expect(0, &text)?;
    room.server.signal(Signal::TERM)?;
    expect_delivered(&mut late, &message_line(room.members[0].addr(), &text), 150)?;
    room.server.expect_exit("sent SIGTERM while megabytes were on the way").map(drop)
}

pub(super) fn non_reader_delays_3_s(bench: &Bench) -> Result<()> {
    let (mut room, _never, _) = with_much_queued(bench)?;
    let begin = Instant::now();
    room.server.signal(Signal::TERM)?;
    room.server
        .expect_exit("sent SIGTERM while 180 KB were queued for a client that never reads")?;
    let took = begin.elapsed();
    let (_, log) = room.server.output_lines()?;
    if let Some(line) = log.iter().find(|line| line.contains("panicked")) {
        return fail("sent SIGTERM while a client never read", "no panic in the log", line);
    }
    if took < MAX_DRAIN {
        return Ok(());
    }
    fail("sent SIGTERM while a client never read", "an end after 3 s", format!("{took:?}"))
}

pub(super) fn no_new_clients(bench: &Bench) -> Result<()> {
    let (room, _never, _) = with_much_queued(bench)?;
    room.server.signal(Signal::TERM)?;
    let shut = wait_until(Duration::from_secs(2), || Ok(!is_answered(&room.server)))?;
    if shut {
        return Ok(());
    }
    fail(
        "connected after SIGTERM",
        "no answer 2 s after SIGTERM",
        "an answer to each message in these 2 s",
    )
}

fn is_answered(server: &Server) -> bool {
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
            // The exit status does not matter, as long as it ends.
            let ended = room.server.wait(probe::TIMEOUT)?;
            let took = begin.elapsed();
            if ended.is_some() {
                Ok(took)
            } else {
                fail("sent two signals", "an end", "it still runs")
            }
        })?;
    }
    Ok(())
}

/// Checks that a second signal ends the server, with clients that could delay its end where there
/// are any.
pub(super) fn two_signals(bench: &Bench) -> Result<()> {
    promptly(|| {
        let mut server = bench.start_with_args(&[])?;
        let connect_slow_clients = bench.own_server().and_then(|it| it.connect_slow_clients);
        let _clients = match connect_slow_clients {
            Some(clients) => clients(&server)?,
            None => vec![bench.connect_accepted(&server)?],
        };
        let begin = Instant::now();
        server.signal(Signal::TERM)?;
        if connect_slow_clients.is_some() {
            server.expect_running("sent one signal while clients delayed the end")?;
        }
        server.signal(Signal::INT)?;
        match server.wait(probe::TIMEOUT)? {
            Some(_) => Ok(begin.elapsed()),
            None => fail("sent two signals", "an end", "it still runs"),
        }
    })
}

/// Checks that the server is idle while it waits for clients that stay connected.
pub(super) fn idle_while_clients_stay(bench: &Bench) -> Result<()> {
    /// The processor time that ending may cost; a loop that spins takes several times that.
    const MAX_CPU: Duration = Duration::from_millis(150);
    let mut server = bench.start_with_args(&[])?;
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(bench.connect_accepted(&server)?);
    }
    let cpu = |server: &Server| server.usage().map_or(Duration::ZERO, |figures| figures.cpu);
    let before = cpu(&server);
    server.signal(Signal::TERM)?;
    let mut used = Duration::ZERO;
    let ended = wait_until(probe::TIMEOUT, || {
        used = used.max(cpu(&server).saturating_sub(before));
        Ok(server.wait(Duration::ZERO)?.is_some())
    })?;
    let did = "sent SIGTERM while clients stayed connected";
    match (ended, used < MAX_CPU) {
        (true, true) => Ok(()),
        (true, false) => {
            let expected = format!("less than {MAX_CPU:?} of processor time until the end");
            fail(did, expected, format!("{used:?}"))
        }
        (false, _) => fail(did, "an end", "it still runs"),
    }
}

/// Checks that clients that continue to send do not delay the server's end.
pub(super) fn clients_that_keep_sending(bench: &Bench) -> Result<()> {
    let mut server = bench.start_with_args(&[])?;
    let mut clients = Vec::new();
    for _ in 0..5 {
        clients.push(Client::connect(server.addr())?);
    }
    for client in &mut clients {
        client.send(&b"another message\0".repeat(100))?;
    }
    let begin = Instant::now();
    server.signal(Signal::TERM)?;
    for client in &mut clients {
        client.try_send(b"one more\0");
    }
    server.expect_exit("sent SIGTERM while clients were sending")?;
    if begin.elapsed() < MAX_DRAIN {
        return Ok(());
    }
    fail(
        "sent SIGTERM while clients were sending",
        "an end within 3 s",
        format!("{:?}", begin.elapsed()),
    )
}
