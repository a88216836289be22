//! `tincan watch`: what each thread of a server does, live in the terminal and as SVG.

mod args;
mod screen;
mod session;
mod svg_file;
mod trace;
mod view;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::{Context, Result};
use lab::STAGES;
use probe::procfs;
use probe::server::{self, Launch, NotStarted, Outlet, Server};
use watch::is_possible;

pub use args::Args;
use session::Watch;
use trace::draw_trace;

use crate::signals::{note_signals, start_watchdog};

/// The command line asks for what cannot be, or must not.
const WRONG_USE: u8 = 2;

/// Nothing can be watched.
const NOTHING: u8 = 3;

pub fn run(args: &Args) -> Result<ExitCode> {
    if let (Some(trace), Some(svg)) = (&args.trace, &args.svg) {
        return draw_trace(trace, svg);
    }
    if !is_possible() {
        eprintln!("tincan: {ELSEWHERE}");
        return Ok(ExitCode::from(NOTHING));
    }
    let noted = note_signals().context("could not watch for signals")?;
    // Found out now, and not when all has been seen.
    let _place = match args.svg.as_deref().map(svg_file::make_ready).transpose() {
        Ok(place) => place,
        Err(refused) => {
            eprintln!("tincan: {refused}");
            return Ok(ExitCode::from(WRONG_USE));
        }
    };
    let server = match args.pid {
        Some(pid) if procfs::name(pid).is_none() => {
            eprintln!("tincan: there is no process {pid}");
            return Ok(ExitCode::from(NOTHING));
        }
        Some(_) => None,
        None => match start(&args.command) {
            Ok(server) => Some(server),
            Err(err) if err.is::<NotStarted>() => {
                eprintln!("tincan: {err:#}");
                for hint in hints(&args.command) {
                    eprintln!("{hint}");
                }
                return Ok(ExitCode::from(NOTHING));
            }
            Err(err) => return Err(err),
        },
    };
    let mut watch = Watch::new(args, server, noted);
    let end = watch.look_on()?;
    watch.finish(&end).map(ExitCode::from)
}

/// What is said where there is no `/proc`.
const ELSEWHERE: &str = "what a thread waits for is told by Linux alone, in /proc; on this system, \
                         tincan can neither see that nor count the threads of a server";

fn start(command: &[OsString]) -> Result<Server> {
    let (program, args) = command.split_first().context("there is no command")?;
    start_watchdog();
    server::adopt_orphans();
    Launch::new(program, args).stdout(Outlet::LastLines).stderr(Outlet::LastLines).start_at_once()
}

/// What may be meant by a command that cannot be started.
fn hints(command: &[OsString]) -> Vec<String> {
    let Some((program, args)) = command.split_first() else { return Vec::new() };
    let own = |word: &&OsString| {
        let word = word.to_string_lossy();
        ["--seconds", "--svg", "--pid"].contains(&word.split('=').next().unwrap_or_default())
    };
    let mut hints = Vec::new();
    if let Some(option) = args.iter().find(own) {
        hints.push(format!(
            "What follows the program is its own, {0} too. Options of tincan watch stand before the \
             `--`: cargo tincan watch {0} … -- CMD",
            option.display()
        ));
    }
    if let Some(stage) = STAGES.iter().find(|it| program == it.name) {
        let name = stage.name;
        hints.push(format!(
            "The program of {name} is target/debug/{name}; cargo build -p {name} makes it."
        ));
    }
    hints
}
