//! Tests `tincan exercise` as a learner uses it: start, check, correct, check again.
#![cfg(unix)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use check::mutants;

use crate::harness::{stderr, stdout};

fn exercise(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tincan"));
    command.arg("exercise").args(args).current_dir(folder).env("NO_COLOR", "1");
    command.output().unwrap()
}

#[test]
fn the_list_names_all_by_the_check_that_fails() {
    let folder = tempfile::tempdir().unwrap();
    let text = stdout(&exercise(folder.path(), &["list"]));
    for mutant in mutants::all().unwrap() {
        let name = format!("  {}", mutant.fails);
        assert!(text.lines().any(|line| line.starts_with(&name)), "{text}");
    }
    let count = format!("0 of {} exercises done in this folder.", mutants::all().unwrap().len());
    assert!(text.contains(&count), "{text}");
}

#[test]
fn a_learner_sees_it_fail_corrects_it_and_sees_it_pass() {
    // Uses an exercise whose language is installed; Rust always is.
    let has_tool = |file: &str| mutants::tool(Path::new(file)).is_some_and(mutants::is_installed);
    let all = mutants::all().unwrap();
    let mut same_check = all.iter().filter(|it| it.fails == "frame-bytewise");
    let number = same_check.clone().position(|it| has_tool(&it.right)).unwrap();
    let mutant = same_check.nth(number).unwrap();
    let id = mutant.id.as_str();
    let name = match number {
        0 => "frame-bytewise".to_owned(),
        number => format!("frame-bytewise-{}", number + 1),
    };
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();

    let output = exercise(here, &["check", id]);
    assert_eq!(output.status.code(), Some(1));
    let begin = format!("exercise start {name}`");
    assert!(stderr(&output).contains(&begin), "{}", stderr(&output));

    let output = exercise(here, &["start", id]);
    assert!(output.status.success(), "{}", stderr(&output));
    let file = here.join("exercises").join(&name).join(mutant.file_name());
    assert_eq!(fs::read_to_string(&file).unwrap(), mutant.source().unwrap());
    let output = exercise(here, &["start", id]);
    assert_eq!(output.status.code(), Some(1), "a learner's work is not overwritten");

    let output = exercise(here, &["check", id, "--hints", "3"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.starts_with("frame-bytewise · ") && text.contains("to fix"), "{text}");

    let output = exercise(here, &["solution", id]);
    let text = stdout(&output);
    let (said, diff) = text.split_once("\n\n").unwrap();
    assert_eq!(said, format!("{}.", mutant.title));
    let patch = diffy::Patch::from_str(diff).unwrap();
    fs::write(&file, diffy::apply(&mutant.source().unwrap(), &patch).unwrap()).unwrap();
    let output = exercise(here, &["check", id]);
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    assert!(stdout(&output).contains("\nCorrected."), "{}", stdout(&output));
}

#[test]
fn a_right_server_is_printed() {
    let output = exercise(Path::new("."), &["right"]);
    for line in stdout(&output).lines() {
        let file = line.split_whitespace().next().unwrap();
        let output = exercise(Path::new("."), &["right", file]);
        assert_eq!(stdout(&output), mutants::right_source(file).unwrap());
    }
    let output = exercise(Path::new("."), &["right", "no-such-file"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("`tincan exercise right` lists all"), "{}", stderr(&output));
}

#[test]
fn an_unknown_exercise_is_an_error() {
    let output = exercise(Path::new("."), &["start", "no-such-thing"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("`tincan exercise list` shows all"));
}
