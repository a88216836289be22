//! Variation: a chat server on smol, with two tasks and a queue for each client, and one lock.
//!
//! The code reads as if each task were a thread. But a task that has to wait, at an `.await`, returns its
//! thread to the runtime, and continues when there is something to do. A few threads run all the tasks.
//!
//! Run it:      `cargo run -p chat-smol`
//! Talk to it:  `cargo run --bin chat-client`, in two terminals
//! Compare:     `chat-async`, on async-std, which smol succeeds. `runtime.rs` covers what smol does
//!              differently, or leaves to the program.
//! Bad at:      long computations: nothing interrupts a task between two `.await`s.

mod runtime;

use std::collections::HashMap;
use std::net::{Shutdown, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use clap::Parser;
use futures_lite::future::race;
use runtime::future::timeout;
use runtime::net::{TcpListener, TcpStream};
use runtime::task;
use serverkit::asynchronous::{StopSignal, catch_panic, in_lane, run_client};
use serverkit::{Admission, Admitted, Failure, ServerArgs, announce, end_reason, log_unfinished};
use serverkit::{start_runtime, trace};
use smol::channel::{self, Receiver, Sender};
use tincanchat::asynchronous::{discard_input, recv_msgs, refuse, write_batches};
use tincanchat::{DRAIN, LINGER, QueueLimit, RecvBuf, SendBuf, SlowConsumer};
use tincanchat::{append_msg, create_listen_socket, error_reply, printable};
use tracing::info;

/// How long a write may wait before the limit of the queue is checked.
const WRITE_TIMEOUT: Duration = Duration::from_millis(100);

/// The most connections that are accepted in a row. With more, the clients in the room would wait too long;
/// with fewer, connections would wait longer in the backlog, and miss what is sent in that time.
const ACCEPT_TURN: u64 = 64;

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

/// Starts the server. On an error, prints it on stderr, in one line, and exits with code 1.
fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let _log = args.server.start_log()?; // lines on stderr, until this is dropped
    // Up to 1,024 connections wait in the listener's backlog. The kernel ignores further ones, whose
    // clients try again for a while.
    let listener = create_listen_socket(&args.server.host, args.server.port)?;
    let stop = StopSignal::new()?; // SIGINT or SIGTERM; a second signal ends the process at once
    // Starts all threads of the runtime. If that fails, the server ends here, with an error, and not when
    // the first client comes.
    start_runtime(task::start_threads)?;
    announce(&listener)?; // prints "Listening on ADDR" on stdout
    // The accept loop is a task like the clients' tasks, so that it gets no more turns than they do. The
    // trace shows it under the name "main".
    task::block_on(task::spawn(in_lane("main", serve(listener.try_into()?, args, stop))));
    Ok(())
}

/// The clients in the room, keyed by an id that is never used again.
struct Clients {
    table: Mutex<HashMap<u64, Client>>,
    others_only: bool,
}

struct Client {
    /// The only `Sender` of the queue. Dropping it ends the queue: the sending half sends what is still in
    /// it, and then closes the connection.
    send_queue: Sender<Bytes>,
    limit: Arc<QueueLimit>,
}

/// What a client's handler gets: the socket, and the receiving end of the client's queue.
struct Connection {
    sock: TcpStream,
    queue: Receiver<Bytes>,
    limit: Arc<QueueLimit>,
}

impl Clients {
    /// Adds a client to the room: from now on, it gets every message.
    fn join(&self, id: u64, sock: TcpStream) -> Connection {
        let (send_queue, queue) = channel::unbounded();
        let limit = Arc::new(QueueLimit::new());
        let client = Client { send_queue, limit: Arc::clone(&limit) };
        self.table().insert(id, client);
        Connection { sock, queue, limit }
    }

    /// Adds a batch of messages to the queue of every client, or of every client except the sender. The
    /// lock is held throughout, so that every queue gets the batches in the same order.
    fn broadcast_msg(&self, from: u64, batch: &Bytes) {
        let mut table = self.table();
        table.retain(|&id, client| {
            let is_left_out = id == from && self.others_only;
            // A client that turns out to be too slow leaves the room at once.
            is_left_out || client.enqueue(batch).is_ok()
        });
    }

    /// Adds a reply to the queue of one client, if it is still in the room.
    fn send_reply(&self, id: u64, reply: &Bytes) {
        if let Some(client) = self.table().get(&id) {
            let _ = client.enqueue(reply); // if the client is too slow, its sending half disconnects it
        }
    }

    /// Takes a client out of the room and ends its queue, if it is still in the room.
    fn handle_disconnect(&self, id: u64) {
        if let Some(client) = self.table().remove(&id) {
            client.limit.close(); // the sending half has 3 s to empty the queue
            drop(client.send_queue); // ends the queue
        }
    }

