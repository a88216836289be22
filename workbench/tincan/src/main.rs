//! `tincan`: checks, measures, shows and compares servers. Run it as `cargo tincan`.
//!
//! This file only reads the command line.

mod check_command;
mod command_line;
mod diff;
mod exercise;
mod grade;
mod job;
mod lab_command;
mod output;
mod output_file;
mod progress;
mod rerun;
mod servers_command;
mod signals;
mod stages;
mod terminal;
mod tour;
mod watch_command;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use command_line::called_as;

/// Check, measure, show and compare servers: those of this project and your own
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:\n  \
        cargo tincan tour\n  \
        cargo tincan check echo-uni -- python3 my_server.py {port}\n  \
        cargo tincan grade chat --submissions class --cmd '{dir}/run.sh {port}'\n  \
        cargo tincan diff echo-uni echo-multi\n  \
        cargo tincan lab --quick\n  \
        cargo tincan watch -- target/debug/chat-threads --port {port}\n  \
        cargo tincan exercise list\n  \
        cargo tincan servers"
)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Tour(tour::Args),
    Check(check_command::Args),
    Grade(grade::Args),
    Diff(diff::Args),
    Lab(lab_command::Args),
    Watch(watch_command::Args),
    Exercise(exercise::Args),
    Servers(servers_command::Args),
    #[command(hide = true)]
    GradeOne(grade::ChildArgs),
    #[command(hide = true)]
    ChildOf(stages::ChildOf),
    /// Ends the servers of a process that has ended (the watchdog, which the commands that start servers start)
    #[command(hide = true)]
    Watchdog {
        /// Run as the detached watchdog itself
        #[arg(long)]
        detached: bool,
    },
}

fn main() -> ExitCode {
    let done = match args().command {
        Command::Tour(args) => tour::run(&args),
        Command::Check(args) => check_command::run(&args),
        Command::Grade(args) => grade::run(&args),
        Command::GradeOne(args) => grade::be_child(&args),
        Command::Diff(args) => diff::run(&args),
        Command::Lab(args) => lab_command::run(&args),
        Command::Watch(args) => watch_command::run(&args),
        Command::Exercise(args) => exercise::run(&args),
        Command::Servers(args) => servers_command::run(&args),
        Command::ChildOf(args) => stages::become_child(&args),
        Command::Watchdog { detached } => signals::be_watchdog(detached),
    };
    match done {
        Ok(code) => code,
        // The reader of the output has closed it, which is not an error.
        Err(err) if output::is_broken_pipe(&err) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("tincan: {err:#}");
            ExitCode::FAILURE
        }
    }
}

/// Reads the command line.
fn args() -> Args {
    let mut command = with_examples(Args::command(), &called_as(""));
    let read = Args::from_arg_matches(&command.get_matches_mut());
    read.unwrap_or_else(|err| err.format(&mut command).exit())
}

/// Changes the examples of a command, and of its subcommands, to commands that begin as this program was called.
fn with_examples(command: clap::Command, called_as: &str) -> clap::Command {
    let examples = command.get_after_help().map(ToString::to_string);
    let command = match examples {
        Some(text) => command.after_help(text.replace("cargo tincan ", called_as)),
        None => command,
    };
    command.mut_subcommands(|subcommand| with_examples(subcommand, called_as))
}
