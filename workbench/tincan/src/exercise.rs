use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use check::mutants::{self, Mutant};
use check::{Check, TABLE};

use crate::check_command::{self, Format, HINTS, Job, called_as, quoted};
use crate::diff;
use crate::output::print;
use crate::rerun::{self, Progress, ServerFiles};

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
        /// [default: 1; with --watch, 0]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=3))]
        hints: Option<u8>,
        /// Run the check again whenever you save the server, until it passes; a key shows the next hint
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
    fn folder(&self) -> PathBuf {
        self.folder.clone().unwrap_or_else(|| Path::new("exercises").join(&self.name))
    }

    /// Returns the arguments that select this exercise and folder on the command line.
    fn words(&self) -> String {
        match &self.folder {
            Some(folder) => format!("{} {}", self.name, quoted(&[folder.into()])),
            None => self.name.clone(),
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
        format!("  {:<26} {:<11} {:<13} what fails\n\n", "exercise", "language", "profile");
    let mut done = 0;
    for Exercise { name, check, mutant } in &exercises {
        let is_done = corrected.contains(&mutant.id);
        done += usize::from(is_done);
        let mark = if is_done { '✓' } else { ' ' };
        let what = if is_done { &mutant.title } else { check.title };
        let Mutant { right, profile, .. } = mutant;
        let _ = writeln!(text, "{mark} {name:<26} {:<11} {profile:<13} {what}", language(right));
    }
    let _ = writeln!(text, "\n{done} of {} corrected in this folder.", exercises.len());
    if let Some(next) = exercises.iter().find(|it| !corrected.contains(&it.mutant.id)) {
        let _ = writeln!(text, "Start the next: {} start {}", called_as("exercise"), next.name);
    }
    print(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
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
    let mutant = find(&place.name)?.mutant;
    let folder = place.folder();
    let file = folder.join(mutant.file_name());
    if file.exists() {
        bail!("{} already exists, and may contain your work", file.display());
    }
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    fs::write(&file, mutant.source()?).with_context(|| format!("writing {}", file.display()))?;
    let (shown, words, exercise) = (file.display(), place.words(), called_as("exercise"));
    let text = format!(
        "{shown} is a server with one mistake. Its profile is {}.\n\n\
         See it fail:        {exercise} check {words} --watch\n\
         Correct the mistake in {shown}, and save: the check runs again.\n\
         More help:          press h\n\
         See the correction: {exercise} solution {}\n",
        mutant.profile, place.name
    );
    print(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn check(place: &Place, hints: Option<u8>, watch: bool) -> Result<ExitCode> {
    let Exercise { name, check, mutant } = find(&place.name)?;
    let file = place.folder().join(mutant.file_name());
    if !file.is_file() {
        let start = format!("{} start {}", called_as("exercise"), place.words());
        bail!("{} does not exist: begin with `{start}`", file.display());
    }
    if let Some(tool) = mutants::tool(&file).filter(|tool| !mutants::is_installed(tool)) {
        bail!("this exercise needs {tool}, which is not installed");
    }
    let hints = hints.unwrap_or(if watch { 0 } else { HINTS });
    let job = || -> Result<Job> {
        let command = mutants::command(&file)?;
        Ok(Job::of_one_check(mutant.profile, check.id, hints, command))
    };
    if watch {
        let files = ServerFiles::of_command(&[file.clone().into_os_string()])?;
        rerun::check_at_each_save(&format!("exercise {name}"), files, true, || {
            let job = job()?;
            Ok(Job { tries: 1, ..job })
        })?;
    } else {
        let code = check_command::check(job()?, Format::Text)?;
        if code != 0 {
            return Ok(ExitCode::from(code));
        }
    }
    let mut progress = Progress::load()?;
    progress.corrected.insert(mutant.id.clone());
    progress.save();
    let command = quoted(&mutants::command(&file)?);
    let text = format!(
        "\nCorrected. The mistake was: {}.\nTo run all checks: {} {} -- {command}\n",
        mutant.title,
        called_as("check"),
        mutant.profile
    );
    print(text.as_bytes())?;
    let exercises = exercises()?;
    if let Some(next) = exercises.iter().find(|it| !progress.corrected.contains(&it.mutant.id)) {
        print(
            format!("The next exercise: {} start {}\n", called_as("exercise"), next.name)
                .as_bytes(),
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

fn solution(name: &str) -> Result<ExitCode> {
    let mutant = find(name)?.mutant;
    let right = format!("workbench/check/mutants/right/{}", mutant.right);
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
