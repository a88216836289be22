//! Runs the checks of `check` against a node that has no NATS server: `cargo test -p chat-nats --test
//! contract`. `nats_server` tests nodes with a NATS server.

use check::{OwnServer, test_servers};
use probe::wire::Client;
use tincanchat::MAX_MSG_LEN;

/// Sends a message. A node without NATS tells the sender that it is not delivered.
fn exchange(client: &mut Client) -> anyhow::Result<()> {
    client.send(b"hello\0")?;
    client.expect_bytes(b"server: not delivered, NATS is away: hello\0")
}

fn main() {
    let server = OwnServer::new(env!("CARGO_BIN_EXE_chat-nats"), 4040, exchange);
    // No server listens on this port.
    let server = server.args(&["--nats", "nats://127.0.0.1:1"]).refusal(b"server: full\0");
    let server = server.longest_unfinished(|| vec![b'x'; MAX_MSG_LEN]);
    test_servers(&[server.logged_request(|text| format!("{text}\0").into_bytes())]);
}
