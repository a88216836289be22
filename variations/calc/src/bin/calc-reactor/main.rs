//! A calculator for all clients at once, in one thread, on a reactor and an executor written by hand.
//!
//! The code of a session is in the order in which things happen, as in `calc-blocking`. But where it awaits
//! `read_line`, the thread does not wait: the session's function stops, and the thread continues with
//! another one. `src/reactor.rs` explains how.
//!
//! Run it:      `cargo run -p calc --bin calc-reactor`
//! Talk to it:  `nc 127.0.0.1 8080`, or `telnet 127.0.0.1 8080`
//! Compare:     `calc-blocking`; then `chat-poll`, which has the same loop, and `chat-async`, whose
//!              executor comes from a library and has several threads.
//! Bad at:      using more than one processor. And a function that computes for a long time without an
//!              `.await` stops all clients.

mod session;

use std::io::Write as _;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use calc::reactor::{Executor, Reactor, Sock};
use calc::{DEFAULT_PORT, LineBuf, LineTooLong, calculate, yield_now};
use clap::Parser;
use mio::net::{TcpListener, TcpStream};
use serverkit::asynchronous::{self, in_lane, run_client};
use serverkit::telnet::keep_urgent_inline;
use serverkit::{Admission, Admitted, Failure, ServerArgs, Stop, announce, trace};
use tincanchat::{Closing, create_listen_socket, printable};
use tracing::info;

use session::session;

/// What the answers of this program call the items of a list.
const NUMBERS: &str = "integers";

/// How often to check whether a client has closed its side of a connection that is being closed.
const CLOSING_TICK: Duration = Duration::from_millis(10);

/// Variation: a calculator for all clients at once, in one thread
#[derive(Parser)]
#[command(version, mut_arg("port", |arg| arg.default_value(DEFAULT_PORT)))]
#[command(after_help = concat!("Examples:\n  ", env!("CARGO_BIN_NAME"), " --host :: --port 5000 -v"))]
struct Args {
    #[command(flatten)]
    server: ServerArgs,
}

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let _log = args.server.start_log()?;
    // Up to 1,024 connections wait in the listener's backlog. The kernel ignores further ones, whose
    // clients try again for a while.
    let listener = create_listen_socket(&args.server.host, args.server.port)?;
    Stop::exit_on_signal()?; // a signal ends the process, even in the middle of a session
    announce(&listener)?; // prints: Listening on ADDR
    listener.set_nonblocking(true)?;
    let reactor = Rc::new(Reactor::new()?);
    let executor = Rc::new(Executor::new(Rc::clone(&reactor)));
    let listener = Sock::new(TcpListener::from_std(listener), &reactor)?;
    executor.spawn(serve(listener, args, Rc::clone(&executor), reactor));
    executor.run()?;
    Ok(())
}

/// The connection of one client.
struct Conn {
    sock: Sock<TcpStream>,
    addr: SocketAddr,
    lines: LineBuf,
}

impl Conn {
    /// Returns the next line; waits until all of it has arrived.
    ///
    /// After the client has shut down its sending side, returns a last line that has no end, if any, and
    /// then `None`. If a line is too long, replies to the client, and returns an error.
    async fn read_line(&mut self) -> Result<Option<String>> {
        let line = loop {
            let taken = self.lines.take_line();
            if taken.is_err() {
                self.send(LineTooLong::REPLY).await?;
            }
            if let Some(line) = taken? {
                yield_now().await; // the other clients get a turn, even if this one sends many lines
                break Some(line);
            }
            let lines = &mut self.lines;
            let read = self.sock.when_ready(|sock| lines.read_from(sock));
            let n = asynchronous::trace("read", read).await.context("receiving")?;
            if n == 0 {
                break self.lines.take_unfinished();
            }
            let telnet_answer = self.lines.take_telnet_answer();
            if !telnet_answer.is_empty() {
                self.send(telnet_answer).await?;
            }
        };
        if let Some(line) = &line {
            info!("{}: {}", self.addr, printable(line));
        }
        Ok(line)
    }

    /// Sends a text; waits until the kernel has accepted all of it. If a client does not read its answers,
    /// its session waits here, and reads no more lines.
    async fn send(&mut self, text: impl AsRef<[u8]>) -> Result<()> {
        let mut unsent = text.as_ref();
        while !unsent.is_empty() {
            let write = self.sock.when_ready(|sock| sock.write(unsent));
            let n = asynchronous::trace("write", write).await.context("sending")?;
            unsent = &unsent[n..];
        }
        Ok(())
    }

    /// Closes the connection. The client reads the end of the stream after the last answer, and has 500 ms
    /// to close its side. Until then, its input is read and discarded: closing a socket with unread input
    /// sends a reset, which can destroy the last answer.
    async fn close(mut self, reactor: &Reactor) {
        let mut closing = Closing::start();
        while !closing.advance(self.sock.get_mut(), true) {
            reactor.sleep(CLOSING_TICK).await;
        }
    }
}

async fn serve(
    mut listener: Sock<TcpListener>,
    args: Args,
    executor: Rc<Executor>,
    reactor: Rc<Reactor>,
) {
    // --max-clients, or else 10,000, lowered to what the limit of descriptors allows.
    let mut admission = Admission::new(args.server.client_limit());
    loop {
        let accept = |listener: &mut TcpListener| trace("accept", || listener.accept());
        let accepted = listener.when_ready(accept).await; // waits until a client connects
        match admission.admit(accepted) {
            Admitted::Client(sock, addr, permit) => {
                // An error or a panic in the handler is logged (a panic with its place in the code), and
                // ends this client's connection only.
                let handler = run_client(permit, handle_client(sock, addr, Rc::clone(&reactor)));
                // A task has no name of its own. The trace shows this one.
                executor.spawn(in_lane(format!("recv {}", addr.port()), handler));
            }
            // The client reads the end of the stream.
            Admitted::Full(sock, ..) => drop(sock),
            // accept has failed, which is logged. The pause is zero if the error concerns only one
            // connection, such as a reset by its client. For any other error, such as a lack of
            // descriptors, it is 10 ms, and doubles with each such error, up to 1 s. When no such error has
            // come for 2 s, it starts at 10 ms again.
            Admitted::Retry(pause) => reactor.sleep(pause).await,
        }
        yield_now().await; // the clients get a turn, however many more connect
    }
}

async fn handle_client(sock: TcpStream, addr: SocketAddr, reactor: Rc<Reactor>) -> Result<()> {
    // A telnet client sends part of Ctrl-C as urgent data. This option leaves it in place in the stream.
    keep_urgent_inline(&sock).context("setting a socket option")?;
    let sock = Sock::new(sock, &reactor).context("registering the socket")?;
    let mut conn = Conn { sock, addr, lines: LineBuf::default() };
    let end = session(&mut conn).await;
    conn.close(&reactor).await;
    end
}
