//! A chat server: two threads and a queue for each client, and one lock. The standard library is enough,
//! except for signals and the backlog, which need libc functions.
//!
//! Run it:  rustc -O chat.rs && ./chat PORT
//! Bad at:  many clients (each one needs two threads), and more clients than `ulimit -n` allows.

use std::env;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

const MAX_MSG_LEN: usize = 16 * 1024; // bytes, without the zero byte
const QUEUE_LIMIT: usize = 256 * 1024; // bytes that may wait while a socket accepts nothing
const QUEUE_CEILING: usize = 8 * 1024 * 1024; // bytes that may wait for any client
const STALL: Duration = Duration::from_millis(100); // then a socket counts as accepting nothing
const WRITE_DEADLINE: Duration = Duration::from_secs(10); // for a client that receives nothing
const DRAIN: Duration = Duration::from_secs(3); // for the queue of a client that leaves
const LINGER: Duration = Duration::from_millis(500); // for the reads before a close
const STACK_SIZE: usize = 256 * 1024;

type Frame = Arc<[u8]>;

struct Client {
    sock: TcpStream,
    name: String,
    waiting: AtomicUsize, // bytes that are queued or being sent
    left_at: OnceLock<Instant>, // when it left the room
}

/// The clients in the room. The lock makes one order of all messages. A queue ends with its sender.
type Clients = Mutex<Vec<(Arc<Client>, Sender<Frame>)>>;

static STOPPING: AtomicBool = AtomicBool::new(false);
static BELL: AtomicI32 = AtomicI32::new(-1);

fn main() -> io::Result<()> {
    let port = env::args().nth(1).and_then(|port| port.parse().ok()).unwrap_or(4040);
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    let addr = listener.local_addr()?;
    let (mut alarm, bell) = UnixStream::pair()?;
    BELL.store(bell.as_raw_fd(), SeqCst);
    // SAFETY: the listener is open, and the handler calls only `write`, which is async-signal-safe.
    unsafe {
        listen(listener.as_raw_fd(), 1024); // again, because std sets a backlog of only 128
        signal(2, on_signal);
        signal(15, on_signal);
    }
    thread::spawn(move || {
        let _ = alarm.read(&mut [0]);
        STOPPING.store(true, SeqCst);
        TcpStream::connect(addr) // wakes the thread that accepts
    });
    serve(listener);
    Ok(())
}

unsafe extern "C" {
    fn listen(descriptor: i32, backlog: i32) -> i32;
    fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
    fn write(descriptor: i32, bytes: *const u8, len: usize) -> isize;
}

extern "C" fn on_signal(_number: i32) {
    // SAFETY: the bell stays open for as long as the program runs, and one byte is read.
    unsafe { write(BELL.load(SeqCst), b"!".as_ptr(), 1) };
}

fn serve(listener: TcpListener) {
    let clients = Arc::new(Clients::default());
    let (done, all_done) = mpsc::channel::<()>(); // ends when the last client's thread has ended
    loop {
        let accepted = listener.accept();
        if STOPPING.load(SeqCst) {
            break;
        }
        let Ok((sock, addr)) = accepted else {
            thread::sleep(Duration::from_millis(50)); // already broken, or no descriptors left
            continue;
        };
        let (waiting, left_at) = (AtomicUsize::new(0), OnceLock::new());
        let client = Arc::new(Client { sock, name: addr.to_string(), waiting, left_at });
        let (send_queue, queue) = mpsc::channel();
        clients.lock().unwrap().push((Arc::clone(&client), send_queue));
        let (room, newcomer, done) = (Arc::clone(&clients), Arc::clone(&client), done.clone());
        let thread = thread::Builder::new().stack_size(STACK_SIZE);
        let handler = move || (handle_client(&newcomer, queue, &room), drop(done));
        if thread.spawn(handler).is_err() {
            handle_disconnect(&client, &clients, None); // the system cannot start another thread
        }
    }
    drop((listener, done));
    for (client, _) in clients.lock().unwrap().iter() {
        let _ = client.sock.shutdown(Shutdown::Read); // as if it had shut down its sending side
    }
    let _ = all_done.recv_timeout(DRAIN);
}

fn handle_client(client: &Arc<Client>, queue: Receiver<Frame>, clients: &Clients) {
    let to_client = Arc::clone(client);
    let sending = thread::Builder::new().stack_size(STACK_SIZE).spawn(move || {
        if handle_client_send(&to_client, &queue).is_err() {
            let _ = to_client.sock.shutdown(Shutdown::Both); // ends the thread that receives
        }
    });
    let mut last_words = None;
    if sending.is_ok() {
        if let Err(err) = handle_client_recv(client, clients) {
            last_words = (err.kind() == ErrorKind::InvalidData).then(|| format!("server: {err}\0"));
        }
    }
    handle_disconnect(client, clients, last_words);
    if sending.is_ok_and(|thread| thread.join().is_ok()) {
        close_gently(&client.sock);
    }
}

