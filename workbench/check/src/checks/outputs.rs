//! Checks that a server continues if its log or its standard output cannot be written.

#[cfg(target_os = "linux")]
use std::io::{ErrorKind, PipeReader, PipeWriter, Read as _, Write as _};
#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd as _;

use anyhow::Result;

use crate::check::own_check;
use crate::profile::STAGES;
use crate::room::ChatRoom;
use crate::{Bench, Check, Serves, Theme};
#[cfg(target_os = "linux")]
use probe::fail;
use probe::server::{OutputTo, Server};
use probe::wire::Client;

pub(crate) const ROWS: &[Check] = &[
    #[cfg(unix)]
    own_check(
        "survive-stdout-closed",
        Theme::Log,
        STAGES,
        stdout_closed,
        "§1: a closed stdout never stops or stalls a server.",
    )
    .non_stages(Serves::OneAtATime),
    #[cfg(target_os = "linux")]
    own_check(
        "survive-stdout-full",
        Theme::Log,
        STAGES,
        stdout_full,
        "§1: a stdout that is full from the start never stops or stalls a server.",
    )
    .non_stages(Serves::OneAtATime),
    #[cfg(unix)]
    own_check(
        "survive-stderr-closed",
        Theme::Log,
        STAGES,
        stderr_closed,
        "§1: Nor does the log: a stderr that is closed, or whose reader has closed it, never \
         stops or stalls a server.",
    )
    .non_stages(Serves::OneAtATime),
    own_check(
        "survive-stderr-unread",
        Theme::Log,
        STAGES,
        stderr_unread,
        "§1: a stderr that nobody reads never stops or stalls a server.",
    )
    .non_stages(Serves::OneAtATime),
    #[cfg(target_os = "linux")]
    own_check(
        "survive-disk-full",
        Theme::Log,
        STAGES,
        disk_full,
        "§1: a full disk never stops or stalls a server.",
    )
    .non_stages(Serves::OneAtATime),
];

/// How many messages are enough where an output fails: it fails at the first.
#[cfg(unix)]
const FEW_MSGS: usize = 200;

/// How many messages are enough to fill any pipe with their log lines.
const MANY_MSGS: usize = 30_000;

#[cfg(unix)]
pub(super) fn stdout_closed(bench: &Bench) -> Result<()> {
    serve_and_stop(
        bench,
        bench.start_with_port_argument(bench.launch_with_args(&[])?.stdout(OutputTo::Closed))?,
        FEW_MSGS,
    )?;
    serve_and_stop(
        bench,
        bench.start_with_port_argument(
            bench.launch_with_args(&[])?.stdout(OutputTo::ReaderClosed),
        )?,
        FEW_MSGS,
    )
}

#[cfg(unix)]
pub(super) fn stderr_closed(bench: &Bench) -> Result<()> {
    serve_and_stop(
        bench,
        bench.start_launch(bench.launch_with_args(&["-v"])?.stderr(OutputTo::Closed))?,
        FEW_MSGS,
    )?;
    serve_and_stop(
        bench,
        bench.start_launch(bench.launch_with_args(&["-v"])?.stderr(OutputTo::ReaderClosed))?,
        FEW_MSGS,
    )?;
    let both = bench.launch_with_args(&[])?.stdout(OutputTo::Closed).stderr(OutputTo::Closed);
    serve_and_stop(bench, bench.start_with_port_argument(both)?, FEW_MSGS)
}

pub(super) fn stderr_unread(bench: &Bench) -> Result<()> {
    serve_and_stop(
        bench,
        bench.start_launch(bench.launch_with_args(&[])?.stderr(OutputTo::Unread))?,
        MANY_MSGS,
    )
}

#[cfg(target_os = "linux")]
pub(super) fn disk_full(bench: &Bench) -> Result<()> {
    let full = || OutputTo::File("/dev/full".into());
    serve_and_stop(
        bench,
        bench.start_launch(bench.launch_with_args(&["-v"])?.stderr(full()))?,
        FEW_MSGS,
    )?;
    serve_and_stop(
        bench,
        bench.start_with_port_argument(bench.launch_with_args(&[])?.stdout(full()))?,
        FEW_MSGS,
    )?;
    let both = bench.launch_with_args(&[])?.stdout(full()).stderr(full());
    serve_and_stop(bench, bench.start_with_port_argument(both)?, FEW_MSGS)
}

