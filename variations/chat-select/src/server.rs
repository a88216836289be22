//! The server.

use std::io::{self, ErrorKind, Stdin, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd as _};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use nix::sys::select::{FD_SETSIZE, FdSet, select};
use nix::sys::time::{TimeVal, TimeValLike as _};
use slab::Slab;
use tincanchat::cli::{Door, Seat, ServerArgs, Shutdown, announce, caught, log_end_of};
use tincanchat::{AT_THE_DOOR, DRAIN, Farewell, Frame, Frames, MAX_MSG_LEN, QueueGauge};
use tincanchat::{canonical, create_listen_socket, printable};
use tracing::{info, warn};

use crate::frame::{MAX_NAME_LEN, Rest, Wrong, append_frame, frame};
use crate::keyboard::{is_ours, typed};

/// The longest wait, in milliseconds: time passes for a client that is slow or leaving without any
/// descriptor becoming ready.
const TICK: i64 = 100;

pub fn run(mut args: ServerArgs) -> Result<()> {
    let _log = args.start_log()?;
    let listener = create_listen_socket(&args.host, args.port)?;
    if let Some(why) = unwatchable(&listener) {
        bail!("cannot wait for connections: {why}");
    }
    let shutdown = Shutdown::on_signal()?;
    announce(&listener)?;
    listener.set_nonblocking(true)?;
    let most = u32::try_from(FD_SETSIZE)?;
    let asked = *args.max_clients.get_or_insert(most);
    if asked > most {
        warn!("fewer than {most} clients, not {asked}: select(2) watches {most} descriptors");
    }
    serve(&listener, Door::new(args.client_limit(0)), &shutdown)
}

/// Who is in the room, or about to enter or leave it.
#[derive(Default)]
struct Clients {
    table: Slab<Client>,
    /// Those for which there is no bit in a set. They are looked after by the clock.
    turned_away: Vec<(TcpStream, Farewell)>,
}

struct Client {
    sock: TcpStream,
    seat: Seat,
    /// `name@ip`, from the moment it has said its name until the others know that it has left.
    name: Option<String>,
    rest: Rest,
    send_queue: Frames,
    gauge: QueueGauge,
    /// Whether to wait for select before the next write.
    is_blocked: bool,
    leaving: Option<(Farewell, Result<()>)>,
}

/// What select has left in the sets.
#[derive(Default)]
struct Ready {
    door: bool,
    keyboard: bool,
    readable: Vec<usize>,
    writable: Vec<usize>,
}

impl Clients {
    fn add(&mut self, sock: TcpStream, seat: Seat) {
        let (rest, send_queue, gauge) = (Rest::default(), Frames::new(), QueueGauge::new());
        let (name, is_blocked, leaving) = (None, false, None);
        let client = Client { sock, seat, name, rest, send_queue, gauge, is_blocked, leaving };
        self.table.insert(client);
    }

