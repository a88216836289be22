//! A small HTTP/1.1 server, in one thread, on epoll itself.
//!
//! The kernel keeps the list of the sockets and of what is awaited from each; the program changes that
//! list where something changes, and each wait brings only those that are ready. A request is a head of
//! lines that httparse takes apart, and perhaps a body; an answer is written in one piece. What a
//! client has sent so far, what it has not taken yet, and since when it keeps us waiting is in a table.
//!
//! Run it:      `cargo run -p web-epoll`
//! Talk to it:  `curl -v http://127.0.0.1:8800/`, or a browser
//! Compare:     `chat-poll`, where mio asks the same epoll, edge-triggered, and kqueue or IOCP elsewhere.
//! Bad at:      more than one processor; and HTTP beyond this page: no body is looked at, nothing is
//!              encrypted or compressed, and every path is the same.

#[cfg(target_os = "linux")]
mod http;
#[cfg(target_os = "linux")]
mod server;

#[cfg(target_os = "linux")]
use clap::Parser;
#[cfg(target_os = "linux")]
use tincanchat::cli::{Failure, ServerArgs};

#[cfg(target_os = "linux")]
#[derive(Parser)]
#[command(version, about)]
#[command(mut_arg("port", |arg| arg.default_value("8800")))]
#[command(after_help = concat!("Examples:\n  ", env!("CARGO_BIN_NAME"), " --host :: --port 8080 --timeout 5"))]
struct Args {
    #[command(flatten)]
    server: ServerArgs,
    /// How long the head of a request may take, and how long a connection may be idle
    #[arg(long, value_name = "SECONDS", default_value_t = 15)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
}

#[cfg(target_os = "linux")]
fn main() -> Result<(), Failure> {
    server::run(&Args::parse())?;
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    eprintln!("web-epoll needs Linux: no other system has epoll");
    std::process::ExitCode::FAILURE
}
