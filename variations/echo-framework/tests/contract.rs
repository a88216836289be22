//! The checks that every server must pass: `cargo test -p echo-framework --test contract`.

use check::{OwnServer, test_servers};
use probe::wire::Client;
use tincanchat::MAX_MSG_LEN;

fn one_line(client: &mut Client) -> anyhow::Result<()> {
    client.send(b"hello\r\n")?;
    client.expect_bytes(b"You said: hello\r\n")
}

fn main() {
    let server = OwnServer::new(env!("CARGO_BIN_EXE_echo-framework"), 8800, one_line);
    test_servers(&[server
        .logged_request(|text| format!("{text}\n").into_bytes())
        .longest_unfinished(|| vec![b'x'; MAX_MSG_LEN])]);
}
