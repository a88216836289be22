//! Tests `tincan check --watch` and `tincan exercise check --watch` as a learner uses them, in a terminal and in a pipe.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use check::mutants::{self, Mutant};
use probe::report_skipped;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{stderr, stdout};
use crate::on_terminal::OnTerminal;

const SIZE: (u16, u16) = (24, 80);

/// A learner's folder with a server in Python, which takes each read for a message.
struct Folder {
    folder: TempDir,
    mutant: Mutant,
}

impl Folder {
    /// Returns `None` if Python is not installed.
    fn new() -> Option<Self> {
        if !mutants::is_installed("python3") {
            report_skipped("python3 is not installed").unwrap();
            return None;
        }
        let mutant = mutants::find("half-a-message").unwrap();
        let new = Self { folder: tempfile::tempdir().unwrap(), mutant };
        fs::write(new.server(), new.mutant.source().unwrap()).unwrap();
        Some(new)
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn server(&self) -> PathBuf {
        self.path().join("server.py")
    }

    /// Saves the server without its mistake.
    fn correct(&self) {
        fs::write(self.server(), self.mutant.right_source().unwrap()).unwrap();
    }

    fn watch(&self) -> OnTerminal {
        OnTerminal::start(self.path(), SIZE, &WATCH)
    }

    fn progress(&self) -> Value {
        let text = fs::read_to_string(self.path().join(".tincan-progress.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }
}

/// The check that the server fails, and the checks that it depends on.
const WATCH: [&str; 9] = [
    "check",
    "echo-multi",
    "--until",
    "frame-bytewise",
    "--watch",
    "--",
    "python3",
    "server.py",
    "{port}",
];

#[test]
fn the_checks_run_again_at_each_save_and_keys_show_hints() {
    let Some(folder) = Folder::new() else { return };
    let mut watch = folder.watch();
    let screen = watch.wait_for_text("Next: frame-bytewise");
    assert!(screen.contains("expected") && screen.contains("run 1"), "{screen}");
    assert!(screen.starts_with("frame-bytewise · framing · one byte at a time"), "{screen}");
    assert!(!screen.contains(" likely  "), "no hint before it is asked for:\n{screen}");
    for (hint, shown) in [("likely", "1 of 3"), ("look at", "2 of 3"), ("to fix", "3 of 3")] {
        watch.type_in("h");
        watch.wait_for(hint, |screen| {
            screen.contains(&format!(" {hint}  ")) && screen.contains(shown)
        });
    }
    watch.type_in("l");
    let screen = watch.wait_for_text("→ frame-bytewise");
    assert!(screen.contains("✓ frame-one"), "{screen}");
    folder.correct();
    let screen = watch.wait_for_text("All checks passed.");
    assert!(screen.contains("run 2"), "{screen}");
    watch.type_in("q");
    assert_eq!(watch.wait_for_end(), Some(0));
}

#[test]
fn the_progress_is_kept() {
    let Some(folder) = Folder::new() else { return };
    let mut watch = folder.watch();
    let passed = |screen: &str| {
        let line = screen.lines().find(|line| line.contains("checks passed"))?;
        line.split_whitespace().find_map(|word| word.parse::<usize>().ok())
    };
    let before = passed(&watch.wait_for_text("Next: frame-bytewise"));
    watch.type_in("q");
    assert_eq!(watch.wait_for_end(), Some(1), "not all checks have passed");
    assert!(before > Some(0));
    let name = "check echo-multi -- python3 server.py {port}";
    assert_eq!(folder.progress()["servers"][name]["next"], "frame-bytewise");

    // Only the check that failed runs again, but the others are still counted.
    let watch = folder.watch();
    let screen = watch.wait_for_text("Next: frame-bytewise");
    assert!(screen.contains("run 1") && passed(&screen) == before, "{screen}");
}

#[test]
fn in_a_pipe_each_run_is_printed_and_a_signal_ends_it() {
    let Some(folder) = Folder::new() else { return };
    fs::write(folder.server(), "def\n").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_tincan"));
    command.args(WATCH).current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut wait_for = |wanted: &str| {
        let mut before = String::new();
        loop {
            let line = lines.next().unwrap_or_else(|| panic!("no {wanted:?} in {before}")).unwrap();
            assert!(!line.contains('\x1b'), "{line:?}");
            before += &line;
            before.push('\n');
            if line.contains(wanted) {
                return before;
            }
        }
    };
    let text = wait_for("Next: the server has to start");
    assert!(text.contains("SyntaxError"), "{text}");
    folder.correct();
    wait_for("All checks passed.");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn a_file_that_the_server_imports_counts_too() {
    let Some(folder) = Folder::new() else { return };
    fs::create_dir(folder.path().join("parts")).unwrap();
    fs::rename(folder.server(), folder.path().join("parts/server_part.py")).unwrap();
    let import = "import runpy\nrunpy.run_path('parts/server_part.py', run_name='__main__')\n";
    fs::write(folder.server(), import).unwrap();
    let watch = folder.watch();
    watch.wait_for_text("Next: frame-bytewise");
    let part = folder.path().join("parts/server_part.py");
    fs::write(part, folder.mutant.right_source().unwrap()).unwrap();
    watch.wait_for_text("All checks passed.");
}

#[test]
fn an_exercise_ends_when_it_passes_and_the_list_shows_it() {
    let Some(folder) = Folder::new() else { return };
    let exercise = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tincan"));
        let output =
            command.arg("exercise").args(args).current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output)
    };
    // The list must not give away the mistake.
    let list = exercise(&["list"]);
    assert!(!list.contains(&folder.mutant.id) && !list.contains(&folder.mutant.title), "{list}");
    let line = |list: &str| {
        let mut lines = list.lines().filter(|line| line.contains(" frame-bytewise"));
        lines.find(|line| line.contains("Python")).unwrap().to_owned()
    };
    let name = line(&list).split_whitespace().next().unwrap().to_owned();
    exercise(&["start", &name]);
    let file = folder.path().join("exercises").join(&name).join("server.py");
    let mut mutants = mutants::all().unwrap().into_iter();
    let source = fs::read_to_string(&file).unwrap();
    let mutant = mutants.find(|it| it.source().unwrap() == source).unwrap();

    let args = ["exercise", "check", &name, "--watch"];
    let mut watch = OnTerminal::start(folder.path(), SIZE, &args);
    watch.wait_for_text("Next: frame-bytewise");
    fs::write(&file, mutant.right_source().unwrap()).unwrap();
    watch.wait_for_text("Corrected. The mistake was: ");
    assert_eq!(watch.wait_for_end(), Some(0));
    let list = exercise(&["list"]);
    assert!(line(&list).starts_with("✓ ") && list.contains(&mutant.title), "{list}");
    assert!(list.contains("\n1 of "), "{list}");
}

#[test]
fn without_a_file_to_look_at_it_is_a_usage_error() {
    let folder = tempfile::tempdir().unwrap();
    for args in [
        &["check", "echo-multi", "--watch", "--", "python3", "-c", "pass"][..],
        &["check", "echo-multi", "--watch", "--addr", "127.0.0.1:1"],
        &["check", "echo-multi", "--watch", "--format", "json", "--", "python3", "server.py"],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tincan"));
        let output = command.args(args).current_dir(folder.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains("--watch"), "{}", stderr(&output));
    }
}
