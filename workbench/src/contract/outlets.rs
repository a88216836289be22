//! A log or a standard output that goes nowhere must not stop a server.

use anyhow::Result;

use crate::check::Bench;
use crate::check::bench::Room;
use crate::server::{Outlet, Server};
use crate::wire::Client;

/// A few messages: what a broken outlet spoils, it spoils at once.
#[cfg(unix)]
const FEW: usize = 200;

/// So many messages that no pipe holds their lines.
const MANY: usize = 30_000;

#[cfg(unix)]
pub(super) fn stdout_closed(bench: &Bench) -> Result<()> {
    goes_on(bench, bench.run_unheard(bench.launch(&[]).stdout(Outlet::Closed))?, FEW)?;
    goes_on(bench, bench.run_unheard(bench.launch(&[]).stdout(Outlet::ReaderGone))?, FEW)
}

#[cfg(unix)]
pub(super) fn stderr_closed(bench: &Bench) -> Result<()> {
    goes_on(bench, bench.run(bench.launch(&["-v"]).stderr(Outlet::Closed))?, FEW)?;
    goes_on(bench, bench.run(bench.launch(&["-v"]).stderr(Outlet::ReaderGone))?, FEW)?;
    let both = bench.launch(&[]).stdout(Outlet::Closed).stderr(Outlet::Closed);
    goes_on(bench, bench.run_unheard(both)?, FEW)
}

pub(super) fn stderr_unread(bench: &Bench) -> Result<()> {
    goes_on(bench, bench.run(bench.launch(&[]).stderr(Outlet::Unread))?, MANY)
}

#[cfg(target_os = "linux")]
pub(super) fn disk_full(bench: &Bench) -> Result<()> {
    let full = || Outlet::File("/dev/full".into());
    goes_on(bench, bench.run(bench.launch(&["-v"]).stderr(full()))?, FEW)?;
    goes_on(bench, bench.run_unheard(bench.launch(&[]).stdout(full()))?, FEW)?;
    let both = bench.launch(&[]).stdout(full()).stderr(full());
    goes_on(bench, bench.run_unheard(both)?, FEW)
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
    if bench.speech().is_some() {
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
    server.signal(crate::server::Signal::TERM)?;
    server.expect_exit("let the log go nowhere, then sent SIGTERM").map(drop)
}

#[cfg(not(unix))]
fn end_well(server: &mut Server) -> Result<()> {
    server.expect_alive("let the log go nowhere")
}
