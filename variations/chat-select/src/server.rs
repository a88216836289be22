//! The server.

use std::io::{self, ErrorKind, Stdin, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::time::Instant;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use nix::errno::Errno;
use nix::sys::select::{FD_SETSIZE, FdSet, select};
use nix::sys::time::{TimeVal, TimeValLike as _};
use serverkit::{Admission, Admitted, Permit, ServerArgs, Stop, announce, catch_panic};
use serverkit::{log_disconnect_as, trace};
use slab::Slab;
use tincanchat::{Closing, DRAIN, MAX_MSG_LEN, MAX_REFUSING, QueueLimit, SendBuf};
use tincanchat::{canonical, create_listen_socket, printable};
use tracing::{info, warn};

use crate::frame::{MAX_NAME_LEN, ProtocolError, RecvBuf, append_frame, frame};
use crate::keyboard::{may_read, read_typed};
use crate::select::{NotWatchable, check_watchable};

/// The most connections that are accepted in one turn.
const ACCEPT_TURN: usize = 64;

/// The longest wait in select, in milliseconds. After it, the stop signal, the limits of the queues and the
/// deadlines of closing connections are checked.
const TICK: i64 = 100;

/// Serves clients until Enter is typed, or until SIGINT or SIGTERM.
pub fn run(mut args: ServerArgs) -> Result<()> {
    let _log = args.start_log()?;
    // Up to 1,024 connections wait in the listener's backlog. The kernel ignores further ones, whose
    // clients try again for a while.
    let listener = create_listen_socket(&args.host, args.port)?;
    check_watchable(&listener).context("cannot wait for connections")?;
    let stop = Stop::on_signal()?;
    announce(&listener)?; // prints: Listening on ADDR
    listener.set_nonblocking(true)?;
    let most = u32::try_from(FD_SETSIZE)?;
    let max_clients = *args.max_clients.get_or_insert(most);
    if max_clients > most {
        warn!("fewer than {most} clients, not {max_clients}: select(2) watches {most} descriptors");
    }
    serve(&listener, Admission::new(args.client_limit()), &stop)
}

/// The clients that are in the room, that have not said their names yet, or whose connections are being
/// closed. A client's number is its place in the table.
#[derive(Default)]
struct Clients {
    table: Slab<Client>,
    /// The connections that select cannot watch.
    refused: Vec<Refused>,
}

struct Client {
    sock: TcpStream,
    permit: Permit,
    /// `name@ip`. `None` before the client has said its name, and after the others have been told that the
    /// client has left.
    name: Option<String>,
    /// The unfinished frame after the last read.
    rest: RecvBuf,
    send_queue: SendBuf,
    limit: QueueLimit,
    /// `None` while the connection is open.
    disconnect: Option<Disconnect>,
}

struct Disconnect {
    closing: Closing,
    reason: Result<()>,
}

/// A connection whose client has been told that the server is full.
struct Refused {
    sock: TcpStream,
    closing: Closing,
}

/// What select has reported as readable.
#[derive(Default)]
struct Ready {
    listener: bool,
    keyboard: bool,
    clients: Vec<usize>,
}

impl Clients {
    /// Adds a client. The client joins the room only when it says its name.
    fn add(&mut self, sock: TcpStream, permit: Permit) {
        self.table.insert(Client {
            sock,
            permit,
            name: None,
            rest: RecvBuf::new(MAX_MSG_LEN),
            send_queue: SendBuf::new(),
            limit: QueueLimit::new(),
            disconnect: None,
        });
    }

    /// Tells a client that select cannot watch its connection, and closes the connection. Up to 64 clients
    /// at a time are told; the others read the end of the stream.
    fn refuse(&mut self, mut sock: TcpStream, why: &NotWatchable) {
        if self.refused.len() < MAX_REFUSING {
            // The kernel accepts this write: its buffer for a new connection is empty.
            let _ = sock.write(&frame(&format!("server: full: {why}")));
            self.refused.push(Refused { sock, closing: Closing::start() });
        }
    }

    /// Waits until something can be read, until a client for which something is queued can be written to,
    /// or until a tick has passed.
    fn wait(&self, listener: Option<&TcpListener>, keyboard: Option<&Stdin>) -> Result<Ready> {
        // select removes the descriptors that are not ready from the sets, so the sets are filled again for
        // each call.
        let mut readable = FdSet::new();
        let mut writable = FdSet::new();
        if let Some(listener) = listener {
            readable.insert(listener.as_fd());
        }
        if let Some(keyboard) = keyboard {
            readable.insert(keyboard.as_fd());
        }
        for (_, client) in &self.table {
            // If a client's connection is being closed, the client may have ended its stream, and select
            // would report this each time.
            if client.disconnect.is_none() {
                readable.insert(client.sock.as_fd());
            }
            // A socket is nearly always writable, so this is only worth asking while something is queued.
            if !client.send_queue.is_empty() {
                writable.insert(client.sock.as_fd());
            }
        }
        let mut timeout = TimeVal::milliseconds(TICK);
        let wait = || select(None, &mut readable, &mut writable, None, &mut timeout);
        match trace("select", wait) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Ready::default()), // a signal came; the sets are not valid
            Err(err) => return Err(err).context("select"),
        }
        let is_readable = |client: &Client| readable.contains(client.sock.as_fd());
        let clients = self.table.iter().filter(|(_, client)| is_readable(client));
        Ok(Ready {
            listener: listener.is_some_and(|listener| readable.contains(listener.as_fd())),
            keyboard: keyboard.is_some_and(|keyboard| readable.contains(keyboard.as_fd())),
            clients: clients.map(|(id, _)| id).collect(),
        })
    }

    /// Reads once from every client that has sent something, then writes to every client for which
    /// something is queued.
    fn take_turn(&mut self, ready: &Ready) {
        for &id in &ready.clients {
            // An error or a panic ends this client's connection only.
            if let Err(err) = catch_panic(|| handle_client_recv(id, self)) {
                self.table[id].start_closing(Closing::at_once(), Err(err));
            }
        }
        self.report_departures();
        let ids: Vec<usize> = self.table.iter().map(|(id, _)| id).collect();
        for id in ids {
            let client = &mut self.table[id];
            if let Err(err) = catch_panic(|| handle_client_send(client)) {
                client.start_closing(Closing::at_once(), Err(err));
            }
            if client.advance_closing() {
                let client = self.table.remove(id); // closes the socket
                if let Some(disconnect) = client.disconnect {
                    log_disconnect_as::<ProtocolError>(client.permit.addr(), disconnect.reason);
                }
            }
        }
        self.refused.retain_mut(|refused| {
            let is_closed = refused.closing.advance(&mut refused.sock, true);
            !is_closed
        });
    }

    /// Adds a batch of messages to the queue of every client in the room, or of every client except the
    /// sender.
    fn broadcast_msg(&mut self, from: Option<usize>, batch: &Bytes) {
        for (id, client) in &mut self.table {
            if client.is_in_room() && from != Some(id) {
                client.queue(batch);
            }
        }
    }

    /// Tells the clients in the room which clients have left it. While they are told, another client may
    /// turn out to be too slow, and leave the room, too.
    fn report_departures(&mut self) {
        while let Some(name) = self.take_departed() {
            let msg = format!("(Now hung up: Client from {name})");
            self.broadcast_msg(None, &frame(&msg));
        }
    }

    /// Takes the name of a client that has left the room. Returns `None` if every departure has been
    /// reported.
    fn take_departed(&mut self) -> Option<String> {
        self.table.iter_mut().find_map(|(_, client)| match client.disconnect {
            Some(_) => client.name.take(),
            None => None,
        })
    }
}

