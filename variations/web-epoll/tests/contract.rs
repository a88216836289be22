//! What every server of this project keeps: `cargo test -p web-epoll --test contract`.

#[cfg(target_os = "linux")]
fn main() {
    use workbench::contract::common::{Speech, run};
    use workbench::server::Server;
    use workbench::wire::Client;

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
        let address = never.addr().to_string();
        let asked = |line: &str| line.contains(&format!("{address}: GET /"));
        workbench::wait_until(workbench::PATIENCE, || {
            let before = server.log().count(asked);
            // It has stopped to answer when for a while there is nothing new.
            std::thread::sleep(std::time::Duration::from_millis(100));
            Ok(before > 0 && server.log().count(asked) == before)
        })?;
        Ok(vec![never])
    }

    let server = Speech::new(env!("CARGO_BIN_EXE_web-epoll"), 8800, hello);
    run(&[server.held_by(much_queued).text(|text| format!("{text}\r\n\r\n").into_bytes())]);
}

#[cfg(not(target_os = "linux"))]
fn main() {}
