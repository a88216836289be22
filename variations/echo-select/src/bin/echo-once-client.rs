//! The first step: sends `Hello, world`, prints what comes back, and ends.
//!
//! Start the server, `cargo run -p echo-select --bin echo-once-server`, then in another terminal
//!
//! ```text
//! cargo run -p echo-select --bin echo-once-client
//! ```
//!
//! What was sent in one piece may come back in several, so it reads until it has as many bytes.

use std::io::{Read as _, Write as _};

use anyhow::{Context as _, anyhow};
use clap::Parser;
use tincanchat::cli::{ClientArgs, Failure, in_words, say};
use tincanchat::printable;

const GREETING: &[u8] = b"Hello, world";

/// Send `Hello, world` to an echo server, and print what comes back
#[derive(Parser)]
#[command(
    version,
    mut_arg("port", |port| port.default_value("65432")),
    after_help = "Examples:
  echo-once-client                        talk to the server on this machine, port 65432
  echo-once-client 192.0.2.7 --port 5000  talk to another one"
)]
struct Args {
    #[command(flatten)]
    server: ClientArgs,
}

fn main() -> Result<(), Failure> {
    let (mut sock, _) = Args::parse().server.connect()?;
    sock.write_all(GREETING).map_err(in_words).context("cannot send")?;
    let mut echo = Vec::new();
    let received = sock.take(GREETING.len() as u64).read_to_end(&mut echo);
    received.map_err(in_words).context("no echo")?;
    let (got, sent) = (echo.len(), GREETING.len());
    if got > 0 {
        say(&format!("Received: {}\n", printable(&String::from_utf8_lossy(&echo))))?;
    }
    if got < sent {
        Err(anyhow!("the server closed the connection after {got} of {sent} bytes"))?;
    }
    Ok(())
}
