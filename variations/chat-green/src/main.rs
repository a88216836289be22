//! Variation of stage 3: a chat server, with two green threads and a queue for each client, and one lock.
//!
//! One of a client's threads reads its messages and adds them to the queue of every client. It holds the
//! lock while it does so, so all clients get the messages in the same order. The other thread writes what
//! is in the client's own queue; only this thread waits when the client reads slowly. All of them take
//! turns in one thread of the operating system, each on a stack of its own. `hub.rs` switches the stacks.
//!
//! Run it:      `cargo run -p chat-green`
//! Talk to it:  `cargo run --bin chat-client`, in two terminals
//! Compare:     `chat-threads`, where the operating system switches the threads.
//! Bad at:      memory: an idle client keeps two stacks. And everything runs in one thread: a call that
//!              really blocks stops all clients, and a lock that is held during a call that waits can stop
//!              them forever.

mod hub;
mod net;

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{Shutdown, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use clap::Parser;
use hub::{self as mpsc, self as thread, Receiver, Sender}; // in place of std's
use net::{TcpListener, TcpStream}; // in place of std's
use serverkit::{
    Admission, Admitted, Failure, ServerArgs, Stop, announce, catch_panic, end_reason,
};
use serverkit::{log_unfinished, run_client, trace, warn_not_started};
use tincanchat::{DRAIN, LINGER, QueueLimit, RecvBuf, STACK_SIZE, SendBuf, SlowConsumer};
use tincanchat::{append_msg, create_listen_socket, discard_input, error_reply, printable};
use tincanchat::{recv_msgs, refuse};
use tracing::info;

/// How long a write may block before the limit of the queue is checked.
const WRITE_TIMEOUT: Duration = Duration::from_millis(50);

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
    // After SIGINT or SIGTERM, a thread shuts down the listener, so that a blocking accept returns. A
    // second signal ends the process at once.
    let stop = Stop::on_signal()?.unblock_accept(&listener)?;
    announce(&listener)?; // prints "Listening on ADDR" on stdout
    serve(TcpListener::new(listener)?, &args, &stop);
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
        let (send_queue, queue) = mpsc::channel();
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
        // A thread that panics while it holds the lock "poisons" it. The table can still be used: at worst,
        // a batch has reached only some of the queues.
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
        let _ = self.send_queue.send(batch.clone()); // fails only if the handler has ended
        Ok(())
    }
}

fn serve(listener: TcpListener, args: &Args, stop: &Stop) {
    let clients = Arc::new(Clients { table: Mutex::default(), others_only: args.others_only });
    // --max-clients, or else 10,000. Each client takes two stacks, for which there must be address space.
    let mut admission = Admission::new(args.server.client_limit_with_stacks(2));
    for id in 0.. {
        // Blocks until a client connects or the server is to stop. `trace` calls the closure and, with
        // --trace, records how long it takes.
        let accepted = trace("accept", || listener.accept());
        if stop.requested() {
            break; // a client accepted at the same moment is closed
        }
        match admission.admit(accepted) {
            Admitted::Client(sock, addr, permit) => {
                // The client joins before its thread starts, so it gets every message from now on.
                let connection = clients.join(id, sock);
                let room = Arc::clone(&clients);
                let handler = move || handle_client(connection, addr, id, &room);
                // An error or a panic in the handler is logged (a panic with its place in the code), and
                // ends only this client's connection. However the handler ends, the permit is then dropped,
                // which makes room for another client.
                let started = thread_for("send", addr).spawn(|| run_client(permit, handler));
                if let Err(err) = started {
                    clients.handle_disconnect(id);
                    warn_not_started(addr, "a thread", &err); // a line in the log
                }
            }
            // The server is full, which is logged, in at most ten lines a second. Up to 64 clients at a
            // time get the reply "server: full" and the end of the stream. So that both arrive, their input
            // is read for up to 500 ms before the socket is closed.
            Admitted::Full(sock, addr, Some(permit)) => {
                let refusal = move || {
                    refuse(&sock);
                    drop(permit);
                };
                if let Err(err) = thread_for("refuse", addr).spawn(refusal) {
                    warn_not_started(addr, "a thread", &err); // a line in the log
                }
            }
            // 64 clients are getting that reply already: this one is closed without a reply.
            Admitted::Full(sock, _, None) => drop(sock),
            // accept has failed, which is logged. The pause is zero if the error concerns only one
            // connection, such as a reset by its client. For any other error, such as a lack of
            // descriptors, it is 10 ms, and doubles with each such error, up to 1 s. When no such error has
            // come for 2 s, it starts at 10 ms again.
            Admitted::Retry(pause) => thread::sleep(pause),
        }
    }
    drop(listener);
    clients.disconnect_all();
    // What is queued is still sent. The loop waits, for up to 3 s, until all clients are gone, refused ones
    // included. Then main returns, which ends all other threads.
    let deadline = Instant::now() + DRAIN;
    while !admission.is_idle() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
    }
}

