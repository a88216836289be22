//! Stage 2: a blocking echo server, which starts a thread for each client.
//!
//! Each connection carries one message and its answer. The main thread only accepts. A client that is slow,
//! silent or far away keeps only its own thread waiting, and no other client has to wait for it.
//!
//! Run it:      `cargo run -p echo-multi`
//! Talk to it:  `cargo run --bin echo-client`
//! Compare:     `echo-uni`, which is the same without threads, and answers without the client's address.
//! Bad at:      many clients. Each takes a thread, even if it says nothing, so their number is limited:
//!              once `--max-clients` clients are connected, further connections are closed.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context as _, Result};
use clap::Parser;
use serverkit::warn_not_started;
use serverkit::{Admission, Admitted, Failure, ServerArgs, Stop, announce, run_client, trace};
use tincanchat::send_prefixed_msg;
use tincanchat::{STACK_SIZE, close_answered, create_listen_socket, printable, recv_msg};
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
    // Starts a thread that ends the process, with exit code 0, after SIGINT or SIGTERM, even while clients
    // are being served.
    Stop::exit_on_signal()?;
    announce(&listener)?; // prints "Listening on ADDR" on stdout
    serve(&listener, &args)
}

fn serve(listener: &TcpListener, args: &Args) -> ! {
    // The limit is --max-clients, or else 1,024. A value over 15,000 is lowered, with a line in the log:
    // each client takes one thread, and at about 16,000 threads, Linux has no memory mappings left for
    // another one, and the whole process aborts.
    let mut admission = Admission::new(args.server.client_limit_with_threads(1)); // threads of a client
    loop {
        // Blocks until a client connects. `trace` calls the closure and, with --trace, records how long it
        // takes.
        let accepted = trace("accept", || listener.accept());
        match admission.admit(accepted) {
            Admitted::Client(sock, addr, permit) => {
                // An error or a panic in the handler is logged (a panic with its place in the code), and
                // ends only this client's connection. However the handler ends, the permit is then dropped,
                // which makes room for another client.
                let handler = move || run_client(permit, || handle_client(sock, addr));
                if let Err(err) = thread_for("recv", addr).spawn(handler) {
                    // The handler is dropped, and with it the socket and the permit.
                    warn_not_started(addr, "a thread", &err); // a line in the log
                }
            }
            // The server is full, which is logged, in at most ten lines a second. This connection is closed
            // without an answer.
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
    let prefix = format!("{addr}: ");
    // Sends the prefix, the message and a zero byte. There is no time limit, but this does not wait until
    // the client reads: the longest answer, about 16 KiB, fits into the kernel's buffers.
    trace("write", || send_prefixed_msg(&mut sock, &prefix, &msg)).context("sending")?;
    // Closes the socket without destroying the answer. Closing while input is unread would send a reset, so
    // if there is any, this first shuts down the sending side and reads until the client closes, for up to
    // 500 ms.
    close_answered(sock);
    Ok(())
}

/// Prepares a thread with a name that says what it does and for which client. top(1), `cargo tincan
/// watch` and the trace show the name.
fn thread_for(task: &str, addr: SocketAddr) -> thread::Builder {
    let name = format!("{task} {}", addr.port()); // Linux shows the first 15 bytes
    thread::Builder::new().name(name).stack_size(STACK_SIZE) // 256 KiB
}
