//! The first step: sends `Hello, world`, prints the echo, and ends.
//!
//! Start the server with `cargo run -p echo-select --bin echo-once-server`, then, in another terminal:
//!
//! ```text
//! cargo run -p echo-select --bin echo-once-client
//! ```
//!
//! TCP is a stream of bytes: the bytes of one write may arrive in several reads. So the client reads until
//! it has received as many bytes as it has sent.

use std::io::{Read as _, Write as _};

use anyhow::{Context as _, anyhow};
use clap::Parser;
use serverkit::{ClientArgs, Failure, print_or_exit, readable_error};
use tincanchat::printable;

const GREETING: &[u8] = b"Hello, world";

/// Send `Hello, world` to an echo server, and print the echo
#[derive(Parser)]
#[command(
    version,
    mut_arg("port", |port| port.default_value("65432")),
    after_help = "Examples:
  echo-once-client                        connect to this machine, port 65432
  echo-once-client 192.0.2.7 --port 5000  connect to another machine and port"
)]
struct Args {
    #[command(flatten)]
    server: ClientArgs,
}

fn main() -> Result<(), Failure> {
    let (mut sock, _) = Args::parse().server.connect()?;
    sock.write_all(GREETING).map_err(readable_error).context("cannot send")?;
    let mut echo = Vec::new();
    // Reads to the end of the stream, but no more bytes than were sent.
    let received = sock.take(GREETING.len() as u64).read_to_end(&mut echo);
    received.map_err(readable_error).context("cannot receive the echo")?;
    if !echo.is_empty() {
        print_or_exit(&format!("Received: {}\n", printable(&String::from_utf8_lossy(&echo))))?;
    }
    let received = echo.len();
    let sent = GREETING.len();
    if received < sent {
        Err(anyhow!("the server closed the connection after {received} of {sent} bytes"))?;
    }
    Ok(())
}
