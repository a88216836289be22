//! Variation: `chat-async` in private: each connection is inside TLS, 1.3 or 1.2.
//!
//! TLS is a layer between the socket and the messages: bytes go in readable and out unreadable. It
//! belongs to one connection, both directions share its state, and it begins with a handshake.
//!
//! Run it:      `cargo run -p chat-tls -- --dev-cert dev`, which makes a CA and a certificate first
//! Talk to it:  `cargo run -p chat-threads --bin chat-client -- --tls --ca dev/ca.pem`, twice
//! Compare:     `chat-async`. What is new is in `tls.rs` and `certs.rs`.
//! Bad at:      knowing its clients: it shows them who it is, and asks nobody the same. Nor does it
//!              hide who talks, when, and how much.

mod certs;
mod tls;

use std::collections::HashMap;
use std::net::{Shutdown as Half, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use async_std::channel::{self, Receiver, Sender};
use async_std::net::{TcpListener, TcpStream};
use async_std::task;
use clap::Parser;
use tincanchat::asynchronous::{caught, contain, in_main_lane, recv_msgs, send_frames};
use tincanchat::cli::{Door, Failure, ServerArgs, Shutdown, announce};
use tincanchat::cli::{first_cause, last_words, log_rest, relay_msgs, start_runtime};
use tincanchat::{DRAIN, Frame, Frames, QueueGauge, Rest, create_listen_socket};

use certs::CertArgs;
use tls::{Handshakes, TlsSock};

/// The most connections that are accepted in a row. More would keep the clients waiting; with fewer, a
/// client that has already connected might miss the next message.
const ACCEPT_TURN: u64 = 64;

/// How long a client may take for its handshake. It has its place meanwhile.
const HANDSHAKE: Duration = Duration::from_secs(10);

#[derive(Parser)]
#[command(version, about)]
#[command(after_help = concat!("Examples:
  ", env!("CARGO_BIN_NAME"), " --dev-cert dev
  ", env!("CARGO_BIN_NAME"), " --host :: --cert cert.pem --key key.pem"))]
struct Args {
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    certs: CertArgs,
    /// Relay a message to all clients but the one that sent it
    #[arg(long)]
    others_only: bool,
}

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let _log = args.server.start_log()?;
    let listener = create_listen_socket(&args.server.host, args.server.port)?;
    let handshakes = Handshakes::with(args.certs.config()?);
    let shutdown = Shutdown::on_signal()?.wake(&listener)?;
    start_runtime(|| task::block_on(task::spawn(async {}))); // a first task starts all threads
    announce(&listener)?;
    // The accept loop is a task like those of the clients, so it cannot run ahead of them.
    task::block_on(task::spawn(in_main_lane(serve(listener.into(), handshakes, args, shutdown))));
    Ok(())
}

/// Who is in the room, by a number that is never given twice.
struct Clients {
    table: Mutex<HashMap<u64, Client>>,
    handshakes: Handshakes,
    others_only: bool,
}

struct Client {
    /// As it was accepted, without TLS: enough to shut it down.
    sock: TcpStream,
    send_queue: Sender<Frame>,
    gauge: Arc<QueueGauge>,
}

/// What the two tasks of a client share: its socket, and the other end of its queue in the table.
struct Connection {
    sock: TcpStream,
    queue: Receiver<Frame>,
    gauge: Arc<QueueGauge>,
}

impl Clients {
    /// Adds a client to the room: from now on, it gets every message.
    fn join(&self, id: u64, addr: SocketAddr, sock: TcpStream) -> Connection {
        let (send_queue, queue) = channel::unbounded();
        let gauge = Arc::new(QueueGauge::of_client(addr));
        // Nothing can be sent before the handshake, so what is queued until then counts as refused.
        let _ = gauge.refused();
        let connection = Connection { sock: sock.clone(), queue, gauge: Arc::clone(&gauge) };
        self.table().insert(id, Client { sock, send_queue, gauge });
        connection
    }

    /// Queues frames for some of the clients. The lock makes one order of them for all.
    fn broadcast_msg(&self, frames: &Frame, is_for: impl Fn(u64) -> bool) {
        let _span = tincanchat::span("broadcast").of_bytes(frames.len());
        self.table().retain(|&id, client| !is_for(id) || client.queue(frames));
    }

