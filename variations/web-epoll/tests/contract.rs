//! The checks that every server must pass: `cargo test -p web-epoll --test contract`.

#[cfg(target_os = "linux")]
fn main() {
    use check::{OwnServer, test_servers};
    use probe::server::Server;
    use probe::wire::Client;
    use probe::{TIMEOUT, wait_until};

    /// The longest head, as in `http.rs`.
    const MAX_HEAD: usize = 16 * 1024;
    const REQUEST_LINE: &[u8] = b"GET / HTTP/1.1\r\nX: ";
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

    fn hello(client: &mut Client) -> anyhow::Result<()> {
        client.send(REQUEST)?;
        client.expect_bytes(b"HTTP/1.1 200 OK\r\n")?;
        client.recv_when("the end of a head", |bytes| {
            bytes.windows(4).position(|end| end == b"\r\n\r\n").map(|at| at + 4)
        })?;
        client.expect_bytes(b"Hello from Epoll Server!")
    }

    /// Connects a client that sends many requests and reads no answer.
    fn much_queued(server: &Server) -> anyhow::Result<Vec<Client>> {
        let mut never = Client::connect_with_small_buffers(server.addr())?;
        never.send(&REQUEST.repeat(3000))?;
        // The kernel's buffers have no room for that many answers, so the server keeps some in its queue.
        let has_answered = || Ok(server.log().count(|line| line.ends_with("GET / 200")) >= 700);
        anyhow::ensure!(wait_until(TIMEOUT, has_answered)?, "too few answers\n{}", server.log());
        Ok(vec![never])
    }

    let server = OwnServer::new(env!("CARGO_BIN_EXE_web-epoll"), 8800, hello);
    let server = server
        .connect_slow_clients(much_queued)
        .logged_request(|text| format!("{text}\r\n\r\n").into_bytes());
    test_servers(&[server.longest_unfinished(|| [REQUEST_LINE, &[b'x'; MAX_HEAD - 100]].concat())]);
}

#[cfg(not(target_os = "linux"))]
fn main() {}
