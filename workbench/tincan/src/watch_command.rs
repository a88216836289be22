//! `tincan watch`: shows what each thread of a server does, live in the terminal and as an SVG file.
//!
//! | file | subject |
//! |---|---|
//! | `args.rs` | the command line |
//! | `session.rs` | samples the server until the end, and reports the end |
//! | `watched.rs` | the samples, the addresses and the processor time of the server |
//! | `view.rs`, `screen.rs` | the output as text |
//! | `trace.rs` | draws a trace that a server has recorded itself |

mod args;
mod screen;
mod session;
mod trace;
mod view;
mod watched;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use probe::server::{self, Launch, OutputTo, Server, StartError};
use probe::{procfs, servers};
use watch::is_possible;

pub use args::Args;
use session::Session;

use crate::command_line::called_as;
use crate::output_file;
use crate::signals::{note_signals, start_watchdog};
use crate::stages;

/// The exit code for a command line that asks for something impossible or forbidden.
const WRONG_USE: u8 = 2;

/// The exit code if there is nothing to watch.
const NOTHING: u8 = 3;

/// The message on a system that does not have `/proc`.
const NOT_LINUX: &str = "cannot watch: only Linux tells, in /proc, what a thread waits for";

/// The file of `--svg`.
const PICTURE: output_file::Kind = output_file::Kind {
    start: watch::SVG_START,
    name: "a picture of tincan watch",
    option: "--svg",
};

pub fn run(args: &Args) -> Result<ExitCode> {
    let refuse = |code: u8, why: &str| {
        eprintln!("tincan: {why}");
        Ok(ExitCode::from(code))
    };
    if args.trace.is_none() && !is_possible() {
        return refuse(NOTHING, NOT_LINUX);
    }
    // Before anything is watched: it would be lost if the file could not be written. The file is removed if
    // nothing is written to it, when `_svg_file` is dropped.
    let prepare = |path: &Path| output_file::prepare(path, PICTURE);
    let _svg_file = match args.svg.as_deref().map(prepare).transpose() {
        Ok(file) => file,
        Err(why) => return refuse(WRONG_USE, &why),
    };
    if let (Some(trace), Some(svg)) = (&args.trace, &args.svg) {
        return trace::draw(trace, svg);
    }
    let noted = note_signals().context("cannot handle signals")?;
    let server = match args.pid {
        Some(pid) if procfs::name(pid).is_none() => {
            return refuse(NOTHING, &format!("there is no process {pid}"));
        }
        Some(_) => None,
        None => match start(&args.command) {
            Ok(server) => Some(server),
            Err(err) if err.is::<StartError>() => {
                eprintln!("tincan: {err:#}");
                for hint in hints(&args.command) {
                    eprintln!("{hint}");
                }
                return Ok(ExitCode::from(NOTHING));
            }
            Err(err) => return Err(err),
        },
    };
    Session::new(args, server, noted).run().map(ExitCode::from)
}

fn start(command: &[OsString]) -> Result<Server> {
    let (program, args) = command.split_first().context("there is no command")?;
    start_watchdog();
    server::adopt_orphans();
    Launch::new(program, args)
        .stdout(OutputTo::CollectedLast)
        .stderr(OutputTo::CollectedLast)
        .start_without_waiting()
}

/// Returns hints on a command that could not be started.
fn hints(command: &[OsString]) -> Vec<String> {
    let Some((program, args)) = command.split_first() else { return Vec::new() };
    let is_ours = |arg: &&OsString| {
        let arg = arg.to_string_lossy();
        ["--seconds", "--svg", "--pid"].contains(&arg.split('=').next().unwrap_or_default())
    };
    let mut hints = Vec::new();
    if let Some(option) = args.iter().find(is_ours) {
        hints.push(format!(
            "Everything after the program belongs to the program, {0} too. Options of tincan watch \
             stand before the `--`: {1} {0} … -- CMD",
            option.display(),
            called_as("watch")
        ));
    }
    if let Some(server) = program.to_str().and_then(servers::find)
        && stages::workspace().is_some()
    {
        let servers::ServerInfo { name, package, .. } = server;
        hints.push(format!(
            "The program {name} is target/debug/{name}; cargo build -p {package} builds it."
        ));
    }
    hints
}
