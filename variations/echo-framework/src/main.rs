//! An echo server for lines on a framework: tokio, with a codec.
//!
//! Two things are left to write: what a line is (the decoder), and what the answer is (the encoder). The
//! framework waits for sockets, keeps the beginning of a line until the rest arrives, writes the rest of an
//! answer after the kernel has accepted a part of it, and stops reading from a client that does not read
//! its answers.
//!
//! Run it:      `cargo run -p echo-framework`
//! Talk to it:  `nc 127.0.0.1 8800`, or `telnet 127.0.0.1 8800`
//! Compare:     `chat-async`, which has tasks, but does its own reads and writes; and `chat-poll`, which
//!              has no framework at all.
//! Bad at:      showing what it does. Other people's code decides when the server reads, and how much
//!              memory it takes.

mod sock;

use std::io;
use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use futures_util::{SinkExt as _, StreamExt as _, TryStreamExt as _};
use serverkit::asynchronous::{self, in_lane, run_client};
use serverkit::telnet::{Telnet, keep_urgent_inline};
use serverkit::{Admission, Admitted, Failure, ServerArgs, Stop, announce, start_runtime};
use tincanchat::{LINGER, MAX_MSG_LEN, create_listen_socket, printable};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::{task, time};
use tokio_util::bytes::BytesMut;
use tokio_util::codec::{Decoder, Encoder, Framed};
use tracing::info;

use sock::Sock;

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
    // Up to 1,024 connections wait in the listener's backlog. The kernel ignores further ones, whose
    // clients try again for a while.
    let listener = create_listen_socket(&args.server.host, args.server.port)?;
    Stop::exit_on_signal()?; // a signal ends the process
    listener.set_nonblocking(true)?;
    let runtime = start_runtime(Runtime::new)?; // starts all the threads of the runtime
    announce(&listener)?; // prints: Listening on ADDR
    runtime.block_on(serve(listener, &args))?;
    Ok(())
}

/// Turns the bytes of one client into lines, and its lines into answers.
///
/// A line ends with LF, which belongs to the line. Its text has at most [`MAX_MSG_LEN`] bytes: 16 KiB.
struct LineCodec {
    addr: SocketAddr,
    telnet: Telnet,
    /// The bytes received, without telnet commands.
    bytes: Vec<u8>,
    /// Where the next line begins. The bytes before it have been returned.
    start: usize,
    /// How far the next line has been searched for its end, so that no byte is searched twice.
    searched: usize,
}

/// What the decoder has found in the bytes of a client.
enum Input {
    /// A line with its end. The last line may have no end.
    Line(Vec<u8>),
    /// Telnet commands that must be answered.
    TelnetRequest { answer: Vec<u8> },
}

impl LineCodec {
    fn new(addr: SocketAddr) -> Self {
        LineCodec { addr, telnet: Telnet::default(), bytes: Vec::new(), start: 0, searched: 0 }
    }

    /// Takes the bytes that the framework has received.
    fn receive(&mut self, received: &mut BytesMut) {
        self.bytes.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        let kept = self.telnet.receive(received, &mut self.bytes);
        // A backspace may have erased bytes that had already been searched.
        self.searched = self.searched.min(kept);
        received.clear();
    }

    /// Takes the next line if all of it has arrived.
    fn take_line(&mut self) -> Result<Option<Vec<u8>>> {
        let found = memchr::memchr(b'\n', &self.bytes[self.searched..]);
        let end = found.map_or(self.bytes.len(), |at| self.searched + at + 1);
        let line = &self.bytes[self.start..end];
        let is_too_long = text_of(line).len() > MAX_MSG_LEN;
        ensure!(!is_too_long, "the line is longer than {MAX_MSG_LEN} bytes");
        if found.is_some() {
            let line = line.to_vec();
            self.start = end;
            self.searched = end;
            return Ok(Some(line));
        }
        if line.is_empty() {
            // Nothing is left, so a client that is idle takes no memory here.
            self.bytes = Vec::new();
            self.start = 0;
        }
        self.searched = self.bytes.len();
        Ok(None)
    }

