//! An echo server for lines on a framework: tokio, with a codec.
//!
//! Two things are left to write: what a line is, and what is answered to it. The framework waits for
//! sockets, keeps the half of a line, writes what the kernel did not take, and reads no further from a
//! client that does not read itself.
//!
//! Run it:      `cargo run -p echo-framework`
//! Talk to it:  `nc 127.0.0.1 8800`, or `telnet 127.0.0.1 8800`
//! Compare:     `chat-async`, which has tasks, but reads and writes by itself; `chat-poll`, which has
//!              nothing.
//! Bad at:      being looked into. What it does when, and with how much memory, is in another's code.

mod sock;

use std::io;
use std::net::SocketAddr;

use anyhow::{Result, ensure};
use clap::Parser;
use futures_util::{SinkExt as _, StreamExt as _, TryStreamExt as _};
use sock::Sock;
use tincanchat::asynchronous::contain;
use tincanchat::cli::{Door, Failure, ServerArgs, Shutdown, announce};
use tincanchat::{LINGER, MAX_MSG_LEN, create_listen_socket, printable, span};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::{task, time};
use tokio_util::bytes::BytesMut;
use tokio_util::codec::{Decoder, Encoder, Framed};
use tracing::{debug, info};

#[derive(Parser)]
#[command(version, about, mut_arg("port", |arg| arg.default_value("8800")))]
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
    Runtime::new()?.block_on(serve(listener, &args))?;
    Ok(())
}

/// What a line is: all up to a LF, which is part of it, and at most [`MAX_MSG_LEN`] bytes before that.
struct Lines {
    addr: SocketAddr,
    /// So many bytes have no LF in them.
    searched: usize,
}

impl Decoder for Lines {
    type Item = BytesMut;
    type Error = anyhow::Error;

    fn decode(&mut self, bytes: &mut BytesMut) -> Result<Option<BytesMut>> {
        let end = memchr::memchr(b'\n', &bytes[self.searched..]).map(|at| self.searched + at);
        self.searched = bytes.len();
        ensure!(
            end.unwrap_or(bytes.len()) <= MAX_MSG_LEN,
            "a line longer than {MAX_MSG_LEN} bytes"
        );
        Ok(end.map(|at| {
            self.searched = 0;
            bytes.split_to(at + 1)
        }))
    }

    /// What has no end is no line, and is dropped.
    fn decode_eof(&mut self, bytes: &mut BytesMut) -> Result<Option<BytesMut>> {
        let line = self.decode(bytes)?;
        if line.is_none() && !bytes.is_empty() {
            debug!("{}: left with {} bytes of a line without its end", self.addr, bytes.len());
            bytes.clear();
        }
        Ok(line)
    }
}

impl Encoder<BytesMut> for Lines {
    type Error = anyhow::Error;

    fn encode(&mut self, line: BytesMut, answers: &mut BytesMut) -> Result<()> {
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        info!("{}: {}", self.addr, printable(&String::from_utf8_lossy(text)));
        answers.extend_from_slice(b"You said: ");
        answers.extend_from_slice(&line);
        Ok(())
    }
}

async fn serve(listener: std::net::TcpListener, args: &Args) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let mut door = Door::new(args.server.client_limit(0));
    loop {
        let accepted = span("accept").over(listener.accept().await);
        match door.admit(accepted) {
            Ok((sock, addr, seat)) => {
                task::spawn(contain(seat, handle_client(Sock(sock), addr)));
            }
            Err(pause) => time::sleep(pause).await,
        }
    }
}

async fn handle_client(mut sock: Sock, addr: SocketAddr) -> Result<()> {
    let (mut answers, lines) = Framed::new(&mut sock, Lines { addr, searched: 0 }).split();
    let received = lines.map_err(|err| err.context("receiving"));
    let sending = (&mut answers).sink_map_err(|err| err.context("sending"));
    let end = received.forward(sending).await;
    let closed = answers.close().await; // sends what is left, and then the end
    drop(answers);
    if end.is_err() && closed.is_ok() {
        // Or a reset could eat the answers.
        let _ = time::timeout(LINGER, tokio::io::copy(&mut sock, &mut tokio::io::sink())).await;
    }
    end
}
