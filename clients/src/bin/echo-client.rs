//! Sends messages to an echo server and prints the echoes: one connection for each message.
//!
//! Start a server, `cargo run -p echo-uni`, then in another terminal
//!
//! ```text
//! cargo run --bin echo-client              # asks for messages until `q`
//! cargo run --bin echo-client -- -m hello  # sends one message, prints its echo, and exits
//! ```
//!
//! The dialogue connects before it asks for a message, so it holds a connection while the user thinks.
//! `echo-uni` serves one client at a time: start two dialogues, and the second gets no echo until the
//! first has sent its message.

use std::io::{self, ErrorKind};
use std::net::TcpStream;

use anyhow::Context;
use clap::Parser;
use clap::builder::NonEmptyStringValueParser;
use serverkit::{ClientArgs, Failure, print_or_exit, readable_error};
use tincanchat::{prep_msg, printable, recv_reply, send_msg};

/// Send messages to an echo server and print the echoes.
#[derive(Parser)]
#[command(
    name = "echo-client",
    version,
    after_help = "Examples:
  echo-client                              talk to the server on this machine, port 4040
  echo-client 192.0.2.7 --port 5050        talk to another server
  echo-client localhost -m 'hello, world'  send one message, print its echo, and exit

Without -m, the client asks for messages until it reads a line that is just 'q', or the end of the input."
)]
struct Args {
    #[command(flatten)]
    server: ClientArgs,

    /// Send this message, print its echo, and exit
    // The message must not be empty: a server ignores an empty message, and we would wait for its echo
    // forever.
    #[arg(short, long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    message: Option<String>,
}

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    match &args.message {
        Some(msg) => send_one(&args.server, msg)?,
        None => hold_dialogue(&args.server)?,
    }
    Ok(())
}

/// Sends one message and prints its echo, and nothing else: for scripts.
fn send_one(server: &ClientArgs, msg: &str) -> anyhow::Result<()> {
    // Checked before connecting: the server would disconnect us for a message that breaks the protocol.
    prep_msg(msg).context("cannot send this message")?;
    let (mut sock, _) = server.connect()?;
    send_msg(&mut sock, msg).map_err(readable_error).context("cannot send")?;
    let echo = recv_reply(&mut sock).map_err(readable_error).context("no echo")?;
    print_or_exit(&format!("{}\n", printable(&echo)))
}

/// Connects, asks for a message, sends it, prints the echo, and begins again, until the user quits.
fn hold_dialogue(server: &ClientArgs) -> anyhow::Result<()> {
    loop {
        let (mut sock, addr) = server.connect()?;
        print_or_exit(&format!("Connected to {addr}\n"))?;
        let msg = ask_for_msg()?;
        if let Some(msg) = &msg {
            exchange(&mut sock, msg)?;
        }
        drop(sock);
        print_or_exit("Closed connection to server\n\n")?;
        if msg.is_none() {
            return Ok(());
        }
    }
}

/// Sends a message, and prints its echo or the reason why no echo came.
///
/// Returns an error only if another connection would not help: the server's answer is not a message, or
/// stdout cannot be written to.
fn exchange(sock: &mut TcpStream, msg: &str) -> anyhow::Result<()> {
    if let Err(err) = send_msg(sock, msg) {
        return print_or_exit(&format!("Received no echo: {}\n", readable_error(err)));
    }
    print_or_exit(&format!("Sent message: {}\n", printable(msg)))?;
    match recv_reply(sock) {
        Ok(echo) => print_or_exit(&format!("Received echo: {}\n", printable(&echo))),
        // The server speaks another protocol.
        Err(err) if err.kind() == ErrorKind::InvalidData => Err(err).context("no echo"),
        // The server closed or reset the connection.
        Err(err) => print_or_exit(&format!("Received no echo: {}\n", readable_error(err))),
    }
}

/// Asks until the user types a message that can be sent. `None` means that the user wants to quit.
fn ask_for_msg() -> anyhow::Result<Option<String>> {
    loop {
        print_or_exit("Type message, enter to send, 'q' to quit\n")?;
        let Some(line) = io::stdin().lines().next() else {
            return Ok(None);
        };
        let line = match line {
            Ok(line) => line,
            Err(err) if err.kind() == ErrorKind::InvalidData => {
                print_or_exit("Cannot send this: not valid UTF-8\n")?;
                continue;
            }
            Err(err) => return Err(readable_error(err)).context("cannot read from stdin"),
        };
        if line == "q" {
            return Ok(None);
        }
        // A server ignores an empty message, and we would wait for its echo forever.
        if line.is_empty() {
            continue;
        }
        match prep_msg(&line) {
            Ok(_) => return Ok(Some(line)),
            Err(err) => print_or_exit(&format!("Cannot send this: {err}\n"))?,
        }
    }
}
