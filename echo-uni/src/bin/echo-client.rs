//! Sends a message to an echo server and prints what comes back: one connection a message.
//!
//! Start a server, `cargo run --bin echo-uni`, then in another terminal
//!
//! ```text
//! cargo run --bin echo-client              # asks for messages until `q`
//! cargo run --bin echo-client -- -m hello  # sends one, and prints the echo alone
//! ```
//!
//! The dialogue connects before it asks, and so holds its connection while you think. With
//! `echo-uni`, which serves one client at a time, everybody else waits for you: run two of these and
//! see.

use std::io::{self, ErrorKind};

use anyhow::Context;
use clap::Parser;
use clap::builder::NonEmptyStringValueParser;
use tincanchat::cli::{ClientArgs, Failure, in_words, say};
use tincanchat::{prep_msg, printable, recv_answer, send_msg};

/// Send messages to an echo server, and print what comes back.
#[derive(Parser)]
#[command(
    name = "echo-client",
    version,
    after_help = "Examples:
  echo-client                              talk to the server on this machine, port 4040
  echo-client 192.0.2.7 --port 5050        talk to another one
  echo-client localhost -m 'hello, world'  send one message, print its echo, and exit"
)]
struct Args {
    #[command(flatten)]
    server: ClientArgs,

    /// Send this message, print its echo and exit
    // A server ignores an empty message, and we would wait for its echo for ever.
    #[arg(short, long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    message: Option<String>,
}

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    match &args.message {
        Some(msg) => echo_once(&args.server, msg)?,
        None => while hold_dialogue(&args.server)? {},
    }
    Ok(())
}

fn echo_once(server: &ClientArgs, msg: &str) -> anyhow::Result<()> {
    prep_msg(msg).context("cannot send this message")?;
    let (mut sock, _) = server.connect()?;
    send_msg(&mut sock, msg).map_err(in_words).context("cannot send")?;
    let echo = recv_answer(&mut sock).map_err(in_words).context("no echo")?;
    say(&format!("{}\n", printable(&echo)))
}

/// The chapter's dialogue, for one connection; gives whether the user wants another.
fn hold_dialogue(server: &ClientArgs) -> anyhow::Result<bool> {
    let (mut sock, addr) = server.connect()?;
    say(&format!("Connected to {addr}\n"))?;
    let msg = ask_for_msg()?;
    if let Some(msg) = &msg {
        let sent = send_msg(&mut sock, msg);
        if sent.is_ok() {
            say(&format!("Sent message: {}\n", printable(msg)))?;
        }
        match sent.and_then(|()| recv_answer(&mut sock)) {
            Ok(echo) => say(&format!("Received echo: {}\n", printable(&echo)))?,
            // Not our protocol: what such a server says next will be no better.
            Err(err) if err.kind() == ErrorKind::InvalidData => {
                return Err(err).context("no echo");
            }
            Err(err) => say(&format!("Received no echo: {}\n", in_words(err)))?,
        }
    }
    say("Closed connection to server\n\n")?;
    Ok(msg.is_some())
}

/// Asks until there is a message that can be sent, or no more is to be.
fn ask_for_msg() -> anyhow::Result<Option<String>> {
    loop {
        say("Type message, enter to send, 'q' to quit\n")?;
        let line = match io::stdin().lines().next() {
            Some(Err(err)) if err.kind() == ErrorKind::InvalidData => {
                say("Cannot send this: not valid UTF-8\n")?;
                continue;
            }
            line => line.transpose().map_err(in_words).context("cannot read from stdin")?,
        };
        let Some(msg) = line.filter(|line| line != "q") else {
            return Ok(None);
        };
        match prep_msg(&msg) {
            Err(err) => say(&format!("Cannot send this: {err}\n"))?,
            Ok(_) if msg.is_empty() => {}
            Ok(_) => return Ok(Some(msg)),
        }
    }
}
