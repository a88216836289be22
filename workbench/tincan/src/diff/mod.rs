//! `tincan diff`: shows what changes between two stages, or between a stage and the user's own file.
//!
//! | file | subject |
//! |---|---|
//! | `sides.rs` | the two texts, and the pairs that are worth comparing |
//! | `lines.rs`, `words.rs`, `rows.rs`, `items.rs` | what differs: lines, words in lines, pairs of lines, items |
//! | `unified.rs`, `beside.rs`, `stat.rs` | the three outputs |
//! | `paint.rs`, `wrap_code.rs`, `pager.rs` | colours, long lines, long outputs |

mod beside;
mod items;
mod lines;
mod pager;
mod paint;
mod rows;
mod sides;
mod stat;
mod unified;
mod words;
mod wrap_code;

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use probe::servers;
use watch::wrap;

use lines::Comparison;
use paint::{Screen, visible};
use sides::{Pair, Side};

use crate::command_line::called_as;

/// Compare two stages, or a stage and a file of your own
///
/// Without A and B, this lists the pairs that are worth comparing. With A alone, it compares this stage
/// with the one that it was made from. In a terminal of at least 160 columns, the two are shown side by
/// side. Otherwise, removed lines are above added lines, in the format of patch(1).
///
/// The exit code is 0 even if there are differences, because the output is for reading. It is 1 if A or B
/// cannot be read, and 2 for a usage error.
#[derive(clap::Args)]
// Each of them is an option of the command line.
#[allow(clippy::struct_excessive_bools)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A stage or a variation, such as echo-uni, or a path; a folder stands for its src/main.rs
    a: Option<String>,
    /// What to compare A with: also a stage, a variation or a path
    b: Option<String>,
    /// Show A on the left, and B on the right
    #[arg(short = 'y', long, conflicts_with_all = ["unified", "stat"])]
    side_by_side: bool,
    /// Show removed lines above added lines
    #[arg(short, long, conflicts_with = "stat")]
    unified: bool,
    /// Show only the number of changed lines, as `diff --minimal` counts them, and the items that contain
    /// them
    #[arg(long)]
    stat: bool,
    /// The number of lines to show around each change
    #[arg(short = 'U', long, value_name = "N", default_value_t = 3)]
    context: usize,
    /// Show all lines, changed or not
    #[arg(long, conflicts_with = "context")]
    whole: bool,
    /// The width of the output in columns, instead of the terminal's width
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(40..))]
    width: Option<u16>,
    /// When to use colour
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Color::Auto)]
    color: Color,
    /// Do not use a pager for output that is longer than the screen
    #[arg(long)]
    no_pager: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Color {
    /// In a terminal, unless `NO_COLOR` is set; anywhere if `CLICOLOR_FORCE` is set
    Auto,
    Always,
    Never,
}

const EXAMPLES: &str = "Examples:\n  \
    cargo tincan diff\n  \
    cargo tincan diff chat-poll\n  \
    cargo tincan diff echo-uni echo-multi\n  \
    cargo tincan diff chat-threads chat-async --side-by-side --whole\n  \
    cargo tincan diff chat-threads chat-async --stat\n  \
    cargo tincan diff chat-threads my-server/src/main.rs\n\n\
    The pager is $PAGER or, if it is not set, `less`. If it is empty, there is none.";

/// The maximum width of a sentence: longer lines are hard to read.
const MAX_PROSE: usize = 100;

/// The width from which on lines of two stages fit beside each other.
const MIN_WIDTH_FOR_TWO: usize = 160;

pub fn run(args: &Args) -> Result<ExitCode> {
    let screen = Screen::new(args.color.into(), args.width);
    let root = sides::workspace();
    let text = match (&args.a, &args.b) {
        (None, _) => list(&screen)?,
        (Some(a), Some(b)) => {
            let (old, new) = (Side::find(root.as_deref(), a)?, Side::find(root.as_deref(), b)?);
            compare(args, &screen, &old, &new)
        }
        (Some(name), None) => {
            let new = Side::find(root.as_deref(), name)?;
            let (with, is_copy) = partner(name)?;
            let old = Side::find(root.as_deref(), with)?;
            let relation = if is_copy { ", which it was made from" } else { "" };
            format!("{name} is compared with {with}{relation}.\n")
                + &compare(args, &screen, &old, &new)
        }
    };
    pager::show(&text, &screen, args.no_pager).context("cannot write to the terminal")?;
    Ok(ExitCode::SUCCESS)
}