fn handle_client_recv(client: &Client, clients: &Clients) -> io::Result<()> {
    let wrong = |reason: &str| io::Error::new(ErrorKind::InvalidData, reason);
    client.sock.set_nodelay(true)?;
    let mut rest = Vec::new();
    let mut data = vec![0; 64 * 1024];
    loop {
        let len = match (&client.sock).read(&mut data) {
            Ok(0) => return Ok(()),
            Err(err) if err.kind() == ErrorKind::Interrupted => continue,
            len => len?,
        };
        for part in data[..len].split_inclusive(|byte| *byte == 0) {
            rest.extend_from_slice(part);
            let is_whole = rest.ends_with(&[0]);
            if rest.len() - usize::from(is_whole) > MAX_MSG_LEN {
                return Err(wrong("the message is too long"));
            }
            if is_whole {
                rest.pop();
                let msg = str::from_utf8(&rest).map_err(|_| wrong("the message is not UTF-8"))?;
                if !msg.is_empty() {
                    broadcast_msg(client, msg, clients);
                }
                rest.clear();
            }
        }
    }
}

fn broadcast_msg(sender: &Client, msg: &str, clients: &Clients) {
    let frame: Frame = format!("{}: {msg}\0", sender.name).into_bytes().into();
    clients.lock().unwrap().retain(|(client, send_queue)| {
        let waiting = client.waiting.fetch_add(frame.len(), SeqCst) + frame.len();
        let keeps_up = waiting <= QUEUE_CEILING;
        if keeps_up {
            let _ = send_queue.send(Arc::clone(&frame));
        } else {
            let _ = client.sock.shutdown(Shutdown::Both); // ends both threads of the client
        }
        keeps_up
    });
}

/// Takes a client out of the room. Its queue is still sent.
fn handle_disconnect(client: &Arc<Client>, clients: &Clients, last_words: Option<String>) {
    let _ = client.left_at.set(Instant::now());
    let mut clients = clients.lock().unwrap();
    if let Some(place) = clients.iter().position(|(other, _)| Arc::ptr_eq(other, client)) {
        let (_, send_queue) = clients.remove(place);
        if let Some(last_words) = last_words {
            client.waiting.fetch_add(last_words.len(), SeqCst);
            let _ = send_queue.send(last_words.into_bytes().into());
        }
    }
}

fn handle_client_send(client: &Client, queue: &Receiver<Frame>) -> io::Result<()> {
    client.sock.set_write_timeout(Some(STALL))?;
    while let Ok(first) = queue.recv() {
        let mut frames = first.to_vec();
        queue.try_iter().for_each(|frame| frames.extend_from_slice(&frame));
        send_frames(client, &frames)?;
    }
    Ok(())
}

fn send_frames(client: &Client, mut unsent: &[u8]) -> io::Result<()> {
    let mut took_at = Instant::now();
    while !unsent.is_empty() {
        match (&client.sock).write(unsent) {
            Ok(sent) => {
                unsent = &unsent[sent..];
                client.waiting.fetch_sub(sent, SeqCst);
                took_at = Instant::now();
            }
            Err(err) if err.kind() == ErrorKind::Interrupted => {}
            Err(err) if err.kind() == ErrorKind::WouldBlock => {
                let waiting = client.waiting.load(SeqCst);
                let is_full = waiting > QUEUE_LIMIT && client.left_at.get().is_none();
                if is_full || took_at.elapsed() > WRITE_DEADLINE {
                    return Err(err); // the client does not keep up
                }
            }
            Err(err) => return Err(err),
        }
        if client.left_at.get().is_some_and(|left_at| left_at.elapsed() > DRAIN) {
            return Err(ErrorKind::TimedOut.into());
        }
    }
    Ok(())
}

/// Shuts down the sending side, and reads for a moment longer: a close with bytes unread would send
/// a reset, and the last bytes sent may be lost.
fn close_gently(mut sock: &TcpStream) {
    let deadline = Instant::now() + LINGER;
    let mut is_open = sock.shutdown(Shutdown::Write).is_ok();
    let _ = sock.set_read_timeout(Some(LINGER));
    while is_open && Instant::now() < deadline {
        is_open = sock.read(&mut [0; 16 * 1024]).is_ok_and(|len| len > 0);
    }
}
