//! A chat over many machines: each node takes clients, and a NATS server carries every message to every
//! node.
//!
//! One order for all: the messages are in a stream of the NATS server, and each node reads it from where it
//! is. While NATS is away, messages are refused, and the node goes on trying to reach it.
//!
//! Run it:      `nats-server -js`, then `cargo run -p chat-nats` on as many machines as you like
//! Talk to it:  `cargo run -p chat-threads --bin chat-client`, in two terminals, at two nodes
//! Compare:     `chat-async`, where a lock makes the order that here the stream makes.
//! Bad at:      being quick: each message goes to another server and back before anybody sees it. And
//!              the order ends with that server: see the README.

mod broker;
mod clients;
mod position;
mod room;
mod sock;
mod speaker;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use async_nats::ServerAddr;
use clap::Parser;
use tincanchat::asynchronous::{
    caught, close_gently, contain, in_main_lane, recv_msgs, send_frames, turn_away,
};
use tincanchat::cli::{Door, Failure, ServerArgs, Shutdown, announce};
use tincanchat::cli::{first_cause, last_words, log_rest, relay_msgs, start_runtime};
use tincanchat::{DRAIN, Frame, Frames, QueueGauge, Rest, create_listen_socket};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::UnboundedReceiver as Receiver;
use tokio::{task, time};

use clients::{Clients, Connection};
use room::Room;
use sock::Sock;
use speaker::Speaker;

/// The most connections that are accepted in a row. More would keep the clients waiting; with fewer, a
/// client that has already connected might miss the next message.
const ACCEPT_TURN: u64 = 64;

#[derive(Parser)]
#[command(version, about)]
#[command(after_help = concat!(
    "Examples:\n  ", env!("CARGO_BIN_NAME"), " --port 5000 --nats nats://10.0.0.7:4222 --room lobby"
))]
struct Args {
    #[command(flatten)]
    server: ServerArgs,
    /// NATS server that carries the messages; several of one cluster with commas between them
    #[arg(
        long,
        value_name = "URL",
        default_value = "nats://127.0.0.1:4222",
        value_delimiter = ',',
        value_parser = broker::nats_url
    )]
    nats: Vec<ServerAddr>,
    /// Room of this node's clients: all nodes with the same one share their messages
    #[arg(long, value_name = "NAME", default_value = "lobby", value_parser = room_name)]
    room: String,
    /// Relay a message to all clients but the one that sent it
    #[arg(long)]
    others_only: bool,
}

/// The name becomes part of a subject of NATS, where `.`, `*` and `>` have a meaning.
fn room_name(name: &str) -> Result<String, &'static str> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    match !name.is_empty() && name.len() <= 64 && name.chars().all(is_fine) {
        true => Ok(name.to_owned()),
        false => Err("1 to 64 letters, digits, - and _"),
    }
}

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let _log = args.server.start_log_without(&["async_nats"])?; // it tells of each try
    let listener = create_listen_socket(&args.server.host, args.server.port)?;
    let shutdown = Shutdown::on_signal()?.wake(&listener)?;
    listener.set_nonblocking(true)?;
    let runtime = start_runtime(Runtime::new)?;
    // The accept loop is a task like those of the clients, so it cannot run ahead of them.
    let served = runtime
        .block_on(async { task::spawn(in_main_lane(serve(listener, args, shutdown))).await });
    runtime.shutdown_background(); // waits for no name server
    Ok(served??)
}

async fn serve(
    listener: std::net::TcpListener,
    args: Args,
    shutdown: Arc<Shutdown>,
) -> std::io::Result<()> {
    let clients = Arc::new(Clients::new(Room::new(&args.room, &args.nats), args.others_only));
    let node = Arc::clone(&clients);
    task::spawn(async move { node.room.carry(|heard| node.relay(heard)).await });
    clients.room.first_try().await;
    announce(&listener)?;
    let listener = TcpListener::from_std(listener)?;
    let mut door = Door::with_porch(args.server.client_limit(0));
    for id in 0.. {
        if id % ACCEPT_TURN == 0 {
            task::yield_now().await; // the other tasks get a turn, however many clients connect
        }
        let accepted = tincanchat::span("accept").over(listener.accept().await);
        if shutdown.requested() {
            break;
        }
        let (sock, addr, seat) = match door.admit(accepted) {
            Ok(client) => client,
            Err(pause) => {
                time::sleep(pause).await;
                continue;
            }
        };
        let (sock, clients) = (Sock::new(sock), Arc::clone(&clients));
        if seat.is_inside() {
            let connection = clients.join(id, addr, sock); // before its task starts: it misses no message
            let handler = async move { handle_client(connection, addr, id, &clients).await };
            task::spawn(contain(seat, handler));
        } else {
            task::spawn(async move {
                turn_away(&sock, time::sleep).await;
                drop(seat);
            });
        }
    }
    drop(listener);
    let deadline = Instant::now() + DRAIN;
    clients.ending.send_replace(true);
    while !door.is_empty() && Instant::now() < deadline {
        time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

async fn handle_client(
    connection: Connection,
    addr: SocketAddr,
    id: u64,
    clients: &Arc<Clients>,
) -> Result<()> {
    let Connection { sock, queue, gauge } = connection;
    let to_client = Arc::clone(&sock);
    let sending = task::spawn(async move {
        let sent = caught(handle_client_send(&to_client, queue, &gauge)).await;
        to_client.cut(); // wakes the receiving half, if it is still there
        sent
    });
    let mut speaker = Speaker::new(id, addr, clients);
    let received = caught(handle_client_recv(&sock, addr, clients, &mut speaker)).await;
    speaker.finish().await;
    if let Some(frame) = received.as_ref().err().and_then(last_words) {
        clients.broadcast_msg(&frame, |to| to == id);
    }
    clients.handle_disconnect(id);
    first_cause(received, sending.await?)
}

async fn handle_client_recv(
    mut sock: &Sock,
    addr: SocketAddr,
    clients: &Clients,
    speaker: &mut Speaker,
) -> Result<()> {
    let mut rest = Rest::new();
    let mut ended = pin!(clients.ended());
    loop {
        let received = tokio::select! {
            () = &mut ended => break,
            received = recv_msgs(&mut sock, &mut rest) => received.context("receiving")?,
        };
        let Some(msgs) = received else { break };
        let (frames, wrong) = relay_msgs(addr, msgs);
        speaker.say(frames).await;
        wrong?;
        task::yield_now().await; // others may have been waiting while this one had much to say
    }
    log_rest(addr, &rest);
    Ok(())
}

async fn handle_client_send(
    mut sock: &Sock,
    mut queue: Receiver<Frame>,
    gauge: &QueueGauge,
) -> Result<()> {
    let mut frames = Frames::new();
    while let Some(first) = queue.recv().await {
        frames.push(first);
        task::yield_now().await; // those who have something to queue come first
        frames.extend(std::iter::from_fn(|| queue.try_recv().ok())); // all goes out in one write
        send_frames(&mut sock, &mut frames, gauge, time::sleep).await.context("sending")?;
    }
    close_gently(sock, time::sleep).await;
    Ok(())
}