impl Client {
    /// Reports whether the client has said its name and has not left.
    fn is_in_room(&self) -> bool {
        self.name.is_some() && self.disconnect.is_none()
    }

    /// Adds a batch to the client's queue.
    ///
    /// The queue has a limit, so that a client that stops reading cannot fill the memory. A client is too
    /// slow if its queue has more than 256 KiB or 1,024 entries and the kernel has refused every write for
    /// 1 s, if the kernel has refused a byte for 10 s, or as soon as the queue has more than 8 MiB. A
    /// client that is too slow is disconnected.
    fn queue(&mut self, batch: &Bytes) {
        match self.limit.add(batch.len()) {
            Ok(()) => self.send_queue.push(batch.clone()),
            Err(slow) => self.start_closing(Closing::at_once(), Err(slow.into())),
        }
    }

    /// Starts to close the connection. If it is already being closed because of an error, that error is
    /// still the reason.
    fn start_closing(&mut self, closing: Closing, reason: Result<()>) {
        let reason = match self.disconnect.take() {
            Some(earlier) if earlier.reason.is_err() => earlier.reason,
            _ => reason,
        };
        self.disconnect = Some(Disconnect { closing, reason });
    }

    /// Takes the next step of closing, if the connection is being closed; reports whether the socket can be
    /// closed.
    ///
    /// What is queued is sent first, for up to 3 s. Then the client reads the end of the stream, and
    /// has 500 ms to close its side. Until then its input is read and discarded: closing with unread
    /// input would send a reset, which can destroy the last message. A connection that has failed is
    /// closed at once.
    fn advance_closing(&mut self) -> bool {
        let has_sent_all = self.send_queue.is_empty();
        let is_reported = self.name.is_none();
        match &mut self.disconnect {
            Some(disconnect) => {
                disconnect.closing.advance(&mut self.sock, has_sent_all) && is_reported
            }
            None => false,
        }
    }
}

