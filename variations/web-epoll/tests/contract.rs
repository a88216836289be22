//! What every server of this project keeps: `cargo test -p web-epoll --test contract`.

#[cfg(target_os = "linux")]
fn main() {
    use workbench::contract::common::{Speech, run};
    use workbench::server::Server;
    use workbench::wire::Client;
    use workbench::{PATIENCE, wait_until};

    /// The longest head, as in `http.rs`.
    const MAX_HEAD: usize = 16 * 1024;
    const REQUEST_LINE: &[u8] = b"GET / HTTP/1.1\r\nX: ";
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

    fn hello(client: &mut Client) -> anyhow::Result<()> {
        client.send(REQUEST)?;
        client.expect_bytes(b"HTTP/1.1 200 OK\r\n")?;
        client.take_when("the end of a head", |bytes| {
            bytes.windows(4).position(|end| end == b"\r\n\r\n").map(|at| at + 4)
        })?;
        client.expect_bytes(b"Hello from Epoll Server!")
    }

    /// One that asks for more than the kernel has room for, and reads nothing.
    fn much_queued(server: &Server) -> anyhow::Result<Vec<Client>> {
        let mut never = Client::connect_narrow(server.addr())?;
        never.send(&REQUEST.repeat(3000))?;
        // More than the kernel takes for it; what waits then is the server's to keep.
        let asked = || Ok(server.log().count(|line| line.ends_with("GET / 200")) >= 700);
        anyhow::ensure!(wait_until(PATIENCE, asked)?, "too few answers\n{}", server.log());
        Ok(vec![never])
    }

    let server = Speech::new(env!("CARGO_BIN_EXE_web-epoll"), 8800, hello);
    let server = server.held_by(much_queued).text(|text| format!("{text}\r\n\r\n").into_bytes());
    run(&[server.unfinished(|| [REQUEST_LINE, &[b'x'; MAX_HEAD - 100]].concat())]);
}

#[cfg(not(target_os = "linux"))]
fn main() {}
