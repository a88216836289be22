//! Tests how long chat-tls waits for the handshake of a client.
//!
//! `cargo test --workspace` leaves this test out, because it waits ten seconds. Run it with
//!
//! ```sh
//! cargo test -p chat-tls --test deadlines
//! ```
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod harness;

use std::time::{Duration, Instant};

use anyhow::Result;
use probe::wire::Client;
use probe::{TIMEOUT, wait_until};

use harness::{expect_full, expect_idle, join, start, wait_for_log_about};

#[test]
fn a_handshake_may_take_ten_seconds_and_counts_as_a_client_until_then() -> Result<()> {
    let (certs, server) = start(&["--max-clients", "2"])?;
    let began = Instant::now();
    let mut silent = Client::connect(server.addr())?;
    let mut unfinished = Client::connect(server.addr())?;
    unfinished.send(&[22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3])?; // the beginning of a ClientHello
    expect_full(&certs, &server)?;
    expect_idle(&server, "two clients do not go on with their handshakes");
    for client in [&mut silent, &mut unfinished] {
        client.expect_eof()?;
        wait_for_log_about(&server, client.addr(), "not completed within 10 s")?;
    }
    assert!(began.elapsed() > Duration::from_secs(9), "{:?}", began.elapsed());
    let has_room = wait_until(TIMEOUT, || Ok(join(&certs, &server).is_ok()))?;
    assert!(has_room, "{}", server.log());
    Ok(())
}
