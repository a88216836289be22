//! `tincan tour`: starts the stages one after the other, and shows to a newcomer what they do.
//!
//! | file | subject |
//! |---|---|
//! | `echo.rs`, `chat.rs`, `idle.rs` | the scenes: what clients say and do, and what must happen |
//! | `demo.rs` | a stage with its clients, for the scenes |
//! | `table.rs`, `page.rs` | the output |
//! | `leave.rs`, `keys.rs` | the end of the tour, and the keys |
//!
//! The tables show what has happened. A scene checks its expectations, and the tour fails if one is not met.

mod chat;
mod demo;
mod echo;
mod idle;
mod keys;
mod leave;
mod page;
mod table;

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use page::Page;
use probe::{Failure, servers};
use watch::wrap;

use crate::output::print_line;
use crate::stages::{self, ServerPrograms};
use crate::terminal::{BOLD, cbreak};

/// Show what the five stages do: about three minutes
///
/// This starts one stage after the other, connects clients to it, and shows what each client sends and gets,
/// and what the server does in that time. Enter continues, q or Ctrl-C ends the tour; nothing is left running.
#[derive(clap::Args)]
#[command(after_help = after_help())]
pub struct Args {
    /// Do not pause
    #[arg(short, long)]
    yes: bool,
    /// Show only one scene, given by its number or its name
    #[arg(long, value_name = "SCENE", value_parser = scene_index)]
    only: Option<usize>,
}

struct Scene {
    name: &'static str,
    idea: &'static str,
    run: fn(&ServerPrograms, &Page) -> Result<()>,
}

/// A scene that has the name of a stage is about that stage; the last one is about all stages.
const SCENES: [Scene; 6] = [
    Scene {
        name: "echo-uni",
        idea: "Block, and serve one client at a time",
        run: echo::one_at_a_time,
    },
    Scene { name: "echo-multi", idea: "A thread for each client", run: echo::a_thread_for_each },
    Scene {
        name: "chat-threads",
        idea: "Two threads and a queue for each client, one lock",
        run: chat::threads_that_talk,
    },
    Scene { name: "chat-poll", idea: "One thread, and readiness", run: chat::one_loop },
    Scene {
        name: "chat-async",
        idea: "Tasks: code like that for threads, run by a few threads",
        run: chat::tasks,
    },
    Scene {
        name: "idle",
        idea: "All five stages, with 200 clients that do nothing",
        run: idle::compare,
    },
];

impl Scene {
    /// Returns the names of the stages that the scene starts.
    fn stages(&self) -> Vec<&'static str> {
        match servers::find(self.name) {
            Some(stage) => vec![stage.name],
            None => servers::stages().map(|stage| stage.name).collect(),
        }
    }
}

fn after_help() -> String {
    let scenes: Vec<_> =
        SCENES.iter().enumerate().map(|(i, scene)| format!("{} {}", i + 1, scene.name)).collect();
    format!(
        "Scenes:\n  {}\n\n\
         Examples:\n  \
         cargo tincan tour\n  \
         cargo tincan tour --yes\n  \
         cargo tincan tour --only chat-threads",
        scenes.join(", ")
    )
}

/// Returns the index of a scene that is given by its number or its name.
fn scene_index(text: &str) -> Result<usize, String> {
    let is_it = |(i, scene): (usize, &Scene)| text == scene.name || text == (i + 1).to_string();
    SCENES.iter().enumerate().position(is_it).ok_or_else(|| {
        let names: Vec<_> = SCENES.iter().map(|scene| scene.name).collect();
        format!("the scenes are 1 to {}, or {}", SCENES.len(), names.join(", "))
    })
}

pub fn run(args: &Args) -> Result<ExitCode> {
    leave::leave_at_signals().context("cannot handle signals")?;
    // The last scene has 200 clients. If the limit on descriptors cannot be raised, its table says so.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let is_interactive = io::stdin().is_terminal();
    let page = Page::new((!args.yes && is_interactive).then(keys::read_keys));
    let toured = tour(args, &page, is_interactive);
    cbreak::leave();
    match toured {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(err) => match err.downcast_ref::<Failure>() {
            Some(failure) => {
                eprintln!("\nThis is not what was expected:\n{failure}");
                Ok(ExitCode::FAILURE)
            }
            None => Err(err),
        },
    }
}

fn tour(args: &Args, page: &Page, is_interactive: bool) -> Result<()> {
    let scenes = match args.only {
        Some(scene) => scene..scene + 1,
        None => 0..SCENES.len(),
    };
    if !args.yes && !is_interactive {
        print_line("Standard input is not a terminal: there are no pauses.")?;
    }
    if stages::workspace().is_some() {
        print_line("Builds the servers first, if they have changed.")?;
    }
    let mut names: Vec<_> = SCENES[scenes.clone()].iter().flat_map(Scene::stages).collect();
    names.sort_unstable();
    names.dedup();
    let programs = ServerPrograms::build(&names)?;
    print_introduction(page)?;
    for number in scenes {
        let scene = &SCENES[number];
        page.pause(&format!("{} of {}: {}", number + 1, SCENES.len(), scene.name))?;
        print_head(page, number, scene)?;
        (scene.run)(&programs, page)?;
    }
    if args.only.is_none() { print_next_steps(page) } else { Ok(()) }
}

const NEXT_STEPS: [(&str, &str); 3] = [
    ("docs/src/introduction.md", "the book: why each stage is as it is"),
    ("cargo tincan diff echo-uni echo-multi", "what changes from one stage to another"),
    ("cargo tincan check --help", "tests a server of your own, in any language"),
];

/// Prints what to read and to try next, in two columns.
fn print_next_steps(page: &Page) -> Result<()> {
    const FIRST: usize = 41;
    print_line("Next steps:")?;
    for (what, why) in NEXT_STEPS {
        for (i, why) in wrap(why, page.width() - FIRST).iter().enumerate() {
            let what = if i == 0 { what } else { "" };
            print_line(&format!("  {what:<0$}{why}", FIRST - 2))?;
        }
    }
    Ok(())
}

fn print_introduction(page: &Page) -> Result<()> {
    print_line("")?;
    page.paragraph(
        "Tin Can Chat is one small server, built five times, each time with one thing changed. \
         This tour starts the five one after the other, connects clients to each, and shows what \
         happens while it happens.",
    )?;
    page.paragraph(
        "In its tables, each client has a column; the last column has the server's log and \
         measurements (after =). Names replace the addresses of clients. Read each row from left to \
         right, then the next row: this is the order in time. On the left are the milliseconds \
         since the scene began.",
    )
}

fn print_head(page: &Page, number: usize, scene: &Scene) -> Result<()> {
    let title = format!("── {} of {} · {} ", number + 1, SCENES.len(), scene.name);
    let title = format!("{title:─<width$}", width = page.width());
    print_line(&format!("{BOLD}{title}{BOLD:#}"))?;
    print_line(scene.idea)?;
    if let Some(stage) = servers::find(scene.name) {
        print_line(&format!("Read: {}", stage.source))?;
    }
    print_line("")
}
