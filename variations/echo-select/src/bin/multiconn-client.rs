//! Many connections in one thread. Each sends two messages, and waits until as many bytes have come back.
//!
//! Start the server with `cargo run -p echo-select --bin multiconn-server`, then, in another terminal:
//!
//! ```text
//! cargo run -p echo-select --bin multiconn-client -- localhost 65432 5
//! ```
//!
//! The client prints what happens on each connection as it happens: no connection waits for another. If a
//! connection fails, the client prints why, and the other connections continue.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::slice;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Parser;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use serverkit::{ClientArgs, Failure, print_or_exit, readable_error};
use slab::Slab;
use tincanchat::printable;

/// The messages that each connection sends, one after the other.
const MESSAGES: [&[u8]; 2] = [b"Message 1 from client.", b"Message 2 from client."];

/// The length of all messages together, and so of the whole echo, in bytes.
const TOTAL: usize = MESSAGES[0].len() + MESSAGES[1].len();

/// Open many connections to an echo server at once, in one thread
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  multiconn-client localhost 65432 5       five connections to a server on this machine
  multiconn-client ::1 65432 5000 -t 5     5,000 connections over IPv6; give up after 5 idle seconds"
)]
struct Args {
    /// Server to connect to: an IPv4 or IPv6 address or a host name
    host: String,

    /// Port to connect to
    port: u16,

    /// How many connections to open
    #[arg(value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,

    /// Give up when nothing has happened on any connection for this many seconds
    #[arg(short, long, value_name = "SECONDS", default_value_t = 30)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    timeout: u32,
}

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    // Each connection takes a descriptor. If the system allows too few, the last connections fail.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let mut connections = Connections::new()?;
    connections.open_all(&args)?;
    connections.run_all(args.timeout)?;
    let failed = connections.failed;
    if failed > 0 {
        Err(anyhow!(
            "{failed} of {} connections did not receive the whole echo",
            args.connections
        ))?;
    }
    Ok(())
}

struct Connections {
    poll: Poll,
    /// The open connections. A connection's token is its index in the table.
    table: Slab<Connection>,
    /// How many connections have failed so far.
    failed: usize,
}

struct Connection {
    /// The connection's number in the output: 1 for the first.
    number: u16,
    sock: TcpStream,
    /// The rest of the message that is being sent.
    unsent: &'static [u8],
    /// The messages that follow it.
    msgs: slice::Iter<'static, &'static [u8]>,
    /// How many bytes of the echo have arrived.
    received: usize,
}

impl Connections {
    fn new() -> Result<Self> {
        Ok(Connections { poll: Poll::new()?, table: Slab::new(), failed: 0 })
    }

    /// Opens the connections. Waits only for the first one: a name may have several addresses, and the
    /// first connection finds out which of them the server listens at.
    fn open_all(&mut self, args: &Args) -> Result<()> {
        let (sock, addr) = ClientArgs { host: args.host.clone(), port: args.port }.connect()?;
        sock.set_nonblocking(true)?;
        self.add(1, addr, Ok(TcpStream::from_std(sock)))?;
        for number in 2..=args.connections {
            // Returns before the connection is established. Until then, writes are refused.
            self.add(number, addr, TcpStream::connect(addr))?;
        }
        Ok(())
    }

    fn add(&mut self, number: u16, addr: SocketAddr, sock: io::Result<TcpStream>) -> Result<()> {
        print_or_exit(&format!("Connection {number}: starting, to {addr}\n"))?;
        if let Err(err) = sock.and_then(|sock| self.register(number, sock)) {
            self.report_failure(number, &err.into())?;
        }
        Ok(())
    }

