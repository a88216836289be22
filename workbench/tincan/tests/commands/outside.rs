//! Tests the program as it is used without a clone: a copy in a folder of its own, with an environment from which
//! almost everything is removed. On Linux, if this user may mount a file system, the folder of the source is empty for
//! the program.
#![cfg(unix)]

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::{env, fs};

use check::mutants;
use tempfile::TempDir;

use crate::harness::{stderr, stdout};

struct Outside {
    folder: TempDir,
    is_source_hidden: bool,
}

/// Mounts an empty file system over the folder `$0`, and runs the command that follows.
const HIDE: &str = r#"mount -t tmpfs none "$0" && exec "$@""#;

impl Outside {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Not by this process, in which another thread may start a child: see ETXTBSY in execve(2).
        let mut copy = Command::new("cp");
        copy.arg(env!("CARGO_BIN_EXE_tincan")).arg(folder.path().join("tincan"));
        assert!(copy.status().unwrap().success());
        let mut outside = Self { folder, is_source_hidden: true };
        let test = ["test", "!", "-e", env!("CARGO_MANIFEST_DIR")];
        outside.is_source_hidden =
            cfg!(target_os = "linux") && outside.command(&test).is_ok_and(|it| it.status.success());
        outside
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn command(&self, words: &[&str]) -> std::io::Result<Output> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
        let (hide, words) = if self.is_source_hidden {
            (["unshare", "--map-root-user", "--mount", "sh", "-c", HIDE], words)
        } else {
            (["env", "-u", "CARGO", "sh", "-c", r#"exec "$@""#], words)
        };
        let mut command = Command::new(hide[0]);
        command.args(&hide[1..]).arg(root).args(words).current_dir(self.path());
        command.stdin(Stdio::null()).env_clear();
        for name in ["PATH", "HOME"] {
            command.env(name, env::var_os(name).unwrap_or_default());
        }
        command.output()
    }

    fn tincan(&self, args: &[&str]) -> Output {
        self.command(&[&["./tincan"], args].concat()).unwrap()
    }
}

#[test]
fn a_learner_does_an_exercise_and_checks_a_server() {
    let outside = Outside::new();
    let has_tool = |file: &str| mutants::tool(Path::new(file)).is_some_and(mutants::is_installed);
    let all = mutants::all().unwrap();
    let mutant = all.iter().find(|it| has_tool(&it.right) && it.fails == "frame-bytewise").unwrap();
    let place = [mutant.id.as_str(), "mine"];
    let exercise = |subcommand| outside.tincan(&[&["exercise", subcommand], &place[..]].concat());

    let list = stdout(&outside.tincan(&["exercise", "list"]));
    assert!(list.contains("./tincan exercise start "), "{list}");
    let started = exercise("start");
    assert!(started.status.success(), "{}", stderr(&started));
    let started = stdout(&started);
    assert!(started.contains("./tincan exercise check "), "{started}");
    assert!(started.contains("./tincan exercise solution "), "{started}");
    let failed = exercise("check");
    assert_eq!(failed.status.code(), Some(1), "{}", stderr(&failed));
    let failed = stdout(&failed);
    let solution = stdout(&outside.tincan(&["exercise", "solution", place[0]]));
    assert!(solution.contains("\n+"), "{solution}");
    for text in [&list, &started, &failed, &solution] {
        assert!(!text.contains("cargo"), "{text}");
    }

    // The text of the failure contains a command that prints what to read, and one that runs the check again.
    let command = |label: &str| {
        let line = failed.lines().find_map(|line| line.trim_start().strip_prefix(label)).unwrap();
        shlex::split(line).unwrap()
    };
    let run = |words: &[String]| {
        outside.command(&words.iter().map(String::as_str).collect::<Vec<_>>()).unwrap()
    };
    let read = command("read  ");
    let part = stdout(&run(&read));
    assert_eq!(part.lines().next(), Some(format!("## {}", read[3]).as_str()));
    assert_eq!(run(&command("again  ")).status.code(), Some(1));

    let file = outside.path().join("mine").join(mutant.file_name());
    fs::write(file, mutant.right_source().unwrap()).unwrap();
    for passed in [exercise("check"), run(&command("again  "))] {
        let text = stdout(&passed) + &stderr(&passed);
        assert_eq!(passed.status.code(), Some(0), "{text}");
        assert!(!text.contains("cargo"), "{text}");
    }
}

#[test]
fn a_command_that_needs_a_clone_says_so_in_one_line() {
    let outside = Outside::new();
    let commands: [&[&str]; 4] = [
        &["tour", "--yes"],
        &["lab", "--quick", "idle", "--no-peers"],
        &["diff"],
        &["diff", "echo-uni", "echo-multi"],
    ];
    for args in commands {
        // Without the empty file system, `diff` finds the stages in the clone.
        if outside.is_source_hidden || args[0] != "diff" {
            let output = outside.tincan(args);
            let text = stderr(&output);
            assert!(matches!(output.status.code(), Some(1..=3)), "{args:?}: {text}");
            assert!(text.starts_with("tincan: ") && text.lines().count() == 1, "{args:?}: {text}");
            assert!(text.contains("clone of "), "{args:?}: {text}");
        }
    }
}

#[test]
fn examples_begin_as_the_program_was_called() {
    let outside = Outside::new();
    let help = stdout(&outside.tincan(&["--help"]));
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let commands = commands.lines().map_while(|line| line.split_whitespace().next());
    let mut count = 0;
    for command in commands {
        let text = stdout(&outside.tincan(&[command, "--help"]));
        assert!(!text.contains("cargo tincan"), "{text}");
        assert!(command == "help" || text.contains(&format!("  ./tincan {command}")), "{text}");
        count += 1;
    }
    assert!(count > 7 && help.contains("  ./tincan check echo-uni"), "{help}");
}

#[test]
fn each_page_of_the_book_can_be_read() {
    let outside = Outside::new();
    let pages = stdout(&outside.tincan(&["read"]));
    let mut names = Vec::new();
    for line in pages.lines() {
        let name = line.split_whitespace().next().unwrap();
        let text = stdout(&outside.tincan(&["read", name]));
        assert!(text.starts_with("# ") && !text.contains("{{#"), "{text}");
        names.push(OsString::from(format!("{name}.md")));
    }
    let book = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src");
    let files = fs::read_dir(book).unwrap().map(|entry| entry.unwrap().file_name());
    let mut files: Vec<_> = files.filter(|file| file != OsStr::new("SUMMARY.md")).collect();
    files.sort();
    names.sort();
    assert_eq!(names, files);

    let unknown = outside.tincan(&["read", "protocol", "the end"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(stderr(&unknown).contains("\"The rest\""), "{}", stderr(&unknown));
    let unknown = outside.tincan(&["read", "the-end"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(stderr(&unknown).contains("the pages are introduction, "), "{}", stderr(&unknown));
}
