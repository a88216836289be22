//! Stage 1: a blocking echo server, which serves one client at a time.
//!
//! It accepts a client, waits for its message, sends the message back, closes the connection, and only then
//! accepts the next client. Meanwhile, further clients wait in the listener's backlog.
//!
//! Run it:      `cargo run -p echo-uni`
//! Talk to it:  `cargo run --bin echo-client`
//! Compare:     it is the first stage; `echo-multi` adds threads.
//! Bad at:      more than one client. A client that does not finish its message keeps all others waiting.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context as _, Result};
use clap::Parser;
use serverkit::{Admission, Admitted, Failure, ServerArgs, Stop, announce, run_client, trace};
use tincanchat::{close_answered, create_listen_socket, printable, recv_msg, send_msg};
use tracing::info;

#[derive(Parser)]
#[command(version, about)]
#[command(after_help = concat!("Examples:\n  ", env!("CARGO_BIN_NAME"), " --host :: --port 5000 -v"))]
struct Args {
    #[command(flatten)]
    server: ServerArgs,
}

/// Starts the server. On an error, prints it on stderr, in one line, and exits with code 1.
fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let _log = args.server.start_log()?; // lines on stderr, until this is dropped
    // Up to 1,024 connections wait in the listener's backlog. The kernel ignores further ones, whose
    // clients try again for a while.
    let listener = create_listen_socket(&args.server.host, args.server.port)?;
    // Starts a thread that ends the process, with exit code 0, after SIGINT or SIGTERM, even while a client
    // is being served.
    Stop::exit_on_signal()?;
    announce(&listener)?; // prints "Listening on ADDR" on stdout
    serve(&listener)
}

fn serve(listener: &TcpListener) -> ! {
    let mut admission = Admission::new(1); // one client at a time
    loop {
        // Blocks until a client connects. `trace` calls the closure and, with --trace, records how long it
        // takes.
        let accepted = trace("accept", || listener.accept());
        match admission.admit(accepted) {
            // An error or a panic in the handler is logged (a panic with its place in the code), and ends
            // only this client's connection. However the handler ends, the permit is then dropped, which
            // makes room for another client.
            Admitted::Client(sock, addr, permit) => {
                run_client(permit, || handle_client(sock, addr));
            }
            // This cannot happen here: the permit of one client is dropped before the next client is
            // accepted.
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
    // Blocks until a zero byte ends the message, without a time limit. It is an error if the client leaves
    // or resets the connection before that, or if the message is longer than 16 KiB (not counting the zero
    // byte) or not UTF-8. What follows the zero byte is not used.
    let msg = trace("read", || recv_msg(&mut sock)).context("receiving")?;
    info!("{addr}: {}", printable(&msg)); // with control characters escaped
    // Sends the message and a zero byte. There is no time limit, but this does not wait until the client
    // reads: the longest message, 16 KiB, fits into the kernel's buffers.
    trace("write", || send_msg(&mut sock, &msg)).context("sending")?;
    // Closes the socket without destroying the answer. Closing while input is unread would send a reset, so
    // if there is any, this first shuts down the sending side and reads until the client closes, for up to
    // 500 ms.
    close_answered(sock);
    Ok(())
}
