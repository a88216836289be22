//! An echo server for lines, one client at a time.
//!
//! It differs from `echo-uni` in two ways: a message is a line, and a client may send many of them.
//!
//! Run it:      `cargo run -p calc --bin line-echo`
//! Talk to it:  `nc 127.0.0.1 8080`, or `telnet 127.0.0.1 8080`
//! Compare:     `calc-blocking`, which answers with a sum.
//! Bad at:      serving several clients. While one is connected, all others wait.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context as _, Result};
use calc::{DEFAULT_PORT, LineBuf, LineTooLong, quoted};
use clap::Parser;
use serverkit::telnet::keep_urgent_inline;
use serverkit::{Admission, Admitted, Failure, ServerArgs, Stop, announce, run_client, trace};
use tincanchat::{close_answered, create_listen_socket, lingering_close, printable};
use tracing::info;

/// Variation: an echo server for lines, one client at a time
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
    serve(&listener);
    Ok(())
}

/// The connection of one client.
struct Conn {
    sock: TcpStream,
    addr: SocketAddr,
    lines: LineBuf,
}

impl Conn {
    /// Returns the next line; blocks until all of it has arrived.
    ///
    /// After the client has shut down its sending side, returns a last line that has no end, if any, and
    /// then `None`. If a line is too long, replies to the client, and returns an error.
    fn read_line(&mut self) -> Result<Option<String>> {
        let line = loop {
            let taken = self.lines.take_line();
            if taken.is_err() {
                self.send(LineTooLong::REPLY)?;
            }
            if let Some(line) = taken? {
                break Some(line);
            }
            let n = trace("read", || self.lines.read_from(&mut self.sock)).context("receiving")?;
            if n == 0 {
                break self.lines.take_unfinished();
            }
            let telnet_answer = self.lines.take_telnet_answer();
            if !telnet_answer.is_empty() {
                self.send(telnet_answer)?;
            }
        };
        if let Some(line) = &line {
            info!("{}: {}", self.addr, printable(line));
        }
        Ok(line)
    }

    /// Sends a text; blocks until the kernel has accepted all of it.
    fn send(&mut self, text: impl AsRef<[u8]>) -> Result<()> {
        trace("write", || self.sock.write_all(text.as_ref())).context("sending")
    }
}

fn serve(listener: &TcpListener) {
    let mut admission = Admission::new(1); // one client at a time
    loop {
        let accepted = trace("accept", || listener.accept()); // blocks until a client connects
        match admission.admit(accepted) {
            // An error or a panic in the handler is logged (a panic with its place in the code), and ends
            // this client's connection only.
            Admitted::Client(sock, addr, permit) => {
                run_client(permit, || handle_client(sock, addr));
            }
            // Only one client is accepted at a time, so the limit is never reached.
            Admitted::Full(sock, ..) => drop(sock),
            // accept has failed, which is logged. The pause is zero if the error concerns only one
            // connection, such as a reset by its client. For any other error, such as a lack of
            // descriptors, it is 10 ms, and doubles with each such error, up to 1 s. When no such error has
            // come for 2 s, it starts at 10 ms again.
            Admitted::Retry(pause) => thread::sleep(pause),
        }
    }
}

fn handle_client(sock: TcpStream, addr: SocketAddr) -> Result<()> {
    // A telnet client sends part of Ctrl-C as urgent data. This option leaves it in place in the stream.
    keep_urgent_inline(&sock).context("setting a socket option")?;
    let mut conn = Conn { sock, addr, lines: LineBuf::default() };
    let end = session(&mut conn);
    // Closing a socket with unread input sends a reset, which can destroy the last answer. So input is read
    // and discarded first, for up to 500 ms.
    match end {
        Ok(()) => close_answered(conn.sock), // waits only if there is unread input
        Err(_) => lingering_close(&conn.sock), // the rest of a long line may be on its way
    }
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