    /// Takes all clients out of the room and ends their queues.
    fn disconnect_all(&self) {
        for (_, client) in self.table().drain() {
            client.limit.close();
            drop(client.send_queue);
        }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<u64, Client>> {
        // A task that panics while it holds the lock "poisons" it. The table can still be used: at worst, a
        // batch has reached only some of the queues.
        trace("lock", || self.table.lock()).unwrap_or_else(PoisonError::into_inner)
    }
}

impl Client {
    /// Adds a batch to the client's queue, without waiting for the client: a slow reader does not slow down
    /// any sender. All queues share the bytes of the batch.
    ///
    /// The queue has a limit, so that a client that stops reading cannot use up the memory. A client is too
    /// slow if
    ///
    /// * the kernel has refused every write for 1 s, and more than 256 KiB or 1,024 batches wait;
    /// * a byte is still waiting 10 s after the kernel first refused it;
    /// * more than 8 MiB wait. For a queue that was empty, this is not checked before the first attempt to
    ///   write: until then, the server causes the delay;
    /// * the queue has ended, and is not empty 3 s later.
    ///
    /// From then on, `limit.add`, `limit.check` and `limit.blocked` return an error, so the sending half,
    /// which calls `limit.check` before each write, disconnects the client. Bytes count until `limit.sent`
    /// reports that the kernel has accepted them.
    fn enqueue(&self, batch: &Bytes) -> Result<(), SlowConsumer> {
        self.limit.add(batch.len())?;
        let _ = self.send_queue.try_send(batch.clone()); // fails only if the handler has ended
        Ok(())
    }
}

async fn serve(listener: TcpListener, args: Args, stop: StopSignal) {
    let clients = Arc::new(Clients { table: Mutex::default(), others_only: args.others_only });
    // --max-clients, or else 10,000, lowered to what the limit of descriptors allows.
    let mut admission = Admission::new(args.server.client_limit());
    for id in 0.. {
        if id % ACCEPT_TURN == 0 {
            task::yield_now().await; // the other tasks get a turn, however many clients connect
        }
        // Waits until a client connects. With --trace, `trace` records how long that takes.
        let accept = serverkit::asynchronous::trace("accept", listener.accept());
        let stopped = async {
            stop.received().await;
            None
        };
        let Some(accepted) = race(async { Some(accept.await) }, stopped).await else {
            break; // SIGINT or SIGTERM came first
        };
        match admission.admit(accepted) {
            Admitted::Client(sock, addr, permit) => {
                // The client joins before its task starts, so it gets every message from now on.
                let connection = clients.join(id, sock);
                let room = Arc::clone(&clients);
                let handler = handle_client(connection, addr, id, room);
                // An error or a panic in the handler is logged (a panic with its place in the code), and
                // ends only this client's connection. However the handler ends, the permit is then dropped,
                // which makes room for another client.
                task::spawn(task_for("send", addr, run_client(permit, handler))).detach();
            }
            // The server is full, which is logged, in at most ten lines a second. Up to 64 clients at a
            // time get the reply "server: full" and the end of the stream. So that both arrive, their input
            // is read for up to 500 ms before the socket is closed.
            Admitted::Full(sock, addr, Some(permit)) => {
                let refusal = async move {
                    refuse(&sock, task::sleep).await; // given a sleep, it works on any runtime
                    drop(permit);
                };
                task::spawn(task_for("refuse", addr, refusal)).detach();
            }
            // 64 clients are getting that reply already: this one is closed without a reply.
            Admitted::Full(sock, _, None) => drop(sock),
            // accept has failed, which is logged. The pause is zero if the error concerns only one
            // connection, such as a reset by its client. For any other error, such as a lack of
            // descriptors, it is 10 ms, and doubles with each such error, up to 1 s. When no such error has
            // come for 2 s, it starts at 10 ms again.
            Admitted::Retry(pause) => task::sleep(pause).await,
        }
    }
    drop(listener);
    clients.disconnect_all();
    // What is queued is still sent. The loop waits, for up to 3 s, until all clients are gone, refused ones
    // included. Then main returns, which ends all other tasks.
    let deadline = Instant::now() + DRAIN;
    while !admission.is_idle() && Instant::now() < deadline {
        task::sleep(Duration::from_millis(10)).await;
    }
}

/// Runs both halves of a client's handler, each in a task, and returns the reason why the client is gone.
///
/// The receiving half has a task of its own; only it reads, and it reads to the end of the connection. The
/// sending half runs in this task; only this task writes and shuts down. The socket is closed when both
/// tasks have dropped it.
async fn handle_client(
    connection: Connection,
    addr: SocketAddr,
    id: u64,
    clients: Arc<Clients>,
) -> Result<()> {
    let Connection { sock, queue, limit } = connection;
    let sock = Arc::new(sock);
    let recv_sock = Arc::clone(&sock);
    let mut receiving = task::spawn(task_for("recv", addr, async move {
        // A panic becomes an error, so that the queue ends even then.
        let received = catch_panic(handle_client_recv(&recv_sock, addr, id, &clients)).await;
        clients.handle_disconnect(id);
        received
    }));
    let sent = catch_panic(handle_client_send(&sock, &queue, &limit)).await;
    let mut linger = Duration::ZERO; // after an error: the connection has failed, or the client is too slow
    if sent.is_ok() {
        // After the last message, the client reads the end of the stream, and has 500 ms to close its side.
        // Until then, the receiving half keeps reading: closing a socket with unread input sends a reset,
        // which can destroy the last message.
        let _ = sock.get_ref().shutdown(Shutdown::Write);
        linger = LINGER;
    }
    let ended = timeout(linger, &mut receiving).await;
    // Ends a pending read of the receiving half. The client reads what the kernel has accepted, and then the
    // end of the stream, or a reset if input was left unread.
    let _ = sock.get_ref().shutdown(Shutdown::Both);
    let received = match ended {
        Ok(received) => received,
        Err(_) => receiving.await,
    };
    // If the client was too slow, or the sending half panicked, that is the reason. Otherwise it is the
    // error of the receiving half, if there is one, or else that of the sending half.
    end_reason(received, sent)
}

/// Reads a client's messages and relays them, until the client leaves or breaks the protocol.
async fn handle_client_recv(
    mut sock: &TcpStream,
    addr: SocketAddr,
    id: u64,
    clients: &Clients,
) -> Result<()> {
    // The part of an unfinished message that has been read. Between reads it is at most 16 KiB: a longer
    // message is an error.
    let mut rest = RecvBuf::new();
    loop {
        // Reads, up to 64 KiB at a time, until at least one message is complete, that is, ended by a zero
        // byte. Returns all complete messages except empty ones, or None at the end of the stream. There is
        // no time limit, but TCP keepalive detects a client that has vanished.
        let received =
            serverkit::asynchronous::trace("read", recv_msgs(&mut sock, &mut rest)).await;
        let Some(msgs) = received.context("receiving")? else {
            break; // the client has shut down its sending side
        };
        let prefix = format!("{addr}: ");
        let mut batch = Vec::new(); // up to 1.6 MiB: one-letter messages with long prefixes
        let mut protocol_error = None;
        for msg in msgs {
            match msg {
                Ok(msg) => {
                    info!("{addr}: {}", printable(msg)); // with control characters escaped
                    append_msg(&mut batch, &prefix, msg); // the prefix, the message, a zero byte
                }
                // The message is too long or not UTF-8. This is the last item: what follows is not used.
                Err(err) => protocol_error = Some(err),
            }
        }
        if !batch.is_empty() {
            trace("broadcast", || clients.broadcast_msg(id, &Bytes::from(batch)));
        }
        if let Some(err) = protocol_error {
            clients.send_reply(id, &error_reply(&err)); // "server: ", the error, a zero byte
            clients.handle_disconnect(id); // ends the queue after the reply
            discard_input(&mut sock).await; // reads to the end of the connection
            return Err(err.into());
        }
        task::yield_now().await; // the other tasks get a turn, even if this client never stops sending
    }
    log_unfinished(addr, &rest); // "N bytes of an unfinished message dropped", at debug
    Ok(())
}

/// Writes what is queued for a client, until its queue ends or the client is too slow.
async fn handle_client_send(
    mut sock: &TcpStream,
    queue: &Receiver<Bytes>,
    limit: &QueueLimit,
) -> Result<()> {
    let mut send_buf = SendBuf::new(); // batches from the queue that are not completely written yet
    // Waits until a batch is queued. An error means that the queue has ended and is empty.
    while let Ok(batch) = queue.recv().await {
        send_buf.push(batch);
        // Lets tasks that are about to queue more batches run first, so that one write sends them all.
        task::yield_now().await;
        while let Ok(batch) = queue.try_recv() {
            send_buf.push(batch);
        }
        while !send_buf.is_empty() {
            limit.check()?; // an error if the client is too slow
            let write =
                serverkit::asynchronous::trace("write", write_batches(&mut sock, &mut send_buf));
            match timeout(WRITE_TIMEOUT, write).await {
                Ok(Ok(n)) => limit.sent(n), // the kernel has accepted n bytes
                // In most cases, the client has closed or reset the connection.
                Ok(Err(err)) => return Err(err).context("sending"),
                // The timeout has passed, and the kernel has accepted nothing.
                Err(_) => limit.blocked()?, // an error if the client is too slow
            }
        }
    }
    Ok(limit.check()?) // an error if `broadcast_msg` has ended the queue because the client is too slow
}

/// Gives a task a name that says what it does and for which client. The trace shows the name.
fn task_for<F: Future>(task: &str, addr: SocketAddr, future: F) -> impl Future<Output = F::Output> {
    in_lane(format!("{task} {}", addr.port()), future)
}