/// Runs both halves of a client's handler, each in a thread, and returns the reason why the client is gone.
///
/// The receiving half has a thread of its own; only it reads, and it reads to the end of the connection.
/// The sending half runs in this thread; only this thread writes and shuts down. The socket is closed when
/// both threads have dropped it.
fn handle_client(
    connection: Connection,
    addr: SocketAddr,
    id: u64,
    clients: &Arc<Clients>,
) -> Result<()> {
    let Connection { sock, queue, limit } = connection;
    let sock = Arc::new(sock);
    let (recv_sock, room) = (Arc::clone(&sock), Arc::clone(clients));
    let (result_sender, recv_result) = mpsc::channel();
    let started = thread_for("recv", addr).spawn(move || {
        // A panic becomes an error, so that the queue ends even then.
        let received = catch_panic(|| handle_client_recv(&recv_sock, addr, id, &room));
        // The result is sent before the queue ends: the end of the queue wakes the sending half, and its
        // wait for the result below returns at once.
        let _ = result_sender.send(received);
        room.handle_disconnect(id);
    });
    if let Err(err) = started {
        clients.handle_disconnect(id);
        return Err(err).context("cannot start a thread");
    }
    let sent = catch_panic(|| handle_client_send(&sock, &queue, &limit));
    let mut linger = Duration::ZERO; // after an error: the connection has failed, or the client is too slow
    if sent.is_ok() {
        // After the last message, the client reads the end of the stream, and has 500 ms to close its side.
        // Until then, the receiving half keeps reading: closing a socket with unread input sends a reset,
        // which can destroy the last message.
        let _ = sock.shutdown(Shutdown::Write);
        linger = LINGER;
    }
    let received = recv_result.recv_timeout(linger);
    // Ends a pending read of the receiving half. The client reads what the kernel has accepted, and then the
    // end of the stream, or a reset if input was left unread.
    let _ = sock.shutdown(Shutdown::Both);
    let received = received.or_else(|_| recv_result.recv()); // after a timeout, waits for the result
    // If the client was too slow, or the sending half panicked, that is the reason. Otherwise it is the
    // error of the receiving half, if there is one, or else that of the sending half.
    end_reason(received?, sent)
}

/// Reads a client's messages and relays them, until the client leaves or breaks the protocol.
fn handle_client_recv(
    mut sock: &TcpStream,
    addr: SocketAddr,
    id: u64,
    clients: &Clients,
) -> Result<()> {
    // The part of an unfinished message that has been read. Between reads it is at most 16 KiB: a longer
    // message is an error.
    let mut rest = RecvBuf::new();
    // Reads, up to 64 KiB at a time, until at least one message is complete, that is, ended by a zero byte.
    // Returns all complete messages except empty ones, or None at the end of the stream. There is no time
    // limit, but TCP keepalive detects a client that has vanished.
    while let Some(msgs) = trace("read", || recv_msgs(&mut sock, &mut rest)).context("receiving")? {
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
            discard_input(&mut sock); // reads to the end of the connection
            return Err(err.into());
        }
    }
    log_unfinished(addr, &rest); // "N bytes of an unfinished message dropped", at debug
    Ok(())
}

/// Writes what is queued for a client, until its queue ends or the client is too slow.
fn handle_client_send(
    mut sock: &TcpStream,
    queue: &Receiver<Bytes>,
    limit: &QueueLimit,
) -> Result<()> {
    sock.set_write_timeout(Some(WRITE_TIMEOUT))?;
    let mut send_buf = SendBuf::new(); // batches from the queue that are not completely written yet
    // Blocks until a batch is queued. An error means that the queue has ended and is empty.
    while let Ok(batch) = queue.recv() {
        send_buf.push(batch);
        // Lets threads that are about to queue more batches run first, so that one write sends them all.
        thread::yield_now();
        send_buf.extend(queue.try_iter());
        while !send_buf.is_empty() {
            limit.check()?; // an error if the client is too slow
            match trace("write", || send_buf.write_to(&mut sock)) {
                Ok(n) => limit.sent(n), // the kernel has accepted n bytes
                // The timeout has passed, and the kernel has accepted nothing. (TimedOut is for Windows.)
                Err(err) if matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    limit.blocked()?; // an error if the client is too slow
                }
                // In most cases, the client has closed or reset the connection.
                Err(err) => return Err(err).context("sending"),
            }
        }
    }
    Ok(limit.check()?) // an error if `broadcast_msg` has ended the queue because the client is too slow
}

/// Prepares a thread with a name that says what it does and for which client. The trace shows the name.
fn thread_for(task: &str, addr: SocketAddr) -> thread::Builder {
    let name = format!("{task} {}", addr.port());
    thread::Builder::new().name(name).stack_size(STACK_SIZE)
}
