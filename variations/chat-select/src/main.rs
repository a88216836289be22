//! A chat with names, in one thread, on select(2) itself: the server, and a client that works in the same
//! way.
//!
//! select is the oldest way to wait for many sockets at once. A program passes sets of descriptors to the
//! kernel and blocks; when the call returns, the sets contain only the descriptors that are ready. Standard
//! input is a descriptor, too, so the same call waits for the keyboard. A set has 1,024 bits. If a client's
//! connection gets descriptor 1,024 or a higher one, the client is told so, and the connection is closed.
//!
//! Run it:      `cargo run -p chat-select -- --name server`
//! Talk to it:  `cargo run -p chat-select -- --name ann`, in another terminal
//! Compare:     `chat-poll`, where the kernel keeps the list of the watched sockets.
//! Bad at:      many clients. The highest descriptor is 1,023. And in each turn, both sets are built,
//!              copied into the kernel and back, and searched, even if only one client has sent something.
//!
//! # Why a frame is text
//!
//! Here, a frame consists of four bytes with the length of a text, big-endian, and the text in UTF-8. The
//! Python program that this one is modelled on puts a pickled object into its frames instead. A pickle is
//! not data but a program: its instructions import modules and call functions in them, and `pickle.loads`
//! runs these instructions. Anyone who can connect can send a frame that calls `os.system`. Checking the
//! object does not help: when there is an object to check, the instructions have already run. The format of
//! a stranger's input must be able to express only what is expected; here, that is a text with its length.
//! (The length in the original is a C `long`, which has eight bytes on one system and four on another, so
//! its programs do not always understand each other.)

#[cfg(unix)]
mod client;
#[cfg(unix)]
mod frame;
#[cfg(unix)]
mod keyboard;
#[cfg(unix)]
mod select;
#[cfg(unix)]
mod server;

#[cfg(unix)]
use clap::Parser;
#[cfg(unix)]
use serverkit::{Failure, ServerArgs};

/// With this name, the program is the server.
#[cfg(unix)]
const SERVER: &str = "server";

#[cfg(unix)]
#[derive(Parser)]
#[command(version, about)]
#[command(mut_arg("port", |arg| arg.default_value("8800").help("Port; 0 lets the system pick one for the server")))]
#[command(mut_arg("host", |arg| arg.help("Where the server listens: an IPv4 or IPv6 address or a host name")))]
#[command(
    after_help = "Examples:\n  chat-select --name server --host :: -v\n  chat-select --name ann"
)]
struct Args {
    /// `server` runs the server, until Enter is typed; any other name joins the chat with that name
    #[arg(long, value_parser = parse_name)]
    name: String,
    #[command(flatten)]
    server: ServerArgs,
}

#[cfg(unix)]
fn main() -> Result<(), Failure> {
    let args = Args::parse();
    if args.name == SERVER {
        server::run(args.server)?;
    } else {
        client::run(&args.name, &args.server.host, args.server.port)?;
    }
    Ok(())
}

#[cfg(unix)]
fn parse_name(text: &str) -> Result<String, String> {
    match text.len() {
        1..=frame::MAX_NAME_LEN => Ok(text.to_owned()),
        len => Err(format!("a name has 1 to {} bytes, not {len}", frame::MAX_NAME_LEN)),
    }
}

#[cfg(not(unix))]
fn main() -> std::process::ExitCode {
    eprintln!("chat-select needs a Unix system: on other systems select() waits only for sockets");
    std::process::ExitCode::FAILURE
}
