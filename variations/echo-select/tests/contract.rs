//! The checks that every server must pass, for both servers: `cargo test -p echo-select --test contract`.

use anyhow::Result;
use check::{OwnServer, Serves, test_servers};
use probe::wire::Client;

fn main() {
    let once = OwnServer::new(env!("CARGO_BIN_EXE_echo-once-server"), 65432, echo)
        .logged_request(unchanged);
    let multiconn = OwnServer::new(env!("CARGO_BIN_EXE_multiconn-server"), 65432, echo)
        .logged_request(unchanged);
    test_servers(&[once.serves(Serves::One), multiconn.profile("echo-select")]);
}

fn echo(client: &mut Client) -> Result<()> {
    client.send(b"\0bytes\xff\n")?;
    client.expect_bytes(b"\0bytes\xff\n")
}

/// Returns the bytes that make this text appear in the log.
fn unchanged(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}
