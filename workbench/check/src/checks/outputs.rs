//! A log or a standard output that goes nowhere must not stop a server.

#[cfg(target_os = "linux")]
use std::io::{ErrorKind, PipeReader, PipeWriter, Read as _, Write as _};
#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd as _;

use anyhow::Result;

use crate::bench::Room;
use crate::check::ours;
use crate::profile::STAGES;
use crate::{Bench, Check, Serves, Theme};
#[cfg(target_os = "linux")]
use probe::fail;
use probe::server::{OutputTo, Server};
use probe::wire::Client;

pub(crate) const ROWS: &[Check] = &[
    #[cfg(unix)]
    ours(
        "survive-stdout-closed",
        Theme::Log,
        STAGES,
        stdout_closed,
        "§1: a closed stdout never stops or stalls a server.",
    )
    .others(Serves::OneAtATime),
    #[cfg(target_os = "linux")]
    ours(
        "survive-stdout-full",
        Theme::Log,
        STAGES,
        stdout_full,
        "§1: a stdout that is full from the start never stops or stalls a server.",
    )
    .others(Serves::OneAtATime),
    #[cfg(unix)]
    ours(
        "survive-stderr-closed",
        Theme::Log,
        STAGES,
        stderr_closed,
        "\
    §1: Nor does the log: a stderr that is closed or whose reader has gone never stops or stalls \
    a server.",
    )
    .others(Serves::OneAtATime),
    ours(
        "survive-stderr-unread",
        Theme::Log,
        STAGES,
        stderr_unread,
        "§1: a stderr that nobody reads never stops or stalls a server.",
    )
    .others(Serves::OneAtATime),
    #[cfg(target_os = "linux")]
    ours(
        "survive-disk-full",
        Theme::Log,
        STAGES,
        disk_full,
        "§1: a full disk never stops or stalls a server.",
    )
    .others(Serves::OneAtATime),
];

/// A few messages: what a broken outlet spoils, it spoils at once.
#[cfg(unix)]
const FEW: usize = 200;

/// So many messages that no pipe holds their lines.
const MANY: usize = 30_000;

#[cfg(unix)]
pub(super) fn stdout_closed(bench: &Bench) -> Result<()> {
    goes_on(bench, bench.run_unheard(bench.launch(&[]).stdout(OutputTo::Closed))?, FEW)?;
    goes_on(bench, bench.run_unheard(bench.launch(&[]).stdout(OutputTo::ReaderClosed))?, FEW)
}

#[cfg(unix)]
pub(super) fn stderr_closed(bench: &Bench) -> Result<()> {
    goes_on(bench, bench.run(bench.launch(&["-v"]).stderr(OutputTo::Closed))?, FEW)?;
    goes_on(bench, bench.run(bench.launch(&["-v"]).stderr(OutputTo::ReaderClosed))?, FEW)?;
    let both = bench.launch(&[]).stdout(OutputTo::Closed).stderr(OutputTo::Closed);
    goes_on(bench, bench.run_unheard(both)?, FEW)
}

pub(super) fn stderr_unread(bench: &Bench) -> Result<()> {
    goes_on(bench, bench.run(bench.launch(&[]).stderr(OutputTo::Unread))?, MANY)
}

#[cfg(target_os = "linux")]
pub(super) fn disk_full(bench: &Bench) -> Result<()> {
    let full = || OutputTo::File("/dev/full".into());
    goes_on(bench, bench.run(bench.launch(&["-v"]).stderr(full()))?, FEW)?;
    goes_on(bench, bench.run_unheard(bench.launch(&[]).stdout(full()))?, FEW)?;
    let both = bench.launch(&[]).stdout(full()).stderr(full());
    goes_on(bench, bench.run_unheard(both)?, FEW)
}

/// A standard output that is full from the start, alone or with the log; and the line that says where
/// the server listens comes when somebody reads after all.
#[cfg(target_os = "linux")]
pub(super) fn stdout_full(bench: &Bench) -> Result<()> {
    let (_unread, full) = full_pipe()?;
    goes_on(bench, bench.run_unheard(bench.launch(&[]).stdout(outlet(&full)))?, FEW)?;
    let both = bench.launch(&[]).stdout(outlet(&full)).stderr(outlet(&full));
    goes_on(bench, bench.run_unheard(both)?, FEW)?;
    let (reader, full) = full_pipe()?;
    let server = bench.run_unheard(bench.launch(&[]).stdout(outlet(&full)))?;
    bench.expect_works(&server)?;
    let line = format!("Listening on {}\n", server.addr());
    let printed = read_what_comes(reader, line.as_bytes())?;
    if printed.ends_with(line.as_bytes()) {
        return Ok(());
    }
    fail("read a full standard output at last", format!("{line:?}"), probe::wire::show(&printed))
}

/// A pipe that takes no more bytes.
#[cfg(target_os = "linux")]
fn full_pipe() -> Result<(PipeReader, PipeWriter)> {
    let (reader, writer) = std::io::pipe()?;
    rustix::io::ioctl_fionbio(&writer, true)?;
    // The last bytes one by one: a pipe takes few bytes as a whole or not at all.
    for bytes in [&[b'x'; 4096][..], b"x"] {
        while (&writer).write(bytes).is_ok() {}
    }
    Ok((reader, writer))
}

/// Returns the pipe as a file, because one that is opened anew makes its writers wait.
#[cfg(target_os = "linux")]
fn outlet(pipe: &PipeWriter) -> OutputTo {
    OutputTo::File(format!("/proc/self/fd/{}", pipe.as_raw_fd()).into())
}

/// Reads until the end of the stream, or until the patience is over.
#[cfg(target_os = "linux")]
fn read_what_comes(mut reader: PipeReader, end: &[u8]) -> Result<Vec<u8>> {
    rustix::io::ioctl_fionbio(&reader, true)?;
    let mut bytes = Vec::new();
    probe::wait_until(probe::TIMEOUT, || match reader.read_to_end(&mut bytes) {
        Err(err) if err.kind() != ErrorKind::WouldBlock => Err(err.into()),
        _ => Ok(bytes.ends_with(end)),
    })?;
    Ok(bytes)
}

/// The server must serve so many messages, and others after a client's error, and end well.
pub(super) fn goes_on(bench: &Bench, server: Server, messages: usize) -> Result<()> {
    let mut server = if bench.profile().is_chat() {
        let mut room = Room::around(bench, server, 2)?;
        room.pour(0, "filling the log", messages)?;
        room.server
    } else {
        fill_the_log(bench, &server, messages)?;
        server
    };
    bench.misbehave(&server)?;
    bench.expect_works(&server)?;
    end_well(&mut server)
}

/// An echo server takes one message a connection, so these are few and long.
///
/// Of a protocol of its own, only the lines are known that tell of a client's coming and going.
fn fill_the_log(bench: &Bench, server: &Server, messages: usize) -> Result<()> {
    if bench.own().is_some() {
        return (0..messages / 30).try_for_each(|_| bench.expect_works(server));
    }
    let text = "filling the log ".repeat(1000);
    for _ in 0..(messages / 500).max(5) {
        bench.exchange(&mut Client::connect(server.addr())?, &text)?;
    }
    Ok(())
}

#[cfg(unix)]
fn end_well(server: &mut Server) -> Result<()> {
    server.signal(probe::server::Signal::TERM)?;
    server.expect_exit("let the log go nowhere, then sent SIGTERM").map(drop)
}

#[cfg(not(unix))]
fn end_well(server: &mut Server) -> Result<()> {
    server.expect_alive("let the log go nowhere")
}