    /// Waits until somebody can be read from, or can take what is queued for it, or a tick has passed.
    fn wait(&self, door: Option<&TcpListener>, keyboard: Option<&Stdin>) -> Result<Ready> {
        // What is ready replaces what was asked for, so the sets are made anew each time.
        let (mut readable, mut writable) = (FdSet::new(), FdSet::new());
        let others = [door.map(AsFd::as_fd), keyboard.map(AsFd::as_fd)];
        others.into_iter().flatten().for_each(|fd| readable.insert(fd));
        for (_, client) in self.table.iter().filter(|(_, client)| client.leaving.is_none()) {
            readable.insert(client.sock.as_fd());
        }
        // Only while something waits: a socket is ready to be written to nearly always.
        for (_, client) in self.table.iter().filter(|(_, client)| !client.send_queue.is_empty()) {
            writable.insert(client.sock.as_fd());
        }
        let mut timeout = TimeVal::milliseconds(TICK);
        let waited = tincanchat::span("poll").over(select(
            None,
            &mut readable,
            &mut writable,
            None,
            &mut timeout,
        ));
        match waited {
            Err(Errno::EINTR) => return Ok(Ready::default()), // a signal; the sets mean nothing now
            result => result.context("select")?,
        };
        let left_in = |set: &FdSet<'_>| {
            let is_left = |client: &Client| set.contains(client.sock.as_fd());
            self.table.iter().filter(|(_, it)| is_left(it)).map(|(id, _)| id).collect()
        };
        Ok(Ready {
            door: door.is_some_and(|door| readable.contains(door.as_fd())),
            keyboard: keyboard.is_some_and(|keyboard| readable.contains(keyboard.as_fd())),
            readable: left_in(&readable),
            writable: left_in(&writable),
        })
    }

    /// Waits, receives once from everyone who has sent something, then sends once to everyone.
    fn turn(&mut self, door: Option<&TcpListener>, keyboard: Option<&Stdin>) -> Result<Ready> {
        let ready = self.wait(door, keyboard)?;
        for &id in &ready.writable {
            self.table[id].is_blocked = false;
        }
        for &id in &ready.readable {
            if let Err(err) = caught(|| handle_client(id, self)) {
                self.table[id].handle_disconnect(Err(err));
            }
        }
        self.tell_who_left();
        self.send();
        Ok(ready)
    }

    /// Queues frames for everyone in the room but the client they are from.
    fn broadcast_msg(&mut self, from: Option<usize>, frames: &Frame) {
        let _span = tincanchat::span("broadcast").of_bytes(frames.len());
        for (id, client) in &mut self.table {
            if client.name.is_some() && client.leaving.is_none() && Some(id) != from {
                client.queue(frames);
            }
        }
    }

    /// Tells the room who has left it. Telling may show that somebody does not keep up, who then
    /// leaves too.
    fn tell_who_left(&mut self) {
        let left = |client: &mut Client| client.leaving.as_ref().and_then(|_| client.name.take());
        while let Some(name) = self.table.iter_mut().find_map(|(_, client)| left(client)) {
            let text = format!("(Now hung up: Client from {name})");
            self.broadcast_msg(None, &frame(&text).into());
        }
    }

    /// Sends what is queued, and sees off those who are leaving.
    fn send(&mut self) {
        self.table.retain(|_, client| {
            if let Err(err) = caught(|| handle_client_send(client)) {
                client.handle_disconnect(Err(err));
            }
            let has_sent_all = client.send_queue.is_empty();
            let Some((farewell, end)) = &mut client.leaving else {
                return true;
            };
            // Its name goes with it only after the others have been told.
            let is_over = client.name.is_none() && farewell.is_over(&mut client.sock, has_sent_all);
            if is_over {
                log_end_of::<Wrong>(&client.seat, std::mem::replace(end, Ok(())));
            }
            !is_over
        });
        self.turned_away.retain_mut(|(sock, farewell)| !farewell.is_over(sock, true));
    }

    /// Lets in everyone who is at the door; gives when to look again, if not at once.
    fn accept(&mut self, listener: &TcpListener, door: &mut Door) -> Option<Instant> {
        loop {
            let accepted = match tincanchat::span("accept").over(listener.accept()) {
                Err(err) if err.kind() == ErrorKind::WouldBlock => return None,
                Ok((sock, addr)) => self.watch(sock, addr),
                Err(err) => Err(err),
            };
            match door.admit(accepted) {
                Ok((sock, _, seat)) => self.add(sock, seat),
                Err(Duration::ZERO) => {}
                // They stay ready: select would come back with them at once, time and again.
                Err(pause) => return Some(Instant::now() + pause),
            }
        }
    }

    /// Makes sure that select can take this one, and turns it away if not.
    fn watch(&mut self, sock: TcpStream, addr: SocketAddr) -> io::Result<(TcpStream, SocketAddr)> {
        sock.set_nonblocking(true)?;
        let Some(why) = unwatchable(&sock) else { return Ok((sock, addr)) };
        if self.turned_away.len() < AT_THE_DOOR {
            // A new connection has room for a frame.
            let _ = (&sock).write(&frame(&format!("server: full: {why}")));
            self.turned_away.push((sock, Farewell::begin()));
        }
        let refusal = format!("{}: refused: {why}", canonical(addr));
        Err(io::Error::new(ErrorKind::ConnectionAborted, refusal))
    }
}

impl Client {
    /// Queues frames. A client that does not keep up is cut off.
    fn queue(&mut self, frames: &Frame) {
        match self.gauge.queue(frames.len()) {
            Ok(()) => self.send_queue.push(Frame::clone(frames)),
            Err(slow) => self.handle_disconnect(Err(slow.into())),
        }
    }

    /// Receives no more. What is queued is still sent, unless the connection has failed.
    fn handle_disconnect(&mut self, end: Result<()>) {
        let wrong = end.as_ref().err().and_then(|err| err.downcast_ref::<Wrong>());
        let has_failed = end.is_err() && wrong.is_none();
        if let Some(wrong) = wrong {
            self.queue(&frame(&format!("server: {wrong}")).into());
        }
        self.gauge.close();
        let farewell = if has_failed { Farewell::at_once() } else { Farewell::begin() };
        self.leaving = Some((farewell, end));
    }
}