fn serve(listener: &TcpListener, mut admission: Admission, stop: &Stop) -> Result<()> {
    let mut clients = Clients::default();
    let mut keyboard = Some(io::stdin());
    // When to accept again. Before that time, select does not watch the listener, which it would report
    // each time.
    let mut accept_at = Instant::now();
    // A signal interrupts select, or else the loop notices it after the next tick.
    while !stop.requested() {
        let may_accept = accept_at <= Instant::now();
        let typing = keyboard.as_ref().filter(|keyboard| may_read(keyboard));
        let ready = clients.wait(may_accept.then_some(listener), typing)?;
        if ready.listener {
            accept_at = accept_clients(listener, &mut admission, &mut clients);
        }
        clients.take_turn(&ready);
        if ready.keyboard {
            match read_typed(&io::stdin()) {
                Some(text) if text.contains(&b'\n') => break,
                Some(_) => {}
                None => keyboard = None, // select would report the end of the input each time
            }
        }
    }
    info!("Shutting down");
    for (_, client) in &mut clients.table {
        client.name = None; // all clients leave, so there is no client to tell
        if client.disconnect.is_none() {
            client.start_closing(Closing::start(), Ok(()));
        }
    }
    // What is queued is still sent, for up to 3 s.
    let deadline = Instant::now() + DRAIN;
    while !clients.table.is_empty() && Instant::now() < deadline {
        let ready = clients.wait(None, None)?;
        clients.take_turn(&ready);
    }
    Ok(())
}

/// Accepts the connections that are waiting. Returns the time at which to accept again.
fn accept_clients(
    listener: &TcpListener,
    admission: &mut Admission,
    clients: &mut Clients,
) -> Instant {
    for _ in 0..ACCEPT_TURN {
        let accepted = trace("accept", || accept_watchable(listener, clients));
        // No more connections are waiting.
        if matches!(&accepted, Err(err) if err.kind() == ErrorKind::WouldBlock) {
            break;
        }
        match admission.admit(accepted) {
            Admitted::Client(sock, _, permit) => clients.add(sock, permit),
            // The client reads the end of the stream.
            Admitted::Full(sock, ..) => drop(sock),
            // accept has failed, which is logged. The pause is zero if the error concerns only one
            // connection, such as a reset by its client. For any other error, such as a lack of
            // descriptors, it is 10 ms, and doubles with each such error, up to 1 s. When no such error has
            // come for 2 s, it starts at 10 ms again.
            Admitted::Retry(pause) => return Instant::now() + pause,
        }
    }
    Instant::now() // select reports the listener again while connections are waiting
}

