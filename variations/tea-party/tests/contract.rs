//! The checks that every server must pass: `cargo test -p tea-party --test contract`.

use std::sync::atomic::{AtomicUsize, Ordering};

use check::{OwnServer, test_servers};
use probe::server::Server;
use probe::wire::Client;

static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Returns a word that no client has sent before.
fn new_word() -> String {
    format!("w{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Waits until a client receives this line; ignores the lines of other clients.
fn wait_for(client: &mut Client, line: &str) -> anyhow::Result<()> {
    while client.recv_line()? != format!("{line}\r\n").into_bytes() {}
    Ok(())
}

fn simple_chat(client: &mut Client) -> anyhow::Result<()> {
    if client.take_state::<()>().is_none() {
        client.expect_bytes(b"Welcome to TestChat\r\n")?;
    }
    client.set_state(());
    let word = new_word();
    client.send(&line(&word))?;
    wait_for(client, &word)
}

fn tea_party(client: &mut Client) -> anyhow::Result<()> {
    let name = if let Some(name) = client.take_state::<String>() {
        name
    } else {
        client.expect_bytes(b"Welcome to TestChat\r\n")?;
        let name = new_word();
        client.send(&line(&format!("login {name}")))?;
        name
    };
    let word = new_word();
    client.send(&line(&format!("say {word}")))?;
    wait_for(client, &format!("{name}: {word}"))?;
    client.set_state(name);
    Ok(())
}

fn line(text: &str) -> Vec<u8> {
    format!("{text}\r\n").into_bytes()
}

/// Connects a client that does not read, and three others, which send many lines.
fn much_queued(server: &Server, first: &str, say: &str) -> anyhow::Result<Vec<Client>> {
    let mut clients = vec![Client::connect_with_small_buffers(server.addr())?];
    for _ in 0..3 {
        clients.push(Client::connect(server.addr())?);
    }
    for client in &mut clients {
        client.expect_bytes(b"Welcome to TestChat\r\n")?;
        let name = new_word();
        client.send(&line(&format!("{first}{name}")))?;
        server.wait_for_log("its name", |line| line.ends_with(&format!("{first}{name}")))?;
    }
    let text = format!("{say}{}", "q".repeat(2000));
    for client in &mut clients[1..] {
        for _ in 0..50 {
            client.send(&line(&text))?;
        }
        let end = new_word();
        client.send(&line(&format!("{say}{end}")))?;
        server.wait_for_log("its last line", |line| line.ends_with(&end))?;
    }
    Ok(clients)
}

fn longest_line() -> Vec<u8> {
    vec![b'x'; tea_party::MAX_LINE_LEN]
}

fn main() {
    let simple = OwnServer::new(env!("CARGO_BIN_EXE_simple-chat"), 5005, simple_chat);
    let party = OwnServer::new(env!("CARGO_BIN_EXE_tea-party"), 5005, tea_party);
    test_servers(&[
        simple
            .logged_request(line)
            .longest_unfinished(longest_line)
            .connect_slow_clients(|server| much_queued(server, "", "")),
        party
            .logged_request(line)
            .longest_unfinished(longest_line)
            .connect_slow_clients(|server| much_queued(server, "login ", "say "))
            .profile("tea-party"),
    ]);
}
