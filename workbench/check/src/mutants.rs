//! Servers that test the checks: right servers in several languages, and mutants, which have one mistake each.
//!
//! A mutant is stored as a change to a right server, so that it has no other mistake: the file
//! `mutants/ID.diff` has a few lines about the mutant and a unified diff. All of these files are compiled into the
//! program, so that `tincan exercise` works outside a clone.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::Profile;
use crate::protocols::OTHER_PROTOCOLS;

/// The files `mutants/*.diff`, each with its name and its contents. The build script writes this list and the next one.
const DIFFS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/diffs.rs"));

/// The files in `mutants/right/`, each with its name and its contents.
const RIGHT: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/right.rs"));

/// The right servers in `mutants/right/` that exchange tin-can messages, each with its profile.
const TIN_CANS: &[(&str, Profile)] = &[
    ("echo_uni.py", Profile::EchoUni),
    ("echo_multi.py", Profile::EchoMulti),
    ("echo_multi.pl", Profile::EchoMulti),
    ("chat_threads.py", Profile::ChatThreads),
    ("chat_loop.py", Profile::ChatPoll),
    ("chat_loop.c", Profile::ChatPoll),
    ("chat.js", Profile::ChatPoll),
    ("Chat.java", Profile::ChatPoll),
    ("chat.rs", Profile::ChatThreads),
];

/// Returns the file names of the right servers in `mutants/right/`, each with its profile.
pub fn right_servers() -> impl Iterator<Item = (&'static str, Profile)> {
    let others = OTHER_PROTOCOLS.iter().flat_map(|protocol| {
        protocol.right_servers.iter().map(|file| (*file, Profile::Other(protocol)))
    });
    TIN_CANS.iter().copied().chain(others)
}

/// Returns the source of a right server.
///
/// # Errors
///
/// Returns an error if no right server has this file name.
pub fn right_source(file: &str) -> Result<&'static str> {
    let found = RIGHT.iter().find(|(name, _)| *name == file);
    found
        .map(|(_, text)| *text)
        .with_context(|| format!("there is no server `{file}`; `tincan exercise right` lists all"))
}

/// A server with one mistake.
#[derive(Clone, Debug)]
pub struct Mutant {
    /// The name of the mutant, which describes the mistake.
    pub id: String,
    /// The mistake in a sentence.
    pub title: String,
    /// The profile that the mutant is checked against.
    pub profile: Profile,
    /// The id of the only check that the mutant fails.
    pub fails: String,
    /// The file name of the right server that the diff changes.
    pub right: String,
    patch: String,
}

/// Returns all mutants, sorted by name.
///
/// # Errors
///
/// Returns an error if a mutant has no header lines or no diff.
pub fn all() -> Result<Vec<Mutant>> {
    let parse = |(file, text): &(&str, &str)| {
        Mutant::parse(file, text).with_context(|| format!("reading the mutant {file}"))
    };
    let mut mutants: Vec<_> = DIFFS.iter().map(parse).collect::<Result<_>>()?;
    mutants.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(mutants)
}

impl Mutant {
    fn parse(file: &str, text: &str) -> Result<Self> {
        let (head, diff) =
            text.split_once("\n\n").context("there are no header lines above the diff")?;
        let field = |name: &str| {
            let value = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            value
                .map(str::to_owned)
                .with_context(|| format!("there is no line `{name}: …` above the diff"))
        };
        let right = field("server")?;
        Ok(Self {
            id: file.trim_end_matches(".diff").to_owned(),
            title: field("title")?,
            profile: Profile::named(&field("profile")?)?,
            fails: field("fails")?,
            right: right.strip_prefix("right/").context("the server is not in right/")?.to_owned(),
            patch: diff.to_owned(),
        })
    }

    /// Returns the source of the right server.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no such server.
    pub fn right_source(&self) -> Result<String> {
        right_source(&self.right).map(str::to_owned)
    }

    /// Returns the source of the server with its mistake.
    ///
    /// # Errors
    ///
    /// Returns an error if the diff does not fit the right server.
    pub fn source(&self) -> Result<String> {
        let patch = diffy::Patch::from_str(&self.patch).context("the diff cannot be parsed")?;
        Ok(diffy::apply(right_source(&self.right)?, &patch)?)
    }

