//! Stage 2: a blocking echo server, which starts a thread for each client.
//!
//! The first thread does nothing but accept. Whoever is slow, silent or far away keeps its own thread
//! waiting, and nobody else.
//!
//! Run it:      `cargo run -p echo-multi`
//! Talk to it:  `cargo run -p echo-uni --bin echo-client`
//! Compare:     `echo-uni`, which is the same without threads.
//! Bad at:      crowds. Each client costs a thread, so past --max-clients the door is shut.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context as _, Result};
use clap::Parser;
use tincanchat::cli::{Door, Failure, ServerArgs, Shutdown, announce, contain, warn_not_started};
use tincanchat::{STACK_SIZE, create_listen_socket, hang_up, printable, recv_msg, relay_msg};
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
        let client = move || contain(seat, || handle_client(sock, addr));
        if let Err(err) = thread::Builder::new().stack_size(STACK_SIZE).spawn(client) {
            warn_not_started(addr, "a thread", &err);
        }
    }
}

fn handle_client(mut sock: TcpStream, addr: SocketAddr) -> Result<()> {
    let msg = recv_msg(&mut sock).context("receiving")?; // blocks until the message is complete
    info!("{addr}: {}", printable(&msg));
    relay_msg(&mut sock, addr, &msg).context("sending")?; // blocks until the kernel has taken all of it
    hang_up(sock);
    Ok(())
}
