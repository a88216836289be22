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

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use futures_util::{SinkExt as _, StreamExt as _, TryStreamExt as _};
use sock::Sock;
use tincanchat::asynchronous::contain;
use tincanchat::cli::{Door, Failure, ServerArgs, Shutdown, announce, start_runtime};
use tincanchat::telnet::{Telnet, keep_urgent_inline};
use tincanchat::{LINGER, MAX_MSG_LEN, create_listen_socket, printable, span};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::{task, time};
use tokio_util::bytes::BytesMut;
use tokio_util::codec::{Decoder, Encoder, Framed};
use tracing::info;

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
    listener.set_nonblocking(true)?;
    let runtime = start_runtime(Runtime::new)?;
    announce(&listener)?;
    runtime.block_on(serve(listener, &args))?;
    Ok(())
}

/// What a line is: all up to a LF, which is part of it, with at most [`MAX_MSG_LEN`] bytes of text.
struct Lines {
    addr: SocketAddr,
    telnet: Telnet,
    /// The bytes received so far, without telnet commands.
    text: Vec<u8>,
    /// Where the next line begins; what is before has been taken.
    start: usize,
    /// Up to here there is no end of that line, so that no byte is looked at twice.
    searched: usize,
}

/// A line or a telnet request that was received from a client.
enum Said {
    /// A line with its end, if it has one.
    Line(Vec<u8>),
    /// A telnet request. These bytes answer it.
    Request(Vec<u8>),
}

impl Lines {
    fn new(addr: SocketAddr) -> Self {
        Lines { addr, telnet: Telnet::default(), text: Vec::new(), start: 0, searched: 0 }
    }

    /// Takes over what has been received.
    fn receive(&mut self, received: &mut BytesMut) {
        self.text.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        let kept = self.telnet.receive(received, &mut self.text);
        self.searched = self.searched.min(kept);
        received.clear();
    }

    /// Takes the next line, if all of it is there.
    fn take(&mut self) -> Result<Option<Vec<u8>>> {
        let end = memchr::memchr(b'\n', &self.text[self.searched..]);
        self.searched = end.map_or(self.text.len(), |at| self.searched + at + 1);
        let line = &self.text[self.start..self.searched];
        ensure!(without_end(line).len() <= MAX_MSG_LEN, "a line longer than {MAX_MSG_LEN} bytes");
        if end.is_none() {
            if line.is_empty() {
                // A client that says nothing costs no memory here.
                self.text = Vec::new();
                self.start = 0;
                self.searched = 0;
            }
            return Ok(None);
        }
        let line = line.to_vec();
        self.start = self.searched;
        Ok(Some(line))
    }

    /// Takes what is left: a last line that nobody has ended.
    fn take_rest(&mut self) -> Option<Vec<u8>> {
        let rest = self.text.split_off(self.start);
        self.searched = self.start;
        (!rest.is_empty()).then_some(rest)
    }
}

impl Decoder for Lines {
    type Item = Said;
    type Error = anyhow::Error;

    fn decode(&mut self, received: &mut BytesMut) -> Result<Option<Said>> {
        if !received.is_empty() {
            self.receive(received);
        }
        if let Some(line) = self.take()? {
            return Ok(Some(Said::Line(line)));
        }
        let answer = self.telnet.take_answer();
        Ok((!answer.is_empty()).then_some(Said::Request(answer)))
    }

    fn decode_eof(&mut self, received: &mut BytesMut) -> Result<Option<Said>> {
        let said = self.decode(received)?;
        Ok(said.or_else(|| self.take_rest().map(Said::Line)))
    }
}

impl Encoder<Said> for Lines {
    type Error = anyhow::Error;

    fn encode(&mut self, said: Said, answers: &mut BytesMut) -> Result<()> {
        match said {
            Said::Line(line) => {
                let text = String::from_utf8_lossy(without_end(&line));
                info!("{}: {}", self.addr, printable(&text));
                answers.extend_from_slice(b"You said: ");
                answers.extend_from_slice(&line);
            }
            Said::Request(answer) => answers.extend_from_slice(&answer),
        }
        Ok(())
    }
}

/// Returns the text of a line. A CR at the end may be the first half of a line's end.
fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
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
    keep_urgent_inline(&sock.0).context("setting a socket option")?;
    let (mut answers, lines) = Framed::new(&mut sock, Lines::new(addr)).split();
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