/// Checks that a server continues if its standard output is full from the start, alone or with the
/// log; and that the line with its address arrives when the output is read later.
#[cfg(target_os = "linux")]
pub(super) fn stdout_full(bench: &Bench) -> Result<()> {
    let (_unread, full) = full_pipe()?;
    serve_and_stop(
        bench,
        bench.start_with_port_argument(bench.launch_with_args(&[])?.stdout(pipe_as_file(&full)))?,
        FEW_MSGS,
    )?;
    let both = bench.launch_with_args(&[])?.stdout(pipe_as_file(&full)).stderr(pipe_as_file(&full));
    serve_and_stop(bench, bench.start_with_port_argument(both)?, FEW_MSGS)?;
    let (reader, full) = full_pipe()?;
    let server =
        bench.start_with_port_argument(bench.launch_with_args(&[])?.stdout(pipe_as_file(&full)))?;
    bench.expect_new_client_served(&server)?;
    let line = format!("Listening on {}\n", server.addr());
    let printed = read_available(reader, line.as_bytes())?;
    if printed.ends_with(line.as_bytes()) {
        return Ok(());
    }
    fail(
        "read a full standard output after the server had started",
        format!("{line:?}"),
        probe::wire::show(&printed),
    )
}

/// Returns a pipe that is full.
#[cfg(target_os = "linux")]
fn full_pipe() -> Result<(PipeReader, PipeWriter)> {
    let (reader, writer) = std::io::pipe()?;
    rustix::io::ioctl_fionbio(&writer, true)?;
    // The last bytes are written one by one: a pipe accepts a small write as a whole or not at all.
    for bytes in [&[b'x'; 4096][..], b"x"] {
        while (&writer).write(bytes).is_ok() {}
    }
    Ok((reader, writer))
}

/// Returns the pipe as a file. Opening it creates a new, blocking description, in which writers
/// wait for the reader.
#[cfg(target_os = "linux")]
fn pipe_as_file(pipe: &PipeWriter) -> OutputTo {
    OutputTo::File(format!("/proc/self/fd/{}", pipe.as_raw_fd()).into())
}

/// Reads until the bytes end with `end`, or until the timeout.
#[cfg(target_os = "linux")]
fn read_available(mut reader: PipeReader, end: &[u8]) -> Result<Vec<u8>> {
    rustix::io::ioctl_fionbio(&reader, true)?;
    let mut bytes = Vec::new();
    probe::wait_until(probe::TIMEOUT, || match reader.read_to_end(&mut bytes) {
        Err(err) if err.kind() != ErrorKind::WouldBlock => Err(err.into()),
        _ => Ok(bytes.ends_with(end)),
    })?;
    Ok(bytes)
}

/// Checks that the server serves this many messages, serves other clients after one client's error,
/// and ends with exit code 0.
pub(super) fn serve_and_stop(bench: &Bench, server: Server, messages: usize) -> Result<()> {
    let mut server = if bench.profile().is_chat() {
        let mut room = ChatRoom::with_server(bench, server, 2)?;
        room.send_and_expect_many(0, "filling the log", messages)?;
        room.server
    } else {
        fill_log(bench, &server, messages)?;
        server
    };
    bench.send_protocol_error(&server)?;
    bench.expect_new_client_served(&server)?;
    stop(&mut server)
}

/// Sends messages to an echo server, which takes one a connection: so these are few and long.
///
/// In other protocols, only the lines for a client's connect and disconnect are known.
fn fill_log(bench: &Bench, server: &Server, messages: usize) -> Result<()> {
    if bench.own_server().is_some() {
        return (0..messages / 30).try_for_each(|_| bench.expect_new_client_served(server));
    }
    let text = "filling the log ".repeat(1000);
    for _ in 0..(messages / 500).max(5) {
        bench.exchange(&mut Client::connect(server.addr())?, &text)?;
    }
    Ok(())
}

#[cfg(unix)]
fn stop(server: &mut Server) -> Result<()> {
    server.signal(probe::server::Signal::TERM)?;
    server
        .expect_exit("ran the server with an output that cannot be written, then sent SIGTERM")
        .map(drop)
}

#[cfg(not(unix))]
fn stop(server: &mut Server) -> Result<()> {
    server.expect_running("let the log go nowhere")
}