/// Shows the change from one text to another, below a sentence. Each text comes with its name.
pub fn show_texts(
    sentence: &str,
    old: (String, String),
    new: (String, String),
) -> Result<ExitCode> {
    let side = |(shown, text)| Side { shown, text };
    let (old, new) = (side(old), side(new));
    let screen = Screen::new(anstream::ColorChoice::Auto, None);
    let lines = Comparison::new(&old.text, &new.text);
    let text = format!(
        "{sentence}.\n\n{}",
        unified::render([&old, &new], &lines, 3, &screen, columns(&screen))
    );
    pager::show(&text, &screen, false).context("cannot write to the terminal")?;
    Ok(ExitCode::SUCCESS)
}

fn compare(args: &Args, screen: &Screen, old: &Side, new: &Side) -> String {
    if old.text == new.text {
        return format!("{} and {} are the same.\n", visible(&old.shown), visible(&new.shown));
    }
    let lines = Comparison::new(&old.text, &new.text);
    let context = if args.whole { usize::MAX } else { args.context };
    if args.stat {
        stat::render(old, new, &lines, &screen.palette)
    } else if args.side_by_side
        || (!args.unified && screen.is_terminal && screen.width >= MIN_WIDTH_FOR_TWO)
    {
        beside::render([old, new], &lines, context, screen)
    } else {
        // With --unified, no line is wrapped, so that patch(1) can read the output.
        let columns = columns(screen).filter(|_| !args.unified);
        unified::render([old, new], &lines, context, screen, columns)
    }
}

/// Returns the width at which lines are wrapped, if they are.
fn columns(screen: &Screen) -> Option<usize> {
    screen.is_terminal.then_some(screen.width)
}

/// Returns the server to compare a server with, and whether the latter was made from a copy of the former.
fn partner(name: &str) -> Result<(&'static str, bool)> {
    if let Some(it) = servers::find(name).and_then(|server| server.compared_with) {
        return Ok((it.server, it.change.is_some()));
    }
    match sides::pairs().find(|pair| pair.from == name) {
        Some(Pair { from, to, .. }) => {
            bail!(
                "{from} is the first stage: no stage comes before it. Try: {} {from} {to}",
                called_as("diff")
            )
        }
        None => bail!(
            "`{name}` has to be compared with something, for example: {} echo-uni {name}",
            called_as("diff")
        ),
    }
}

/// Lists the pairs that are worth comparing: what changes, how much, and the command.
fn list(screen: &Screen) -> Result<String> {
    let Some(root) = sides::workspace() else {
        bail!("the stages are not here: run this in a clone of Tin Can Chat, or name two files");
    };
    let paint = &screen.palette;
    let command = called_as("diff");
    let mut out = String::from("Pairs worth comparing:\n");
    for pair in sides::pairs() {
        let (Some(old), Some(new)) =
            (Side::server(&root, pair.from)?, Side::server(&root, pair.to)?)
        else {
            continue; // a variation that does not exist here
        };
        let lines = Comparison::new(&old.text, &new.text);
        let heading = format!("{} → {}", pair.from, pair.to);
        let heading = format!("{heading:<28}");
        let added = format!("+{}", lines.added());
        let removed = format!("-{}", lines.removed());
        let _ = writeln!(
            out,
            "\n{b}{heading}{b:#} {a}{added:>5}{a:#} {r}{removed:>5}{r:#}\n  {}\n  {command} {} {}",
            wrap(pair.change, screen.width.clamp(20, MAX_PROSE) - 2).join("\n  "),
            pair.from,
            pair.to,
            b = paint.heading,
            a = paint.added,
            r = paint.removed,
        );
    }
    let _ = writeln!(
        out,
        "\nInstead of a name, you can give a file of your own: {command} chat-threads FILE"
    );
    Ok(out)
}

impl From<Color> for anstream::ColorChoice {
    fn from(color: Color) -> Self {
        match color {
            Color::Auto => Self::Auto,
            Color::Always => Self::Always,
            Color::Never => Self::Never,
        }
    }
}
