//! Tests the program as it is used without a clone: a copy in a folder of its own, with an environment from which
//! almost everything is removed. On Linux, if this user may mount a file system, the program sees an empty folder in
//! place of the source.
#![cfg(unix)]

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
const HIDE_SOURCE: &str = r#"mount -t tmpfs none "$0" && exec "$@""#;

/// Returns the folder of the source.
fn source() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap()
}

/// Returns a command that runs these words while the program sees an empty folder in place of the source.
fn with_hidden_source(words: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", HIDE_SOURCE]);
    command.arg(source()).args(words);
    command
}

/// Reports whether this user may hide the source.
fn can_hide_source() -> bool {
    let is_hidden = || {
        let mut command = with_hidden_source(&["test", "!", "-e", env!("CARGO_MANIFEST_DIR")]);
        command.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    cfg!(target_os = "linux") && is_hidden()
}

impl Outside {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // `cp` writes the copy: if this process wrote it while another thread starts a child, the child would keep the
        // file open for writing, and execve(2) would fail with ETXTBSY.
        let mut copy = Command::new("cp");
        copy.arg(env!("CARGO_BIN_EXE_tincan")).arg(folder.path().join("tincan"));
        assert!(copy.status().unwrap().success());
        Self { folder, is_source_hidden: can_hide_source() }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = if self.is_source_hidden {
            with_hidden_source(words)
        } else {
            let mut command = Command::new(words[0]);
            command.args(&words[1..]);
            command
        };
        command.current_dir(self.path()).stdin(Stdio::null()).env_clear();
        for name in ["PATH", "HOME"] {
            command.env(name, env::var_os(name).unwrap_or_default());
        }
        command.output().unwrap()
    }

    fn tincan(&self, args: &[&str]) -> Output {
        self.run(&[&["./tincan"], args].concat())
    }
}

#[test]
fn an_exercise_works_from_its_start_to_its_correction() {
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

    // The text of the failure says where the release has the page of the book, and how to run the check again.
    assert!(failed.contains("  book/protocol.html, \""), "{failed}");
    let again = failed.lines().find_map(|line| line.trim_start().strip_prefix("again  ")).unwrap();
    let again = shlex::split(again).unwrap();
    let run_again = || outside.run(&again.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(run_again().status.code(), Some(1));

    let file = outside.path().join("mine").join(mutant.file_name());
    fs::write(file, mutant.right_source().unwrap()).unwrap();
    for passed in [exercise("check"), run_again()] {
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
        &["lab", "--quick", "--as-built", "idle", "--no-peers"],
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
    assert!(count > 6 && help.contains("  ./tincan check echo-uni"), "{help}");
}
