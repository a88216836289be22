//! Checks that a server returns memory after a crowd of clients has left.

use anyhow::{Context as _, Result};

use crate::check::own_check;
use crate::profile::SEVERAL_STAGES;
use crate::{Bench, Check, Needs, Serves, Theme};
use probe::fail;
use probe::server::Server;
use probe::wait_until;
use probe::wire::Client;

pub(crate) const ROWS: &[Check] = &[own_check(
    "survive-crowds",
    Theme::Limits,
    SEVERAL_STAGES,
    memory_is_returned,
    "§1: One client's failure is that client's alone: when many clients leave in the middle of a \
     message, the server gives their memory back (within 10 MiB of before).",
)
.non_stages(Serves::Many)
.needs(Needs::Figures)
.with_unfinished()];

/// How many crowds connect and leave, one after the other.
const WAVES: usize = 4;

/// The smallest crowd, and the fewest bytes that it sends in total: more than a server may keep.
const CLIENTS: usize = 1000;
const SENT: usize = 13 * 1024 * 1024;

/// What a server may keep after a crowd has left, in bytes.
const MAX_KEPT: u64 = 10 * 1024 * 1024;

/// The longest tin-can message, as in `tincanchat`, in bytes.
const LONGEST: usize = 16 * 1024;

/// Checks that the server returns the memory after several crowds have each connected, sent the
/// longest unfinished message of the protocol, and left.
///
/// The rule gives the server 5 s. A busy machine may need longer for the last clients, but a server
/// that keeps the memory never gives it back, so this waits as long as for anything else.
pub(super) fn memory_is_returned(bench: &Bench) -> Result<()> {
    let unfinished = match bench.own_server() {
        None => vec![b'x'; LONGEST],
        Some(own) => own.longest_unfinished.map(|bytes| bytes()).unwrap_or_default(),
    };
    let crowd = CLIENTS.max(SENT / unfinished.len().max(1));
    // The last clients of a wave may still be leaving when all clients of the next have connected.
    let room = (WAVES + 1) * crowd;
    let server = bench.start_with_args(&["-q", "--max-clients", &room.to_string()])?;
    bench.expect_new_client_served(&server)?;
    let before = resident(&server)?;
    for wave in 1..=WAVES {
        let did = format!(
            "wave {wave} of {WAVES}: {crowd} clients sent {} bytes of a message each",
            unfinished.len()
        );
        bench.set_step(did.clone());
        let clients = connect_all(&server, &unfinished, crowd)?;
        // The only sign that the server has read the bytes is that its memory grows.
        let taken = format!("more than {} MiB more than before", mib(MAX_KEPT));
        wait_for_memory(bench, &server, |now| now > before + MAX_KEPT, &taken, before)?;
        drop(clients);
        bench.set_step(format!("{did}, and left"));
        let expected = format!("at most {} MiB more than before", mib(MAX_KEPT));
        wait_for_memory(bench, &server, |now| now <= before + MAX_KEPT, &expected, before)?;
    }
    bench.expect_new_client_served(&server)
}

fn connect_all(server: &Server, unfinished: &[u8], crowd: usize) -> Result<Vec<Client>> {
    let mut clients = Vec::with_capacity(crowd);
    for _ in 0..crowd {
        let mut client = Client::connect(server.addr())?;
        client.send(unfinished)?;
        clients.push(client);
    }
    Ok(clients)
}

fn wait_for_memory(
    bench: &Bench,
    server: &Server,
    is_reached: impl Fn(u64) -> bool,
    expected: &str,
    before: u64,
) -> Result<()> {
    let mut now = 0;
    let in_time = wait_until(bench.patience(), || {
        now = resident(server)?;
        Ok(is_reached(now))
    })?;
    if in_time {
        return Ok(());
    }
    let got = format!("{} MiB resident; {} MiB before the waves", mib(now), mib(before));
    fail(bench.step().unwrap_or_default(), expected, got)
}

fn resident(server: &Server) -> Result<u64> {
    Ok(server.usage().context("the server has ended")?.resident_bytes)
}

fn mib(bytes: u64) -> u64 {
    bytes >> 20
}
