//! The load generator on the command line.
//!
//! `cargo run --release -p lab --example load -- fanout 127.0.0.1:4040 --clients 100`

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use lab::load::Crowd;
use lab::process::Process;
use lab::{Case, EXPERIMENTS, Figures, Plan, Target, Tongue, Trade};
use lab::{connections, fanout};

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
    /// The same through NATS
    Nats(FanoutArgs),
    /// The same through a relay of lines
    Lines(FanoutArgs),
    /// Memory for clients that say nothing, and the time until all have one message
    Idle {
        /// The server
        addr: SocketAddr,
        #[arg(long, default_value_t = 1000)]
        clients: u32,
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
    /// Bytes of a message with its ending
    #[arg(long, default_value_t = 64)]
    size: usize,
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Seconds of load before measuring starts
    #[arg(long, default_value_t = 0.5)]
    warm_up: f64,
    /// Bytes that each sender may be ahead of the slowest reader
    #[arg(long, default_value_t = 4096)]
    window: usize,
    /// The server's process: reports its processor time
    #[arg(long)]
    pid: Option<u32>,
}

fn fan_out(args: &FanoutArgs, tongue: Tongue) -> Result<Figures> {
    let &FanoutArgs { addr, clients, senders, size, .. } = args;
    let crowd = Crowd { addr, tongue, clients, senders, size };
    let seconds = Duration::from_secs_f64;
    let window = (args.window / size).max(1) as u64;
    let server = args.pid.map(Process::new);
    fanout::run(crowd, window, seconds(args.warm_up), seconds(args.seconds), server)
}

fn run(experiment: &Experiment) -> Result<Figures> {
    match experiment {
        Experiment::Fanout(args) => fan_out(args, Tongue::TinCan),
        Experiment::Redis(args) => fan_out(args, Tongue::Redis),
        Experiment::Nats(args) => fan_out(args, Tongue::Nats),
        Experiment::Lines(args) => fan_out(args, Tongue::Lines),
        &Experiment::Idle { addr, clients, pid } => {
            let process = Process::new(pid);
            let target = Target { addr, trade: Trade::Chat(Tongue::TinCan), process };
            (EXPERIMENTS[0].measure)(&target, &Case::clients(clients), Plan { is_quick: false })
        }
        &Experiment::Sessions { addr, at_once, seconds, pid } => {
            let time = Duration::from_secs_f64(seconds);
            connections::run(addr, None, at_once, time, pid.map(Process::new))
        }
    }
}

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    let figures = run(&cli.experiment)?;
    if cli.json {
        println!("{}", figures.to_json());
    } else {
        print!("{figures}");
    }
    Ok(if figures.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
