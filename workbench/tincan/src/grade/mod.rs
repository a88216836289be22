//! `tincan grade`: checks every submission in a folder, and shows the results in one table.
//!
//! | step | module |
//! |---|---|
//! | find the submissions; make the command of each | [`submissions`] |
//! | read the points for each check | [`weights`] |
//! | run the checks, several submissions at a time | [`runs`]; the child process of each: [`child`] |
//! | check whether a submission exceeds a limit | [`limits`] |
//! | measure and end its processes | [`processes`] |
//! | the results | [`outcome`] |
//! | the reports | [`text`], [`csv`], [`json`], [`junit`], [`html`] |

mod child;
mod csv;
mod html;
mod json;
mod junit;
mod limits;
mod outcome;
mod processes;
mod runs;
mod submissions;
mod text;
mod weights;

use std::ffi::OsString;
use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use check::{Check, Profile, Requirement, TABLE, TRIES};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};

pub use self::child::{ChildArgs, be_child};
use self::limits::Limits;
use self::outcome::{Ended, GradedSubmission, Grades, items};
use self::runs::{GradeEvent, Plan, grade_all};
use self::weights::Weights;
use crate::check_command::{id_or_theme, theme_id};
use crate::job::{HINTS, SEED};
use crate::output::print;
use crate::output_file;
use crate::signals::{self, Signal};
use crate::terminal;

/// The format of the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A table of the themes, and remarks on each submission
    #[default]
    Text,
    /// A row for each submission, and a column for each check
    Csv,
    /// One JSON object
    Json,
    /// `JUnit` XML
    #[value(help = "JUnit XML: a suite for each submission, and a case for each check")]
    Junit,
}

/// Check the servers of a whole class, and show the results in one table
///
/// Each folder in DIR is a submission. All checks of the profile run for each, as `tincan check` runs them. A
/// submission that hangs, or uses too much, is stopped; it keeps the points of the checks that it had passed until then.
///
/// Each check gives one point, or as many as the file of --weights says. The file has a line for each check or theme
/// with another weight: its name and a number. `#` begins a comment.
///
/// A submission runs as your user and can do what you can do: use a container for code that you do not trust.
///
/// Exit code: 0 if all submissions were graded, whatever their points are; 1 if the checks of a submission could not be
/// run, or a file could not be read or written; 2 if an option is wrong, or the file of --html cannot be used.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    cargo tincan grade chat --submissions class --cmd '{dir}/run.sh {port}'\n  \
    cargo tincan grade chat --submissions class --weights weights.txt \\\n      \
        --cmd 'python3 {dir}/server.py {port}' --html grades.html\n  \
    cargo tincan grade echo-uni --submissions class --only framing \\\n      \
        --cmd 'node {dir}/server.js {port}' --format csv >framing.csv")]
pub struct Args {
    /// What kind of server the submissions are
    profile: Profile,
    /// The folder with the submissions, each in a folder of its own
    #[arg(long, value_name = "DIR")]
    submissions: PathBuf,
    /// The command that starts the server of a submission
    ///
    /// It runs in the submission's folder, without a shell; {dir} is replaced by the path of this folder, {port} and
    /// {host} as in `tincan check`.
    #[arg(long, value_name = "CMD", value_parser = words)]
    cmd: Words,
    /// How many points a check gives: lines with the name of a check or theme, and a number
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Run only this check, or the checks of this theme; can be given several times
    #[arg(long, value_name = "ID", value_parser = id_or_theme)]
    only: Vec<String>,
    /// The format of the report on standard output
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Also write a page with the table and the text of each failure into this file; an earlier page is replaced
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    #[command(flatten)]
    limits: Limits,
    /// How many submissions to check at once [default: one more than the number of processors]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    jobs: Option<u16>,
    /// The seed for random choices of the checks: the same seed, the same choices
    #[arg(long, value_name = "N", default_value_t = SEED)]
    seed: u64,
    /// How much help with a failure: 0 none, 1 what is likely wrong, 2 where to look, 3 how to correct it
    #[arg(long, value_name = "N", default_value_t = HINTS, value_parser = clap::value_parser!(u8).range(0..=3))]
    hints: u8,
    /// How many seconds a check waits at least for an answer
    #[arg(long, value_name = "SECONDS", default_value_t = PATIENCE)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=600))]
    patience: u64,
    /// How many times to try a check that fails because an answer comes too late
    #[arg(long, value_name = "N", default_value_t = TRIES)]
    #[arg(value_parser = clap::value_parser!(u8).range(1..=10))]
    tries: u8,
}

/// Three times as long as `tincan check` waits: here, several servers run at once.
const PATIENCE: u64 = 10;

/// The words of a command.
#[derive(Clone, Debug)]
struct Words {
    typed: String,
    words: Vec<String>,
}

fn words(typed: &str) -> Result<Words, String> {
    Ok(Words { typed: typed.to_owned(), words: submissions::words(typed)? })
}

