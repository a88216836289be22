//! A calculator that blocks, and serves one client at a time.
//!
//! The session is read from top to bottom: it waits for a line where it calls `read_line`.
//!
//! Run it:      `cargo run -p calc --bin calc-blocking`
//! Talk to it:  `nc 127.0.0.1 8080`, or `telnet 127.0.0.1 8080`
//! Compare:     `calc-reactor`, which has the same session for all clients at once.
//! Bad at:      company. A client that stays keeps all others waiting.

mod session;

use std::future::Future;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::thread;

use anyhow::{Context as _, Result};
use calc::{Lines, Mode, NotIntegers, PORT, last_words};
use clap::Parser;
use tincanchat::cli::{Door, Failure, ServerArgs, Shutdown, announce, contain};
use tincanchat::telnet::keep_urgent_inline;
use tincanchat::{close_gently, create_listen_socket, hang_up, printable, span};
use tracing::info;

use session::session;

/// What this program's answers call what it was given.
const NUMBERS: &str = "numbers";

/// Variation: a calculator, one client at a time
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
    serve(&listener, &args);
    Ok(())
}

struct Conn {
    sock: TcpStream,
    addr: SocketAddr,
    lines: Lines,
}

impl Conn {
    /// Gives the next line; blocks until there is one, or the client has said its last.
    fn read_line(&mut self) -> Result<Option<String>> {
        let line = loop {
            if let Some(line) = self.lines.take()? {
                break Some(line);
            }
            if self.lines.read_from(&mut self.sock).context("receiving")? == 0 {
                break self.lines.take_rest();
            }
            let answer = self.lines.take_answer();
            if !answer.is_empty() {
                self.send(answer)?;
            }
        };
        if let Some(line) = &line {
            info!("{}: {}", self.addr, printable(line));
        }
        Ok(line)
    }

    /// Blocks until the kernel has taken all of it.
    fn send(&mut self, text: impl AsRef<[u8]>) -> Result<()> {
        let text = text.as_ref();
        let _span = span("write").of_bytes(text.len());
        self.sock.write_all(text).context("sending")
    }
}

fn serve(listener: &TcpListener, args: &Args) {
    let mut door = Door::new(args.server.client_limit(1));
    loop {
        let accepted = span("accept").over(listener.accept());
        let (sock, addr, seat) = match door.admit(accepted) {
            Ok(client) => client,
            Err(pause) => {
                thread::sleep(pause);
                continue;
            }
        };
        contain(seat, || handle_client(sock, addr));
    }
}

fn handle_client(sock: TcpStream, addr: SocketAddr) -> Result<()> {
    keep_urgent_inline(&sock).context("setting a socket option")?;
    let mut conn = Conn { sock, addr, lines: Lines::default() };
    let end = session(&mut conn);
    if let Some(words) = last_words(&end) {
        conn.send(&words)?;
        close_gently(&conn.sock); // it may be in the middle of a long line
    }
    hang_up(conn.sock);
    end
}

/// The calculation is written so that it can be left in the middle, for others who wait. Here
/// nobody can be served meanwhile, so whenever it has been left, it goes on at once.
fn calculate(mode: Mode, list: &str) -> Result<String, NotIntegers> {
    let mut calculation = pin!(calc::calculate(mode, list));
    let mut nobody_to_wake = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(result) = calculation.as_mut().poll(&mut nobody_to_wake) {
            return result;
        }
    }
}
