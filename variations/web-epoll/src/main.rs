//! A small HTTP/1.1 server, in one thread, on epoll itself.
//!
//! The kernel keeps a list of sockets, and for each socket what the server waits for. The program updates
//! this list when something changes, and each wait returns only the sockets that are ready. `httparse`
//! parses the head of a request; a body is read and discarded. For each client, a table contains the bytes
//! of its next request, the answers that are queued for it, and the time since which the server has been
//! waiting for it.
//!
//! Run it:      `cargo run -p web-epoll`
//! Talk to it:  `curl -v http://127.0.0.1:8800/`, or a browser
//! Compare:     `chat-poll`, where mio uses epoll edge-triggered, and kqueue or IOCP on other systems.
//! Bad at:      using more than one processor; and HTTP beyond this page: it ignores bodies, and neither
//!              encrypts nor compresses. Every path has the same page.

#[cfg(target_os = "linux")]
mod http;
#[cfg(target_os = "linux")]
mod server;

#[cfg(target_os = "linux")]
use clap::Parser;
#[cfg(target_os = "linux")]
use serverkit::{Failure, ServerArgs};

#[cfg(target_os = "linux")]
#[derive(Parser)]
#[command(version, about)]
#[command(mut_arg("port", |arg| arg.default_value("8800")))]
#[command(after_help = concat!("Examples:\n  ", env!("CARGO_BIN_NAME"), " --host :: --port 8080 --timeout 5"))]
struct Args {
    #[command(flatten)]
    server: ServerArgs,
    /// Longest time for the head of a request to arrive, and for a connection to be idle
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
