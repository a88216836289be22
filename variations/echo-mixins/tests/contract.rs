//! The checks that every server must pass: `cargo test -p echo-mixins --test contract`.

#[cfg(unix)]
fn main() {
    use check::{OwnServer, test_servers};
    use probe::fail;
    use probe::wire::{Client, Received, show};

    fn hello(client: &mut Client) -> anyhow::Result<()> {
        client.send(b" hello\r\n")?;
        let (answer, ending) = client.recv_bytes_to_end()?;
        if answer.ends_with(b": hello") && ending == Received::Eof {
            return Ok(());
        }
        let got = format!("{}, then {ending}", show(&answer));
        fail(client.transcript(), "`WORKER: hello`, then the end", got)
    }

    let server = OwnServer::new(env!("CARGO_BIN_EXE_echo-mixins"), 8800, hello).ends_connection();
    let server = server.logged_request(|text| text.as_bytes().to_vec());
    let fork = server.args(&["--mixin", "fork"]).process_per_client();
    test_servers(&[fork, server.args(&["--mixin", "thread"])]);
}

#[cfg(not(unix))]
fn main() {}
