//! The checks that every server must pass: `cargo test -p chat-select --test contract`.

#[cfg(unix)]
fn main() {
    use check::{OwnServer, test_servers};
    use probe::server::Server;
    use probe::wire::Client;
    use tincanchat::MAX_MSG_LEN;

    fn frame(text: &str) -> Vec<u8> {
        let len = u32::try_from(text.len()).expect("a short text");
        [&len.to_be_bytes(), text.as_bytes()].concat()
    }

    /// Says a name, and receives the client's address.
    fn join(client: &mut Client) -> anyhow::Result<()> {
        client.send(&frame("NAME: ann"))?;
        client.expect_bytes(&frame(&format!("CLIENT: {}", client.addr().ip())))?;
        // A client that is alone receives nothing else.
        client.half_close()?;
        client.expect_eof()
    }

    /// Returns two clients: one that does not read, so that much is queued for it, and one that has sent
    /// the messages.
    fn much_queued(server: &Server) -> anyhow::Result<Vec<Client>> {
        let mut never = Client::connect_with_small_buffers(server.addr())?;
        never.send(&frame("NAME: never"))?;
        server.wait_for_log("its name", |line| line.ends_with("NAME: never"))?;
        let mut talker = Client::connect(server.addr())?;
        talker.send(&frame("NAME: talker"))?;
        for _ in 0..179 {
            talker.send(&frame(&"q".repeat(1000)))?;
        }
        talker.send(&frame("the last one"))?;
        server.wait_for_log("the last text", |line| line.ends_with("the last one"))?;
        Ok(vec![never, talker])
    }

    let server = OwnServer::new(env!("CARGO_BIN_EXE_chat-select"), 8800, join);
    let server =
        server.args(&["--name", "server"]).ends_connection().connect_slow_clients(much_queued);
    let server = server.logged_request(|text| frame(&format!("NAME: {text}")));
    let server =
        server.longest_unfinished(|| frame(&"x".repeat(MAX_MSG_LEN))[..MAX_MSG_LEN].to_vec());
    test_servers(&[server.profile("chat-select")]);
}

#[cfg(not(unix))]
fn main() {}
