//! The load generator on the command line.
//!
//! `cargo run --release -p workbench --example load -- fanout 127.0.0.1:4040 --clients 100`

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use workbench::lab::Figures;
use workbench::lab::load::{Fanout, Idle, Sessions};

/// Puts load on a chat or echo server and prints what it bore. Exit code 1: something was wrong.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    experiment: Experiment,
    /// Print one JSON object
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Experiment {
    /// Deliveries a second in a tin-can chat
    Fanout(FanoutArgs),
    /// The same through Redis, publish and subscribe
    Redis(FanoutArgs),
    /// Memory for clients that say nothing, and the time until all have one message
    Idle {
        /// The server
        addr: SocketAddr,
        #[arg(long, default_value_t = 1000)]
        clients: usize,
        /// The server's process
        #[arg(long)]
        pid: u32,
    },
    /// Echo sessions a second
    Sessions {
        /// The server
        addr: SocketAddr,
        /// Sessions in flight
        #[arg(long, value_name = "K", default_value_t = 1)]
        at_once: usize,
        #[arg(long, default_value_t = 3.0)]
        seconds: f64,
        /// The answer is "ADDR: message", not the message itself
        #[arg(long)]
        answer_prefix: bool,
        /// The server's process: reports its processor time
        #[arg(long)]
        pid: Option<u32>,
    },
}

#[derive(Args)]
struct FanoutArgs {
    /// The server
    addr: SocketAddr,
    #[arg(long, default_value_t = 100)]
    clients: usize,
    #[arg(long, default_value_t = 10)]
    senders: usize,
    /// Bytes of a message with its zero byte
    #[arg(long, default_value_t = 64)]
    size: usize,
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Seconds of load before measuring starts
    #[arg(long, default_value_t = 0.5)]
    warm_up: f64,
    /// Bytes that each sender may be ahead of the slowest reader
    #[arg(long, default_value_t = 64 * 1024)]
    window: usize,
    /// The server's process: reports its processor time and memory
    #[arg(long)]
    pid: Option<u32>,
    /// Look into each message: order, loss, duplicates (costs speed)
    #[arg(long)]
    check: bool,
    /// The server relays messages as they are, without the sender's address
    #[arg(long)]
    raw: bool,
}

impl From<FanoutArgs> for Fanout {
    fn from(args: FanoutArgs) -> Self {
        Self {
            addr: args.addr,
            clients: args.clients,
            senders: args.senders,
            size: args.size,
            time: Duration::from_secs_f64(args.seconds),
            warm_up: Duration::from_secs_f64(args.warm_up),
            window: args.window,
            pid: args.pid,
            check: args.check,
            raw: args.raw,
        }
    }
}

fn run(experiment: Experiment) -> Result<Figures> {
    match experiment {
        Experiment::Fanout(args) => Fanout::from(args).run(),
        Experiment::Redis(args) => Fanout::from(args).run_redis(),
        Experiment::Idle { addr, clients, pid } => Idle { addr, clients, pid }.run(),
        Experiment::Sessions { addr, at_once, seconds, answer_prefix, pid } => {
            let time = Duration::from_secs_f64(seconds);
            Sessions { addr, at_once, time, answer_prefix, pid }.run()
        }
    }
}

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    let figures = run(cli.experiment)?;
    if cli.json {
        println!("{}", figures.to_json());
    } else {
        print!("{figures}");
    }
    Ok(if figures.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
