//! Variation: a chat server in one thread, on completion.
//!
//! Readiness says when a read would not have to wait; completion says when it has been done. So a
//! buffer belongs to the kernel from the moment a read or a write has begun until it is complete: it
//! is given away and comes back with the result. A read that nobody waits for any more may still
//! write into its buffer, until the kernel has confirmed that it is cancelled; so a buffer cannot be
//! borrowed from the stack, which would be gone by then.
//!
//! Run it:      `cargo run -p chat-uring`; with `--poll`, as where there is no `io_uring`
//! Talk to it:  `cargo run -p chat-threads --bin chat-client`, in two terminals
//! Compare:     `chat-async`, which lends its buffers; `chat-poll`, which needs none while it waits.
//! Bad at:      clients who say nothing: each has a buffer in a read that may never complete.

mod owned;

use std::cell::{RefCell, RefMut};
use std::collections::HashMap;
use std::io;
use std::net::{Shutdown as Half, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use async_channel::{self as channel, Receiver, Sender};
use clap::Parser;
use compio::driver::{DriverType, ProactorBuilder};
use compio::net::TcpStream;
use compio::runtime::{self, Runtime};
use compio::time;
use owned::{Acceptor, close_gently, recv_msgs, send_frames, turn_away, yield_now};
use socket2::SockRef;
use tincanchat::asynchronous::{caught, contain};
use tincanchat::cli::{Door, Failure, ServerArgs, Shutdown, announce};
use tincanchat::cli::{first_cause, last_words, log_rest, relay_msgs};
use tincanchat::{DRAIN, Frame, QueueGauge, Rest, create_listen_socket};
use tracing::info;

/// How many frames go out in one write at most.
const SLICES: usize = 64;

#[derive(Parser)]
#[command(version, about)]
#[command(after_help = concat!("Examples:\n  ", env!("CARGO_BIN_NAME"), " --host :: --port 5000 -v"))]
struct Args {
    #[command(flatten)]
    server: ServerArgs,
    /// Relay a message to all clients but the one that sent it
    #[arg(long)]
    others_only: bool,
    /// Do without `io_uring`, as on a system that has none
    #[arg(long)]
    poll: bool,
}

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let _log = args.server.start_log()?;
    let listener = create_listen_socket(&args.server.host, args.server.port)?;
    let shutdown = Shutdown::on_signal()?.wake(&listener)?;
    let runtime = start_runtime(args.poll).context("cannot start the runtime")?;
    announce(&listener)?;
    runtime.block_on(serve(listener, &args, &shutdown))?;
    Ok(())
}

/// Who is in the room, by a number that is never given twice.
struct Clients {
    table: RefCell<HashMap<u64, Client>>,
    others_only: bool,
}

struct Client {
    sock: Rc<TcpStream>,
    send_queue: Sender<Frame>,
    gauge: Rc<QueueGauge>,
}

/// What the two tasks of a client share: its socket, and the other end of its queue in the table.
struct Connection {
    sock: Rc<TcpStream>,
    queue: Receiver<Frame>,
    gauge: Rc<QueueGauge>,
}

impl Clients {
    /// Adds a client to the room: from now on, it gets every message.
    fn join(&self, id: u64, addr: SocketAddr, sock: TcpStream) -> Connection {
        let sock = Rc::new(sock);
        let (send_queue, queue) = channel::unbounded();
        let gauge = Rc::new(QueueGauge::of_client(addr));
        let connection = Connection { sock: Rc::clone(&sock), queue, gauge: Rc::clone(&gauge) };
        self.table().insert(id, Client { sock, send_queue, gauge });
        connection
    }

    /// Queues frames for some of the clients. One thread does it, so there is one order for all.
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

    /// In one thread nobody ever waits for this lock, as long as it is not held at an `.await`.
    fn table(&self) -> RefMut<'_, HashMap<u64, Client>> {
        tincanchat::span("lock").over(self.table.borrow_mut())
    }
}