    /// Returns the file name for a copy of the server: the name of a Java file is that of its class.
    #[must_use]
    pub fn file_name(&self) -> String {
        match Path::new(&self.right).extension().and_then(|it| it.to_str()) {
            Some(extension) if extension != "java" => format!("server.{extension}"),
            _ => self.right.clone(),
        }
    }
}

/// A programming language of servers.
struct Language {
    /// The extension of a source file.
    extension: &'static str,
    /// The program that compiles or interprets a source file.
    tool: &'static str,
    /// How a server in this language is started.
    start: Start,
}

enum Start {
    /// The tool runs the source.
    Interpreted,
    /// The tool compiles the source, with these options, to a program.
    Compiled(&'static [&'static str]),
    /// The tool compiles the source to a class, which `java` runs.
    JavaClass,
}

const LANGUAGES: &[Language] = &[
    Language { extension: "py", tool: "python3", start: Start::Interpreted },
    Language { extension: "js", tool: "node", start: Start::Interpreted },
    Language { extension: "java", tool: "javac", start: Start::JavaClass },
    Language { extension: "pl", tool: "perl", start: Start::Interpreted },
    Language { extension: "c", tool: "cc", start: Start::Compiled(&["-O2"]) },
    Language { extension: "rs", tool: "rustc", start: Start::Compiled(&["-O", "--edition=2024"]) },
];

fn language(source: &Path) -> Option<&'static Language> {
    let extension = source.extension()?;
    LANGUAGES.iter().find(|language| extension == language.extension)
}

/// Returns the program that compiles or interprets a server's source.
#[must_use]
pub fn tool(source: &Path) -> Option<&'static str> {
    language(source).map(|language| language.tool)
}

/// Reports whether a program is installed.
#[must_use]
pub fn is_installed(tool: &str) -> bool {
    let mut command = Command::new(tool);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // On some systems, a program of this name exists that only says how to install the tool, and fails.
    command.status().is_ok_and(|status| status.success())
}

/// Compiles a server's source if its language needs that, and returns the command that runs it on `{port}`.
///
/// # Errors
///
/// Returns an error if the language is unknown, or the source does not compile.
pub fn command(source: &Path) -> Result<Vec<OsString>> {
    let command = run_command(source)?;
    match language(source) {
        Some(Language { tool, start: Start::Compiled(options), .. }) => {
            compile(Command::new(tool).args(*options).arg("-o").arg(&command[0]), source)?;
        }
        Some(Language { tool, start: Start::JavaClass, .. }) => {
            let folder = source.parent().unwrap_or(Path::new("."));
            compile(Command::new(tool).arg("-d").arg(folder), source)?;
        }
        Some(Language { start: Start::Interpreted, .. }) | None => {}
    }
    Ok(command)
}

/// Returns the command that runs a server's source on `{port}`, without compiling the source.
///
/// # Errors
///
/// Returns an error if the language is unknown.
pub fn run_command(source: &Path) -> Result<Vec<OsString>> {
    let Some(Language { tool, start, .. }) = language(source) else {
        bail!("the language of {} is unknown", source.display());
    };
    let mut words: Vec<OsString> = match start {
        Start::Interpreted => vec![tool.into(), source.into()],
        Start::Compiled(_) => vec![source.with_extension(env::consts::EXE_EXTENSION).into()],
        Start::JavaClass => {
            let folder = source.parent().unwrap_or(Path::new("."));
            let class = source.file_stem().unwrap_or_default();
            vec!["java".into(), "-cp".into(), folder.into(), class.into()]
        }
    };
    words.push("{port}".into());
    Ok(words)
}

fn compile(compiler: &mut Command, source: &Path) -> Result<()> {
    let done = compiler.arg(source).output().context("running the compiler")?;
    if !done.status.success() {
        bail!("the compiler failed:\n{}", String::from_utf8_lossy(&done.stderr));
    }
    Ok(())
}
