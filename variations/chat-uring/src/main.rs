//! Variation of stage 5: a chat server in one thread, with completion in place of readiness.
//!
//! Readiness means that a read would not have to wait. Completion means that the read is done: the kernel
//! has put the bytes into the buffer. So a buffer belongs to the kernel from the moment a read or a write
//! is submitted until it is complete. The task gives the buffer away, and gets it back with the result. A
//! read that the task has given up may still write into its buffer, until the kernel confirms that the read
//! is cancelled. So the buffer cannot be borrowed from a stack, which might be gone by then.
//!
//! Run it:      `cargo run -p chat-uring`; with `--poll`, as on a system without `io_uring`
//! Talk to it:  `cargo run --bin chat-client`, in two terminals
//! Compare:     `chat-async`, which lends its buffers; `chat-poll`, which needs none while it waits.
//! Bad at:      silent clients: each has a buffer, in a read that may never complete.

mod owned;

use std::cell::{RefCell, RefMut};
use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use async_channel::{self as channel, Receiver, Sender};
use bytes::Bytes;
use clap::Parser;
use compio::driver::{DriverType, ProactorBuilder};
use compio::net::TcpStream;
use compio::runtime::{self as task, Runtime};
use compio::time::{sleep, timeout};
use futures_lite::future::{race, yield_now};
use owned::{Acceptor, Reader, SendBuf, discard_input, recv_msgs, refuse, write_batches};
use serverkit::asynchronous::{StopSignal, catch_panic, in_lane, run_client};
use serverkit::{Admission, Admitted, Failure, ServerArgs, announce, end_reason};
use serverkit::{log_unfinished, trace};
use socket2::SockRef;
use tincanchat::{DRAIN, LINGER, QueueLimit, RecvBuf, SlowConsumer};
use tincanchat::{append_msg, create_listen_socket, error_reply, printable};
use tracing::info;

/// How long a write may wait before the limit of the queue is checked.
const WRITE_TIMEOUT: Duration = Duration::from_millis(100);

#[derive(Parser)]
#[command(version, about)]
#[command(after_help = concat!("Examples:\n  ", env!("CARGO_BIN_NAME"), " --host :: --port 5000 -v"))]
struct Args {
    #[command(flatten)]
    server: ServerArgs,
    /// Relay a message to all clients but the one that sent it
    #[arg(long)]
    others_only: bool,
    /// Use readiness in place of `io_uring`, as on a system without it
    #[arg(long)]
    poll: bool,
}

/// Starts the server. On an error, prints it on stderr, in one line, and exits with code 1.
fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let _log = args.server.start_log()?; // lines on stderr, until this is dropped
    // Up to 1,024 connections wait in the listener's backlog. The kernel ignores further ones, whose
    // clients try again for a while.
    let listener = create_listen_socket(&args.server.host, args.server.port)?;
    let stop = StopSignal::new()?; // SIGINT or SIGTERM; a second signal ends the process at once
    let runtime = start_runtime(args.poll).context("cannot start the runtime")?;
    announce(&listener)?; // prints "Listening on ADDR" on stdout
    runtime.block_on(in_lane("main", serve(listener, args, stop)))?;
    Ok(())
}

/// The clients in the room, keyed by an id that is never used again.
struct Clients {
    table: RefCell<HashMap<u64, Client>>,
    others_only: bool,
}

struct Client {
    /// The only `Sender` of the queue. Dropping it ends the queue: the sending half sends what is still in
    /// it, and then closes the connection.
    send_queue: Sender<Bytes>,
    limit: Rc<QueueLimit>,
}

/// What a client's handler gets: the socket, and the receiving end of the client's queue.
struct Connection {
    sock: TcpStream,
    queue: Receiver<Bytes>,
    limit: Rc<QueueLimit>,
}

impl Clients {
    /// Adds a client to the room: from now on, it gets every message.
    fn join(&self, id: u64, sock: TcpStream) -> Connection {
        let (send_queue, queue) = channel::unbounded();
        let limit = Rc::new(QueueLimit::new());
        let client = Client { send_queue, limit: Rc::clone(&limit) };
        self.table().insert(id, client);
        Connection { sock, queue, limit }
    }

    /// Adds a batch of messages to the queue of every client, or of every client except the sender. No
    /// other task runs during this, so that every queue gets the batches in the same order.
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

