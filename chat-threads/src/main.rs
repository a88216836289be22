//! Stage 3: a chat server, with two threads and a queue for each client, and one lock.
//!
//! A client's first thread receives what the client says and queues it for everyone, holding the lock,
//! so that all get one order. Its second thread sends what is queued: only that one waits for a slow
//! client.
//!
//! Run it:      `cargo run -p chat-threads`
//! Talk to it:  `cargo run -p chat-threads --bin chat-client`, in two terminals
//! Compare:     `echo-multi`, where the clients have nothing to do with one another.
//! Bad at:      crowds. Each client costs two threads, each message to each client a wake-up.

use std::collections::HashMap;
use std::net::{Shutdown as Half, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Parser;
use tincanchat::cli::{Door, Failure, ServerArgs, Shutdown, announce, caught, contain};
use tincanchat::cli::{first_cause, last_words, log_rest, relay_msgs, warn_not_started};
use tincanchat::{DRAIN, Frame, Frames, QueueGauge, Rest, STACK_SIZE, close_gently};
use tincanchat::{create_listen_socket, recv_msgs, send_frames, turn_away};

#[derive(Parser)]
#[command(version, about)]
#[command(after_help = concat!("Examples:\n  ", env!("CARGO_BIN_NAME"), " --host :: --port 5000 -v"))]
struct Args {
    #[command(flatten)]
    server: ServerArgs,
    /// Relay a message to all clients but the one that sent it
    #[arg(long)]
    others_only: bool,
}

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let _log = args.server.start_log()?;
    let listener = create_listen_socket(&args.server.host, args.server.port)?;
    let shutdown = Shutdown::on_signal()?.wake(&listener)?;
    announce(&listener)?;
    serve(listener, &args, &shutdown);
    Ok(())
}

/// Who is in the room, by a number that is never given twice.
struct Clients {
    table: Mutex<HashMap<u64, Client>>,
    others_only: bool,
}

struct Client {
    sock: Arc<TcpStream>,
    send_queue: Sender<Frame>,
    gauge: Arc<QueueGauge>,
}

/// What the two threads of a client share: its socket, and the other end of its queue in the table.
struct Connection {
    sock: Arc<TcpStream>,
    queue: Receiver<Frame>,
    gauge: Arc<QueueGauge>,
}

impl Clients {
    /// Adds a client to the room: from now on, it gets every message.
    fn join(&self, id: u64, addr: SocketAddr, sock: TcpStream) -> Connection {
        let sock = Arc::new(sock);
        let (send_queue, queue) = mpsc::channel();
        let gauge = Arc::new(QueueGauge::of_client(addr));
        let connection = Connection { sock: Arc::clone(&sock), queue, gauge: Arc::clone(&gauge) };
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
            && self.send_queue.send(Arc::clone(frames)).is_ok();
        if !keeps_up {
            // Wakes both halves; the sending half learns the reason from the gauge.
            let _ = self.sock.shutdown(Half::Both);
        }
        keeps_up
    }
}

fn serve(listener: TcpListener, args: &Args, shutdown: &Shutdown) {
    let clients = Arc::new(Clients { table: Mutex::default(), others_only: args.others_only });
    let mut door = Door::with_porch(args.server.client_limit(2));
    for id in 0.. {
        let accepted = tincanchat::span("accept").over(listener.accept());
        if shutdown.requested() {
            break;
        }
        let (sock, addr, seat) = match door.admit(accepted) {
            Ok(client) => client,
            Err(pause) => {
                thread::sleep(pause);
                continue;
            }
        };
        let started = if seat.is_inside() {
            let clients = Arc::clone(&clients);
            let connection = clients.join(id, addr, sock); // before its thread starts: it misses no message
            thread_for("recv", addr).spawn(move || {
                contain(seat, || handle_client(connection, addr, id, &clients));
            })
        } else {
            thread_for("refuse", addr).spawn(move || {
                turn_away(&sock);
                drop(seat);
            })
        };
        if let Err(err) = started {
            clients.handle_disconnect(id);
            warn_not_started(addr, "a thread", &err);
        }
    }
    drop(listener);
    clients.table().drain().for_each(|(_, client)| client.gauge.close()); // what is queued is still sent
    let deadline = Instant::now() + DRAIN;
    while !door.is_empty() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
    }
}

fn handle_client(
    connection: Connection,
    addr: SocketAddr,
    id: u64,
    clients: &Clients,
) -> Result<()> {
    let Connection { sock, queue, gauge } = connection;
    let to_client = Arc::clone(&sock);
    let started = thread_for("send", addr).spawn(move || {
        let sent = caught(|| handle_client_send(&to_client, &queue, &gauge));
        let _ = to_client.shutdown(Half::Both); // wakes the receiving half, if it is still there
        sent
    });
    let sending = match started {
        Ok(sending) => sending,
        Err(err) => {
            clients.handle_disconnect(id);
            return Err(err).context("cannot start a thread");
        }
    };
    let received = caught(|| handle_client_recv(&sock, addr, id, clients));
    if let Some(frame) = received.as_ref().err().and_then(last_words) {
        clients.broadcast_msg(&frame, |to| to == id);
    }
    clients.handle_disconnect(id);
    first_cause(received, sending.join().unwrap_or(Ok(()))) // a panic there is an error by now
}

fn handle_client_recv(
    mut sock: &TcpStream,
    addr: SocketAddr,
    id: u64,
    clients: &Clients,
) -> Result<()> {
    let mut rest = Rest::new();
    while let Some(msgs) = recv_msgs(&mut sock, &mut rest).context("receiving")? {
        let (frames, wrong) = relay_msgs(addr, msgs);
        if !frames.is_empty() {
            clients.broadcast_msg(&frames.into(), |to| to != id || !clients.others_only);
        }
        wrong?;
    }
    log_rest(addr, &rest);
    Ok(())
}

fn handle_client_send(sock: &TcpStream, queue: &Receiver<Frame>, gauge: &QueueGauge) -> Result<()> {
    let mut frames = Frames::new();
    while let Ok(first) = queue.recv() {
        frames.push(first);
        thread::yield_now(); // those who have something to queue come first
        frames.extend(queue.try_iter()); // all goes out in one write
        send_frames(sock, &mut frames, gauge).context("sending")?;
    }
    close_gently(sock);
    Ok(())
}

/// Prepares a thread whose name says what it does and for which client; top(1) and `cargo tincan watch`
/// show the name.
fn thread_for(task: &str, addr: SocketAddr) -> thread::Builder {
    // Linux keeps 15 bytes: enough for the port.
    let name = format!("{task} {}", addr.port());
    thread::Builder::new().name(name).stack_size(STACK_SIZE)
}
