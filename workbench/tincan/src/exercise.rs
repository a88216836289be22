use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use check::mutants::{self, Mutant};
use check::{Check, TABLE};
use watch::wrap;

use crate::check_command::{self, Format};
use crate::command_line::{called_as, quoted};
use crate::diff;
use crate::job::{Job, default_hints};
use crate::output::print;
use crate::progress::Progress;
use crate::rerun::{self, ServerFiles, Until};

/// The longest line, in columns, if it has no path in it.
const MAX_COLUMNS: usize = 80;

/// Find and correct the mistake in a server
#[derive(clap::Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Examples:\n  \
        cargo tincan exercise list\n  \
        cargo tincan exercise start frame-bytewise\n  \
        cargo tincan exercise check frame-bytewise --watch\n  \
        cargo tincan exercise solution frame-bytewise\n  \
        cargo tincan exercise right chat_threads.py"
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// List the exercises, each with the check that its server fails; ✓ marks those that you have done here
    List,
    /// Copy a server with a mistake into a folder of your own
    Start(Place),
    /// Run the check that the server fails
    Check {
        #[command(flatten)]
        place: Place,
        /// How much help: 0 none, 1 what is likely wrong, 2 also where to look, 3 also how to correct it
        /// [default: 1; with --watch in a terminal, 0]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=3))]
        hints: Option<u8>,
        /// Run the check again whenever you save the server, until it passes; a key shows the next hint
        ///
        /// q ends the program with the exit code of the last run, or 1 while the check runs.
        #[arg(long)]
        watch: bool,
    },
    /// Show the correction, as a diff from the server with the mistake to the right server
    Solution {
        /// Name of the exercise, as `list` shows it
        name: String,
    },
    /// Print a server without mistakes, to read it
    Right {
        /// File name of the server; without it, the servers are listed
        file: Option<String>,
    },
}

#[derive(clap::Args)]
struct Place {
    /// Name of the exercise, as `list` shows it
    name: String,
    /// Folder for your copy [default: exercises/NAME in the current folder]
    folder: Option<PathBuf>,
}

impl Place {
    /// Returns the file with the copy of the server.
    fn file(&self, exercise: &Exercise) -> PathBuf {
        let default = || Path::new("exercises").join(&exercise.name);
        let folder = self.folder.clone().unwrap_or_else(default);
        folder.join(exercise.mutant.file_name())
    }

    /// Returns the arguments that select this exercise and folder on the command line. They do not contain the name of
    /// the mutant, even if it was typed.
    fn words(&self, exercise: &Exercise) -> String {
        match &self.folder {
            Some(folder) => format!("{} {}", exercise.name, quoted(&[folder.into()])),
            None => exercise.name.clone(),
        }
    }
}

pub fn run(args: &Args) -> Result<ExitCode> {
    match &args.command {
        Command::List => list(),
        Command::Start(place) => start(place),
        Command::Check { place, hints, watch } => check(place, *hints, *watch),
        Command::Solution { name } => solution(name),
        Command::Right { file } => right(file.as_deref()),
    }
}

/// A server with a mistake, for a learner to correct.
struct Exercise {
    /// The check that the server fails, with a number if several servers fail it. The name of the mutant would give
    /// away the mistake.
    name: String,
    check: &'static Check,
    mutant: Mutant,
}

/// Returns all exercises, in the order of the table of checks.
fn exercises() -> Result<Vec<Exercise>> {
    let mut exercises = Vec::new();
    let mutants = mutants::all()?;
    for check in TABLE.iter() {
        for (i, mutant) in mutants.iter().filter(|it| it.fails == check.id).enumerate() {
            let number = if i == 0 { String::new() } else { format!("-{}", i + 1) };
            let name = format!("{}{number}", check.id);
            exercises.push(Exercise { name, check, mutant: mutant.clone() });
        }
    }
    Ok(exercises)
}

/// Returns the exercise with this name; the name of its mutant is accepted, too.
fn find(name: &str) -> Result<Exercise> {
    let found = exercises()?.into_iter().find(|it| it.name == name || it.mutant.id == name);
    found
        .with_context(|| format!("there is no exercise `{name}`; `tincan exercise list` shows all"))
}

