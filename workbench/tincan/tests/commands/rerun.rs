//! Tests `tincan check --watch` and `tincan exercise check --watch` as a learner uses them, in a terminal and a pipe.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use check::mutants::{self, Mutant};
use probe::report_skipped;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{stderr, stdout, wait_until};
use crate::on_terminal::OnTerminal;

const SIZE: (u16, u16) = (24, 80);

/// Far longer than a run takes.
const DEADLINE: Duration = Duration::from_mins(1);

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
        let all = mutants::all().unwrap();
        let mutant = all.into_iter().find(|it| it.id == "half-a-message").unwrap();
        let new = Self { folder: tempfile::tempdir().unwrap(), mutant };
        new.make_wrong();
        Some(new)
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn server(&self) -> PathBuf {
        self.path().join("server.py")
    }

    /// A file that the server runs, after [`move_into_part`](Self::move_into_part).
    fn part(&self) -> PathBuf {
        self.path().join("parts/server_part.py")
    }

    /// Saves the server with its mistake.
    fn make_wrong(&self) {
        fs::write(self.server(), self.mutant.source().unwrap()).unwrap();
    }

    /// Saves the server without its mistake.
    fn correct(&self) {
        fs::write(self.server(), self.mutant.right_source().unwrap()).unwrap();
    }

    /// Saves a server that cannot start.
    fn break_server(&self) {
        fs::write(self.server(), "def\n").unwrap();
    }

    /// Moves the server into another file, which the server runs after these lines.
    fn move_into_part(&self, lines: &str) {
        fs::create_dir(self.path().join("parts")).unwrap();
        fs::rename(self.server(), self.part()).unwrap();
        let run = "import runpy\nrunpy.run_path('parts/server_part.py', run_name='__main__')\n";
        fs::write(self.server(), format!("{lines}{run}")).unwrap();
    }

    /// Makes the server wait, whenever it is started, until [`let_start`](Self::let_start) is called.
    fn make_wait(&self) {
        self.move_into_part(
            "import os, time\nprint('start', file=open('starts', 'a'))\n\
             while not os.path.exists('may-start'):\n    time.sleep(0.01)\n",
        );
    }

    /// Returns how often the server was started, after [`make_wait`](Self::make_wait).
    fn starts(&self) -> usize {
        fs::read_to_string(self.path().join("starts")).unwrap().lines().count()
    }

    fn let_start(&self) {
        fs::write(self.path().join("may-start"), "").unwrap();
    }

    fn watch(&self) -> OnTerminal {
        OnTerminal::start(self.path(), SIZE, &WATCH)
    }

    fn exercise(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tincan"));
        let output = command.arg("exercise").args(args).current_dir(self.path()).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        output
    }

    fn progress(&self) -> Value {
        let text = fs::read_to_string(self.path().join(".tincan-progress.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }
}

/// The check that the server fails, and the checks that it depends on.
const WATCH: [&str; 11] = [
    "check",
    "echo-multi",
    "--until",
    "frame-bytewise",
    "--watch",
    // Other tests run at the same time.
    "--patience",
    "20",
    "--",
    "python3",
    "server.py",
    "{port}",
];

/// The name of the server in the stored progress.
const NAME: &str = "check echo-multi --until frame-bytewise -- python3 server.py {port}";

/// Shows the list of the checks and the report again. The keys that were typed before had their effect then. Returns
/// the screen.
fn show_list_and_report(watch: &mut OnTerminal) -> String {
    watch.type_in("l");
    watch.wait_for_text("→ frame-bytewise");
    watch.type_in("l");
    watch.wait_for("report", |screen| {
        screen.contains("expected") && screen.contains("q: quit") && !screen.contains("→ frame")
    })
}

#[test]
fn a_save_runs_the_checks_again_and_each_h_shows_one_more_hint() {
    let Some(folder) = Folder::new() else { return };
    let mut watch = folder.watch();
    let screen = watch.wait_for_text("q: quit");
    assert!(screen.contains("Next: frame-bytewise"), "{screen}");
    assert!(screen.contains("expected") && screen.contains("run 1"), "{screen}");
    assert!(screen.starts_with("frame-bytewise · framing · one byte at a time"), "{screen}");
    assert!(!screen.contains(" likely  "), "no hint before it is asked for:\n{screen}");
    for (hint, number) in [("likely", 1), ("look at", 2), ("to fix", 3)] {
        watch.type_in("h");
        watch.wait_for(hint, |screen| {
            let offer = format!("h: next hint ({number} of 3)");
            // After the last hint, the key is not offered any more.
            let is_offered = screen.contains(&offer) == (number < 3);
            screen.contains(&format!(" {hint}  ")) && screen.contains("q: quit") && is_offered
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
fn the_next_start_of_the_program_counts_the_checks_that_have_passed() {
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
    assert_eq!(folder.progress()["servers"][NAME]["next"], "frame-bytewise");

    // No check runs now, so the number can only be the stored one.
    folder.break_server();
    let watch = folder.watch();
    let screen = watch.wait_for_text("Next: make the server start");
    assert_eq!(passed(&screen), before, "{screen}");
}

#[test]
fn an_exercise_in_another_terminal_does_not_lose_its_mark() {
    let Some(folder) = Folder::new() else { return };
    let mut watch = folder.watch();
    watch.wait_for_text("Next: frame-bytewise");
    // In a folder that is not watched.
    let copy = tempfile::tempdir().unwrap();
    let place = ["half-a-message", copy.path().to_str().unwrap()];
    folder.exercise(&["start", place[0], place[1]]);
    fs::write(copy.path().join("server.py"), folder.mutant.right_source().unwrap()).unwrap();
    folder.exercise(&["check", place[0], place[1]]);
    watch.type_in("r");
    watch.wait_for_text("run 2");
    let progress = folder.progress();
    assert_eq!(progress["corrected"][0], "half-a-message");
    assert_eq!(progress["servers"][NAME]["next"], "frame-bytewise");
}

#[test]
fn arrow_keys_and_home_change_nothing() {
    let Some(folder) = Folder::new() else { return };
    let mut watch = folder.watch();
    let before = watch.wait_for_text("q: quit");
    // Up, Left, Home, and F2 on some terminals.
    watch.type_in("\x1b[A\x1b[D\x1b[H\x1bOQ");
    assert_eq!(show_list_and_report(&mut watch), before);
}

#[test]
fn a_key_that_is_typed_during_a_run_does_not_change_the_next_page() {
    let Some(folder) = Folder::new() else { return };
    folder.make_wait();
    let mut watch = folder.watch();
    watch.wait_for_text("starting the server");
    watch.type_in("h");
    folder.let_start();
    watch.wait_for_text("Next: frame-bytewise");
    let screen = show_list_and_report(&mut watch);
    assert!(screen.contains("h: next hint (0 of 3)"), "{screen}");
}

#[test]
fn a_save_during_a_run_begins_a_new_run() {
    let Some(folder) = Folder::new() else { return };
    folder.make_wait();
    let mut watch = folder.watch();
    watch.wait_for_text("starting the server");
    fs::write(folder.part(), folder.mutant.right_source().unwrap()).unwrap();
    folder.let_start();
    let screen = watch.wait_for_text("All checks passed.");
    // The run that was stopped has no result, so it is not counted.
    assert!(screen.contains("run 1"), "{screen}");
    let both = folder.starts();
    watch.type_in("r");
    watch.wait_for_text("run 2");
    let last = folder.starts() - both;
    assert!(both > last, "{both} starts in the first two runs, {last} in the last");
}

#[test]
fn on_a_small_screen_keys_show_the_rest_of_the_report_and_of_the_list() {
    let Some(folder) = Folder::new() else { return };
    let mut watch = OnTerminal::start(folder.path(), (16, 80), &WATCH);
    watch.wait_for_text("a: all of the report");
    watch.type_in("a");
    watch.wait_for_text("a: less");
    watch.type_in("a");
    watch.wait_for_text("a: all of the report");
    watch.set_size(9, 80);
    watch.type_in("l");
    watch
        .wait_for("list", |screen| screen.starts_with("… 2 passed checks above\n→ frame-bytewise"));
    watch.set_size(50, 80);
    watch.wait_for_text("✓ frame-one ");
    // Ctrl-C restores the terminal, and ends the server.
    watch.type_in("\x03");
    assert_eq!(watch.wait_for_end(), Some(130));
}

#[test]
fn a_server_that_does_not_start_ends_with_exit_code_3_at_q() {
    let Some(folder) = Folder::new() else { return };
    folder.break_server();
    let mut watch = folder.watch();
    watch.wait_for_text("Next: make the server start");
    watch.type_in("q");
    assert_eq!(watch.wait_for_end(), Some(3));
}

#[test]
fn a_server_that_does_not_start_keeps_the_hints_of_its_last_failure() {
    let Some(folder) = Folder::new() else { return };
    let mut watch = folder.watch();
    watch.wait_for_text("h: next hint (0 of 3)");
    watch.type_in("h");
    watch.wait_for_text("h: next hint (1 of 3)");
    folder.break_server();
    let screen = watch.wait_for("page", |screen| {
        screen.contains("Next: make the server start") && screen.contains("q: quit")
    });
    assert!(!screen.contains("h: next hint"), "{screen}");
    folder.make_wrong();
    watch.wait_for_text("h: next hint (1 of 3)");
}

/// `tincan` whose standard output is a pipe. It is ended when this is dropped.
struct InPipe {
    child: Child,
    lines: Receiver<String>,
}

impl InPipe {
    /// Starts `tincan`. Closes the pipe after a line with this text, if there is one.
    fn start(folder: &Path, closes_after: Option<&'static str>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tincan"));
        command.args(WATCH).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let is_last = closes_after.is_some_and(|text| line.contains(text));
                if sender.send(line).is_err() || is_last {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// Waits for a line with this text, and returns the lines up to it.
    fn wait_for(&self, wanted: &str) -> String {
        let until = Instant::now() + DEADLINE;
        let mut text = String::new();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            let line = line.unwrap_or_else(|err| panic!("no {wanted:?} ({err}) in\n{text}"));
            assert!(!line.contains('\x1b'), "{line:?}");
            text += &line;
            text.push('\n');
            if line.contains(wanted) {
                return text;
            }
        }
    }

    fn wait_for_end(&mut self) -> Option<i32> {
        wait_until(|| self.child.try_wait().unwrap().is_some());
        self.child.wait().unwrap().code()
    }
}

impl Drop for InPipe {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // With SIGTERM, the server is ended, too.
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
            let _ = self.child.wait();
        }
    }
}

#[test]
fn in_a_pipe_each_result_is_printed_without_colours_until_a_signal() {
    let Some(folder) = Folder::new() else { return };
    folder.break_server();
    let mut watch = InPipe::start(folder.path(), None);
    let text = watch.wait_for("Next: make the server start");
    assert!(text.contains("SyntaxError"), "{text}");
    folder.correct();
    watch.wait_for("All checks passed.");
    kill_process(Pid::from_child(&watch.child), Signal::INT).unwrap();
    assert_eq!(watch.wait_for_end(), Some(130));
}

#[test]
fn after_its_output_is_closed_the_next_result_ends_the_program() {
    let Some(folder) = Folder::new() else { return };
    let mut watch = InPipe::start(folder.path(), Some("Next: "));
    watch.wait_for("Next: frame-bytewise");
    folder.correct();
    assert_eq!(watch.wait_for_end(), Some(0));
}

#[test]
fn a_save_of_a_file_that_the_server_runs_begins_a_new_run() {
    let Some(folder) = Folder::new() else { return };
    folder.move_into_part("");
    let watch = folder.watch();
    watch.wait_for_text("Next: frame-bytewise");
    fs::write(folder.part(), folder.mutant.right_source().unwrap()).unwrap();
    watch.wait_for_text("All checks passed.");
}

#[test]
fn an_exercise_ends_when_it_passes_and_the_list_marks_it() {
    let Some(folder) = Folder::new() else { return };
    // A title may be wrapped.
    let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    // The list must not give away the mistake.
    let list = stdout(&folder.exercise(&["list"]));
    assert!(!list.contains(&folder.mutant.id), "{list}");
    assert!(!one_line(&list).contains(&folder.mutant.title), "{list}");
    let line = |list: &str| {
        let mut lines = list.lines().filter(|line| line.contains(" frame-bytewise"));
        lines.find(|line| line.contains("Python")).unwrap().to_owned()
    };
    let name = line(&list).split_whitespace().next().unwrap().to_owned();
    folder.exercise(&["start", &name]);
    let file = folder.path().join("exercises").join(&name).join("server.py");
    let mut mutants = mutants::all().unwrap().into_iter();
    let source = fs::read_to_string(&file).unwrap();
    let mutant = mutants.find(|it| it.source().unwrap() == source).unwrap();

    let args = ["exercise", "check", &name, "--watch"];
    let mut watch = OnTerminal::start(folder.path(), SIZE, &args);
    watch.wait_for_text("Next: frame-bytewise");
    fs::write(&file, mutant.right_source().unwrap()).unwrap();
    let screen = watch.wait_for_text("Corrected. The mistake was: ");
    assert!(screen.contains("All checks passed."), "{screen}");
    assert_eq!(watch.wait_for_end(), Some(0));
    let list = stdout(&folder.exercise(&["list"]));
    assert!(line(&list).starts_with("✓ "), "{list}");
    assert!(one_line(&list).contains(&mutant.title), "{list}");
    assert!(list.contains("\n1 of "), "{list}");
    // The line with the path of the program may be longer.
    let mut others = list.lines().filter(|line| !line.contains("exercise start"));
    assert!(others.all(|line| line.chars().count() <= 80), "{list}");
}

#[test]
fn the_name_of_a_mutant_starts_an_exercise_that_does_not_show_this_name() {
    let Some(folder) = Folder::new() else { return };
    let text = stdout(&folder.exercise(&["start", "half-a-message"]));
    assert!(text.contains("check frame-bytewise") && !text.contains("half-a-message"), "{text}");
    assert!(folder.path().join("exercises/frame-bytewise/server.py").exists());
}

#[test]
fn a_command_line_that_cannot_be_watched_ends_with_exit_code_2() {
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
