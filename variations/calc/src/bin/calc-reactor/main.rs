//! A calculator for all clients at once, in one thread, on a reactor and an executor of its own.
//!
//! The session is read from top to bottom, as in `calc-blocking`: it waits for a line where it
//! awaits `read_line`. But what waits there is a function that has been left; the thread goes on
//! with another one. `src/reactor.rs` is what makes that so.
//!
//! Run it:      `cargo run -p calc --bin calc-reactor`
//! Talk to it:  `nc 127.0.0.1 8080`, or `telnet 127.0.0.1 8080`
//! Compare:     `calc-blocking`; then `chat-poll`, whose loop this is, and `chat-async`, whose
//!              executor does more of the same.
//! Bad at:      a second processor, which it leaves idle; and it trusts each function to give way.

mod session;

use std::io::Write as _;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use calc::reactor::Reactor;
use calc::{Lines, PORT, Sock, calculate, give_way, last_words};
use clap::Parser;
use mio::net::{TcpListener, TcpStream};
use tincanchat::asynchronous::contain;
use tincanchat::cli::{Door, Failure, ServerArgs, Shutdown, announce};
use tincanchat::telnet::keep_urgent_inline;
use tincanchat::{Farewell, create_listen_socket, printable, span};
use tracing::info;

use session::session;

/// What this program's answers call what it was given.
const NUMBERS: &str = "integers";

/// How often it is looked whether a client that was told goodbye has closed as well.
const GOODBYE_TICK: Duration = Duration::from_millis(10);

/// Variation: a calculator for all clients at once, in one thread
#[derive(Parser)]
#[command(version, mut_arg("port", |arg| arg.default_value(PORT)))]
#[command(after_help = concat!("Examples:\n  ", env!("CARGO_BIN_NAME"), " --host :: --port 5000 -v"))]
struct Args {
    #[command(flatten)]
    server: ServerArgs,
}

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let _log = args.server.start_log()?;
    let listener = create_listen_socket(&args.server.host, args.server.port)?;
    Shutdown::on_signal()?.exit()?;
    announce(&listener)?;
    listener.set_nonblocking(true)?;
    let reactor = Reactor::new()?;
    let listener = Sock::new(TcpListener::from_std(listener), &reactor)?;
    reactor.spawn(serve(listener, args, Rc::clone(&reactor)));
    reactor.run()?;
    Ok(())
}

struct Conn {
    sock: Sock<TcpStream>,
    addr: SocketAddr,
    lines: Lines,
}

impl Conn {
    /// Gives the next line; waits until there is one, or the client has said its last.
    async fn read_line(&mut self) -> Result<Option<String>> {
        let line = loop {
            if let Some(line) = self.lines.take()? {
                give_way().await; // others have waited while this one said much at once
                break Some(line);
            }
            let lines = &mut self.lines;
            let read = self.sock.when_ready(|sock| lines.read_from(sock)).await;
            if read.context("receiving")? == 0 {
                break self.lines.take_rest();
            }
            let answer = self.lines.take_answer();
            if !answer.is_empty() {
                self.send(answer).await?;
            }
        };
        if let Some(line) = &line {
            info!("{}: {}", self.addr, printable(line));
        }
        Ok(line)
    }

    /// Waits until the kernel has taken all of it. A client that does not read its answers waits
    /// here, and is not asked for more lines.
    async fn send(&mut self, text: impl AsRef<[u8]>) -> Result<()> {
        let mut rest = text.as_ref();
        let _span = span("write").of_bytes(rest.len());
        while !rest.is_empty() {
            let sent = self.sock.when_ready(|sock| sock.write(rest)).await.context("sending")?;
            rest = &rest[sent..];
        }
        Ok(())
    }

    /// Ends a connection whose client may still be sending, so that it gets the last answer.
    async fn hang_up(mut self, reactor: &Reactor) -> Result<()> {
        let mut farewell = Farewell::begin();
        while !self.sock.when_ready(|sock| Ok(farewell.is_over(sock, true))).await? {
            reactor.sleep(GOODBYE_TICK).await;
        }
        Ok(())
    }
}

async fn serve(mut listener: Sock<TcpListener>, args: Args, reactor: Rc<Reactor>) {
    let mut door = Door::new(args.server.client_limit(0));
    loop {
        let accepted = listener.when_ready(|listener| listener.accept()).await;
        let (sock, addr, seat) = match door.admit(span("accept").over(accepted)) {
            Ok(client) => client,
            Err(pause) => {
                reactor.sleep(pause).await;
                continue;
            }
        };
        reactor.spawn(contain(seat, handle_client(sock, addr, Rc::clone(&reactor))));
        give_way().await; // those inside have waited while many came at once
    }
}

async fn handle_client(sock: TcpStream, addr: SocketAddr, reactor: Rc<Reactor>) -> Result<()> {
    keep_urgent_inline(&sock).context("setting a socket option")?;
    let sock = Sock::new(sock, &reactor).context("registering")?;
    let mut conn = Conn { sock, addr, lines: Lines::default() };
    let end = session(&mut conn).await;
    if let Some(words) = last_words(&end) {
        conn.send(&words).await?;
    }
    conn.hang_up(&reactor).await?;
    end
}
