//! What every server of this project keeps, here by a node that has no NATS server: `cargo test -p
//! chat-nats --test contract`. With one, `.ci/nats-drill` tests it.

use tincanchat::MAX_MSG_LEN;
use workbench::contract::common::{self, Speech};
use workbench::wire::Client;

/// A node without NATS tells each sender so.
fn one_message(client: &mut Client) -> anyhow::Result<()> {
    client.send(b"hello\0")?;
    client.expect_bytes(b"server: not delivered, NATS is away: hello\0")
}

fn main() {
    let server = Speech::new(env!("CARGO_BIN_EXE_chat-nats"), 4040, one_message);
    // Nobody listens there.
    let server = server.args(&["--nats", "nats://127.0.0.1:1"]).full(b"server: full\0");
    let server = server.unfinished(|| vec![b'x'; MAX_MSG_LEN]);
    common::run(&[server.text(|text| format!("{text}\0").into_bytes())]);
}