pub fn run(args: &Args) -> Result<ExitCode> {
    let weights = args.weights.as_deref().map(Weights::read).transpose()?.unwrap_or_default();
    let submissions = submissions::find(&args.submissions)?;
    let (checks, impossible) = checks(args);
    if checks.is_empty() {
        for note in &impossible {
            eprintln!("tincan: {note}");
        }
        if impossible.is_empty() {
            eprintln!("tincan: the profile {} asks for none of these checks", args.profile);
        }
        return Ok(ExitCode::from(2));
    }
    // A file that cannot be written is reported now: the checks take minutes. It is removed if nothing is written to it,
    // when `_page` is dropped.
    let prepare = |path: &Path| output_file::prepare(path, html::PAGE);
    let _page = match args.html.as_deref().map(prepare).transpose() {
        Ok(page) => page,
        Err(why) => {
            eprintln!("tincan: {why}");
            return Ok(ExitCode::from(2));
        }
    };
    signals::start_watchdog();
    let plan = plan(args, checks)?;
    let progress = progress(submissions.len());
    let on_event = |event: GradeEvent<'_>| match event {
        GradeEvent::Graded(submission) => {
            progress.inc(1);
            progress.set_message(submission.name.clone());
        }
        GradeEvent::BeginsAgain(submission) => {
            progress.set_message(format!("checking {} again", submission.name));
        }
    };
    let rows = grade_all(&submissions, &plan, &on_event);
    progress.finish_and_clear();
    // No submission runs any more: from now on, a signal ends this program at once.
    signals::end_servers_at_signals();
    if let Some(number) = plan.signals.ending().and_then(Signal::ending) {
        return Ok(ExitCode::from(signals::exit_code(number)));
    }
    let rows = rows?;
    let mut notes = impossible;
    if !cfg!(target_os = "linux") {
        notes.push("on this system, --memory and --processes have no effect".to_owned());
    }
    if !cfg!(unix) {
        notes.push("on this system, --output does not limit the length of files".to_owned());
    }
    let grades = Grades {
        profile: args.profile.to_string(),
        command: args.cmd.typed.clone(),
        items: items(plan.checks, &weights),
        rows,
        notes,
    };
    report(args, &grades)?;
    let has_failed = |row: &GradedSubmission| matches!(row.ended, Some(Ended::CheckerFailed(_)));
    Ok(if grades.rows.iter().any(has_failed) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Returns the checks that run, and notes on the checks that cannot run on this machine.
fn checks(args: &Args) -> (Vec<&'static Check>, Vec<String>) {
    let is_wanted = |check: &&Check| {
        let is_named = |it: &String| *it == check.id || *it == theme_id(check);
        check.requirement(args.profile) != Requirement::None
            && (args.only.is_empty() || args.only.iter().any(is_named))
    };
    let wanted = TABLE.iter().filter(is_wanted);
    let (possible, impossible): (Vec<_>, Vec<_>) = wanted.partition(|check| check.needs.met());
    let note =
        |check: &Check| format!("{} is left out: it needs {}", check.id, check.needs.description());
    (possible, impossible.into_iter().map(note).collect())
}

fn plan(args: &Args, checks: Vec<&'static Check>) -> Result<Plan> {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let mut options: Vec<OsString> = vec![args.profile.to_string().into()];
    options.extend(["--format", "lines"].map(OsString::from));
    for (name, number) in [
        ("--seed", args.seed),
        ("--hints", args.hints.into()),
        ("--patience", args.patience),
        ("--tries", args.tries.into()),
    ] {
        options.extend([name.into(), number.to_string().into()]);
    }
    Ok(Plan {
        limits: args.limits,
        // The checks of a submission that fails wait most of the time, so one more keeps the processors busy.
        jobs: args.jobs.map_or(processors + 1, usize::from),
        words: args.cmd.words.clone(),
        options,
        checks,
        signals: signals::note_signals().context("cannot handle signals")?,
    })
}

fn progress(submissions: usize) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let progress = ProgressBar::new(submissions as u64);
    if let Ok(style) = ProgressStyle::with_template("{pos} of {len} graded in {elapsed}: {msg}") {
        progress.set_style(style);
    }
    progress.enable_steady_tick(Duration::from_millis(500));
    progress
}

fn report(args: &Args, grades: &Grades) -> Result<()> {
    let text = match args.format {
        Format::Text => text::report(grades, terminal::columns().unwrap_or(80)).into_bytes(),
        Format::Csv => csv::as_csv(grades)?,
        Format::Json => format!("{:#}\n", json::as_json(grades)).into_bytes(),
        Format::Junit => junit::as_junit(grades)?.into_bytes(),
    };
    print(&text)?;
    if let Some(path) = &args.html {
        let writing = || format!("writing {}", path.display());
        fs::write(path, html::page(grades)).with_context(writing)?;
    }
    Ok(())
}