    /// Ends the queue of a client: what is in it is still sent, then the connection is closed.
    fn handle_disconnect(&self, id: u64) {
        if let Some(client) = self.table().remove(&id) {
            client.gauge.close();
        }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<u64, Client>> {
        // A handler that panics while it holds the lock leaves a whole table behind.
        tincanchat::span("lock").over(self.table.lock()).unwrap_or_else(PoisonError::into_inner)
    }
}

impl Client {
    /// Queues frames, waiting for nobody. A client that does not keep up is cut off: false.
    fn queue(&self, frames: &Frame) -> bool {
        let keeps_up = self.gauge.queue(frames.len()).is_ok()
            && self.send_queue.try_send(Arc::clone(frames)).is_ok();
        if !keeps_up {
            // Wakes both halves; the sending half learns the reason from the gauge.
            let _ = self.sock.shutdown(Half::Both);
        }
        keeps_up
    }
}

async fn serve(listener: TcpListener, handshakes: Handshakes, args: Args, shutdown: Arc<Shutdown>) {
    let (table, others_only) = (Mutex::default(), args.others_only);
    let clients = Arc::new(Clients { table, handshakes, others_only });
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
                task::sleep(pause).await;
                continue;
            }
        };
        let clients = Arc::clone(&clients);
        if seat.is_inside() {
            let connection = clients.join(id, addr, sock); // before its task starts: it misses no message
            let handler = async move { handle_client(connection, addr, id, &clients).await };
            task::spawn(contain(seat, handler));
        } else {
            task::spawn(async move {
                clients.handshakes.turn_away(sock).await;
                drop(seat);
            });
        }
    }
    drop(listener);
    clients.handshakes.end();
    clients.table().drain().for_each(|(_, client)| client.gauge.close()); // what is queued is still sent
    let deadline = Instant::now() + DRAIN;
    while !door.is_empty() && Instant::now() < deadline {
        task::sleep(Duration::from_millis(10)).await;
    }
}

async fn handle_client(
    connection: Connection,
    addr: SocketAddr,
    id: u64,
    clients: &Clients,
) -> Result<()> {
    let Connection { sock, queue, gauge } = connection;
    let sock = match caught(clients.handshakes.shake(sock, HANDSHAKE)).await {
        Ok(sock) => Arc::new(sock),
        Err(err) => {
            clients.handle_disconnect(id);
            return gauge.check().context("TLS handshake").and(Err(err));
        }
    };
    gauge.took(0); // from now on, what is queued is offered to the client
    let to_client = Arc::clone(&sock);
    let sending = task::spawn(async move {
        let sent = caught(handle_client_send(&to_client, &queue, &gauge)).await;
        let _ = to_client.shutdown(Half::Both); // wakes the receiving half, if it is still there
        sent
    });
    let received = caught(handle_client_recv(&sock, addr, id, clients)).await;
    if let Some(frame) = received.as_ref().err().and_then(last_words) {
        clients.broadcast_msg(&frame, |to| to == id);
    }
    clients.handle_disconnect(id);
    first_cause(received, sending.await)
}

async fn handle_client_recv(
    mut sock: &TlsSock,
    addr: SocketAddr,
    id: u64,
    clients: &Clients,
) -> Result<()> {
    let mut rest = Rest::new();
    while let Some(msgs) = recv_msgs(&mut sock, &mut rest).await.context("receiving")? {
        let (frames, wrong) = relay_msgs(addr, msgs);
        if !frames.is_empty() {
            clients.broadcast_msg(&frames.into(), |to| to != id || !clients.others_only);
        }
        wrong?;
        task::yield_now().await; // others may have been waiting while this one had much to say
    }
    log_rest(addr, &rest);
    Ok(())
}

async fn handle_client_send(
    mut sock: &TlsSock,
    queue: &Receiver<Frame>,
    gauge: &QueueGauge,
) -> Result<()> {
    let mut frames = Frames::new();
    while let Ok(first) = queue.recv().await {
        frames.push(first);
        task::yield_now().await; // those who have something to queue come first
        frames.extend(std::iter::from_fn(|| queue.try_recv().ok())); // all goes out in one write
        send_frames(&mut sock, &mut frames, gauge, task::sleep).await.context("sending")?;
    }
    sock.close_gently().await;
    Ok(())
}
