//! `tincan`: checks, shows and compares servers. Run it as `cargo tincan`.
//!
//! This file reads the command line and nothing else.

mod check_command;
mod diff;
mod exercise;
mod lab_command;
mod output;
mod signals;
mod stages;
mod tour;
mod watch_command;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Checks, shows and compares servers, the stages' and your own.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:\n  \
        cargo tincan tour\n  \
        cargo tincan check echo-uni -- python3 my_server.py {port}\n  \
        cargo tincan diff echo-uni echo-multi\n  \
        cargo tincan lab --quick\n  \
        cargo tincan watch -- target/debug/chat-threads --port {port}\n  \
        cargo tincan exercise list"
)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Tour(tour::Args),
    Check(check_command::Args),
    Diff(diff::Args),
    Lab(lab_command::Args),
    Watch(watch_command::Args),
    Exercise(exercise::Args),
    /// Starts a program that ends when another process does (`tour` and `lab` start servers so)
    #[command(hide = true)]
    ChildOf(stages::ChildOf),
    /// Ends the servers of a process that has ended (`check` and `watch` start it)
    #[command(hide = true)]
    Watchdog {
        /// Runs as the detached watchdog itself
        #[arg(long)]
        alone: bool,
    },
}

fn main() -> ExitCode {
    let done = match Args::parse().command {
        Command::Tour(args) => tour::run(&args),
        Command::Check(args) => check_command::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::Lab(args) => lab_command::run(&args),
        Command::Watch(args) => watch_command::run(&args),
        Command::Exercise(args) => exercise::run(&args),
        Command::ChildOf(args) => stages::become_child(&args),
        Command::Watchdog { alone } => signals::be_watchdog(alone),
    };
    match done {
        Ok(code) => code,
        // Whoever reads what is printed has seen enough: that is no error.
        Err(err) if output::is_broken_pipe(&err) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("tincan: {err:#}");
            ExitCode::FAILURE
        }
    }
}
