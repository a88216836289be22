//! A chat with names, in one thread, on select(2) itself: the server, and a client built the same way.
//!
//! The oldest way to wait for many sockets at once. A program hands the kernel sets of descriptors and
//! blocks; it gets the sets back with only those in them that are ready. Standard input is a descriptor
//! too, so the same call waits for the keyboard. A set has 1024 bits: a connection that would need
//! another is told so, and closed.
//!
//! Run it:      `cargo run -p chat-select -- --name server`
//! Talk to it:  `cargo run -p chat-select -- --name ann`, in another terminal
//! Compare:     `chat-poll`, where the kernel keeps the list of who is watched.
//! Bad at:      crowds. Descriptors end at 1023; and for each turn both sets are built, copied into the
//!              kernel and back, and searched, however few of the clients have something to say.
//!
//! # Why a frame is text
//!
//! A frame here is four bytes of length, the highest first, and UTF-8. The Python program that this one
//! answers to puts a pickled object in its frames instead. A pickle is not data but a program: its
//! instructions import modules and call what is in them, and `pickle.loads` runs it. Whoever can
//! connect can send a frame that calls `os.system`, and looking at the object first is no help: before
//! there is one to look at, its instructions have run. What a stranger sends has to be in a form that
//! can say nothing but what is expected; here, that is text with a length. (The original's length is a
//! C `long`, eight bytes on one system and four on another, so that its programs do not even understand
//! each other everywhere.)

#[cfg(unix)]
mod client;
#[cfg(unix)]
mod frame;
#[cfg(unix)]
mod keyboard;
#[cfg(unix)]
mod server;

#[cfg(unix)]
use clap::Parser;
#[cfg(unix)]
use tincanchat::cli::{Failure, ServerArgs};

/// The name that makes a server of this program.
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
    /// `server` runs the server, until Enter is typed; any other name joins the chat under that name
    #[arg(long, value_parser = name)]
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
fn name(text: &str) -> Result<String, String> {
    match text.len() {
        1..=frame::MAX_NAME_LEN => Ok(text.to_owned()),
        _ => Err(format!("a name has 1 to {} bytes", frame::MAX_NAME_LEN)),
    }
}

#[cfg(not(unix))]
fn main() -> std::process::ExitCode {
    eprintln!("chat-select needs a Unix system: elsewhere select() waits for sockets alone");
    std::process::ExitCode::FAILURE
}