    /// Takes the last line if the client has shut down its sending side without ending the line.
    fn take_unfinished(&mut self) -> Option<Vec<u8>> {
        let line = self.bytes.split_off(self.start);
        self.searched = self.start;
        if line.is_empty() { None } else { Some(line) }
    }
}

impl Decoder for LineCodec {
    type Item = Input;
    type Error = anyhow::Error;

    /// Returns the next line or telnet request. `None` means that more bytes are needed.
    fn decode(&mut self, received: &mut BytesMut) -> Result<Option<Input>> {
        if !received.is_empty() {
            self.receive(received);
        }
        if let Some(line) = self.take_line()? {
            return Ok(Some(Input::Line(line)));
        }
        let answer = self.telnet.take_answer();
        if answer.is_empty() {
            return Ok(None);
        }
        Ok(Some(Input::TelnetRequest { answer }))
    }

    /// Does the same after the client has shut down its sending side. `None` means that nothing is left.
    fn decode_eof(&mut self, received: &mut BytesMut) -> Result<Option<Input>> {
        if let Some(input) = self.decode(received)? {
            return Ok(Some(input));
        }
        Ok(self.take_unfinished().map(Input::Line))
    }
}

impl Encoder<Input> for LineCodec {
    type Error = anyhow::Error;

    /// Appends the answer to the bytes that the framework will send.
    fn encode(&mut self, input: Input, answers: &mut BytesMut) -> Result<()> {
        match input {
            Input::Line(line) => {
                let text = String::from_utf8_lossy(text_of(&line));
                info!("{}: {}", self.addr, printable(&text));
                answers.extend_from_slice(b"You said: ");
                answers.extend_from_slice(&line);
            }
            Input::TelnetRequest { answer } => answers.extend_from_slice(&answer),
        }
        Ok(())
    }
}

/// Returns a line without its end. If a line has not arrived completely, a final CR may be the first byte
/// of its end.
fn text_of(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

async fn serve(listener: std::net::TcpListener, args: &Args) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    // --max-clients, or else 10,000, lowered to what the limit of descriptors allows.
    let mut admission = Admission::new(args.server.client_limit());
    loop {
        // Waits until a client connects.
        let accepted = asynchronous::trace("accept", listener.accept()).await;
        match admission.admit(accepted) {
            Admitted::Client(sock, addr, permit) => {
                // An error or a panic in the handler is logged (a panic with its place in the code), and
                // ends this client's connection only.
                let handler = run_client(permit, handle_client(Sock { inner: sock }, addr));
                // A task has no name of its own. The trace shows this one.
                task::spawn(in_lane(format!("recv {}", addr.port()), handler));
            }
            // The client reads the end of the stream.
            Admitted::Full(sock, ..) => drop(sock),
            // accept has failed, which is logged. The pause is zero if the error concerns only one
            // connection, such as a reset by its client. For any other error, such as a lack of
            // descriptors, it is 10 ms, and doubles with each such error, up to 1 s. When no such error has
            // come for 2 s, it starts at 10 ms again.
            Admitted::Retry(pause) => time::sleep(pause).await,
        }
    }
}

async fn handle_client(mut sock: Sock, addr: SocketAddr) -> Result<()> {
    // A telnet client sends part of Ctrl-C as urgent data. This option leaves it in place in the stream.
    keep_urgent_inline(&sock.inner).context("setting a socket option")?;
    let (mut answers, inputs) = Framed::new(&mut sock, LineCodec::new(addr)).split();
    let inputs = inputs.map_err(|err| err.context("receiving"));
    let encoder = (&mut answers).sink_map_err(|err| err.context("sending"));
    // Reads, decodes, encodes and writes, until the client shuts down its sending side or something fails.
    let end = inputs.forward(encoder).await;
    // Sends the answers that are still queued, and shuts down the sending side.
    let closed = answers.close().await;
    drop(answers); // `answers` borrows the socket
    if end.is_err() && closed.is_ok() {
        // The rest of a line that is too long may still be on its way. Input is read and discarded for up
        // to 500 ms: closing a socket with unread input sends a reset, which can destroy the answers.
        let mut sink = tokio::io::sink();
        let discard = tokio::io::copy(&mut sock, &mut sink);
        let _ = time::timeout(LINGER, discard).await;
    }
    end
}
