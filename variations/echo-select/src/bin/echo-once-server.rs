//! The first step: a blocking echo server that serves one client and then ends.
//!
//! It echoes bytes as they arrive: there are no messages whose ends it would have to find. The client shuts
//! down its sending side when it has sent everything.
//!
//! Run it:      `cargo run -p echo-select --bin echo-once-server`
//! Talk to it:  `cargo run -p echo-select --bin echo-once-client`
//! Compare:     `echo-uni`, which has messages and serves one client after another.
//! Bad at:      more than one client: a second client is never served.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context as _, Result};
use clap::Parser;
use serverkit::{Admission, Admitted, Failure, ServerArgs, Stop, announce, run_client, trace};
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
    // Up to 1,024 connections wait in the listener's backlog. The kernel ignores further ones, whose
    // clients try again for a while.
    let listener = create_listen_socket(&args.server.host, args.server.port)?;
    Stop::exit_on_signal()?; // a signal ends the process, even in the middle of the echo
    announce(&listener)?; // prints: Listening on ADDR
    serve(&listener, &args);
    Ok(())
}

fn serve(listener: &TcpListener, args: &Args) {
    let mut admission = Admission::new(args.server.client_limit());
    loop {
        let accepted = trace("accept", || listener.accept()); // blocks until a client connects
        match admission.admit(accepted) {
            Admitted::Client(sock, addr, permit) => {
                // An error or a panic in the handler is logged. The server ends all the same.
                run_client(permit, || handle_client(sock, addr));
                return;
            }
            // The first client is always admitted, so the limit is never reached.
            Admitted::Full(sock, ..) => drop(sock),
            // accept has failed, which is logged. The pause is zero if the error concerns only one
            // connection, such as a reset by its client. For any other error, such as a lack of
            // descriptors, it is 10 ms, and doubles with each such error, up to 1 s. When no such error has
            // come for 2 s, it starts at 10 ms again.
            Admitted::Retry(pause) => thread::sleep(pause),
        }
    }
}

fn handle_client(mut sock: TcpStream, addr: SocketAddr) -> Result<()> {
    let mut bytes = [0; 1024];
    loop {
        // Blocks until something arrives, however long that takes.
        let n = match trace("read", || sock.read(&mut bytes)) {
            Ok(0) => return Ok(()), // the client has shut down its sending side
            Ok(n) => n,
            // A signal came during the read.
            Err(err) if err.kind() == ErrorKind::Interrupted => continue,
            // The client has reset the connection.
            Err(err) => return Err(err).context("receiving"),
        };
        info!("{addr}: {}", printable(&String::from_utf8_lossy(&bytes[..n])));
        // Blocks until the kernel has accepted all of it.
        trace("write", || sock.write_all(&bytes[..n])).context("sending")?;
    }
}
