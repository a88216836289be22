//! An echo server in which a process or a thread serves each client, as `--mixin` says.
//!
//! What serves a client is a trait, `Mixin`, with two implementations; the loop around them is one. A
//! process costs more than a thread: fork(2) copies the server's page tables, its descriptors are to be
//! closed, its end is to be waited for, and all that it can tell the server is an exit code of one byte.
//! It buys what no thread can have: a worker that crashes, or is killed, is alone.
//!
//! Run it:      `cargo run -p echo-mixins`, or `cargo run -p echo-mixins -- --mixin thread`
//! Talk to it:  `nc 127.0.0.1 8800`
//! Compare:     `echo-multi`; and `src/processes.rs` with `src/threads.rs`
//! Bad at:      crowds, with processes even more than with threads; and requests longer than a read.

#[cfg(unix)]
mod log;
#[cfg(unix)]
mod processes;
#[cfg(unix)]
mod server;
#[cfg(unix)]
mod threads;

#[cfg(unix)]
use std::io;

#[cfg(unix)]
use clap::Parser;
#[cfg(unix)]
use tincanchat::cli::{Failure, ServerArgs};

#[cfg(unix)]
#[derive(Parser)]
#[command(version, about, mut_arg("port", |arg| arg.default_value("8800")))]
#[command(after_help = concat!("Examples:\n  ", env!("CARGO_BIN_NAME"), " --mixin thread --host :: --port 5000 -v"))]
struct Args {
    #[command(flatten)]
    server: ServerArgs,
    /// What serves each client; --trace is for threads only
    #[arg(long, value_enum, default_value_t = Kind::Fork)]
    mixin: Kind,
}

#[cfg(unix)]
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// A process of its own
    Fork,
    /// A thread of its own
    Thread,
}

#[cfg(unix)]
fn main() -> Result<(), Failure> {
    use server::Signals;

    let args = Args::parse();
    let signals = Signals::hold()?;
    if args.mixin == Kind::Thread {
        let _log = args.server.start_log()?;
        return Ok(server::run(&args.server, &signals, threads::Threads::default())?);
    }
    if args.server.trace.is_some() {
        use clap::{CommandFactory as _, error::ErrorKind};
        let why = "--trace needs a thread, and a server that forks must not have a second one";
        Args::command().error(ErrorKind::ArgumentConflict, why).exit();
    }
    // Before the log, so that this process, if it is stuck, does not hold the log's socket as well.
    let stdout = log::WriterProcess::start(io::stdout())?;
    let log = log::WriterProcess::start(io::stderr())?;
    let _log = args.server.start_log_to(log.writer());
    Ok(server::run(&args.server, &signals, processes::Processes::new(&signals, stdout))?)
}

#[cfg(not(unix))]
fn main() -> std::process::ExitCode {
    eprintln!("echo-mixins needs a Unix: no other system has fork");
    std::process::ExitCode::FAILURE
}
