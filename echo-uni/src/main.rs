//! Stage 1: a blocking echo server, which serves one client at a time.
//!
//! It accepts a client, waits for its message, sends the message back, closes the connection, and
//! only then turns to the next client. That one has been waiting in the listener's backlog.
//!
//! Run it:      `cargo run -p echo-uni`
//! Talk to it:  `cargo run -p echo-uni --bin echo-client`
//! Compare:     it is the first; `echo-multi` is what becomes of it.
//! Bad at:      company. A client that connects and says nothing keeps all others waiting.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context as _, Result};
use clap::Parser;
use tincanchat::cli::{Door, Failure, ServerArgs, Shutdown, announce, contain};
use tincanchat::{create_listen_socket, hang_up, printable, recv_msg, send_msg};
use tracing::info;

#[derive(Parser)]
#[command(version, about)]
#[command(after_help = concat!("Examples:\n  ", env!("CARGO_BIN_NAME"), " --host :: --port 5000 -v"))]
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
    let mut door = Door::new(args.server.client_limit(1));
    loop {
        let accepted = tincanchat::span("accept").over(listener.accept());
        let (sock, addr, seat) = match door.admit(accepted) {
            Ok(client) => client,
            Err(pause) => {
                thread::sleep(pause);
                continue;
            }
        };
        contain(seat, || handle_client(sock, addr));
    }
}

fn handle_client(mut sock: TcpStream, addr: SocketAddr) -> Result<()> {
    let msg = recv_msg(&mut sock).context("receiving")?; // blocks until the message is complete
    info!("{addr}: {}", printable(&msg));
    send_msg(&mut sock, &msg).context("sending")?; // blocks until the kernel has taken all of it
    hang_up(sock);
    Ok(())
}