    fn table(&self) -> RefMut<'_, HashMap<u64, Client>> {
        // All tasks run in one thread, so this never waits. If a task held the table at an `.await`, the
        // next borrow would panic.
        trace("lock", || self.table.borrow_mut())
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

async fn serve(listener: TcpListener, args: Args, stop: StopSignal) -> io::Result<()> {
    // This lets the other tasks run, however many clients connect.
    let mut listener = Acceptor::new(listener)?;
    let clients = Rc::new(Clients { table: RefCell::default(), others_only: args.others_only });
    // --max-clients, or else 10,000, lowered to what the limit of descriptors allows.
    let mut admission = Admission::new(args.server.client_limit());
    for id in 0.. {
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
                let room = Rc::clone(&clients);
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
                    refuse(&sock).await;
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
            Admitted::Retry(pause) => sleep(pause).await,
        }
    }
    drop(listener);
    clients.disconnect_all();
    // What is queued is still sent. The loop waits, for up to 3 s, until all clients are gone, refused ones
    // included. Then main returns, which ends all other tasks.
    let deadline = Instant::now() + DRAIN;
    while !admission.is_idle() && Instant::now() < deadline {
        sleep(Duration::from_millis(10)).await;
    }
    Ok(())
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
    clients: Rc<Clients>,
) -> Result<()> {
    let Connection { sock, queue, limit } = connection;
    let recv_sock = sock.clone();
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
        let _ = SockRef::from(&sock).shutdown(Shutdown::Write);
        linger = LINGER;
    }
    let ended = timeout(linger, &mut receiving).await;
    // Ends a pending read of the receiving half. The client reads what the kernel has accepted, and then the
    // end of the stream, or a reset if input was left unread.
    let _ = SockRef::from(&sock).shutdown(Shutdown::Both);
    let received = match ended {
        Ok(received) => received,
        Err(_) => receiving.await,
    };
    // If the client was too slow, or the sending half panicked, that is the reason. Otherwise it is the
    // error of the receiving half, if there is one, or else that of the sending half. (The task itself does
    // not fail: there was no panic outside `catch_panic`.)
    end_reason(received.unwrap_or(Ok(())), sent)
}

/// Reads a client's messages and relays them, until the client leaves or breaks the protocol.
async fn handle_client_recv(
    sock: &TcpStream,
    addr: SocketAddr,
    id: u64,
    clients: &Clients,
) -> Result<()> {
    let mut reader = Reader::new(sock);
    // The part of an unfinished message that has been read. Between reads it is at most 16 KiB: a longer
    // message is an error.
    let mut rest = RecvBuf::new();
    loop {
        // Reads once, up to 64 KiB, and returns all messages that are complete, that is, ended by a zero
        // byte. There may be none; and it is None at the end of the stream. There is no time limit, but TCP
        // keepalive finds a client that has vanished.
        let received =
            serverkit::asynchronous::trace("read", recv_msgs(&mut reader, &mut rest)).await;
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
            discard_input(&mut reader).await; // reads to the end of the connection
            return Err(err.into());
        }
        yield_now().await; // the other tasks get a turn, even if this client never stops sending
    }
    log_unfinished(addr, &rest); // "N bytes of an unfinished message dropped", at debug
    Ok(())
}

/// Writes what is queued for a client, until its queue ends or the client is too slow.
async fn handle_client_send(
    sock: &TcpStream,
    queue: &Receiver<Bytes>,
    limit: &QueueLimit,
) -> Result<()> {
    let mut send_buf = SendBuf::new(); // batches from the queue that are not completely written yet
    // Waits until a batch is queued. An error means that the queue has ended and is empty.
    while let Ok(batch) = queue.recv().await {
        send_buf.push(batch);
        // Lets tasks that are about to queue more batches run first, so that one write sends them all.
        yield_now().await;
        while let Ok(batch) = queue.try_recv() {
            send_buf.push(batch);
        }
        while !send_buf.is_empty() {
            limit.check()?; // an error if the client is too slow
            let mut write =
                pin!(serverkit::asynchronous::trace("write", write_batches(sock, send_buf)));
            let written = loop {
                match timeout(WRITE_TIMEOUT, write.as_mut()).await {
                    Ok(written) => break written,
                    // The timeout has passed, and the write is not complete. It is not given up, because
                    // the kernel might still perform it, and the client would get these bytes twice.
                    Err(_) => limit.blocked()?, // an error if the client is too slow
                }
            };
            // An error means, in most cases, that the client has closed or reset the connection.
            let (n, unsent) = written.context("sending")?;
            limit.sent(n); // the kernel has accepted n bytes
            send_buf = unsent;
        }
    }
    Ok(limit.check()?) // an error if `broadcast_msg` has ended the queue because the client is too slow
}

/// Gives a task a name that says what it does and for which client. The trace shows the name.
fn task_for<F: Future>(task: &str, addr: SocketAddr, future: F) -> impl Future<Output = F::Output> {
    in_lane(format!("{task} {}", addr.port()), future)
}

/// Starts the runtime, on `io_uring` if the kernel allows it and `poll` is false, and logs what it runs on.
fn start_runtime(poll: bool) -> io::Result<Runtime> {
    let mut driver = ProactorBuilder::new();
    if poll {
        driver.driver_type(DriverType::Poll);
    }
    let runtime = Runtime::builder().with_proactor(driver).build()?;
    match runtime.driver_type() {
        DriverType::IoUring => info!("Runs on io_uring"),
        DriverType::IOCP => info!("Runs on IOCP"),
        // The kernel does not allow it, or --poll was given.
        DriverType::Poll => info!("Runs on readiness, without io_uring"),
    }
    Ok(runtime)
}
