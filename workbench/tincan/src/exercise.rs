use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use check::TABLE;
use check::mutants::{self, Mutant};

use crate::check_command::called_as;
use crate::output::print;
use crate::{check_command, diff};

/// Find and correct the mistake in a server
#[derive(clap::Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Examples:\n  \
        cargo tincan exercise list\n  \
        cargo tincan exercise start half-a-message\n  \
        cargo tincan exercise check half-a-message\n  \
        cargo tincan exercise solution half-a-message\n  \
        cargo tincan exercise right chat_threads.py"
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// List the exercises, each with the check that its server fails
    List,
    /// Copy a server with a mistake into a folder of your own
    Start(Place),
    /// Run the check that the server fails
    Check {
        #[command(flatten)]
        place: Place,
        /// How much help: 0 none, 1 what is likely wrong, 2 also where to look, 3 also how to correct it
        #[arg(long, value_name = "N", default_value_t = 1)]
        #[arg(value_parser = clap::value_parser!(u8).range(0..=3))]
        hints: u8,
    },
    /// Show the correction, as a diff from the server with the mistake to the right server
    Solution {
        /// Name of the exercise, as `list` shows it
        id: String,
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
    id: String,
    /// Folder for your copy [default: exercises/ID in the current folder]
    folder: Option<PathBuf>,
}

impl Place {
    fn folder(&self) -> PathBuf {
        self.folder.clone().unwrap_or_else(|| Path::new("exercises").join(&self.id))
    }

    /// Returns the arguments that select this exercise and folder on the command line.
    fn words(&self) -> String {
        match &self.folder {
            Some(folder) => format!("{} {}", self.id, check_command::quoted(&[folder.into()])),
            None => self.id.clone(),
        }
    }
}

pub fn run(args: &Args) -> Result<ExitCode> {
    match &args.command {
        Command::List => list(),
        Command::Start(place) => start(place),
        Command::Check { place, hints } => check(place, *hints),
        Command::Solution { id } => solution(id),
        Command::Right { file } => right(file.as_deref()),
    }
}

fn list() -> Result<ExitCode> {
    let mut text = format!("{:<28} {:<11} {:<13} fails\n\n", "exercise", "language", "profile");
    let mutants = mutants::all()?;
    for check in TABLE.iter() {
        for mutant in mutants.iter().filter(|it| it.fails == check.id) {
            let Mutant { id, right, profile, .. } = mutant;
            let language = language(right);
            let _ = writeln!(text, "{id:<28} {language:<11} {:<13} {}", profile, check.title);
        }
    }
    let _ = writeln!(text, "\nStart one with `{} ID`.", called_as("exercise start"));
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
    let mutant = mutants::find(&place.id)?;
    let folder = place.folder();
    let file = folder.join(mutant.file_name());
    if file.exists() {
        bail!("{} already exists, and may contain your work", file.display());
    }
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    fs::write(&file, mutant.source()?).with_context(|| format!("writing {}", file.display()))?;
    let (shown, words) = (file.display(), place.words());
    let text = format!(
        "{shown} is a server with one mistake. Its profile is {}.\n\n\
         See it fail:        {} {words}\n\
         Correct the mistake in {shown}, and run the check again.\n\
         More help:          add --hints 2 or --hints 3\n\
         See the correction: {} {}\n",
        mutant.profile,
        called_as("exercise check"),
        called_as("exercise solution"),
        place.id
    );
    print(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn check(place: &Place, hints: u8) -> Result<ExitCode> {
    let mutant = mutants::find(&place.id)?;
    let file = place.folder().join(mutant.file_name());
    if !file.is_file() {
        let start = format!("{} {}", called_as("exercise start"), place.words());
        bail!("{} does not exist: begin with `{start}`", file.display());
    }
    if let Some(tool) = mutants::tool(&file).filter(|tool| !mutants::is_installed(tool)) {
        bail!("this exercise needs {tool}, which is not installed");
    }
    let command = mutants::command(&file)?;
    let (code, again) = check_command::check_one(mutant.profile, &mutant.fails, hints, command)?;
    if code == 0 {
        let text =
            format!("\nCorrected. The server passes the check now. To run all checks: {again}\n");
        print(text.as_bytes())?;
    }
    Ok(ExitCode::from(code))
}

fn solution(id: &str) -> Result<ExitCode> {
    let mutant = mutants::find(id)?;
    let right = format!("workbench/check/mutants/right/{}", mutant.right);
    let name = format!("{id}/{}", mutant.file_name());
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
