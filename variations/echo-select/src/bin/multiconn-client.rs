//! Many connections from one thread: each sends two messages, and wants as many bytes back.
//!
//! Start the server, `cargo run -p echo-select --bin multiconn-server`, then in another terminal
//!
//! ```text
//! cargo run -p echo-select --bin multiconn-client -- localhost 65432 5
//! ```
//!
//! The lines that it prints are of all connections, in the order in which things happen: nobody waits
//! for anybody else. One that fails is told, and the others go on.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::iter;
use std::slice;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Parser;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use tincanchat::cli::{ClientArgs, Failure, in_words, say};
use tincanchat::printable;

/// What each connection sends, one after the other.
const MESSAGES: [&[u8]; 2] = [b"Message 1 from client.", b"Message 2 from client."];

/// The bytes of all messages, and so of their echo.
const TOTAL: usize = MESSAGES[0].len() + MESSAGES[1].len();

/// Open many connections to an echo server at once, in one thread
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  multiconn-client localhost 65432 5       five connections to the server on this machine
  multiconn-client ::1 65432 5000 -t 5     five thousand, over IPv6; five quiet seconds are too long"
)]
struct Args {
    /// Server to connect to: an IPv4 or IPv6 address or a host name
    host: String,

    /// Port to connect to
    port: u16,

    /// How many connections to open
    #[arg(value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,

    /// Give up when nothing has happened on any connection for so many seconds
    #[arg(short, long, value_name = "SECONDS", default_value_t = 30)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    timeout: u32,
}

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    // Each connection is a descriptor; where there are too few, some connections say so.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let failed = run(&args)?;
    let all = args.connections;
    if failed > 0 {
        Err(anyhow!("{failed} of {all} connections did not get back all that they sent"))?;
    }
    Ok(())
}

struct Connection {
    number: u16,
    sock: TcpStream,
    /// What is left of the message that is being sent, and the messages after it.
    rest: &'static [u8],
    msgs: slice::Iter<'static, &'static [u8]>,
    received: usize,
}

impl Connection {
    /// Does what can be done at once, and says whether that was all there is to do.
    fn turn(&mut self) -> Result<bool> {
        self.send().context("sending")?;
        self.receive()
    }

    /// A connection that is still being made takes nothing yet; one that could not be made says so.
    fn send(&mut self) -> Result<()> {
        loop {
            if self.rest.is_empty() {
                let Some(msg) = self.msgs.next() else { return Ok(()) };
                self.rest = msg;
            }
            match self.sock.write(self.rest) {
                Err(err) if is_not_yet(&err) => return Ok(()),
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                sent => {
                    let (sent, rest) = self.rest.split_at(sent.map_err(in_words)?);
                    self.rest = rest;
                    say(&format!("Connection {}: sent {}\n", self.number, shown(sent)))?;
                }
            }
        }
    }

    fn receive(&mut self) -> Result<bool> {
        let mut bytes = [0; 1024];
        while self.received < TOTAL {
            match self.sock.read(&mut bytes) {
                Err(err) if is_not_yet(&err) => return Ok(false),
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                Err(err) => return Err(in_words(err)).context("receiving"),
                Ok(0) => bail!("the server closed it after {} of {TOTAL} bytes", self.received),
                Ok(n) => {
                    let received = shown(&bytes[..n]);
                    say(&format!("Connection {}: received {received}\n", self.number))?;
                    self.received += n;
                }
            }
        }
        Ok(true)
    }
}

/// Opens all connections, does for each what can be done as it can be done, and says how many have
/// failed.
fn run(args: &Args) -> Result<usize> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let (mut table, mut failed) = (Slab::new(), 0);
    let first = connect(&args.host, args.port)?;
    let addr = first.peer_addr()?;
    let socks = iter::once(Ok(first)).chain(iter::repeat_with(|| TcpStream::connect(addr)));
    for (number, sock) in (1..=args.connections).zip(socks) {
        say(&format!("Connection {number}: starting, to {addr}\n"))?;
        if let Err(err) = sock.and_then(|sock| add(&mut table, &poll, number, sock)) {
            failed += 1;
            say(&format!("Connection {number}: failed: {err}\n"))?;
        }
    }
    while !table.is_empty() {
        match poll.poll(&mut events, Some(Duration::from_secs(args.timeout.into()))) {
            Err(err) if err.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        if events.is_empty() {
            say(&format!("Nothing has happened for {} s\n", args.timeout))?;
            return Ok(failed + table.len());
        }
        for id in events.iter().map(|event| event.token().0) {
            let Some(connection) = table.get_mut(id) else { continue };
            match connection.turn() {
                Ok(false) => continue,
                Ok(true) => say(&format!("Connection {}: closing\n", connection.number))?,
                Err(err) => {
                    failed += 1;
                    say(&format!("Connection {}: failed: {err:#}\n", connection.number))?;
                }
            }
            table.remove(id);
        }
    }
    Ok(failed)
}

/// Connects, waiting for it: a name may have several addresses, and this finds one that answers.
fn connect(host: &str, port: u16) -> Result<TcpStream> {
    let (sock, _) = ClientArgs { host: host.to_owned(), port }.connect()?;
    sock.set_nonblocking(true)?;
    Ok(TcpStream::from_std(sock))
}

fn add(
    table: &mut Slab<Connection>,
    poll: &Poll,
    number: u16,
    mut sock: TcpStream,
) -> io::Result<()> {
    let interest = Interest::READABLE | Interest::WRITABLE;
    poll.registry().register(&mut sock, Token(table.vacant_key()), interest)?;
    table.insert(Connection { number, sock, rest: &[], msgs: MESSAGES.iter(), received: 0 });
    Ok(())
}

/// Whether a socket has nothing to give, takes nothing, or is not connected, all for now.
fn is_not_yet(err: &io::Error) -> bool {
    matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected)
}

fn shown(bytes: &[u8]) -> String {
    printable(&String::from_utf8_lossy(bytes)).into_owned()
}
