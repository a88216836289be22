//! `tincan diff`: what changed between two stages, or between a stage and the reader's own file.

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
mod wrap;

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use lines::Comparison;
use paint::{Screen, visible};
use sides::{PAIRS, Pair, Side};

/// Two stages side by side, or a stage and a file of your own.
///
/// Without A and B: the pairs that are worth comparing. With A alone: that stage beside the one it was
/// made from. On a terminal of at least 160 columns the two stand side by side, else the lines that
/// went and those that came are below each other, as patch(1) takes them.
///
/// The exit code is 0 whether or not there is a difference: this is for reading. It is 1 if A or B
/// cannot be read, and 2 if the command line is wrong.
#[derive(clap::Args)]
// Each is a switch of the command line, and nothing else.
#[allow(clippy::struct_excessive_bools)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A stage, such as echo-uni, or a path; a folder stands for its src/main.rs
    a: Option<String>,
    /// What to compare it with: the same
    b: Option<String>,
    /// A on the left, B on the right
    #[arg(short = 'y', long, conflicts_with_all = ["unified", "stat"])]
    side_by_side: bool,
    /// Lines that went and lines that came, one below the other
    #[arg(short, long, conflicts_with = "stat")]
    unified: bool,
    /// How many lines changed, as `diff --minimal` counts them, and in which items
    #[arg(long)]
    stat: bool,
    /// Lines to show around each change
    #[arg(short = 'U', long, value_name = "N", default_value_t = 3)]
    context: usize,
    /// Show all lines, changed or not
    #[arg(long, conflicts_with = "context")]
    whole: bool,
    /// Columns to fill, in place of the terminal's
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(40..))]
    width: Option<u16>,
    /// When to use colour
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Color::Auto)]
    color: Color,
    /// Do not page what is longer than the screen
    #[arg(long)]
    no_pager: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Color {
    /// On a terminal; `NO_COLOR` and `CLICOLOR_FORCE` are heeded
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
    $PAGER is the pager, or else `less`; an empty one is none.";

/// From here on there is room for two stages' lines beside each other.
const WIDE: usize = 160;

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
            let pair = partner(name)?;
            let old = Side::find(root.as_deref(), pair.from)?;
            let said = format!("{name} is compared with {}, which it was made from.\n", pair.from);
            said + &compare(args, &screen, &old, &new)
        }
    };
    pager::show(&text, &screen, args.no_pager).context("writing to the terminal")?;
    Ok(ExitCode::SUCCESS)
}

/// Shows how one text becomes another, below a sentence; both come with their names.
pub fn show_texts(said: &str, old: (String, String), new: (String, String)) -> Result<ExitCode> {
    let side = |(shown, text)| Side { shown, text };
    let (old, new) = (side(old), side(new));
    let screen = Screen::new(anstream::ColorChoice::Auto, None);
    let lines = Comparison::new(&old.text, &new.text);
    let text = format!(
        "{said}.\n\n{}",
        unified::render([&old, &new], &lines, 3, &screen, columns(&screen))
    );
    pager::show(&text, &screen, false).context("writing to the terminal")?;
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
    } else if args.side_by_side || (!args.unified && screen.is_terminal && screen.width >= WIDE) {
        beside::render([old, new], &lines, context, screen)
    } else {
        // What was asked for by its name is what patch(1) reads.
        let columns = columns(screen).filter(|_| !args.unified);
        unified::render([old, new], &lines, context, screen, columns)
    }
}

/// How wide the lines may be that a reader sees.
fn columns(screen: &Screen) -> Option<usize> {
    screen.is_terminal.then_some(screen.width)
}

/// The pair whose second half is the stage of that name.
fn partner(name: &str) -> Result<&'static Pair> {
    if let Some(pair) = PAIRS.iter().find(|pair| pair.to == name) {
        return Ok(pair);
    }
    match PAIRS.iter().find(|pair| pair.from == name) {
        Some(Pair { from, to, .. }) => {
            bail!(
                "{from} is the first: nothing comes before it. Try: cargo tincan diff {from} {to}"
            )
        }
        None => bail!(
            "what is `{name}` to be compared with? Name two, for example: cargo tincan diff echo-uni {name}"
        ),
    }
}

/// The pairs worth comparing: what changes, how much of it, and what to type.
fn list(screen: &Screen) -> Result<String> {
    let Some(root) = sides::workspace() else {
        bail!("the stages are not here: run this in the workspace, or name two files");
    };
    let paint = &screen.palette;
    let mut out = String::from("Pairs worth comparing:\n");
    for pair in PAIRS {
        let (Some(old), Some(new)) = (Side::stage(&root, pair.from)?, Side::stage(&root, pair.to)?)
        else {
            continue; // a variation that is not there
        };
        let lines = Comparison::new(&old.text, &new.text);
        let heading = format!("{} → {}", pair.from, pair.to);
        let heading = format!("{heading:<28}");
        let added = format!("+{}", lines.added());
        let removed = format!("-{}", lines.removed());
        let _ = writeln!(
            out,
            "\n{b}{heading}{b:#} {a}{added:>5}{a:#} {r}{removed:>5}{r:#}\n  {}\n  cargo tincan diff {} {}",
            pair.what,
            pair.from,
            pair.to,
            b = paint.heading,
            a = paint.added,
            r = paint.removed,
        );
    }
    out.push_str(
        "\nA file of your own can stand for either: cargo tincan diff chat-threads FILE\n",
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
