//! A chat of lines: what one says, all hear.
//!
//! The first prototype. A session is in one state from its beginning to its end, so that there is
//! nothing to keep of it but that it is there.
//!
//! Run it:      `cargo run -p tea-party --bin simple-chat`
//! Talk to it:  `nc 127.0.0.1 5005`, or `telnet 127.0.0.1 5005`, in two terminals
//! Compare:     `tea-party`, where people have names.
//! Bad at:      strangers. Nobody knows who has said a line, and what is in it goes to every terminal
//!              as it is: a line can clear the screen of all who read it, or move their cursor.

use anyhow::Result;
use clap::Parser;
use tea_party::{Chat, Clients, Id, NAME, PORT, serve};
use tincanchat::cli::{Failure, ServerArgs};

/// Variation: a chat of lines, where everyone hears everything
#[derive(Parser)]
#[command(version, mut_arg("port", |arg| arg.default_value(PORT)))]
#[command(after_help = concat!("Examples:\n  ", env!("CARGO_BIN_NAME"), " --host :: --port 5000 -v"))]
struct Args {
    #[command(flatten)]
    server: ServerArgs,
    /// What the chat is called when it greets somebody
    #[arg(long, default_value = NAME)]
    name: String,
}

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let _log = args.server.start_log()?;
    serve(&args.server, SimpleChat { name: args.name, here: Vec::new() })?;
    Ok(())
}

struct SimpleChat {
    name: String,
    here: Vec<Id>,
}

impl Chat for SimpleChat {
    fn arrived(&mut self, id: Id, clients: &mut Clients) {
        self.here.push(id);
        clients.tell(&[id], format!("Welcome to {}", self.name));
    }

    fn heard(&mut self, _: Id, line: &[u8], clients: &mut Clients) {
        clients.tell(&self.here, line);
    }

    fn left(&mut self, id: Id, _: &mut Clients) {
        self.here.retain(|it| *it != id);
    }
}
