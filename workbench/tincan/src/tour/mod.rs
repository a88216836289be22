//! `tincan tour`: starts the stages one after the other, and shows them to a newcomer.
//!
//! | file | what |
//! |---|---|
//! | `echo.rs`, `chat.rs`, `idle.rs` | the scenes: what is said, done and expected |
//! | `act.rs` | a stage and its clients, as the scenes use them |
//! | `lanes.rs`, `page.rs` | what it looks like |
//! | `leave.rs`, `keys.rs` | ends them, whatever key is pressed |
//!
//! What the tables show has happened. What a scene expects is checked, and the tour fails if it is not
//! so.

mod act;
mod chat;
mod echo;
mod idle;
pub mod keys;
mod lanes;
mod leave;
mod page;

use std::io::{self, ErrorKind, IsTerminal as _};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use page::{BOLD, Page, print, styled, wrap};
use probe::Failure;

use crate::stages::Stages;

/// A walk through the five stages: about three minutes.
///
/// Starts each stage in turn, connects clients to it, and shows what each says and gets, and what the
/// server does meanwhile. Enter goes on, q or Ctrl-C ends it; nothing is left running.
#[derive(clap::Args)]
#[command(after_help = "Scenes:\n  \
    1 echo-uni, 2 echo-multi, 3 chat-threads, 4 chat-poll, 5 chat-async, 6 idle\n\n\
    Examples:\n  \
    cargo tincan tour\n  \
    cargo tincan tour --yes\n  \
    cargo tincan tour --only chat-threads")]
pub struct Args {
    /// Do not pause
    #[arg(short, long)]
    yes: bool,
    /// Show one scene alone, by its number or its name
    #[arg(long, value_name = "SCENE", value_parser = scene)]
    only: Option<usize>,
}

struct Scene {
    name: &'static str,
    idea: &'static str,
    /// What to read.
    file: Option<&'static str>,
    stages: &'static [&'static str],
    play: fn(&Stages, &Page) -> Result<()>,
}

const SCENES: [Scene; 6] = [
    Scene {
        name: "echo-uni",
        idea: "Block, and serve one client at a time",
        file: Some("echo-uni/src/main.rs"),
        stages: &["echo-uni"],
        play: echo::one_at_a_time,
    },
    Scene {
        name: "echo-multi",
        idea: "A thread for each client",
        file: Some("echo-multi/src/main.rs"),
        stages: &["echo-multi"],
        play: echo::a_thread_for_each,
    },
    Scene {
        name: "chat-threads",
        idea: "Two threads and a queue for each client, one lock",
        file: Some("chat-threads/src/main.rs"),
        stages: &["chat-threads"],
        play: chat::a_room_of_three,
    },
    Scene {
        name: "chat-poll",
        idea: "One thread, and readiness",
        file: Some("chat-poll/src/main.rs"),
        stages: &["chat-poll"],
        play: chat::one_loop,
    },
    Scene {
        name: "chat-async",
        idea: "Tasks: reads like threads, runs like a loop",
        file: Some("chat-async/src/main.rs"),
        stages: &["chat-async"],
        play: chat::tasks,
    },
    Scene {
        name: "idle",
        idea: "All five, with 200 clients that do nothing",
        file: None,
        stages: &idle::STAGES,
        play: idle::table,
    },
];

/// The place of a scene that is given by its number or its name.
fn scene(text: &str) -> Result<usize, String> {
    let is_it = |(i, scene): (usize, &Scene)| text == scene.name || text == (i + 1).to_string();
    SCENES.iter().enumerate().position(is_it).ok_or_else(|| {
        let names: Vec<_> = SCENES.iter().map(|scene| scene.name).collect();
        format!("the scenes are 1 to {}, or {}", SCENES.len(), names.join(", "))
    })
}

pub fn run(args: &Args) -> Result<ExitCode> {
    leave::on_signals().context("could not watch for signals")?;
    // Where the limit is low, 200 clients are many; if it cannot be raised, the table says so.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let is_interactive = io::stdin().is_terminal();
    let page = Page::new((!args.yes && is_interactive).then(keys::listen));
    let toured = tour(args, &page, is_interactive);
    keys::put_back();
    match toured {
        Ok(()) => Ok(ExitCode::SUCCESS),
        // Whoever has read enough, as `head` does, has not been failed.
        Err(err) if is_broken_pipe(&err) => Ok(ExitCode::SUCCESS),
        Err(err) => match err.downcast_ref::<Failure>() {
            Some(failure) => {
                eprintln!("\nThis is not what was expected:\n{failure}");
                Ok(ExitCode::FAILURE)
            }
            None => Err(err),
        },
    }
}

fn is_broken_pipe(err: &anyhow::Error) -> bool {
    err.downcast_ref::<io::Error>().is_some_and(|err| err.kind() == ErrorKind::BrokenPipe)
}

fn tour(args: &Args, page: &Page, is_interactive: bool) -> Result<()> {
    let scenes = match args.only {
        Some(scene) => scene..scene + 1,
        None => 0..SCENES.len(),
    };
    if !args.yes && !is_interactive {
        print("Standard input is not a terminal: there are no pauses.")?;
    }
    print("Builds the servers first, if they have changed.")?;
    let names: Vec<_> = SCENES[scenes.clone()].iter().flat_map(|scene| scene.stages).collect();
    let mut names: Vec<_> = names.into_iter().copied().collect();
    names.sort_unstable();
    names.dedup();
    let stages = Stages::ready(&names)?;
    introduce(page)?;
    for number in scenes.clone() {
        let scene = &SCENES[number];
        page.pause(&format!("{} of {}: {}", number + 1, SCENES.len(), scene.name))?;
        head(page, number, scene)?;
        (scene.play)(&stages, page)?;
    }
    if args.only.is_none() { where_next(page) } else { Ok(()) }
}

const WHERE_NEXT: [(&str, &str); 3] = [
    ("docs/src/introduction.md", "the book: why each stage is as it is"),
    ("cargo tincan diff echo-uni echo-multi", "what changes from one stage to another"),
    ("cargo tincan check --help", "judges a server of yours, in any language"),
];

/// Says where to go on, in two columns.
fn where_next(page: &Page) -> Result<()> {
    const FIRST: usize = 41;
    print("Where next:")?;
    for (what, why) in WHERE_NEXT {
        for (i, why) in wrap(why, page.width() - FIRST).iter().enumerate() {
            let what = if i == 0 { what } else { "" };
            print(&format!("  {what:<0$}{why}", FIRST - 2))?;
        }
    }
    Ok(())
}

fn introduce(page: &Page) -> Result<()> {
    print("")?;
    page.prose(
        "Tin Can Chat is one small server, built five times, each time with one thing changed. \
         This tour starts each in turn, lets clients connect, and shows what happens as it \
         happens.",
    )?;
    page.prose(
        "In its tables each client has a column; the last one has the server's log and what is \
         measured (after =). Where a server writes a client's address, you see the client's name. \
         Read a row from left to right, then the next: that is the order in time. On the left are \
         the milliseconds since the scene began.",
    )
}

fn head(page: &Page, number: usize, scene: &Scene) -> Result<()> {
    let title = format!("── {} of {} · {} ", number + 1, SCENES.len(), scene.name);
    let title = format!("{title:─<width$}", width = page.width());
    styled(BOLD, &title)?;
    print(scene.idea)?;
    if let Some(file) = scene.file {
        print(&format!("Read: {file}"))?;
    }
    print("")
}