impl Client {
    /// Queues frames, waiting for nobody. A client that does not keep up is cut off: false.
    fn queue(&self, frames: &Frame) -> bool {
        let keeps_up = self.gauge.queue(frames.len()).is_ok()
            && self.send_queue.try_send(Frame::clone(frames)).is_ok();
        if !keeps_up {
            // Completes what is on its way; the sending half learns the reason from the gauge.
            let _ = SockRef::from(&*self.sock).shutdown(Half::Both);
        }
        keeps_up
    }
}

async fn serve(listener: std::net::TcpListener, args: &Args, shutdown: &Shutdown) -> Result<()> {
    let mut listener = Acceptor::new(listener)?;
    let clients = Rc::new(Clients { table: RefCell::default(), others_only: args.others_only });
    let mut door = Door::with_porch(args.server.client_limit(0));
    for id in 0.. {
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
        if seat.is_inside() {
            let clients = Rc::clone(&clients);
            let connection = clients.join(id, addr, sock); // before its task starts: it misses no message
            let handler = async move { handle_client(connection, addr, id, &clients).await };
            runtime::spawn(contain(seat, handler)).detach();
        } else {
            runtime::spawn(contain(seat, async move { turn_away(&sock).await })).detach();
        }
    }
    drop(listener);
    clients.table().drain().for_each(|(_, client)| client.gauge.close()); // what is queued is still sent
    let deadline = Instant::now() + DRAIN;
    while !door.is_empty() && Instant::now() < deadline {
        time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

async fn handle_client(
    connection: Connection,
    addr: SocketAddr,
    id: u64,
    clients: &Clients,
) -> Result<()> {
    let Connection { sock, queue, gauge } = connection;
    let to_client = Rc::clone(&sock);
    let sending = runtime::spawn(async move {
        let sent = caught(handle_client_send(&to_client, &queue, &gauge)).await;
        let _ = SockRef::from(&*to_client).shutdown(Half::Both); // completes the read on its way
        sent
    });
    let received = caught(handle_client_recv(&sock, addr, id, clients)).await;
    if let Some(frame) = received.as_ref().err().and_then(last_words) {
        clients.broadcast_msg(&frame, |to| to == id);
    }
    clients.handle_disconnect(id);
    first_cause(received, sending.await.map_err(io::Error::from)?)
}

async fn handle_client_recv(
    sock: &TcpStream,
    addr: SocketAddr,
    id: u64,
    clients: &Clients,
) -> Result<()> {
    let (mut rest, mut has_more) = (Rest::new(), false);
    while let Some(msgs) = recv_msgs(sock, &mut rest, &mut has_more).await.context("receiving")? {
        let (frames, wrong) = relay_msgs(addr, msgs);
        if !frames.is_empty() {
            clients.broadcast_msg(&frames.into(), |to| to != id || !clients.others_only);
        }
        wrong?;
        yield_now().await; // others may have been waiting while this one had much to say
    }
    log_rest(addr, &rest);
    Ok(())
}

async fn handle_client_send(
    sock: &TcpStream,
    queue: &Receiver<Frame>,
    gauge: &QueueGauge,
) -> Result<()> {
    while let Ok(first) = queue.recv().await {
        yield_now().await; // those who have something to queue come first
        let mut frames = vec![first];
        let others = std::iter::from_fn(|| queue.try_recv().ok());
        frames.extend(others.take(SLICES - 1)); // all goes out in one write
        send_frames(sock, frames, gauge).await.context("sending")?;
    }
    close_gently(sock).await;
    Ok(())
}

/// Starts what runs the tasks, on `io_uring` if the kernel lets it, and says on what.
fn start_runtime(poll: bool) -> io::Result<Runtime> {
    let mut driver = ProactorBuilder::new();
    if poll {
        driver.driver_type(DriverType::Poll);
    }
    let runtime = Runtime::builder().with_proactor(driver).build()?;
    match runtime.driver_type() {
        DriverType::IoUring => info!("Completion by io_uring"),
        DriverType::IOCP => info!("Completion by IOCP"),
        DriverType::Poll => info!("Completion made of readiness: no io_uring here, or not wanted"),
    }
    Ok(runtime)
}
