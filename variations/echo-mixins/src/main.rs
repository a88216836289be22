//! An echo server that starts a process for each client, or a thread: `--mixin` chooses.
//!
//! The accept loop and the exchange with a client are written once. The trait `Mixin` starts the workers
//! that serve the clients, and has two implementations. A process costs more than a thread: fork(2) copies
//! the page tables of the server, the server and the worker must each close the descriptors that only the
//! other needs, the server must wait for each process that has ended, and a process can tell the server
//! only its exit code, which is one byte. But if a process crashes or is killed, no other client is
//! affected.
//!
//! Run it:      `cargo run -p echo-mixins`, or `cargo run -p echo-mixins -- --mixin thread`
//! Talk to it:  `nc 127.0.0.1 8800`
//! Compare:     `echo-multi`; and `src/processes.rs` with `src/threads.rs`.
//! Bad at:      many clients: processes cost even more than threads. And requests that arrive in several
//!              reads: only the first read counts.

#[cfg(unix)]
mod processes;
#[cfg(unix)]
mod server;
#[cfg(unix)]
mod threads;
#[cfg(unix)]
mod writer;

#[cfg(unix)]
use std::io;

#[cfg(unix)]
use anyhow::Result;
#[cfg(unix)]
use clap::error::ErrorKind;
#[cfg(unix)]
use clap::{CommandFactory as _, Parser, ValueEnum};
#[cfg(unix)]
use serverkit::{Failure, ServerArgs};

#[cfg(unix)]
use crate::{processes::Processes, server::Signals, threads::Threads, writer::WriterProcess};

#[cfg(unix)]
#[derive(Parser)]
#[command(version, about, mut_arg("port", |arg| arg.default_value("8800")))]
#[command(after_help = concat!("Examples:\n  ", env!("CARGO_BIN_NAME"), " --mixin thread --host :: --port 5000 -v"))]
struct Args {
    #[command(flatten)]
    server: ServerArgs,
    /// What serves each client; only threads can be traced (--trace)
    #[arg(long, value_enum, default_value_t = Kind::Fork)]
    mixin: Kind,
}

#[cfg(unix)]
#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// A process of its own
    Fork,
    /// A thread of its own
    Thread,
}

#[cfg(unix)]
fn main() -> Result<(), Failure> {
    let args = Args::parse();
    // This comes first, so that the signals are blocked in every thread and process that is started later.
    let signals = Signals::block()?;
    match args.mixin {
        Kind::Fork => serve_with_processes(&args.server, &signals)?,
        Kind::Thread => serve_with_threads(&args.server, &signals)?,
    }
    Ok(())
}

#[cfg(unix)]
fn serve_with_processes(args: &ServerArgs, signals: &Signals) -> Result<()> {
    if args.trace.is_some() {
        let why = "--trace starts a thread, and a server that forks must have only one";
        Args::command().error(ErrorKind::ArgumentConflict, why).exit();
    }
    // In this order: if stdout blocks, its process keeps running, and must have no copy of the log's
    // socket.
    let stdout = WriterProcess::start(io::stdout())?;
    let stderr = WriterProcess::start(io::stderr())?;
    let _log = args.start_log_to(stderr.writer());
    server::run(args, signals, Processes::new(signals, stdout))
}

#[cfg(unix)]
fn serve_with_threads(args: &ServerArgs, signals: &Signals) -> Result<()> {
    let _log = args.start_log()?;
    server::run(args, signals, Threads::default())
}

#[cfg(not(unix))]
fn main() -> std::process::ExitCode {
    eprintln!("echo-mixins needs a Unix system: other systems do not have fork(2)");
    std::process::ExitCode::FAILURE
}
