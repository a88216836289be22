//! Stage 3: a chat server with two threads and a queue for each client. One thread receives what the
//! client says and puts it into the queue of every client, under one lock, so that all see one order;
//! the other takes from its client's queue and sends, and is the only one that a slow client blocks.
//!
//! Run it:      `cargo run -p chat-threads`
//! Talk to it:  `cargo run -p chat-threads --bin chat-client`, in two terminals
//! Compare:     `echo-multi`, which has no one else to tell; `chat-poll`, `chat-async`
//! Bad at:      crowds. Two threads for each client, and a wake-up for each message to each client.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{io, thread};

use anyhow::Context as _;
use clap::Parser;
use tincanchat::cli::{AcceptErrors, Failure, Seats, ServerArgs, Shutdown, announce};
use tincanchat::cli::{contain, log_refusal};
use tincanchat::{AT_THE_DOOR, DRAIN, Frames, QueueGauge, Rest, STACK_SIZE, append_msg, canonical};
use tincanchat::{FrameError, close_gently, create_listen_socket, printable, recv_msgs};
use tincanchat::{send_frames, send_msg};
use tracing::{debug, info, warn};

/// A chat server with two threads for each client
#[derive(Parser)]
#[command(version, after_help = "Examples:\n  chat-threads\n  chat-threads --host :: --port 5000 -v")]
struct Args {
    #[command(flatten)]
    server: ServerArgs,
    /// Do not send a message back to its sender
    #[arg(long)]
    others_only: bool,
}

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let _log = args.server.start_log();
    let listener = create_listen_socket(&args.server.host, args.server.port)?;
    let shutdown = Arc::new(Shutdown::on_signal()?);
    shutdown.wake(&listener)?;
    announce(&listener)?;
    let clients = Clients::new(args.others_only);
    serve(listener, args.server.client_limit(2), &clients, &shutdown);
    Ok(())
}

/// Everyone in the room. Who holds the lock decides what comes next, for all clients alike.
struct Clients {
    table: Mutex<HashMap<u64, Client>>,
    others_only: bool,
}

struct Client {
    sock: Arc<TcpStream>,
    /// The only one: without it, the client's sending thread comes to its end.
    send_queue: Sender<Arc<[u8]>>,
    gauge: Arc<QueueGauge>,
}
