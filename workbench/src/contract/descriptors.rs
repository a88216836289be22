//! Leaving no descriptor and no thread behind.

use anyhow::{Context, Result};

use super::events;
use crate::check::Bench;
use crate::procfs::Figures;
use crate::server::Server;
use crate::wire::Client;
use crate::{PATIENCE, fail, wait_until};

/// Waits until the server uses no more threads and descriptors than when it started.
fn leaves_nothing(server: &Server, before: Figures) -> Result<()> {
    /// What a runtime may start once and keep.
    const SLACK: u64 = 8;
    let mut now = before;
    let as_before = wait_until(PATIENCE, || {
        now = server.figures().context("the server is gone")?;
        Ok(now.threads <= before.threads + SLACK && now.descriptors <= before.descriptors + SLACK)
    })?;
    if as_before {
        return Ok(());
    }
    fail("let 1,000 clients come and go", format!("about {before:?}"), format!("{now:?}"))
}

pub(super) fn thousand_come_and_go(bench: &Bench) -> Result<()> {
    const CYCLES: usize = 1000;
    let server = bench.start(&[])?;
    let before = server.figures();
    for i in 0..CYCLES {
        let mut client = Client::connect(server.addr())?;
        bench.exchange(&mut client, "and away")?;
        match i % 4 {
            0 => client.reset()?,
            1 => _ = client.send_regardless(b"unfinished"),
            2 => client.half_close().or_else(|_| anyhow::Ok(()))?,
            _ => {}
        }
    }
    events::expect_all_left_but(&server, 0)?;
    // Where the system tells no figures, that all are reported gone has to do.
    before.map_or(Ok(()), |before| leaves_nothing(&server, before))
}
