//! A chat of lines: each line goes to all clients.
//!
//! This is the first prototype. A session has only one state, so the program does not need to know anything
//! about a client except its number.
//!
//! Run it:      `cargo run -p tea-party --bin simple-chat`
//! Talk to it:  `nc 127.0.0.1 5005`, or `telnet 127.0.0.1 5005`, in two terminals
//! Compare:     `tea-party`, where users have names.
//! Bad at:      strangers. A line does not show its sender. It goes to every terminal unchanged, so it can
//!              contain control characters that clear the screens of all users, or move their cursors.

use anyhow::Result;
use clap::Parser;
use serverkit::{Failure, ServerArgs};
use tea_party::{Chat, Clients, DEFAULT_NAME, DEFAULT_PORT, Id, serve};

/// Variation: a chat of lines, where each line goes to all clients
#[derive(Parser)]
#[command(version, mut_arg("port", |arg| arg.default_value(DEFAULT_PORT)))]
#[command(after_help = concat!("Examples:\n  ", env!("CARGO_BIN_NAME"), " --host :: --port 5000 -v"))]
struct Args {
    #[command(flatten)]
    server: ServerArgs,
    /// Name of the chat, shown in its welcome
    #[arg(long, default_value = DEFAULT_NAME)]
    name: String,
}

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let _log = args.server.start_log()?;
    serve(&args.server, SimpleChat { name: args.name, connected: Vec::new() })?;
    Ok(())
}

struct SimpleChat {
    name: String,
    connected: Vec<Id>,
}

impl Chat for SimpleChat {
    fn on_connect(&mut self, id: Id, clients: &mut Clients) {
        self.connected.push(id);
        clients.send_line(&[id], format!("Welcome to {}", self.name));
    }

    fn on_line(&mut self, _: Id, line: &[u8], clients: &mut Clients) {
        clients.send_line(&self.connected, line);
    }

    fn on_disconnect(&mut self, id: Id, _: &mut Clients) {
        self.connected.retain(|connected| *connected != id);
    }
}