fn list() -> Result<ExitCode> {
    let exercises = exercises()?;
    let corrected = Progress::load()?.corrected;
    let mut text =
        format!("  {:<23} {:<10} {:<12} what fails\n\n", "exercise", "language", "profile");
    let first_columns = 2 + 23 + 1 + 10 + 1 + 12 + 1;
    let mut done = 0;
    for Exercise { name, check, mutant } in &exercises {
        let is_done = corrected.contains(&mutant.id);
        done += usize::from(is_done);
        let mark = if is_done { '✓' } else { ' ' };
        let what = if is_done { &mutant.title } else { check.title };
        let what = wrap(what, MAX_COLUMNS - first_columns);
        let what = what.join(&format!("\n{:first_columns$}", ""));
        let language = language(&mutant.right);
        let profile = mutant.profile;
        let _ = writeln!(text, "{mark} {name:<23} {language:<10} {profile:<12} {what}");
    }
    let _ = writeln!(text, "\n{done} of {} exercises done in this folder.", exercises.len());
    text += &next_exercise(&exercises, &corrected);
    print(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Returns how to start the first exercise that is not done; nothing if all are done.
fn next_exercise(exercises: &[Exercise], corrected: &BTreeSet<String>) -> String {
    let next = exercises.iter().find(|exercise| !corrected.contains(&exercise.mutant.id));
    match next {
        Some(Exercise { name, .. }) => {
            format!("Next exercise: {name}\n  {} start {name}\n", called_as("exercise"))
        }
        None => String::new(),
    }
}

fn language(file: &str) -> &'static str {
    match Path::new(file).extension().and_then(|it| it.to_str()) {
        Some("py") => "Python",
        Some("js") => "JavaScript",
        Some("java") => "Java",
        Some("pl") => "Perl",
        Some("c") => "C",
        Some("rs") => "Rust",
        _ => "?",
    }
}

fn start(place: &Place) -> Result<ExitCode> {
    let exercise = find(&place.name)?;
    let mutant = &exercise.mutant;
    let file = place.file(&exercise);
    if file.exists() {
        let check = format!("{} check {} --watch", called_as("exercise"), place.words(&exercise));
        bail!("{} exists already, and may contain your work: go on with `{check}`", file.display());
    }
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    fs::write(&file, mutant.source()?).with_context(|| format!("writing {}", file.display()))?;
    let command = called_as("exercise");
    let hint = if cfg!(unix) { " For a hint, press h." } else { "" };
    let text = format!(
        "This is a server with one mistake. Its profile is {}.\n  {}\n\n\
         See it fail:\n  {command} check {} --watch\n\n\
         Correct the mistake and save: the check runs again.{hint}\n\n\
         See the correction:\n  {command} solution {}\n",
        mutant.profile,
        file.display(),
        place.words(&exercise),
        exercise.name
    );
    print(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn check(place: &Place, hints: Option<u8>, watch: bool) -> Result<ExitCode> {
    let exercise = find(&place.name)?;
    let mutant = &exercise.mutant;
    let file = place.file(&exercise);
    if !file.is_file() {
        let start = format!("{} start {}", called_as("exercise"), place.words(&exercise));
        bail!("{} does not exist: begin with `{start}`", file.display());
    }
    if let Some(tool) = mutants::tool(&file).filter(|tool| !mutants::is_installed(tool)) {
        bail!("this exercise needs {tool}, but `{tool} --version` fails: is it installed?");
    }
    let hints = hints.unwrap_or_else(|| default_hints(watch));
    let job = || -> Result<Job> {
        let command = mutants::command(&file)?;
        Ok(Job::for_one_check(mutant.profile, exercise.check.id, hints, command))
    };
    if watch {
        let files = ServerFiles::of_command(&[file.clone().into_os_string()])?;
        let name = format!("exercise {}", place.words(&exercise));
        rerun::check_at_each_save(&name, files, Until::Passed, job)?;
    } else {
        let code = check_command::check(job()?, Format::Text)?;
        if code != 0 {
            return Ok(ExitCode::from(code));
        }
    }
    // Stored before anything is printed: standard output may be closed.
    let stored = Progress::update(|progress| {
        progress.corrected.insert(mutant.id.clone());
    });
    let mistake = format!("Corrected. The mistake was: {}.", mutant.title);
    let text = format!(
        "\n{}\nTo run all checks:\n  {} {} -- {}\n",
        wrap(&mistake, MAX_COLUMNS).join("\n"),
        called_as("check"),
        mutant.profile,
        quoted(&mutants::run_command(&file)?)
    );
    print(text.as_bytes())?;
    match stored {
        Ok(progress) => print(next_exercise(&exercises()?, &progress.corrected).as_bytes())?,
        // The exercise is done, even if that cannot be stored.
        Err(err) => eprintln!("tincan: {err:#}"),
    }
    Ok(ExitCode::SUCCESS)
}

fn solution(name: &str) -> Result<ExitCode> {
    let Exercise { name, mutant, .. } = find(name)?;
    let right = format!("right/{}", mutant.right);
    let name = format!("{name}/{}", mutant.file_name());
    diff::show_texts(&mutant.title, (name, mutant.source()?), (right, mutant.right_source()?))
}

fn right(file: Option<&str>) -> Result<ExitCode> {
    let line = |(file, profile)| format!("{file:<20} {:<11} {profile}\n", language(file));
    let text = match file {
        Some(file) => mutants::right_source(file)?.to_owned(),
        None => mutants::right_servers().map(line).collect(),
    };
    print(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