fn serve(listener: &TcpListener, mut door: Door, shutdown: &Shutdown) -> Result<()> {
    let mut clients = Clients::default();
    let mut keyboard = Some(io::stdin());
    let mut accept_at = None;
    while !shutdown.requested() {
        let is_open = accept_at.is_none_or(|at| Instant::now() >= at);
        let heard = keyboard.as_ref().filter(|keyboard| is_ours(keyboard));
        let ready = clients.turn(is_open.then_some(listener), heard)?;
        if ready.door {
            accept_at = clients.accept(listener, &mut door);
        }
        if ready.keyboard {
            match typed(&io::stdin()) {
                Some(text) if text.contains(&b'\n') => break,
                Some(_) => {}
                None => keyboard = None, // at its end it is always ready, and never says anything
            }
        }
    }
    info!("Shutting down");
    for (_, client) in &mut clients.table {
        client.name = None; // everybody leaves, so nobody needs to be told
        if client.leaving.is_none() {
            client.handle_disconnect(Ok(()));
        }
    }
    let deadline = Instant::now() + DRAIN;
    while !clients.table.is_empty() && Instant::now() < deadline {
        clients.turn(None, None)?;
    }
    Ok(())
}

/// Receives once from a client, and passes on what it says.
fn handle_client(id: usize, clients: &mut Clients) -> Result<()> {
    let client = &mut clients.table[id];
    if client.leaving.is_some() {
        return Ok(()); // somebody before it in this turn has shown it to be slow
    }
    match client.rest.recv(&mut client.sock) {
        Err(err) if matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
        Err(err) => return Err(err).context("receiving"),
        Ok(0) => client.handle_disconnect(Ok(())),
        Ok(_) => {
            let (texts, wrong) = client.rest.take_texts(MAX_MSG_LEN);
            let mut texts = texts.iter();
            if client.name.is_none() {
                texts.next().map_or(Ok(()), |text| introduce(id, text, clients))?;
            }
            relay(id, texts, clients);
            wrong?;
        }
    }
    Ok(())
}

/// The first text is the name: answers the client, and tells the others.
fn introduce(id: usize, text: &str, clients: &mut Clients) -> Result<()> {
    let client = &mut clients.table[id];
    let addr = client.seat.addr();
    info!("{addr}: {}", printable(text));
    let name = text.strip_prefix("NAME: ").filter(|name| (1..=MAX_NAME_LEN).contains(&name.len()));
    let name = format!("{}@{}", name.ok_or(Wrong::NoName)?, addr.ip());
    client.queue(&frame(&format!("CLIENT: {}", addr.ip())).into());
    client.name = Some(name.clone());
    let is_here = |client: &Client| client.name.is_some() && client.leaving.is_none();
    let here = clients.table.iter().filter(|(_, client)| is_here(client)).count();
    let text = format!("(Connected: New client ({here}) from {name})");
    clients.broadcast_msg(Some(id), &frame(&text).into());
    Ok(())
}

/// Passes on to the others what a client says.
fn relay<'a>(id: usize, texts: impl Iterator<Item = &'a String>, clients: &mut Clients) {
    let client = &clients.table[id];
    let Some(name) = &client.name else { return };
    let (addr, mut frames) = (client.seat.addr(), Vec::new());
    for text in texts {
        info!("{addr}: {}", printable(text));
        append_frame(&mut frames, &format!("#{name}>>{text}"));
    }
    clients.broadcast_msg(Some(id), &frames.into());
}

/// Sends what is queued for a client until the kernel takes no more.
fn handle_client_send(client: &mut Client) -> Result<()> {
    while !client.send_queue.is_empty() && !client.is_blocked {
        match client.send_queue.write_to(&mut client.sock, usize::MAX) {
            Err(err) if err.kind() == ErrorKind::WouldBlock => {
                client.is_blocked = true;
                client.gauge.refused()?;
            }
            sent => client.gauge.took(sent.context("sending")?),
        }
    }
    Ok(client.gauge.check()?)
}

/// Why select cannot wait for this descriptor, if it cannot. A set has no bit for it, and what would
/// be set instead is somebody else's memory: in C silently, with nix by a panic.
pub fn unwatchable(sock: &impl AsFd) -> Option<String> {
    let fd = sock.as_fd().as_raw_fd();
    let has_bit = usize::try_from(fd).is_ok_and(|fd| fd < FD_SETSIZE);
    (!has_bit).then(|| format!("select(2) watches {FD_SETSIZE} descriptors, this is number {fd}"))
}
