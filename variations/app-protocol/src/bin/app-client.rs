//! Sends one request, prints the result, and ends: a state machine with one connection.
//!
//! Start the server with `cargo run -p app-protocol --bin app-server`, then, in another terminal:
//!
//! ```text
//! cargo run -p app-protocol --bin app-client -- localhost 65432 search ring
//! cargo run -p app-protocol --bin app-client -- localhost 65432 double 12345
//! ```
//!
//! `search` is sent as JSON. Any other action is sent as bytes, whose meaning is up to the server.

use std::io::{ErrorKind, Read as _, Write as _};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use app_protocol::{Incoming, Message, message::string_in};
use clap::Parser;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use serverkit::{ClientArgs, Failure, print_or_exit, readable_error};
use tincanchat::printable;

/// Send one request to an app-server, and print the result
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:
  app-client localhost 65432 search morpheus   search for one of the three known values
  app-client localhost 65432 double 12345      send bytes, as a content type of the client's own"
)]
struct Args {
    /// Server to connect to: an IPv4 or IPv6 address or a host name
    host: String,

    /// Port to connect to
    port: u16,

    /// `search`, or any other action, which is sent as bytes
    action: String,

    /// The value to search for; after any other action, more bytes
    #[arg(allow_hyphen_values = true)]
    value: String,

    /// Give up when the server has neither accepted nor sent a byte for this many seconds
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
    let request = request.encode().context("cannot send the request")?;
    let sock = connect(&args.host, args.port)?;
    let timeout = Duration::from_secs(args.timeout.into());
    let answer = exchange(sock, &request, timeout).context("no answer")?;
    let result = match &answer {
        Message::Json(object) => {
            let text = string_in(object, "result").context("the answer has no result")?;
            printable(text).into_owned()
        }
        Message::Binary { bytes, .. } => as_text(bytes),
    };
    print_or_exit(&format!("{result}\n"))?;
    Ok(())
}

/// Connects, and blocks until the connection is established: the client has nothing else to do, and a host
/// name may have several addresses to try.
fn connect(host: &str, port: u16) -> Result<TcpStream> {
    let (sock, _) = ClientArgs { host: host.to_owned(), port }.connect()?;
    sock.set_nonblocking(true)?;
    Ok(TcpStream::from_std(sock))
}

/// Sends the request and receives the answer. Both may happen at the same time: a server may answer before
/// it has read the whole request.
fn exchange(mut sock: TcpStream, request: &[u8], timeout: Duration) -> Result<Message> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(16);
    poll.registry().register(&mut sock, Token(0), Interest::READABLE | Interest::WRITABLE)?;
    let mut unsent = request;
    let mut incoming = Incoming::answer();
    loop {
        match poll.poll(&mut events, Some(timeout)) {
            Ok(()) => {}
            // A signal came, for example because the user suspended and resumed the client.
            Err(err) if err.kind() == ErrorKind::Interrupted => continue,
            Err(err) => return Err(err).context("cannot wait for the server"),
        }
        if events.is_empty() {
            let why = format!("nothing has happened for {timeout:?}");
            incoming.finish().with_context(|| why.clone())?;
            bail!(why);
        }
        send(&mut sock, &mut unsent)?;
        if let Some(answer) = receive(&mut sock, &mut incoming)? {
            return Ok(answer);
        }
    }
}

/// Sends until everything is sent or the kernel accepts no more.
fn send(sock: &mut TcpStream, unsent: &mut &[u8]) -> Result<()> {
    while !unsent.is_empty() {
        match sock.write(unsent) {
            Ok(n) => *unsent = &unsent[n..],
            // The kernel's buffer is full. There will be an event when it has room.
            Err(err) if err.kind() == ErrorKind::WouldBlock => return Ok(()),
            // A signal came during the write.
            Err(err) if err.kind() == ErrorKind::Interrupted => {}
            // The server has closed or reset the connection.
            Err(err) => return Err(readable_error(err)).context("sending"),
        }
    }
    Ok(())
}

/// Receives until the answer is complete, and returns it. Returns `None` if more bytes have yet to arrive.
fn receive(sock: &mut TcpStream, incoming: &mut Incoming) -> Result<Option<Message>> {
    let mut bytes = [0; 4096];
    loop {
        match sock.read(&mut bytes) {
            Ok(0) => {
                incoming.finish().context("the server closed the connection")?;
                bail!("the server closed the connection");
            }
            Ok(n) => {
                if let Some(answer) = incoming.push(&bytes[..n])? {
                    return Ok(Some(answer));
                }
            }
            // Nothing more has arrived. There will be an event when it does.
            Err(err) if err.kind() == ErrorKind::WouldBlock => return Ok(None),
            // A signal came during the read.
            Err(err) if err.kind() == ErrorKind::Interrupted => {}
            // The server has reset the connection.
            Err(err) => return Err(readable_error(err)).context("receiving"),
        }
    }
}

/// Returns bytes as one line of text. Bytes that are not UTF-8 are shown in hexadecimal.
fn as_text(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text += &printable(chunk.valid());
        text += &chunk.invalid().escape_ascii().to_string();
    }
    text
}
