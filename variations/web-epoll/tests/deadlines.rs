//! Tests how long web-epoll waits for a client that does not read, or whose request does not end.
//!
//! `cargo test --workspace` leaves these tests out, because each of them waits ten seconds. Run them with
//!
//! ```sh
//! cargo test -p web-epoll --test deadlines
//! ```
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod harness;

use anyhow::Result;
use probe::wire::Client;
use probe::{TIMEOUT, wait_until};

use harness::{GET, ask, expect, start};

/// Checks that the server stops reading a body that never ends, and a body that does not continue.
#[test]
fn the_rest_of_a_connection_is_not_read_forever() -> Result<()> {
    let server = start(&["--timeout", "1"])?;
    let post = "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut stops = ask(&server, post)?;
    let mut endless = ask(&server, post)?;
    let addr = stops.addr();
    for client in [&mut stops, &mut endless] {
        expect(client, 405)?;
        client.expect_eof()?;
    }
    let is_its_end = |line: &str| line.ends_with(&format!("Client {addr} disconnected"));
    let (mut is_cut, mut has_stopped) = (false, false);
    wait_until(2 * TIMEOUT, || {
        has_stopped |= server.log().count(is_its_end) > 0;
        is_cut |= !endless.try_send(&[b'x'; 100]);
        Ok(is_cut && has_stopped)
    })?;
    assert!(has_stopped && is_cut, "stopped: {has_stopped}, cut: {is_cut}");
    Ok(())
}

#[test]
fn a_client_that_does_not_read_is_disconnected_and_takes_little_memory() -> Result<()> {
    let server = start(&["-q"])?;
    let mut never = Client::connect_with_small_buffers(server.addr())?;
    never.try_send(GET.repeat(5000).as_bytes());
    expect(&mut ask(&server, GET)?, 200)?;
    let is_warning = |line: &str| line.contains("does not keep up");
    let line = server.wait_for_log("how much was queued", is_warning)?;
    let queued = line.split(' ').find_map(|word| word.parse().ok()).unwrap_or(u64::MAX);
    assert!(queued < 66_000, "{line}");
    Ok(())
}
