//! The checks that every server must pass: `cargo test -p app-protocol --test contract`.

use anyhow::Result;
use app_protocol::Message;
use check::{OwnServer, test_servers};
use probe::wire::Client;

fn main() {
    let server = OwnServer::new(env!("CARGO_BIN_EXE_app-server"), 65432, search).ends_connection();
    test_servers(&[server
        .logged_request(as_request)
        .longest_unfinished(longest_header)
        .profile("app-protocol")]);
}

fn search(client: &mut Client) -> Result<()> {
    client.send(&Message::json([("action", "search"), ("value", "ring")]).encode()?)?;
    let result = "In the caves beneath the Misty Mountains. 💍";
    client.expect_bytes(&Message::json([("result", result)]).encode()?)?;
    client.expect_eof()
}

/// Returns the beginning of a message with the longest header; the last bytes of the header are missing.
fn longest_header() -> Vec<u8> {
    [vec![0xff, 0xff], vec![b' '; 65_000]].concat()
}

/// Returns a request that makes this text appear in the log.
fn as_request(text: &str) -> Vec<u8> {
    Message::binary("text/plain", text.as_bytes().to_vec()).encode().unwrap_or_default()
}