/// Accepts a connection, and refuses it if select cannot watch it.
///
/// # Errors
///
/// Those of accept(2). `ConnectionAborted` for a connection that is refused: for the admission, this is an
/// error that affects only that connection.
fn accept_watchable(
    listener: &TcpListener,
    clients: &mut Clients,
) -> io::Result<(TcpStream, SocketAddr)> {
    let (sock, addr) = listener.accept()?;
    sock.set_nonblocking(true)?;
    match check_watchable(&sock) {
        Ok(()) => Ok((sock, addr)),
        Err(why) => {
            clients.refuse(sock, &why);
            let text = format!("{} refused: {why}", canonical(addr));
            Err(io::Error::new(ErrorKind::ConnectionAborted, text))
        }
    }
}

/// Reads from a client once, and handles its messages.
fn handle_client_recv(id: usize, clients: &mut Clients) -> Result<()> {
    let client = &mut clients.table[id];
    if client.disconnect.is_some() {
        return Ok(()); // earlier in this turn, this client has turned out to be too slow
    }
    match trace("read", || client.rest.read_from(&mut client.sock)) {
        // The client has shut down its sending side. What is queued for it is still sent.
        Ok(0) => {
            client.start_closing(Closing::start(), Ok(()));
            return Ok(());
        }
        Ok(_) => {}
        // select may report a socket as readable although nothing has arrived (select(2), "BUGS").
        Err(err) if err.kind() == ErrorKind::WouldBlock => return Ok(()),
        // The client has reset the connection.
        Err(err) => return Err(err).context("receiving"),
    }
    let mut batch = Vec::new();
    let mut wrong = None;
    for msg in client.rest.take_msgs() {
        let handled = msg.and_then(|msg| handle_msg(id, &msg, &mut batch, clients));
        if let Err(err) = handled {
            wrong = Some(err);
            break; // what follows is not used
        }
    }
    if !batch.is_empty() {
        trace("broadcast", || clients.broadcast_msg(Some(id), &Bytes::from(batch)));
    }
    if let Some(err) = wrong {
        let client = &mut clients.table[id];
        client.queue(&frame(&format!("server: {err}")));
        client.start_closing(Closing::start(), Err(err.into()));
    }
    Ok(())
}

/// Handles one message. A client's first message is its name; its other messages are added to the batch for
/// the room.
fn handle_msg(
    id: usize,
    msg: &str,
    batch: &mut Vec<u8>,
    clients: &mut Clients,
) -> Result<(), ProtocolError> {
    let client = &clients.table[id];
    info!("{}: {}", client.permit.addr(), printable(msg));
    match &client.name {
        Some(name) => append_frame(batch, &format!("#{name}>>{msg}")),
        None => join(id, msg, clients)?,
    }
    Ok(())
}

/// Lets a client join the room: replies with its address, and tells the others its name.
fn join(id: usize, msg: &str, clients: &mut Clients) -> Result<(), ProtocolError> {
    let name = msg.strip_prefix("NAME: ").unwrap_or_default();
    if name.is_empty() || name.len() > MAX_NAME_LEN {
        return Err(ProtocolError::NoName);
    }
    let client = &mut clients.table[id];
    let ip = client.permit.addr().ip();
    let name = format!("{name}@{ip}");
    client.queue(&frame(&format!("CLIENT: {ip}")));
    client.name = Some(name.clone());
    let count = clients.table.iter().filter(|(_, client)| client.is_in_room()).count();
    let msg = format!("(Connected: New client ({count}) from {name})");
    clients.broadcast_msg(Some(id), &frame(&msg));
    Ok(())
}

/// Writes what is queued for a client, until all of it is sent or the kernel accepts no more.
///
/// This is called in every turn, whether or not select has reported the socket as writable: the limit
/// counts only time in which writes are tried.
fn handle_client_send(client: &mut Client) -> Result<()> {
    while !client.send_queue.is_empty() {
        match trace("write", || client.send_queue.write_to(&mut client.sock)) {
            Ok(n) => client.limit.sent(n),
            // The client reads slowly. select reports when the kernel accepts more.
            Err(err) if err.kind() == ErrorKind::WouldBlock => {
                client.limit.blocked()?;
                return Ok(());
            }
            // The client has closed or reset the connection.
            Err(err) => return Err(err).context("sending"),
        }
    }
    Ok(())
}
