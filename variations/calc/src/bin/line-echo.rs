//! An echo server for lines, which serves one client at a time.
//!
//! It is `echo-uni`, but for two things: a message is a line, and a client may send many of them.
//!
//! Run it:      `cargo run -p calc --bin line-echo`
//! Talk to it:  `nc 127.0.0.1 8080`, or `telnet 127.0.0.1 8080`
//! Compare:     `calc-blocking`, which answers with a sum.
//! Bad at:      company. A client that stays keeps all others waiting.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context as _, Result};
use calc::{Lines, PORT, last_words, quoted};
use clap::Parser;
use tincanchat::cli::{Door, Failure, ServerArgs, Shutdown, announce, contain};
use tincanchat::telnet::keep_urgent_inline;
use tincanchat::{close_gently, create_listen_socket, hang_up, printable, span};
use tracing::info;

/// Variation: an echo server for lines, one client at a time
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

fn session(conn: &mut Conn) -> Result<()> {
    while let Some(line) = conn.read_line()? {
        if line == "quit" {
            return conn.send("connection closed\r\n");
        }
        conn.send(format!("Echoed: {}\r\n", quoted(&line)))?;
    }
    Ok(())
}