    fn register(&mut self, number: u16, mut sock: TcpStream) -> io::Result<()> {
        let token = Token(self.table.vacant_key());
        // mio reports each change once (it is edge-triggered), so the socket stays registered for both.
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut sock, token, interest)?;
        let msgs = MESSAGES.iter();
        self.table.insert(Connection { number, sock, unsent: &[], msgs, received: 0 });
        Ok(())
    }

    /// Sends and receives on each connection as soon as it is ready, until all connections are closed or
    /// nothing has happened for `timeout` seconds.
    fn run_all(&mut self, timeout: u32) -> Result<()> {
        let mut events = Events::with_capacity(1024);
        while !self.table.is_empty() {
            match self.poll.poll(&mut events, Some(Duration::from_secs(timeout.into()))) {
                Ok(()) => {}
                // A signal came, for example because the user suspended and resumed the client.
                Err(err) if err.kind() == ErrorKind::Interrupted => continue,
                Err(err) => return Err(err).context("cannot wait for the connections"),
            }
            if events.is_empty() {
                print_or_exit(&format!("Nothing has happened for {timeout} s\n"))?;
                self.failed += self.table.len();
                return Ok(());
            }
            for event in &events {
                self.take_turn(event.token().0)?;
            }
        }
        Ok(())
    }

    /// Does for one connection what can be done without blocking; closes it if it is finished or has
    /// failed.
    fn take_turn(&mut self, id: usize) -> Result<()> {
        let Some(connection) = self.table.get_mut(id) else {
            return Ok(()); // it was closed after an earlier event of the same poll
        };
        let number = connection.number;
        match connection.send_and_receive() {
            Ok(false) => return Ok(()),
            Ok(true) => print_or_exit(&format!("Connection {number}: closing\n"))?,
            Err(err) => self.report_failure(number, &err)?,
        }
        self.table.remove(id);
        Ok(())
    }

    fn report_failure(&mut self, number: u16, err: &anyhow::Error) -> Result<()> {
        self.failed += 1;
        print_or_exit(&format!("Connection {number}: failed: {err:#}\n"))
    }
}

impl Connection {
    /// Does what can be done without blocking; reports whether the whole echo has arrived.
    fn send_and_receive(&mut self) -> Result<bool> {
        self.send().context("sending")?;
        self.receive()?;
        Ok(self.received == TOTAL)
    }

    /// Sends messages until all are sent or the kernel accepts no more.
    fn send(&mut self) -> Result<()> {
        loop {
            if self.unsent.is_empty() {
                let Some(msg) = self.msgs.next() else {
                    return Ok(());
                };
                self.unsent = msg;
            }
            match self.sock.write(self.unsent) {
                Ok(n) => {
                    let (sent, unsent) = self.unsent.split_at(n);
                    self.unsent = unsent;
                    let text = as_text(sent);
                    print_or_exit(&format!("Connection {}: sent {text}\n", self.number))?;
                }
                // The kernel's buffer is full, or the connection is not established yet. There will be an
                // event when that changes.
                Err(err) if is_not_ready(&err) => return Ok(()),
                // A signal came during the write.
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                // The connection could not be established, or the server has closed or reset it.
                Err(err) => return Err(readable_error(err).into()),
            }
        }
    }

    /// Receives until the whole echo has arrived or there is nothing more to read.
    fn receive(&mut self) -> Result<()> {
        let mut bytes = [0; 1024];
        while self.received < TOTAL {
            match self.sock.read(&mut bytes) {
                Ok(0) => {
                    let received = self.received;
                    bail!("the server closed the connection after {received} of {TOTAL} bytes");
                }
                Ok(n) => {
                    let text = as_text(&bytes[..n]);
                    print_or_exit(&format!("Connection {}: received {text}\n", self.number))?;
                    self.received += n;
                }
                // Nothing more has arrived. There will be an event when it does.
                Err(err) if is_not_ready(&err) => return Ok(()),
                // A signal came during the read.
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                // The server has reset the connection.
                Err(err) => return Err(readable_error(err)).context("receiving"),
            }
        }
        Ok(())
    }
}

/// Reports whether a call has failed only because it would have had to wait. While the connection is being
/// established, some systems, such as macOS, return `NotConnected`.
fn is_not_ready(err: &io::Error) -> bool {
    matches!(err.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected)
}

/// Returns bytes as one line of text.
fn as_text(bytes: &[u8]) -> String {
    printable(&String::from_utf8_lossy(bytes)).into_owned()
}
