//! The first step: an echo server that blocks, serves one client, and ends.
//!
//! It echoes whatever bytes come, as they come: there are no messages to find the ends of. A client
//! is done when it closes its sending side.
//!
//! Run it:      `cargo run -p echo-select --bin echo-once-server`
//! Talk to it:  `cargo run -p echo-select --bin echo-once-client`
//! Compare:     `echo-uni`, which has messages, and serves the next client as well.
//! Bad at:      a second client, which waits in vain.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context as _, Result};
use clap::Parser;
use tincanchat::cli::{Door, Failure, ServerArgs, Shutdown, announce, contain};
use tincanchat::{create_listen_socket, printable};
use tracing::info;

/// Echo the bytes of one client, then end
#[derive(Parser)]
#[command(version)]
#[command(after_help = concat!("Examples:\n  ", env!("CARGO_BIN_NAME"), " --host :: --port 5000 -v"))]
#[command(mut_arg("port", |port| port.default_value("65432")))]
struct Args {
    #[command(flatten)]
    server: ServerArgs,
}

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let _log = args.server.start_log()?;
    let listener = create_listen_socket(&args.server.host, args.server.port)?;
    Shutdown::on_signal()?.exit()?;
    announce(&listener)?;
    serve(&listener, &args);
    Ok(())
}

fn serve(listener: &TcpListener, args: &Args) {
    let mut door = Door::new(args.server.client_limit(0));
    loop {
        let accepted = tincanchat::span("accept").over(listener.accept());
        match door.admit(accepted) {
            Ok((sock, addr, seat)) => return contain(seat, || handle_client(sock, addr)),
            Err(pause) => thread::sleep(pause),
        }
    }
}

fn handle_client(mut sock: TcpStream, addr: SocketAddr) -> Result<()> {
    let mut bytes = [0; 1024];
    loop {
        // It blocks until there is at least one byte.
        let n = match sock.read(&mut bytes) {
            Err(err) if err.kind() == ErrorKind::Interrupted => continue, // a signal came
            read => read.context("receiving")?,
        };
        if n == 0 {
            return Ok(());
        }
        info!("{addr}: {}", printable(&String::from_utf8_lossy(&bytes[..n])));
        sock.write_all(&bytes[..n]).context("sending")?; // blocks until the kernel has taken all
    }
}
