//! Sends one request, prints the result, and ends: a state machine with one connection.
//!
//! Start the server, `cargo run -p app-protocol --bin app-server`, then in another terminal
//!
//! ```text
//! cargo run -p app-protocol --bin app-client -- localhost 65432 search ring
//! cargo run -p app-protocol --bin app-client -- localhost 65432 double 12345
//! ```
//!
//! `search` goes out as JSON. Any other action goes out as bytes, which it is up to the server to
//! understand.

use std::io::{ErrorKind, Read as _, Write as _};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use app_protocol::{Incoming, Message, message::text_in};
use clap::Parser;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use tincanchat::cli::{ClientArgs, Failure, in_words, say};
use tincanchat::printable;

/// Send one request to an app-server, and print the result
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  app-client localhost 65432 search morpheus   ask for one of the three that it knows
  app-client localhost 65432 double 12345      send bytes of a type of our own"
)]
struct Args {
    /// Server to connect to: an IPv4 or IPv6 address or a host name
    host: String,

    /// Port to connect to
    port: u16,

    /// `search`, or anything else
    action: String,

    /// What to search for; after any other action, what to send
    #[arg(allow_hyphen_values = true)]
    value: String,

    /// Give up when the server has been silent for so many seconds
    #[arg(short, long, value_name = "SECONDS", default_value_t = 30)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    timeout: u32,
}

fn main() -> Result<(), Failure> {
    let args = Args::parse();
    let request = match args.action.as_str() {
        "search" => Message::json([("action", "search"), ("value", &args.value)]),
        action => {
            let bytes = [action, &args.value].concat().into_bytes();
            Message::binary("binary/custom-client-binary-type", bytes)
        }
    };
    let request = request.encode().context("cannot send this")?;
    let sock = connect(&args.host, args.port)?;
    let patience = Duration::from_secs(args.timeout.into());
    let answer = exchange(sock, &request, patience).context("no answer")?;
    let result = match &answer {
        Message::Json(object) => printable(text_in(object, "result").context("no result")?).into(),
        Message::Binary { bytes, .. } => shown(bytes),
    };
    say(&format!("{result}\n"))?;
    Ok(())
}

/// Connects, waiting for it: there is nothing else to do, and a name may have several addresses.
fn connect(host: &str, port: u16) -> Result<TcpStream> {
    let (sock, _) = ClientArgs { host: host.to_owned(), port }.connect()?;
    sock.set_nonblocking(true)?;
    Ok(TcpStream::from_std(sock))
}

/// Sends the request and receives the answer, each as far as the socket allows at any moment.
fn exchange(mut sock: TcpStream, request: &[u8], patience: Duration) -> Result<Message> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(16);
    poll.registry().register(&mut sock, Token(0), Interest::READABLE | Interest::WRITABLE)?;
    let (mut rest, mut incoming) = (request, Incoming::answer());
    loop {
        match poll.poll(&mut events, Some(patience)) {
            Err(err) if err.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        if events.is_empty() {
            incoming.finish().with_context(|| format!("nothing more for {patience:?}"))?;
            bail!("nothing for {patience:?}");
        }
        send(&mut sock, &mut rest)?;
        if let Some(answer) = recv(&mut sock, &mut incoming)? {
            return Ok(answer);
        }
    }
}

/// Sends until the kernel takes no more.
fn send(sock: &mut TcpStream, rest: &mut &[u8]) -> Result<()> {
    while !rest.is_empty() {
        match sock.write(rest) {
            Err(err) if err.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(err) if err.kind() == ErrorKind::Interrupted => {}
            sent => *rest = &rest[sent.map_err(in_words).context("sending")?..],
        }
    }
    Ok(())
}

/// Receives until there is no more for now, or the answer is whole.
fn recv(sock: &mut TcpStream, incoming: &mut Incoming) -> Result<Option<Message>> {
    let mut bytes = [0; 4096];
    loop {
        match sock.read(&mut bytes) {
            Err(err) if err.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(err) if err.kind() == ErrorKind::Interrupted => {}
            Err(err) => return Err(in_words(err)).context("receiving"),
            Ok(0) => {
                incoming.finish().context("the server closed the connection")?;
                bail!("the server closed the connection");
            }
            Ok(n) => {
                if let Some(answer) = incoming.push(&bytes[..n])? {
                    return Ok(Some(answer));
                }
            }
        }
    }
}

/// Bytes for a terminal: what is text as text, and the others in hexadecimal.
fn shown(bytes: &[u8]) -> String {
    let mut shown = String::new();
    for chunk in bytes.utf8_chunks() {
        shown += &printable(chunk.valid());
        shown += &chunk.invalid().escape_ascii().to_string();
    }
    shown
}
